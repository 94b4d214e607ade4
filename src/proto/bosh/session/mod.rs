//! The connection manager's side of one BOSH session.
//!
//! ```text
//!              open                  pause=n                  terminate, violation, server gone
//!  (creation) ------> +--------+ --------------> +--------+ ---------------------+
//!                     |  Open  |                 | Paused |                      v
//!                     +--------+ <-------------- +--------+                  +-------+   tombstone
//!                       |  |        next request     |       +-------------> | Ended | ----------> Gone
//!                       |  +-------------------------|-------+               +-------+
//!                       +----------------------------+-- inactivity -------------------------------> Gone
//! ```
//!
//! Requests and their HTTP exchanges ([`Slot`]s) are data, not states. Every mutation must be followed
//! by draining [`Session::poll_event`] and then [`Session::poll_response`], and by arming a timer for
//! [`Session::poll_timeout`]. Answers are decided only while draining, so everything that one input
//! causes, the gateway's own replies included, travels in one answer.
//!
//! Only this machine knows rids. An ended session stays for a while, so that a client whose last answer
//! was lost still learns how it ended.

mod answered;
mod answers;
mod delivery;
mod end;
mod keys;
mod pages;
mod pending;
mod requests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::SmallVec;

use answered::{AnswerCache, Asked, Report};
use delivery::Deliveries;
use keys::Keys;
use pending::Pending;

use super::{
    Rid,
    body::{Creation, Document, Page, Request},
    condition::Condition,
    terms::{POLLING, Policy, Terms},
};
use crate::proto::stanza::Stanza;

/// How much sooner than [`POLLING`] says the next poll may come: the one before may have been on its way for
/// long.
const SLACK: Duration = Duration::from_millis(2500);
/// How long a creation request waits for the features of the server at most.
const FEATURES: Duration = Duration::from_secs(15);
/// How long a missing rid is waited for before it counts as lost in a page reload.
const GAP: Duration = Duration::from_secs(12);
/// How long the end of a session is remembered once a client has been told.
const TOMBSTONE: Duration = Duration::from_secs(60);
/// How long a client may take for its next request before it counts as not listening, and how much
/// longer for each stanza that it has been given to work on.
const BREATH: Duration = Duration::from_secs(1);
const WORK: Duration = Duration::from_millis(10);
/// A request that has been held for so long may belong to a page that is gone.
const STALE: Duration = Duration::from_secs(1);
/// Least time between two empty answers to a client that replaces one empty request by another.
const REPLACEMENT: Duration = Duration::from_secs(1);
/// How often pages may take over from each other within [`TURNS_IN`], before the one that is left is answered
/// [`REPLACEMENT`] later.
const TURNS: u32 = 4;
const TURNS_IN: Duration = Duration::from_secs(10);
/// What it may take to keep stanzas of the client that wait for the shell to take them, bytes; besides those of
/// one request.
const MAX_WAITING: usize = 1 << 20;
/// Most resends of one rid within [`DUPLICATES_IN`]. Of all together, there may be twice as many, and one more for
/// each request that is new: every answer may be lost once.
const DUPLICATES: u32 = 10;
const DUPLICATES_IN: Duration = Duration::from_secs(10);

/// How many requests a page that wakes up may be behind to go on with the session. It sends them all, one after
/// the other, Strophe ten in a second.
const BEHIND: u64 = 100;

/// An HTTP exchange that waits for its answer; numbered by the shell.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Slot(pub u32);

/// Something that the shell has to act on.
#[derive(Debug)]
pub enum Event {
    /// The client sent this stanza; stanzas come in the client's order.
    Stanza(Stanza),
    /// The client wants the stream restarted.
    Restart,
    /// The session is over: close the upstream. Open requests have their answers.
    Ended(End),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The shell said so by [`Session::end`].
    Closed,
    /// No request came for too long.
    Inactive,
    /// The client terminated it.
    Terminated,
    /// The client broke a rule.
    Violation(Condition),
}

impl End {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Inactive => "inactive",
            Self::Terminated => "terminated",
            Self::Violation(condition) => condition.as_str(),
        }
    }
}

