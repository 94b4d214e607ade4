//! Session of BOSH, on the connection manager's side: owns rids, held requests, answers, and what is pending. It must
//! not know the server, nor what stanzas mean.
//!
//! ```text
//!                               pause=n
//!  (creation) --> Open ------------------------> Paused       Open, Paused: inactivity --> Gone
//!                  ^                               |
//!                  +--------- next request --------+
//!
//!  Open, Paused: terminate, violation, server gone --> Ended -- remembered for long enough --> Gone
//! ```
//!
//! How far the answer to the creation request has come is a state of its own (`opening`).
//!
//! Requests and their HTTP exchanges ([`Slot`]s) are data, not states. After every mutation the shell must drain
//! [`Session::poll_event`], then [`Session::poll_response`], and arm a timer for [`Session::poll_timeout`]. Answers
//! are decided only while draining. So everything that one input causes, the gateway's own replies included, travels
//! in one answer.
//!
//! Only this machine knows rids. An ended session stays for a while: a client that has lost the last answer asks again,
//! and learns how the session ended.
//!
//! The life of a request: `window` puts it in order, `requests` does what it says, `held` keeps it until `answers`
//! answers it. Then `answered` keeps the answer for resends, and `delivery` what it carried until the client has
//! confirmed it.

mod absence;
mod answered;
mod answers;
mod delivery;
mod end;
mod held;
mod inbox;
mod keys;
mod opening;
mod pages;
mod pending;
mod requests;
mod window;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use absence::Absence;
use answered::{AnswerCache, Asked};
use delivery::Deliveries;
use end::Ended;
use held::{Held, Queue, Release};
use inbox::Inbox;
use keys::Keys;
use opening::Opening;
use pages::Pages;
use pending::Pending;
use window::{Place, Window};

use super::{
    body::{Creation, Document, Request},
    condition::Condition,
    terms::{Policy, Terms},
};
use crate::proto::stanza::Stanza;

/// Longest time that a creation request waits for the features of the server.
const FEATURES_TIMEOUT: Duration = Duration::from_secs(15);

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
    /// Another page goes on with the session. What follows is its.
    NewPage,
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
    /// The server could not be reached.
    Unreachable,
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
            Self::Unreachable => "unreachable",
            Self::Violation(condition) => condition.as_str(),
        }
    }
}

/// The session state machine.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    state: State,
    opening: Opening,
    /// Which rids may come.
    window: Window,
    /// Requests that wait for their answers.
    held: Queue,
    /// The latest answers, for clients that lost theirs.
    answered: AnswerCache,
    pages: Pages,
    /// What the client has not been sent.
    pending: Pending,
    /// How much of that there may be before the server is not read from, bytes.
    max_pending: usize,
    /// What it has been sent, and whether it has it.
    deliveries: Deliveries,
    keys: Keys,
    absence: Absence,
    /// When a polling session last sent an empty request, if nothing has been delivered since.
    last_empty_poll: Option<Instant>,
    inbox: Inbox,
    /// Answers that the shell has not yet written.
    responses: VecDeque<(Slot, Document)>,
}

#[derive(Debug)]
enum State {
    /// The client is there, or may be away for as long as was agreed.
    Open,
    /// It said how long it will be away (XEP-0124 "Session Pause").
    Paused(Duration),
    /// Over, and remembered: a later request hears how it ended.
    Ended(Ended),
    /// Over, and forgotten.
    Gone,
}

impl Session {
    /// Begins a session; `slot` is answered when the server's features arrive by [`Self::send`]. With `max_pending`
    /// undelivered bytes, the server should not be read from.
    pub fn open(
        creation: &Creation,
        policy: &Policy,
        max_pending: usize,
        slot: Slot,
        now: Instant,
    ) -> Self {
        let terms = Terms::agree(creation, policy);
        let patience = if terms.polling() {
            FEATURES_TIMEOUT
        } else {
            terms.wait.min(FEATURES_TIMEOUT)
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
            opening: Opening::default(),
            window: Window::new(creation.rid, now),
            held: Queue::new(held),
            answered: AnswerCache::default(),
            pages: Pages::default(),
            pending: Pending::default(),
            max_pending,
            deliveries: Deliveries::default(),
            keys: Keys::new(creation.newkey.as_deref()),
            absence: Absence::default(),
            last_empty_poll: None,
            inbox: Inbox::default(),
            responses: VecDeque::new(),
        }
    }

    /// Sets what the creation answer has to name: the session id, the served domain, and the id of the server's stream
    /// (`authid`).
    pub fn introduce(&mut self, sid: &str, domain: &str, stream_id: Option<&str>) {
        let (terms, last) = (&self.terms, self.window.last());
        self.opening
            .introduce(|| terms.announce(sid, domain, stream_id, last));
    }

    // === What happened outside ===

    /// A request has arrived.
    pub fn handle_request(&mut self, request: Request, slot: Slot, now: Instant) {
        if !self.is_open() {
            self.handle_late_request(request.rid, slot, now);
            return;
        }
        match self.window.place(request.rid, self.window_size(&request)) {
            Place::Behind => self.handle_resent(request, slot, now),
            Place::Beyond => self.violation(Condition::ItemNotFound, request.rid, slot, now),
            Place::Ahead => self.buffer(request, slot, now),
            Place::Next => {
                self.accept(request, Some(slot), now, now);
                self.accept_buffered(now);
            }
        }
    }

