//! Lease of a roster: a session holds it while it lives, and gets its user's roster by it. Dropping it ends the share.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::Rosters;
use crate::{
    backend::{ContactSource, FetchError},
    net::wake_flag::WakeFlag,
    roster::{Roster, Username},
};

/// Share of one session in its user's roster. The user is online while there is one.
#[derive(Debug)]
pub struct Lease<S: ContactSource + 'static> {
    pub(super) rosters: Arc<Rosters<S>>,
    pub(super) user: Username,
    pub(super) wake_flag: Arc<WakeFlag>,
}

impl<S: ContactSource + 'static> Lease<S> {
    /// The roster as last published, if it was fetched while the user has been online. Look here
    /// after each wake of the wake_flag. Never waits.
    pub fn current(&self) -> Option<Arc<Roster>> {
        self.rosters.fresh(&self.user)
    }

    /// The roster: the current one, or one that is fetched now, together with whoever else needs
    /// it. If that fails, the one from before, if it is still in memory; it does not become the
    /// current one, so that the next need tries again. Must be called in a tokio runtime. The
    /// fetch goes on if the future is dropped.
    ///
    /// # Errors
    ///
    /// The fetch failed, and there is nothing to fall back to.
    pub fn need(
        &self,
    ) -> impl Future<Output = Result<Arc<Roster>, FetchError>> + Send + use<S> + 'static {
        let rosters = Arc::clone(&self.rosters);
        let user = self.user.clone();
        let ticket = rosters.need(&user);
        async move {
            let outcome = match ticket {
                Some(ticket) => ticket.outcome().await,
                None => Ok(()),
            };
            match rosters.snapshot.get(&user) {
                Some(entry) => {
                    if outcome.is_err() {
                        rosters.metrics.stale.inc();
                    }
                    Ok(Arc::clone(&entry.roster))
                }
                // `Ok` means that the user has left meanwhile, and the entry too.
                None => Err(outcome.err().unwrap_or(FetchError::Abandoned)),
            }
        }
    }
}

/// How long a client waits for its roster while the fetch is tried again. A backend restarts in less.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest delay between tries after the client has been told of the failure; jitter can double it.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

fn while_the_client_waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(4))
        .without_max_times()
        .build()
}

/// With jitter: when a backend comes back, not all sessions should ask it at the same time.
fn for_as_long_as_it_takes() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(LONGEST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

impl<S: ContactSource + 'static> Lease<S> {
    /// As [`need`](Self::need); but where there is nothing to fall back to, the fetch is tried again for up to ten
    /// seconds.
    ///
    /// # Errors
    ///
    /// The last fetch failed.
    pub async fn need_patiently(self: Arc<Self>) -> Result<Arc<Roster>, FetchError> {
        let until = Instant::now() + PATIENCE;
        let mut delays = while_the_client_waits();
        loop {
            let outcome = self.need().await;
            let delay = delays
                .next()
                .filter(|delay| outcome.is_err() && Instant::now() + *delay < until);
            let Some(delay) = delay else {
                return outcome;
            };
            sleep(delay).await;
        }
    }

    /// The roster, once a fetch has succeeded, however long that takes. Clients that were given an error, or an old
    /// list, do not ask again.
    pub async fn need_at_last(self: Arc<Self>) -> Arc<Roster> {
        let mut delays = for_as_long_as_it_takes();
        loop {
            if let Some(roster) = self.current() {
                return roster;
            }
            sleep(delays.next().unwrap_or(LONGEST_DELAY)).await;
            if let Some(ticket) = self.rosters.need(&self.user) {
                // If it fails, the next one is a little later.
                let _ = ticket.outcome().await;
            }
        }
    }
}

impl<S: ContactSource + 'static> Drop for Lease<S> {
    fn drop(&mut self) {
        self.rosters.leave(&self.user, &self.wake_flag);
    }
}
