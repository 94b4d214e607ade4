//! Retries: users whose lists are still to be written, because the server or the site has failed, or because there was no
//! time left.
//!
//! One user is tried at a time, with a growing delay while that fails. So a server that comes back is not asked for all
//! lists at once, and a user whose list always fails holds nobody else up.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tracing::warn;

use crate::{net::log_throttle::LogThrottle, roster::Username};

/// Most users who are remembered.
const MOST: usize = 10_000;

/// The users, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Retries {
    queue: Mutex<Queue>,
    count: Gauge,
    dropped: LogThrottle,
}

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Username>,
    /// Those in `order` who still have to be tried, with the number of the latest push.
    users: HashMap<Username, u64>,
    pushes: u64,
    /// A task tries them.
    is_worked_on: bool,
}

/// What has become of a user who was pushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pushed {
    /// There are too many.
    Not,
    /// The task that takes users out by [`Retries::next`] runs.
    Waits,
    /// The caller has to start that task.
    First,
}

/// Delays between a try that fails and the next, without end: from a second to a minute, with jitter.
pub(super) fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times()
        .build()
}

impl Retries {
    /// None yet; `count` says how many there are.
    pub(super) fn new(count: Gauge) -> Self {
        Self {
            queue: Mutex::default(),
            count,
            dropped: LogThrottle::default(),
        }
    }

    /// One more.
    pub(super) fn push(&self, user: &Username) -> Pushed {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let is_new = !queue.users.contains_key(user);
        if is_new && queue.order.len() >= MOST {
            if let Some(unsaid) = self.dropped.is_due() {
                warn!(%user, unsaid, "too many contact lists are unwritten, this one waits for its next refresh");
            }
            return Pushed::Not;
        }
        queue.pushes += 1;
        queue.users.insert(user.clone(), queue.pushes);
        if is_new {
            queue.order.push_back(user.clone());
        }
        self.count(queue);
        match std::mem::replace(&mut queue.is_worked_on, true) {
            true => Pushed::Waits,
            false => Pushed::First,
        }
    }

    /// How many pushes there have been.
    pub(super) fn pushes(&self) -> u64 {
        self.queue.lock().pushes
    }

    /// The next one to try; with `None`, the task ends.
    pub(super) fn next(&self) -> Option<Username> {
        let mut queue = self.queue.lock();
        while let Some(user) = queue.order.pop_front() {
            if queue.users.remove(&user).is_some() {
                self.count(&queue);
                return Some(user);
            }
        }
        queue.is_worked_on = false;
        None
    }

    /// The user's list is written, as it was after so many pushes: whoever was pushed later is still to be tried.
    pub(super) fn forget(&self, user: &Username, pushes: u64) {
        let mut queue = self.queue.lock();
        if queue
            .users
            .get(user)
            .is_some_and(|number| *number <= pushes)
        {
            queue.users.remove(user);
            self.count(&queue);
        }
    }

    fn count(&self, queue: &Queue) {
        let count = i64::try_from(queue.users.len()).unwrap_or(i64::MAX);
        self.count.set(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::user;

    #[test]
    fn each_is_tried_once_in_order_and_none_who_is_written() {
        let retries = Retries::new(Gauge::default());
        assert_eq!(retries.push(&user("a")), Pushed::First);
        for name in ["b", "a", "c"] {
            assert_eq!(retries.push(&user(name)), Pushed::Waits);
        }
        assert_eq!(retries.count.get(), 3);
        retries.forget(&user("b"), retries.pushes());
        assert_eq!(retries.next(), Some(user("a")));
        assert_eq!(retries.next(), Some(user("c")));
        assert_eq!(retries.count.get(), 0);
        assert_eq!(retries.next(), None);
        assert_eq!(retries.push(&user("a")), Pushed::First, "it has ended");
    }

    #[test]
    fn a_refresh_that_began_before_is_not_enough() {
        let retries = Retries::new(Gauge::default());
        retries.push(&user("a"));
        let begun = retries.pushes();
        retries.push(&user("a"));
        retries.forget(&user("a"), begun);
        assert_eq!(retries.next(), Some(user("a")));
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let retries = Retries::new(Gauge::default());
        for number in 0..MOST {
            assert_ne!(retries.push(&user(&format!("u{number}"))), Pushed::Not);
        }
        assert_eq!(retries.push(&user("a")), Pushed::Not);
        assert_eq!(retries.push(&user("u0")), Pushed::Waits, "is there");
        assert_eq!(retries.count.get(), MOST as i64);
        // Whoever is forgotten leaves a place in the order, which is bounded as well.
        assert_eq!(retries.queue.lock().order.len(), MOST);
    }
}
