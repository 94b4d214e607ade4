//! HTTP server: HTTP/1.1 and HTTP/2 on the connections that a listener accepts.
//!
//! Each connection has a task: TLS handshake, then HTTP/1.1, or HTTP/2 if ALPN says so. Every connection ends:
//! handshake, first request and request head have deadlines, and a [`drain::Watch`] ends what is left. The server does
//! not know what is answered.
//!
//! A service may upgrade an HTTP/1.1 connection (RFC 9110 §7.8); its request has the means for that in its extensions.
//! The connection then belongs to the service, as it is, and goes on counting for as long as its [`Counted`] is kept.

use std::{
    error::Error as StdError,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, header};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{
    connections::{Counted, Overrun},
    drain,
    listener::{Accepted, Limits, Listener, Peer},
    refused_heads,
    tls::ClientChain,
};

/// How long a drain waits for the first request of a connection, which may be on its way.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Longest request head over HTTP/2, bytes: each of [`MAX_STREAMS`] may keep one.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Requests at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 250;

/// Accepts connections until the drain, and serves each with the service that `make` builds for its peer.
///
/// If the client has shown a certificate, the extensions of its requests have a [`ClientChain`].
///
/// Returns when the drain begins. Connections go on in their own tasks, each with a clone of `drain`: they finish the
/// requests under way, then close.
pub async fn serve<F, S, B>(listener: Listener, make: F, mut drain: drain::Watch)
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
        let mut accepted = tokio::select! {
            biased;
            () = drain.draining() => return,
            accepted = listener.accept() => accepted,
        };
        let make = Arc::clone(&make);
        let mut drain = drain.clone();
        tokio::spawn(async move {
            if accepted.is_from_proxy && !Box::pin(accepted.read_proxy_header(&mut drain)).await {
                return;
            }
            let Accepted {
                stream,
                peer,
                tls,
                limits,
                counted,
                ..
            } = accepted;
            let connection = Connection {
                counted: counted.map(Arc::new),
                drain,
                limits,
            };
            let service = make(peer);
            Served {
                connection,
                service,
            }
            .run(stream, tls)
            .await;
        });
    }
}

/// A connection, and the service that answers on it.
struct Served<S> {
    connection: Connection,
    service: S,
}

impl<S, B> Served<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    async fn run(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        // Boxed, so that connections without TLS need no room for it.
        match tls {
            Some(tls) => Box::pin(self.run_encrypted(stream, tls.into())).await,
            None => self.http1(stream, None).await,
        }
    }

    async fn run_encrypted(mut self, stream: TcpStream, tls: TlsAcceptor) {
        let handshake = tokio::select! {
            handshake = timeout(self.connection.limits.handshake, tls.accept(stream)) => handshake,
            () = self.connection.drain.draining() => return,
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "no tls handshake"),
            Err(_) => {
                self.connection.overran(Overrun::Handshake);
                return debug!("tls handshake took too long");
            }
        };
        let (_, tls) = stream.get_ref();
        let client = ClientChain::of(tls);
        if tls.alpn_protocol() == Some(b"h2") {
            Box::pin(self.http2(stream, client)).await;
        } else {
            Box::pin(self.http1(stream, client)).await;
        }
    }

    async fn http1<I>(self, stream: I, client: Option<ClientChain>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let counted = self.connection.counted.clone();
        let (service, asked) = Asked::wrap(self.service, client, counted);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.connection.limits.idle)
            .max_buf_size(self.connection.limits.head)
            // hyper may make the buffer larger than that, so the head has a bound of its own.
            .max_header_size(self.connection.limits.head)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let ending = http1::UpgradeableConnection::graceful_shutdown;
        self.connection
            .drive(pin!(connection), ending, &asked, Overrun::Idle)
            .await;
    }

    async fn http2<I>(self, stream: I, client: Option<ClientChain>)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (service, asked) = Asked::wrap(self.service, client, None);
        let head = u32::try_from(self.connection.limits.head).unwrap_or(u32::MAX);
        let max_header_list = head.min(MAX_HEADER_LIST);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(max_header_list)
            .keep_alive_interval(self.connection.limits.ping)
            .keep_alive_timeout(self.connection.limits.ping)
            .serve_connection(TokioIo::new(stream), service);
        let ending = http2::Connection::graceful_shutdown;
        self.connection
            .drive(pin!(connection), ending, &asked, Overrun::Ping)
            .await;
    }
}

/// What runs a connection to its end.
struct Connection {
    /// Absent if connections are not counted.
    counted: Option<Arc<Counted>>,
    drain: drain::Watch,
    limits: Limits,
}

impl Connection {
    fn overran(&self, bound: Overrun) {
        if let Some(counted) = &self.counted {
            counted.overran(bound);
        }
    }

