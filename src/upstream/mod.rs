//! The connection of one session to the XMPP server.
//!
//! A [`Connector`] (one per host) dials, settles TLS and returns when the server has sent its
//! features; what follows, SASL included, is between client and server. The [`Upstream`] it gives
//! has no task of its own: whoever owns it polls it.

mod bosh;
mod c2s;
mod dial;
mod gate;
mod tls;

use std::{
    error::Error,
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use jid::BareJid;
use rustls::CertificateError;
use tokio::time::timeout;

use gate::{Attempt, Gate};

pub use tls::TlsSetupError;

use crate::{
    config,
    net::{causes::causes, wire::WireError},
    proto::{
        bosh::client::Loss,
        stanza::Stanza,
        stream::error::{Malformed, StreamCondition},
    },
};

/// Opens connections to the server of one host. Clones share everything.
#[derive(Clone, Debug)]
pub struct Connector {
    way: Way,
    gate: Arc<Gate>,
    deadlines: Deadlines,
}

/// How the server is reached.
#[derive(Clone, Debug)]
enum Way {
    Bosh(Arc<bosh::Host>),
    C2s(Arc<c2s::Host>),
}

/// How long a connection may take to come about.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the TCP handshake with one address.
    pub connect: Duration,
    /// For everything, from the resolution of the name to the features.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(15),
        }
    }
}

/// Whom a connection is for, and what the server is told of them.
#[derive(Clone, Copy, Debug)]
pub struct Initiator<'a> {
    /// Where they connect from. Told where `upstream_proxy_protocol` says how, and over HTTP, always.
    pub address: SocketAddr,
    /// Who they will be, if that is known. Told only if it is of this domain and nobody can overhear it
    /// (RFC 6120 §4.7.1).
    pub jid: Option<&'a BareJid>,
    /// The language of their stream; empty if unknown.
    pub lang: &'a str,
}

impl<'a> Initiator<'a> {
    fn lang(&self) -> Option<&'a str> {
        Some(self.lang).filter(|lang| !lang.is_empty())
    }
}

impl Connector {
    /// Prepares connections to the server of `host`: reads the certificates to trust.
    ///
    /// # Errors
    /// When TLS as configured is impossible.
    pub fn new(host: &config::Host) -> Result<Self, TlsSetupError> {
        let deadlines = Deadlines::default();
        let way = match bosh::Host::new(host, deadlines.connect)? {
            Some(host) => Way::Bosh(Arc::new(host)),
            None => Way::C2s(Arc::new(c2s::Host {
                domain: host.domain.clone(),
                upstream: host.upstream.clone(),
                tls: tls::Tls::new(host)?,
            })),
        };
        Ok(Self {
            way,
            gate: Arc::default(),
            deadlines,
        })
    }

    /// The same with other deadlines. Over HTTP, [`Deadlines::connect`] stays as it is.
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Opens a connection and its stream: TCP, to whichever address of the host answers first; TLS as
    /// `upstream_tls` says; the server's features. Or, over HTTP, creates a session with the server's
    /// BOSH and waits for the features.
    ///
    /// # Errors
    /// See [`ConnectError`]; after [`Deadlines::total`] at the latest.
    pub async fn connect(
        &self,
        initiator: Initiator<'_>,
    ) -> Result<(Upstream, Hello), ConnectError> {
        let attempt = self.gate.admit().ok_or(ConnectError::LeftAlone)?;
        let mut phase = Phase::Queue;
        // Boxed, as a TLS handshake is too big to be part of every session's task for ever.
        let dial = Box::pin(
            self.gate
                .in_turn(self.dial(initiator, &attempt, &mut phase)),
        );
        let result = timeout(self.deadlines.total, dial).await;
        let result = result.unwrap_or(Err(ConnectError::Timeout { phase }));
        if matches!(&result, Err(error) if error.means_nobody_is_there()) {
            attempt.found_nobody();
        }
        result
    }

    async fn dial(
        &self,
        initiator: Initiator<'_>,
        attempt: &Attempt<'_>,
        phase: &mut Phase,
    ) -> Result<(Upstream, Hello), ConnectError> {
        let connect = self.deadlines.connect;
        match &self.way {
            Way::Bosh(host) => {
                if attempt.is_trial() {
                    // HTTP does not tell when somebody is there, and an answer may take long.
                    dial::connect(host.place(), connect, attempt, phase).await?;
                }
                *phase = Phase::Bosh;
                let (bosh, hello) = bosh::Upstream::create(host, initiator, attempt).await?;
                Ok((Upstream::Bosh(Box::new(bosh)), hello))
            }
            Way::C2s(host) => {
                let (c2s, hello) = dial::dial(host, connect, initiator, attempt, phase).await?;
                Ok((Upstream::C2s(c2s), hello))
            }
        }
    }
}

/// A session with the XMPP server. Dropping it cuts the connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub enum Upstream {
    /// Over the server's own BOSH.
    Bosh(Box<bosh::Upstream>),
    /// A stream over TCP or TLS.
    C2s(c2s::Upstream),
}

impl Upstream {
    /// Queues a stanza. The queue has no bound of its own, see [`Self::queued`].
    pub fn queue(&mut self, stanza: &Stanza) {
        match self {
            Self::Bosh(bosh) => bosh.queue(stanza),
            Self::C2s(c2s) => c2s.queue(stanza),
        }
    }

