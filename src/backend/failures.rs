//! Latest failed fetches of one host, for people who look into them.

use std::time::Duration;

use super::FetchError;
use crate::{metrics::recent::Recent, roster::Username};

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

/// The latest failed fetches; the oldest are forgotten first.
#[derive(Debug)]
pub struct Failures(Recent<Failure>);

impl Default for Failures {
    fn default() -> Self {
        Self(Recent::new(MOST))
    }
}

impl Failures {
    /// One more.
    pub fn push(&self, failure: Failure) {
        self.0.push(failure);
    }

    /// The last one of a user, if it is among the latest of all.
    pub fn last_of(&self, user: &Username) -> Option<Failure> {
        self.0.last(|failure| failure.user == *user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::user;

    #[test]
    fn the_last_one_of_a_user_is_found() {
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
