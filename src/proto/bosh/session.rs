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

use std::{
    collections::VecDeque,
    fmt::Write as _,
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Rid,
    answered::{AnswerCache, Answered, Report},
    body::{Creation, Document, ERROR_ATTRIBUTES, Request, terminate_attributes},
    condition::Condition,
    delivery::Deliveries,
    keys::Keys,
    pending::Pending,
    terms::{POLLING, Policy, Terms},
};
use crate::proto::stanza::Stanza;

/// How much sooner than [`POLLING`] says the next poll may come: timers are not exact.
const SLACK: Duration = Duration::from_secs(1);
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
/// Most resends of one rid within [`DUPLICATES_IN`].
const DUPLICATES: u32 = 10;
const DUPLICATES_IN: Duration = Duration::from_secs(10);

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
    buffered: SmallVec<[Buffered; 1]>,
    /// The latest answers, for clients that lost theirs.
    answered: AnswerCache,
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
}

#[derive(Debug)]
enum State {
    Open,
    Ended {
        forget_at: Instant,
        last_words: Document,
        told: Option<Rid>,
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
    digest: u64,
    empty: bool,
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
}

#[derive(Debug)]
struct Buffered {
    request: Request,
    slot: Option<Slot>,
    received: Instant,
}

#[derive(Debug)]
struct Duplicates {
    rid: Option<Rid>,
    count: u32,
    since: Instant,
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
            digest: 0,
            empty: true,
            release: Release::Later,
        };
        Self {
            terms,
            state: State::Open,
            last: creation.rid,
            held: VecDeque::from([held]),
            buffered: SmallVec::new(),
            answered: AnswerCache::default(),
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
                rid: None,
                count: 0,
                since: now,
            },
            responses: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Says who the parties are, in the words of the creation answer: the session id, the served
    /// domain, and the id of the server's stream (`authid`).
    pub fn introduce(&mut self, sid: &str, domain: &str, stream_id: Option<&str>) {
        if self.opening.is_some() {
            self.opening = Some(self.terms.announce(sid, domain, stream_id, self.last));
        }
    }

    // === What happened outside ===

