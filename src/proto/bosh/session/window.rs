//! Window of request ids (XEP-0124 "Request IDs", "In-Order Message Forwarding"): which rid is the next, which requests
//! wait for a missing one, and how often a rid may come again.
//!
//! It owns the requests that are early. It must not read what a request says.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{Slot, after};
use crate::proto::bosh::{Rid, body::Request};

/// How long the session waits for a missing rid before it counts as lost in a page reload.
pub(super) const GAP: Duration = Duration::from_secs(12);
/// The same before the first request of a client that the session was handed to: it may never send that rid.
pub(super) const FIRST_GAP: Duration = Duration::from_millis(300);
/// Most resends of one rid within [`DUPLICATES_IN`]. Of all rids together there may be twice as many, and one more for
/// each new request, as every answer may be lost once.
const DUPLICATES: u32 = 10;
const DUPLICATES_IN: Duration = Duration::from_secs(10);

/// The rids of one session.
#[derive(Debug)]
pub(super) struct Window {
    /// Highest rid received with all before it.
    last: Rid,
    /// Received ahead of a missing rid, lowest first.
    buffered: Vec<Buffered>,
    /// Since when a rid has been missing.
    gap_since: Option<Instant>,
    /// The highest rid when the session was handed over to another client.
    handed_over_at: Option<Rid>,
    resends: Resends,
}

/// A request ahead of a missing rid.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) request: Request,
    /// `None`: the client gave up on this exchange.
    pub(super) slot: Option<Slot>,
    pub(super) received: Instant,
}

/// Where a rid lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// It has been received before.
    Behind,
    /// It is the next in order.
    Next,
    /// A rid before it is missing.
    Ahead,
    /// No request may have it yet.
    Beyond,
}

/// Resends since a moment that is moved on every [`DUPLICATES_IN`].
#[derive(Debug)]
struct Resends {
    since: Instant,
    /// How often each rid has come again since then.
    counts: SmallVec<[(Rid, u32); 1]>,
    /// How many new requests have come since then.
    fresh: u32,
}

impl Window {
    /// The creation request had the rid `first`.
    pub(super) fn new(first: Rid, now: Instant) -> Self {
        Self {
            last: first,
            buffered: Vec::new(),
            gap_since: None,
            handed_over_at: None,
            resends: Resends {
                since: now,
                counts: SmallVec::new(),
                fresh: 0,
            },
        }
    }

    /// Another client goes on after the highest rid.
    pub(super) fn hand_over(&mut self) {
        self.handed_over_at = Some(self.last);
    }

    /// Whether a client that the session was handed to has sent no request that was next in order.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over_at == Some(self.last)
    }

    /// Highest rid received with all before it.
    pub(super) fn last(&self) -> Rid {
        self.last
    }

    /// Where `rid` lies if `size` requests may be open.
    pub(super) fn place(&self, rid: Rid, size: u64) -> Place {
        if rid <= self.last {
            Place::Behind
        } else if rid > self.last.plus(size).min(Rid::MAX) {
            Place::Beyond
        } else if rid == self.last.plus(1) {
            Place::Next
        } else {
            Place::Ahead
        }
    }

    /// The request that is next in order is taken in.
    pub(super) fn advance(&mut self, rid: Rid) {
        self.last = rid;
        self.resends.fresh = self.resends.fresh.saturating_add(1);
    }

    // === Requests ahead of a missing one ===

    /// Keeps a request until all before it have come.
    pub(super) fn insert(&mut self, early: Buffered) {
        self.gap_since.get_or_insert(early.received);
        let rid = early.request.rid;
        let lower = |it: &Buffered| it.request.rid < rid;
        let index = self.buffered.partition_point(lower);
        self.buffered.insert(index, early);
    }

    /// The request with this rid, if it is kept.
    pub(super) fn buffered_mut(&mut self, rid: Rid) -> Option<&mut Buffered> {
        self.buffered.iter_mut().find(|it| it.request.rid == rid)
    }

    /// Takes the request that has become the next in order.
    pub(super) fn pop_next(&mut self) -> Option<Buffered> {
        let next = self.last.plus(1);
        let is_there = self
            .buffered
            .first()
            .is_some_and(|first| first.request.rid == next);
        let found = is_there.then(|| self.buffered.remove(0));
        if self.buffered.is_empty() {
            self.gap_since = None;
        }
        found
    }

    /// Skips the lowest missing rid, if a request behind it is kept; gives that rid.
    pub(super) fn skip_missing(&mut self) -> Option<Rid> {
        self.gap_since = None;
        let first = self.buffered.first()?;
        let missing = self.last.plus(1);
        if missing >= first.request.rid {
            return None;
        }
        self.last = missing;
        Some(missing)
    }

    /// Until when a missing rid is waited for.
    pub(super) fn gap_ends_at(&self) -> Option<Instant> {
        let gap = match self.is_handed_over() {
            true => FIRST_GAP,
            false => GAP,
        };
        self.gap_since.map(|since| after(since, gap))
    }

    /// How many requests are kept.
    pub(super) fn buffered(&self) -> usize {
        self.buffered.len()
    }

    /// How many of them wait for an answer.
    pub(super) fn open(&self) -> usize {
        let open = self.buffered.iter().filter(|it| it.slot.is_some());
        open.count()
    }

    /// The exchanges of those that are kept.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = (Rid, &mut Option<Slot>)> {
        let buffered = self.buffered.iter_mut();
        buffered.map(|it| (it.request.rid, &mut it.slot))
    }

    /// Drops them all, and gives the exchanges that wait for an answer.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Slot> {
        self.gap_since = None;
        self.buffered.drain(..).filter_map(|it| it.slot)
    }

    // === Requests that come again ===

    /// Counts a request whose rid has come before; true if there are too many of these.
    pub(super) fn is_flooded_by(&mut self, rid: Rid, now: Instant) -> bool {
        let Resends {
            since,
            counts,
            fresh,
        } = &mut self.resends;
        if after(*since, DUPLICATES_IN) <= now || counts.is_empty() {
            (*since, *counts, *fresh) = (now, SmallVec::new(), 0);
        }
        let index = counts.iter().position(|(known, _)| *known == rid);
        let index = index.unwrap_or_else(|| {
            counts.push((rid, 0));
            counts.len().saturating_sub(1)
        });
        if let Some((_, count)) = counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
        let of_one = counts.get(index).map_or(0, |(_, count)| *count);
        let of_all = counts.iter().map(|(_, count)| count).sum::<u32>();
        of_one > DUPLICATES || of_all > fresh.saturating_add(DUPLICATES.saturating_mul(2))
    }
}
