//! Web pages that use a session one after the other: who they say they are.

use sha1::{Digest as _, Sha1};

/// One of the web pages that share a session, one after the other. A page that is loaded again is another page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Page(u64);

impl Page {
    /// The page with this name. A client that makes two names collide deceives only its own session.
    ///
    /// One gateway tells another the number, and the two may be different builds, on different machines: the number of a name
    /// is the same everywhere, which fast hashes do not promise.
    pub fn named(name: &[u8]) -> Self {
        let digest: [u8; 20] = Sha1::digest(name).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The page with this number.
    pub fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// A number that says which page it is, to any gateway.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Whether two requests or connections are known to come from different pages.
    pub fn differ(one: Option<Self>, other: Option<Self>) -> bool {
        one.zip(other).is_some_and(|(one, other)| one != other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_same_number_in_all_gateways() {
        // As `printf %s NAME | sha1sum` begins.
        assert_eq!(Page::named(b"").number(), 0xda39_a3ee_5e6b_4b0d);
        assert_eq!(Page::named(b"abc").number(), 0xa999_3e36_4706_816a);
    }
}
