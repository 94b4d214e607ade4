//! Session id: the secret that names a session. A client shows nothing else to prove that the session is its own.
//!
//! Of several gateways that are one, each puts its own name before the secret, so that all of them know whose session
//! it is.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Digits of the secret.
const DIGITS: usize = 32;
/// Digits that a log shows.
const SHOWN: usize = 8;
/// Longest name of a gateway.
const MAX_NODE: usize = 16;

/// A session id: 128 random bits (XEP-0124 "Session Creation Response"), perhaps after the name of its gateway.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Sid(Arc<str>);

impl Sid {
    /// A new one of the gateway `node`, if that has a name.
    pub fn random(node: Option<&str>) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let secret = u128::from_be_bytes(bytes);
        let sid = match node {
            Some(node) => format!("{node}-{secret:032x}"),
            None => format!("{secret:032x}"),
        };
        Ok(Self(sid.into()))
    }

    /// The gateway that `sid` names, if it can be a sid that begins with one.
    pub fn node_of(sid: &str) -> Option<&str> {
        let is_secret = |secret: &str| {
            let mut digits = secret.bytes();
            secret.len() == DIGITS && digits.all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
        };
        node_before(sid, is_secret)
    }

    /// The id itself: a secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The name of a gateway that `id` begins with, if the rest is a secret.
pub(super) fn node_before(id: &str, is_secret: impl Fn(&str) -> bool) -> Option<&str> {
    let (node, secret) = id.split_once('-')?;
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let is_node = (1..=MAX_NODE).contains(&node.len()) && node.bytes().all(is_letter);
    (is_node && is_secret(secret)).then_some(node)
}

impl fmt::Debug for Sid {
    /// As much as identifies it in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.0.find('-').map_or(0, |dash| dash.saturating_add(1));
        let shown = secret.saturating_add(SHOWN);
        f.write_str(self.0.get(..shown).unwrap_or_default())
    }
}

impl Borrow<str> for Sid {
    fn borrow(&self) -> &str {
        self.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_alone_has_sids_of_nothing_but_digits() {
        let sid = Sid::random(None).unwrap();
        assert_eq!(sid.expose().len(), 32);
        assert!(sid.expose().bytes().all(|it| it.is_ascii_hexdigit()));
        assert_eq!(Sid::node_of(sid.expose()), None);
        assert_eq!(format!("{sid:?}"), sid.expose()[..8]);
    }

    #[test]
    fn a_sid_tells_whose_session_it_is_and_a_log_shows_little_of_the_secret() {
        for node in ["a", "9", "gateway1", "abcdefghijklmnop"] {
            let sid = Sid::random(Some(node)).unwrap();
            assert_eq!(Sid::node_of(sid.expose()), Some(node));
            assert_eq!(format!("{sid:?}"), sid.expose()[..node.len() + 9]);
            assert_eq!(sid.expose().len(), node.len() + 33);
        }
    }

    #[test]
    fn what_no_gateway_makes_names_none() {
        let secret = "0123456789abcdef0123456789abcdef";
        for sid in [
            String::new(),
            "-".to_owned(),
            secret.to_owned(),
            format!("-{secret}"),
            format!("A-{secret}"),
            format!("a.b-{secret}"),
            format!("ä-{secret}"),
            format!("abcdefghijklmnopq-{secret}"),
            format!("a-{}", &secret[1..]),
            format!("a-{secret}0"),
            format!("a-b-{secret}"),
            format!("a-{}", secret.to_uppercase()),
        ] {
            assert_eq!(Sid::node_of(&sid), None, "{sid}");
        }
    }
}