/// The session state machine.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    state: State,
    /// Highest rid received with all before it.
    last: Rid,
    /// Received in order and unanswered, oldest first.
    held: VecDeque<Held>,
    /// Received ahead of a missing rid, lowest first.
    buffered: Vec<Buffered>,
    /// The latest answers, for clients that lost theirs.
    answered: AnswerCache,
    /// The page that sent the last request in order, where pages say who they are.
    page: Option<Page>,
    /// What the pages that say who they are have sent, the latest last.
    pages: Vec<pages::Sent>,
    turns: pages::Turns,
    /// Exchanges of pages from which others have taken over, and when they are answered at the latest.
    put_off: Vec<(Slot, Instant)>,
    /// An answer that the client seems to lack, to be told with the next one.
    report: Option<Report>,
    /// When an empty request was last answered with nothing because another empty one came.
    replaced_at: Option<Instant>,
    pending: Pending,
    deliveries: Deliveries,
    keys: Keys,
    /// How many stanzas the last answer carried.
    last_given: u32,
    /// Attributes of the creation answer, until it has been given.
    opening: Option<String>,
    pause: Option<Duration>,
    /// When a polling session last asked for nothing, while nothing has been delivered since.
    vain_poll: Option<Instant>,
    idle_since: Option<Instant>,
    /// The client hung up on the last request that was open.
    hung_up: bool,
    gap_since: Option<Instant>,
    duplicates: Duplicates,
    responses: VecDeque<(Slot, Document)>,
    events: VecDeque<Event>,
    /// What it takes to keep the stanzas in `events`, bytes.
    waiting: usize,
}

#[derive(Debug)]
enum State {
    Open,
    Ended {
        forget_at: Instant,
        last_words: Document,
        told: Option<Rid>,
        awaited_until: Instant,
    },
    Gone,
}

#[derive(Debug)]
struct Held {
    rid: Rid,
    /// `None`: the client gave up on this exchange.
    slot: Option<Slot>,
    received: Instant,
    deadline: Instant,
    asked: Asked,
    release: Release,
}

/// When a held request is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Release {
    /// When there is something to say, or it has been held long enough.
    Later,
    /// Now.
    Now,
    /// Now, and without stanzas: it asked for a pause.
    NowEmpty,
    /// Without stanzas, as soon as a page that has been left may be: others take over from it.
    Left,
}

#[derive(Debug)]
struct Buffered {
    request: Request,
    slot: Option<Slot>,
    received: Instant,
}

/// Resends of late.
#[derive(Debug)]
struct Duplicates {
    since: Instant,
    /// How often each rid has come again since then.
    counts: SmallVec<[(Rid, u32); 1]>,
    /// How many requests have come since then that are none.
    fresh: u32,
}

impl Session {
    /// Begins a session; `slot` is answered when the server's features arrive by [`Self::send`].
    pub fn open(creation: &Creation, policy: &Policy, slot: Slot, now: Instant) -> Self {
        let terms = Terms::agree(creation, policy);
        let patience = if terms.polling() {
            FEATURES
        } else {
            terms.wait.min(FEATURES)
        };
        let held = Held {
            rid: creation.rid,
            slot: Some(slot),
            received: now,
            deadline: after(now, patience),
            asked: Asked {
                empty: true,
                ..Asked::NOTHING
            },
            release: Release::Later,
        };
        Self {
            terms,
            state: State::Open,
            last: creation.rid,
            held: VecDeque::from([held]),
            buffered: Vec::new(),
            answered: AnswerCache::default(),
            page: None,
            pages: Vec::new(),
            turns: pages::Turns::default(),
            put_off: Vec::new(),
            report: None,
            replaced_at: None,
            pending: Pending::default(),
            deliveries: Deliveries::default(),
            keys: Keys::new(creation.newkey.as_deref()),
            last_given: 0,
            opening: Some(String::new()),
            pause: None,
            vain_poll: None,
            idle_since: None,
            hung_up: false,
            gap_since: None,
            duplicates: Duplicates {
                since: now,
                counts: SmallVec::new(),
                fresh: 0,
            },
            responses: VecDeque::new(),
            events: VecDeque::new(),
            waiting: 0,
        }
    }

