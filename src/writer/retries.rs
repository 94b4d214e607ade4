//! Retries: users whose lists are still to be written, because the server or the site has failed, or because there was no
//! time left.
//!
//! Each user has a delay of its own, which grows with every failure, so a user whose list always fails holds nobody else
//! up. If what has failed concerns everybody, all wait: a server that comes back is not asked for all lists at once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tracing::warn;

use crate::{net::log_throttle::LogThrottle, roster::Username};

/// Most users who are tried at once. The other refreshes are for those who notify.
pub(super) const AT_ONCE: usize = 4;
/// Most users who are remembered.
const MOST: usize = 10_000;
/// Least time between a failure and the next try, whoever is concerned.
const GAP: Duration = Duration::from_millis(100);
/// How often it is looked who is due, at least.
const LOOK: Duration = Duration::from_secs(1);

/// The users.
#[derive(Debug)]
pub(super) struct Retries {
    queue: Mutex<Queue>,
    count: Gauge,
    dropped: LogThrottle,
}

#[derive(Debug)]
struct Queue {
    users: HashMap<Username, Entry>,
    /// Those who are not being tried, by when they are due.
    order: BTreeMap<Place, Username>,
    pushes: u64,
    /// Nobody is tried before this.
    pause: Instant,
    outage: ExponentialBackoff,
    /// A task tries them.
    is_worked_on: bool,
}

/// When a user is due, and the number of the push, which makes it unique.
type Place = (Instant, u64);

#[derive(Debug)]
struct Entry {
    /// Number of the latest push.
    pushed: u64,
    delays: ExponentialBackoff,
    /// `None` while the user is being tried.
    place: Option<Place>,
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

/// Whom a failure concerns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Concerned {
    User,
    Everybody,
}

/// Delays without end: from a second to a minute, with jitter.
fn delays() -> ExponentialBackoff {
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
            queue: Mutex::new(Queue {
                users: HashMap::new(),
                order: BTreeMap::new(),
                pushes: 0,
                pause: Instant::now(),
                outage: delays(),
                is_worked_on: false,
            }),
            count,
            dropped: LogThrottle::default(),
        }
    }

    /// One more; whoever is there already, and waits, goes on waiting.
    pub(super) fn push(&self, user: &Username, now: Instant) -> Pushed {
        let mut queue = self.queue.lock();
        let is_new = !queue.users.contains_key(user);
        if is_new && queue.users.len() >= MOST {
            if let Some(unsaid) = self.dropped.is_due() {
                warn!(%user, unsaid, "too many contact lists are unwritten, this one waits for its next refresh");
            }
            return Pushed::Not;
        }
        queue.push(user, now);
        self.count(&queue);
        match std::mem::replace(&mut queue.is_worked_on, true) {
            true => Pushed::Waits,
            false => Pushed::First,
        }
    }

    /// How many pushes there have been.
    pub(super) fn pushes(&self) -> u64 {
        self.queue.lock().pushes
    }

    /// The next one to try, if one is due. Tell by [`tried`](Self::tried) when that is done.
    pub(super) fn next(&self, now: Instant) -> Option<Username> {
        let mut queue = self.queue.lock();
        let (due, _) = *queue.order.keys().next()?;
        if due.max(queue.pause) > now {
            return None;
        }
        let (_, user) = queue.order.pop_first()?;
        if let Some(entry) = queue.users.get_mut(&user) {
            entry.place = None;
        }
        Some(user)
    }

    /// How long nobody is due. `None` if nobody is left: the task ends.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let mut queue = self.queue.lock();
        if queue.users.is_empty() {
            queue.is_worked_on = false;
            return None;
        }
        let due = queue.order.keys().next().map(|(due, _)| *due);
        let due = due.map_or(now + LOOK, |due| due.max(queue.pause));
        Some(due.saturating_duration_since(now).min(LOOK))
    }

    /// A user has been tried, and whoever has done that has pushed or forgotten the user. Says whom a failure concerns.
    pub(super) fn tried(&self, user: &Username, failure: Option<Concerned>, now: Instant) {
        let mut queue = self.queue.lock();
        match failure {
            None => queue.outage = delays(),
            // Those who were tried at the same time have failed for the same reason.
            Some(_) if queue.pause > now => {}
            Some(Concerned::User) => queue.pause = now + GAP,
            Some(Concerned::Everybody) => {
                let delay = queue.outage.next().unwrap_or_default();
                queue.pause = now + delay;
            }
        }
        // The refresh ended without an outcome.
        if queue.users.get(user).is_some_and(|it| it.place.is_none()) {
            queue.push(user, now);
        }
    }

    /// The user's list is written, as it was after so many pushes: whoever was pushed later is still to be tried.
    pub(super) fn forget(&self, user: &Username, pushes: u64) {
        let mut queue = self.queue.lock();
        if queue.users.get(user).is_some_and(|it| it.pushed <= pushes)
            && let Some(entry) = queue.users.remove(user)
        {
            if let Some(place) = entry.place {
                queue.order.remove(&place);
            }
            self.count(&queue);
        }
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Username> {
        self.queue.lock().users.keys().cloned().collect()
    }

    fn count(&self, queue: &Queue) {
        let count = i64::try_from(queue.users.len()).unwrap_or(i64::MAX);
        self.count.set(count);
    }
}

