//! Users who are available, by name, with what their resources say; and the events that come of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Bound,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    queue::{Event, Kind, Queue},
    seen::Seen,
    stated::{Show, Stated},
};
use crate::roster::Username;

/// The time at which something happens.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// To measure from.
    pub now: Instant,
    /// The time of day, as time since 1970.
    pub at: Duration,
}

/// The users of one host.
#[derive(Debug)]
pub struct Users {
    available: BTreeMap<Username, User>,
    /// Those of them without a resource, by when they no longer count as available.
    leaving: BTreeSet<(Instant, Username)>,
    seen: Seen,
    delay: Duration,
    /// What the site has yet to hear; `None` where it wants to hear nothing.
    events: Option<Queue>,
    /// The id of the last event of an earlier queue.
    last: u64,
    /// Nothing more is told.
    is_over: bool,
    /// This gateway is one of several.
    is_shared: bool,
}

/// Users of whom something would be told, if it were not for other gateways. Of each, another one may say that it
/// [has](Users::has) the user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Doubts {
    /// Who has come: has the site heard that from another gateway, or will it?
    pub came: Vec<Username>,
    /// Who has gone: is the user at another gateway?
    pub left: Vec<Username>,
}

impl Doubts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.came.is_empty() && self.left.is_empty()
    }
}

/// What the site has just been told of a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// The user.
    pub user: Username,
    /// Whether it was `online`.
    pub is_online: bool,
}

#[derive(Debug)]
struct User {
    /// The id of the event that tells of it; 0 if none does.
    event: u64,
    /// Since when available, as time since 1970.
    since: Duration,
    resources: SmallVec<[Resource; 1]>,
    /// When the last resource has gone, and until when another one may come.
    left: Option<(Duration, Instant)>,
}

/// An available resource.
#[derive(Debug)]
struct Resource {
    /// The number of its session.
    number: u64,
    stated: Stated,
    /// Since when it says so, as time since 1970.
    changed: Duration,
    is_asleep: bool,
}

/// What can be seen of a user. Times are those since 1970.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct View {
    /// Whether the user counts as available.
    pub is_available: bool,
    /// How the resource that speaks for the user ranks.
    rank: Option<(i8, u8)>,
    /// What it says.
    pub show: Option<Show>,
    /// The text beside it.
    pub status: Option<Box<str>>,
    /// Since when the user has been available.
    pub since: Option<Duration>,
    /// Since when `show` and `status` are these.
    pub changed: Option<Duration>,
    /// How many resources are available. None of a user who has left just now.
    pub resources: usize,
    /// How many of them have no connection to their clients, and wait for them to come back.
    pub asleep: usize,
    /// When the last resource has gone, if there is none, and if it is remembered.
    pub last_seen: Option<Duration>,
}

impl View {
    /// What can be seen of a user who may have resources at two gateways.
    pub fn join(self, other: Self) -> Self {
        match (self.is_available, other.is_available) {
            (true, false) => return self,
            (false, true) => return other,
            (false, false) => {
                let last_seen = self.last_seen.max(other.last_seen);
                return Self { last_seen, ..self };
            }
            (true, true) => {}
        }
        let (since, resources) = (
            self.since.min(other.since),
            self.resources + other.resources,
        );
        let asleep = self.asleep + other.asleep;
        // Who has left one of them only has not left.
        let last_seen = self
            .last_seen
            .zip(other.last_seen)
            .map(|(one, other)| one.max(other));
        let speaker = match (other.rank, other.changed) > (self.rank, self.changed) {
            true => other,
            false => self,
        };
        Self {
            since,
            resources,
            asleep,
            last_seen,
            ..speaker
        }
    }
}

impl User {
    fn view(&self) -> View {
        // Of equals, the one that has spoken last.
        let speaker = self
            .resources
            .iter()
            .max_by_key(|it| (it.stated.rank(), it.changed, it.number));
        View {
            is_available: true,
            rank: speaker.map(|it| it.stated.rank()),
            show: speaker.and_then(|it| it.stated.show),
            status: speaker.and_then(|it| it.stated.status.clone()),
            since: Some(self.since),
            changed: speaker.map(|it| it.changed),
            resources: self.resources.len(),
            asleep: self.resources.iter().filter(|it| it.is_asleep).count(),
            last_seen: self.left.map(|(at, _)| at),
        }
    }
}

impl Users {
    /// Nobody is available. Users still count as available for `delay` after their last resource has gone.
    pub fn new(delay: Duration) -> Self {
        Self {
            available: BTreeMap::new(),
            leaving: BTreeSet::new(),
            seen: Seen::default(),
            delay,
            events: None,
            last: 0,
            is_over: false,
            is_shared: false,
        }
    }