    /// Queues one or more whole elements, written one after the other. After [`Self::close`] they are
    /// dropped.
    pub fn queue_bytes(&mut self, bytes: Bytes) {
        match self {
            Self::Bosh(bosh) => bosh.queue_bytes(bytes),
            Self::C2s(c2s) => c2s.queue_bytes(bytes),
        }
    }

    /// Keeps a silent connection alive: queues one space unless something else is on its way (RFC 6120
    /// §4.6.1). Not before the end of SASL. Over BOSH there is nothing to do.
    pub fn keepalive(&mut self) {
        if let Self::C2s(c2s) = self {
            c2s.keepalive();
        }
    }

    /// Begins a new stream on the same connection (RFC 6120 §4.3.3, after SASL). The server's
    /// features will come as an event.
    pub fn restart(&mut self, lang: Option<&str>) {
        match self {
            Self::Bosh(bosh) => bosh.restart(lang),
            Self::C2s(c2s) => c2s.restart(lang),
        }
    }

    /// Queues the end of the stream. The server answers with [`UpstreamEvent::Closed`].
    pub fn close(&mut self) {
        match self {
            Self::Bosh(bosh) => bosh.close(),
            Self::C2s(c2s) => c2s.close(),
        }
    }

    /// Tells the server's kernel at once that what has been read has arrived. To be called where nothing is
    /// going to be written soon; over BOSH there is nothing to do.
    pub fn acknowledge(&mut self) {
        if let Self::C2s(c2s) = self {
            c2s.acknowledge();
        }
    }

    /// Bytes not yet written.
    pub fn queued(&self) -> usize {
        match self {
            Self::Bosh(bosh) => bosh.queued(),
            Self::C2s(c2s) => c2s.queued(),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Bosh(bosh) => bosh.is_encrypted(),
            Self::C2s(c2s) => c2s.is_encrypted(),
        }
    }

    /// Whether stream management (XEP-0198) can be used. BOSH acknowledges by itself, if less.
    pub fn is_manageable(&self) -> bool {
        matches!(self, Self::C2s(_))
    }

    /// Writes what is queued and, if `read`, reads. One event at a time: poll again until
    /// `Pending`, when the task will be woken for whichever of the two can go on. Without `read`
    /// there is no event and no error; the server's data stay where they are. Nothing is lost when
    /// the caller stops polling.
    ///
    /// # Errors
    /// Any error is final, and comes after the last event.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        read: bool,
    ) -> Poll<Result<UpstreamEvent, UpstreamError>> {
        match self {
            Self::Bosh(bosh) => bosh.poll(cx, read),
            Self::C2s(c2s) => c2s.poll(cx, read),
        }
    }
}

/// What the server said while the stream was opened.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Name of the stream (`authid` in XEP-0124).
    pub stream_id: Option<String>,
    /// `stream:features` as the server sent them.
    pub features: Stanza,
}

/// What arrives from the server.
#[derive(Clone, Debug)]
pub enum UpstreamEvent {
    /// `stream:features`, after a restart.
    Features(Stanza),
    /// Any other element.
    Stanza(Stanza),
    /// What is left of a stanza that is legal, and cannot be passed on: nothing but its start tag.
    Unreadable(Stanza),
    /// `stream:error`; the server will close the stream.
    StreamError(Stanza),
    /// `</stream:stream>`: the server ends the stream in good order, and says no more than that.
    Closed,
}

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

impl UpstreamError {
    /// What has happened, and what that comes from.
    pub fn in_words(&self) -> String {
        let mut words: Vec<_> = causes(self).map(ToString::to_string).collect();
        // Some errors say what their causes say.
        words.dedup();
        words.join(": ")
    }
}

/// How far a connection attempt had come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Waiting for others to be done.
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

/// Why a connection did not come about.
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
    /// It has failed so often that it is not tried now.
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
    /// The server's certificate is not good enough.
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
    /// TLS has to be used, and the server does not offer it.
    #[error("server does not offer STARTTLS")]
    StartTlsNotOffered,
    /// TLS must not be used, and the server insists on it.
    #[error("server requires STARTTLS")]
    StartTlsRequired,
    /// The server offered STARTTLS and then would not.
    #[error("server refused STARTTLS")]
    StartTlsRefused,
    /// Clear text between the consent to STARTTLS and TLS: somebody is in the line.
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
        /// What it says it is.
        from: String,
    },
    /// Something else where features or the answer to STARTTLS were due.
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
    /// What went wrong, in a word or two.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "no_address",
            Self::LeftAlone => "left_alone",
            Self::Connect { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Certificate { .. } => "certificate",
            Self::Exchange { .. } => "no_answer",
            Self::Tls(_)
            | Self::StartTlsNotOffered
            | Self::StartTlsRequired
            | Self::StartTlsRefused
            | Self::Injected => "tls",
            Self::Stream { .. } | Self::SeeOtherHost { .. } => "stream_error",
            Self::WrongDomain { .. } | Self::Unexpected { .. } => "not_xmpp",
            Self::Closed | Self::Lost(_) => "lost",
        }
    }

    /// Whether nobody listens where the server should be. A connection that times out means less: the system may
    /// have no room for more of them.
    fn means_nobody_is_there(&self) -> bool {
        match self {
            Self::Connect { source, .. } => is_nobody_there(source),
            Self::Exchange { source } => causes(&**source)
                .find_map(|cause| cause.downcast_ref())
                .is_some_and(is_nobody_there),
            _ => false,
        }
    }

    /// What a stream error means instead of the features.
    fn of_stream_error(condition: &StreamCondition) -> Self {
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

/// Whether this is what a system says of an address where nobody listens.
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

#[cfg(test)]
mod tests;