impl Queue {
    fn push(&mut self, user: &Username, now: Instant) {
        self.pushes += 1;
        let pushed = self.pushes;
        let entry = self.users.entry(user.clone()).or_insert_with(|| Entry {
            pushed,
            delays: delays(),
            place: None,
        });
        entry.pushed = pushed;
        if entry.place.is_none() {
            let due = now + entry.delays.next().unwrap_or_default();
            entry.place = Some((due, pushed));
            self.order.insert((due, pushed), user.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::user;

    /// Longest delay of a user who has failed once.
    const FIRST: Duration = Duration::from_secs(2);

    fn retries() -> Retries {
        Retries::new(Gauge::default())
    }

    /// Tries all who are due until `end`; those named `bad…` fail. Says who was tried when.
    fn run(retries: &Retries, end: Instant, why: Concerned) -> Vec<(Username, Instant)> {
        let (mut now, mut tried) = (Instant::now(), Vec::new());
        while now < end {
            if let Some(user) = retries.next(now) {
                tried.push((user.clone(), now));
                let failure = user.as_str().starts_with("bad").then_some(why);
                match failure {
                    Some(_) => drop(retries.push(&user, now)),
                    None => retries.forget(&user, retries.pushes()),
                }
                retries.tried(&user, failure, now);
                continue;
            }
            let Some(pause) = retries.pause(now) else {
                break;
            };
            now += pause.max(Duration::from_millis(1));
        }
        tried
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_tried_once_and_none_who_is_written() {
        let (retries, now) = (retries(), Instant::now());
        assert_eq!(retries.push(&user("a"), now), Pushed::First);
        for name in ["b", "a", "c"] {
            assert_eq!(retries.push(&user(name), now), Pushed::Waits);
        }
        assert_eq!(retries.count.get(), 3);
        retries.forget(&user("b"), retries.pushes());
        assert_eq!(retries.next(now), None, "not at once");
        let tried = run(&retries, now + FIRST, Concerned::User);
        let mut names: Vec<_> = tried.iter().map(|(user, _)| user.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(retries.count.get(), 0);
        assert!(retries.queue.lock().order.is_empty(), "none left behind");
        assert_eq!(retries.pause(now), None);
        assert_eq!(
            retries.push(&user("a"), now),
            Pushed::First,
            "the task has ended"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_always_fails_holds_nobody_up() {
        let (retries, now) = (retries(), Instant::now());
        let bad: Vec<_> = (0..20).map(|n| user(&format!("bad{n}"))).collect();
        for user in &bad {
            retries.push(user, now);
        }
        let hour = now + Duration::from_secs(3600);
        let tried = run(&retries, hour, Concerned::User);
        for user in &bad {
            let times = tried.iter().filter(|(it, _)| it == user).count();
            // Once in 30 to 60 seconds, when the delay has grown.
            assert!((55..135).contains(&times), "{user}: {times} times");
        }
        // Somebody who comes later is tried in time.
        retries.push(&user("good"), hour);
        let mut at = hour;
        while retries.next(at) != Some(user("good")) {
            at += Duration::from_millis(50);
            assert!(at < hour + FIRST + GAP * 20, "it waits for the others");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_delays_the_next_try_of_anybody_a_little() {
        let (retries, now) = (retries(), Instant::now());
        retries.push(&user("a"), now);
        retries.push(&user("b"), now);
        let due = now + FIRST;
        let tried = retries.next(due).unwrap();
        retries.tried(&tried, Some(Concerned::User), due);
        assert_eq!(retries.next(due), None);
        assert!(retries.next(due + GAP).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn all_wait_while_everybody_fails() {
        let (retries, now) = (retries(), Instant::now());
        for number in 0..1000 {
            retries.push(&user(&format!("bad{number}")), now);
        }
        let hour = now + Duration::from_secs(3600);
        let tried = run(&retries, hour, Concerned::Everybody).len();
        assert!((55..135).contains(&tried), "{tried} times in an hour");
        // It works again: nobody has to wait for another.
        retries.tried(&user("a"), None, hour);
        let at = hour + Duration::from_secs(120);
        let due = std::iter::from_fn(|| retries.next(at)).count();
        assert_eq!(due, 1000);
        // The next time, they do not wait longer than at first.
        let everybody = Some(Concerned::Everybody);
        retries.tried(&user("a"), everybody, at);
        retries.push(&user("b"), at);
        assert_eq!(retries.next(at), None);
        assert_eq!(retries.next(at + FIRST), Some(user("b")));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_fail_at_the_same_time_have_failed_once() {
        let (retries, now) = (retries(), Instant::now());
        let tried = ["a", "b", "c", "d"].map(user);
        for user in &tried {
            retries.push(user, now);
        }
        let due = now + FIRST;
        for _ in &tried {
            assert!(retries.next(due).is_some());
        }
        for user in &tried {
            retries.tried(user, Some(Concerned::Everybody), due);
        }
        retries.push(&user("e"), due);
        assert_eq!(retries.next(due), None);
        assert_eq!(retries.next(due + FIRST), Some(user("e")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_began_before_is_not_enough() {
        let (retries, now) = (retries(), Instant::now());
        retries.push(&user("a"), now);
        let begun = retries.pushes();
        retries.push(&user("a"), now);
        retries.forget(&user("a"), begun);
        assert_eq!(retries.next(now + FIRST), Some(user("a")));
        assert_eq!(retries.next(now + FIRST), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_without_an_outcome_is_repeated() {
        let (retries, now) = (retries(), Instant::now());
        retries.push(&user("a"), now);
        assert_eq!(retries.next(now + FIRST), Some(user("a")));
        retries.tried(&user("a"), Some(Concerned::User), now + FIRST);
        assert_eq!(retries.next(now + FIRST * 4), Some(user("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_and_no_more() {
        let (retries, now) = (retries(), Instant::now());
        for number in 0..MOST {
            let pushed = retries.push(&user(&format!("u{number}")), now);
            assert_ne!(pushed, Pushed::Not);
        }
        assert_eq!(retries.push(&user("a"), now), Pushed::Not);
        assert_eq!(retries.push(&user("u0"), now), Pushed::Waits, "is there");
        assert_eq!(retries.count.get(), MOST as i64);
        // Whoever is being tried counts as well.
        let tried = retries.next(now + FIRST).unwrap();
        assert_eq!(retries.push(&user("a"), now), Pushed::Not);
        retries.forget(&tried, retries.pushes());
        assert_eq!(retries.push(&user("a"), now), Pushed::Waits);
        assert_eq!(retries.queue.lock().order.len(), MOST, "none left behind");
    }
}
