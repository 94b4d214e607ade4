//! Accepting connections and speaking HTTP on them.
//!
//! One task per connection: TLS handshake, then HTTP/1.1, or HTTP/2 where ALPN says so. Every
//! connection has an end: a handshake, a first request and a request head have deadlines, and a
//! [`drain::Watch`] ends what is left.

use std::{
    error::Error as StdError,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
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
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{
    connections::{self, Connections, Overrun, Place},
    drain,
    log_throttle::LogThrottle,
    proxy, refused_heads,
    tls::{CertificateStore, ClientChain},
};

/// How many connections the kernel keeps for us until they are accepted.
const BACKLOG: u32 = 1024;
/// How long to wait when the process or the system has no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long a drain waits for a first request that may be on its way.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Longest request head over HTTP/2, bytes: each of [`MAX_STREAMS`] may keep one.
const MAX_HEADER_LIST: u32 = 16 << 10;
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

/// Bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest TLS handshake, and longest wait for a proxy's header.
    pub handshake: Duration,
    /// Longest wait for a request head to be complete, on a new connection and between requests.
    ///
    /// Longer than proxies keep idle connections (Nginx: 60 s), or they send requests on
    /// connections that are just being closed.
    pub idle: Duration,
    /// Longest request head, bytes; at least 8 KiB. It is the read buffer of an HTTP/1 connection. Over HTTP/2, a head
    /// has to be shorter than that and than 16 KiB: names and values, and 32 bytes for each (RFC 9113 §6.5.2).
    pub head: usize,
    /// How often the other end of an HTTP/2 connection is asked whether it is still there, and how
    /// long it may take to answer.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            head: 64 << 10,
            ping: Duration::from_secs(20),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Address of the socket, that of the proxy if there is one; or what the proxy says in the PROXY
    /// protocol.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// A proxy has said so in the PROXY protocol.
    pub proxied: bool,
}

/// Who has to speak the PROXY protocol.
type IsProxy = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// A bound address, ready to serve.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<CertificateStore>>,
    is_proxy: Option<IsProxy>,
    connections: Option<Arc<Connections>>,
    limits: Arc<ArcSwap<Limits>>,
    failures: LogThrottle,
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
                is_proxy: None,
                connections: None,
                limits: Arc::default(),
                failures: LogThrottle::default(),
            })
        };
        bind().map_err(|source| BindError { address, source })
    }

    /// Takes over a socket that somebody else has bound. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When it is of no use.
    pub fn adopt(
        socket: std::net::TcpListener,
        tls: Option<Arc<CertificateStore>>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            address: socket.local_addr()?,
            socket: TcpListener::from_std(socket)?,
            tls,
            is_proxy: None,
            connections: None,
            limits: Arc::default(),
            failures: LogThrottle::default(),
        })
    }

    /// Counts its connections among these, and refuses those that are too many.
    pub fn counted(self, connections: &Arc<Connections>) -> Self {
        Self {
            connections: Some(Arc::clone(connections)),
            ..self
        }
    }

    /// With other bounds: each connection has those that are there when it is accepted.
    pub fn with_limits(self, limits: &Arc<ArcSwap<Limits>>) -> Self {
        Self {
            limits: Arc::clone(limits),
            ..self
        }
    }

    /// Connections from where `is_proxy` says so have to begin with a header of the PROXY protocol, or are
    /// closed; others must not.
    pub fn with_proxies(self, is_proxy: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self {
            is_proxy: Some(Arc::new(is_proxy)),
            ..self
        }
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
        F: Fn(Peer) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let make = Arc::new(make);
        loop {
            let (mut stream, address) = tokio::select! {
                biased;
                () = drain.draining() => return,
                accepted = self.accept() => accepted,
            };
            let place = match &self.connections {
                Some(connections) => match connections.admit(address.ip()) {
                    Ok(place) => Some(place),
                    Err(refusal) => {
                        // To say it over TLS would take more than it is worth.
                        if self.tls.is_none() {
                            tokio::spawn(connections::refuse(stream, refusal));
                        }
                        continue;
                    }
                },
                None => None,
            };
            let mut peer = Peer {
                address,
                tls: self.tls.is_some(),
                proxied: false,
            };
            let is_proxy = self.is_proxy.as_ref();
            let is_proxied = is_proxy.is_some_and(|is_proxy| is_proxy(address.ip()));
            let make = Arc::clone(&make);
            let mut connection = Connection {
                place,
                drain: drain.clone(),
                limits: **self.limits.load(),
            };
            let tls = self
                .tls
                .as_ref()
                .map(|store| TlsAcceptor::from(store.current()));
            tokio::spawn(async move {
                if is_proxied && !Box::pin(connection.introduce(&mut stream, &mut peer)).await {
                    return;
                }
                connection.run(stream, tls, make(peer)).await;
            });
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    // Answers are written whole; waiting for more to send only delays them.
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%error, "connection lost before it was accepted");
                        continue;
                    }
                    return (stream, address);
                }
                // The fault of one peer, not of the listener.
                Err(error) if is_of_the_connection(&error) => {
                    debug!(%error, "connection lost before it was accepted");
                }
                // No file descriptor or memory left: the connection stays queued, and accepting
                // again at once would only burn the processor.
                Err(error) => {
                    if let Some(unsaid) = self.failures.is_due() {
                        warn!(%error, address = %self.address, unsaid, "cannot accept connections");
                    }
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
    /// Absent where nobody counts.
    place: Option<Place>,
    drain: drain::Watch,
    limits: Limits,
}

