//! Refresh of rosters: decides when a roster is fetched, publishes it, and wakes the sessions of its user. It does not
//! know what a backend is, nor what sessions tell their clients.
//!
//! A user is known here while a session of theirs is alive (it holds a [`Lease`]) or a fetch for them is under way.
//! Each user has at most one fetch at a time, in a task of its own. So no answer can overtake another, and a caller
//! that gives up waiting does not cancel the fetch for others:
//!
//! ```text
//!            need, refresh            task runs                 answer
//!   (idle) ---------------> waiting ------------> under way ---------------> (idle)
//!              need, refresh: |  ^       need: join | | refresh: ask for       |
//!                       join  +--+                  + +          another -------+--> waiting
//! ```
//!
//! A list may also be put ([`Rosters::put`]); a fetch that had begun by then does not overwrite it.
//!
//! A notification is answered by a fetch that began after it: an earlier one may have read the old list. All
//! notifications that come in during one fetch share the next.

mod again;
mod lease;
mod put;
mod task;
mod waiting;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

pub use self::lease::Lease;
use self::{
    task::{Task, Update},
    waiting::{Ticket, Waiting},
};
use super::{
    ContactSource, FetchError,
    failures::{Failure, Failures},
};
use crate::{
    clock::since_1970,
    metrics,
    net::wake_flag::WakeFlag,
    roster::{
        Roster, Username,
        snapshot::{Entry, Snapshot},
    },
};

/// The bounds of one host's rosters.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most rosters of users who are offline, kept for when the backend fails.
    pub fallbacks: usize,
    /// Bound on their memory, bytes.
    pub fallback_bytes: usize,
    /// How many refreshes a caller should have under way at once: as many as the source fetches at once. More would
    /// only wait, and their time would run out meanwhile.
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fallbacks: 10_000,
            fallback_bytes: 256 << 20,
            concurrency: 32,
        }
    }
}

/// Number of locks that the users are spread over.
const SHARDS: usize = 16;

/// The rosters of one host's users.
#[derive(Debug)]
pub struct Rosters<S> {
    source: S,
    options: Options,
    snapshot: Snapshot,
    failures: Failures,
    metrics: metrics::Domain,
    users: [Mutex<HashMap<Username, User>>; SHARDS],
    hasher: RandomState,
}

/// What is in memory about a user.
#[derive(Clone, Debug)]
pub struct Known {
    /// Their roster.
    pub entry: Option<Arc<Entry>>,
    /// The latest fetch for them that failed; a later one may have succeeded.
    pub last_failure: Option<Failure>,
}

/// A user who is online, or for whom a fetch is under way.
#[derive(Debug, Default)]
struct User {
    /// One per lease.
    wake_flags: Vec<Arc<WakeFlag>>,
    fetch: Option<Fetch>,
    /// Fetches that have failed, one after the other.
    failed: u32,
}

#[derive(Debug, Default)]
struct Fetch {
    /// Whether the source has been asked. Until then, it answers notifications too.
    begun: bool,
    waiting: Waiting,
    /// Callers that need another fetch after this one.
    again: Waiting,
    /// A notification came in while the user was offline: its caller was not kept waiting, so this
    /// fetch is no basis for the next login.
    outdated: bool,
    /// A list was put after the source had been asked: the answer may be older.
    overtaken: bool,
}

