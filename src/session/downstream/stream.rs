//! WebSocket as a client's side (RFC 7395): owns the connection, the state of its stream, and stream management towards
//! the client (XEP-0198). It must not know how sessions are found: that is `session::resumption`'s.
//!
//! ```text
//!            connection lost                     time is over
//!   Awake -------------------> Asleep ----------------------------> Over
//!     ^  \                        |                                  ^
//!     |   \ <close/>, error, end  | another connection takes over    |
//!     |    +----------------------|----------------------------------+
//!     +---------------------------+                                  |
//!   Awake -----------------------> Leaving --------------------------+
//!          the gateway goes down            the client has closed its side, or 2 s
//! ```
//!
//! While the gateway goes down, what a client has sent before it knew of that is still heard (RFC 6120 §4.4).
//!
//! Without resumption, a lost connection is the end. A connection that is no longer this session's says
//! [farewell](Farewell) by itself.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

pub use super::farewell::{Farewell, GOING_AWAY, NORMAL, POLICY, TOO_BIG};
use super::{
    End, Event, Reason,
    connection::{Connection, MESSAGE, STUCK},
    farewell::UNSUPPORTED,
};
use crate::{
    config::Terms,
    metrics::BadMessage,
    net::websocket::{Received, Socket, SocketError},
    proto::{
        page::Page,
        sm::acceptor::{Acceptor, Verdict, Violation},
        stanza::Stanza,
        stream::{
            error::{StreamCondition, stream_error},
            framing::{self, Framing, Open},
        },
        xml::Limits,
    },
    session::{Host, SmId},
};

/// Longest message before authentication, bytes.
pub const BEFORE_LOGIN: usize = 64 << 10;
/// Seconds for which a client that has been quiet may send its elements at once.
const BURST: NonZeroU32 = NonZeroU32::new(4).unwrap();
/// Bytes that may be unwritten before more elements are written: enough for the kernel to be busy with.
const UNWRITTEN: usize = 16 << 10;
/// How long a client may take to close its side of the stream after ours.
const LEAVE: Duration = Duration::from_secs(2);

/// A client that speaks over WebSocket.
pub struct Side {
    /// `None` while the session sleeps, and at the end.
    socket: Option<Box<Connection>>,
    /// A connection that is no longer the session's.
    farewell: Option<Box<Farewell>>,
    acceptor: Acceptor,
    state: State,
    /// What the task has not taken. Nothing is read meanwhile, so that it is the effect of one message at most.
    inbox: VecDeque<Event>,
    /// Stanzas that the task has taken, and that are not dealt with.
    taken: u32,
    terms: Terms,
    pace: DefaultDirectRateLimiter,
    max_pending: usize,
    domain: Box<str>,
    lang: Box<str>,
    /// What a later connection names to take over.
    sm_id: Option<SmId>,
    is_authenticated: bool,
    is_bound: bool,
    /// The page that used the last connection, if it said who it is, and whether it is known to be gone.
    page: Option<Page>,
    is_page_gone: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Awake,
    Asleep {
        until: Instant,
    },
    /// Our side of the stream is closed. Nothing is written to the client, but it may not have read that yet.
    Leaving {
        until: Instant,
    },
    Over,
}

/// A connection on its way from the session that it began with to the one that it resumes.
pub struct Handed(Box<Connection>);

