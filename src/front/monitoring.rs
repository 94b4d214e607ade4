//! Monitoring endpoints: `/metrics`, `/healthz`, `/readyz`.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | 200, everything that is counted, in the text format of OpenMetrics 1.0 for whoever accepts that, and |
//! | | otherwise in that of Prometheus 0.0.4 |
//! | `/healthz` | 200: the process answers |
//! | `/readyz` | 200: new sessions are welcome; 503 from SIGTERM on, while another gateway of the cluster has the name of this one, and where that is configured also while no XMPP |
//! | | server can be reached; the text says which it is |

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;

use crate::{
    config::MONITORING_PATHS,
    metrics::Gauges,
    net::{answer, connections::Connections},
    session::{Admission, Registry},
};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN_METRICS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The endpoints, and what they report on.
#[derive(Debug)]
pub struct Monitoring {
    sessions: Arc<Registry>,
    connections: Arc<Connections>,
}

/// The XMPP servers, of which `/readyz` tells if none can be reached.
#[derive(Clone, Copy)]
pub struct Servers<'a> {
    /// The hosts with their servers.
    pub admission: &'a Admission,
    /// Whether the gateway is of no use without any.
    pub are_needed: bool,
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
    pub fn answer<B>(
        &self,
        request: &Request<B>,
        servers: Servers<'_>,
    ) -> Option<Response<Full<Bytes>>> {
        let (method, path) = (request.method(), request.uri().path());
        let (status, content_type, body) = match path {
            _ if !Self::serves(path) => return None,
            _ if !answer::is_read(method) => return Some(answer::only_reads()),
            "/metrics" => {
                let (metrics, gauges) = (&self.sessions.metrics, self.gauges());
                let (media_type, text) = match takes_open_metrics(request.headers()) {
                    true => (OPEN_METRICS, metrics.render(&gauges)),
                    false => (PLAIN_METRICS, metrics.render_plain(&gauges)),
                };
                (StatusCode::OK, media_type, Bytes::from(text))
            }
            "/readyz" if self.sessions.is_closed() => {
                let text = match self.sessions.has_namesake() {
                    true => Bytes::from_static(
                        b"another gateway of the cluster has the name of this one\n",
                    ),
                    false => Bytes::from_static(b"going down\n"),
                };
                (StatusCode::SERVICE_UNAVAILABLE, answer::TEXT, text)
            }
            "/readyz" if !servers.admission.may_reach_a_server() => {
                let status = match servers.are_needed {
                    true => StatusCode::SERVICE_UNAVAILABLE,
                    false => StatusCode::OK,
                };
                let text = Bytes::from_static(b"no XMPP server can be reached\n");
                (status, answer::TEXT, text)
            }
            _ => (StatusCode::OK, answer::TEXT, Bytes::from_static(b"ok\n")),
        };
        let response = answer::with_content(status, content_type, Full::from(body));
        Some(answer::not_to_be_stored(response))
    }
}

/// Whether the client, as Prometheus does, asks for the newer format by name.
fn takes_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    accepted
        .filter_map(|it| it.to_str().ok())
        .any(|it| it.contains("application/openmetrics-text"))
}
