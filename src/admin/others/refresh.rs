//! Refreshes of users whose sessions may be at other gateways. Each fetches for its own. Where the server holds the lists,
//! the gateway that is asked writes them, and nobody else.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Words;
use crate::{
    admin::{
        Lists,
        jobs::{Entries, Job},
        refresh::Call,
        respond::Failure,
    },
    backend::ContactSource,
    cluster::Question,
};

/// The users of a request whose lists gateways hold, and where it names them.
#[derive(Default)]
pub(in crate::admin) struct Shared {
    /// Bare JIDs.
    users: Vec<String>,
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
    fn new(failures: &[Option<Failure>]) -> Self {
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

impl<S: ContactSource + 'static> Call<S> {
    /// Has the others refresh those of the users who have sessions there.
    pub(in crate::admin) async fn refresh_elsewhere(&self, shared: &Shared) -> Words<Told> {
        if shared.users.is_empty() {
            return Words::default();
        }
        let others = &self.others;
        let asking = others.ask_all(Question::Refresh, &shared.users, self.deadline);
        self.in_time(asking).await.unwrap_or_else(|failure| Words {
            said: Vec::new(),
            failures: vec![failure],
        })
    }

    /// Refreshes those of the users who have sessions here, for another gateway.
    pub(super) async fn refresh_own(&self, users: &[String]) -> Told {
        let mut failures = vec![Some(Failure::Deadline { after: self.after }); users.len()];
        // Gateways that waited for each other's turns would wait for ever.
        let turn = self.in_time(self.turns.of_others(users.len())).await;
        let _turn = match turn {
            Ok(turn) => turn,
            Err(failure) => {
                failures.fill(Some(failure));
                return Told::new(&failures);
            }
        };
        let (jobs, _) = self.jobs(users, None, &mut failures).await;
        let (own, written): (Vec<Job<S>>, _) = jobs
            .into_iter()
            .partition(|job| matches!(job.lists, Lists::Gateway(_)));
        for entry in written.into_iter().flat_map(|job| job.entries) {
            failures[entry] = None;
        }
        let jobs = self.pass_over(own, &mut failures).await;
        if let Some(rest) = self.run(jobs, &mut failures).await {
            let turns = &self.turns;
            rest.go_on(|size| turns.place(size));
        }
        Told::new(&failures)
    }
}
