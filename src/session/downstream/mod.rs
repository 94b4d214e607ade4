//! The client's side of a session: one of the fronts that a client may come by. The mirror of [`crate::upstream`].
//!
//! It owns what is said to the client, and the record of what was delivered. From that record the task reads what it
//! may acknowledge to the server ([`Downstream::confirmed`]), and when a client no longer listens
//! ([`Downstream::deaf_at`]). Requests, rids and conditions stay in here; it must not know the server.

pub mod bosh;
mod connection;
mod farewell;
pub mod stream;

use std::{
    collections::VecDeque,
    fmt,
    task::{Context, Poll},
    time::Instant,
};

use super::{Front, SmId};
use crate::{
    metrics::BadMessage,
    net::websocket::{Received, SocketError},
    proto::stanza::Stanza,
};

/// The client of a session. An enum, as each stanza passes here: nothing is looked up. Boxed, as they differ in size.
pub enum Downstream {
    /// It sends HTTP requests.
    Bosh(Box<bosh::Side>),
    /// It has opened a WebSocket.
    Stream(Box<stream::Side>),
}

/// Something that the client has done without a command (see [`super::Command`]).
#[derive(Debug)]
pub(super) enum Input {
    /// It has hung up on a request.
    HungUp(bosh::Slot),
    /// It has said something over its WebSocket, or is gone.
    Said(Result<Received, SocketError>),
}

/// What the task has to act on.
#[derive(Debug)]
pub(super) enum Event {
    /// The client sent this stanza; stanzas come in the client's order.
    Stanza(Stanza),
    /// The client wants the stream restarted.
    Restart,
    /// Another page goes on with the session, and knows nothing of what the one before was told.
    NewPage,
    /// The client wants stream management, perhaps such that it can resume the session (XEP-0198 §3).
    Enable {
        /// Whether it may be resumed.
        resume: bool,
    },
    /// The client wants to resume another session (XEP-0198 §5).
    Resume {
        /// Its SM-ID.
        previd: String,
        /// How many of its stanzas the client has.
        h: u32,
    },
    /// The client's connection is gone, and the session waits for another one.
    Asleep,
    /// The client's message is the reason for the end that follows.
    Refused(BadMessage),
    /// The client does not answer, for which its connection is given up.
    Silent,
    /// The session is over: the stream to the server is to be closed.
    Ended(End),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// By [`Downstream::end`].
    Closed,
    /// The client's connection is gone, and cannot be replaced by another.
    Disconnected,
    /// The client did not come for too long.
    Inactive,
    /// The client goes on with an older session.
    Resumed,
    /// The client wanted it.
    Terminated,
    /// The server could not be reached.
    Unreachable,
    /// The client broke a rule: the name of a condition.
    Violation(&'static str),
}

impl End {
    /// In one word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Disconnected => "disconnected",
            Self::Inactive => "inactive",
            Self::Resumed => "resumed",
            Self::Terminated => "terminated",
            Self::Unreachable => "unreachable",
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
    /// Which one it is.
    pub(super) fn front(&self) -> Front {
        match self {
            Self::Bosh(_) => Front::Bosh,
            Self::Stream(_) => Front::WebSocket,
        }
    }

    // === What happens outside ===

