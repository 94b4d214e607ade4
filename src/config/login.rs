//! `login`, `jwt_…`, `auth_url`: how users log in with a token that the site's program gets for them.

use std::{fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{
    credentials::Credentials,
    own_addresses::OwnAddresses,
    reader::Section,
    secret::{Secret, SecretKind},
    url::{self, BaseUrl},
    value::{self, Fault},
};

/// Shortest key for HS256, bytes (RFC 7518 §3.2).
const SHORTEST_KEY: usize = 32;
/// Longest name of a claim, bytes.
const LONGEST_CLAIM: usize = 100;

/// `login`: what the tokens are, that the XMPP server takes as passwords.
#[derive(Clone, Debug)]
pub enum Login {
    /// JSON Web Tokens (RFC 7519), which the server checks by itself.
    Jwt {
        /// The key that the server has as well.
        key: JwtKey,
        /// The claim that names the user.
        claim: String,
    },
    /// Tokens of the gateway's own, about which the server asks it.
    Http {
        /// Who is asked about other passwords, and how the gateway logs in there; absent: nobody, they are wrong.
        site: Option<(BaseUrl, Option<Credentials>)>,
    },
}

/// A key for HS256. It never shows in logs.
#[derive(Clone, Eq, PartialEq)]
pub struct JwtKey(Arc<[u8]>);

impl JwtKey {
    /// The key itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MASKED")
    }
}

/// A symmetric key as ejabberd's `jwt_key` has it (RFC 7517, RFC 7518 §6.4).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    k: String,
}

const KEY: SecretKind = SecretKind {
    name: "key",
    read: |text| key(text).map(|_| Secret::new(text)),
    bare: |text| text.trim_end_matches(['\r', '\n']),
};

/// Reads a key: text, whose bytes are the key, or a JWK.
fn key(text: &str) -> Result<JwtKey, Fault> {
    let bytes = match text.trim_start().starts_with('{') {
        true => from_jwk(text).ok_or_else(|| {
            let cure = "write {\"kty\": \"oct\", \"k\": \"…\"} with the key in base64url, or the key alone";
            Fault::new("a JWK without a symmetric key", cure)
        })?,
        false => text.as_bytes().to_vec(),
    };
    if bytes.len() < SHORTEST_KEY {
        let cure = "use 32 random bytes or more, as `openssl rand -hex 32` prints them";
        return Err(Fault::new("too short for HS256", cure));
    }
    Ok(JwtKey(bytes.into()))
}

fn from_jwk(text: &str) -> Option<Vec<u8>> {
    let jwk: Jwk = serde_json::from_str(text).ok()?;
    let key = BASE64_URL_SAFE_NO_PAD.decode(jwk.k.trim_end_matches('='));
    key.ok().filter(|_| jwk.kty == "oct")
}

fn claim(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.len() > LONGEST_CLAIM || ["exp", "iat", "jti"].contains(&text) {
        let cure = "write a name that is not exp, iat or jti: ejabberd wants jid";
        return Err(Fault::new("not a claim for the user", cure));
    }
    Ok(text.to_owned())
}

/// The kinds of tokens.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Jwt,
    Http,
}

impl Login {
    /// Reads how users log in; `None` if with passwords alone.
    pub(super) fn read(section: &mut Section<'_, '_>, own: &OwnAddresses) -> Option<Self> {
        let kinds = [("jwt", Kind::Jwt), ("http", Kind::Http)];
        let kind = section.read("login", |text| value::choice(text, &kinds));
        let of_jwt = ["jwt_secret", "jwt_secret_file", "jwt_claim"];
        let keys = of_jwt.map(|key| (key, Kind::Jwt, "jwt"));
        for (key, needed, name) in keys.into_iter().chain([("auth_url", Kind::Http, "http")]) {
            if section.has(key) && kind != Some(needed) {
                let cure = format!("set login to \"{name}\", or leave it away");
                section.fault(key, Fault::new("it has no use with this login", cure));
            }
        }
        if kind == Some(Kind::Jwt) && !section.has("jwt_secret") && !section.has("jwt_secret_file")
        {
            let cure = "set jwt_secret_file to a file with the key that the XMPP server has, too";
            section.fault("login", Fault::new("without a key", cure));
        }
        let secret = section.secret(["jwt_secret", "jwt_secret_file"], &KEY);
        let mut name = "jid".to_owned();
        section.set(&mut name, "jwt_claim", claim);
        let site = section.read_url("auth_url", |text| {
            let (url, place, credentials) = url::auth(text)?;
            let fault = own.auth_fault(&place);
            fault.map_or(Ok((url, credentials)), Err)
        });
        Some(match kind? {
            Kind::Jwt => Self::Jwt {
                key: key(secret?.expose()).ok()?,
                claim: name,
            },
            Kind::Http => Self::Http { site },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_text_or_a_jwk() {
        let text = "0123456789abcdef0123456789abcdef";
        let jwk = r#" {"kty":"oct","use":"sig","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","alg":"HS256"}"#;
        for written in [text, jwk] {
            let key = key(written).unwrap_or_else(|fault| panic!("{}", fault.problem));
            assert_eq!(key.expose(), text.as_bytes(), "{written}");
            assert_eq!(format!("{key:?}"), "MASKED");
        }
        for (written, problem) in [
            (&text[1..], "too short for HS256"),
            ("", "too short for HS256"),
            (r#"{"kty":"oct","k":"MDEy"}"#, "too short for HS256"),
            (
                r#"{"kty":"RSA","k":"MDEyMzQ1"}"#,
                "a JWK without a symmetric key",
            ),
            (r#"{"keys":[]}"#, "a JWK without a symmetric key"),
            (r#"{"kty":"oct","k":"*"}"#, "a JWK without a symmetric key"),
        ] {
            let fault = key(written).expect_err("no key");
            assert_eq!(fault.problem, problem, "{written}");
        }
    }
}
