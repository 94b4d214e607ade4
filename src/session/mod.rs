//! One task per session: the shell round the state machines.
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
mod record;
mod registry;
mod task;

use std::{fmt, net::SocketAddr, sync::Arc};

use tokio::sync::{mpsc, oneshot};

pub use self::{
    accounts::Accounts,
    admission::{Admission, Admitted, Creations, Refusal, Refused},
    backlog::Backlog,
    counts::Counts,
    downstream::{Downstream, bosh},
    host::Host,
    record::{Record, State},
    registry::{Closed, Entry, Registration, Registry},
};

/// Messages that may wait for a session: what it may have open, the one that a pause or a termination
/// may come on top with, and resends. A client cannot fill this while it keeps to the rules.
const MAILBOX: usize = 8;

/// A session id: 128 random bits (XEP-0124 "Session Creation Response").
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Sid(Arc<str>);

impl Sid {
    /// A new one.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes)).into()))
    }

    /// The id itself: a secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sid {
    /// As much as identifies it in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..8).unwrap_or_default())
    }
}

/// Where a request comes from, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The client's address; the port is 0 where a proxy does not tell it. Where that does not say for
    /// whom it asks, its own.
    pub address: SocketAddr,
    /// Whether the client's own connection is encrypted.
    pub secure: bool,
    /// By what the client, or the proxy before it, reaches the gateway.
    pub protocol: Protocol,
}

/// What a client may speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// In words of the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

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
