//! HTTP requests: what they are for, how they were answered, and how long they waited.

use std::time::{Duration, Instant};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{Histograms, Metrics, histograms, labels::Outcome};
use crate::clock::now;

/// Bounds of the buckets, seconds: from a lookup in memory to the longest `bosh.wait`.
const HOLDS: [f64; 12] = [
    0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0,
];

/// The status of a request whose client has hung up before the answer; Nginx logs the same.
pub const HUNG_UP: u16 = 499;

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interface {
    /// The connection manager.
    Bosh,
    /// The endpoint for WebSockets.
    WebSocket,
    /// The admin API.
    Admin,
    /// XEP-0156.
    Discovery,
    /// Metrics and health.
    Monitoring,
    /// A path that does not exist.
    Unknown,
}

impl Interface {
    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bosh => "bosh",
            Self::WebSocket => "websocket",
            Self::Admin => "admin",
            Self::Discovery => "discovery",
            Self::Monitoring => "monitoring",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfRequest {
    interface: &'static str,
    code: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfInterface {
    interface: &'static str,
}

/// The families of requests. The counters in frequent use are looked up once.
#[derive(Debug)]
pub(super) struct Http {
    requests: Family<OfRequest, Counter>,
    bosh_ok: Counter,
    request_seconds: Histograms<OfInterface>,
    bosh_seconds: Histogram,
    bosh_requests: Family<Outcome, Counter>,
    bosh_answered: Counter,
    held: Gauge,
    hold_seconds: Histogram,
}

impl Http {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<OfRequest, Counter>::default();
        registry.register(
            "http_requests",
            "HTTP requests by what they are for and the status of the answer; 499: hung up before",
            requests.clone(),
        );
        let request_seconds = histograms::<OfInterface>(|| Histogram::new(HOLDS));
        registry.register(
            "http_request_seconds",
            "From the head of a request to that of its answer; those that are held included",
            request_seconds.clone(),
        );
        let bosh_requests = Family::<Outcome, Counter>::default();
        registry.register(
            "bosh_requests",
            "BOSH requests: answered by their session, or why they never came to one",
            bosh_requests.clone(),
        );
        let held = Gauge::default();
        registry.register(
            "bosh_held_requests",
            "BOSH requests that wait for their answer",
            held.clone(),
        );
        let hold_seconds = Histogram::new(HOLDS);
        registry.register(
            "bosh_hold_seconds",
            "How long they waited with their session",
            hold_seconds.clone(),
        );
        let interface = Interface::Bosh.as_str();
        Self {
            bosh_ok: requests.get_or_create_owned(&OfRequest {
                interface,
                code: 200,
            }),
            bosh_seconds: request_seconds.get_or_create_owned(&OfInterface { interface }),
            bosh_answered: bosh_requests.get_or_create_owned(&Outcome {
                outcome: "answered",
            }),
            requests,
            request_seconds,
            bosh_requests,
            held,
            hold_seconds,
        }
    }

    /// How many requests wait for their answer.
    pub(super) fn held(&self) -> i64 {
        self.held.get()
    }
}

impl Metrics {
    /// An HTTP request has been answered.
    pub fn request(&self, interface: Interface, code: u16, took: Duration) {
        let http = &self.http;
        let took = took.as_secs_f64();
        if interface == Interface::Bosh {
            http.bosh_seconds.observe(took);
        } else {
            let interface = interface.as_str();
            let label = OfInterface { interface };
            http.request_seconds.get_or_create(&label).observe(took);
        }
        if (interface, code) == (Interface::Bosh, 200) {
            http.bosh_ok.inc();
        } else {
            let interface = interface.as_str();
            http.requests
                .get_or_create(&OfRequest { interface, code })
                .inc();
        }
    }

    /// A BOSH request has been answered: by its session, or without a session and then with a condition.
    pub fn answered(&self, refusal: Option<&'static str>) {
        match refusal {
            Some(outcome) => self
                .http
                .bosh_requests
                .get_or_create(&Outcome { outcome })
                .inc(),
            None => self.http.bosh_answered.inc(),
        };
    }

    /// A BOSH request has reached its session.
    pub fn hold(&self) -> Hold<'_> {
        self.http.held.inc();
        Hold {
            http: &self.http,
            since: now(),
        }
    }
}

/// A request that is with its session.
#[derive(Debug)]
#[must_use = "it is held for as long as this lives"]
pub struct Hold<'a> {
    http: &'a Http,
    since: Instant,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.http.held.dec();
        let held = now().saturating_duration_since(self.since);
        self.http.hold_seconds.observe(held.as_secs_f64());
    }
}
