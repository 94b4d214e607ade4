//! Link of a session to the server: the connection, stream management on it, and the keepalive.
//!
//! ```text
//!             Ok            close                 closed, broken, 2 s
//!  Connecting ---> Up ----------------> Closing -----------------------> Down
//!      |           | broken                                                ^
//!      +-----------+-------------------------------------------------------+
//! ```
//!
//! It writes to the server, and counts what the server has acknowledged. The task decides what becomes of the server's
//! stanzas, and when they may be acknowledged.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    proto::{sm::initiator::StreamManagement, stanza::Stanza},
    upstream::{ConnectError, Hello, Upstream, UpstreamError, UpstreamEvent},
};

/// How long the server gets to close its side of the stream.
const CLOSING: Duration = Duration::from_secs(2);
/// Silence towards the server after which a space keeps the connection alive (RFC 6120 §4.6.1).
const KEEPALIVE: Duration = Duration::from_secs(100);
/// Bytes that may wait for a server that does not read, before its client is no longer heard.
const MAX_QUEUED: usize = 4 << 20;
/// Bytes that may be unwritten before no more is made of what goes to many contacts.
const ROOM: usize = 64 << 10;

/// A connection that is being opened.
pub(super) type Connecting =
    Pin<Box<dyn Future<Output = Result<(Upstream, Hello), ConnectError>> + Send>>;

/// The way to the server.
pub(super) struct Link {
    state: State,
    /// Which stanzas the server owns, and which it has acknowledged.
    pub(super) sm: StreamManagement,
    /// The server's latest features include stream management.
    offers_sm: bool,
    last_written: Instant,
    /// How many stanzas had been sent when all was written. Without stream management, that has to do for an
    /// acknowledgement.
    written: u64,
}

enum State {
    Connecting(Connecting),
    Up(Upstream),
    /// The stream has been closed by us; the server may still read and answer.
    Closing(Upstream, Instant),
    Down,
}

/// What the server's side has for the task.
pub(super) enum Input {
    /// The stream is there, or could not be opened.
    Connected(Result<Hello, ConnectError>),
    /// The server speaks.
    Event(UpstreamEvent),
    /// The connection broke.
    Lost(UpstreamError),
}

impl Link {
    pub(super) fn new(connecting: Connecting, now: Instant) -> Self {
        Self {
            state: State::Connecting(connecting),
            sm: StreamManagement::default(),
            offers_sm: false,
            last_written: now,
            written: 0,
        }
    }

    // === What happens outside ===

