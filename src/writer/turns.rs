//! Turns of users: one refresh of a user runs at a time, and one more may wait, which all callers share that come
//! meanwhile. A list has a lock of its own, as the refreshes of its contacts write into it, too: it is held while the
//! list is read and written, and nobody who holds one waits for another.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, MutexGuard, OwnedMutexGuard, watch},
    time::Instant,
};

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
    /// The refresh that has not begun, and the latest notification that it answers.
    waiting: Option<(watch::Receiver<Outcome>, Instant)>,
}

/// Place of a refresh that waits for its turn.
pub(super) struct Waiting {
    turns: Turns,
    user: Username,
    has_left: bool,
}

/// Turn of a user; ends when dropped.
pub(super) struct Turn {
    turns: Turns,
    user: Username,
    since: Instant,
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

    /// Joins the refresh of `user` that has not begun; without one, spawns what `refresh` makes. The notification came at
    /// `since`.
    pub(super) fn join<F>(
        &self,
        user: &Username,
        since: Instant,
        refresh: impl FnOnce(Waiting) -> F,
    ) -> Joined
    where
        F: Future<Output = Result<(), WriteError>> + Send + 'static,
    {
        let mut users = self.0.lock();
        let known = users.entry(user.clone()).or_default();
        if let Some((outcome, latest)) = &mut known.waiting {
            *latest = since.max(*latest);
            return Joined(outcome.clone());
        }
        let (teller, outcome) = watch::channel(None);
        known.waiting = Some((outcome.clone(), since));
        drop(users);
        let refreshing = refresh(Waiting {
            turns: self.share(),
            user: user.clone(),
            has_left: false,
        });
        tokio::spawn(async move {
            let outcome = refreshing.await;
            teller.send_replace(Some(outcome));
        });
        Joined(outcome)
    }

    /// Waits for the turn of `user`, for a notification that came at `since`.
    pub(super) async fn turn(&self, user: &Username, since: Instant) -> Turn {
        let lock = shared(&mut self.0.lock().entry(user.clone()).or_default().turn);
        Turn {
            turns: self.share(),
            user: user.clone(),
            since,
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

    /// The users who wait for a refresh, or are being refreshed.
    pub(super) fn all(&self) -> Vec<Username> {
        let users = self.0.lock();
        let is_refreshed = |known: &User| known.waiting.is_some() || known.turn.strong_count() > 0;
        let users = users.iter().filter(|(_, known)| is_refreshed(known));
        users.map(|(user, _)| user.clone()).collect()
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
    pub(super) async fn begin(mut self) -> Turn {
        let mut turn = self.turns.turn(&self.user, Instant::now()).await;
        if let Some(since) = self.leave() {
            turn.since = since;
        }
        turn
    }

    /// Nobody joins any more. The latest notification, if this is called for the first time.
    fn leave(&mut self) -> Option<Instant> {
        if std::mem::replace(&mut self.has_left, true) {
            return None;
        }
        let mut users = self.turns.0.lock();
        let (_, since) = users.get_mut(&self.user)?.waiting.take()?;
        Some(since)
    }
}

impl Turn {
    /// When the latest notification came that it answers: what was fetched before does not count.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
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
        time::Duration,
    };

    use tokio::time::advance;

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
            turns.join(&john, Instant::now(), refresh).result()
        };
        let running = turns.turn(&john, Instant::now()).await;
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

    #[tokio::test(start_paused = true)]
    async fn a_refresh_answers_the_latest_of_those_who_share_it() {
        let turns = Turns::default();
        let john = user("john");
        let running = turns.turn(&john, Instant::now()).await;
        let (teller, told) = tokio::sync::oneshot::channel();
        let first = turns.join(&john, Instant::now(), |waiting| async move {
            let turn = waiting.begin().await;
            assert!(teller.send(turn.since()).is_ok());
            Ok(())
        });
        advance(Duration::from_secs(5)).await;
        let latest = Instant::now();
        let second = turns.join(&john, latest, |_| ready(Ok(())));
        drop(running);
        assert_eq!(
            (first.result().await, second.result().await),
            (Ok(()), Ok(()))
        );
        assert_eq!(told.await, Ok(latest));
    }

    #[tokio::test]
    async fn what_was_written_is_known_while_somebody_works_on_the_list() {
        let turns = Turns::default();
        let john = user("john");
        let list = turns.list(&john);
        {
            let _turn = turns.turn(&john, Instant::now()).await;
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
        let joined = turns.join(&john, Instant::now(), |waiting| async move {
            drop(waiting);
            ready(Err(WriteError::NoSuchUser)).await
        });
        assert_eq!(joined.result().await, Err(WriteError::NoSuchUser));
        assert!(turns.0.lock().is_empty());
    }
}
