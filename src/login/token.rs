//! Form of the gateway's own tokens, as a text that an XMPP server takes as a password.
//!
//! ```text
//! rg1.BASE64URL(expires (8) issued (8) nonce (16) HMAC-SHA256 (32))
//! rg1.NODE.BASE64URL(...)                                              of one of several gateways
//! ```
//!
//! The key signs who may use it, too, which the text itself does not say: whoever checks it knows that.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;

use crate::config::NodeName;

/// Beginning of every token, and of no password that a person chooses.
const PREFIX: &str = "rg1.";
const SIGNED: usize = 32;
const WHOLE: usize = SIGNED + 32;

/// What a gateway seals its tokens with.
#[derive(Clone, Debug)]
pub(super) struct Seal {
    /// Drawn at the start.
    pub(super) key: hmac::Key,
    /// What the gateway is called, if it is one of several.
    pub(super) node: Option<NodeName>,
}

/// What a token says. Times are in milliseconds since the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Claims {
    /// From then on it is good for nothing.
    pub(super) expires: u64,
    /// When it was made.
    pub(super) issued: u64,
    /// What no other token has.
    pub(super) nonce: [u8; 16],
}

/// Why a text is no token that counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Unsealed {
    /// It does not look like a token at all.
    Other,
    /// It looks like one, but was not made with this key for this user.
    Forged,
    /// It says that another gateway has made it, which alone can tell.
    Elsewhere(NodeName),
}

impl Claims {
    fn to_bytes(self) -> [u8; SIGNED] {
        let mut bytes = [0; SIGNED];
        bytes[..8].copy_from_slice(&self.expires.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.issued.to_be_bytes());
        bytes[16..].copy_from_slice(&self.nonce);
        bytes
    }

    /// Reads as many bytes as [`Self::to_bytes`] gives.
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (expires, rest) = bytes.split_first_chunk()?;
        let (issued, nonce) = rest.split_first_chunk()?;
        Some(Self {
            expires: u64::from_be_bytes(*expires),
            issued: u64::from_be_bytes(*issued),
            nonce: nonce.try_into().ok()?,
        })
    }

    /// The token of `user` in `domain`.
    pub(super) fn seal(self, seal: &Seal, user: &str, domain: &str) -> String {
        let claims = self.to_bytes();
        let tag = hmac::sign(&seal.key, &signed(&claims, user, domain));
        let whole = [&claims, tag.as_ref()].concat();
        let whole = BASE64_URL_SAFE_NO_PAD.encode(whole);
        match &seal.node {
            Some(node) => format!("{PREFIX}{node}.{whole}"),
            None => format!("{PREFIX}{whole}"),
        }
    }

    /// What `token` says, if it is one of `user` in `domain`. Takes as long whatever is wrong with the signature.
    pub(super) fn unseal(
        token: &str,
        seal: &Seal,
        user: &str,
        domain: &str,
    ) -> Result<Self, Unsealed> {
        let encoded = token.strip_prefix(PREFIX).ok_or(Unsealed::Other)?;
        let (node, encoded) = match encoded.split_once('.') {
            Some((node, encoded)) => {
                let node = NodeName::new(node).ok_or(Unsealed::Forged)?;
                (Some(node), encoded)
            }
            None => (None, encoded),
        };
        if node != seal.node {
            // Without others, there is nobody to ask.
            let other = node.filter(|_| seal.node.is_some());
            return Err(other.map_or(Unsealed::Forged, Unsealed::Elsewhere));
        }
        let whole = BASE64_URL_SAFE_NO_PAD.decode(encoded);
        let whole = whole.ok().filter(|whole| whole.len() == WHOLE);
        let whole = whole.ok_or(Unsealed::Forged)?;
        let (claims, tag) = whole.split_at(SIGNED);
        hmac::verify(&seal.key, &signed(claims, user, domain), tag)
            .map_err(|_| Unsealed::Forged)?;
        Self::of_bytes(claims).ok_or(Unsealed::Forged)
    }
}

/// What the key signs. Neither user nor domain can have a zero byte, so no two pairs look the same.
fn signed(claims: &[u8], user: &str, domain: &str) -> Vec<u8> {
    [claims, user.as_bytes(), b"\0", domain.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: Claims = Claims {
        expires: 1_800_000_060_000,
        issued: 1_800_000_000_000,
        nonce: *b"0123456789abcdef",
    };

    fn key(text: &str) -> Seal {
        of_gateway(text, None)
    }

    fn of_gateway(text: &str, node: Option<&str>) -> Seal {
        Seal {
            key: hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()),
            node: node.and_then(NodeName::new),
        }
    }

    #[test]
    fn a_token_says_which_of_several_gateways_has_made_it() {
        let (a, b) = (of_gateway("k", Some("a")), of_gateway("l", Some("b")));
        let token = CLAIMS.seal(&a, "john", "example.org");
        let unseal = |token: &str, seal: &Seal| Claims::unseal(token, seal, "john", "example.org");
        assert_eq!(unseal(&token, &a), Ok(CLAIMS));
        let elsewhere = Unsealed::Elsewhere(NodeName::new("a").unwrap());
        assert_eq!(unseal(&token, &b), Err(elsewhere));
        assert_eq!(unseal(&token, &key("k")), Err(Unsealed::Forged));
        let alone = CLAIMS.seal(&key("k"), "john", "example.org");
        assert_eq!(unseal(&alone, &a), Err(Unsealed::Forged));
        let encoded = alone.strip_prefix(PREFIX).unwrap();
        for other in [format!("rg1..{encoded}"), format!("rg1.A.{encoded}")] {
            assert_eq!(unseal(&other, &key("k")), Err(Unsealed::Forged), "{other}");
        }
    }

    #[test]
    fn a_token_says_what_was_put_into_it() {
        let token = CLAIMS.seal(&key("k"), "john", "example.org");
        let found = Claims::unseal(&token, &key("k"), "john", "example.org");
        assert_eq!(found, Ok(CLAIMS));
        assert!(token.len() < 100 && token.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn a_token_is_for_one_user_of_one_domain_and_of_one_gateway() {
        let token = CLAIMS.seal(&key("k"), "john", "example.org");
        for (other, user, domain) in [
            ("k", "aaron", "example.org"),
            ("k", "john", "example.com"),
            ("l", "john", "example.org"),
        ] {
            let found = Claims::unseal(&token, &key(other), user, domain);
            assert_eq!(found, Err(Unsealed::Forged), "{other} {user} {domain}");
        }
    }

    #[test]
    fn no_character_of_a_token_can_be_changed() {
        let token = CLAIMS.seal(&key("k"), "john", "example.org");
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            let found = Claims::unseal(&other, &key("k"), "john", "example.org");
            let expected = match at < PREFIX.len() {
                true => Unsealed::Other,
                false => Unsealed::Forged,
            };
            assert_eq!(found, Err(expected), "{at}");
        }
        for other in [&token[..token.len() - 1], &format!("{token}A"), PREFIX] {
            let found = Claims::unseal(other, &key("k"), "john", "example.org");
            assert_eq!(found, Err(Unsealed::Forged), "{other}");
        }
        for password in ["", "secret", "rg1", "rg2.AAAA", " rg1.AAAA"] {
            let found = Claims::unseal(password, &key("k"), "john", "example.org");
            assert_eq!(found, Err(Unsealed::Other), "{password}");
        }
    }
}