    /// The next thing that the server has done; without `read`, nothing is read from it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Input> {
        match &mut self.state {
            State::Connecting(connecting) => {
                let result = std::task::ready!(connecting.as_mut().poll(cx));
                let result = result.map(|(upstream, hello)| {
                    self.state = State::Up(upstream);
                    self.note_features(&hello.features);
                    hello
                });
                if result.is_err() {
                    self.state = State::Down;
                }
                Poll::Ready(Input::Connected(result))
            }
            State::Up(upstream) => upstream.poll(cx, read).map(|event| match event {
                Ok(event) => Input::Event(event),
                Err(error) => Input::Lost(error),
            }),
            State::Closing(upstream, _) => {
                // The client is gone, so only the end of the stream matters.
                while let Poll::Ready(event) = upstream.poll(cx, true) {
                    if matches!(event, Ok(UpstreamEvent::Closed) | Err(_)) {
                        self.state = State::Down;
                        break;
                    }
                }
                Poll::Pending
            }
            State::Down => Poll::Pending,
        }
    }

    /// The server offers these features.
    pub(super) fn note_features(&mut self, features: &Stanza) {
        self.offers_sm = StreamManagement::is_offered(features);
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Up(upstream) if self.last_written + KEEPALIVE <= now => {
                upstream.keepalive();
                self.last_written = now;
            }
            State::Closing(_, deadline) if *deadline <= now => self.state = State::Down,
            _ => {}
        }
    }

    /// When to call [`Self::handle_timeout`] and [`Self::is_unanswered`], if nothing else happens first.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        // Once the stream ends, no side owes the other an acknowledgement.
        match &self.state {
            State::Up(_) => {
                let keepalive = self.last_written + KEEPALIVE;
                let sm = self.sm.poll_timeout();
                Some(sm.map_or(keepalive, |sm| sm.min(keepalive)))
            }
            State::Closing(_, deadline) => Some(*deadline),
            State::Connecting(_) | State::Down => None,
        }
    }

    // === To the server; without a stream, all of this is dropped ===

    /// Asks for stream management if the server offers it: a resource is bound, and nothing else has been sent. True
    /// if it was asked for.
    pub(super) fn enable_sm(&mut self) -> bool {
        match &mut self.state {
            State::Up(upstream) if self.offers_sm && upstream.is_manageable() => {
                upstream.queue_bytes(self.sm.enable());
                true
            }
            _ => false,
        }
    }

    pub(super) fn queue(&mut self, stanza: &Stanza, now: Instant) {
        if let State::Up(upstream) = &mut self.state {
            upstream.queue(stanza);
            self.sm.sent(stanza);
            self.last_written = now;
        }
    }

    /// Queues `count` stanzas whose loss nobody has to be told of.
    pub(super) fn queue_many(&mut self, stanzas: Bytes, count: u32, now: Instant) {
        if let State::Up(upstream) = &mut self.state {
            upstream.queue_bytes(stanzas);
            self.sm.sent_others(count);
            self.last_written = now;
        }
    }

    /// Queues errors for the senders of what could not be delivered, unless the server still owns that.
    pub(super) fn bounce(&mut self, errors: impl Iterator<Item = Stanza>) {
        if let State::Up(upstream) = &mut self.state
            && !self.sm.is_on()
        {
            for error in errors {
                upstream.queue(&error);
            }
        }
    }

    /// Begins a new stream on the same connection; whether there is one.
    pub(super) fn restart(&mut self, now: Instant) -> bool {
        let State::Up(upstream) = &mut self.state else {
            return false;
        };
        upstream.restart(None);
        self.last_written = now;
        true
    }

    /// Queues what stream management has to say.
    pub(super) fn transmit(&mut self, now: Instant) {
        if let State::Up(upstream) = &mut self.state
            && let Some(bytes) = self.sm.poll_transmit(now)
        {
            upstream.queue_bytes(bytes);
            self.last_written = now;
        }
    }

    /// Has the system tell the server at once that what was read has arrived.
    pub(super) fn acknowledge(&mut self) {
        if let State::Up(upstream) = &mut self.state {
            upstream.acknowledge();
        }
    }

    /// Closes the stream, and waits a little for the server to close its side.
    pub(super) fn close(&mut self, now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Up(mut upstream) => {
                upstream.close();
                State::Closing(upstream, now + CLOSING)
            }
            state @ State::Closing(..) => state,
            State::Connecting(_) | State::Down => State::Down,
        };
    }

    /// Cuts the connection.
    pub(super) fn cut(&mut self) {
        self.state = State::Down;
    }

    // === How it is ===

    /// Whether the server can be spoken to.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// Whether so little is unwritten that the gateway may answer more of what the server sends.
    pub(super) fn takes_more(&self) -> bool {
        self.queued() < MAX_QUEUED
    }

    /// Whether the client may be heard: what a server does not read or does not acknowledge has to be kept.
    pub(super) fn is_listening(&self) -> bool {
        self.takes_more() && !self.sm.is_full()
    }

    /// Whether there is room for more of what goes to many contacts.
    pub(super) fn has_room(&self) -> bool {
        self.queued() < ROOM
    }

    /// Whether the server has owed an answer of stream management for too long.
    pub(super) fn is_unanswered(&self, now: Instant) -> bool {
        self.is_up() && self.sm.is_unanswered(now)
    }

    /// How many stanzas have been sent to the server.
    pub(super) fn sent(&self) -> u64 {
        self.sm.sent_total()
    }

    /// How many of them the server is known to have.
    pub(super) fn settled(&mut self) -> u64 {
        if self.sm.is_on() {
            return self.sm.settled_total();
        }
        if self.is_up() && self.queued() == 0 {
            self.written = self.sm.sent_total();
        }
        self.written
    }

    /// Bytes that are unwritten.
    fn queued(&self) -> usize {
        match &self.state {
            State::Up(upstream) => upstream.queued(),
            State::Connecting(_) | State::Closing(..) | State::Down => 0,
        }
    }
}
