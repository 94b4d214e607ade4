//! Accepting connections and speaking HTTP on them.
//!
//! One task per connection: TLS handshake, then HTTP/1.1, or HTTP/2 where ALPN says so. Every
//! connection has an end: a handshake, a first request and a request head have deadlines, and a
//! [`drain::Watch`] ends what is left.

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{clients::ClientChain, drain, tls::CertificateStore};

/// How many connections the kernel keeps for us until they are accepted.
const BACKLOG: u32 = 1024;
/// How long to wait when the process or the system has no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long a drain waits for a first request that may be on its way.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Read buffer of an HTTP/1 connection, and so the longest request head, bytes.
const MAX_BUFFER: usize = 64 << 10;
/// Requests at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 250;

/// Why an address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}{}", hint(source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another program does already",
        io::ErrorKind::AddrNotAvailable => ": no interface has this address",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Longest TLS handshake.
    pub handshake: Duration,
    /// Longest wait for a request head to be complete, on a new connection and between requests.
    ///
    /// Longer than proxies keep idle connections (Nginx: 60 s), or they send requests on
    /// connections that are just being closed.
    pub idle: Duration,
    /// How often the other end of an HTTP/2 connection is asked whether it is still there, and how
    /// long it may take to answer.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 17,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            ping: Duration::from_secs(20),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Address of the socket: of the proxy, if there is one.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// A bound address, ready to serve.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<CertificateStore>>,
    limits: Limits,
}

impl Listener {
    /// Listens at `address`; with `tls` it speaks HTTPS, else HTTP. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the address is taken, absent or not allowed.
    pub fn bind(
        address: SocketAddr,
        tls: Option<Arc<CertificateStore>>,
    ) -> Result<Self, BindError> {
        let bind = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            // Lets a restart take over an address that has connections in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            let address = socket.local_addr()?;
            Ok(Self {
                socket,
                address,
                tls,
                limits: Limits::default(),
            })
        };
        bind().map_err(|source| BindError { address, source })
    }

    /// With other bounds.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The address, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until the drain and serves each with what `make` builds for its peer.
    ///
    /// What certificate a client has shown is told by a [`ClientChain`] among the extensions of
    /// its requests.
    ///
    /// Returns when the drain begins; connections go on in their own tasks, each holding a clone of
    /// `drain`. They finish the requests under way, then close.
    pub async fn serve<F, S, B>(self, make: F, mut drain: drain::Watch)
    where
        F: Fn(Peer) -> S,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let (slot, stream, address) = tokio::select! {
                biased;
                () = drain.draining() => return,
                accepted = self.accept(&slots) => accepted,
            };
            let service = make(Peer {
                address,
                tls: self.tls.is_some(),
            });
            let connection = Connection {
                drain: drain.clone(),
                limits: self.limits,
            };
            let tls = self
                .tls
                .as_ref()
                .map(|store| TlsAcceptor::from(store.current()));
            tokio::spawn(async move {
                connection.run(stream, tls, service).await;
                drop(slot);
            });
        }
    }

    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
    ) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
        let slot = slots
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    // Answers are written whole; waiting for more to send only delays them.
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%error, "connection lost before it was accepted");
                        continue;
                    }
                    return (slot, stream, address);
                }
                // The fault of one peer, not of the listener.
                Err(error) if is_of_the_connection(&error) => {
                    debug!(%error, "connection lost before it was accepted");
                }
                // No file descriptor or memory left: the connection stays queued, and accepting
                // again at once would only burn the processor.
                Err(error) => {
                    warn!(%error, address = %self.address, "cannot accept connections");
                    sleep(BACK_OFF).await;
                }
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

struct Connection {
    drain: drain::Watch,
    limits: Limits,
}

impl Connection {
    async fn run<S, B>(mut self, stream: TcpStream, tls: Option<TlsAcceptor>, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Some(tls) = tls else {
            return self.http1(stream, service, None).await;
        };
        let handshake = tokio::select! {
            handshake = timeout(self.limits.handshake, tls.accept(stream)) => handshake,
            () = self.drain.draining() => return,
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "no tls handshake"),
            Err(_) => return debug!("tls handshake took too long"),
        };
        let (_, tls) = stream.get_ref();
        let client = ClientChain::of(tls);
        if tls.alpn_protocol() == Some(b"h2") {
            self.http2(stream, service, client).await;
        } else {
            self.http1(stream, service, client).await;
        }
    }

    async fn http1<I, S, B>(self, stream: I, service: S, client: Option<ClientChain>)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (service, asked) = Asked::wrap(service, client);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .max_buf_size(MAX_BUFFER)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service);
        self.drive(connection, &asked).await;
    }

    async fn http2<I, S, B>(self, stream: I, service: S, client: Option<ClientChain>)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (service, asked) = Asked::wrap(service, client);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(self.limits.ping)
            .keep_alive_timeout(self.limits.ping)
            .serve_connection(TokioIo::new(stream), service);
        self.drive(connection, &asked).await;
    }

    /// Runs a connection to its end.
    ///
    /// A connection on which nothing has been asked yet has a deadline of its own here: hyper has
    /// none for the HTTP/2 preface, and lets a graceful shutdown wait for half a request head.
    async fn drive<C>(mut self, connection: C, asked: &AtomicBool)
    where
        C: GracefulConnection,
        C::Error: std::fmt::Display,
    {
        let mut connection = pin!(connection);
        let mut first_request = pin!(sleep(self.limits.idle));
        let mut draining = false;
        loop {
            let told = async {
                if draining {
                    self.drain.stopped().await
                } else {
                    self.drain.draining().await
                }
            };
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%error, "connection ended early");
                    }
                    return;
                }
                () = told => {
                    if draining {
                        return;
                    }
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                    let last_call = Instant::now() + LAST_CALL;
                    let deadline = first_request.deadline().min(last_call);
                    first_request.set(sleep_until(deadline));
                }
                () = &mut first_request, if !asked.load(Ordering::Relaxed) => {
                    // It may have been asked since.
                    if !asked.load(Ordering::Relaxed) {
                        return debug!("nothing asked on a connection");
                    }
                }
            }
        }
    }
}

/// A service that remembers whether it has been called, and is told who the client has shown to be.
struct Asked<S> {
    service: S,
    asked: Arc<AtomicBool>,
    client: Option<ClientChain>,
}

impl<S> Asked<S> {
    fn wrap(service: S, client: Option<ClientChain>) -> (Self, Arc<AtomicBool>) {
        let asked = Arc::new(AtomicBool::new(false));
        (
            Self {
                service,
                asked: asked.clone(),
                client,
            },
            asked,
        )
    }
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Asked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        if let Some(client) = &self.client {
            request.extensions_mut().insert(client.clone());
        }
        self.service.call(request)
    }
}
