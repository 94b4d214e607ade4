//! Client's side of one BOSH session, for servers that are reached by their own BOSH.
//!
//! ```text
//!            answer              restart                features            stanza           close
//!  Creating --------> Negotiating -------> Restarting ----------> Binding ----------> Open -------> Closing --> Ended
//!                         |___________________________________________|_____________________________^ close
//! ```
//!
//! While the client authenticates, exactly one request is open at a time, and only where the server owes
//! an answer: a server may give the features of the next stream to whichever request comes after
//! `<success/>`, so that has to be the restart. Once the session is open there is always a request that
//! the server can answer, and never more than two.
//!
//! Two requests at once take two connections, and the later one may arrive first. ejabberd then holds the
//! earlier one and never looks at the later one, unless it happens to have something to send. Therefore
//! the later request keeps a distance from the earlier one that grows with the time that answers take,
//! and no empty request is open that the request which binds a resource could overtake. If it happens all the
//! same, both are sent again after a while, upon which ejabberd ends the session. Once a resource is being
//! bound, a request is open without a pause: a server that ends a session says so in the answer to a request
//! that it holds, or not at all.
//!
//! A request keeps its rid and its bytes until it has been answered. The server knows by the rid whether it
//! has seen the request, so that it can be sent again whenever it is unclear whether it arrived. Answers are
//! taken in the order of rids.
//!
//! Drain [`Client::poll_request`] and [`Client::poll_event`] after every other call, and arm a timer for
//! [`Client::poll_timeout`].

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::Rid;
use crate::proto::{
    stanza::{self, Kind, Stanza, scan_body},
    stream::{
        LIMITS,
        initiator::husk,
        split::{Piece, Splitter},
    },
    xml::{Ns, ScanError, Scope, write::Tag},
};

/// Longest time that the server is asked to hold a request. Less than the minute after which common
/// proxies lose patience.
const WAIT: Duration = Duration::from_secs(55);
/// How much later than agreed an answer may come. Also how long an answer may take once a later request is
/// on its way, as the server then need not hold the earlier one.
const LATE: Duration = Duration::from_secs(10);
/// The `inactivity` of servers that do not state it; no server has less.
const INACTIVITY: Duration = Duration::from_secs(30);
/// How long a missing answer is waited for once a later one has ended the session.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// If an empty request gets an empty answer sooner than this, the next one waits for as long.
const HASTE: Duration = Duration::from_secs(1);
/// Least and most time between two requests on their way at once.
const SPACING: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Most bytes of stanzas in one request, unless one stanza alone is larger. Prosody takes 256 KiB in all.
pub const MAX_PAYLOAD: usize = 192 << 10;
/// Bytes of events not yet polled for, beyond which nothing more is asked of the server.
const MAX_UNREAD: usize = 4 << 20;
/// Most requests that are open at once, whatever the server allows.
const MAX_OPEN: usize = 2;

/// What has come from the server.
#[derive(Clone, Debug)]
pub enum Event {
    /// The session exists.
    Created(Created),
    /// `stream:features`
    Features(Stanza),
    /// Any other element but a stream error.
    Stanza(Stanza),
    /// The husk of a legal stanza that cannot be passed on: its start tag alone.
    Unreadable(Stanza),
    /// `stream:error`
    Error(Stanza),
    /// The session has ended in order. The last event.
    Closed,
    /// The session is lost. The last event.
    Lost(Loss),
}

/// What the server's creation answer says (XEP-0124 "Session Creation Response").
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Created {
    /// Name of the stream.
    pub authid: Option<String>,
    /// The domain that the server speaks for.
    pub from: Option<String>,
}

/// How a session was lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The answer was no `<body/>`.
    #[error("answer is not BOSH")]
    NotBosh(#[source] ScanError),
    /// The creation answer has no session id.
    #[error("answer without a session id")]
    NoSid,
    /// A final HTTP status.
    #[error("server answered with HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// `type='terminate'`, with a condition and without a stream error.
    #[error("session terminated by the server: {condition}")]
    Terminated {
        /// The condition.
        condition: String,
    },
    /// The server did not answer the first request, or it gave no answer for as long as it keeps a silent session.
    #[error("no answer from the server")]
    Unanswered,
}

