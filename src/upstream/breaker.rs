//! Circuit breaker: while a server is down, its clients are refused at once instead of waiting for a connection.
//!
//! Few connections are opened at a time. After some attempts in a row that find nobody listening, no connection is
//! tried for a while. Then one at a time is tried, until one succeeds.
//!
//! No client can open the circuit for others. Only one thing counts, and it is known before the server hears anything
//! of the client: whether somebody listens at its address. What comes later does not count, as the server may refuse
//! what one client says, its address, or how often it comes.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::ConnectError;

/// Connections that may be opening at a time.
const DIALS: usize = 64;
/// How long a turn lasts. If the server takes longer for some clients, the others do not wait for them.
const TURN: Duration = Duration::from_secs(2);
/// Failures in a row after which no connection is tried.
const FAILURES: u32 = 5;
/// How long none is tried. Clients are told to try again after the same time.
const REST: Duration = Duration::from_secs(5);

/// The circuit breaker of one server.
#[derive(Debug)]
pub(super) struct Breaker {
    turns: Semaphore,
    /// Looks whether somebody is there, one at a time.
    looks: Arc<Semaphore>,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// In a row.
    failures: u32,
    rest_until: Option<Instant>,
    /// Whether somebody listens, by the last finding.
    is_listening: Option<bool>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(DIALS),
            looks: Arc::new(Semaphore::new(1)),
            trouble: Mutex::default(),
        }
    }
}

impl Breaker {
    /// Permits an attempt to connect; `None` while no connection is tried.
    pub(super) fn admit(&self) -> Option<Attempt<'_>> {
        let mut trouble = self.trouble.lock();
        let now = Instant::now();
        let trial = match trouble.rest_until {
            Some(until) if now < until => return None,
            Some(_) => Some(now + REST),
            None => None,
        };
        // A trial keeps the others out.
        trouble.rest_until = trial;
        Some(Attempt {
            breaker: self,
            trial,
            is_settled: AtomicBool::new(false),
        })
    }

    /// Whether somebody listens, as the last attempt has found; `None` before that.
    pub(super) fn is_listening(&self) -> Option<bool> {
        self.trouble.lock().is_listening
    }

    /// Permits a look whether somebody does, if there is none.
    pub(super) fn look(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.looks).try_acquire_owned().ok()
    }

    /// Runs `opening` once a turn is free.
    pub(super) async fn in_turn<T>(&self, opening: impl Future<Output = T>) -> T {
        let turn = self.turns.acquire().await;
        let mut opening = pin!(opening);
        let opened = timeout(TURN, &mut opening).await;
        drop(turn);
        match opened {
            Ok(opened) => opened,
            Err(_) => opening.await,
        }
    }
}

/// An attempt to connect, to be settled once it is known whether somebody listens. If it is dropped before that, it
/// counts for nothing; if it was a trial, another one may follow at once.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    /// For a trial: until when no other attempt is admitted.
    trial: Option<Instant>,
    is_settled: AtomicBool,
}

impl Attempt<'_> {
    /// Whether it is a trial, the only attempt for now.
    pub(super) fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Somebody listens where the server should be.
    pub(super) fn found_somebody(&self) {
        if !self.settle() {
            *self.breaker.trouble.lock() = Trouble {
                is_listening: Some(true),
                ..Trouble::default()
            };
        }
    }

    /// It failed in this way: perhaps nobody listens there, or nobody can get there.
    pub(super) fn failed(&self, error: &ConnectError) {
        if error.means_nobody_is_there() {
            self.found_nobody();
        } else if error.means_no_way() && !self.is_settled.load(Ordering::Relaxed) {
            self.breaker.trouble.lock().is_listening = Some(false);
        }
    }

    /// Nobody listens there.
    fn found_nobody(&self) {
        if self.settle() {
            return;
        }
        let mut trouble = self.breaker.trouble.lock();
        trouble.is_listening = Some(false);
        trouble.failures = trouble.failures.saturating_add(1);
        if trouble.failures >= FAILURES {
            trouble.rest_until = Some(Instant::now() + REST);
        }
    }

    /// Settles the attempt; whether it was settled before. Only the first finding counts, because a later one may be of
    /// another server, which the first chose for this client.
    fn settle(&self) -> bool {
        self.is_settled.swap(true, Ordering::Relaxed)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.trial.is_none() || self.settle() {
            return;
        }
        let mut trouble = self.breaker.trouble.lock();
        if trouble.rest_until == self.trial {
            trouble.rest_until = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::advance;

    use super::*;
    use crate::upstream::Phase;

    fn admits(breaker: &Breaker) -> bool {
        breaker.admit().is_some()
    }

    fn fail(breaker: &Breaker) {
        breaker.admit().expect("open").found_nobody();
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_in_trouble_is_left_alone_and_then_tried_by_one() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            fail(&breaker);
        }
        assert!(!admits(&breaker));
        advance(REST).await;
        let trial = breaker.admit().expect("one finds out");
        assert!(trial.is_trial());
        assert!(!admits(&breaker), "while others wait");
        trial.found_nobody();
        drop(trial);
        assert!(!admits(&breaker));
        advance(REST).await;
        let trial = breaker.admit().expect("one finds out");
        trial.found_somebody();
        assert!(admits(&breaker) && admits(&breaker), "before it is over");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_count_in_a_row() {
        let breaker = Breaker::default();
        for _ in 0..3 * FAILURES {
            fail(&breaker);
            breaker.admit().expect("open").found_somebody();
        }
        for _ in 1..FAILURES {
            fail(&breaker);
        }
        assert!(admits(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_given_up_is_given_back() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            fail(&breaker);
        }
        advance(REST).await;
        for _ in 0..3 {
            drop(breaker.admit().expect("the trial"));
        }
        let slow = breaker.admit().expect("the trial");
        advance(REST).await;
        let next = breaker.admit().expect("the next one");
        drop(slow);
        assert!(!admits(&breaker), "that was not its own any longer");
        drop(next);
        assert!(admits(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_outcome_counts() {
        let breaker = Breaker::default();
        for _ in 0..2 * FAILURES {
            let attempt = breaker.admit().expect("open");
            attempt.found_somebody();
            attempt.found_nobody();
        }
        assert!(admits(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn whom_nobody_can_get_to_does_not_listen_but_is_not_left_alone() {
        let timeout = |phase| ConnectError::Timeout { phase };
        let breaker = Breaker::default();
        assert_eq!(breaker.is_listening(), None, "nobody has tried");
        for _ in 0..2 * FAILURES {
            let attempt = breaker.admit().expect("open");
            attempt.failed(&timeout(Phase::Resolve));
            assert_eq!(breaker.is_listening(), Some(false));
        }
        let attempt = breaker.admit().expect("open");
        attempt.found_somebody();
        attempt.failed(&timeout(Phase::Connect));
        assert_eq!(breaker.is_listening(), Some(true), "at another address");
        let attempt = breaker.admit().expect("open");
        attempt.failed(&timeout(Phase::Stream));
        assert_eq!(breaker.is_listening(), Some(true), "it is slow");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_before_a_slow_server_answers() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..DIALS {
            let breaker = Arc::clone(&breaker);
            tokio::spawn(async move { breaker.in_turn(pending::<()>()).await });
        }
        while breaker.turns.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        breaker.in_turn(async {}).await;
        assert!((TURN..2 * TURN).contains(&began.elapsed()));
    }
}
