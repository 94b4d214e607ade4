//! Answers of the admin API: JSON, never to be cached, and without headers that would let other origins read them.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use serde::Serialize;

pub(super) use crate::clock::date;

use super::{local::Foreign, prebind_error::PrebindError};
use crate::{
    backend::FetchError,
    cluster::Unanswered,
    login::SiteError,
    net::{answer, coding},
    roster::left_out::Omission,
    writer::WriteError,
};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Failure of a request, or of one entry of it. The texts are for the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("what other gateways have is not known: {why}")]
    Apart { why: Unanswered },
    #[error("body is not a JSON array of usernames: {problem}")]
    Body { problem: String },
    #[error("a client certificate of admin.client_ca is needed")]
    Certificate,
    #[error("body is no contact list: {problem}")]
    List { problem: String },
    #[error("body is compressed, which is not understood here: send it as it is")]
    Coded,
    #[error("not finished within {}", humantime::format_duration(*after))]
    Deadline { after: Duration },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("only {allowed} is allowed here")]
    Method { allowed: &'static str },
    #[error("domain has no http_roster_url")]
    NoRosters,
    #[error("domain has no login (host.login)")]
    NoLogin,
    #[error("neither a password nor a login (host.login)")]
    NoPassword,
    #[error("no random numbers for a token")]
    NoRandomness,
    #[error("no such path")]
    NotFound,
    #[error("nothing is known of this user's roster")]
    NothingKnown,
    #[error("without a token, only direct requests from this machine are allowed: {0}")]
    NotLocal(#[from] Foreign),
    #[error("body is not the JSON object that is wanted here: {problem}")]
    Object { problem: String },
    #[error("gateway {node}: {why}")]
    Other { node: String, why: String },
    #[error("not a user of the domain in the path")]
    OtherDomain,
    #[error("parameter {name}: {expected}")]
    Parameter {
        name: String,
        expected: &'static str,
    },
    #[error(transparent)]
    Prebind(#[from] PrebindError),
    #[error("not a resource")]
    Resource,
    #[error("gateway {node} did not answer")]
    Silent { node: String },
    #[error("body did not arrive in time")]
    SlowBody,
    #[error("the gateway stops before this is done: call again")]
    Stopping,
    #[error("bearer token is missing or wrong")]
    Token,
    #[error("too many refreshes have been accepted and are unfinished: come again later")]
    TooManyAccepted,
    #[error("ttl: 1 to 3600 seconds")]
    Ttl,
    #[error("body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("not a configured domain")]
    UnknownDomain,
    #[error(
        "servers write this username otherwise: {prepared:?}. Whoever logs in by it must own that one"
    )]
    Unprepared { prepared: String },
    #[error("not a valid username")]
    Username,
    #[error("none of these is a valid username")]
    Usernames,
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("domain unknown: use bare JIDs, or put the domain into the path")]
    WhichDomain,
}

impl Failure {
    /// The gateway that has failed, if it was another one.
    pub(super) fn gateway(&self) -> Option<&str> {
        match self {
            Self::Other { node, .. } | Self::Silent { node } => Some(node),
            _ => None,
        }
    }

    /// The status of a request that fails as a whole.
    fn status(&self) -> StatusCode {
        match self {
            Self::Body { .. }
            | Self::List { .. }
            | Self::NoPassword
            | Self::Object { .. }
            | Self::OtherDomain
            | Self::Parameter { .. }
            | Self::Resource
            | Self::Ttl
            | Self::Unprepared { .. }
            | Self::Username
            | Self::Usernames
            | Self::WhichDomain => StatusCode::BAD_REQUEST,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Certificate | Self::NotLocal(_) => StatusCode::FORBIDDEN,
            Self::Prebind(error) => error.status(),
            Self::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoLogin
            | Self::NoRosters
            | Self::NotFound
            | Self::NothingKnown
            | Self::UnknownDomain => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Coded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Stopping | Self::TooManyAccepted => StatusCode::SERVICE_UNAVAILABLE,
            Self::Write(WriteError::NoSuchUser) => StatusCode::NOT_FOUND,
            Self::Write(WriteError::TooManyRemovals { .. }) => StatusCode::CONFLICT,
            Self::Apart { .. }
            | Self::Deadline { .. }
            | Self::Fetch(_)
            | Self::Other { .. }
            | Self::Silent { .. }
            | Self::Site(_)
            | Self::Write(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// The body of every answer, and all of most.
#[derive(Serialize)]
pub(super) struct Outcome {
    pub(super) status: &'static str,
    pub(super) message: String,
}

/// The answer to an array.
#[derive(Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    pub(super) updated: usize,
    pub(super) errors: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) failed: Vec<Failed>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) failed_omitted: usize,
}

/// The answer to a list.
#[derive(Serialize)]
pub(super) struct Put<'a> {
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    pub(super) updated: usize,
    pub(super) errors: usize,
    /// The first entries that could not be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) left_out: Vec<LeftOut<'a>>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) left_out_omitted: usize,
}

/// An entry that could not be used.
#[derive(Serialize)]
pub(super) struct LeftOut<'a> {
    jid: &'a str,
    reason: &'static str,
}

impl<'a> LeftOut<'a> {
    pub(super) fn new(omission: &'a Omission) -> Self {
        Self {
            jid: &omission.jid,
            reason: omission.reason,
        }
    }
}

/// The answer when sessions are ended.
#[derive(Serialize)]
pub(super) struct Ended {
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    pub(super) ended: usize,
}

/// One user who could not be refreshed.
#[derive(Serialize)]
pub(super) struct Failed {
    /// As the caller wrote it.
    pub(super) username: String,
    pub(super) reason: String,
}

pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Outcome {
    pub(super) fn ok() -> Self {
        Self::saying("roster update complete")
    }

    pub(super) fn saying(message: impl Into<String>) -> Self {
        Self {
            status: "ok",
            message: message.into(),
        }
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Self {
            status: "error",
            message: message.into(),
        }
    }
}

/// The answer to a refresh that goes on (RFC 7240 §3).
pub(super) fn accepted() -> Response<Full<Bytes>> {
    let outcome = Outcome {
        status: "accepted",
        message: "roster update accepted".into(),
    };
    let mut response = answer::json(StatusCode::ACCEPTED, &outcome);
    let applied = HeaderValue::from_static("respond-async");
    response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    response
}

pub(super) fn failure(failure: &Failure) -> Response<Full<Bytes>> {
    let mut response = answer::json(failure.status(), &Outcome::error(failure.to_string()));
    let headers = response.headers_mut();
    match failure {
        Failure::Method { allowed } => {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        Failure::Coded => headers.extend([coding::ONLY_IDENTITY]),
        Failure::Stopping | Failure::TooManyAccepted => headers.extend([answer::TRY_AGAIN]),
        Failure::Token => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}
