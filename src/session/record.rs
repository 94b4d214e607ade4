//! Record of a session: what others may know without asking it. The session keeps it up to date, as it changes seldom.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use super::Origin;

/// How far a session has come. Its state only moves on, and may skip some.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum State {
    /// The XMPP server is being connected to.
    Connecting,
    /// The server has answered; no resource is bound yet.
    Negotiating,
    /// A resource is bound.
    Bound,
    /// Over for the client, or nearly so; the stream to the server is still to be closed.
    Ending,
}

impl State {
    /// In words of the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Negotiating => "negotiating",
            Self::Bound => "bound",
            Self::Ending => "ending",
        }
    }
}

/// The record of one session. The session alone writes, anybody reads, nobody waits.
#[derive(Debug)]
pub struct Record {
    number: u64,
    domain: Box<str>,
    origin: Origin,
    since: Instant,
    jid: OnceLock<Box<str>>,
    state: AtomicU8,
    is_interested: AtomicBool,
}

impl Record {
    /// Of a session that begins at `since`. Of two sessions, the younger has the higher `number`.
    pub fn new(number: u64, domain: &str, origin: Origin, since: Instant) -> Self {
        Self {
            number,
            domain: domain.into(),
            origin,
            since,
            jid: OnceLock::new(),
            state: AtomicU8::new(State::Connecting as u8),
            is_interested: AtomicBool::new(false),
        }
    }

    /// Names the session as long as the gateway runs; no secret.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The domain that it was created for.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where the request came from that created it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// The full JID, once a resource is bound.
    pub fn jid(&self) -> Option<&str> {
        self.jid.get().map(|jid| &**jid)
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Connecting,
            1 => State::Negotiating,
            2 => State::Bound,
            _ => State::Ending,
        }
    }

    /// Whether the client has asked for its roster and has had an answer, so that it gets pushes.
    pub fn is_interested(&self) -> bool {
        self.is_interested.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn bind(&self, jid: &str) {
        self.jid.get_or_init(|| jid.into());
        self.enter(State::Bound);
    }

    pub(super) fn set_interested(&self) {
        // Asked after each input: most of the time, there is nothing to write.
        if !self.is_interested() {
            self.is_interested.store(true, Ordering::Relaxed);
        }
    }
}
