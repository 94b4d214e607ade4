//! Connection of one session to the XMPP server.
//!
//! A [`Connector`] (one per host) dials, negotiates TLS and returns once the server has sent its features. What
//! follows, SASL included, is between client and server, and is not interpreted here. The [`Upstream`] that it returns
//! has no task of its own: its owner polls it.

mod bosh;
mod breaker;
mod c2s;
mod dial;
mod error;
mod tls;

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use jid::{BareJid, DomainPart};
use tokio::time::timeout;

use breaker::{Attempt, Breaker};
use dial::Dial;

pub use error::{ConnectError, Phase, UpstreamError};
pub use tls::TlsSetupError;

use crate::{config, proto::stanza::Stanza};

/// Opens connections to the server of one host. Clones share everything.
#[derive(Clone, Debug)]
pub struct Connector {
    endpoint: Endpoint,
    breaker: Arc<Breaker>,
    deadlines: Deadlines,
}

/// How the server is reached.
#[derive(Clone, Debug)]
enum Endpoint {
    Bosh(Arc<bosh::Server>),
    C2s(Arc<c2s::Server>),
}

/// How long it may take to open a connection.
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

/// The client that a connection is for, and what the server is told about it.
#[derive(Clone, Copy, Debug)]
pub struct Initiator<'a> {
    /// The client's address. Told to the server if `upstream_proxy_protocol` is set, and always over HTTP.
    pub address: SocketAddr,
    /// The account that it is going to log in to, if that is known. Told only if it is of this domain and nobody can
    /// overhear it (RFC 6120 §4.7.1).
    pub jid: Option<&'a BareJid>,
    /// The language of its stream; empty if unknown.
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
        let endpoint = match bosh::Server::new(host, deadlines.connect)? {
            Some(host) => Endpoint::Bosh(Arc::new(host)),
            None => Endpoint::C2s(Arc::new(c2s::Server {
                domain: host.domain.clone(),
                config: host.upstream.clone(),
                tls: tls::Tls::new(host)?,
            })),
        };
        Ok(Self {
            endpoint,
            breaker: Arc::default(),
            deadlines,
        })
    }

    /// The same with other deadlines. Over HTTP, [`Deadlines::connect`] stays as it is.
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Whether what is sent to the server can be read by nobody on the way: it stays on this machine, or is encrypted.
    pub fn is_private(&self) -> bool {
        match &self.endpoint {
            Endpoint::Bosh(server) => server.is_private(),
            Endpoint::C2s(server) => server.is_private(),
        }
    }

    /// Whether somebody listens where the server should be, as the last attempt has found; `None` before that.
    pub fn is_listening(&self) -> Option<bool> {
        self.breaker.is_listening()
    }

    /// Finds that out by a connection on which nothing is said; one at a time.
    pub fn look(&self) {
        let Some(look) = self.breaker.look() else {
            return;
        };
        let connector = self.clone();
        tokio::spawn(async move {
            let _look = look;
            let Some(attempt) = connector.breaker.admit() else {
                return;
            };
            let mut phase = Phase::Queue;
            let mut dial = Dial {
                deadline: connector.deadlines.connect,
                attempt: &attempt,
                phase: &mut phase,
            };
            let place = match &connector.endpoint {
                Endpoint::Bosh(server) => server.place(),
                Endpoint::C2s(server) => &server.config.place,
            };
            let looking = timeout(connector.deadlines.total, dial.tcp(place)).await;
            let error = looking.map_or(Some(ConnectError::Timeout { phase }), Result::err);
            error.iter().for_each(|it| attempt.failed(it));
        });
    }

    /// Opens a connection and its stream: TCP to the address of the host that answers first, TLS by `upstream_tls`,
    /// the server's features. Over HTTP, creates a session with the server's BOSH instead, and waits for the features.
    ///
    /// # Errors
    /// See [`ConnectError`]; after [`Deadlines::total`] at the latest.
    pub async fn connect(
        &self,
        initiator: Initiator<'_>,
    ) -> Result<(Upstream, Hello), ConnectError> {
        let attempt = self.breaker.admit().ok_or(ConnectError::LeftAlone)?;
        let mut phase = Phase::Queue;
        // Boxed, so that sessions' tasks do not keep the room for a TLS handshake for as long as they live.
        let dial = Box::pin(
            self.breaker
                .in_turn(self.dial(initiator, &attempt, &mut phase)),
        );
        let result = timeout(self.deadlines.total, dial).await;
        let result = result.unwrap_or(Err(ConnectError::Timeout { phase }));
        result.inspect_err(|error| attempt.failed(error))
    }

    async fn dial(
        &self,
        initiator: Initiator<'_>,
        attempt: &Attempt<'_>,
        phase: &mut Phase,
    ) -> Result<(Upstream, Hello), ConnectError> {
        let mut dial = Dial {
            deadline: self.deadlines.connect,
            attempt,
            phase,
        };
        match &self.endpoint {
            Endpoint::Bosh(server) => {
                if attempt.is_trial() {
                    // Finds out whether somebody listens: over HTTP only an answer tells that, which may take long.
                    dial.tcp(server.place()).await?;
                }
                *dial.phase = Phase::Bosh;
                let (bosh, hello) = bosh::Session::create(server, initiator, attempt).await?;
                Ok((Upstream::Bosh(Box::new(bosh)), hello))
            }
            Endpoint::C2s(server) => {
                let (c2s, hello) = dial.stream(server, initiator).await?;
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
    Bosh(Box<bosh::Session>),
    /// A stream over TCP or TLS.
    C2s(c2s::Connection),
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

    /// Keeps a silent connection alive: queues one space unless something else is queued (RFC 6120 §4.6.1). Not to be
    /// called before the end of SASL. Does nothing over BOSH.
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

    /// Has our kernel acknowledge at once what has been read. To be called where nothing is going to be written soon.
    /// Does nothing over BOSH.
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

    /// Whether stream management (XEP-0198) can be used. BOSH has acknowledgements of its own, which promise less.
    pub fn is_manageable(&self) -> bool {
        matches!(self, Self::C2s(_))
    }

    /// Writes what is queued and, if `read`, reads. Gives one event at a time: poll again until `Pending`. The task is
    /// then woken when reading or writing can go on. Without `read` there is no event and no error, and the server's
    /// data stay where they are. Nothing is lost when the caller stops polling.
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

impl Hello {
    /// What the server has said, if the name that it gives itself (`from`), if any, is `domain`.
    fn of(
        domain: &DomainPart,
        from: Option<String>,
        stream_id: Option<String>,
        features: Stanza,
    ) -> Result<Self, ConnectError> {
        match from {
            Some(from) if !is_same_domain(&from, domain) => Err(ConnectError::WrongDomain { from }),
            _ => Ok(Self {
                stream_id,
                features,
            }),
        }
    }
}

/// Whether `from`, the name that the server gives itself, is `domain`.
fn is_same_domain(from: &str, domain: &DomainPart) -> bool {
    from == domain.as_str() || DomainPart::new(from).is_ok_and(|from| *from == **domain)
}

/// What arrives from the server.
#[derive(Clone, Debug)]
pub enum UpstreamEvent {
    /// `stream:features`, after a restart.
    Features(Stanza),
    /// Any other element.
    Stanza(Stanza),
    /// The start tag of a stanza that is legal, but cannot be passed on.
    Unreadable(Stanza),
    /// `stream:error`; the server will close the stream.
    StreamError(Stanza),
    /// `</stream:stream>`: the server ends the stream in good order, without a reason.
    Closed,
}

#[cfg(test)]
mod tests;