    /// Something that the client has done.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        match self {
            Self::Bosh(bosh) => bosh.poll_hang_up(cx).map(Input::HungUp),
            Self::Stream(stream) => stream.poll_input(cx).map(Input::Said),
        }
    }

    /// Deals with what [`Self::poll_input`] gave.
    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        match (self, input) {
            (Self::Bosh(bosh), Input::HungUp(slot)) => bosh.hung_up(slot, now),
            (Self::Stream(stream), Input::Said(said)) => stream.handle(said, now),
            // Each has inputs of its own.
            (Self::Bosh(_), Input::Said(_)) | (Self::Stream(_), Input::HungUp(_)) => {}
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Bosh(bosh) => bosh.handle_timeout(now),
            Self::Stream(stream) => stream.handle_timeout(now),
        }
    }

    // === Commands ===

    /// Says who the parties are: the session id, the served domain, and the id of the server's stream.
    pub(super) fn introduce(&mut self, sid: &str, domain: &str, stream_id: Option<&str>) {
        match self {
            Self::Bosh(bosh) => bosh.session.introduce(sid, domain, stream_id),
            // It has been told: it has named the domain, and has an id of its own.
            Self::Stream(_) => {}
        }
    }

    /// Queues a stanza for the client.
    pub(super) fn send(&mut self, stanza: Stanza, now: Instant) {
        match self {
            Self::Bosh(bosh) => bosh.session.send(stanza),
            Self::Stream(stream) => stream.send(stanza, now),
        }
    }

    /// The server has bound a resource.
    pub(super) fn bound(&mut self) {
        match self {
            Self::Bosh(_) => {}
            Self::Stream(stream) => stream.bound(),
        }
    }

    /// The client's stream begins anew, under this id.
    pub(super) fn restarted(&mut self, stream_id: &str, now: Instant) {
        match self {
            Self::Bosh(_) => {}
            Self::Stream(stream) => stream.restarted(stream_id, now),
        }
    }

    /// Grants stream management; with an id, the session can be resumed.
    pub(super) fn enable(&mut self, id: Option<SmId>) {
        match self {
            Self::Bosh(_) => {}
            Self::Stream(stream) => stream.enable(id),
        }
    }

    /// Ends the session; what is pending is delivered first.
    pub(super) fn end(&mut self, reason: Reason, now: Instant) {
        match self {
            Self::Bosh(bosh) => bosh.end(reason, now),
            Self::Stream(stream) => stream.end(reason, now),
        }
    }

    /// The server could not be reached: the client hears it at once, in place of the session.
    pub(super) fn refuse(&mut self, now: Instant) {
        match self {
            Self::Bosh(bosh) => bosh.refuse(),
            Self::Stream(stream) => stream.refuse(now),
        }
    }

    /// Another client goes on with the session, which whoever has begun it tells its sid. Over WebSocket that cannot be.
    pub(super) fn hand_over(&mut self) {
        if let Self::Bosh(bosh) = self {
            bosh.hand_over();
        }
    }

    /// There is no client any more: whoever has begun the session has told nobody its sid.
    pub(super) fn abandon(&mut self) {
        if let Self::Bosh(bosh) = self {
            bosh.abandon();
        }
    }

    /// Has the client confirm what it has been given, if that is possible now.
    pub(super) fn ask_for_confirmation(&mut self) {
        match self {
            Self::Bosh(bosh) => bosh.session.ask_for_confirmation(),
            Self::Stream(stream) => stream.ask_for_confirmation(),
        }
    }

    /// Takes what the client has not been sent.
    pub(super) fn take_undelivered(&mut self) -> VecDeque<Stanza> {
        match self {
            Self::Bosh(bosh) => bosh.session.take_pending(),
            Self::Stream(stream) => stream.take_undelivered(),
        }
    }

    // === What to do next ===

    /// The next thing for the task to act on.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Bosh(bosh) => bosh.poll_event(),
            Self::Stream(stream) => stream.poll_event(),
        }
    }

    /// Whether [`Self::poll_event`] has something. The task may leave it there for a while; a client that goes on
    /// sending then is ended.
    pub(super) fn has_events(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.has_events(),
            Self::Stream(stream) => stream.has_events(),
        }
    }

    /// Takes the stanzas that [`Self::poll_event`] would give, where the client counts on them: the server is lost, and
    /// they will take no effect.
    pub(super) fn take_unheard(&mut self) -> Vec<Stanza> {
        match self {
            Self::Bosh(_) => Vec::new(),
            Self::Stream(stream) => stream.take_unheard(),
        }
    }

    /// Writes what is due; whether the client will answer that at once. To be called when [`Self::poll_event`] has been
    /// drained.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.answer(now),
            Self::Stream(stream) => stream.write(cx, now),
        }
    }

    /// When to call [`Self::handle_timeout`], if nothing else happens first.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Bosh(bosh) => bosh.poll_timeout(),
            Self::Stream(stream) => stream.poll_timeout(),
        }
    }

    /// Whether the client is ahead of its pace, so that it is not heard for a while.
    pub(super) fn is_slowed(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.is_slowed(),
            Self::Stream(stream) => stream.is_slowed(),
        }
    }

    /// Whether a client that is away may go on with the session by another connection.
    pub(super) fn is_resumable(&self) -> bool {
        match self {
            Self::Bosh(_) => false,
            Self::Stream(stream) => stream.acceptor().is_resumable(),
        }
    }

    // === The record of what was delivered ===

    /// How many stanzas it has been given by [`Self::send`].
    pub(super) fn given(&self) -> u64 {
        match self {
            Self::Bosh(bosh) => bosh.session.given(),
            Self::Stream(stream) => stream.acceptor().given(),
        }
    }

    /// How many of them have been written to the client.
    pub(super) fn written(&self) -> u64 {
        match self {
            Self::Bosh(bosh) => bosh.session.written(),
            Self::Stream(stream) => stream.acceptor().written(),
        }
    }

    /// How many of them the client is known to have.
    pub(super) fn confirmed(&self) -> u64 {
        match self {
            Self::Bosh(bosh) => bosh.session.confirmed(),
            Self::Stream(stream) => stream.acceptor().confirmed(),
        }
    }

    /// Whether [`Self::ask_for_confirmation`] would have an effect.
    pub(super) fn may_be_asked(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.may_be_asked(),
            Self::Stream(stream) => stream.acceptor().may_be_asked(),
        }
    }

    /// From when on the client counts as not listening; `None` while it listens.
    pub(super) fn deaf_at(&self) -> Option<Instant> {
        match self {
            Self::Bosh(bosh) => bosh.session.deaf_at(),
            Self::Stream(stream) => stream.deaf_at(),
        }
    }

    /// What it takes to keep what the client has not been sent, bytes.
    pub(super) fn pending(&self) -> usize {
        match self {
            Self::Bosh(bosh) => bosh.session.pending(),
            Self::Stream(stream) => stream.pending(),
        }
    }

    /// How much may be pending before the server should not be read from, bytes.
    pub(super) fn max_pending(&self) -> usize {
        match self {
            Self::Bosh(bosh) => bosh.session.max_pending(),
            Self::Stream(stream) => stream.max_pending(),
        }
    }

    /// What it takes to keep the stanzas that [`Self::poll_event`] has, bytes.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Self::Bosh(bosh) => bosh.session.waiting(),
            Self::Stream(stream) => stream.waiting(),
        }
    }

    /// False while so much is pending that the server should not be read from.
    pub(super) fn wants_upstream(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.wants_upstream(),
            Self::Stream(stream) => stream.pending() < stream.max_pending(),
        }
    }

    /// Whether the gateway may add something of its own. It stops at half of what may be pending, so that only
    /// what the server sends can make a client look deaf.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.has_room(),
            Self::Stream(stream) => stream.pending() < stream.max_pending() / 2,
        }
    }

    /// What it takes to keep all that the client has not confirmed, if that is kept until then, bytes.
    pub(super) fn unconfirmed_size(&self) -> usize {
        match self {
            Self::Bosh(_) => 0,
            Self::Stream(stream) => stream.acceptor().unconfirmed_size(),
        }
    }

    // === The record of what was taken from the client ===

    /// What [`Self::poll_event`] has given so far is dealt with. By then, `sent` stanzas have been sent to the server.
    pub(super) fn dealt_with(&mut self, sent: u64) {
        match self {
            // It has no way to say so.
            Self::Bosh(_) => {}
            Self::Stream(stream) => stream.dealt_with(sent),
        }
    }

    /// The server has acknowledged the first `sent` stanzas.
    pub(super) fn settle(&mut self, sent: u64) {
        match self {
            Self::Bosh(_) => {}
            Self::Stream(stream) => stream.settle(sent),
        }
    }

    /// Whether it matters to the client that the server acknowledges what it has not acknowledged.
    pub(super) fn wants_settlement(&self) -> bool {
        match self {
            Self::Bosh(_) => false,
            Self::Stream(stream) => stream.acceptor().wants_settlement(),
        }
    }

    // === The end ===

    /// True until the end.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.is_open(),
            Self::Stream(stream) => stream.is_open(),
        }
    }

    /// Once the session is over, until when its client may be expected to come and hear how it ended. `None` when it
    /// has been told.
    pub(super) fn awaited_until(&self) -> Option<Instant> {
        match self {
            Self::Bosh(bosh) => bosh.session.awaited_until(),
            Self::Stream(stream) => stream.awaited_until(),
        }
    }

    /// True when nothing is left to be said to anyone.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.session.is_gone(),
            Self::Stream(stream) => stream.is_gone(),
        }
    }
}
