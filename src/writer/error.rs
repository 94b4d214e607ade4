//! Errors of writing: why a list is not as the site wants it.

use std::time::Duration;

use http::StatusCode;

use crate::{backend::FetchError, net::http_client::Broken};

/// Why a list could not be written into the XMPP server. The texts go to whoever called the admin API: they name
/// neither a URL nor anything that the server sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The list could not be fetched from the site.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// There is no such account.
    #[error("XMPP server has no such user")]
    NoSuchUser,
    /// The guard of the configuration.
    #[error("{removals} of {held} contacts would be removed, more than max_removals allows")]
    TooManyRemovals {
        /// How many would go.
        removals: usize,
        /// How many there are.
        held: usize,
    },
    /// Token or password are wrong, or there are none; or the server lets nobody in from here.
    #[error("XMPP server does not let the gateway in (it answered {}): see writer_token, writer_password", status.as_u16())]
    Denied {
        /// What it was asked.
        request: &'static str,
        /// The status that it answered.
        status: StatusCode,
    },
    /// ejabberd does not let the gateway give this command.
    #[error(
        "XMPP server does not allow {request}: name it, and the gateway, in api_permissions; see writer_password"
    )]
    Forbidden {
        /// What it was asked.
        request: &'static str,
    },
    /// ejabberd has no such command.
    #[error("XMPP server does not know {request}: load mod_admin_extra")]
    NoCommand {
        /// What it was asked.
        request: &'static str,
    },
    /// Any other status.
    #[error("XMPP server answered {} to {request}", status.as_u16())]
    Status {
        /// What it was asked.
        request: &'static str,
        /// The status that it answered.
        status: StatusCode,
    },
    /// It does not keep what is written.
    #[error("XMPP server answered {} to {request}: load mod_private, or set own to \"all\"", status.as_u16())]
    Marks {
        /// What it was asked.
        request: &'static str,
        /// The status that it answered.
        status: StatusCode,
    },
    /// What it answered is of another shape than its interface has.
    #[error("XMPP server's answer to {request} is not understood")]
    Answer {
        /// What it was asked.
        request: &'static str,
    },
    /// No whole answer in time.
    #[error("XMPP server did not answer within {}", humantime::format_duration(*after))]
    Timeout {
        /// The time that it had.
        after: Duration,
    },
    /// There was no answer at all.
    #[error("XMPP server's HTTP interface {}", in_words(*.0))]
    Broken(Broken),
    /// The rest is written when it is tried again.
    #[error("stopped after {written} of {all} changes: {cause}")]
    Partly {
        /// How many changes were made.
        written: usize,
        /// How many there were to make.
        all: usize,
        /// Why it stopped.
        cause: Box<Self>,
    },
    /// The list of a contact is not written, so that the contact on the user's list is not either.
    #[error("written without {contact}, whose list is not: {cause}")]
    Without {
        /// Whose list it is.
        contact: String,
        /// Why not.
        cause: Box<Self>,
    },
    /// The user's own list is written.
    #[error("written, but the list of {contact} is not: {cause}")]
    Counterpart {
        /// Whose list it is.
        contact: String,
        /// Why not.
        cause: Box<Self>,
    },
}

fn in_words(broken: Broken) -> &'static str {
    match broken {
        Broken::Off => "broke off the connection",
        Broken::NotHttp => "answered with something that is not HTTP",
        Broken::Refused => "refused the connection",
        Broken::Tls => "has no trusted certificate",
        Broken::Unreachable => "cannot be reached",
    }
}

impl WriteError {
    /// Whether it may work later without a change of the list or the account.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Fetch(FetchError::Status { status }) => {
                !matches!(*status, StatusCode::NOT_FOUND | StatusCode::GONE)
            }
            Self::Fetch(FetchError::Url) | Self::NoSuchUser | Self::TooManyRemovals { .. } => false,
            Self::Status { status, .. } => *status != StatusCode::BAD_REQUEST,
            Self::Partly { cause, .. } | Self::Without { cause, .. } => cause.may_pass(),
            // That list is tried again by itself.
            Self::Counterpart { .. } => false,
            _ => true,
        }
    }

    /// Whether the server is at fault, and not the site or the configuration.
    pub fn is_of_server(&self) -> bool {
        match self {
            Self::Fetch(_) | Self::NoSuchUser | Self::TooManyRemovals { .. } => false,
            Self::Partly { cause, .. }
            | Self::Without { cause, .. }
            | Self::Counterpart { cause, .. } => cause.is_of_server(),
            _ => true,
        }
    }

    /// The same in a word or two.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "not_fetched",
            Self::NoSuchUser => "no_such_user",
            Self::TooManyRemovals { .. } => "max_removals",
            Self::Denied { .. } | Self::Forbidden { .. } => "denied",
            Self::Status { .. } | Self::Marks { .. } | Self::NoCommand { .. } => "status",
            Self::Answer { .. } => "answer",
            Self::Timeout { .. } => "timeout",
            Self::Broken(_) => "unreachable",
            Self::Partly { .. } | Self::Without { .. } | Self::Counterpart { .. } => "partly",
        }
    }
}
