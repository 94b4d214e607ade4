//! Record of a session: what others may know without asking it. The session keeps it up to date, as it changes seldom.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Origin;

/// By which front the client of a session comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Front {
    /// BOSH
    Bosh,
    /// WebSocket
    WebSocket,
}

impl Front {
    /// All fronts.
    pub const ALL: [Self; 2] = [Self::Bosh, Self::WebSocket];

    /// In words of the admin API and of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bosh => "bosh",
            Self::WebSocket => "websocket",
        }
    }
}

/// How far a session has come. Its state only moves on, and may skip some; but one that is asleep may wake up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum State {
    /// The XMPP server is being connected to.
    Connecting,
    /// The server has answered; no resource is bound yet.
    Negotiating,
    /// A resource is bound.
    Bound,
    /// Bound, but its client's connection is gone: it waits to be resumed.
    Asleep,
    /// Over for the client, or nearly so; the stream to the server is still to be closed.
    Ending,
}

impl State {
    /// All states, in their order.
    pub const ALL: [Self; 5] = [
        Self::Connecting,
        Self::Negotiating,
        Self::Bound,
        Self::Asleep,
        Self::Ending,
    ];

    /// In words of the admin API and of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Negotiating => "negotiating",
            Self::Bound => "bound",
            Self::Asleep => "asleep",
            Self::Ending => "ending",
        }
    }
}

/// The record of one session. The session alone writes, anybody reads, nobody waits.
#[derive(Debug)]
pub struct Record {
    number: u64,
    domain: Box<str>,
    front: Front,
    origin: Origin,
    since: Instant,
    jid: OnceLock<Box<str>>,
    state: AtomicU8,
    /// When it last fell asleep, in milliseconds after `since`.
    fell_asleep: AtomicU64,
    is_interested: AtomicBool,
}

impl Record {
    /// Of a session that begins at `since`. Of two sessions, the younger has the higher `number`.
    pub fn new(number: u64, domain: &str, front: Front, origin: Origin, since: Instant) -> Self {
        Self {
            number,
            domain: domain.into(),
            front,
            origin,
            since,
            jid: OnceLock::new(),
            state: AtomicU8::new(State::Connecting as u8),
            fell_asleep: AtomicU64::new(0),
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

    /// By which front its client comes.
    pub fn front(&self) -> Front {
        self.front
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
        let state = usize::from(self.state.load(Ordering::Relaxed));
        State::ALL.get(state).copied().unwrap_or(State::Ending)
    }

    /// How long it has been asleep; `None` while it is not.
    pub fn asleep_for(&self, now: Instant) -> Option<Duration> {
        let fell_asleep = Duration::from_millis(self.fell_asleep.load(Ordering::Relaxed));
        (self.state() == State::Asleep).then(|| self.age(now).saturating_sub(fell_asleep))
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

    /// Its client's connection is gone, and may be replaced by another.
    pub(super) fn fall_asleep(&self, now: Instant) {
        if self.state() == State::Bound {
            let age = u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX);
            self.fell_asleep.store(age, Ordering::Relaxed);
            self.enter(State::Asleep);
        }
    }

    /// It has been resumed.
    pub(super) fn wake(&self) {
        if self.state() == State::Asleep {
            self.enter(State::Bound);
        }
    }

    pub(super) fn set_interested(&self) {
        // Asked after each input: most of the time, there is nothing to write.
        if !self.is_interested() {
            self.is_interested.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Protocol;

    #[test]
    fn only_a_bound_session_falls_asleep_and_it_may_do_so_again() {
        let origin = Origin {
            address: ([127, 0, 0, 1], 1).into(),
            is_known: true,
            secure: false,
            protocol: Protocol::Http11,
        };
        let began = crate::clock::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let asleep = |seconds| Some(Duration::from_secs(seconds));
        let record = Record::new(1, "example.org", Front::WebSocket, origin, began);
        record.fall_asleep(at(1));
        assert_eq!(record.asleep_for(at(2)), None);
        record.bind("romeo@example.org/orchard");
        for falls in [10, 30] {
            record.fall_asleep(at(falls));
            record.fall_asleep(at(falls + 1));
            assert_eq!(record.state(), State::Asleep);
            assert_eq!(record.asleep_for(at(falls + 7)), asleep(7));
            record.wake();
            assert_eq!(record.state(), State::Bound);
            assert_eq!(record.asleep_for(at(falls + 7)), None);
        }
        record.fall_asleep(at(50));
        record.enter(State::Ending);
        record.wake();
        assert_eq!(record.state(), State::Ending);
        assert_eq!(record.asleep_for(at(60)), None);
    }
}