impl<S: ContactSource + 'static> Rosters<S> {
    /// Rosters of a host on which nobody is online.
    pub fn new(source: S, options: Options) -> Arc<Self> {
        Self::counted(source, options, metrics::Domain::default())
    }

    /// The same, with what happens counted in `metrics`.
    pub fn counted(source: S, options: Options, metrics: metrics::Domain) -> Arc<Self> {
        Arc::new(Self {
            source,
            options,
            snapshot: Snapshot::new(options.fallbacks, options.fallback_bytes),
            failures: Failures::default(),
            metrics,
            users: Default::default(),
            hasher: RandomState::new(),
        })
    }

    /// Where contacts come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The bounds it was made with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// What is in memory about a user.
    pub fn known(&self, user: &Username) -> Known {
        Known {
            entry: self.snapshot.get(user),
            last_failure: self.failures.last_of(user),
        }
    }

    /// Whether there is anything to refresh: a session of `user`, or a fetch that has begun.
    pub fn is_lent(&self, user: &Username) -> bool {
        self.users(user).contains_key(user)
    }

    /// A session of `user` has begun; `wake_flag` is woken whenever their roster has changed.
    pub fn join(self: &Arc<Self>, user: Username, wake_flag: Arc<WakeFlag>) -> Lease<S> {
        let mut users = self.users(&user);
        let wake_flags = &mut users.entry(user.clone()).or_default().wake_flags;
        wake_flags.push(Arc::clone(&wake_flag));
        drop(users);
        Lease {
            rosters: Arc::clone(self),
            user,
            wake_flag,
        }
    }

    /// The backend says that the user's roster has changed. Fetches it, and is done when the sessions of the user have
    /// been woken. Without sessions, it is done at once, without a fetch. Must run in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The fetch failed, and nothing has changed. A user who logs out meanwhile is no error.
    pub async fn refresh(self: &Arc<Self>, user: &Username) -> Result<(), FetchError> {
        match self.begin_refresh(user) {
            Some(refreshing) => refreshing.await,
            None => Ok(()),
        }
    }

    /// As [`refresh`](Self::refresh); `None` if there is nothing to wait for.
    pub fn begin_refresh(
        self: &Arc<Self>,
        user: &Username,
    ) -> Option<impl Future<Output = Result<(), FetchError>> + Send + use<S>> {
        Some(self.notify(user)?.outcome())
    }

    fn notify(self: &Arc<Self>, user: &Username) -> Option<Ticket> {
        let mut users = self.users(user);
        let known = users.get_mut(user)?;
        let online = !known.wake_flags.is_empty();
        match &mut known.fetch {
            Some(fetch) if fetch.begun => {
                fetch.outdated |= !online;
                online.then(|| fetch.again.join())
            }
            Some(fetch) => online.then(|| fetch.waiting.join()),
            None => {
                let ticket = known.fetch.insert(Fetch::default()).waiting.join();
                drop(users);
                self.spawn(user);
                Some(ticket)
            }
        }
    }

    /// `None` if the roster is there and fresh.
    fn need(self: &Arc<Self>, user: &Username) -> Option<Ticket> {
        let mut users = self.users(user);
        // Looked at under the lock: the last fetch may have ended just now.
        if self.fresh(user).is_some() {
            return None;
        }
        let known = users.get_mut(user).expect("a lease keeps its user");
        match &mut known.fetch {
            Some(fetch) if fetch.outdated => Some(fetch.again.join()),
            Some(fetch) => Some(fetch.waiting.join()),
            None => {
                let ticket = known.fetch.insert(Fetch::default()).waiting.join();
                drop(users);
                self.spawn(user);
                Some(ticket)
            }
        }
    }

    fn spawn(self: &Arc<Self>, user: &Username) {
        let task = Task {
            rosters: Arc::clone(self),
            user: user.clone(),
            done: false,
        };
        tokio::spawn(task.run());
    }

    fn fresh(&self, user: &Username) -> Option<Arc<Roster>> {
        let entry = self.snapshot.get(user)?;
        entry.fresh.then(|| Arc::clone(&entry.roster))
    }

    /// The source is about to be asked.
    fn begin(&self, user: &Username) -> Option<Arc<Entry>> {
        let mut users = self.users(user);
        if let Some(fetch) = users.get_mut(user).and_then(|known| known.fetch.as_mut()) {
            fetch.begun = true;
        }
        drop(users);
        self.snapshot.get(user)
    }

    /// A fetch has failed. Says how many have, one after the other.
    fn count_failure(&self, user: &Username) -> u32 {
        let mut users = self.users(user);
        let failed = users.get_mut(user).map_or(1, |known| {
            known.failed = known.failed.saturating_add(1);
            known.failed
        });
        drop(users);
        failed
    }

    /// The source has answered. Says whether it has to be asked again.
    fn finish(&self, user: &Username, answer: Result<Update, FetchError>) -> bool {
        let mut users = self.users(user);
        let known = users
            .get_mut(user)
            .expect("a user stays while a fetch is under way");
        let mut fetch = known
            .fetch
            .take()
            .expect("a fetch stays until it is finished");
        let online = !known.wake_flags.is_empty();
        let mut outcome = Ok(());
        let mut wake_flags = Vec::new();
        let fresh = online && !fetch.outdated;
        match answer {
            _ if fetch.overtaken => self.snapshot.confirm(user, fresh),
            Ok(update) => {
                known.failed = 0;
                if update.changed {
                    wake_flags.clone_from(&known.wake_flags);
                }
                self.snapshot.publish(
                    user.clone(),
                    Entry {
                        roster: update.roster,
                        left_out: update.left_out,
                        validators: update.validators,
                        fetched: since_1970(),
                        put: update.put,
                        fresh,
                    },
                );
            }
            Err(error) if online => outcome = Err(error),
            Err(_) => {}
        }
        let again = online && !fetch.again.0.is_empty();
        if again {
            known.fetch = Some(Fetch {
                waiting: fetch.again,
                ..Fetch::default()
            });
        } else {
            // The user has logged out: callers who waited for the next fetch need it no longer.
            fetch.waiting.0.extend(fetch.again.0);
        }
        if !online {
            users.remove(user);
        }
        drop(users);
        for wake_flag in wake_flags {
            wake_flag.wake();
        }
        fetch.waiting.answer(&outcome);
        again
    }

    /// The task has ended without an answer. Callers that wait learn it as their senders are dropped.
    fn abandon(&self, user: &Username) {
        let mut users = self.users(user);
        let Some(known) = users.get_mut(user) else {
            return;
        };
        let fetch = known.fetch.take();
        if known.wake_flags.is_empty() {
            users.remove(user);
        }
        drop(users);
        drop(fetch);
    }

    /// A session has ended.
    fn leave(&self, user: &Username, wake_flag: &Arc<WakeFlag>) {
        let mut users = self.users(user);
        let known = users.get_mut(user).expect("a lease keeps its user");
        let at = known
            .wake_flags
            .iter()
            .position(|it| Arc::ptr_eq(it, wake_flag));
        known
            .wake_flags
            .swap_remove(at.expect("a lease keeps its wake_flag"));
        if known.wake_flags.is_empty() {
            self.snapshot.retire(user);
            if known.fetch.is_none() {
                users.remove(user);
            }
        }
    }

    /// Locks the shard of a user. The snapshot may be written under this lock, not the other way
    /// round.
    fn users(&self, user: &Username) -> MutexGuard<'_, HashMap<Username, User>> {
        let shard = self.hasher.hash_one(user) % SHARDS as u64;
        self.users[shard as usize].lock()
    }
}

#[cfg(test)]
mod tests;
