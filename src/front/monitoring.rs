//! What those ask who watch over the gateway: `/metrics`, `/healthz`, `/readyz`.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | 200, everything that is counted, in the text format of OpenMetrics 1.0 |
//! | `/healthz` | 200: the process answers |
//! | `/readyz` | 200: new sessions are welcome; 503 from SIGTERM on |

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use crate::{config::MONITORING_PATHS, net::connections::Connections, session::Registry};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// The three of them.
#[derive(Debug)]
pub struct Monitoring {
    sessions: Arc<Registry>,
    connections: Arc<Connections>,
}

impl Monitoring {
    /// Tells of these.
    pub fn new(sessions: Arc<Registry>, connections: Arc<Connections>) -> Self {
        Self {
            sessions,
            connections,
        }
    }

    /// Whether `path` is one of theirs.
    pub fn serves(path: &str) -> bool {
        MONITORING_PATHS.contains(&path)
    }

    /// The answer to a request, if it is for one of them.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Full<Bytes>>> {
        let (status, content_type, body) = match path {
            _ if !Self::serves(path) => return None,
            _ if ![Method::GET, Method::HEAD].contains(method) => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                response.headers_mut().insert(header::ALLOW, ALLOW);
                return Some(response);
            }
            "/metrics" => {
                let counts = self.sessions.counts();
                let connections = self.connections.count();
                let pending = self.sessions.backlog.bytes();
                let text = self.sessions.metrics.render(&counts, connections, pending);
                (StatusCode::OK, OPEN_METRICS, Bytes::from(text))
            }
            "/readyz" if self.sessions.is_closed() => {
                let text = Bytes::from_static(b"going down\n");
                (StatusCode::SERVICE_UNAVAILABLE, PLAIN, text)
            }
            _ => (StatusCode::OK, PLAIN, Bytes::from_static(b"ok\n")),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}