    /// Runs a connection to its end, or to its upgrade. `end` has it end after the requests under way. `late` is the
    /// bound that is counted if hyper ends a silent connection.
    ///
    /// Until the first request, this function has a deadline of its own: hyper has none for the HTTP/2 preface, and its
    /// graceful shutdown would wait for the rest of a half-sent request head.
    ///
    /// The connection is passed pinned: the future of an async function keeps an argument passed by value twice.
    async fn drive<C>(
        mut self,
        mut connection: Pin<&mut C>,
        end: fn(Pin<&mut C>),
        asked: &FirstCall,
        late: Overrun,
    ) where
        C: Future<Output = hyper::Result<()>>,
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
                if let Some(counted) = &self.counted {
                    for _ in 0..refused_heads::take() {
                        counted.overran(Overrun::Head);
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
                // Only after the first request: hyper would close the connection without reading it.
                () = asked.notify.notified(), if draining => {
                    end(connection.as_mut());
                }
                () = &mut first_request, if !asked.is_made() => {
                    // A request may have come in the meantime.
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
    /// Notified once, when it is called.
    notify: Notify,
}

impl FirstCall {
    fn is_made(&self) -> bool {
        self.is_made.load(Ordering::Relaxed)
    }
}

/// A service that remembers whether it has been called, and adds to its requests what they have to know of their
/// connection.
struct Asked<S> {
    service: S,
    asked: Arc<FirstCall>,
    client: Option<ClientChain>,
    /// For requests that want an upgrade.
    counted: Option<Arc<Counted>>,
}

impl<S> Asked<S> {
    fn wrap(
        service: S,
        client: Option<ClientChain>,
        counted: Option<Arc<Counted>>,
    ) -> (Self, Arc<FirstCall>) {
        let asked = Arc::<FirstCall>::default();
        (
            Self {
                service,
                asked: asked.clone(),
                client,
                counted,
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
        if let Some(counted) = &self.counted
            && request.headers().contains_key(header::UPGRADE)
        {
            request.extensions_mut().insert(Arc::clone(counted));
        }
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Version;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        time::timeout,
    };

    use super::*;
    use crate::net::{
        drain::Drained,
        listener::Limits,
        testing::{FOREVER, GET, answer, certs, checked, closed, serve, soon, store, tls_client},
        tls::Trust,
    };

    #[tokio::test]
    async fn plain_connection_tells_its_peer() {
        let served = serve(None, Limits::default());
        let mut client = TcpStream::connect(served.address).await.unwrap();
        client.write_all(GET).await.unwrap();
        let expected = format!("{} tls=false HTTP/1.1", client.local_addr().unwrap());
        assert!(answer(&mut client).await.ends_with(&expected));
        // The connection stays open for the next request.
        client.write_all(GET).await.unwrap();
        assert!(answer(&mut client).await.ends_with(&expected));
    }

    #[tokio::test]
    async fn silent_peers_lose_their_connection() {
        let served = serve(None, soon());
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        let mut halting = TcpStream::connect(served.address).await.unwrap();
        halting.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        idle.write_all(GET).await.unwrap();
        assert!(answer(&mut idle).await.contains("200 OK"));
        assert_eq!(closed(&mut silent).await, "");
        closed(&mut halting).await;
        assert_eq!(closed(&mut idle).await, "");
    }

    #[tokio::test]
    async fn held_request_outlives_the_idle_deadline() {
        let served = serve(None, soon());
        let mut client = TcpStream::connect(served.address).await.unwrap();
        client
            .write_all(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        served.arrived.notified().await;
        // A later connection has met its idle deadline; the first one would have, too, if the deadline applied to it.
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        closed(&mut silent).await;
        served.release.notify_one();
        assert!(answer(&mut client).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn alpn_chooses_the_http_version() {
        let served = serve(Some(store("localhost")), Limits::default());
        let ca = certs("ca.crt");
        for alpn in [&[][..], &[&b"http/1.1"[..]]] {
            let mut client = tls_client(served.address, checked(&ca), alpn)
                .await
                .unwrap();
            client.write_all(GET).await.unwrap();
            assert!(answer(&mut client).await.ends_with("tls=true HTTP/1.1"));
        }
        let client = tls_client(served.address, checked(&ca), &[b"h2"])
            .await
            .unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("https://localhost/")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"tls=true HTTP/2.0"));
        // A drain sends GOAWAY, and has nothing to wait for.
        assert_eq!(served.signal.drain_within(FOREVER).await, Drained::Whole);
        connection.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn silent_peers_lose_their_tls_connection() {
        let served = serve(Some(store("localhost")), soon());
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        closed(&mut silent).await;
        // hyper itself would wait for the HTTP/2 preface for ever.
        let mut no_preface = tls_client(served.address, Trust::Anyone, &[b"h2"])
            .await
            .unwrap();
        let mut text = Vec::new();
        let read = timeout(FOREVER, no_preface.read_to_end(&mut text)).await;
        assert!(
            read.expect("closed in time")
                .is_err_and(|e| e.kind().to_string().contains("end of"))
        );
    }

    #[tokio::test]
    async fn only_a_client_that_answers_no_pings_is_cut_off() {
        let limits = Limits {
            ping: Duration::from_millis(100),
            ..Limits::default()
        };
        let served = serve(Some(store("localhost")), limits);
        let connect = async || {
            tls_client(served.address, Trust::Anyone, &[b"h2"])
                .await
                .unwrap()
        };
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(connect().await))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://localhost/held")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let held = tokio::spawn(sender.send_request(request));
        served.arrived.notified().await;
        // RFC 9113 §3.4: the preface, empty settings. What follows is never answered.
        let mut mute = connect().await;
        mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let mut text = Vec::new();
        let read = timeout(FOREVER, mute.read_to_end(&mut text)).await;
        // The connection ends, with or without a last frame.
        let _ended = read.expect("closed in time");
        served.release.notify_one();
        assert_eq!(held.await.unwrap().unwrap().status(), 200);
    }
}
