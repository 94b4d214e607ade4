//! Events: tells the site who has come online and who has gone, by `POST` to the host's `events_url`. It holds who is
//! available, and keeps what is said in order; what that is, says [`crate::availability`].
//!
//! ```text
//!   session --Resource--> Availability { users, queue } <--view, list-- admin API
//!                                  |
//!                       deliver, one task a host --POST [{"id":…}]--> receiver of the site
//! ```
//!
//! One batch is under way at a time, so that the order is kept. It is sent again until the receiver answers 2xx, with a
//! growing delay; so each event arrives at least once. Where there are several gateways, [`Elsewhere`] is asked before and
//! after that.

mod deliver;
mod elsewhere;
mod receiver;
mod resource;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sha1::{Digest as _, Sha1};
use tokio::{sync::Notify, time::timeout};
use tracing::warn;

pub use self::{
    elsewhere::{Elsewhere, Had},
    receiver::{PostError, Receiver},
    resource::Resource,
};
use crate::{
    availability::users::{Doubts, Moment, Users, View},
    clock::{now, since_1970},
    config, metrics,
    roster::Username,
};

/// Who is available on one host, and what the site has yet to hear of it. Its lock is held for operations on memory.
pub struct Availability {
    domain: Box<str>,
    state: Mutex<State>,
    /// There may be something to deliver, or to wait for.
    news: Notify,
    /// The next attempt need not wait any longer.
    hurry: Notify,
    /// The receiver is somewhere else now: whoever waits for the old one's answer need not.
    moved: Notify,
    /// Something has been delivered, or there is nothing left to deliver.
    progress: Notify,
    is_stopping: AtomicBool,
    metrics: metrics::Domain,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

struct State {
    users: Users,
    receiver: Option<Arc<Receiver>>,
    /// A task delivers.
    is_delivered: bool,
    /// How many lost events have been counted.
    lost: u64,
    /// That events are lost has been logged, since the last delivery.
    has_warned: bool,
}

/// Some of the users who are available, by name.
#[derive(Debug, Default)]
pub struct Page {
    /// The users.
    pub users: Vec<(Username, View)>,
    /// There are more.
    pub has_more: bool,
    /// How many there are in all.
    pub total: usize,
    /// The id of the latest event, which the users are as of; `None` if the site wants no events.
    pub event: Option<u64>,
}

/// The number of a user: the same in all gateways, which may be different builds.
pub fn number(user: &Username) -> u64 {
    let digest: [u8; 20] = Sha1::digest(user.as_str()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Availability {
    /// Nobody is available on `domain`, and nobody is told. `elsewhere` are the other gateways, if this is one of several.
    pub fn new(
        domain: &str,
        metrics: metrics::Domain,
        elsewhere: Option<Arc<dyn Elsewhere>>,
    ) -> Arc<Self> {
        let mut users = Users::new(Duration::ZERO);
        if elsewhere.is_some() {
            users.share();
        }
        Arc::new(Self {
            domain: domain.into(),
            state: Mutex::new(State {
                users,
                receiver: None,
                is_delivered: false,
                lost: 0,
                has_warned: false,
            }),
            news: Notify::new(),
            hurry: Notify::new(),
            moved: Notify::new(),
            progress: Notify::new(),
            is_stopping: AtomicBool::new(false),
            metrics,
            elsewhere,
        })
    }

    /// Applies another configuration. A new receiver hears first who is available; one in another place gets what the
    /// old one has not got, and then hears who is available. Without a receiver, what is left is lost. Must be called in
    /// a tokio runtime.
    pub fn configure(self: &Arc<Self>, settings: &config::Events) {
        let receiver = settings.endpoint.as_ref().map(Receiver::new).map(Arc::new);
        let is_wanted = receiver.is_some();
        let dropped = self.change(|state, moment| {
            state.users.set_delay(settings.offline_after);
            if let Some(before) = std::mem::replace(&mut state.receiver, receiver) {
                self.hurry.notify_one();
                let is_same = |it: &Arc<Receiver>| it.is_at_the_place_of(&before);
                if !state.receiver.as_ref().is_some_and(is_same) {
                    self.moved.notify_waiters();
                    if is_wanted {
                        state.users.begin_again(moment);
                    }
                }
            }
            match is_wanted {
                true => {
                    state.users.begin_events(moment);
                    0
                }
                false => {
                    state.lost = 0;
                    state.users.end_events()
                }
            }
        });
        if dropped > 0 {
            self.metrics.events_lost(dropped);
            warn!(
                domain = &*self.domain,
                lost = dropped,
                "events_url is gone, events are lost"
            );
        }
        let is_first =
            is_wanted && !std::mem::replace(&mut self.state.lock().is_delivered, is_wanted);
        if is_first {
            tokio::spawn(Arc::clone(self).deliver());
        }
    }

    /// The resource of a session, which is not available yet. `number` names the session.
    pub fn resource(self: &Arc<Self>, user: &Username, number: u64) -> Resource {
        Resource::new(Arc::clone(self), user.clone(), number)
    }

    /// What can be seen of a user.
    pub fn view(&self, user: &Username) -> View {
        self.with(|state, _| state.users.view(user))
    }

    /// At most `limit` of the available users, by name, from those on that come after `after`.
    pub fn list(&self, after: Option<&Username>, limit: usize) -> Page {
        self.with(|state, _| {
            let event = state.users.events().map(|queue| queue.last());
            let mut listed = state.users.list(after);
            let users = listed.by_ref().take(limit);
            let users = users.map(|(user, view)| (user.clone(), view)).collect();
            Page {
                users,
                has_more: listed.next().is_some(),
                total: state.users.len(),
                event,
            }
        })
    }

    /// Those of the users in doubt whom this gateway has, for another one.
    pub fn has(&self, doubts: &Doubts) -> Vec<Username> {
        let had = self.with(|state, _| state.users.has(doubts));
        had.into_iter().collect()
    }

    /// The site may have missed what another gateway has told, or would have.
    pub fn miss(&self) {
        self.change(|state, moment| state.users.miss(moment));
    }

    /// The number of each of the available users, which is the same at each gateway: by it, those who are available at
    /// several of them can be told.
    pub fn numbers(&self) -> Vec<u64> {
        let all: Vec<_> = self.with(|state, _| state.users.names().cloned().collect());
        all.iter().map(number).collect()
    }

    /// The gateway is going down: failed deliveries are tried again soon.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.hurry.notify_one();
    }

    /// All sessions have ended: tells the receiver that nobody is available any longer, and waits until it has heard
    /// that, and everything before. Says whether it has: if it takes nothing for as long as `patience`, it will not.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.change(|state, moment| state.users.end(moment));
        loop {
            let progress = self.progress.notified();
            if self.pending() == 0 {
                return true;
            }
            if timeout(patience, progress).await.is_err() {
                return false;
            }
        }
    }

    /// How many events the receiver has yet to hear.
    pub fn pending(&self) -> usize {
        self.with(|state, _| state.users.events().map_or(0, |queue| queue.len()))
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Does something as of now, and wakes the task, for which there may be work.
    fn change<R>(&self, act: impl FnOnce(&mut State, Moment) -> R) -> R {
        let result = self.with(act);
        self.news.notify_one();
        result
    }

    /// Does something as of now.
    fn with<R>(&self, act: impl FnOnce(&mut State, Moment) -> R) -> R {
        let moment = Moment {
            now: now(),
            at: since_1970(),
        };
        let mut state = self.state.lock();
        state.users.expire(moment.now);
        let result = act(&mut state, moment);
        let (pending, lost) = state
            .users
            .events()
            .map_or((0, 0), |queue| (queue.len(), queue.lost()));
        let newly_lost = lost.saturating_sub(state.lost);
        state.lost = lost;
        let warns = newly_lost > 0 && !std::mem::replace(&mut state.has_warned, true);
        drop(state);
        self.metrics.events_pending(pending);
        if newly_lost > 0 {
            let lost = usize::try_from(newly_lost).unwrap_or(usize::MAX);
            self.metrics.events_lost(lost);
        }
        if warns {
            let domain = &*self.domain;
            warn!(
                domain,
                pending, "too many events wait for their receiver, the oldest are lost"
            );
        }
        result
    }

    /// When somebody will no longer count as available.
    fn next_expiry(&self) -> Option<Instant> {
        self.state.lock().users.next_expiry()
    }
}

impl fmt::Debug for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Availability")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}