/// The session state machine.
#[derive(Debug)]
pub struct Client {
    to: Box<str>,
    phase: Phase,
    sid: Box<str>,
    next: Rid,
    /// Requests that may be open at once.
    requests: usize,
    wait: Duration,
    inactivity: Duration,
    /// Unanswered, or answered ahead of their turn, lowest rid first.
    open: VecDeque<Open>,
    queue: VecDeque<Item>,
    /// Memory that the stanzas in `queue` take, bytes.
    queued: usize,
    /// The server owes an answer to what was sent, in a phase where it is asked for nothing else.
    owes: bool,
    /// The last request says `terminate`.
    terminating: bool,
    /// The caller waits for events.
    reading: bool,
    /// Time between two requests on their way at once.
    spacing: Duration,
    /// When the server was last heard.
    heard: Instant,
    /// Since when every attempt has failed.
    failing: Option<Instant>,
    /// No empty request is sent before this time.
    not_before: Option<Instant>,
    events: VecDeque<Event>,
    /// Bytes in `events`.
    unread: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Creating,
    Negotiating,
    Restarting,
    Binding,
    Open,
    Closing,
    Ended,
}

#[derive(Debug)]
enum Item {
    Restart(Option<Box<str>>),
    Stanzas(Bytes),
}

#[derive(Debug)]
struct Open {
    rid: Rid,
    document: Bytes,
    /// Carries nothing.
    empty: bool,
    state: State,
    failures: usize,
}

#[derive(Debug)]
enum State {
    /// To be sent, from this time on.
    Due(Instant),
    /// On its way; an answer is due by `deadline`.
    Sent {
        since: Instant,
        deadline: Instant,
    },
    Answered(Box<stanza::Body>),
}

impl Client {
    /// A session with the domain `to`; `lang` is the language of its stream. `random` decides about the first
    /// rid.
    pub fn new(to: &str, lang: Option<&str>, random: u64, now: Instant) -> Self {
        const RIDS: u64 = (1 << 52) - 1;
        let mut client = Self {
            to: to.into(),
            phase: Phase::Creating,
            sid: "".into(),
            next: Rid((random & RIDS).saturating_add(1)),
            requests: 1,
            wait: WAIT,
            inactivity: INACTIVITY,
            open: VecDeque::new(),
            queue: VecDeque::new(),
            queued: 0,
            owes: true,
            terminating: false,
            reading: true,
            spacing: SPACING.0,
            heard: now,
            failing: None,
            not_before: None,
            events: VecDeque::new(),
            unread: 0,
        };
        let attributes = [
            ("to", to),
            ("wait", &*WAIT.as_secs().to_string()),
            ("xml:lang", lang.unwrap_or("en")),
            ("hold", "1"),
            // Servers look for exactly these prefixes, and for no later version.
            ("ver", "1.6"),
            ("xmpp:version", "1.0"),
            ("xmlns:xmpp", "urn:xmpp:xbosh"),
        ];
        client.push(&attributes, &[], now);
        client
    }

    /// Queues stanzas, namespace-closed, written one after the other. More than [`MAX_PAYLOAD`] bytes at once are
    /// split into single stanzas.
    pub fn queue(&mut self, stanzas: Bytes) {
        if stanzas.is_empty() || matches!(self.phase, Phase::Closing | Phase::Ended) {
            return;
        }
        if stanzas.len() > MAX_PAYLOAD
            && let Some(parts) = split(&stanzas)
        {
            parts.into_iter().for_each(|part| self.push_stanzas(part));
        } else {
            self.push_stanzas(stanzas);
        }
    }

    fn push_stanzas(&mut self, stanzas: Bytes) {
        self.queued = self.queued.saturating_add(footprint(&stanzas));
        self.queue.push_back(Item::Stanzas(stanzas));
    }

    /// Queues a restart of the stream (XEP-0206 "Authentication and Resource Binding").
    pub fn restart(&mut self, lang: Option<&str>) {
        if !matches!(self.phase, Phase::Closing | Phase::Ended) {
            self.queue.push_back(Item::Restart(lang.map(Into::into)));
        }
    }

