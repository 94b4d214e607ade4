//! One WebSocket connection of a client, and how alive it is. Which session it serves, and what its end means to that,
//! is [`super::stream`]'s.

use std::time::{Duration, Instant, SystemTime};

use crate::{
    clock::wall_clock,
    config::Terms,
    net::websocket::Socket,
    proto::{handover::message, page::Page, sm::acceptor::Transmit, stream::framing::Framing},
};

/// How long a client may take nothing of what is written to it.
pub(super) const STUCK: Duration = Duration::from_secs(60);
/// How long a message may be on its way.
pub(super) const MESSAGE: Duration = Duration::from_secs(60);

/// A connection, and how alive it is.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) framing: Framing,
    /// When something came, or it was not listened to.
    heard: Instant,
    /// How long it may be silent before it is pinged.
    ping: Duration,
    /// When the client was asked for a sign of life that has not come.
    pinged: Option<Instant>,
    /// Since when it has taken nothing of what waits for it, and how much it had taken by then.
    stuck: Option<(Instant, u64)>,
    /// Since when a message has been on its way.
    pub(super) unfinished: Option<Instant>,
    /// Until when it is not read from, as the client is ahead of its pace.
    pub(super) slowed_until: Option<Instant>,
    /// The client wants to resume another session: what it sends next belongs there.
    pub(super) is_resuming: bool,
    /// The page that has opened it, if it says who it is.
    pub(super) page: Option<Page>,
}

impl Connection {
    /// A connection whose stream has the id `stream_id`.
    pub(super) fn new(
        socket: Socket,
        framing: Framing,
        page: Option<Page>,
        (terms, stream_id): (&Terms, &str),
        now: Instant,
    ) -> Self {
        Self {
            socket,
            framing,
            heard: now,
            ping: spread(terms.ping, stream_id),
            pinged: None,
            stuck: None,
            unfinished: None,
            slowed_until: None,
            is_resuming: false,
            page,
        }
    }

    /// Something has come, or the client was not listened to.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// Pings with this number a client that has been silent.
    pub(super) fn ping_if_silent(&mut self, number: u64, now: Instant) {
        if self.pinged.is_none() && self.heard + self.ping <= now {
            self.pinged = Some(now);
            self.socket.ping(number);
        }
    }

    /// Whether nobody is at the other end any more.
    pub(super) fn is_dead(&self, terms: &Terms, now: Instant) -> bool {
        let silent_until = self.pinged.map(|since| since + terms.pong_timeout);
        let stuck_until = self.stuck.map(|(since, _)| since + STUCK);
        silent_until.is_some_and(|until| until <= now)
            || stuck_until.is_some_and(|until| until <= now)
    }

    /// Whether a message has been on its way for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.unfinished.is_some_and(|since| since + MESSAGE <= now)
    }

    pub(super) fn is_read(&self) -> bool {
        self.slowed_until.is_none() && !self.is_resuming
    }

    /// Writes an element; whether the client is authenticated by it.
    pub(super) fn write(&mut self, transmit: Transmit, domain: &str, now: Instant) -> bool {
        let Transmit {
            element,
            waited_since,
        } = transmit;
        let is_success = self.framing.sent(&element);
        let element = match waited_since {
            Some(since) => message::delayed(&element, domain, &stamp(since, now)),
            None => element,
        };
        self.socket.send(element.to_bytes());
        is_success
    }

    /// Takes note of how reading and writing go on.
    pub(super) fn watch(&mut self, now: Instant) {
        let taken = self.socket.taken();
        self.stuck = match self.stuck {
            _ if self.socket.queued() == 0 => None,
            Some((since, before)) if before == taken => Some((since, taken)),
            _ => Some((now, taken)),
        };
        let is_unfinished = self.socket.unfinished() > 0;
        self.unfinished = is_unfinished.then(|| self.unfinished.unwrap_or(now));
    }

    pub(super) fn deadline(&self, terms: &Terms) -> Option<Instant> {
        if self.is_resuming {
            return None;
        }
        let life = match self.pinged {
            Some(pinged) => pinged + terms.pong_timeout,
            None => self.heard + self.ping,
        };
        let stuck = self.stuck.map(|(since, _)| since + STUCK);
        let unfinished = self.unfinished.map(|since| since + MESSAGE);
        [Some(life), stuck, unfinished, self.slowed_until]
            .into_iter()
            .flatten()
            .min()
    }
}

/// A time within a tenth of `time`, so that clients that came together are not pinged together. The id is random.
fn spread(time: Duration, stream_id: &str) -> Duration {
    let random: u32 = stream_id.bytes().map(u32::from).sum();
    time * (90 + random % 21) / 100
}

/// When something was received that has waited since, in the form of XEP-0082.
fn stamp(since: Instant, now: Instant) -> String {
    let age = now.saturating_duration_since(since);
    let received = wall_clock().checked_sub(age);
    humantime::format_rfc3339_millis(received.unwrap_or(SystemTime::UNIX_EPOCH)).to_string()
}
