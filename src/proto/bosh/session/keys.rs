//! Keys (XEP-0124 "Protecting Insecure Sessions"): each request proves that it comes from the client that made the one
//! before it.

use sha1::{Digest as _, Sha1};

/// The chain of one session's keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// What the hash of the next key has to be; `None` in a session that was created without.
    last: Option<Box<str>>,
}

impl Keys {
    /// The creation request had this `newkey`.
    pub(super) fn new(newkey: Option<&str>) -> Self {
        Self {
            last: newkey.map(Into::into),
        }
    }

    /// Whether requests need keys.
    pub(super) fn is_used(&self) -> bool {
        self.last.is_some()
    }

    /// Checks the key of the request that is next in order, and goes on to the next, or with a new chain.
    pub(super) fn advance(&mut self, key: Option<&str>, newkey: Option<&str>) -> bool {
        let Some(last) = &self.last else {
            // Without a first `newkey` there is nothing to compare a key with.
            return true;
        };
        let Some(key) = key.filter(|key| hash(key).eq_ignore_ascii_case(last)) else {
            return false;
        };
        self.last = Some(newkey.unwrap_or(key).into());
        true
    }
}

/// The hash of a key, in hexadecimal.
fn hash(key: &str) -> String {
    let digest: [u8; 20] = Sha1::digest(key).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Keys, hash};

    #[test]
    fn each_key_hashes_to_the_one_before() {
        let (third, second) = ("seed", hash("seed"));
        let first = hash(&second).to_uppercase();
        let mut keys = Keys::new(Some(&first));
        assert!(!keys.advance(Some("another"), None));
        assert!(!keys.advance(None, None));
        assert!(keys.advance(Some(&second), None));
        assert!(!keys.advance(Some(&second), None), "a key is good once");
        let next = hash("next");
        assert!(keys.advance(Some(third), Some(&next)));
        assert!(keys.advance(Some("next"), None), "a new chain");
    }

    #[test]
    fn keys_are_hashed_as_the_specification_says() {
        // From XEP-0124, "Generating the Key Sequence", by its definition.
        assert_eq!(hash("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn a_key_without_a_chain_is_ignored() {
        assert!(Keys::new(None).advance(Some("anything"), None));
    }
}