    /// Says who the parties are, in the words of the creation answer: the session id, the served
    /// domain, and the id of the server's stream (`authid`).
    pub fn introduce(&mut self, sid: &str, domain: &str, stream_id: Option<&str>) {
        if self.opening.is_some() {
            self.opening = Some(self.terms.announce(sid, domain, stream_id, self.last));
        }
    }

    /// Before, there is nothing to say: an answer to a creation has a session id, however little time the
    /// client gives it (XEP-0124 "Session Creation Response").
    fn is_introduced(&self) -> bool {
        self.opening
            .as_ref()
            .is_none_or(|opening| !opening.is_empty())
    }

    // === What happened outside ===

    /// A request has arrived.
    pub fn handle_request(&mut self, request: Request, slot: Slot, now: Instant) {
        if !matches!(self.state, State::Open) {
            self.handle_late_request(request.rid, slot, now);
            return;
        }
        if request.rid <= self.last {
            self.handle_resent(request, slot, now);
        } else if request.rid > self.last.plus(self.window(&request)).min(Rid::MAX) {
            self.violation(Condition::ItemNotFound, request.rid, slot, now);
        } else if request.rid == self.last.plus(1) {
            self.accept(request, Some(slot), now, now);
            self.accept_buffered(now);
        } else {
            self.buffer(request, slot, now);
        }
    }