impl Side {
    /// Answers the `<open/>` that a client of `host` has begun `framing` with, by a stream of the id `stream_id`. The
    /// connection is that of a `page`, if that says who it is.
    pub fn open(
        (socket, page): (Socket, Option<Page>),
        (framing, open): (Framing, &Open),
        host: &Host,
        stream_id: &str,
        terms: Terms,
        now: Instant,
    ) -> Self {
        let rate = host.limits.max_request_rate;
        let pace = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST));
        let connection = Connection::new(socket, framing, page, (&terms, stream_id), now);
        let mut side = Self {
            socket: Some(Box::new(connection)),
            farewell: None,
            acceptor: Acceptor::default(),
            state: State::Awake,
            inbox: VecDeque::new(),
            taken: 0,
            terms,
            pace: RateLimiter::direct(pace),
            max_pending: host.limits.max_pending,
            domain: host.domain.as_str().into(),
            lang: open.lang.as_deref().unwrap_or("en").into(),
            sm_id: None,
            is_authenticated: false,
            is_bound: false,
            page,
            is_page_gone: false,
        };
        side.send_open(stream_id, now);
        side
    }

    fn send_open(&mut self, stream_id: &str, now: Instant) {
        let open = framing::open(&self.domain, stream_id, &self.lang);
        self.acceptor.send(Stanza::ours(open), now);
    }

    // === What happens outside ===

    /// The next thing that the client says, or that it is gone.
    pub(super) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, SocketError>> {
        let Some(connection) = &mut self.socket else {
            return Poll::Pending;
        };
        if !self.inbox.is_empty() || !connection.is_read() {
            return Poll::Pending;
        }
        connection.socket.poll_read(cx)
    }

    /// Deals with what [`Self::poll_input`] gave.
    pub(super) fn handle(&mut self, received: Result<Received, SocketError>, now: Instant) {
        let Some(connection) = &mut self.socket else {
            return;
        };
        connection.heard(now);
        match received {
            Ok(Received::Text(text)) => {
                // What is unfinished now has begun after it.
                connection.unfinished = None;
                self.check_pace(now);
                self.hear(&text, now);
            }
            Ok(Received::Ping) => self.check_pace(now),
            Ok(Received::Pong(number)) => {
                self.check_pace(now);
                if let Some(number) = number {
                    self.acceptor.handle_pong(number);
                }
            }
            Ok(Received::Closed(code)) => {
                self.is_page_gone = code == Some(GOING_AWAY);
                self.lose(self.terms.resume_after_close, code.unwrap_or(NORMAL), now);
            }
            Err(SocketError::Lost(_)) => {
                self.socket = None;
                self.fall_asleep(self.terms.resume, now);
            }
            // The socket has said why.
            Err(SocketError::Violation) => {
                self.inbox.push_back(Event::Refused(BadMessage::Frame));
                self.lose(self.terms.resume, NORMAL, now);
            }
            // A client that came again would send the same again.
            Err(SocketError::Encoding) => {
                self.inbox.push_back(Event::Refused(BadMessage::Frame));
                self.cut(NORMAL, "not-well-formed", now);
            }
            Err(SocketError::Binary) => {
                self.inbox.push_back(Event::Refused(BadMessage::Binary));
                self.cut(UNSUPPORTED, "bad-format", now);
            }
            // With less to send at a time, it may go on.
            Err(SocketError::GivenUp) => {
                self.inbox.push_back(Event::Refused(BadMessage::Unfinished));
                self.lose(self.terms.resume, POLICY, now);
            }
            Err(SocketError::TooLong) => {
                self.inbox.push_back(Event::Refused(BadMessage::TooLong));
                let error = stream_error("policy-violation", "a message is too long");
                self.fail(&error, TOO_BIG, now);
            }
        }
    }

    /// Counts something that the client sent, and stops listening to it for a while if it comes too fast.
    fn check_pace(&mut self, now: Instant) {
        let early = self.pace.check().err();
        if let Some(connection) = &mut self.socket {
            connection.slowed_until = early.map(|early| now + early.wait_time_from(now));
        }
    }

    /// Whether the client was ahead of its pace just now.
    pub(super) fn is_slowed(&self) -> bool {
        let connection = self.socket.as_ref();
        connection.is_some_and(|connection| connection.slowed_until.is_some())
    }

    fn hear(&mut self, text: &Bytes, now: Instant) {
        let Some(connection) = &mut self.socket else {
            return;
        };
        match connection.framing.handle_message(text, &Limits::default()) {
            Ok(None) => {}
            Ok(Some(framing::Event::Restart(_))) => self.inbox.push_back(Event::Restart),
            Ok(Some(framing::Event::Element(element))) => self.hear_element(element, now),
            Ok(Some(framing::Event::Closed)) if self.is_leaving() => self.left(now),
            Ok(Some(framing::Event::Closed)) => {
                self.acknowledge_at_last(now);
                self.say_farewell(|socket| Farewell::answer(socket, now));
                self.finish(End::Terminated);
            }
            Err(fault) => {
                self.inbox.push_back(Event::Refused(BadMessage::Xml));
                self.fail(&fault.error(), NORMAL, now);
            }
        }
    }

    fn hear_element(&mut self, element: Stanza, now: Instant) {
        // Who has not said who it is can resume nothing.
        let is_late = self.is_bound || !self.is_authenticated && element.local() == "resume";
        match self.acceptor.handle(element, is_late, now) {
            Verdict::Pass(stanza) => self.inbox.push_back(Event::Stanza(stanza)),
            Verdict::Done => {}
            Verdict::Enable { resume } => {
                let resume = resume && !self.terms.resume.is_zero();
                self.inbox.push_back(Event::Enable { resume });
            }
            Verdict::Resume { previd, h } => {
                if let Some(connection) = &mut self.socket {
                    connection.is_resuming = true;
                }
                self.inbox.push_back(Event::Resume { previd, h });
            }
            Verdict::Violation(violation) => self.fail(&violation.error(), NORMAL, now),
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Asleep { until } if until <= now => return self.finish(End::Inactive),
            State::Leaving { until } if until <= now => {
                self.say_farewell(|socket| Farewell::hang_up_unheard(socket, GOING_AWAY, now));
                return self.finish(End::Closed);
            }
            _ => {}
        }
        let is_leaving = self.is_leaving();
        let Some(connection) = &mut self.socket else {
            return;
        };
        let waited = connection.slowed_until.take_if(|until| *until <= now);
        if waited.is_some() {
            // What came too early has waited for its turn, and takes it.
            let _ = self.pace.check();
        }
        if is_leaving {
            return;
        }
        if waited.is_some() || !self.inbox.is_empty() || !connection.is_read() {
            // What the client may have sent meanwhile is still to be read.
            connection.heard(now);
            self.acceptor.excuse_client(now);
        }
        if !self.inbox.is_empty() || connection.is_resuming {
            // Not while a client is only slowed down: it has sent what comes before the rest itself.
            connection.unfinished = connection.unfinished.map(|_| now);
        }
        if connection.is_dead(&self.terms, now) {
            // To wait for a Close frame would be in vain.
            self.socket = None;
            self.inbox.push_back(Event::Silent);
            self.fall_asleep(self.terms.resume, now);
        } else if connection.is_overdue(now) {
            self.lose(self.terms.resume, POLICY, now);
        } else if self.acceptor.is_unanswered(now) && connection.socket.queued() == 0 {
            // The browser lives, but the page does not: it may lie frozen in the back/forward cache. If it wakes up,
            // it hears of the closed connection, and comes again.
            self.lose(self.terms.resume, GOING_AWAY, now);
        } else {
            connection.ping_if_silent(self.acceptor.written(), now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let connection = self.socket.as_ref();
        let asleep_until = match self.state {
            State::Asleep { until } => Some(until),
            State::Leaving { until } => {
                let slowed_until = connection.and_then(|connection| connection.slowed_until);
                return Some(slowed_until.map_or(until, |slowed| slowed.min(until)));
            }
            State::Awake | State::Over => None,
        };
        // While the client takes nothing, the acceptor can say nothing.
        let is_written = connection.is_some_and(|connection| connection.socket.queued() == 0);
        let acceptor = self.acceptor.poll_timeout().filter(|_| is_written);
        let connection = connection.and_then(|connection| connection.deadline(&self.terms));
        let farewell = self.farewell.as_ref().map(|farewell| farewell.deadline());
        [asleep_until, connection, acceptor, farewell]
            .into_iter()
            .flatten()
            .min()
    }

    // === The end, and sleep ===

    /// The connection does not serve the session any longer: closes it, and waits for another one.
    fn lose(&mut self, patience: Duration, code: u16, now: Instant) {
        self.say_farewell(|socket| Farewell::hang_up(socket, code, now));
        self.fall_asleep(patience, now);
    }

    fn fall_asleep(&mut self, patience: Duration, now: Instant) {
        match self.state {
            State::Awake => {}
            State::Leaving { .. } => return self.finish(End::Closed),
            State::Asleep { .. } | State::Over => return,
        }
        if self.acceptor.is_resumable() && !patience.is_zero() {
            self.state = State::Asleep {
                until: now + patience,
            };
            self.acceptor.sleep(now);
            self.inbox.push_back(Event::Asleep);
        } else {
            self.finish(End::Disconnected);
        }
    }

    /// Ends the session because of what the client did: with a stream error, in good order.
    fn fail(&mut self, error: &Stanza, code: u16, now: Instant) {
        if self.is_leaving() {
            return self.left(now);
        }
        let condition = StreamCondition::of(error).name;
        self.close(Some(error), code, now);
        self.finish(End::Violation(known_condition(&condition)));
    }

    /// Ends the session because of what the client did, by closing the connection at once.
    fn cut(&mut self, code: u16, condition: &'static str, now: Instant) {
        self.say_farewell(|socket| Farewell::hang_up(socket, code, now));
        self.finish(End::Violation(condition));
    }

    /// Closes the stream, after what is pending and the stream error.
    fn close(&mut self, error: Option<&Stanza>, code: u16, now: Instant) {
        self.write_all(now);
        self.say_farewell(|socket| Farewell::begin(socket, error, code, now));
    }

    /// Writes what is pending, and what is safe.
    fn write_all(&mut self, now: Instant) {
        self.acceptor.farewell();
        while let Some(connection) = &mut self.socket
            && let Some(transmit) = self.acceptor.poll_transmit(now)
        {
            connection.write(transmit, &self.domain, now);
        }
    }

    /// Closes our side of the stream, and goes on hearing the client.
    fn leave(&mut self, error: &Stanza, now: Instant) {
        self.write_all(now);
        let Some(connection) = &mut self.socket else {
            return self.finish(End::Closed);
        };
        connection.socket.send(error.to_bytes());
        connection.socket.send(framing::CLOSE);
        if connection.socket.is_finished() {
            return self.left(now);
        }
        // No other connection can take over.
        self.sm_id = None;
        self.state = State::Leaving { until: now + LEAVE };
    }

    fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// The client has said everything.
    fn left(&mut self, now: Instant) {
        self.say_farewell(|socket| Farewell::hang_up(socket, GOING_AWAY, now));
        self.finish(End::Closed);
    }

    /// Tells a client that has closed its stream what is safe, and nothing else (XEP-0198 §4).
    fn acknowledge_at_last(&mut self, now: Instant) {
        self.acceptor.farewell();
        if self.acceptor.is_on()
            && let Some(connection) = &mut self.socket
            && let Some(transmit) = self.acceptor.poll_transmit(now)
        {
            connection.write(transmit, &self.domain, now);
        }
    }

    /// An older farewell is cut off.
    fn say_farewell(&mut self, begin: impl FnOnce(Socket) -> Farewell) {
        if let Some(connection) = self.socket.take() {
            self.farewell = Some(Box::new(begin(connection.socket)));
        }
    }

    fn finish(&mut self, end: End) {
        if self.state != State::Over {
            self.state = State::Over;
            self.inbox.push_back(Event::Ended(end));
        }
    }

    /// Ends the session with the stream error that has something to say.
    pub(super) fn end(&mut self, reason: Reason, now: Instant) {
        if self.state == State::Over {
            return;
        }
        if self.is_leaving() {
            return self.left(now);
        }
        let (error, code) = match reason {
            Reason::Closed => (None, NORMAL),
            Reason::Shutdown => {
                let error = stream_error("system-shutdown", "the gateway is going down");
                if self.state == State::Awake && self.is_bound {
                    return self.leave(&error, now);
                }
                (Some(error), GOING_AWAY)
            }
            Reason::Violation(error) => {
                let error = error.unwrap_or_else(|| stream_error("policy-violation", ""));
                (Some(error), NORMAL)
            }
            Reason::Error(error) => (Some(error), NORMAL),
        };
        self.close(error.as_ref(), code, now);
        self.finish(End::Closed);
    }

    /// The server could not be reached. Not `remote-connection-failed`, after which Converse never comes back.
    pub(super) fn refuse(&mut self, now: Instant) {
        let error = stream_error("system-shutdown", "the server cannot be reached");
        self.close(Some(&error), NORMAL, now);
        self.finish(End::Unreachable);
    }

    // === Commands ===

    pub(super) fn send(&mut self, element: Stanza, now: Instant) {
        if self.state != State::Over {
            self.acceptor.send(element, now);
        }
    }

    /// The client has authenticated and opens its stream anew.
    pub(super) fn restarted(&mut self, stream_id: &str, now: Instant) {
        self.send_open(stream_id, now);
    }

    /// A resource is bound: stream management may begin.
    pub(super) fn bound(&mut self) {
        self.is_bound = true;
    }

    /// Grants stream management; with an id, another connection may take the session over.
    pub(super) fn enable(&mut self, id: Option<SmId>) {
        let exposed = id.as_ref().map(SmId::expose);
        self.acceptor.enable(exposed, self.terms.resume);
        self.sm_id = id;
    }

    /// The session that the client wants is not to be had; `h` is how many of its stanzas that session had taken.
    pub(in crate::session) fn refuse_resumption(&mut self, h: Option<u32>) {
        self.acceptor.refuse(h);
        if let Some(connection) = &mut self.socket {
            connection.is_resuming = false;
        }
    }

    /// How long it may take until the session of a client that has vanished ends: its silence has to be noticed, and
    /// then it may come again.
    pub(in crate::session) fn longest_absence(&self) -> Duration {
        let terms = &self.terms;
        let noticed = (terms.ping * 2 + terms.pong_timeout)
            .max(STUCK)
            .max(MESSAGE);
        noticed + terms.resume.max(terms.resume_after_close)
    }

    /// Whether its id is this one.
    pub(in crate::session) fn is_named(&self, id: &str) -> bool {
        self.sm_id.as_ref().is_some_and(|it| it.expose() == id)
    }

    /// Gives the connection away to the session that the client resumes.
    pub(in crate::session) fn hand_out(&mut self) -> Option<Handed> {
        self.socket.take().map(Handed)
    }

    /// Takes the connection back, as that session does not take it.
    pub(in crate::session) fn take_back(&mut self, handed: Handed) {
        if self.state == State::Awake {
            self.socket = Some(handed.0);
        }
    }

    /// The session of [`Self::hand_out`] goes on with the connection; this one is over without a word.
    pub(in crate::session) fn handed_over(&mut self) {
        self.finish(End::Resumed);
    }

    /// Goes on by another connection, whose client has got `h` stanzas. An older one hears of the conflict.
    ///
    /// # Errors
    /// What is wrong with `h`, with the connection. Then nothing has changed.
    pub(in crate::session) fn resume(
        &mut self,
        handed: Handed,
        previd: &str,
        h: u32,
        now: Instant,
    ) -> Result<(), (Handed, Violation)> {
        if let Err(violation) = self.acceptor.resume(previd, h, now) {
            return Err((handed, violation));
        }
        let conflict = stream_error("conflict", "resumed by another connection");
        self.say_farewell(|socket| Farewell::begin(socket, Some(&conflict), NORMAL, now));
        let Handed(mut connection) = handed;
        connection.is_resuming = false;
        // A browser closes the connections of a page that is left with this code; who says who it is tells for sure.
        let is_gone = std::mem::take(&mut self.is_page_gone);
        let pages = connection.page.zip(self.page);
        if pages.map_or(is_gone, |(new, old)| new != old) {
            self.inbox.push_back(Event::NewPage);
        }
        self.page = connection.page;
        self.socket = Some(connection);
        self.state = State::Awake;
        Ok(())
    }

    // === What to do next ===

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let event = self.inbox.pop_front()?;
        if self.inbox.is_empty() {
            self.inbox = VecDeque::new();
        }
        if matches!(&event, Event::Stanza(stanza) if stanza.is_stanza()) {
            self.taken = self.taken.saturating_add(1);
        }
        Some(event)
    }

    /// Takes the stanzas that the task has not taken, and will not.
    pub(super) fn take_unheard(&mut self) -> Vec<Stanza> {
        let mut stanzas = Vec::new();
        for event in std::mem::take(&mut self.inbox) {
            match event {
                Event::Stanza(stanza) => stanzas.push(stanza),
                other => self.inbox.push_back(other),
            }
        }
        stanzas
    }

    pub(super) fn has_events(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Writes what is due; whether the client will answer that at once.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if let Some(farewell) = &mut self.farewell
            && farewell.poll(cx, now).is_ready()
        {
            self.farewell = None;
        }
        let is_leaving = self.is_leaving();
        let Some(connection) = &mut self.socket else {
            return false;
        };
        let mut has_spoken = false;
        loop {
            let mut is_silent = true;
            while !is_leaving
                && connection.socket.queued() < UNWRITTEN
                && let Some(transmit) = self.acceptor.poll_transmit(now)
            {
                (is_silent, has_spoken) = (false, true);
                if connection.write(transmit, &self.domain, now) {
                    self.is_authenticated = true;
                    connection.socket.set_max_message(self.terms.max_message);
                }
            }
            if !is_leaving && let Some(number) = self.acceptor.poll_ping(now) {
                connection.socket.ping(number);
            }
            // What waits may have to wait for something else than the connection.
            if connection.socket.poll_write(cx).is_pending() || is_silent {
                break;
            }
        }
        connection.watch(now);
        // With a resource, a client that is written to need not say anything.
        has_spoken && !self.is_bound
    }

    // === The record of what was delivered ===

    /// What the task has taken so far is dealt with. By then, `sent` stanzas have been sent to the server.
    pub(super) fn dealt_with(&mut self, sent: u64) {
        for _ in 0..std::mem::take(&mut self.taken) {
            self.acceptor.dealt_with(sent);
        }
    }

    /// The server has acknowledged the first `sent` stanzas.
    pub(super) fn settle(&mut self, sent: u64) {
        self.acceptor.settle(sent);
    }

    pub(in crate::session) fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    pub(super) fn ask_for_confirmation(&mut self) {
        self.acceptor.ask();
    }

    pub(super) fn take_undelivered(&mut self) -> VecDeque<Stanza> {
        self.acceptor.take_undelivered()
    }

    /// A client that has come again listens once it has heard that the session goes on.
    pub(super) fn deaf_at(&self) -> Option<Instant> {
        let asleep_since = self.acceptor.asleep_since();
        asleep_since.filter(|_| self.is_open())
    }

    pub(in crate::session) fn is_asleep(&self) -> bool {
        matches!(self.state, State::Asleep { .. })
    }

    /// Bytes that the client has not been sent.
    pub(super) fn pending(&self) -> usize {
        let socket = self.socket.as_ref();
        let queued = socket.map_or(0, |connection| connection.socket.queued());
        self.acceptor.pending().saturating_add(queued)
    }

    pub(super) fn max_pending(&self) -> usize {
        self.max_pending
    }

    /// Bytes of what has come and is not dealt with.
    pub(super) fn waiting(&self) -> usize {
        let events = self.inbox.iter().map(|event| match event {
            Event::Stanza(stanza) => stanza.footprint(),
            _ => 0,
        });
        let socket = self.socket.as_ref();
        let unfinished = socket.map_or(0, |connection| connection.socket.unfinished());
        events.sum::<usize>().saturating_add(unfinished)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state != State::Over
    }

    pub(super) fn awaited_until(&self) -> Option<Instant> {
        self.farewell.as_ref().map(|farewell| farewell.deadline())
    }

    pub(super) fn is_gone(&self) -> bool {
        !self.is_open() && self.farewell.is_none()
    }
}

/// Conditions that violations have, for logs and metrics.
fn known_condition(name: &str) -> &'static str {
    const KNOWN: [&str; 8] = [
        "bad-format",
        "invalid-namespace",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "restricted-xml",
        "undefined-condition",
        "unsupported-version",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or("undefined-condition")
}