impl Connection {
    fn overran(&self, bound: Overrun) {
        if let Some(place) = &self.place {
            place.overran(bound);
        }
    }

    /// Lets a proxy say who the peer is; whether it has.
    async fn introduce(&mut self, stream: &mut TcpStream, peer: &mut Peer) -> bool {
        let header = tokio::select! {
            header = timeout(self.limits.handshake, proxy::read(stream)) => header,
            () = self.drain.draining() => return false,
        };
        match header {
            Ok(Ok(proxy::Header { client, tls })) => {
                peer.address = client.unwrap_or(peer.address);
                peer.tls |= tls;
                peer.proxied = true;
                return true;
            }
            // Some look in this way whether anybody listens.
            Ok(Err(proxy::HeaderError::Lost(error))) => debug!(%error, "proxy left"),
            Ok(Err(error)) => {
                let cause = StdError::source(&error).map(ToString::to_string);
                warn!(%error, cause, proxy = %peer.address, "proxy refused: no PROXY protocol");
            }
            Err(_) => {
                self.overran(Overrun::Handshake);
                warn!(proxy = %peer.address, "proxy refused: no PROXY protocol in time");
            }
        }
        false
    }

    async fn run<S, B>(self, stream: TcpStream, tls: Option<TlsAcceptor>, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        // Boxed, so that connections in clear need no room for it.
        match tls {
            Some(tls) => Box::pin(self.run_encrypted(stream, tls, service)).await,
            None => self.http1(stream, service, None).await,
        }
    }

    async fn run_encrypted<S, B>(mut self, stream: TcpStream, tls: TlsAcceptor, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let handshake = tokio::select! {
            handshake = timeout(self.limits.handshake, tls.accept(stream)) => handshake,
            () = self.drain.draining() => return,
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "no tls handshake"),
            Err(_) => {
                self.overran(Overrun::Handshake);
                return debug!("tls handshake took too long");
            }
        };
        let (_, tls) = stream.get_ref();
        let client = ClientChain::of(tls);
        if tls.alpn_protocol() == Some(b"h2") {
            Box::pin(self.http2(stream, service, client)).await;
        } else {
            Box::pin(self.http1(stream, service, client)).await;
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
            .max_buf_size(self.limits.head)
            // The buffer may be larger than asked for.
            .max_header_size(self.limits.head)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service);
        self.drive(pin!(connection), &asked, Overrun::Idle).await;
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
        let head = u32::try_from(self.limits.head).unwrap_or(u32::MAX);
        let max_header_list = head.min(MAX_HEADER_LIST);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(max_header_list)
            .keep_alive_interval(self.limits.ping)
            .keep_alive_timeout(self.limits.ping)
            .serve_connection(TokioIo::new(stream), service);
        self.drive(pin!(connection), &asked, Overrun::Ping).await;
    }

    /// Runs a connection to its end. `late` is the bound that hyper ends it for when it is silent.
    ///
    /// A connection on which nothing has been asked yet has a deadline of its own here: hyper has
    /// none for the HTTP/2 preface, and lets a graceful shutdown wait for half a request head.
    ///
    /// Takes it pinned: as a value, an async function would keep it twice.
    async fn drive<C>(mut self, mut connection: Pin<&mut C>, asked: &FirstCall, late: Overrun)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
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
            let turn = poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                if let Some(place) = &self.place {
                    for _ in 0..refused_heads::take() {
                        place.overran(Overrun::Head);
                    }
                }
                ended
            });
            tokio::select! {
                ended = turn => {
                    if let Err(error) = ended {
                        if error.is_parse_too_large() {
                            self.overran(Overrun::Head);
                        } else if error.is_timeout() {
                            self.overran(late);
                        }
                        debug!(%error, "connection ended early");
                    }
                    return;
                }
                () = told => {
                    if draining {
                        return;
                    }
                    draining = true;
                    let last_call = Instant::now() + LAST_CALL;
                    let deadline = first_request.deadline().min(last_call);
                    first_request.set(sleep_until(deadline));
                }
                // Not before: hyper would close a connection whose first request it has not read yet.
                () = asked.notify.notified(), if draining => {
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut first_request, if !asked.is_made() => {
                    // It may have been asked since.
                    if !asked.is_made() {
                        if !draining {
                            self.overran(Overrun::Idle);
                        }
                        return debug!("nothing asked on a connection");
                    }
                }
            }
        }
    }
}

/// Whether a service has been called.
#[derive(Default)]
struct FirstCall {
    is_made: AtomicBool,
    /// Told once, when it is.
    notify: Notify,
}

impl FirstCall {
    fn is_made(&self) -> bool {
        self.is_made.load(Ordering::Relaxed)
    }
}

/// A service that remembers whether it has been called, and is told who the client has shown to be.
struct Asked<S> {
    service: S,
    asked: Arc<FirstCall>,
    client: Option<ClientChain>,
}

impl<S> Asked<S> {
    fn wrap(service: S, client: Option<ClientChain>) -> (Self, Arc<FirstCall>) {
        let asked = Arc::<FirstCall>::default();
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
        if !self.asked.is_made.swap(true, Ordering::Relaxed) {
            self.asked.notify.notify_one();
        }
        if let Some(client) = &self.client {
            request.extensions_mut().insert(client.clone());
        }
        self.service.call(request)
    }
}
