//! Turns of users: one refresh of a user runs at a time, and one more may wait, which all callers share that come
//! meanwhile. A list has a lock of its own, as the refreshes of its contacts write into it, too: it is held while the
//! list is read and written, and nobody who holds one waits for another.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, OwnedMutexGuard, watch};

use super::WriteError;
use crate::{backend::FetchError, roster::Username};

type Outcome = Option<Result<(), WriteError>>;

/// The users whose lists are being worked on.
#[derive(Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Username, User>>>);

#[derive(Debug, Default)]
struct User {
    /// Held by the refresh that runs.
    turn: Weak<AsyncMutex<()>>,
    list: Weak<AsyncMutex<Latest>>,
    /// The refresh that has not begun.
    waiting: Option<watch::Receiver<Outcome>>,
}

/// Place of a refresh that waits for its turn.
pub(super) struct Waiting {
    turns: Turns,
    user: Username,
}

/// Turn of a user; ends when dropped.
pub(super) struct Turn {
    turns: Turns,
    user: Username,
    guard: Option<OwnedMutexGuard<()>>,
}

/// Number of the latest of the site's answers by which a list was written: those from before it are outdated.
pub(super) type Latest = u64;

/// List of a user in the server. What has been written into it is remembered as long as somebody has this.
#[derive(Debug)]
pub(super) struct List {
    turns: Turns,
    user: Username,
    lock: Option<Arc<AsyncMutex<Latest>>>,
}

/// Outcome of a refresh, for one of those who wait for it.
pub(super) struct Joined(watch::Receiver<Outcome>);

impl Joined {
    pub(super) async fn result(mut self) -> Result<(), WriteError> {
        let outcome = self.0.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        // Without one, the task has ended before the refresh.
        outcome.unwrap_or(Err(WriteError::Fetch(FetchError::Abandoned)))
    }
}

impl Turns {
    fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Joins the refresh of `user` that has not begun; without one, spawns what `refresh` makes.
    pub(super) fn join<F>(&self, user: &Username, refresh: impl FnOnce(Waiting) -> F) -> Joined
    where
        F: Future<Output = Result<(), WriteError>> + Send + 'static,
    {
        let mut users = self.0.lock();
        let known = users.entry(user.clone()).or_default();
        if let Some(waiting) = &known.waiting {
            return Joined(waiting.clone());
        }
        let (teller, outcome) = watch::channel(None);
        known.waiting = Some(outcome.clone());
        drop(users);
        let refreshing = refresh(Waiting {
            turns: self.share(),
            user: user.clone(),
        });
        tokio::spawn(async move {
            let outcome = refreshing.await;
            teller.send_replace(Some(outcome));
        });
        Joined(outcome)
    }

    /// Waits for the turn of `user`.
    pub(super) async fn turn(&self, user: &Username) -> Turn {
        let lock = shared(&mut self.0.lock().entry(user.clone()).or_default().turn);
        Turn {
            turns: self.share(),
            user: user.clone(),
            guard: Some(lock.lock_owned().await),
        }
    }

    /// The list of `user`.
    pub(super) fn list(&self, user: &Username) -> List {
        let lock = shared(&mut self.0.lock().entry(user.clone()).or_default().list);
        List {
            turns: self.share(),
            user: user.clone(),
            lock: Some(lock),
        }
    }

    /// Forgets a user whom nobody works on or waits for.
    fn forget(&self, user: &Username) {
        let mut users = self.0.lock();
        let is_idle = |known: &User| {
            let users = known.turn.strong_count() + known.list.strong_count();
            known.waiting.is_none() && users == 0
        };
        if users.get(user).is_some_and(is_idle) {
            users.remove(user);
        }
    }
}

fn shared<T: Default>(known: &mut Weak<T>) -> Arc<T> {
    known.upgrade().unwrap_or_else(|| {
        let new = Arc::default();
        *known = Arc::downgrade(&new);
        new
    })
}

impl List {
    /// Waits until nobody else reads or writes it.
    pub(super) async fn lock(&self) -> MutexGuard<'_, Latest> {
        let lock = self.lock.as_ref();
        lock.expect("it is there until this is dropped")
            .lock()
            .await
    }
}

impl Waiting {
    /// Waits for the turn. Who comes after that waits for another refresh.
    pub(super) async fn begin(self) -> Turn {
        let turn = self.turns.turn(&self.user).await;
        drop(self);
        turn
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(known) = self.turns.0.lock().get_mut(&self.user) {
            known.waiting = None;
        }
        self.turns.forget(&self.user);
    }
}

impl Drop for List {
    fn drop(&mut self) {
        self.lock = None;
        self.turns.forget(&self.user);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        self.turns.forget(&self.user);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::roster::testing::user;

    #[tokio::test]
    async fn who_comes_before_a_refresh_begins_shares_it() {
        let turns = Turns::default();
        let john = user("john");
        let begun = Arc::new(AtomicUsize::new(0));
        let join = || {
            let begun = Arc::clone(&begun);
            let refresh = |waiting: Waiting| async move {
                let _turn = waiting.begin().await;
                begun.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            turns.join(&john, refresh).result()
        };
        let running = turns.turn(&john).await;
        let (one, other) = (join(), join());
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::Relaxed), 0, "one runs");
        drop(running);
        assert_eq!((one.await, other.await), (Ok(()), Ok(())));
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        assert_eq!(join().await, Ok(()));
        assert_eq!(begun.load(Ordering::Relaxed), 2, "the first had begun");
        // The task that has told the outcome gives its turn back.
        while !turns.0.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_was_written_is_known_while_somebody_works_on_the_list() {
        let turns = Turns::default();
        let john = user("john");
        let list = turns.list(&john);
        {
            let _turn = turns.turn(&john).await;
            *turns.list(&john).lock().await = 7;
        }
        assert_eq!(*list.lock().await, 7);
        drop(list);
        assert!(turns.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_refresh_that_ends_early_leaves_nobody_waiting() {
        let turns = Turns::default();
        let john = user("john");
        let joined = turns.join(&john, |waiting| async move {
            drop(waiting);
            ready(Err(WriteError::NoSuchUser)).await
        });
        assert_eq!(joined.result().await, Err(WriteError::NoSuchUser));
        assert!(turns.0.lock().is_empty());
    }
}