    /// Ends the session once all that is queued has been sent.
    pub fn close(&mut self) {
        match self.phase {
            Phase::Creating => self.end(Event::Closed),
            Phase::Ended => {}
            _ => self.phase = Phase::Closing,
        }
    }

    /// Memory that all unsent stanzas take, bytes.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Says whether the caller waits for events. If not, the server is asked for no more than keeps the session
    /// alive.
    pub fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    /// A request got its whole answer: HTTP status and body.
    pub fn handle_answer(&mut self, rid: Rid, status: u16, body: Bytes, now: Instant) {
        if status >= 500 && self.phase != Phase::Creating {
            return self.handle_failure(rid, now);
        }
        let Some(index) = self.open.iter().position(|open| open.rid == rid) else {
            return;
        };
        if status != 200 {
            return self.lose(Loss::Status { status });
        }
        let mut husks = Vec::new();
        let read = scan_body(body.clone(), &LIMITS);
        let read = read.or_else(|error| {
            let readable = Some(error.kind.is_legal()).filter(|is_legal| *is_legal);
            let readable = readable.and_then(|_| readable_part(&body, &mut husks));
            scan_body(readable.ok_or(error)?, &LIMITS)
        });
        let body = match read {
            Ok(body) => body,
            Err(error) => return self.lose(Loss::NotBosh(error)),
        };
        for event in husks.into_iter().map(Event::Unreadable) {
            self.unread = self.unread.saturating_add(size(&event));
            self.events.push_back(event);
        }
        let kind = value(&body, "type");
        if kind.as_deref() == Some("error") {
            return self.repeat(now);
        }
        (self.heard, self.failing) = (now, None);
        self.measure(index, now);
        // Only a lone request counts: an earlier one is answered to make room for a later one.
        let is_only = self.open.len() == 1;
        if let Some(open) = self.open.get_mut(index) {
            if let State::Sent { since, .. } = open.state
                && is_only
                && open.empty
                && body.children.is_empty()
                && now.saturating_duration_since(since) < HASTE
            {
                // Otherwise a server that holds no request would be asked without a pause.
                self.not_before = Some(after(now, HASTE));
            }
            open.state = State::Answered(Box::new(body));
        }
        if kind.as_deref() == Some("terminate") {
            for open in self.open.iter_mut().take(index) {
                if let State::Sent { deadline, .. } = &mut open.state {
                    *deadline = after(now, LAST_WORDS).min(*deadline);
                }
            }
        }
        self.take_answers();
    }

    /// Learns how long answers take, from an answer that the server had no reason to hold back.
    fn measure(&mut self, index: usize, now: Instant) {
        let sent = |open: &Open| match open.state {
            State::Sent { since, .. } => Some(since),
            State::Answered(_) | State::Due(_) => None,
        };
        // An empty request is answered when another one comes after it.
        let cause = match self.open.get(index) {
            Some(open) if open.empty => self.open.get(index.saturating_add(1)),
            // In an open session, a request may carry something that needs no answer.
            open => open.filter(|_| self.owes && self.phase != Phase::Open),
        };
        if let Some(since) = cause.and_then(sent) {
            let (least, most) = SPACING;
            let taken = now.saturating_duration_since(since);
            self.spacing = taken.max(half(self.spacing)).clamp(least, most);
        }
    }

    /// A request got no answer, or part of one.
    pub fn handle_failure(&mut self, rid: Rid, now: Instant) {
        let Some(index) = self.open.iter().position(|open| open.rid == rid) else {
            return;
        };
        if self.phase == Phase::Creating {
            return self.lose(Loss::Unanswered);
        }
        let is_over = self.open.iter().skip(index).any(Open::is_terminate);
        if is_over {
            // The session is ending, so that nothing is sent again.
            self.open.remove(index);
            return self.take_answers();
        }
        self.fail(index, now);
    }