    /// The client has given up on an exchange.
    pub fn handle_disconnect(&mut self, slot: Slot, now: Instant) {
        self.put_off.retain(|(open, _)| *open != slot);
        let held = self.held.iter_mut().map(|held| &mut held.slot);
        let buffered = self.buffered.iter_mut().map(|buffered| &mut buffered.slot);
        if let Some(gone) = held.chain(buffered).find(|open| **open == Some(slot)) {
            *gone = None;
            self.hung_up = true;
        }
        if self.opening.is_some() {
            // Nobody has learned the sid, and nobody will.
            self.finish(End::Inactive, now);
        }
        self.watch_for_idleness(now);
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Open => {
                if self.idle_deadline().is_some_and(|deadline| deadline <= now) {
                    self.finish(End::Inactive, now);
                } else if self.gap_since.is_some_and(|since| after(since, GAP) <= now) {
                    self.give_up_on_gap(now);
                }
            }
            State::Ended { forget_at, .. } if *forget_at <= now => self.state = State::Gone,
            State::Ended { .. } | State::Gone => {}
        }
    }

    // === Commands ===

    /// Queues a stanza for the client.
    pub fn send(&mut self, stanza: Stanza) {
        if matches!(self.state, State::Open) {
            self.pending.push(stanza);
        }
    }

    /// Ends the session: what is pending goes to the oldest open request, or to the next that comes.
    pub fn end(&mut self, condition: Option<Condition>, now: Instant) {
        if matches!(self.state, State::Open) {
            self.close(condition, None, End::Closed, now);
        }
    }

    /// Answers the oldest request that is held, if with nothing: the client's next one confirms what it
    /// has been given.
    pub fn ask_for_confirmation(&mut self) {
        if self.may_be_asked()
            && let Some(oldest) = self.held.front_mut()
        {
            oldest.release = Release::Now;
        }
    }

    /// Whether a request is held that need not be answered yet.
    pub fn may_be_asked(&self) -> bool {
        let oldest = self.held.front();
        self.opening.is_none() && oldest.is_some_and(|oldest| oldest.release == Release::Later)
    }

    // === What to do next ===

    /// The next thing for the shell to act on.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if let Some(Event::Stanza(stanza)) = &event {
            self.waiting = self.waiting.saturating_sub(stanza.footprint());
        }
        if event.is_none() {
            // Most sessions are idle most of the time, and then take no room for that.
            self.events = VecDeque::new();
        }
        event
    }

    /// Whether [`Self::poll_event`] has something. The shell may leave the client's stanzas there for a while;
    /// a client that goes on sending them then is ended.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next answer to write. Drain after [`Self::poll_event`] has been drained.
    pub fn poll_response(&mut self, now: Instant) -> Option<(Slot, Document)> {
        if self.responses.is_empty() {
            self.settle(now);
        }
        let response = self.responses.pop_front();
        if response.is_none() {
            self.responses = VecDeque::new();
        }
        response
    }

    /// When to call [`Self::handle_timeout`], if nothing else happens first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Open => {
                let is_introduced = self.is_introduced();
                let held = self.held.iter();
                let held = held.filter(|held| held.slot.is_some() && is_introduced);
                let gap = self.gap_since.map(|since| after(since, GAP));
                let held = held.map(|held| held.deadline);
                let crowd = self
                    .patient_until()
                    .filter(|_| self.open_requests() > self.terms.hold);
                let held = held.chain(crowd);
                let held = held.chain(self.brake());
                held.chain(self.idle_deadline()).chain(gap).min()
            }
            State::Ended { forget_at, .. } => Some(*forget_at),
            State::Gone => None,
        }
    }

    /// What it takes to keep the stanzas that [`Self::poll_event`] has, bytes.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// What it takes to keep what the client has not been sent, bytes.
    pub fn pending(&self) -> usize {
        self.pending.size()
    }

    /// How much may be pending before the server should not be read from, bytes.
    pub fn max_pending(&self) -> usize {
        self.terms.max_pending
    }

    /// False while so much is pending that the server should not be read from.
    pub fn wants_upstream(&self) -> bool {
        self.pending.size() < self.terms.max_pending
    }

    /// Whether the gateway may say more by itself. That alone must not make a client count as one that does not
    /// come for what the server says.
    pub fn has_room(&self) -> bool {
        self.pending.size() < self.terms.max_pending / 2
    }

    /// How many stanzas it has been given by [`Self::send`].
    pub fn given(&self) -> u64 {
        self.pending.given()
    }

    /// How many of them have been put into answers.
    pub fn written(&self) -> u64 {
        self.deliveries.written()
    }

    /// How many of them the client has, by what it says or by its rids: it may not be two answers behind.
    pub fn confirmed(&self) -> u64 {
        self.deliveries.confirmed()
    }

    /// From when on the client counts as not listening, unless a request comes: at once if it hung up,
    /// else when it has had time for what it was given, and, if it polls, for the next poll. `None` while a request
    /// is open.
    pub fn deaf_at(&self) -> Option<Instant> {
        let since = self.idle_since?;
        if self.hung_up {
            return Some(since);
        }
        let work = BREATH.saturating_add(WORK.saturating_mul(self.last_given));
        let pace = match self.terms.polling() {
            true => POLLING,
            false => Duration::ZERO,
        };
        Some(after(since, work.saturating_add(pace)))
    }

    /// Once the session is over, until when its client may be expected to come and hear how it ended: a client
    /// that is there comes at its usual pace. `None` when it has been told.
    pub fn awaited_until(&self) -> Option<Instant> {
        match &self.state {
            State::Ended {
                told: None,
                awaited_until,
                ..
            } => Some(*awaited_until),
            State::Open | State::Ended { .. } | State::Gone => None,
        }
    }

    /// True when nothing is left to be said to anyone.
    pub fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    /// True when the session is over and its client has been told.
    pub fn is_told(&self) -> bool {
        match &self.state {
            State::Open => false,
            State::Ended { told, .. } => told.is_some(),
            State::Gone => true,
        }
    }

    /// True until the end.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Value of the Content-Type header of every answer.
    pub fn content_type(&self) -> &Bytes {
        &self.terms.content_type
    }

    /// Takes what the client has not been sent.
    pub fn take_pending(&mut self) -> VecDeque<Stanza> {
        self.pending.take_all()
    }
}

/// `duration` after `instant`; for durations that the clock cannot hold, the instant itself.
fn after(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration).unwrap_or(instant)
}

#[cfg(test)]
mod tests;
