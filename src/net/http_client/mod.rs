//! HTTP client: requests to one server, over connections that are kept for the next ones.
//!
//! What a request says, and what its answer or failure means, is up to the caller.

use std::{borrow::Cow, error::Error, io, time::Duration};

use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use tracing::debug;

use super::{
    causes::causes,
    tls::{TlsError, Trust, client_config},
};

mod usage;

use usage::{Usage, Watching};

pub use hyper_util::client::legacy::Error as HttpClientError;

/// The `User-Agent` of our requests.
pub const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("rostergate/", env!("CARGO_PKG_VERSION")));

/// How long idle connections are kept: less than by common servers (Apache, Node.js: 5 s), which might close one just
/// as a request is on its way.
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
    /// A client that has not connected yet. `trust` says which certificates it accepts of servers with `https://`.
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

    /// Sends a request that may be repeated, as those to backends may (RFC 9110 §9.2.2).
    ///
    /// If a kept connection closes without a byte of an answer, the request is sent once more: the server may have
    /// closed the connection just as the request was on its way. The repetition goes over a new connection, as the
    /// other idle ones may be closed as well.
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

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broken {
    /// The connection ended before the answer did.
    Off,
    /// The answer is no HTTP.
    NotHttp,
    /// Nothing listens there.
    Refused,
    /// TLS could not be agreed on, or the certificate is not trusted.
    Tls,
    /// No such host, no route, and the like.
    Unreachable,
}

impl From<&HttpClientError> for Broken {
    fn from(error: &HttpClientError) -> Self {
        for cause in causes(error) {
            if cause.is::<rustls::Error>() {
                return Self::Tls;
            }
            if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
                return if cause.is_parse() {
                    Self::NotHttp
                } else {
                    Self::Off
                };
            }
            let cause = cause.downcast_ref::<io::Error>();
            if cause.is_some_and(|it| it.kind() == io::ErrorKind::ConnectionRefused) {
                return Self::Refused;
            }
        }
        if error.is_connect() {
            Self::Unreachable
        } else {
            Self::Off
        }
    }
}

/// Everything but RFC 3986 §2.3 "unreserved".
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A name as one segment of a path.
pub fn path_segment(name: &str) -> Cow<'_, str> {
    // A segment of dots alone would lead out of the folder.
    if name.bytes().all(|b| b == b'.') {
        "%2E".repeat(name.len()).into()
    } else {
        utf8_percent_encode(name, RESERVED).into()
    }
}
