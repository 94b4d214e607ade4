//! Errors: why a connection to the server could not be opened, and how one is lost.

use std::{error::Error, fmt, io, net::SocketAddr};

use rustls::CertificateError;

use crate::{
    net::{causes::causes, wire::WireError},
    proto::{
        bosh::client::Loss,
        stream::error::{Malformed, StreamCondition},
    },
};

/// How a connection is lost (a stream error is none of these).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The session with the server's own BOSH ended out of order.
    #[error(transparent)]
    Bosh(#[from] Loss),
    /// The server closed the connection, perhaps amid an element.
    #[error("connection closed by the server")]
    Eof,
    /// What the server sends is not a stream of XMPP.
    #[error("garbage from the server")]
    Garbage(#[from] Malformed),
    /// The connection broke.
    #[error("connection lost")]
    Lost(#[from] io::Error),
}

impl From<WireError> for UpstreamError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Closed => Self::Eof,
            WireError::Lost(error) => Self::Lost(error),
        }
    }
}

/// How far a connection attempt had come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Waiting for a turn.
    Queue,
    /// Looking up the address.
    Resolve,
    /// The TCP handshake.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Waiting for header, features or the answer to STARTTLS.
    Stream,
    /// Creating a session with the server's own BOSH.
    Bosh,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "other connections",
            Self::Resolve => "name resolution",
            Self::Connect => "the TCP connection",
            Self::Tls => "the TLS handshake",
            Self::Stream => "the stream features",
            Self::Bosh => "the server's BOSH",
        })
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host has no address.
    #[error("address of {host} unknown")]
    Resolve {
        /// The configured host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The circuit breaker is open: no connection is tried now.
    #[error("server in trouble, not tried again yet")]
    LeftAlone,
    /// None of the addresses answered; this was the last.
    #[error("no connection to {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It took too long.
    #[error("timeout while waiting for {phase}")]
    Timeout {
        /// What did not come.
        phase: Phase,
    },
    /// The server's certificate is not accepted.
    #[error("certificate of {domain} {}", words(reason))]
    Certificate {
        /// The XMPP domain, which the certificate has to name.
        domain: String,
        /// What is wrong with it.
        reason: CertificateError,
    },
    /// The server's BOSH did not answer.
    #[error("no answer from the server's BOSH")]
    Exchange {
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// TLS failed for another reason.
    #[error("no TLS with the server")]
    Tls(#[source] io::Error),
    /// The server ends the TLS handshake with an alert that it sends where it has nothing to show.
    #[error("server refused TLS: it may have no certificate for this domain")]
    TlsRefused(#[source] io::Error),
    /// TLS has to be used, and the server does not offer it.
    #[error("server does not offer STARTTLS: it may have no certificate for this domain")]
    StartTlsNotOffered,
    /// TLS must not be used, and the server insists on it.
    #[error("server requires STARTTLS")]
    StartTlsRequired,
    /// The server offered STARTTLS, and then refused it.
    #[error("server refused STARTTLS: it may have no certificate for this domain")]
    StartTlsRefused,
    /// Clear text came between the consent to STARTTLS and TLS: somebody may have injected it.
    #[error("data injected before TLS")]
    Injected,
    /// `stream:error`
    #[error("stream error {}", condition.name)]
    Stream {
        /// What it says.
        condition: StreamCondition,
    },
    /// The server wants this session on another host (RFC 6120 §4.9.3.19).
    #[error("server refers to {host}")]
    SeeOtherHost {
        /// Host, perhaps with a port.
        host: String,
    },
    /// The server speaks for another domain.
    #[error("server is {from}")]
    WrongDomain {
        /// The domain that it gives.
        from: String,
    },
    /// Another element came where the features or the answer to STARTTLS were due.
    #[error("unexpected element {element} from the server")]
    Unexpected {
        /// Its local name.
        element: String,
    },
    /// The server closed the stream before its features.
    #[error("stream closed by the server")]
    Closed,
    /// The connection was lost.
    #[error(transparent)]
    Lost(#[from] UpstreamError),
}

impl ConnectError {
    /// The kind of error, in a word or two.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "no_address",
            Self::LeftAlone => "left_alone",
            Self::Connect { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Certificate { .. } => "certificate",
            Self::Exchange { .. } => "no_answer",
            Self::Tls(_)
            | Self::TlsRefused(_)
            | Self::StartTlsNotOffered
            | Self::StartTlsRequired
            | Self::StartTlsRefused
            | Self::Injected => "tls",
            Self::Stream { .. } | Self::SeeOtherHost { .. } => "stream_error",
            Self::WrongDomain { .. } | Self::Unexpected { .. } => "not_xmpp",
            Self::Closed | Self::Lost(_) => "lost",
        }
    }

    /// Whether it shows that nobody listens at the server's address. A timeout does not: the server's system may only
    /// have no room for more connections.
    pub(super) fn means_nobody_is_there(&self) -> bool {
        match self {
            Self::Connect { source, .. } => is_nobody_there(source),
            Self::Exchange { source } => causes(&**source)
                .find_map(|cause| cause.downcast_ref())
                .is_some_and(is_nobody_there),
            _ => false,
        }
    }

    /// Whether it shows that its address cannot be found, or does not answer.
    pub(super) fn means_no_way(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::Connect { .. }
                | Self::Timeout {
                    phase: Phase::Resolve | Phase::Connect
                }
        )
    }

    /// The error for a stream error that comes instead of the features.
    pub(super) fn of_stream_error(condition: &StreamCondition) -> Self {
        match condition.name.as_str() {
            "see-other-host" => Self::SeeOtherHost {
                host: condition.content.clone(),
            },
            _ => Self::Stream {
                condition: condition.clone(),
            },
        }
    }
}

/// Whether the system reports in this way that nobody listens at an address.
fn is_nobody_there(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};

    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// The predicate of a sentence about a certificate.
fn words(reason: &CertificateError) -> String {
    use CertificateError as E;
    match reason {
        E::Expired | E::ExpiredContext { .. } => "has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        E::NotValidForName => "is for another name".to_owned(),
        E::NotValidForNameContext { presented, .. } => {
            format!("is for another name: {}", presented.join(", "))
        }
        E::UnknownIssuer => "comes from an unknown issuer".to_owned(),
        other => format!("is not acceptable: {other}"),
    }
}
