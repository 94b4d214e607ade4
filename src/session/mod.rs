//! Sessions: each has a task of its own, which owns the client's side, the server's side and the pipe between them. It
//! must not know the front of its client.
//!
//! A session needs a task because it owns a TCP connection, which has to be read whether or not a request is open. One
//! owner per session also makes order and exclusion free. `ARCHITECTURE.md` has the figures.

mod accounts;
mod admission;
mod backlog;
mod counts;
mod downstream;
mod entry;
mod errand;
mod host;
mod link;
mod origin;
mod record;
mod registry;
mod resumption;
mod shut_out;
mod sid;
mod task;
#[cfg(test)]
mod testing;

use tokio::sync::{mpsc, oneshot};

use crate::proto::stanza::Stanza;

pub use self::{
    accounts::Accounts,
    admission::{Admission, Admitted, Creations, Refusal, Refused, Reserved},
    backlog::Backlog,
    counts::Counts,
    downstream::{Downstream, bosh, stream},
    entry::Entry,
    errand::{Errand, MAX_ERRANDS, Sleeper, Wish},
    host::{Host, account},
    origin::{Origin, Protocol},
    record::{Front, Record, State},
    registry::{Closed, Found, Registration, Registry},
    resumption::{Resumption, SmId},
    shut_out::{ShutOut, ended_by_site},
    sid::Sid,
    task::{Attach, spawn},
};

/// Commands that may wait for a session: its open requests, one more that pauses or terminates it, and resends. A
/// client that keeps to the rules cannot fill this.
const MAILBOX: usize = 8;

/// A command to a session, from its front or from the gateway. Travels boxed, as tokio allocates channel slots by the
/// block.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "always boxed")]
pub enum Command {
    /// A request of a BOSH client, and where its answer goes. When the client hangs up, the other end of `reply` is
    /// dropped.
    Bosh {
        /// The request.
        request: bosh::Request,
        /// Its answer.
        reply: oneshot::Sender<bosh::Reply>,
    },
    /// The client sent something that is too large to be read.
    Oversized,
    /// A client has come again by another connection, and wants to go on with this session.
    Attach(Attach),
    /// Whoever has begun the session leaves it to a client that is told its sid and rid.
    HandOver,
    /// Whoever has begun the session has gone without that.
    Abandon,
    /// The session has to end, with this stream error.
    End(Stanza),
    /// The gateway is going down.
    Shutdown,
}

/// The way to a session's task.
pub type Mailbox = mpsc::Sender<Box<Command>>;
