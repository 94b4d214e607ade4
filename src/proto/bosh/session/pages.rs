//! Pages that use the session one after the other.
//!
//! A page that the user leaves does not hang up: browsers keep pages asleep, with their requests, to show them again
//! (back/forward cache), and some proxies do not tell of a client that is gone. Nobody sees what such a page is sent.
//! The next page reads sid and rid where the one before has stored them, and goes on. Its request looks the same as one
//! of a page that has got its answer. So the gateway can tell pages apart only if they say who they are ([`Page`]).
//!
//! This owns what is known of the pages. It must not answer requests nor handle stanzas: the session does.

use std::time::{Duration, Instant};

use super::{Slot, after, held::REPLACEMENT};
use crate::proto::{
    bosh::{Rid, body::Request},
    page::Page,
};

/// Pages whose requests are remembered, at most.
const MAX_PAGES: usize = 8;
/// How often pages may take over from each other within [`TAKEOVERS_IN`], before the one that is left is answered
/// [`REPLACEMENT`] later.
const MAX_TAKEOVERS: u32 = 4;
const TAKEOVERS_IN: Duration = Duration::from_secs(10);
/// How many requests behind a page that wakes up may be, and still go on with the session. It sends them all, one after
/// the other; Strophe sends ten a second.
const MAX_BEHIND: u64 = 100;

/// The pages of a session.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The latest request that the client has hung up on, and has not made again.
    abandoned: Option<Rid>,
    /// The page that sent the last request in order, if it said who it is.
    current: Option<Page>,
    /// Which requests each page has sent. The page that sent one last is the last.
    sent: Vec<Sent>,
    takeovers: Takeovers,
    /// Exchanges of pages from which others have taken over, and when they are answered at the latest.
    postponed: Vec<(Slot, Instant)>,
}

/// How pages take over from each other.
#[derive(Debug, Default)]
struct Takeovers {
    since: Option<Instant>,
    /// How often they have since then.
    count: u32,
    /// Until when pages that another has taken over from are not answered.
    braked_until: Option<Instant>,
}

/// Which requests a page has sent, so that each of them is carried out once.
#[derive(Debug)]
struct Sent {
    page: Page,
    /// Its highest rid.
    last: Rid,
    /// Bit `n` is for the rid that is `n` lower.
    rids: u128,
}

impl Sent {
    fn has(&self, rid: Rid) -> bool {
        // A rid out of reach is too old to be carried out.
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

impl Takeovers {
    /// Counts a takeover; true if there are so many that a brake begins. Two pages that are there together, such as a
    /// tab and its copy, would drive each other round and round.
    fn note(&mut self, now: Instant) -> bool {
        if self
            .since
            .is_none_or(|since| after(since, TAKEOVERS_IN) <= now)
        {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        let brakes =
            self.count > MAX_TAKEOVERS && self.braked_until.is_none_or(|until| until <= now);
        if brakes {
            self.braked_until = Some(after(now, REPLACEMENT));
        }
        brakes
    }
}

impl Pages {
    /// `page` is there now. True if pages take over from each other so often that a brake begins: pages that another
    /// has taken over from wait for their answers.
    pub(super) fn turn_to(&mut self, page: Page, now: Instant) -> bool {
        let is_other = self.is_other(Some(page));
        self.current = Some(page);
        is_other && self.takeovers.note(now)
    }

    /// Whether `page` is known to be another page than the current one.
    pub(super) fn is_other(&self, page: Option<Page>) -> bool {
        Page::differ(self.current, page)
    }

    /// The client has hung up on a request.
    pub(super) fn note_hang_up(&mut self, rid: Rid) {
        self.abandoned = self.abandoned.max(Some(rid));
    }

    /// A request has come that is known already.
    pub(super) fn note_resent(&mut self, rid: Rid) {
        self.abandoned.take_if(|abandoned| *abandoned == rid);
    }

    /// Whether the next request in order, which only `asks` for an answer, shows that another page has taken over. Where
    /// pages do not say who they are, it does if a request was given up: clients repeat requests whose connections broke
    /// before they ask for more, unless they know nothing of them.
    pub(super) fn is_left_for(&mut self, request: &Request, asks: bool) -> bool {
        if request.page.is_some() {
            return self.is_other(request.page);
        }
        let is_forgotten = |abandoned: &mut Rid| asks && *abandoned < request.rid;
        self.abandoned.take_if(is_forgotten).is_some()
    }

    /// Whether pages that another has taken over from have to wait for their answers.
    pub(super) fn is_braked(&self, now: Instant) -> bool {
        self.takeovers.braked_until.is_some_and(|until| until > now)
    }

    /// Whether this request is one by which a page that was asleep catches up with the rid `last`, which another page
    /// has got to meanwhile.
    pub(super) fn catches_up(&self, request: &Request, last: Rid) -> bool {
        self.is_other(request.page) && request.rid <= last && last < request.rid.plus(MAX_BEHIND)
    }

    // === What they have sent ===

    /// Whether the page of a request is known to have sent it before.
    pub(super) fn has_sent(&self, request: &Request) -> bool {
        let mut pages = self.sent.iter();
        let sent = pages.find(|sent| Some(sent.page) == request.page);
        sent.is_some_and(|sent| sent.has(request.rid))
    }

    /// Remembers that the page of a request has sent it.
    pub(super) fn note_sent(&mut self, request: &Request) {
        let (Some(page), rid) = (request.page, request.rid) else {
            return;
        };
        let index = self.sent.iter().position(|sent| sent.page == page);
        let mut sent = match index {
            Some(index) => self.sent.remove(index),
            None => Sent {
                page,
                last: rid,
                rids: 0,
            },
        };
        sent.add(rid);
        if self.sent.len() >= MAX_PAGES {
            self.sent.remove(0);
        }
        // Mostly there is one.
        self.sent.reserve_exact(1);
        self.sent.push(sent);
    }

    // === Exchanges from which another page has taken over ===

    /// Lets an exchange wait for its answer, until `deadline` at the latest. Gives one that has to be answered at
    /// once: no client that keeps the rules has more than `most`.
    pub(super) fn postpone(&mut self, slot: Slot, deadline: Instant, most: u64) -> Option<Slot> {
        self.postponed.push((slot, deadline));
        let is_crowded = self.postponed.len() as u64 > most;
        is_crowded.then(|| self.postponed.remove(0).0)
    }

    /// Takes the exchanges that have waited for long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> impl Iterator<Item = Slot> {
        let is_braked = self.is_braked(now);
        let is_due = move |(_, deadline): &mut (Slot, Instant)| !is_braked || *deadline <= now;
        let due = self.postponed.extract_if(.., is_due);
        due.map(|(slot, _)| slot)
    }

    /// The client has given up on an exchange.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.postponed.retain(|(open, _)| *open != slot);
    }

    /// Drops all that wait, and gives their exchanges.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Slot> {
        self.postponed.drain(..).map(|(slot, _)| slot)
    }

    /// When there is something to do for pages that another has taken over from; `is_any_held` if requests of theirs
    /// are held.
    pub(super) fn next_due(&self, is_any_held: bool) -> Option<Instant> {
        let waits = is_any_held || !self.postponed.is_empty();
        let until = self.takeovers.braked_until.filter(|_| waits);
        let deadlines = self.postponed.iter().map(|(_, deadline)| *deadline);
        deadlines.chain(until).min()
    }
}
