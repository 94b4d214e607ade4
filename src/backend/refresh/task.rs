//! Task that fetches one user's roster, again for as long as callers need another fetch. It counts and logs the
//! outcome; [`Rosters`] publishes it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::Rosters;
use crate::{
    backend::{ContactSource, FetchError, Fetched, failures::Failure, off_thread},
    clock::since_1970,
    metrics::health::Dependency,
    roster::{
        Roster, Username, diff,
        left_out::LeftOut,
        snapshot::{Entry, Validators},
    },
};

/// Longest list that is sorted, rendered and compared on a thread of the runtime; a longer one would delay other tasks.
pub(super) const LARGE: usize = 1000;

/// Result of a fetch, ready to be published.
pub(super) struct Update {
    pub(super) roster: Arc<Roster>,
    pub(super) left_out: LeftOut,
    pub(super) validators: Validators,
    /// As in [`Entry`].
    pub(super) put: Duration,
    pub(super) changed: bool,
}

/// One user's fetches, one after the other for as long as they are asked for.
pub(super) struct Task<S: ContactSource + 'static> {
    pub(super) rosters: Arc<Rosters<S>>,
    pub(super) user: Username,
    pub(super) done: bool,
}

impl<S: ContactSource + 'static> Task<S> {
    pub(super) async fn run(mut self) {
        loop {
            let entry = self.rosters.begin(&self.user);
            let known = entry.as_ref().map(|entry| &entry.validators);
            let began = Instant::now();
            // An answer says nothing of what the site puts.
            let put = entry.as_ref().map_or(Duration::ZERO, |entry| entry.put);
            let fetched = self.rosters.source.contacts(&self.user, known).await;
            let outcome = match &fetched {
                Ok(Fetched::New { .. }) => "new",
                Ok(Fetched::Unchanged) => "unchanged",
                Err(error) => error.outcome(),
            };
            let metrics = &self.rosters.metrics;
            metrics.fetched(outcome, fetched.is_ok(), began.elapsed());
            if let Ok(Fetched::New { left_out, .. }) = &fetched {
                metrics.left_out(left_out.count());
            }
            let fallback = entry.is_some();
            let update = match fetched {
                Ok(fetched) => {
                    let is_large = fetched.size() > LARGE;
                    let update = off_thread(is_large, move || update(entry, fetched, put)).await;
                    update.and_then(|update| update)
                }
                Err(error) => Err(error),
            };
            match &update {
                Ok(_) => debug!(user = %self.user, "roster fetched"),
                Err(error) => {
                    let failed = self.rosters.count_failure(&self.user);
                    // The fetch is tried again for as long as the user is online, so not every failure is logged.
                    if failed.is_power_of_two() {
                        warn!(user = %self.user, %error, fallback, failed, "roster fetch failed");
                    }
                    metrics.failed_of(&self.user, Dependency::Backend, error);
                    self.rosters.failures.push(Failure {
                        user: self.user.clone(),
                        at: since_1970(),
                        error: error.clone(),
                    });
                }
            }
            if !self.rosters.finish(&self.user, update) {
                self.done = true;
                return;
            }
        }
    }
}

impl<S: ContactSource + 'static> Drop for Task<S> {
    /// After a panic, or at the end of the runtime, nobody must be left waiting.
    fn drop(&mut self) {
        if !self.done {
            self.rosters.abandon(&self.user);
        }
    }
}

fn update(
    entry: Option<Arc<Entry>>,
    fetched: Fetched,
    put: Duration,
) -> Result<Update, FetchError> {
    match (fetched, entry) {
        (Fetched::Unchanged, Some(entry)) => Ok(Update {
            roster: Arc::clone(&entry.roster),
            left_out: entry.left_out.clone(),
            validators: entry.validators.clone(),
            put,
            changed: false,
        }),
        // Nothing was known that could be unchanged: the source is wrong.
        (Fetched::Unchanged, None) => Err(FetchError::Abandoned),
        (
            Fetched::New {
                contacts,
                validators,
                left_out,
                room,
            },
            entry,
        ) => {
            let roster = Roster::new(contacts);
            let old = entry.map(|entry| Arc::clone(&entry.roster));
            let same = old.filter(|old| diff::diff(old, &roster).next().is_none());
            // The answer's bytes are gone; only the list is left in memory.
            drop(room);
            Ok(Update {
                changed: same.is_none(),
                roster: same.unwrap_or_else(|| Arc::new(roster)),
                left_out,
                validators,
                put,
            })
        }
    }
}
