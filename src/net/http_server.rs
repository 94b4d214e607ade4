//! HTTP/1.1 and HTTP/2 on the connections that a listener accepts.
//!
//! One task per connection: TLS handshake, then HTTP/1.1, or HTTP/2 where ALPN says so. Every
//! connection has an end: a handshake, a first request and a request head have deadlines, and a
//! [`drain::Watch`] ends what is left. What is answered is not known here.

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

/// How long a drain waits for a first request that may be on its way.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Longest request head over HTTP/2, bytes: each of [`MAX_STREAMS`] may keep one.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Requests at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 250;

/// Accepts connections until the drain and serves each with what `make` builds for its peer.
///
/// What certificate a client has shown is told by a [`ClientChain`] among the extensions of
/// its requests.
///
/// Returns when the drain begins; connections go on in their own tasks, each holding a clone of
/// `drain`. They finish the requests under way, then close.
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
                counted,
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

/// A connection, and who answers on it.
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
        // Boxed, so that connections in clear need no room for it.
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
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (service, asked) = Asked::wrap(self.service, client);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.connection.limits.idle)
            .max_buf_size(self.connection.limits.head)
            // The buffer may be larger than asked for.
            .max_header_size(self.connection.limits.head)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service);
        self.connection
            .drive(pin!(connection), &asked, Overrun::Idle)
            .await;
    }

    async fn http2<I>(self, stream: I, client: Option<ClientChain>)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (service, asked) = Asked::wrap(self.service, client);
        let head = u32::try_from(self.connection.limits.head).unwrap_or(u32::MAX);
        let max_header_list = head.min(MAX_HEADER_LIST);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(max_header_list)
            .keep_alive_interval(self.connection.limits.ping)
            .keep_alive_timeout(self.connection.limits.ping)
            .serve_connection(TokioIo::new(stream), service);
        self.connection
            .drive(pin!(connection), &asked, Overrun::Ping)
            .await;
    }
}

/// What runs a connection to its end.
struct Connection {
    /// Absent where nobody counts.
    counted: Option<Counted>,
    drain: drain::Watch,
    limits: Limits,
}

impl Connection {
    fn overran(&self, bound: Overrun) {
        if let Some(counted) = &self.counted {
            counted.overran(bound);
        }
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
