//! Errands: what a session wants of another gateway, where the session is that its client wants to go on with. Whoever
//! composes the gateway has them run; a session must not wait for more than the answer.

use tokio::sync::oneshot;

/// Errands that may wait to be run. One that finds no room is not run.
pub const MAX_ERRANDS: usize = 64;

/// What a session wants of the gateway `node`.
#[derive(Debug)]
pub struct Errand {
    /// The gateway.
    pub node: Box<str>,
    /// What is wanted.
    pub wish: Wish,
    /// What the gateway says; dropped if that is not known.
    pub reply: oneshot::Sender<Sleeper>,
}

/// What is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// The SM-ID that the client has named.
    pub previd: String,
    /// How many stanzas it has handled.
    pub h: u32,
    /// Whether the client's connection is encrypted.
    pub secure: bool,
    /// Who the client is, as the server says (`Host::account`): the session is to end, if it is theirs. `None`: not
    /// known yet, nothing is to end.
    pub account: Option<String>,
}

/// What an SM-ID names at its gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sleeper {
    /// A session, with this resource.
    Session {
        /// The resource, as the server has bound it.
        resource: String,
    },
    /// A session that has ended, with so many of its client's stanzas taken.
    Ended(u32),
    /// A session of another account.
    Strangers,
    /// A session that was created over TLS, where the connection is in clear.
    Insecure,
    /// Nothing.
    Nothing,
}
