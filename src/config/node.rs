//! Name of a gateway among several.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Longest name, bytes.
const LONGEST: usize = 16;

/// The name of a gateway among those of one cluster: 1 to 16 of `a`–`z` and `0`–`9`. So it can stand in a sid before a
/// hyphen, and in a subject of NATS.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The name, if `text` can be one.
    pub fn new(text: &str) -> Option<Self> {
        let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_legal);
        is_name.then(|| Self(text.into()))
    }

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_sid_and_in_a_subject() {
        for good in ["a", "node7", "0123456789abcdef"] {
            assert_eq!(
                NodeName::new(good).map(|it| it.to_string()).as_deref(),
                Some(good)
            );
        }
        for bad in [
            "",
            "A",
            "a-b",
            "a.b",
            "*",
            ">",
            "a b",
            "ä",
            "0123456789abcdefg",
        ] {
            assert_eq!(NodeName::new(bad), None, "{bad}");
        }
    }
}
