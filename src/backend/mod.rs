//! Backend of the site: fetches its contact lists, reads, refreshes and publishes them. Knows nothing of sessions and
//! stanzas.
//!
//! [`http`] asks the backend, [`decode`] reads its answers, and [`refresh`] decides when to ask and
//! which sessions to tell. [`failures`] and [`omissions`] remember what went wrong. What a contact
//! list is, says [`crate::roster`].

use std::{future::Future, time::Duration};

use ::http::StatusCode;
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking};

use self::{instead::Instead, omissions::Incomplete};
use crate::roster::{Contact, Username, left_out::LeftOut, snapshot::Validators};

pub mod decode;
pub mod failures;
pub mod http;
pub mod instead;
pub mod omissions;
pub mod refresh;
#[cfg(test)]
pub(crate) mod testing;

/// Source of contacts.
pub trait ContactSource: Send + Sync {
    /// Asks for the contacts of `user`; with `known`, only if they are no longer that version.
    fn contacts(
        &self,
        user: &Username,
        known: Option<&Validators>,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + Send;

    /// Where the contacts of `user` come from, without what may be secret.
    fn address(&self, user: &Username) -> Option<String>;

    /// A list of `user` has come without being asked for, with these entries that could not be used.
    fn note_left_out(&self, _user: &Username, _left_out: &LeftOut) {}

    /// Users whose latest lists had entries that could not be used; the oldest first.
    fn incomplete(&self) -> Vec<Incomplete> {
        Vec::new()
    }
}

/// Permit for the memory of a large answer, from [`http::LARGE_UNDER_WAY`].
pub type Room = OwnedSemaphorePermit;

/// Answer of a backend.
#[derive(Debug)]
pub enum Fetched {
    /// The known version still holds.
    Unchanged,
    /// Another version.
    New {
        /// The entries that can be used.
        contacts: Vec<Contact>,
        /// Names the version.
        validators: Validators,
        /// The entries that cannot.
        left_out: LeftOut,
        /// Memory that is reserved until this is dropped.
        room: Option<Room>,
    },
}

impl Fetched {
    /// How many contacts have come.
    pub fn size(&self) -> usize {
        match self {
            Self::Unchanged => 0,
            Self::New { contacts, .. } => contacts.len(),
        }
    }
}

/// Why there is no answer. The texts go to the log and to whoever called the admin API: they do not name the URL, and of
/// what the backend sent no more than where a redirect leads to, without what may be secret, and a few words of an
/// answer that is no JSON.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The fetch ended without a result: the gateway stops, or it has a bug.
    #[error("fetch was abandoned")]
    Abandoned,
    /// The connection ended before the answer did.
    #[error("backend broke off the connection")]
    BrokenOff,
    /// The answer is JSON of another shape, or no JSON.
    #[error("backend answered with something that is not a JSON object: {0}")]
    NotAnObject(Instead),
    /// The answer is an object with entries, and none of them is a contact.
    #[error("backend answered with an object in which nothing is a contact")]
    NoContacts,
    /// The answer is no HTTP.
    #[error("backend answered with something that is not HTTP")]
    NotHttp,
    /// It sends us somewhere else: to HTTPS, to a login, to the path with a slash.
    #[error("backend answered {}, a redirect to {location}", status.as_u16())]
    Redirect {
        /// The status that it sent.
        status: StatusCode,
        /// What may be shown of `Location`.
        location: String,
    },
    /// Nothing listens there.
    #[error("backend refused the connection")]
    Refused,
    /// Any status but those that are an answer.
    #[error("backend answered {}", status.as_u16())]
    Status {
        /// The one it sent.
        status: StatusCode,
    },
    /// No whole answer in time; the wait for other requests to end is part of it.
    #[error("backend did not answer within {}", humantime::format_duration(*after))]
    Timeout {
        /// The time that it had.
        after: Duration,
    },
    /// TLS could not be agreed on, or the certificate is not trusted.
    #[error("no trusted TLS connection to the backend")]
    Tls,
    /// The answer is larger than `backend_max_body`.
    #[error("backend's answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// No such host, no route, and the like.
    #[error("backend cannot be reached")]
    Unreachable,
    /// The roster URL with this username is no URL.
    #[error("roster URL does not work with this username")]
    Url,
}

impl FetchError {
    /// The same in a word or two.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::BrokenOff => "broken_off",
            Self::NoContacts => "no_contacts",
            Self::NotAnObject(_) => "not_an_object",
            Self::NotHttp => "not_http",
            Self::Redirect { .. } => "redirect",
            Self::Refused => "refused",
            Self::Status { .. } => "status",
            Self::Timeout { .. } => "timeout",
            Self::Tls => "tls",
            Self::TooLarge { .. } => "too_large",
            Self::Unreachable => "unreachable",
            Self::Url => "url",
        }
    }
}

/// Does `work` at once; if it takes so long that other tasks would have to wait, on a thread for blocking work.
pub(crate) async fn off_thread<T: Send + 'static>(
    takes_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FetchError> {
    if takes_long {
        let work = spawn_blocking(work).await;
        work.map_err(|_| FetchError::Abandoned)
    } else {
        Ok(work())
    }
}