    /// A request has arrived.
    pub fn handle_request(&mut self, request: Request, slot: Slot, now: Instant) {
        if !matches!(self.state, State::Open) {
            self.handle_late_request(request.rid, slot, now);
            return;
        }
        // A pause or terminate request may come on top of the others (XEP-0124 "Overactivity").
        let extra = u64::from(request.pause.is_some() || request.terminate);
        if request.rid <= self.last {
            self.handle_resent(request, slot, now);
        } else if request.rid
            > self
                .last
                .plus(self.terms.requests.saturating_add(extra))
                .min(Rid::MAX)
        {
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
        if let Some(oldest) = self.held.front_mut()
            && self.opening.is_none()
            && oldest.release == Release::Later
        {
            oldest.release = Release::Now;
        }
    }

    // === What to do next ===

    /// The next thing for the shell to act on.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next answer to write. Drain after [`Self::poll_event`] has been drained.
    pub fn poll_response(&mut self, now: Instant) -> Option<(Slot, Document)> {
        if self.responses.is_empty() {
            self.settle(now);
        }
        self.responses.pop_front()
    }

    /// When to call [`Self::handle_timeout`], if nothing else happens first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Open => {
                let held = self.held.iter().filter(|held| held.slot.is_some());
                let gap = self.gap_since.map(|since| after(since, GAP));
                let held = held.map(|held| held.deadline);
                let crowd = self
                    .patient_until()
                    .filter(|_| self.open_requests() > self.terms.hold);
                let held = held.chain(crowd);
                held.chain(self.idle_deadline()).chain(gap).min()
            }
            State::Ended { forget_at, .. } => Some(*forget_at),
            State::Gone => None,
        }
    }

    /// False while so much is pending that the server should not be read from.
    pub fn wants_upstream(&self) -> bool {
        self.pending.size() < self.terms.max_pending
    }

    /// How many stanzas it has been given by [`Self::send`].
    pub fn given(&self) -> u64 {
        self.pending.given()
    }

    /// How many of them the client has, by what it says or by its rids: it may not be two answers behind.
    pub fn confirmed(&self) -> u64 {
        self.deliveries.confirmed()
    }

    /// From when on the client counts as not listening, unless a request comes: at once if it hung up,
    /// else when it has had time for what it was given. `None` while a request is open.
    pub fn deaf_at(&self) -> Option<Instant> {
        let allowed = if self.hung_up {
            Duration::ZERO
        } else {
            BREATH.saturating_add(WORK.saturating_mul(self.last_given))
        };
        self.idle_since.map(|since| after(since, allowed))
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

    // === Requests ===

    /// Takes the request that is next in order.
    fn accept(&mut self, request: Request, slot: Option<Slot>, received: Instant, now: Instant) {
        self.last = request.rid;
        self.pause = None;
        self.idle_since = None;
        self.hung_up = false;
        let is_genuine = self
            .keys
            .advance(request.key.as_deref(), request.newkey.as_deref());
        if is_genuine {
            self.acknowledge(request.rid, request.ack, now);
        }
        let empty = request.payload.is_empty();
        let asks = empty && !request.restart && !request.terminate && request.pause.is_none();
        self.held.push_back(Held {
            rid: request.rid,
            slot,
            received,
            deadline: after(received, self.terms.wait),
            digest: request.digest,
            empty: asks,
            release: Release::Later,
        });
        let last_poll = std::mem::replace(&mut self.vain_poll, asks.then_some(received));
        let is_hasty = last_poll.is_some_and(|last| after(last, POLLING) > after(received, SLACK));
        let violation = if !is_genuine {
            Some(Condition::ItemNotFound)
        } else if self.terms.polling() && asks && is_hasty {
            Some(Condition::PolicyViolation)
        } else {
            None
        };
        if let Some(condition) = violation {
            let end = End::Violation(condition);
            return self.close(Some(condition), Some(request.rid), end, now);
        }
        if request.restart {
            self.events.push_back(Event::Restart);
        } else {
            self.events
                .extend(request.payload.into_iter().map(Event::Stanza));
        }
        if let Some(seconds) = request.pause {
            self.begin_pause(Duration::from_secs(seconds), request.rid, now);
        }
        if request.terminate && self.is_open() {
            self.close(None, None, End::Terminated, now);
        }
    }

    fn accept_buffered(&mut self, now: Instant) {
        while self.is_open()
            && self
                .buffered
                .first()
                .is_some_and(|next| next.request.rid == self.last.plus(1))
        {
            let Buffered {
                request,
                slot,
                received,
            } = self.buffered.remove(0);
            self.accept(request, slot, received, now);
        }
        self.gap_since = if self.buffered.is_empty() {
            None
        } else {
            self.gap_since
        };
    }

    fn buffer(&mut self, request: Request, slot: Slot, now: Instant) {
        self.idle_since = None;
        if let Some(earlier) = self
            .buffered
            .iter_mut()
            .find(|b| b.request.rid == request.rid)
        {
            if let Some(older) = earlier.slot.replace(slot) {
                self.responses.push_back((older, recoverable_error()));
            } else if earlier.request.payload.is_empty() {
                earlier.request = request;
            }
            return;
        }
        let rid = request.rid;
        let index = self
            .buffered
            .iter()
            .take_while(|b| b.request.rid < rid)
            .count();
        self.buffered.insert(
            index,
            Buffered {
                request,
                slot: Some(slot),
                received: now,
            },
        );
        self.gap_since.get_or_insert(now);
    }

    /// A rid that has been received before (XEP-0124 "Broken Connections").
    fn handle_resent(&mut self, request: Request, slot: Slot, now: Instant) {
        self.hung_up = false;
        if self.is_flooding(request.rid, now) {
            self.violation(Condition::PolicyViolation, request.rid, slot, now);
            return;
        }
        let original = self.answered.get(request.rid).map(|it| it.digest);
        let held = self.held.iter().find(|held| held.rid == request.rid);
        let original = original.or_else(|| held.map(|held| held.digest));
        if self.keys.is_used() && original.is_some_and(|digest| digest != request.digest) {
            // A resend has the key of the original (XEP-0124 "Protecting Insecure Sessions").
            self.violation(Condition::ItemNotFound, request.rid, slot, now);
        } else if let Some(answered) = self.answered.get(request.rid) {
            self.idle_since = None;
            self.responses.push_back((slot, answered.document.clone()));
        } else if let Some(held) = self.held.iter_mut().find(|held| held.rid == request.rid) {
            self.idle_since = None;
            held.received = now;
            held.deadline = after(now, self.terms.wait);
            if let Some(older) = held.slot.replace(slot) {
                self.responses.push_back((older, recoverable_error()));
            } else if held.empty && held.digest != request.digest {
                // A page that was reloaded before it could count its last, empty request.
                held.empty = request.payload.is_empty();
                held.digest = request.digest;
                self.events
                    .extend(request.payload.into_iter().map(Event::Stanza));
            }
        } else if self.open_requests() > 0 {
            // A stale tab must not end the session of a live one.
            let document = Document::terminate(Some(Condition::ItemNotFound));
            self.responses.push_back((slot, document));
        } else {
            self.violation(Condition::ItemNotFound, request.rid, slot, now);
        }
    }

    /// Requests to a session that is over.
    fn handle_late_request(&mut self, rid: Rid, slot: Slot, now: Instant) {
        let repeated = self.answered.get(rid);
        let document = match &mut self.state {
            State::Ended {
                last_words, told, ..
            } if *told == Some(rid) => last_words.clone(),
            State::Ended { .. } if repeated.is_some() => repeated
                .map(|answered| answered.document.clone())
                .unwrap_or_default(),
            State::Ended {
                last_words,
                told,
                forget_at,
            } if told.is_none() => {
                *told = Some(rid);
                *forget_at = after(now, TOMBSTONE);
                last_words.clone()
            }
            _ => Document::terminate(Some(Condition::ItemNotFound)),
        };
        self.responses.push_back((slot, document));
    }

    fn begin_pause(&mut self, pause: Duration, rid: Rid, now: Instant) {
        if pause.is_zero() || pause > self.terms.max_pause {
            self.close(
                Some(Condition::PolicyViolation),
                Some(rid),
                End::Violation(Condition::PolicyViolation),
                now,
            );
            return;
        }
        self.pause = Some(pause);
        for held in &mut self.held {
            held.release = if held.rid == rid {
                Release::NowEmpty
            } else {
                Release::Now
            };
        }
    }

    /// Takes note of what the client has (XEP-0124 "Acknowledgements"): by its own account, or as it could
    /// not have made this request without.
    fn acknowledge(&mut self, rid: Rid, ack: Option<Rid>, now: Instant) {
        if self.terms.acks {
            let has = ack.unwrap_or_else(|| rid.minus(1));
            self.answered.acknowledge(has);
            self.deliveries.confirm(has);
            self.report = self.answered.report(has, self.terms.report_grace, now);
        } else {
            self.deliveries.confirm(rid.minus(self.terms.requests));
        }
    }

    fn is_flooding(&mut self, rid: Rid, now: Instant) -> bool {
        let duplicates = &mut self.duplicates;
        let recent = after(duplicates.since, DUPLICATES_IN) > now;
        if duplicates.rid == Some(rid) && recent {
            duplicates.count = duplicates.count.saturating_add(1);
        } else {
            *duplicates = Duplicates {
                rid: Some(rid),
                count: 1,
                since: now,
            };
        }
        duplicates.count > DUPLICATES
    }

    /// Strophe counts a request when it builds it, so a page that is reloaded in that instant leaves
    /// a rid that nobody will ever send.
    fn give_up_on_gap(&mut self, now: Instant) {
        if self.held.iter().any(|held| held.slot.is_some()) {
            let condition = Condition::ItemNotFound;
            self.close(Some(condition), None, End::Violation(condition), now);
            return;
        }
        self.gap_since = None;
        let Some(next) = self.buffered.first() else {
            return;
        };
        let next = next.request.rid;
        while self.last.plus(1) < next {
            self.last = self.last.plus(1);
            self.remember(self.last, 0, Document::empty(), now);
        }
        self.accept_buffered(now);
    }

    // === Answers ===

    /// Answers whatever can and must be answered, strictly in the order of the rids.
    fn settle(&mut self, now: Instant) {
        if !self.is_open() {
            return;
        }
        while let Some(oldest) = self.held.front() {
            let (rid, digest) = (oldest.rid, oldest.digest);
            let Some(slot) = oldest.slot else {
                if self.held.len() == 1 {
                    break;
                }
                // Superseded: the client went on to its next request.
                self.held.pop_front();
                self.remember(rid, digest, Document::empty(), now);
                continue;
            };
            let is_crowded = self.open_requests() > self.terms.hold
                && self.patient_until().is_none_or(|until| until <= now);
            let due = oldest.deadline <= now
                || self.opening.is_none()
                    && (oldest.release != Release::Later
                        || self.report.is_some()
                        || self.terms.polling()
                        || is_crowded);
            if !due && self.pending.is_empty() {
                break;
            }
            let next = self.held.get(1);
            // Whoever has just come is there to read it; whoever was held may be a page that is gone.
            let is_stale = next.is_some_and(|next| next.slot.is_some())
                && after(oldest.received, STALE) <= now
                && !self.terms.polling();
            let is_replaced = oldest.empty && next.is_some_and(|next| next.empty);
            let mute = oldest.release == Release::NowEmpty || is_stale;
            if is_replaced && (mute || self.pending.is_empty()) {
                self.replaced_at = Some(now);
            }
            self.held.pop_front();
            let document = self.compose(rid, mute, now);
            self.remember(rid, digest, document.clone(), now);
            self.responses.push_back((slot, document));
        }
        self.watch_for_idleness(now);
    }

    /// Until when a crowd of empty requests is left alone: a client that answers every empty answer with
    /// another empty request, while one is held, would go round and round.
    fn patient_until(&self) -> Option<Instant> {
        let mut open = self.held.iter().filter(|held| held.slot.is_some());
        let is_idle = self.buffered.is_empty() && open.all(|held| held.empty);
        self.replaced_at
            .filter(|_| is_idle)
            .map(|at| after(at, REPLACEMENT))
    }

    /// Writes the answer to `rid`, with what is pending unless `mute`.
    fn compose(&mut self, rid: Rid, mute: bool, now: Instant) -> Document {
        let is_opening = self.opening.is_some();
        let mut attributes = self.opening.take().unwrap_or_default();
        if let Some(Report { rid, answered_at }) = self.report.take() {
            let time = now.saturating_duration_since(answered_at).as_millis();
            let _ = write!(attributes, " report='{rid}' time='{time}'");
        }
        if self.terms.acks && !is_opening && self.last != rid {
            let _ = write!(attributes, " ack='{}'", self.last);
        }
        let stanzas = if mute {
            VecDeque::new()
        } else {
            self.pending.take_next()
        };
        if !stanzas.is_empty() {
            self.vain_poll = None;
        }
        self.deliveries.answered(rid, stanzas.len());
        self.hung_up = false;
        self.last_given = u32::try_from(stanzas.len()).unwrap_or(u32::MAX);
        if attributes.is_empty() && stanzas.is_empty() {
            Document::empty()
        } else {
            Document::with(&attributes, stanzas.iter())
        }
    }

    /// Keeps an answer for a client that might ask again.
    fn remember(&mut self, rid: Rid, digest: u64, document: Document, now: Instant) {
        self.answered.push(
            Answered {
                rid,
                digest,
                document,
                at: now,
            },
            self.terms.requests,
            self.terms.acks,
        );
    }

    /// Exchanges that wait for an answer.
    fn open_requests(&self) -> usize {
        let held = self.held.iter().filter(|held| held.slot.is_some()).count();
        let buffered = self
            .buffered
            .iter()
            .filter(|buffered| buffered.slot.is_some())
            .count();
        held.saturating_add(buffered)
    }

    fn watch_for_idleness(&mut self, now: Instant) {
        if self.open_requests() > 0 {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let allowed = self.pause.unwrap_or(self.terms.inactivity);
        self.idle_since.map(|since| after(since, allowed))
    }

    // === The end ===

    /// Ends the session because of the request in `slot`, which has not been taken in.
    fn violation(&mut self, condition: Condition, rid: Rid, slot: Slot, now: Instant) {
        let last_words = Document::terminate(Some(condition));
        self.responses.push_back((slot, last_words.clone()));
        self.dismiss_all(Some(condition));
        let forget_at = after(now, TOMBSTONE);
        self.state = State::Ended {
            forget_at,
            last_words,
            told: Some(rid),
        };
        self.events
            .push_back(Event::Ended(End::Violation(condition)));
    }

    /// Ends the session. `offender`, else the oldest open request, hears why.
    fn close(
        &mut self,
        condition: Option<Condition>,
        offender: Option<Rid>,
        end: End,
        now: Instant,
    ) {
        let held = self.held.iter_mut().map(|held| (held.rid, &mut held.slot));
        let buffered = self
            .buffered
            .iter_mut()
            .map(|b| (b.request.rid, &mut b.slot));
        let addressee = held
            .chain(buffered)
            .filter(|(rid, slot)| slot.is_some() && offender.is_none_or(|it| it == *rid))
            .find_map(|(rid, slot)| Some((rid, slot.take()?)));

        let mut attributes = self.opening.take().unwrap_or_default();
        if !attributes.is_empty() && condition.is_some() {
            // A creation that failed names no session.
            attributes.clear();
        }
        attributes.push_str(&terminate_attributes(condition));
        let stanzas = self.pending.take_all();
        let last_words = Document::with(&attributes, stanzas.iter());

        let told = addressee.map(|(rid, slot)| {
            self.responses.push_back((slot, last_words.clone()));
            rid
        });
        self.dismiss_all(condition);
        let memory = if told.is_some() {
            TOMBSTONE
        } else {
            self.terms.inactivity
        };
        let forget_at = after(now, memory);
        self.state = State::Ended {
            forget_at,
            last_words,
            told,
        };
        self.events.push_back(Event::Ended(end));
    }

    /// Answers the requests that are not the one that hears why the session ended.
    fn dismiss_all(&mut self, condition: Option<Condition>) {
        let document = match condition {
            Some(_) => Document::terminate(Some(Condition::OtherRequest)),
            None => Document::empty(),
        };
        let held = self.held.drain(..).filter_map(|held| held.slot);
        let buffered = self.buffered.drain(..).filter_map(|buffered| buffered.slot);
        for slot in held.chain(buffered) {
            self.responses.push_back((slot, document.clone()));
        }
        self.idle_since = None;
        self.gap_since = None;
    }

    /// Ends the session with nobody there to be told.
    fn finish(&mut self, end: End, _now: Instant) {
        self.dismiss_all(None);
        self.state = State::Gone;
        self.events.push_back(Event::Ended(end));
    }
}

fn recoverable_error() -> Document {
    Document::with(ERROR_ATTRIBUTES, std::iter::empty())
}

/// `duration` after `instant`; for durations that the clock cannot hold, the instant itself.
fn after(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration).unwrap_or(instant)
}

#[cfg(test)]
mod tests;
