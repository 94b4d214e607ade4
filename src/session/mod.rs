//! Sessions: one task each, which owns the client's side, the server's side and the pipe between them. It does not know
//! by which front its client comes.
//!
//! A task, because a session owns a TCP connection that has to be read whether or not a request is
//! there; one owner per session also makes order and exclusion free. `ARCHITECTURE.md` has the figures.

mod accounts;
mod admission;
mod backlog;
mod counts;
mod downstream;
mod host;
mod link;
mod origin;
mod record;
mod registry;
mod sid;
mod task;

use tokio::sync::{mpsc, oneshot};

pub use self::{
    accounts::Accounts,
    admission::{Admission, Admitted, Creations, Refusal, Refused},
    backlog::Backlog,
    counts::Counts,
    downstream::{Downstream, bosh},
    host::Host,
    origin::{Origin, Protocol},
    record::{Record, State},
    registry::{Closed, Entry, Registration, Registry},
    sid::Sid,
    task::spawn,
};

/// Messages that may wait for a session: what it may have open, the one that a pause or a termination
/// may come on top with, and resends. A client cannot fill this while it keeps to the rules.
const MAILBOX: usize = 8;

/// What a session is told by the front and by the server. Travels boxed: tokio allocates channel slots
/// by the block.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "always boxed")]
pub enum Command {
    /// A request of a BOSH client, and where its answer goes. The client is gone when the other end
    /// of `reply` is.
    Bosh {
        /// The request.
        request: bosh::Request,
        /// Its answer.
        reply: oneshot::Sender<bosh::Reply>,
    },
    /// The client sent something that is too large to be read.
    Oversized,
    /// The gateway is going down.
    Shutdown,
}

/// The way to a session's task.
pub type Mailbox = mpsc::Sender<Box<Command>>;