    /// This gateway is one of several, which have the same users. What the site hears of all of them together is the
    /// truth; so none says that nobody is available.
    pub fn share(&mut self) {
        self.is_shared = true;
    }

    /// Another delay, for those who leave from now on.
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    // === What sessions do ===

    /// The resource of a session is available and says this.
    pub fn available(&mut self, user: &Username, number: u64, stated: Stated, moment: Moment) {
        self.expire(moment.now);
        let (at, is_new) = (moment.at, !self.available.contains_key(user));
        let known = self.available.entry(user.clone()).or_insert_with(|| User {
            event: 0,
            since: at,
            resources: SmallVec::new(),
            left: None,
        });
        if let Some((_, until)) = known.left.take() {
            self.leaving.remove(&(until, user.clone()));
        }
        match known.resources.iter_mut().find(|it| it.number == number) {
            Some(resource) => {
                if !resource.stated.looks_like(&stated) {
                    resource.changed = at;
                }
                resource.stated = stated;
            }
            None => known.resources.push(Resource {
                number,
                stated,
                changed: at,
                is_asleep: false,
            }),
        }
        if is_new {
            self.seen.forget(user);
            self.tell(at, Kind::Online(user.clone()));
            if let (Some(known), Some(queue)) = (self.available.get_mut(user), &self.events) {
                known.event = queue.last();
            }
        }
    }

    /// The resource of a session is not, or no longer, available.
    pub fn unavailable(&mut self, user: &Username, number: u64, moment: Moment) {
        self.expire(moment.now);
        let Some(known) = self.available.get_mut(user) else {
            return;
        };
        known.resources.retain(|it| it.number != number);
        if known.resources.is_empty() && known.left.is_none() {
            let until = moment.now + self.delay;
            known.left = Some((moment.at, until));
            self.leaving.insert((until, user.clone()));
        }
    }

    /// The connection to the client of a session has gone, or is there again.
    pub fn set_asleep(&mut self, user: &Username, number: u64, is_asleep: bool) {
        let known = self.available.get_mut(user);
        let mut resources = known.into_iter().flat_map(|it| it.resources.iter_mut());
        if let Some(resource) = resources.find(|it| it.number == number) {
            resource.is_asleep = is_asleep;
        }
    }

    // === What time does ===

