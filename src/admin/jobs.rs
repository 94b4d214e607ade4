//! Jobs of a request: the users whom it names, each once.
//!
//! Those who are not reached before its deadline are refreshed while nobody waits. Where the server holds the lists, the
//! writer tries them later. Otherwise, the jobs go on, within the bound on refreshes that have been accepted.

use std::{sync::Arc, vec};

use smallvec::SmallVec;
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};
use tracing::{info, warn};

use super::{Lists, respond::Failure};
use crate::{backend::ContactSource, roster::Username, writer::Call as Notification};

/// Indexes into the array of the request.
pub(super) type Entries = SmallVec<[usize; 1]>;

/// One user to be refreshed, and who asked for it.
pub(super) struct Job<S> {
    pub(super) lists: Lists<S>,
    pub(super) user: Username,
    pub(super) entries: Entries,
}

/// Jobs, some of which are under way.
pub(super) struct Running<S> {
    jobs: vec::IntoIter<Job<S>>,
    at_once: usize,
    call: Arc<Notification>,
    /// Dropping this aborts tasks that only wait; the fetches go on.
    under_way: JoinSet<(Entries, Result<(), Failure>)>,
}

impl<S: ContactSource + 'static> Running<S> {
    /// Jobs of which none has begun. As many will run at once as the backends fetch at once: more would only wait, and
    /// their time would run out.
    pub(super) fn new(jobs: Vec<Job<S>>, call: Arc<Notification>) -> Self {
        let limits = jobs.iter().map(|job| job.lists.concurrency());
        Self {
            at_once: limits.min().unwrap_or(1).max(1),
            jobs: jobs.into_iter(),
            call,
            under_way: JoinSet::new(),
        }
    }

    /// The next job that is done; `None` after the last. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Option<(Entries, Result<(), Failure>)> {
        loop {
            while self.under_way.len() < self.at_once
                && let Some(Job {
                    lists,
                    user,
                    entries,
                }) = self.jobs.next()
            {
                let Some(refreshing) = lists.begin_refresh(&user, &self.call) else {
                    // The user has logged out.
                    return Some((entries, Ok(())));
                };
                self.under_way
                    .spawn(async move { (entries, refreshing.await) });
            }
            // A task that panics has no outcome.
            if let Ok(done) = self.under_way.join_next().await? {
                return Some(done);
            }
        }
    }

    /// Does what is left. `place` has room for names of so many bytes, as long as they are in memory.
    pub(super) fn go_on(mut self, place: impl FnOnce(usize) -> Option<OwnedSemaphorePermit>) {
        let mut waiting = 0;
        let mut left = Vec::new();
        for job in self.jobs {
            match &job.lists {
                Lists::Gateway(_) => left.push(job),
                Lists::Server(rosters) => waiting += usize::from(!rosters.refresh_later(&job.user)),
            }
        }
        if waiting > 0 {
            warn!(
                users = waiting,
                "too many contact lists are unwritten, these users wait for their next refresh"
            );
        }
        if left.is_empty() {
            return;
        }
        let users = left.len();
        let size = left.iter().map(|job| job.user.as_str().len() + 4).sum();
        let Some(place) = place(size) else {
            warn!(
                users,
                "too many refreshes are unfinished, these users wait for their next refresh"
            );
            return;
        };
        self.jobs = left.into_iter();
        tokio::spawn(async move {
            while self.next().await.is_some() {}
            info!(users, "rosters refreshed after the deadline");
            drop(place);
        });
    }
}
