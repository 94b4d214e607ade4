//! Listeners: bound addresses, and the connections that are accepted there.
//!
//! A connection is counted when it is accepted. A proxy that has to speak the PROXY protocol names the client first.
//! The protocol that follows is not known here.

use std::{
    error::Error as StdError,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{
    connections::{self, Connections, Counted, Overrun},
    drain,
    log_throttle::LogThrottle,
    proxy,
    tls::CertificateStore,
};

/// How many connections the kernel queues until they are accepted.
const BACKLOG: u32 = 1024;
/// How long to wait when the process or the system has no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(200);

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
    /// Should be longer than proxies keep idle connections (Nginx: 60 s). Otherwise a proxy may send a request on a
    /// connection that is just being closed.
    pub idle: Duration,
    /// Longest request head, bytes; at least 8 KiB. An HTTP/1 connection has a read buffer of this size. Over HTTP/2, a
    /// head has to be shorter than this and than 16 KiB: names and values, and 32 bytes for each (RFC 9113 §6.5.2).
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

/// The other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The address that a proxy has named in the PROXY protocol; otherwise that of the socket, which may be a proxy's.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether this comes from a proxy, by the PROXY protocol.
    pub proxied: bool,
}

/// Whether the peer at an address has to speak the PROXY protocol.
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

    /// Takes over a socket that is bound already. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used.
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

    /// Counts its connections in `connections`, and refuses those beyond the bounds.
    pub fn counted(self, connections: &Arc<Connections>) -> Self {
        Self {
            connections: Some(Arc::clone(connections)),
            ..self
        }
    }

    /// Takes the bounds from `limits`: each connection gets those in force when it is accepted.
    pub fn with_limits(self, limits: &Arc<ArcSwap<Limits>>) -> Self {
        Self {
            limits: Arc::clone(limits),
            ..self
        }
    }

    /// Connections from addresses for which `is_proxy` holds have to begin with a header of the PROXY protocol, or are
    /// closed. Others must not.
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

    /// The next connection within the bounds; refuses those beyond. Cancel-safe.
    pub(super) async fn accept(&self) -> Accepted {
        loop {
            let (stream, address) = self.accept_tcp().await;
            let counted = match &self.connections {
                Some(connections) => match connections.admit(address.ip()) {
                    Ok(counted) => Some(counted),
                    Err(refusal) => {
                        // With TLS, only a handshake would let us say it: too much work for a refusal.
                        if self.tls.is_none() {
                            tokio::spawn(connections::refuse(stream, refusal));
                        }
                        continue;
                    }
                },
                None => None,
            };
            let is_proxy = self.is_proxy.as_ref();
            return Accepted {
                stream,
                peer: Peer {
                    address,
                    tls: self.tls.is_some(),
                    proxied: false,
                },
                tls: self.tls.as_ref().map(|store| store.current()),
                limits: **self.limits.load(),
                counted,
                is_from_proxy: is_proxy.is_some_and(|is_proxy| is_proxy(address.ip())),
            };
        }
    }

    async fn accept_tcp(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    // Answers are written whole; Nagle's algorithm would only delay them.
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
                // No file descriptor or memory left: the connection stays queued, and accepting again at once would
                // only keep the processor busy.
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

/// A connection on which nothing has been read yet.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    /// Settings for the TLS handshake; absent without TLS.
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) limits: Limits,
    /// Absent if connections are not counted.
    pub(super) counted: Option<Counted>,
    /// Whether a header of the PROXY protocol has to come first, see [`Accepted::read_proxy_header`].
    pub(super) is_from_proxy: bool,
}

