//! HTTP client: requests to one server, over connections that are kept for the next ones.
//!
//! What a request says, and what its answer or its failure means, is for those who send it.

use std::{error::Error, time::Duration};

use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tracing::debug;

use super::tls::{TlsError, Trust, client_config};

mod usage;

use usage::{Usage, Watching};

pub use hyper_util::client::legacy::Error as HttpClientError;

/// What we call ourselves.
pub const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("rostergate/", env!("CARGO_PKG_VERSION")));

/// Idle connections are closed before common servers (Apache, Node.js: 5 s) do it, which could
/// just then meet a request.
const IDLE: Duration = Duration::from_secs(4);

/// Bounds of the connections.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest TCP handshake; absent: as long as the system tries.
    pub connect_timeout: Option<Duration>,
    /// Most connections that are kept.
    pub most_idle: usize,
}

/// A client for one server, whose requests have bodies of type `B`.
#[derive(Clone, Debug)]
pub struct HttpClient<B> {
    kept: Client<Connector, B>,
    /// The same, with a new connection for each request.
    fresh: Client<Connector, B>,
}

type Connector = Watching<HttpsConnector<HttpConnector>>;

impl<B> HttpClient<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    /// A client that has not connected yet. Of servers with `https://`, it takes the certificates that `trust` says.
    ///
    /// # Errors
    ///
    /// As [`client_config`].
    pub fn new(trust: Trust, options: Options) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(options.connect_timeout);
        let tls = client_config(trust, None)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = |most_idle| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(most_idle)
                .build(Watching(connector.clone()))
        };
        Ok(Self {
            kept: client(options.most_idle),
            fresh: client(0),
        })
    }

    /// Sends a request.
    pub fn send(&self, request: Request<B>) -> ResponseFuture {
        self.kept.request(request)
    }

    /// Sends a request that may be repeated, as those to backends may (RFC 9110 §9.2.2); where the connection was an old one and closes without
    /// a byte of an answer, the same once more. The server may close a connection just as a request is on its way.
    /// All idle connections may be as dead, so it goes to a new one.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn send_repeatable(
        &self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, HttpClientError>
    where
        B: Clone,
    {
        match self.kept.request(request.clone()).await {
            Err(error) if Usage::of(&error).is_some_and(|it| it.closed_while_idle()) => {
                debug!("backend closed an idle connection, asking again on a new one");
                self.fresh.request(request).await
            }
            outcome => outcome,
        }
    }
}
