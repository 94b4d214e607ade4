//! Failure to begin a session for a page.

use http::StatusCode;

use crate::{proto::sasl::LoginError, session::Refused};

/// Why there is no session. The texts are for the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum PrebindError {
    #[error("too many sessions are begun at once: come again later")]
    Busy,
    #[error("the session ended: {}", .0.as_deref().unwrap_or("no reason"))]
    Ended(Option<String>),
    #[error("{0}")]
    Full(String),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("the session gave an answer that makes no sense")]
    Malformed,
    #[error("no random numbers for a session")]
    NoRandomness,
    #[error("the XMPP server said nothing that leads to a login")]
    Silent,
    #[error("the XMPP server cannot be reached")]
    Unreachable,
}

impl PrebindError {
    pub(super) fn status(&self) -> StatusCode {
        let condition = match self {
            Self::Ended(condition) => condition.as_deref(),
            _ => None,
        };
        match self {
            Self::Login(LoginError::Refused(_)) => StatusCode::FORBIDDEN,
            Self::Busy | Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            // The user has too many sessions, or the gateway goes down.
            Self::Ended(_) if matches!(condition, Some("policy-violation" | "system-shutdown")) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Ended(_)
            | Self::Login(_)
            | Self::Malformed
            | Self::Silent
            | Self::Unreachable => StatusCode::BAD_GATEWAY,
        }
    }

    /// In one word, for metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Busy | Self::Full(_) => "full",
            Self::Ended(_) => "ended",
            Self::Login(LoginError::Refused(_)) => "refused",
            Self::Login(LoginError::NoMechanism(_)) => "no_mechanism",
            Self::Login(LoginError::Unbound(_)) => "unbound",
            Self::Login(LoginError::Impostor | LoginError::Malformed)
            | Self::Malformed
            | Self::Silent => "nonsense",
            Self::NoRandomness => "no_randomness",
            Self::Unreachable => "unreachable",
        }
    }
}

impl From<Refused> for PrebindError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoRandomness(_) => Self::NoRandomness,
            refused => Self::Full(refused.to_string()),
        }
    }
}
