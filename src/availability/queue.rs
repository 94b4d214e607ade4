//! Queue of the events that the site has yet to hear: in order, each at least once, bounded.
//!
//! ```text
//!   [ in flight: one batch, until it is delivered ][ gap, if some had to go ][ the rest, in order ] <- push
//! ```
//!
//! Ids begin with the time in microseconds since 1970 and go up by one, so that they go on to grow when the gateway is
//! started again. If there is too much, the oldest events go that are not in flight, and a *gap* takes their place. It
//! has the id of the last of them, and says how many they were.
//!
//! Of several gateways, each asks the others what is in flight before it is delivered for the first time: that *decides* the
//! batch, and what need not be told leaves it.

use std::{collections::VecDeque, time::Duration};

use crate::roster::Username;

/// Most events of a batch, and most bytes that they take ([`Event::size`]).
pub const MAX_BATCH: usize = 500;
const MAX_BATCH_SIZE: usize = 64 << 10;
/// Memory for the events of a host, bytes: some 150,000 events.
pub const MAX_SIZE: usize = 16 << 20;
/// What an event takes beside the name in it, bytes.
const EACH: usize = 96;

/// Something that the site is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Higher than that of each event before.
    pub id: u64,
    /// When it happened, as time since 1970.
    pub at: Duration,
    /// What has happened.
    pub kind: Kind,
    /// It is to be told, whatever other gateways know.
    pub is_certain: bool,
}

/// What has happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// From here on, nobody is available but who comes online again.
    Reset,
    /// A user's first resource has become available.
    Online(Username),
    /// A user's last resource has gone, and none has come back for a while.
    Offline(Username),
    /// Events that are lost.
    Gap {
        /// How many; 0: nobody knows.
        lost: u64,
    },
}

impl Event {
    /// What it takes, bytes.
    pub fn size(&self) -> usize {
        let name = match &self.kind {
            Kind::Online(user) | Kind::Offline(user) => user.as_str().len(),
            Kind::Reset | Kind::Gap { .. } => 0,
        };
        name.saturating_add(EACH)
    }

    /// For how many events it stands once it is lost.
    fn weight(&self) -> u64 {
        match self.kind {
            Kind::Gap { lost } => lost,
            _ => 1,
        }
    }
}

/// The events of one host.
#[derive(Debug)]
pub struct Queue {
    last: u64,
    /// The last of the events that are decided.
    decided: u64,
    events: VecDeque<Event>,
    /// Sum of their sizes.
    size: usize,
    max_size: usize,
    /// So many of the first are in flight.
    in_flight: usize,
    /// Most events of the next batch.
    max_batch: usize,
    lost: u64,
}

impl Queue {
    /// Empty. The first event that is pushed has the id that the time `now` since 1970 makes, or the one after `last`
    /// if that is higher.
    pub fn new(now: Duration, last: u64) -> Self {
        Self::with_room(now, last, MAX_SIZE)
    }

    pub(super) fn with_room(now: Duration, last: u64, max_size: usize) -> Self {
        let first = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        Self {
            last: last.max(first.saturating_sub(1)),
            decided: 0,
            events: VecDeque::new(),
            size: 0,
            max_size,
            in_flight: 0,
            max_batch: MAX_BATCH,
            lost: 0,
        }
    }

    /// Something has happened at this time since 1970.
    pub fn push(&mut self, at: Duration, kind: Kind) {
        self.push_event(at, kind, false);
    }

    /// The same, and it is told whatever other gateways know.
    pub(super) fn push_certain(&mut self, at: Duration, kind: Kind) {
        self.push_event(at, kind, true);
    }

    fn push_event(&mut self, at: Duration, kind: Kind, is_certain: bool) {
        self.last = self.last.saturating_add(1);
        let event = Event {
            id: self.last,
            at,
            kind,
            is_certain,
        };
        self.size = self.size.saturating_add(event.size());
        self.events.push_back(event);
        while self.size > self.max_size && self.lose_one() {}
    }

    /// Loses the oldest event that is not in flight; whether there is one.
    fn lose_one(&mut self) -> bool {
        let first = self.in_flight;
        let is_gap = |event: &Event| matches!(event.kind, Kind::Gap { .. });
        let place = first.saturating_add(usize::from(self.events.get(first).is_some_and(is_gap)));
        let Some(lost) = self.events.remove(place) else {
            return false;
        };
        self.size = self.size.saturating_sub(lost.size());
        if !is_gap(&lost) {
            self.lost = self.lost.saturating_add(1);
        }
        let weight = lost.weight();
        match self.events.get_mut(first) {
            Some(Event {
                id,
                at,
                kind: Kind::Gap { lost: all },
                ..
            }) if place > first => {
                (*id, *at) = (lost.id, lost.at);
                *all = all.saturating_add(weight);
            }
            _ => {
                let gap = Event {
                    kind: Kind::Gap { lost: weight },
                    ..lost
                };
                self.size = self.size.saturating_add(gap.size());
                self.events.insert(first, gap);
            }
        }
        true
    }

    /// The events to deliver now: those in flight, or if none are, the next ones. Nothing else is in flight until they
    /// are [delivered](Self::delivered).
    pub fn batch(&mut self) -> impl ExactSizeIterator<Item = &Event> {
        if self.in_flight == 0 {
            let mut size = 0_usize;
            let fits = self.events.iter().take(self.max_batch).take_while(|event| {
                size = size.saturating_add(event.size());
                size <= MAX_BATCH_SIZE
            });
            // One that is larger than that goes alone.
            self.in_flight = fits.count().max(1).min(self.events.len());
        }
        self.events.range(..self.in_flight)
    }

    /// The batch, whose last event has the id `last`, is delivered. Says how many events that are. Another queue's batch
    /// is not this one's.
    pub fn delivered(&mut self, last: u64) -> usize {
        let batch = self.events.range(..self.in_flight);
        let count = batch.take_while(|event| event.id <= last).count();
        for event in self.events.drain(..count) {
            self.size = self.size.saturating_sub(event.size());
        }
        self.in_flight = self.in_flight.saturating_sub(count);
        self.max_batch = self.max_batch.saturating_mul(2).min(MAX_BATCH);
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        count
    }

    /// The batch is more than can be delivered at once: the next one is smaller.
    pub fn too_much(&mut self) {
        self.max_batch = (self.in_flight / 2).max(1);
        self.in_flight = self.in_flight.min(self.max_batch);
    }

    /// The events in flight that are not decided.
    pub(super) fn undecided(&mut self) -> impl Iterator<Item = &Event> {
        let decided = self.decided;
        self.batch().filter(move |event| event.id > decided)
    }

    /// Decides the batch: those that `is_told` does not hold for leave it.
    pub(super) fn decide(&mut self, mut is_told: impl FnMut(&Event) -> bool) {
        let decided = self.decided;
        let in_flight = self.in_flight;
        self.decided = self.batch().last().map_or(decided, |it| it.id.max(decided));
        let (mut place, mut size) = (0_usize, 0_usize);
        let mut kept = 0;
        self.events.retain(|event| {
            let stays = place >= in_flight || event.id <= decided || is_told(event);
            kept += usize::from(stays && place < in_flight);
            if !stays {
                size = size.saturating_add(event.size());
            }
            place += 1;
            stays
        });
        self.in_flight = kept;
        self.size = self.size.saturating_sub(size);
    }

    /// The highest id of those that are decided.
    pub(super) fn decided(&self) -> u64 {
        self.decided
    }

    /// How many events are not delivered.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether all are delivered.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The id of the last event that was pushed.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many events have been lost in all.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
