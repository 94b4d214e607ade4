//! Latest failures of one host, of fetches or of writes, for people who look into them.

use std::time::Duration;

use super::FetchError;
use crate::{metrics::recent::Recent, roster::Username};

/// Most that are remembered.
const MOST: usize = 256;

/// A fetch that failed, or a write.
#[derive(Clone, Debug)]
pub struct Failure<E = FetchError> {
    /// Whose roster it was for.
    pub user: Username,
    /// When it failed, as time since 1970 (UTC).
    pub at: Duration,
    /// Why.
    pub error: E,
}

/// The latest failures; the oldest are forgotten first.
#[derive(Debug)]
pub struct Failures<E = FetchError>(Recent<Failure<E>>);

impl<E: Clone> Default for Failures<E> {
    fn default() -> Self {
        Self(Recent::new(MOST))
    }
}

impl<E: Clone> Failures<E> {
    /// One more.
    pub fn push(&self, failure: Failure<E>) {
        self.0.push(failure);
    }

    /// The last one of a user, if it is among the latest of all.
    pub fn last_of(&self, user: &Username) -> Option<Failure<E>> {
        self.0.last(|failure| failure.user == *user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::user;

    #[test]
    fn the_last_one_of_a_user_is_found() {
        let failures: Failures = Failures::default();
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
