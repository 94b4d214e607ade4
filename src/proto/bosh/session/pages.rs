//! Web pages that use the session one after the other.
//!
//! Who leaves a page does not hang up: browsers keep pages asleep, with their requests, to show them again
//! (back/forward cache), and some proxies do not tell of a client that is gone. What is answered to such a
//! page is seen by nobody, and the next page, which has read sid and rid where the one before has left them,
//! goes on as if it had been. It looks the same as a page that has got its answer. So this rests on pages that
//! say who they are ([`Page`]).

use std::time::Instant;

use super::requests::recoverable_error;
use super::{BEHIND, REPLACEMENT, Release, Session, Slot, TURNS, TURNS_IN, after};
use crate::proto::bosh::{
    Rid,
    body::{Document, Page, Request},
};

/// Most pages whose requests are remembered.
const PAGES: usize = 8;

/// How pages take over from each other.
#[derive(Debug, Default)]
pub(super) struct Turns {
    since: Option<Instant>,
    /// How often they have since then.
    count: u32,
    /// Until when no page that is left is answered.
    braked_until: Option<Instant>,
}

/// Which requests a page has sent, so that each of them is obeyed once.
#[derive(Debug)]
pub(super) struct Sent {
    page: Page,
    /// Its highest rid.
    last: Rid,
    /// Bit `n` is for the rid that is `n` lower.
    rids: u128,
}

impl Sent {
    fn has(&self, rid: Rid) -> bool {
        // What is out of reach is too old to be obeyed.
        let is_known = |below| {
            self.rids
                .checked_shr(below)
                .is_none_or(|rids| rids & 1 == 1)
        };
        rid <= self.last && distance(rid, self.last).is_none_or(is_known)
    }

    fn add(&mut self, rid: Rid) {
        if rid > self.last {
            let shift = distance(self.last, rid);
            self.rids = shift.and_then(|it| self.rids.checked_shl(it)).unwrap_or(0);
            self.last = rid;
        }
        let bit = distance(rid, self.last).and_then(|below| 1_u128.checked_shl(below));
        self.rids |= bit.unwrap_or(0);
    }
}

/// From a rid to a higher one.
fn distance(low: Rid, high: Rid) -> Option<u32> {
    u32::try_from(high.0.saturating_sub(low.0)).ok()
}

impl Session {
    /// `page` is there now. What others were sent and have not shown to have is sent again; what they wait for, they
    /// wait for in vain.
    pub(super) fn turn_to(&mut self, page: Option<Page>, now: Instant) {
        if page.is_none() {
            return;
        }
        if Page::differ(self.page, page) {
            self.note_turn(now);
        }
        self.page = page;
        self.pending.put_back(self.deliveries.take_back(page));
        for held in &mut self.held {
            if Page::differ(held.asked.page, page) {
                held.release = Release::Left;
            }
        }
    }

    /// Two pages that are there together, such as a tab and its copy, would drive each other round and round.
    fn note_turn(&mut self, now: Instant) {
        let turns = &mut self.turns;
        if turns
            .since
            .is_none_or(|since| after(since, TURNS_IN) <= now)
        {
            (turns.since, turns.count) = (Some(now), 0);
        }
        turns.count = turns.count.saturating_add(1);
        if turns.count > TURNS && turns.braked_until.is_none_or(|until| until <= now) {
            turns.braked_until = Some(after(now, REPLACEMENT));
            self.replaced_at = Some(now);
        }
    }

    pub(super) fn is_braked(&self, now: Instant) -> bool {
        self.turns.braked_until.is_some_and(|until| until > now)
    }

    /// Answers an exchange from which another page has taken over: at once, or at `deadline` at the latest.
    pub(super) fn put_off(&mut self, slot: Slot, deadline: Instant) {
        self.put_off.push((slot, deadline));
        // No client that keeps the rules has more.
        if self.put_off.len() as u64 > self.terms.requests {
            let (oldest, _) = self.put_off.remove(0);
            self.responses.push_back((oldest, recoverable_error()));
        }
    }

    /// Answers what has been put off for long enough.
    pub(super) fn answer_put_off(&mut self, now: Instant) {
        let is_braked = self.is_braked(now);
        let is_due = |(_, deadline): &mut (Slot, Instant)| !is_braked || *deadline <= now;
        for (slot, _) in self.put_off.extract_if(.., is_due) {
            self.responses.push_back((slot, recoverable_error()));
        }
    }

    /// When there is something to do for pages that have been left.
    pub(super) fn brake(&self) -> Option<Instant> {
        let waits = !self.put_off.is_empty()
            || self
                .held
                .iter()
                .any(|held| held.release == Release::Left && held.slot.is_some());
        let until = self.turns.braked_until.filter(|_| waits);
        self.put_off
            .iter()
            .map(|(_, deadline)| *deadline)
            .chain(until)
            .min()
    }

    /// Whether a request is one by which a page that was asleep, while another went on, comes up to the present.
    pub(super) fn catches_up(&self, request: &Request) -> bool {
        let is_other = Page::differ(self.page, request.page) && !self.keys.is_used();
        is_other && request.rid <= self.last && self.last < request.rid.plus(BEHIND)
    }

    /// Whether the page of a request is known to have sent it before.
    pub(super) fn has_sent(&self, request: &Request) -> bool {
        let mut pages = self.pages.iter();
        let sent = pages.find(|sent| Some(sent.page) == request.page);
        sent.is_some_and(|sent| sent.has(request.rid))
    }

    pub(super) fn note_sent(&mut self, request: &Request) {
        let (Some(page), rid) = (request.page, request.rid) else {
            return;
        };
        let index = self.pages.iter().position(|sent| sent.page == page);
        let mut sent = match index {
            Some(index) => self.pages.remove(index),
            None => Sent {
                page,
                last: rid,
                rids: 0,
            },
        };
        sent.add(rid);
        if self.pages.len() >= PAGES {
            self.pages.remove(0);
        }
        // Mostly there is one.
        self.pages.reserve_exact(1);
        self.pages.push(sent);
    }

    /// Answers a page that catches up, with nothing: whatever its request has been answered with was for another.
    pub(super) fn lead_on(&mut self, request: Request, slot: Slot, now: Instant) {
        self.idle_since = None;
        let rid = request.rid;
        let is_new = !self.has_sent(&request);
        if is_new && request.terminate {
            self.hold_to_the_end(rid, slot, now);
        } else {
            self.responses.push_back((slot, Document::empty()));
        }
        if is_new {
            self.note_sent(&request);
            self.obey(request, Some(rid), now);
        }
    }

    /// Takes note of what the page of a request has, so that no other page is sent it again: all that it asked for
    /// before, if it asks for nothing else and nothing else is on its way; or what it could not have made this
    /// request without.
    pub(super) fn note_taken(&mut self, request: &Request, asks: bool) {
        if request.page.is_none() {
            return;
        }
        let distance = match asks && self.held.is_empty() {
            true => 1,
            false => self.window(request),
        };
        self.deliveries.taken(request.rid.minus(distance));
    }
}
