//! Held requests: received in order and unanswered (XEP-0124 "Overview").
//!
//! The queue owns their order, and says when each may be answered. The session composes the answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Slot, after, answered::Asked};
use crate::proto::{bosh::Rid, page::Page};

/// Least time between two empty answers to a client that sends the next empty request at once.
pub(super) const REPLACEMENT: Duration = Duration::from_secs(1);

/// A held request.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) rid: Rid,
    /// `None`: the client gave up on this exchange.
    pub(super) slot: Option<Slot>,
    pub(super) received: Instant,
    /// When it is answered at the latest.
    pub(super) deadline: Instant,
    pub(super) asked: Asked,
    pub(super) release: Release,
}

/// When a held request is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Release {
    /// When there is something to say, or it has been held long enough.
    Later,
    /// Now.
    Now,
    /// Now, and without stanzas: it asked for a pause.
    NowEmpty,
    /// Without stanzas, as soon as the brake on pages allows it: another page has taken over.
    Left,
}

/// The requests that are held, oldest first.
#[derive(Debug)]
pub(super) struct Queue {
    held: VecDeque<Held>,
    /// When an empty request was last answered with nothing because another empty one had come.
    replaced_at: Option<Instant>,
}

impl Queue {
    /// Begins with the creation request.
    pub(super) fn new(creation: Held) -> Self {
        Self {
            held: VecDeque::from([creation]),
            replaced_at: None,
        }
    }

    /// The oldest.
    pub(super) fn front(&self) -> Option<&Held> {
        self.held.front()
    }

    /// The oldest, to be changed.
    pub(super) fn front_mut(&mut self) -> Option<&mut Held> {
        self.held.front_mut()
    }

    /// Takes the oldest.
    pub(super) fn pop_front(&mut self) -> Option<Held> {
        self.held.pop_front()
    }

    /// Adds one that is answered before all others.
    pub(super) fn push_front(&mut self, held: Held) {
        self.held.push_front(held);
    }

    /// Adds one that is answered after all others.
    pub(super) fn push_back(&mut self, held: Held) {
        // One is usual: no room for more.
        self.held.reserve_exact(1);
        self.held.push_back(held);
    }

    /// The one with this rid.
    pub(super) fn get(&self, rid: Rid) -> Option<&Held> {
        self.held.iter().find(|held| held.rid == rid)
    }

    /// The one with this rid, to be changed.
    pub(super) fn get_mut(&mut self, rid: Rid) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.rid == rid)
    }

    /// How many there are, with those that the client has given up on.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Those that wait for an answer.
    pub(super) fn open(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|held| held.slot.is_some())
    }

    /// The exchanges of all.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = (Rid, &mut Option<Slot>)> {
        self.held.iter_mut().map(|held| (held.rid, &mut held.slot))
    }

    /// Drops them all, and gives the exchanges that wait for an answer.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Slot> {
        self.held.drain(..).filter_map(|held| held.slot)
    }

    /// The request `rid` asked for a pause: all are answered now. This one gets no stanzas, nor do those of pages that
    /// another has taken over from.
    pub(super) fn release_for_pause(&mut self, rid: Rid) {
        for held in &mut self.held {
            held.release = if held.rid == rid || held.release == Release::Left {
                Release::NowEmpty
            } else {
                Release::Now
            };
        }
    }

    /// `page` has taken over: the requests of other pages get no stanzas any more.
    pub(super) fn leave_others(&mut self, page: Option<Page>) {
        for held in &mut self.held {
            if Page::differ(held.asked.page, page) {
                held.release = Release::Left;
            }
        }
    }

    /// Whether requests are open of pages that another has taken over from.
    pub(super) fn has_left(&self) -> bool {
        self.open().any(|held| held.release == Release::Left)
    }

    /// An empty request is answered with nothing because another one came.
    pub(super) fn note_replacement(&mut self, now: Instant) {
        self.replaced_at = Some(now);
    }

    /// Until when no empty request is answered with nothing. A client that follows every empty answer with another
    /// empty request, while one is held, would go round and round.
    pub(super) fn patient_until(&self) -> Option<Instant> {
        let is_idle = self.open().all(|held| held.asked.empty);
        let replaced_at = self.replaced_at.filter(|_| is_idle);
        replaced_at.map(|at| after(at, REPLACEMENT))
    }
}
