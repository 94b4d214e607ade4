//! The client's side of a session: one of the fronts that a client may come by. The mirror of [`crate::upstream`].
//!
//! It owns what is said to the client, and the record of what was delivered. From that record the task reads what it
//! may acknowledge to the server ([`Downstream::confirmed`]), and when a client no longer listens
//! ([`Downstream::deaf_at`]). Requests, rids and conditions stay in here; it must not know the server.

pub mod bosh;

use std::{
    collections::VecDeque,
    fmt,
    task::{Context, Poll},
    time::Instant,
};

use crate::proto::stanza::Stanza;

/// The client of a session. An enum, as each stanza passes here: nothing is boxed, nothing is looked up.
pub enum Downstream {
    /// It sends HTTP requests.
    Bosh(bosh::Side),
}

/// Something that the client has done without a command (see [`super::Command`]).
#[derive(Debug)]
pub(super) enum Input {
    /// It has hung up on a request.
    HungUp(bosh::Slot),
}

/// What the task has to act on.
#[derive(Debug)]
pub(super) enum Event {
    /// The client sent this stanza; stanzas come in the client's order.
    Stanza(Stanza),
    /// The client wants the stream restarted.
    Restart,
    /// The session is over: the stream to the server is to be closed.
    Ended(End),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// By [`Downstream::end`].
    Closed,
    /// The client did not come for too long.
    Inactive,
    /// The client wanted it.
    Terminated,
    /// The client broke a rule: the name of a condition.
    Violation(&'static str),
}

impl End {
    /// In one word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Inactive => "inactive",
            Self::Terminated => "terminated",
            Self::Violation(condition) => condition,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the client hears when the gateway ends its session.
#[derive(Debug)]
pub(super) enum Reason {
    /// The server has closed the stream in good order.
    Closed,
    /// The gateway is going down.
    Shutdown,
    /// The client broke a rule; a stream error may say more.
    Violation(Option<Stanza>),
    /// This stream error, of the server or about it.
    Error(Stanza),
}

impl Downstream {
    // === What happens outside ===

    /// Something that the client has done.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        match self {
            Self::Bosh(bosh) => bosh.poll_hang_up(cx).map(Input::HungUp),
        }
    }

    /// Deals with what [`Self::poll_input`] gave.
    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        match (self, input) {
            (Self::Bosh(bosh), Input::HungUp(slot)) => bosh.hung_up(slot, now),
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Bosh(bosh) => bosh.handle_timeout(now),
        }
    }

    // === Commands ===

    /// Says who the parties are: the session id, the served domain, and the id of the server's stream.
    pub(super) fn introduce(&mut self, sid: &str, domain: &str, stream_id: Option<&str>) {
        match self {
            Self::Bosh(bosh) => bosh.session.introduce(sid, domain, stream_id),
        }
    }

    /// Queues a stanza for the client.
    pub(super) fn send(&mut self, stanza: Stanza) {
        match self {
            Self::Bosh(bosh) => bosh.session.send(stanza),
        }
    }

    /// Ends the session; what is pending is delivered first.
    pub(super) fn end(&mut self, reason: Reason, now: Instant) {
        match self {
            Self::Bosh(bosh) => bosh.end(reason, now),
        }
    }

    /// The server could not be reached: the client hears it at once, in place of the session.
    pub(super) fn refuse(&mut self, now: Instant) {
        match self {
            Self::Bosh(bosh) => bosh.refuse(now),
        }
    }

    /// Has the client confirm what it has been given, if that is possible now.
    pub(super) fn ask_for_confirmation(&mut self) {
        match self {
            Self::Bosh(bosh) => bosh.session.ask_for_confirmation(),
        }
    }

    /// Takes what the client has not been sent.
    pub(super) fn take_undelivered(&mut self) -> VecDeque<Stanza> {
        match self {
            Self::Bosh(bosh) => bosh.session.take_pending(),
        }
    }

    // === What to do next ===

    /// The next thing for the task to act on.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Bosh(bosh) => bosh.poll_event(),
        }
    }

    /// Whether [`Self::poll_event`] has something. The task may leave it there for a while; a client that goes on
    /// sending then is ended.
    pub(super) fn has_events(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.has_events(),
        }
    }

    /// Writes what is due; whether anything was. To be called when [`Self::poll_event`] has been drained.
    pub(super) fn poll_write(&mut self, now: Instant) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.answer(now),
        }
    }

    /// When to call [`Self::handle_timeout`], if nothing else happens first.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Bosh(bosh) => bosh.poll_timeout(),
        }
    }

    /// Whether commands may be taken from the mailbox: false for a client that is ahead of its pace.
    pub(super) fn wants_commands(&self) -> bool {
        match self {
            Self::Bosh(bosh) => !bosh.is_slowed(),
        }
    }

    // === The record of what was delivered ===

    /// How many stanzas it has been given by [`Self::send`].
    pub(super) fn given(&self) -> u64 {
        match self {
            Self::Bosh(bosh) => bosh.session.given(),
        }
    }

    /// How many of them have been written to the client.
    pub(super) fn written(&self) -> u64 {
        match self {
            Self::Bosh(bosh) => bosh.session.written(),
        }
    }

    /// How many of them the client is known to have.
    pub(super) fn confirmed(&self) -> u64 {
        match self {
            Self::Bosh(bosh) => bosh.session.confirmed(),
        }
    }

    /// Whether [`Self::ask_for_confirmation`] would have an effect.
    pub(super) fn may_be_asked(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.may_be_asked(),
        }
    }

    /// From when on the client counts as not listening; `None` while it listens.
    pub(super) fn deaf_at(&self) -> Option<Instant> {
        match self {
            Self::Bosh(bosh) => bosh.session.deaf_at(),
        }
    }

    /// What it takes to keep what the client has not been sent, bytes.
    pub(super) fn pending(&self) -> usize {
        match self {
            Self::Bosh(bosh) => bosh.session.pending(),
        }
    }

    /// How much may be pending before the server should not be read from, bytes.
    pub(super) fn max_pending(&self) -> usize {
        match self {
            Self::Bosh(bosh) => bosh.session.max_pending(),
        }
    }

    /// What it takes to keep the stanzas that [`Self::poll_event`] has, bytes.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Self::Bosh(bosh) => bosh.session.waiting(),
        }
    }

    /// False while so much is pending that the server should not be read from.
    pub(super) fn wants_upstream(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.wants_upstream(),
        }
    }

    /// Whether the gateway may add something of its own. It stops at half of what may be pending, so that only
    /// what the server sends can make a client look deaf.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.has_room(),
        }
    }

    // === The end ===

    /// True until the end.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.is_open(),
        }
    }

    /// Once the session is over, until when its client may be expected to come and hear how it ended. `None` when it
    /// has been told.
    pub(super) fn awaited_until(&self) -> Option<Instant> {
        match self {
            Self::Bosh(bosh) => bosh.session.awaited_until(),
        }
    }

    /// True when nothing is left to be said to anyone.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.is_gone(),
        }
    }
}