    /// The client has given up on an exchange.
    pub fn handle_disconnect(&mut self, slot: Slot, now: Instant) {
        self.pages.forget(slot);
        let slots = self.held.slots_mut().chain(self.window.slots_mut());
        for (rid, gone) in slots.filter(|(_, open)| **open == Some(slot)) {
            *gone = None;
            self.absence.note_hang_up();
            self.pages.note_hang_up(rid);
        }
        if !self.opening.is_given() {
            // The client does not know the sid, so it can never come back.
            self.finish(End::Inactive);
        }
        self.watch_for_absence(now);
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match &self.state {
            State::Open | State::Paused(_) => {
                if has_come(self.expires_at()) {
                    self.finish(End::Inactive);
                } else if has_come(self.window.gap_ends_at()) {
                    self.give_up_on_gap(now);
                }
            }
            State::Ended(ended) if ended.forget_at() <= now => self.state = State::Gone,
            State::Ended(_) | State::Gone => {}
        }
    }

    // === Commands ===

    /// Queues a stanza for the client.
    pub fn send(&mut self, stanza: Stanza) {
        if self.is_open() {
            self.pending.push(stanza);
        }
    }

    /// Another client goes on with the session: it has been told the rid that comes next. Some count it as used, so the
    /// one after it may come first, and is then not kept waiting for long.
    pub fn hand_over(&mut self) {
        self.window.hand_over();
    }

    /// Ends and forgets the session: nobody else has its id, so nobody comes to hear how it ended.
    pub fn abandon(&mut self) {
        match self.is_open() {
            true => self.finish(End::Closed),
            false => self.state = State::Gone,
        }
    }

    /// Ends and forgets the session: the server cannot be reached, which the client hears otherwise.
    pub fn refuse(&mut self) {
        if self.is_open() {
            self.finish(End::Unreachable);
        }
    }

    /// Ends the session. The oldest open request gets what is pending, or the next one that comes.
    pub fn end(&mut self, condition: Option<Condition>, now: Instant) {
        if self.is_open() {
            self.close(condition, None, End::Closed, now);
        }
    }

    /// Answers the oldest held request at once, even with nothing: the client's next request then confirms what it has
    /// been given.
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
        self.opening.is_given() && oldest.is_some_and(|oldest| oldest.release == Release::Later)
    }

    // === What to do next ===

    /// The next thing for the shell to act on.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.inbox.pop()
    }

    /// Whether [`Self::poll_event`] has something. The shell may leave the client's stanzas there for a while. A client
    /// that sends too many meanwhile is ended.
    pub fn has_events(&self) -> bool {
        !self.inbox.is_empty()
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
            State::Open | State::Paused(_) => self.next_due(),
            State::Ended(ended) => Some(ended.forget_at()),
            State::Gone => None,
        }
    }

    /// When something is due in a session that is not over.
    fn next_due(&self) -> Option<Instant> {
        let held = self.held.open().map(|held| held.deadline);
        let held = held.filter(|_| self.opening.is_introduced());
        let is_crowded = self.open_requests() > self.terms.hold;
        let crowd = self.patient_until().filter(|_| is_crowded);
        let pages = self.pages.next_due(self.held.has_left());
        held.chain(crowd)
            .chain(pages)
            .chain(self.expires_at())
            .chain(self.window.gap_ends_at())
            .min()
    }

    /// When the client has been away for too long.
    fn expires_at(&self) -> Option<Instant> {
        let allowed = match &self.state {
            State::Paused(pause) => *pause,
            _ => self.terms.inactivity,
        };
        self.absence.expires_at(allowed)
    }

    /// Size of the stanzas that [`Self::poll_event`] has, in bytes.
    pub fn waiting(&self) -> usize {
        self.inbox.size()
    }

    /// Size of what the client has not been sent, in bytes.
    pub fn pending(&self) -> usize {
        self.pending.size()
    }

    /// How much may be pending before the server should not be read from, bytes.
    pub fn max_pending(&self) -> usize {
        self.max_pending
    }

    /// False while so much is pending that the server should not be read from.
    pub fn wants_upstream(&self) -> bool {
        self.pending.size() < self.max_pending
    }

    /// Whether the gateway may add something of its own. It stops at half of what may be pending, so that only what
    /// the server sends can make a client look deaf.
    pub fn has_room(&self) -> bool {
        self.pending.size() < self.max_pending / 2
    }

    /// How many stanzas it has been given by [`Self::send`].
    pub fn given(&self) -> u64 {
        self.pending.given()
    }

    /// How many of them have been put into answers.
    pub fn written(&self) -> u64 {
        self.deliveries.written()
    }

    /// How many of them the client is known to have: by its `ack`, or by its rids, as a client may not be two answers
    /// behind.
    pub fn confirmed(&self) -> u64 {
        self.deliveries.confirmed()
    }

    /// From when on the client counts as deaf, unless a request comes; see `Absence::deaf_at`. `None` while a request
    /// is open.
    pub fn deaf_at(&self) -> Option<Instant> {
        self.absence.deaf_at(self.terms.polling())
    }

    /// Once the session is over: until when a client that is still there will have come, at its usual pace, to hear how
    /// it ended. `None` when the client has been told.
    pub fn awaited_until(&self) -> Option<Instant> {
        match &self.state {
            State::Ended(ended) => ended.awaited_until(),
            State::Open | State::Paused(_) | State::Gone => None,
        }
    }

    /// True when nothing is left to be said to anyone.
    pub fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    /// True when the session is over and its client has been told.
    pub fn is_told(&self) -> bool {
        match &self.state {
            State::Open | State::Paused(_) => false,
            State::Ended(ended) => ended.is_told(),
            State::Gone => true,
        }
    }

    /// True until the end.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Paused(_))
    }

    fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused(_))
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