    /// The time given by [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |open: &Open| {
            matches!(open.state, State::Sent { deadline, .. } if deadline <= now)
                .then_some(open.rid)
        };
        while let Some(rid) = self.open.iter().find_map(late) {
            let sent_later =
                |open: &Open| open.rid > rid && matches!(open.state, State::Sent { .. });
            if self.open.iter().any(sent_later) {
                // It is unknown which of them the server misses.
                self.repeat(now);
            } else {
                self.handle_failure(rid, now);
            }
        }
    }

    /// The next request to be sent: its rid and its document. The caller gives up an earlier attempt at the same
    /// rid.
    pub fn poll_request(&mut self, now: Instant) -> Option<(Rid, Bytes)> {
        if self.spaced().is_some_and(|at| at > now) {
            return None;
        }
        let unsent = |open: &Open| matches!(open.state, State::Due(_));
        if !self.open.iter().any(unsent) {
            self.push_next(now);
        }
        let index = self.open.iter().position(unsent)?;
        let open = self.open.get_mut(index)?;
        // A later request is not sent first: the server would make it wait for this one.
        if matches!(open.state, State::Due(at) if at > now) {
            return None;
        }
        open.state = State::Sent {
            since: now,
            deadline: after(now, self.wait.saturating_add(LATE)),
        };
        let request = (open.rid, open.document.clone());
        for earlier in self.open.iter_mut().take(index) {
            if let State::Sent { deadline, .. } = &mut earlier.state {
                *deadline = after(now, LATE).min(*deadline);
            }
        }
        Some(request)
    }

    /// The next event, in the order in which the server has sent them.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.unread = self.unread.saturating_sub(size(&event));
        Some(event)
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_request`] have to be called again, whatever
    /// happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let spaced = self.spaced();
        let requests = self.open.iter().filter_map(|open| match open.state {
            State::Due(at) => Some(spaced.map_or(at, |spaced| spaced.max(at))),
            State::Sent { deadline, .. } => Some(deadline),
            State::Answered(_) => None,
        });
        let empty = Some(self.next_empty()).filter(|_| self.is_idle() && !self.is_full());
        let next = spaced.filter(|_| self.has_something_to_say() && self.may_open());
        requests.chain(empty).chain(next).min()
    }

    /// When another request may follow those that are on their way.
    fn spaced(&self) -> Option<Instant> {
        let sent = self.open.iter().filter_map(|open| match open.state {
            State::Sent { since, .. } => Some(after(since, self.spacing)),
            State::Answered(_) | State::Due(_) => None,
        });
        sent.max()
    }

    fn has_something_to_say(&self) -> bool {
        !self.queue.is_empty() || self.phase == Phase::Closing
    }

    /// Whether the server allows for one more request.
    fn may_open(&self) -> bool {
        let window = match self.phase {
            Phase::Creating | Phase::Ended => 0,
            Phase::Negotiating | Phase::Restarting => 1,
            Phase::Binding | Phase::Open | Phase::Closing => self.requests,
        };
        self.open.len() < window && !self.is_full() && !self.terminating
    }

    /// Whether an empty request may be sent: no other is open, and the server may have something to send.
    fn is_idle(&self) -> bool {
        self.open.is_empty()
            && match self.phase {
                Phase::Binding | Phase::Open => true,
                Phase::Negotiating | Phase::Restarting => self.owes,
                Phase::Creating | Phase::Closing | Phase::Ended => false,
            }
    }

    fn is_full(&self) -> bool {
        self.unread >= MAX_UNREAD && !self.reading
    }

    /// When the next empty request may be sent.
    fn next_empty(&self) -> Instant {
        let at = self.not_before.unwrap_or(self.heard);
        // Before the client binds a resource, the server sends nothing unasked.
        if self.reading && (self.phase != Phase::Binding || self.owes) {
            at
        } else {
            after(self.heard, half(self.inactivity)).max(at)
        }
    }

    /// Makes the next request, if one is due.
    fn push_next(&mut self, now: Instant) {
        if !self.may_open() {
            return;
        }
        if let Some(Item::Restart(_)) = self.queue.front() {
            let Some(Item::Restart(lang)) = self.queue.pop_front() else {
                return;
            };
            let to = self.to.clone();
            let attributes = [
                ("to", &*to),
                ("xml:lang", lang.as_deref().unwrap_or("en")),
                ("xmpp:restart", "true"),
                ("xmlns:xmpp", "urn:xmpp:xbosh"),
            ];
            if self.phase != Phase::Closing {
                self.phase = Phase::Restarting;
            }
            self.owes = true;
            return self.push(&attributes, &[], now);
        }
        let payload = self.take_payload();
        if self.phase == Phase::Closing && self.queue.is_empty() {
            self.terminating = true;
            self.push(&[("type", "terminate")], &payload, now);
        } else if !payload.is_empty() {
            self.owes = true;
            self.push(&[], &payload, now);
        } else if self.is_idle() && self.next_empty() <= now {
            self.push(&[], &[], now);
        }
    }

    /// As much of the queue as fits into one request.
    fn take_payload(&mut self) -> Vec<Bytes> {
        let mut size = 0_usize;
        let mut payload = Vec::new();
        while let Some(Item::Stanzas(stanzas)) = self.queue.front() {
            size = size.saturating_add(stanzas.len());
            if size > MAX_PAYLOAD && !payload.is_empty() {
                break;
            }
            if let Some(Item::Stanzas(stanzas)) = self.queue.pop_front() {
                self.queued = self.queued.saturating_sub(footprint(&stanzas));
                payload.push(stanzas);
            }
        }
        if self.queue.is_empty() {
            // An idle session must not keep the memory of a burst.
            self.queue.shrink_to(4);
        }
        payload
    }

    fn push(&mut self, attributes: &[(&str, &str)], payload: &[Bytes], now: Instant) {
        let rid = self.next;
        self.next = rid.plus(1);
        self.not_before = None;
        let sid = Some(&*self.sid).filter(|sid| !sid.is_empty());
        let mut body = Tag::new("body")
            .ns(Ns::HttpBind)
            .plain("rid", rid)
            .attribute_if("sid", sid);
        for (name, value) in attributes {
            body = body.attribute(name, value);
        }
        let document = if payload.is_empty() {
            body.empty()
        } else {
            body.content(|out| payload.iter().for_each(|it| out.extend_from_slice(it)))
        };
        self.open.push_back(Open {
            rid,
            document: document.into(),
            empty: attributes.is_empty() && payload.is_empty(),
            state: State::Due(now),
            failures: 0,
        });
    }

    /// XEP-0124 "Recoverable Binding Conditions": everything unanswered is sent again.
    fn repeat(&mut self, now: Instant) {
        for index in 0..self.open.len() {
            let is_answered = |open: &Open| matches!(open.state, State::Answered(_));
            if !self.open.get(index).is_none_or(is_answered) {
                self.fail(index, now);
            }
        }
    }

    /// An attempt failed: makes another one, after growing delays, for as long as the server keeps the session.
    fn fail(&mut self, index: usize, now: Instant) {
        const DELAYS: [Duration; 4] = [
            Duration::ZERO,
            Duration::from_millis(200),
            Duration::from_secs(1),
            Duration::from_secs(3),
        ];
        let since = *self.failing.get_or_insert(now);
        if now.saturating_duration_since(since) > self.inactivity {
            return self.lose(Loss::Unanswered);
        }
        if let Some(open) = self.open.get_mut(index) {
            let [.., last] = DELAYS;
            let delay = DELAYS.get(open.failures).copied().unwrap_or(last);
            open.failures = open.failures.saturating_add(1);
            open.state = State::Due(after(now, delay));
        }
    }

    /// Takes in the answers whose turn it is.
    fn take_answers(&mut self) {
        while let Some(open) = self.open.pop_front() {
            match open.state {
                State::Answered(body) => self.take(&body),
                _ => return self.open.push_front(open),
            }
        }
        if self.terminating {
            self.end(Event::Closed);
        }
    }

    fn take(&mut self, body: &stanza::Body) {
        let mut error = false;
        if self.phase == Phase::Creating && value(body, "type").is_none() {
            let Some(sid) = value(body, "sid").filter(|sid| !sid.is_empty()) else {
                return self.lose(Loss::NoSid);
            };
            self.sid = sid.into();
            let number = |name| value(body, name)?.parse::<u64>().ok();
            if let Some(requests) = number("requests") {
                let requests = usize::try_from(requests).unwrap_or(MAX_OPEN);
                self.requests = requests.clamp(1, MAX_OPEN);
            }
            if let Some(wait) = number("wait") {
                self.wait = Duration::from_secs(wait).min(WAIT);
            }
            if let Some(seconds) = number("inactivity").filter(|seconds| *seconds > 0) {
                self.inactivity = Duration::from_secs(seconds);
            }
            self.phase = Phase::Negotiating;
            self.events.push_back(Event::Created(Created {
                authid: value(body, "authid"),
                from: value(body, "from"),
            }));
        }
        for stanza in &body.children {
            self.owes = false;
            let event = match stanza.kind() {
                Kind::Features => {
                    if self.phase == Phase::Restarting {
                        self.phase = Phase::Binding;
                    }
                    Event::Features(stanza.clone())
                }
                Kind::StreamError => {
                    error = true;
                    Event::Error(stanza.clone())
                }
                _ => {
                    if self.phase == Phase::Binding {
                        self.phase = Phase::Open;
                    }
                    Event::Stanza(stanza.clone())
                }
            };
            self.unread = self.unread.saturating_add(size(&event));
            self.events.push_back(event);
        }
        if value(body, "type").as_deref() == Some("terminate") {
            match value(body, "condition") {
                Some(condition) if !error && self.phase != Phase::Closing => {
                    self.lose(Loss::Terminated { condition });
                }
                _ => self.end(Event::Closed),
            }
        }
    }

    fn lose(&mut self, loss: Loss) {
        match self.phase {
            Phase::Closing => self.end(Event::Closed),
            _ => self.end(Event::Lost(loss)),
        }
    }

    fn end(&mut self, event: Event) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.open = VecDeque::new();
            self.queue = VecDeque::new();
            self.queued = 0;
            self.events.push_back(event);
        }
    }
}

impl Open {
    fn is_terminate(&self) -> bool {
        matches!(&self.state, State::Answered(body)
            if value(body, "type").as_deref() == Some("terminate"))
    }
}

/// The value of an attribute without a namespace.
fn value(body: &stanza::Body, name: &str) -> Option<String> {
    let mut attributes = body.attributes.iter();
    attributes
        .find(|attribute| attribute.ns == Ns::None && attribute.local() == name)
        .map(|attribute| attribute.value().into_owned())
}

fn footprint(stanzas: &Bytes) -> usize {
    stanzas.len().saturating_add(size_of::<Item>())
}

fn size(event: &Event) -> usize {
    match event {
        Event::Features(stanza)
        | Event::Stanza(stanza)
        | Event::Unreadable(stanza)
        | Event::Error(stanza) => stanza.footprint(),
        Event::Created(_) | Event::Closed | Event::Lost(_) => 0,
    }
}

/// The elements of `stanzas`, one by one.
fn split(stanzas: &Bytes) -> Option<Vec<Bytes>> {
    let wrapped = [
        b"<body xmlns='http://jabber.org/protocol/httpbind'>",
        &**stanzas,
        b"</body>",
    ]
    .concat();
    let body = scan_body(wrapped.into(), &LIMITS).ok()?;
    Some(body.children.iter().map(Stanza::to_bytes).collect())
}

/// An answer without the stanzas that cannot be passed on; their husks are added to `husks`. The sender of such a
/// stanza must not be able to end the recipient's session.
fn readable_part(document: &Bytes, husks: &mut Vec<Stanza>) -> Option<Bytes> {
    const CLOSE: &[u8] = b"</body>";
    let mut splitter = Splitter::new(document.len());
    let mut rest = BytesMut::from(&document[..]);
    let Ok(Some(Piece::Header(header))) = splitter.next(&mut rest) else {
        return None;
    };
    // The header is read again for each stanza, so it must be short.
    if header.len() > 4096 {
        return None;
    }
    let mut readable = header.to_vec();
    while let Ok(Some(Piece::Element(element))) = splitter.next(&mut rest) {
        let alone = Bytes::from([&header[..], &element[..], CLOSE].concat());
        match scan_body(alone, &LIMITS) {
            Ok(_) => readable.extend_from_slice(&element),
            Err(error) if error.kind.is_legal() => {
                husks.push(husk(&element, &Scope::default())?);
            }
            Err(_) => return None,
        }
    }
    readable.extend_from_slice(CLOSE);
    Some(readable.into())
}

fn half(duration: Duration) -> Duration {
    duration.checked_div(2).unwrap_or_default()
}

fn after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or(now)
}

#[cfg(test)]
mod tests;
