//! Failures of late, for people who look at the status page. Equal ones are one, with their number.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

use super::health::Dependency;

/// Most different failures that are remembered.
const MOST: usize = 50;
/// Most users of whom one tells.
const MOST_USERS: usize = 3;

/// Something that did not work, once or several times.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of which domain.
    pub domain: String,
    /// The dependency at fault.
    pub dependency: Dependency,
    /// What is wrong; a sentence.
    pub error: String,
    /// How often.
    pub count: u64,
    /// When it happened first since it is remembered, as time since 1970 (UTC).
    pub first: Duration,
    /// When it happened last.
    pub last: Duration,
    /// Some of the users whose lists it was about, the latest first.
    pub users: VecDeque<String>,
}

impl Failure {
    fn is_like(&self, other: &Self) -> bool {
        self.dependency == other.dependency
            && self.domain == other.domain
            && self.error == other.error
    }

    /// This one, which has happened before, as `earlier` tells.
    fn following(mut self, earlier: Self) -> Self {
        for user in earlier.users {
            if self.users.len() < MOST_USERS && !self.users.contains(&user) {
                self.users.push_back(user);
            }
        }
        Self {
            count: earlier.count.saturating_add(self.count),
            first: earlier.first,
            ..self
        }
    }
}

/// The latest failures. That which has not happened for longest is forgotten first.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<VecDeque<Failure>>);

impl Failures {
    /// One more.
    pub(super) fn note(&self, failure: Failure) {
        let mut known = self.0.lock();
        let earlier = known.iter().position(|it| it.is_like(&failure));
        let failure = match earlier.and_then(|at| known.remove(at)) {
            Some(earlier) => failure.following(earlier),
            None => failure,
        };
        if known.len() >= MOST {
            known.pop_front();
        }
        known.push_back(failure);
    }

    /// All of them, the latest first.
    pub(super) fn all(&self) -> Vec<Failure> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: &str, at: u64, user: &str) -> Failure {
        let at = Duration::from_secs(at);
        Failure {
            domain: "example.org".to_owned(),
            dependency: Dependency::Backend,
            error: error.to_owned(),
            count: 1,
            first: at,
            last: at,
            users: [user.to_owned()].into(),
        }
    }

    #[test]
    fn equal_ones_are_one_with_their_number_and_the_latest_time() {
        let failures = Failures::default();
        failures.note(failure("404", 1, "ann"));
        failures.note(failure("500", 2, "ann"));
        for (at, user) in [(3, "bob"), (4, "cid"), (5, "dan"), (6, "dan")] {
            failures.note(failure("404", at, user));
        }
        let all = failures.all();
        let told: Vec<_> = all.iter().map(|it| (&*it.error, it.count)).collect();
        assert_eq!(told, [("404", 5), ("500", 1)]);
        let times = (all[0].first.as_secs(), all[0].last.as_secs());
        assert_eq!(times, (1, 6));
        assert_eq!(all[0].users, ["dan", "cid", "bob"]);
    }

    #[test]
    fn those_of_another_part_or_domain_are_others() {
        let failures = Failures::default();
        failures.note(failure("refused", 1, "ann"));
        let writer = Dependency::Writer;
        failures.note(Failure {
            dependency: writer,
            ..failure("refused", 2, "ann")
        });
        failures.note(Failure {
            domain: "example.net".to_owned(),
            ..failure("refused", 3, "ann")
        });
        assert!(failures.all().iter().all(|it| it.count == 1));
        assert_eq!(failures.all().len(), 3);
    }

    #[test]
    fn what_has_not_happened_for_longest_is_forgotten() {
        let failures = Failures::default();
        for number in 0..MOST as u64 {
            failures.note(failure(&number.to_string(), number, "ann"));
        }
        failures.note(failure("0", 100, "ann"));
        failures.note(failure("new", 101, "ann"));
        let all = failures.all();
        assert_eq!(all.len(), MOST);
        assert_eq!((&*all[0].error, &*all[1].error), ("new", "0"));
        assert!(all.iter().all(|it| it.error != "1"));
    }
}