    /// Those whose delay is over are no longer available. To be called before anything is looked at.
    pub fn expire(&mut self, now: Instant) {
        while self.leaving.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, user)) = self.leaving.pop_first()
        {
            let left = self.available.remove(&user).and_then(|it| it.left);
            let Some((at, _)) = left else { continue };
            self.seen.note(user.clone(), at);
            self.tell(at, Kind::Offline(user));
        }
    }

    /// When [`Self::expire`] has something to do next.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.leaving.first().map(|(until, _)| *until)
    }

    // === What can be seen ===

    /// What can be seen of a user.
    pub fn view(&self, user: &Username) -> View {
        match self.available.get(user) {
            Some(known) => known.view(),
            None => View {
                last_seen: self.seen.get(user),
                ..View::default()
            },
        }
    }

    /// How many users are available.
    pub fn len(&self) -> usize {
        self.available.len()
    }

    /// Whether nobody is available.
    pub fn is_empty(&self) -> bool {
        self.available.is_empty()
    }

    /// The available users, by name.
    pub fn names(&self) -> impl Iterator<Item = &Username> {
        self.available.keys()
    }

    /// The available users whose names come after `after`, by name.
    pub fn list(&self, after: Option<&Username>) -> impl Iterator<Item = (&Username, View)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = self.available.range((from, Bound::Unbounded));
        users.map(|(user, known)| (user, known.view()))
    }

    // === What the site is told ===

    /// The events that the site has yet to hear, if it wants any.
    pub fn events(&mut self) -> Option<&mut Queue> {
        self.events.as_mut()
    }

    /// The site wants to hear of what happens from now on, and of who is available now.
    pub fn begin_events(&mut self, moment: Moment) {
        if self.events.is_none() {
            self.events = Some(Queue::new(moment.at, self.last));
            self.begin_again(moment);
        }
    }

    /// Whoever hears the events from now on has not heard those before: after what is pending, tells who is available.
    pub fn begin_again(&mut self, moment: Moment) {
        let Some(queue) = &mut self.events else {
            return;
        };
        if self.is_shared {
            return queue.push(moment.at, Kind::Gap { lost: 0 });
        }
        queue.push(moment.at, Kind::Reset);
        for (user, known) in self.available.iter().filter(|_| !self.is_over) {
            queue.push(known.since, Kind::Online(user.clone()));
        }
    }

    /// The site wants to hear nothing any longer. Says how many events it has not heard.
    pub fn end_events(&mut self) -> usize {
        let queue = self.events.take();
        queue.map_or(0, |queue| {
            self.last = queue.last();
            queue.len()
        })
    }

    /// The gateway ends: nobody is available any longer, which is the last that is told.
    pub fn end(&mut self, moment: Moment) {
        if self.is_shared {
            self.miss(moment);
            // Whoever asks now who is available shall not hear of users who have not gone to another gateway yet.
            (self.available, self.leaving) = Default::default();
        } else {
            self.tell(moment.at, Kind::Reset);
        }
        self.is_over = true;
    }

    // === Several gateways ===

    /// What another gateway has told, or would have, the site may have missed: it has to ask who is available.
    pub fn miss(&mut self, moment: Moment) {
        if self.is_shared {
            self.tell(moment.at, Kind::Gap { lost: 0 });
        }
    }

    /// What the others have to be asked before the batch is delivered. `None`: the batch is decided, or there is none.
    pub fn doubts(&mut self) -> Option<Doubts> {
        let queue = self.events.as_mut().filter(|_| self.is_shared)?;
        queue.undecided().next()?;
        let mut doubts = Doubts::default();
        for event in queue.undecided().filter(|event| !event.is_certain) {
            match &event.kind {
                Kind::Online(user) if self.available.contains_key(user) => {
                    doubts.came.push(user.clone());
                }
                Kind::Offline(user) if !self.available.contains_key(user) => {
                    doubts.left.push(user.clone());
                }
                _ => {}
            }
        }
        Some(doubts)
    }

    /// Those of them whom this gateway has. Of two to which a user comes at the same time, both tell it; so do two that are
    /// left at the same time. Where one has not decided yet, the other does not rely on it.
    pub fn has(&self, doubts: &Doubts) -> HashSet<Username> {
        let decided = self.events.as_ref().map_or(u64::MAX, Queue::decided);
        let is_told = |user: &&Username| {
            let known = self.available.get(*user);
            known.is_some_and(|known| known.event <= decided)
        };
        let came = doubts.came.iter().filter(is_told);
        let is_here = |user: &&Username| self.available.contains_key(*user);
        let left = doubts.left.iter().filter(is_here);
        came.chain(left).cloned().collect()
    }

    /// Takes out of the batch what need not be told, as others have these users.
    pub fn decide(&mut self, elsewhere: &HashSet<Username>) {
        let available = &self.available;
        let is_told = |event: &Event| match &event.kind {
            _ if event.is_certain => true,
            Kind::Online(user) => !elsewhere.contains(user),
            // Whoever has come back meanwhile is told of, if at all, by a later event.
            Kind::Offline(user) => !elsewhere.contains(user) && !available.contains_key(user),
            Kind::Reset | Kind::Gap { .. } => true,
        };
        if let Some(queue) = &mut self.events {
            queue.decide(is_told);
        }
    }

    /// The batch, whose last event has the id `last`, is delivered. Says what the site knows by that.
    pub fn delivered(&mut self, last: u64) -> Vec<Told> {
        let mut told = BTreeMap::new();
        let Some(queue) = &mut self.events else {
            return Vec::new();
        };
        let batch = queue.batch().take_while(|event| event.id <= last);
        for event in batch.filter(|_| self.is_shared) {
            match &event.kind {
                Kind::Online(user) => drop(told.insert(user.clone(), true)),
                Kind::Offline(user) => drop(told.insert(user.clone(), false)),
                Kind::Reset | Kind::Gap { .. } => {}
            }
        }
        queue.delivered(last);
        let told = told.into_iter();
        told.map(|(user, is_online)| Told { user, is_online })
            .collect()
    }

    /// Those of whom only the others know whether what was told is true: events of several gateways overtake each other on
    /// their ways.
    pub fn doubts_of<'a>(&self, told: impl Iterator<Item = &'a Told>) -> Doubts {
        let is_away = |told: &&Told| !self.available.contains_key(&told.user);
        let left = told.filter(is_away).map(|it| it.user.clone()).collect();
        let came = Vec::new();
        Doubts { came, left }
    }

    /// Tells what is true of those of whom something else was told. `elsewhere` are those whom others have.
    pub fn correct(&mut self, told: &[Told], elsewhere: &HashSet<Username>, moment: Moment) {
        let Some(queue) = self.events.as_mut().filter(|_| !self.is_over) else {
            return;
        };
        for Told { user, is_online } in told {
            let is_here = self.available.contains_key(user) || elsewhere.contains(user);
            match (is_online, is_here) {
                (false, true) => queue.push_certain(moment.at, Kind::Online(user.clone())),
                (true, false) => queue.push(moment.at, Kind::Offline(user.clone())),
                _ => {}
            }
        }
    }

    fn tell(&mut self, at: Duration, kind: Kind) {
        if let Some(queue) = self.events.as_mut().filter(|_| !self.is_over) {
            queue.push(at, kind);
        }
    }
}
