//! Web pages that use a session one after the other: who they say they are.

use foldhash::quality::FixedState;
use std::hash::BuildHasher as _;

/// One of the web pages that share a session, one after the other. A page that is loaded again is another page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Page(u64);

impl Page {
    /// The page with this name. A client that makes two names collide deceives only its own session.
    pub fn named(name: &[u8]) -> Self {
        Self(FixedState::default().hash_one(name))
    }

    /// The page with this number.
    pub fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// A number that says which page it is, to a gateway of the same version.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Whether two requests or connections are known to come from different pages.
    pub fn differ(one: Option<Self>, other: Option<Self>) -> bool {
        one.zip(other).is_some_and(|(one, other)| one != other)
    }
}
