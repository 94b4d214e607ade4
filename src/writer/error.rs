//! Errors of writing: why a list is not as the site wants it.

use std::time::Duration;

use http::StatusCode;

use crate::{backend::FetchError, net::http_client::Broken};

/// What a server was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Which kind of server it is.
    pub server: &'static str,
    /// The command, or the method and the path.
    pub request: &'static str,
}

/// Why a list could not be written into the XMPP server. The texts go to whoever called the admin API: they name what was
/// asked of which kind of server, and a cure, but neither a URL nor anything that the server sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The list could not be fetched from the site.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// There is no such account.
    #[error("XMPP server has no such account: create it there, then refresh this user")]
    NoSuchUser,
    /// The guard of the configuration.
    #[error(
        "{removals} of {held} contacts would be removed, more than max_removals allows: check the site's list, or raise max_removals for a moment"
    )]
    TooManyRemovals {
        /// How many would go.
        removals: usize,
        /// How many there are.
        held: usize,
    },
    /// Token or password are wrong, or there are none; or the server lets nobody in from here.
    #[error("{} does not let the gateway in (it answered {} to {}): see writer_token, writer_password", asked.server, status.as_u16(), asked.request)]
    Denied {
        /// What it was asked.
        asked: Asked,
        /// The status that it answered.
        status: StatusCode,
    },
    /// ejabberd does not let the gateway give this command.
    #[error(
        "ejabberd does not allow {request}: name it, and the gateway, in api_permissions; see writer_password"
    )]
    Forbidden {
        /// What it was asked.
        request: &'static str,
    },
    /// ejabberd has no such command.
    #[error("ejabberd does not know {request}: load mod_admin_extra")]
    NoCommand {
        /// What it was asked.
        request: &'static str,
    },
    /// The interface is not there.
    #[error("{} has no {interface} (it answered 404 to {}): load it, and see writer_url", asked.server, asked.request)]
    NoInterface {
        /// What it was asked.
        asked: Asked,
        /// The module.
        interface: &'static str,
    },
    /// Any other status.
    #[error("{} answered {} to {}: see its log", asked.server, status.as_u16(), asked.request)]
    Status {
        /// What it was asked.
        asked: Asked,
        /// The status that it answered.
        status: StatusCode,
    },
    /// ejabberd has not carried out a command, and says so with status 200.
    #[error("ejabberd did not carry out {request}: see its log, and whether its database works")]
    Undone {
        /// What it was asked.
        request: &'static str,
    },
    /// It does not keep what is written.
    #[error("ejabberd answered {} to {request}: load mod_private, or set own to \"all\"", status.as_u16())]
    Marks {
        /// What it was asked.
        request: &'static str,
        /// The status that it answered.
        status: StatusCode,
    },
    /// What it answered is of another shape than its interface has.
    #[error("{}'s answer to {} is not understood: see writer_url, and which versions docs/servers.md names", asked.server, asked.request)]
    Answer {
        /// What it was asked.
        asked: Asked,
    },
    /// No whole answer in time.
    #[error("{} did not answer {} within {}: it is busy, or it hangs", asked.server, asked.request, humantime::format_duration(*after))]
    Timeout {
        /// What it was asked.
        asked: Asked,
        /// The time that it had.
        after: Duration,
    },
    /// There was no answer at all.
    #[error("{}'s HTTP interface {} when asked for {}: see whether it runs, and writer_url", asked.server, in_words(*broken), asked.request)]
    Broken {
        /// What it was asked.
        asked: Asked,
        /// What has become of the connection.
        broken: Broken,
    },
    /// The site has changed the list, or those of contacts, whenever they were about to be written.
    #[error("the lists have changed again and again while they were written: it is tried later")]
    Overtaken,
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
            Self::Fetch(_) | Self::NoSuchUser | Self::TooManyRemovals { .. } | Self::Overtaken => {
                false
            }
            Self::Partly { cause, .. }
            | Self::Without { cause, .. }
            | Self::Counterpart { cause, .. } => cause.is_of_server(),
            _ => true,
        }
    }

    /// Whether the lists of all users fail for the same reason: the site or the server is out of reach, or does not let the
    /// gateway in. Anything else may be about one list, a connection that broke while it was read or written among it.
    pub(super) fn is_of_all(&self) -> bool {
        match self {
            Self::Fetch(error) => matches!(
                error,
                FetchError::Refused | FetchError::Unreachable | FetchError::Tls
            ),
            Self::Broken { broken, .. } => {
                matches!(broken, Broken::Refused | Broken::Unreachable | Broken::Tls)
            }
            Self::Denied { .. } | Self::Forbidden { .. } => true,
            Self::Partly { cause, .. }
            | Self::Without { cause, .. }
            | Self::Counterpart { cause, .. } => cause.is_of_all(),
            _ => false,
        }
    }

    /// The same in a word or two.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "not_fetched",
            Self::NoSuchUser => "no_such_user",
            Self::TooManyRemovals { .. } => "max_removals",
            Self::Denied { .. } | Self::Forbidden { .. } => "denied",
            Self::Status { .. }
            | Self::Undone { .. }
            | Self::Marks { .. }
            | Self::NoCommand { .. }
            | Self::NoInterface { .. } => "status",
            Self::Answer { .. } => "answer",
            Self::Timeout { .. } => "timeout",
            Self::Broken { .. } => "unreachable",
            Self::Overtaken
            | Self::Partly { .. }
            | Self::Without { .. }
            | Self::Counterpart { .. } => "partly",
        }
    }
}