impl Accepted {
    /// Reads a proxy's header, which says who the peer is. `false` if none came, or a drain began.
    pub(super) async fn read_proxy_header(&mut self, drain: &mut drain::Watch) -> bool {
        let header = tokio::select! {
            header = timeout(self.limits.handshake, proxy::read(&mut self.stream)) => header,
            () = drain.draining() => return false,
        };
        match header {
            Ok(Ok(proxy::Header { client, tls })) => {
                self.peer.address = client.unwrap_or(self.peer.address);
                self.peer.tls |= tls;
                self.peer.proxied = true;
                return true;
            }
            // Some proxies check in this way that something listens.
            Ok(Err(proxy::HeaderError::Lost(error))) => debug!(%error, "proxy left"),
            Ok(Err(error)) => {
                let cause = StdError::source(&error).map(ToString::to_string);
                warn!(%error, cause, proxy = %self.peer.address, "proxy refused: no PROXY protocol");
            }
            Err(_) => {
                if let Some(counted) = &self.counted {
                    counted.overran(Overrun::Handshake);
                }
                warn!(proxy = %self.peer.address, "proxy refused: no PROXY protocol in time");
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::net::{
        testing::{ANY, FOREVER, GET, Served, answer, closed, serve_on, soon, store},
        tls::{Trust, client_config},
    };

    /// A listener that knows a single proxy: the system has more than one loopback address.
    fn serve_behind(proxy: [u8; 4], tls: Option<Arc<CertificateStore>>, limits: Limits) -> Served {
        let listener = Listener::bind(ANY, tls).expect("a free port");
        let is_proxy = move |address| address == IpAddr::from(proxy);
        let listener = listener.with_limits(&Arc::new(ArcSwap::from_pointee(limits)));
        serve_on(listener.with_proxies(is_proxy))
    }

    const PROXY: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";

    #[tokio::test]
    async fn taken_address_is_named() {
        let first = Listener::bind(ANY, None).unwrap();
        let error = Listener::bind(first.local_addr(), None)
            .err()
            .expect("taken");
        let expected = format!(
            "cannot listen at {}: another program does",
            first.local_addr()
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_tells_the_peer_and_has_to() {
        let served = serve_behind([127, 0, 0, 1], None, soon());
        let mut proxy = TcpStream::connect(served.address).await.unwrap();
        proxy.write_all(&[PROXY, GET].concat()).await.unwrap();
        let expected = "by proxy 192.0.2.7:4711 tls=false HTTP/1.1";
        assert!(answer(&mut proxy).await.ends_with(expected));
        proxy.write_all(GET).await.unwrap();
        let again = answer(&mut proxy).await;
        assert!(again.ends_with(expected), "for as long as it is open");

        for begin in [GET, b"PROXY TCP4 192.0.2.7\r\n", b"PROXY ", b""] {
            let mut proxy = TcpStream::connect(served.address).await.unwrap();
            proxy.write_all(begin).await.unwrap();
            // What the proxy sent is unread, so the system may close with a reset.
            let mut said = Vec::new();
            let ended = timeout(FOREVER, proxy.read_to_end(&mut said)).await;
            let _ = ended.expect("refused in time");
            assert_eq!(String::from_utf8_lossy(&said), "", "{begin:?}");
        }
    }

    #[tokio::test]
    async fn only_a_proxy_tells_the_peer() {
        let served = serve_behind([127, 0, 0, 9], None, Limits::default());
        let mut client = TcpStream::connect(served.address).await.unwrap();
        client.write_all(GET).await.unwrap();
        let expected = format!("{} tls=false HTTP/1.1", client.local_addr().unwrap());
        assert!(answer(&mut client).await.ends_with(&expected));
        let mut impostor = TcpStream::connect(served.address).await.unwrap();
        impostor.write_all(&[PROXY, GET].concat()).await.unwrap();
        let refused = closed(&mut impostor).await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    }

    #[tokio::test]
    async fn a_proxy_tells_the_peer_before_tls() {
        let served = serve_behind([127, 0, 0, 1], Some(store("localhost")), Limits::default());
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(PROXY).await.unwrap();
        let config = client_config(Trust::Anyone, None).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .unwrap();
        client.write_all(GET).await.unwrap();
        let expected = "by proxy 192.0.2.7:4711 tls=true HTTP/1.1";
        assert!(answer(&mut client).await.ends_with(expected));
    }
}
