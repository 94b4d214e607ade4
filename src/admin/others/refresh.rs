//! Refreshes at several gateways: who is asked for, and what has come of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Words;
use crate::admin::{jobs::Entries, respond::Failure};

/// Most bytes of JIDs in one question. A request that names very many users without their domain is shorter than what others are
/// asked.
const MOST: usize = 16 << 20;

/// The users of a request whose lists gateways hold, and where it names them.
#[derive(Default)]
pub(in crate::admin) struct Shared {
    /// Bare JIDs.
    pub(in crate::admin) users: Vec<String>,
    entries: Vec<Entries>,
}

impl Shared {
    pub(in crate::admin) fn push(&mut self, jid: String, entries: Entries) {
        self.users.push(jid);
        self.entries.push(entries);
    }

    /// Those who are asked for at once: they are in order, and `most` bytes at most together.
    fn questions_of(&self, most: usize) -> impl Iterator<Item = &[String]> {
        let mut rest = self.users.as_slice();
        std::iter::from_fn(move || {
            let mut size = 0_usize;
            let fits = rest.iter().take_while(|user| {
                size = size.saturating_add(user.len());
                size <= most
            });
            // One that is longer than that goes alone.
            let count = fits.count().max(1).min(rest.len());
            let (first, others) = rest.split_at(count);
            rest = others;
            (!first.is_empty()).then_some(first)
        })
    }

    pub(in crate::admin) fn questions(&self) -> impl Iterator<Item = &[String]> {
        self.questions_of(MOST)
    }

    /// Adds what others have said to what has come of the request here: a user is refreshed if that has failed nowhere.
    pub(in crate::admin) fn add(&self, words: Words<Told>, failures: &mut [Option<Failure>]) {
        let mut fail = |entries: &Entries, why: &dyn Fn() -> Failure| {
            for entry in entries {
                if let Some(failure @ None) = failures.get_mut(*entry) {
                    *failure = Some(why());
                }
            }
        };
        for failure in &words.failures {
            for entries in &self.entries {
                fail(entries, &|| failure.clone());
            }
        }
        for (node, told) in words.said {
            for (index, reason) in &told.failed {
                let why = told.reasons.get(*reason).map_or("", String::as_str);
                if let Some(entries) = self.entries.get(*index) {
                    fail(entries, &|| Failure::Other {
                        node: node.to_string(),
                        why: why.to_owned(),
                    });
                }
            }
        }
    }
}

/// What a gateway tells of the users whom it was asked to refresh.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::admin) struct Told {
    /// Who has failed, and which of the reasons it was.
    failed: Vec<(usize, usize)>,
    /// Each once: there may be very many users.
    reasons: Vec<String>,
}

impl Told {
    /// Its users come after so many others.
    pub(in crate::admin) fn after(self, others: usize) -> Self {
        let failed = self.failed.into_iter();
        let failed = failed.map(|(index, reason)| (index.saturating_add(others), reason));
        Self {
            failed: failed.collect(),
            ..self
        }
    }

    pub(in crate::admin) fn new(failures: &[Option<Failure>]) -> Self {
        let (mut told, mut known) = (Self::default(), HashMap::new());
        let failures = failures.iter().enumerate();
        for (index, failure) in failures.filter_map(|(index, it)| Some((index, it.as_ref()?))) {
            let reason = *known
                .entry(failure.to_string())
                .or_insert_with_key(|reason| {
                    told.reasons.push(reason.clone());
                    told.reasons.len() - 1
                });
            told.failed.push((index, reason));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_users_are_asked_for_in_several_questions() {
        let mut shared = Shared::default();
        for user in ["a@b", "longer@b", "c@d", "e@f", "g@h"] {
            shared.push(user.to_owned(), Entries::new());
        }
        let questions: Vec<_> = shared.questions_of(6).collect();
        let expected: [&[&str]; 4] = [&["a@b"], &["longer@b"], &["c@d", "e@f"], &["g@h"]];
        assert_eq!(questions, expected);
        assert_eq!(Shared::default().questions().count(), 0);
        let told = Told {
            failed: vec![(1, 0)],
            reasons: vec!["backend answered 503".to_owned()],
        };
        assert_eq!(told.after(2).failed, [(3, 0)]);
    }
}
