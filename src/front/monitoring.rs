//! Monitoring endpoints: `/metrics`, `/healthz`, `/readyz`.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | 200, everything that is counted, in the text format of OpenMetrics 1.0 |
//! | `/healthz` | 200: the process answers |
//! | `/readyz` | 200: new sessions are welcome; 503 from SIGTERM on |

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use crate::{
    config::MONITORING_PATHS,
    metrics::Gauges,
    net::{answer, connections::Connections},
    session::Registry,
};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The endpoints, and what they report on.
#[derive(Debug)]
pub struct Monitoring {
    sessions: Arc<Registry>,
    connections: Arc<Connections>,
}

impl Monitoring {
    /// Endpoints that report on these sessions and connections.
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

    fn gauges(&self) -> Gauges {
        let counts = self.sessions.counts();
        Gauges {
            sessions: counts
                .by_front_and_state()
                .map(|(front, state, count)| (front.as_str(), state.as_str(), count))
                .collect(),
            interested: counts.interested,
            connections: self.connections.count(),
            pending: self.sessions.backlog.bytes(),
        }
    }

    /// The answer to a request, if it is for one of them.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Full<Bytes>>> {
        let (status, content_type, body) = match path {
            _ if !Self::serves(path) => return None,
            _ if !answer::is_read(method) => return Some(answer::only_reads()),
            "/metrics" => {
                let text = self.sessions.metrics.render(&self.gauges());
                (StatusCode::OK, OPEN_METRICS, Bytes::from(text))
            }
            "/readyz" if self.sessions.is_closed() => {
                let text = Bytes::from_static(b"going down\n");
                (StatusCode::SERVICE_UNAVAILABLE, answer::TEXT, text)
            }
            _ => (StatusCode::OK, answer::TEXT, Bytes::from_static(b"ok\n")),
        };
        let response = answer::with_content(status, content_type, Full::from(body));
        Some(answer::not_to_be_stored(response))
    }
}
