//! The latest failed fetches of one host, for people who look into them.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

use super::FetchError;
use crate::roster::Username;

/// Most that are remembered.
const MOST: usize = 256;

/// A fetch that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whose roster it was for.
    pub user: Username,
    /// When it failed, as time since 1970 (UTC).
    pub at: Duration,
    /// Why.
    pub error: FetchError,
}

/// The latest of them; the oldest go first.
#[derive(Debug, Default)]
pub struct Failures(Mutex<VecDeque<Failure>>);

impl Failures {
    /// One more.
    pub fn push(&self, failure: Failure) {
        let mut failures = self.0.lock();
        if failures.len() >= MOST {
            failures.pop_front();
        }
        failures.push_back(failure);
    }

    /// The last one of a user, if it is among the latest of all.
    pub fn last_of(&self, user: &Username) -> Option<Failure> {
        let failures = self.0.lock();
        failures.iter().rev().find(|it| it.user == *user).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::user;

    #[test]
    fn the_latest_are_remembered_and_no_more() {
        let failures = Failures::default();
        for number in 0..=MOST as u64 {
            let name = if number % 2 == 0 { "even" } else { "odd" };
            let name = if number == 0 { "first" } else { name };
            failures.push(Failure {
                user: user(name),
                at: Duration::from_secs(number),
                error: FetchError::Refused,
            });
        }
        let last = |name| failures.last_of(&user(name)).map(|it| it.at.as_secs());
        assert_eq!(last("first"), None);
        assert_eq!(last("even"), Some(256));
        assert_eq!(last("odd"), Some(255));
    }
}
