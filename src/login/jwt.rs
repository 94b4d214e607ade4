//! JSON Web Tokens (RFC 7519), signed with HS256: for servers that check them by themselves.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Map, Value, json};

/// What a token says. Times are since 1970 (UTC).
#[derive(Clone, Copy, Debug)]
pub(super) struct Claims<'a> {
    /// The claim that names the user, and how.
    pub(super) subject: (&'a str, &'a str),
    pub(super) issued: Duration,
    pub(super) expires: Duration,
    pub(super) nonce: [u8; 16],
}

impl Claims<'_> {
    /// The token.
    pub(super) fn sign(self, key: &hmac::Key) -> String {
        let (claim, subject) = self.subject;
        let mut claims = Map::new();
        claims.insert("iat".to_owned(), self.issued.as_secs().into());
        claims.insert("exp".to_owned(), self.expires.as_secs().into());
        let nonce = BASE64_URL_SAFE_NO_PAD.encode(self.nonce);
        claims.insert("jti".to_owned(), nonce.into());
        claims.insert(claim.to_owned(), subject.into());
        let head = json!({ "alg": "HS256", "typ": "JWT" });
        let [head, claims] = [head, Value::Object(claims)]
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{head}.{claims}");
        let tag = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(key, signed.as_bytes()));
        format!("{signed}.{tag}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_and_its_signature_is_theirs() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let token = Claims {
            subject: ("jid", "john@example.org"),
            issued: Duration::from_secs(1000),
            expires: Duration::from_secs(1060),
            nonce: [0; 16],
        }
        .sign(&key);
        let parts: Vec<&str> = token.split('.').collect();
        let decoded = parts
            .iter()
            .map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap());
        let decoded: Vec<Vec<u8>> = decoded.collect();
        let json = |part: &[u8]| serde_json::from_slice::<Value>(part).unwrap();
        assert_eq!(json(&decoded[0]), json!({ "alg": "HS256", "typ": "JWT" }));
        let expected = json!({
            "jid": "john@example.org", "iat": 1000, "exp": 1060, "jti": "AAAAAAAAAAAAAAAAAAAAAA",
        });
        assert_eq!(json(&decoded[1]), expected);
        let signed = format!("{}.{}", parts[0], parts[1]);
        assert!(hmac::verify(&key, signed.as_bytes(), &decoded[2]).is_ok());
    }
}
