//! BOSH (XEP-0124) with its XMPP extensions (XEP-0206), connection manager side; the client's side,
//! for servers reached by their own BOSH, is [`client`].
//!
//! | XEP-0124 section | here |
//! |---|---|
//! | Session Creation Request / Response | [`body::Creation`], [`terms::Terms`] |
//! | `<body/>` Wrapper Element | [`crate::proto::stanza::scan_body`], [`body`] |
//! | Request IDs, In-Order Message Forwarding | [`session::Session::handle_request`] |
//! | Broken Connections | [`session::Session::handle_disconnect`], the answers kept in the session |
//! | Protecting Insecure Sessions | `session::keys` |
//! | Inactivity, Overactivity, Polling Sessions, Session Pause | [`session`] |
//! | Error and Status Codes | [`condition::Condition`] |
//!
//! Words: a request is *buffered* while a lower rid is missing, *held* from the moment it is received
//! in order until it is *answered*; *open* means buffered or held with an HTTP exchange behind it.

pub mod body;
pub mod client;
pub mod condition;
pub mod session;
pub mod terms;

use std::fmt;

/// A request id (XEP-0124 "Request IDs").
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rid(u64);

impl Rid {
    /// Largest rid that a session may begin with or reach, so that JavaScript can count it exactly.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Reads decimal digits; nothing else is a rid. Numbers larger than [`Self::MAX`] are read too, to tell
    /// them from garbage: no session ever reaches them.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value = text.parse().unwrap_or(u64::MAX);
        (value > 0).then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The rid `distance` before this one, or one that no request has.
    fn minus(self, distance: u64) -> Self {
        Self(self.0.saturating_sub(distance))
    }

    /// The rid `distance` further on.
    pub fn plus(self, distance: u64) -> Self {
        Self(self.0.saturating_add(distance))
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Rid;

    #[test]
    #[expect(clippy::unwrap_used, reason = "tests")]
    fn a_rid_is_decimal_digits() {
        assert_eq!(Rid::parse("1"), Some(Rid(1)));
        assert_eq!(Rid::parse("0009"), Some(Rid(9)));
        assert_eq!(Rid::parse("9007199254740991"), Some(Rid::MAX));
        assert!(Rid::parse("99999999999999999999999").unwrap() > Rid::MAX);
        for bad in ["", "0", "-1", "+1", " 1", "1.0", "0x1", "\u{0661}"] {
            assert_eq!(Rid::parse(bad), None, "{bad:?}");
        }
    }
}
