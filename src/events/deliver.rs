//! Delivery: one batch after the other, each again and again until the receiver has it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::{Availability, PostError, Receiver, State, wire};
use crate::{availability::users::Told, clock::now, metrics::health::Dependency};

/// Longest wait between two attempts.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// The same while the gateway is going down.
const LAST_DELAY: Duration = Duration::from_secs(1);

/// A batch on its way.
pub(super) struct Batch {
    receiver: Arc<Receiver>,
    body: Bytes,
    count: usize,
    /// The id of its last event.
    last: u64,
}

/// A receiver that does not take what it is sent.
pub(super) struct Lost {
    since: std::time::Instant,
    attempts: u64,
    delays: Box<dyn Iterator<Item = Duration> + Send>,
}

/// Delays between a delivery that fails and the next, without end: from a second on, with jitter.
fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

impl Availability {
    /// Delivers, as long as the gateway runs.
    pub(super) async fn deliver(self: Arc<Self>) {
        let mut lost: Option<Lost> = None;
        loop {
            let Some(batch) = self.next_decided().await else {
                // The receiver has it all, or there is none any longer.
                lost = None;
                self.progress.notify_waiters();
                self.wait().await;
                continue;
            };
            let outcome = tokio::select! {
                outcome = batch.receiver.post(batch.body.clone()) => outcome,
                () = self.moved.notified() => continue,
            };
            match outcome {
                Ok(()) => {
                    let told = self.delivered(&batch, lost.take());
                    self.correct(told).await;
                }
                Err(error) => {
                    let delay = self.failed(&error, &mut lost);
                    self.pause(delay).await;
                }
            }
        }
    }

    /// What is to be delivered next, and to whom.
    pub(super) fn next_batch(state: &mut State) -> Option<Batch> {
        let receiver = Arc::clone(state.receiver.as_ref()?);
        let batch = state.users.events()?.batch();
        let count = batch.len();
        let batch: Vec<_> = batch.collect();
        let last = batch.last()?.id;
        Some(Batch {
            receiver,
            body: wire::body(batch.into_iter()),
            count,
            last,
        })
    }

    /// Waits until there may be something to deliver.
    async fn wait(&self) {
        let expiry = self.next_expiry().map(Instant::from_std);
        let expires = async {
            match expiry {
                Some(expiry) => sleep_until(expiry).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.news.notified() => {}
            () = expires => {}
        }
    }

    /// Waits before the next attempt.
    async fn pause(&self, delay: Duration) {
        let delay = match self.is_stopping.load(Ordering::Relaxed) {
            true => delay.min(LAST_DELAY),
            false => delay,
        };
        tokio::select! {
            () = self.hurry.notified() => {}
            () = sleep(delay) => {}
        }
    }

    pub(super) fn delivered(&self, batch: &Batch, lost: Option<Lost>) -> Vec<Told> {
        let told = self.with(|state, _| {
            let told = state.users.delivered(batch.last);
            if let Some(queue) = state.users.events() {
                state.has_warned &= !queue.is_empty();
            }
            told
        });
        self.progress.notify_waiters();
        self.metrics.events_posted("ok", batch.count);
        if let Some(lost) = lost {
            let after = now().saturating_duration_since(lost.since).as_secs();
            let (domain, attempts) = (&*self.domain, lost.attempts);
            info!(domain, after, attempts, "receiver of events is back");
        }
        told
    }

    /// How long to wait before the next attempt.
    fn failed(&self, error: &PostError, lost: &mut Option<Lost>) -> Duration {
        let domain = &*self.domain;
        self.metrics.events_posted(error.outcome(), 0);
        if error.is_too_much() {
            self.with(|state, _| state.users.events().map(|queue| queue.too_much()));
        }
        if lost.is_some() {
            debug!(domain, %error, "events not delivered");
        } else {
            warn!(domain, %error, "receiver of events is lost, events wait for it");
            self.metrics.failed(Dependency::Events, error);
        }
        let lost = lost.get_or_insert_with(|| Lost {
            since: now(),
            attempts: 0,
            delays: Box::new(delays()),
        });
        lost.attempts = lost.attempts.saturating_add(1);
        lost.delays.next().unwrap_or(MAX_DELAY)
    }
}
