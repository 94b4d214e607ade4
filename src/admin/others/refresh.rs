//! Refreshes at several gateways: who is asked for, and what has come of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Words;
use crate::admin::{jobs::Entries, respond::Failure};

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
