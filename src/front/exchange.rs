//! Exchange of one HTTP request and its answer: counts it, and logs it where that is configured. If it opens a
//! WebSocket, the end of that is logged, too.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderName, Method, Request, Response, Version};
use tracing::info;

use crate::{
    clock::now,
    metrics::{HUNG_UP, Interface, Metrics},
    net::{listener::Peer, proxies::Proxies, websocket::Traffic},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ones are not logged, bytes.
const MAX_ID: usize = 128;

/// Request that is being answered. If it is dropped before [`answered`](Self::answered), its client has hung up.
#[must_use = "it is told of when it ends"]
pub struct Exchange {
    metrics: Arc<Metrics>,
    interface: Interface,
    began: Instant,
    line: Option<Line>,
    status: u16,
    owner: Option<Owner>,
}

/// The other gateway that had to answer a request, as an extension of the answer.
#[derive(Clone)]
pub struct Owner(pub Box<str>);

/// Fields of the access log's line.
#[derive(Clone)]
struct Line {
    client: IpAddr,
    method: Method,
    /// Without the query, which may tell of users.
    path: String,
    version: Version,
    /// `X-Request-ID`, by which a proxy's log knows the request. A copy: a slice would keep the buffer that the request
    /// was read into.
    id: Option<Box<str>>,
}

impl Exchange {
    /// Begins with a request for `interface`; `log` are the proxies to be believed, if it is to be logged.
    pub fn new<B>(
        metrics: &Arc<Metrics>,
        interface: Interface,
        peer: Peer,
        request: &Request<B>,
        log: Option<&Proxies>,
    ) -> Self {
        let line = log.map(|proxies| {
            let headers = request.headers();
            let origin = proxies.origin(peer, request.version(), headers);
            let id = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
            Line {
                client: origin.address.ip(),
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                version: request.version(),
                id: id.filter(|id| id.len() <= MAX_ID).map(Box::from),
            }
        });
        Self {
            metrics: Arc::clone(metrics),
            interface,
            began: now(),
            line,
            status: HUNG_UP,
            owner: None,
        }
    }

    /// What logs the end of the WebSocket that the request may open; absent if that is not to be logged.
    pub fn websocket(&self) -> Option<OpenWebSocket> {
        let line = self.line.clone()?;
        Some(OpenWebSocket {
            line,
            began: self.began,
        })
    }

    /// There is an answer.
    pub fn answered<B>(mut self, answer: &mut Response<B>) {
        self.status = answer.status().as_u16();
        self.owner = answer.extensions_mut().remove();
    }
}

/// A WebSocket whose end is to be logged.
pub struct OpenWebSocket {
    line: Line,
    began: Instant,
}

impl OpenWebSocket {
    /// It has ended.
    pub fn ended(self, traffic: Traffic) {
        info!(
            target: "rostergate::access",
            client = %self.line.client,
            path = self.line.path,
            id = self.line.id.as_deref(),
            code = traffic.code,
            received = traffic.received,
            sent = traffic.sent,
            seconds = now().saturating_duration_since(self.began).as_secs_f64(),
            "websocket ended"
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = now().saturating_duration_since(self.began);
        self.metrics.request(self.interface, self.status, took);
        if let Some(line) = &self.line {
            info!(
                target: "rostergate::access",
                client = %line.client,
                method = %line.method,
                path = line.path,
                version = ?line.version,
                id = line.id.as_deref(),
                status = self.status,
                node = self.owner.as_ref().map(|owner| &*owner.0),
                seconds = took.as_secs_f64(),
                "request"
            );
        }
    }
}
