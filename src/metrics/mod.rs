//! Metrics: what the gateway counts, for monitoring from outside (`docs/metrics.md`).
//!
//! Counters are increased where things happen; [`Metrics::render`] writes them in the format of OpenMetrics. Nothing
//! here looks at sessions or connections: the caller counts how many there are at the moment ([`Gauges`]).
//!
//! Each file here has the families of one subject. It registers them, and has the methods that count in them.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use tokio::time::Instant;

use self::{
    cluster::Cluster,
    domains::Domains,
    forwarding::Forwards,
    history::{History, Totals},
    http::Http,
    labels::Outcome,
    limits::Limits,
    logins::Logins,
    refreshes::Refreshes,
    sessions::Sessions,
    stanzas::Stanzas,
    websocket::WebSockets,
};
pub use self::{
    domains::Domain,
    failures::Failure,
    forwarding::{Forwarded, Forwarding},
    history::Minute,
    http::{HUNG_UP, Hold, Interface},
    limits::Limit,
    sessions::Resumption,
    stanzas::Direction,
    websocket::BadMessage,
};
use crate::{clock::since_1970, log};

mod cluster;
mod domains;
mod failures;
mod forwarding;
pub mod health;
mod history;
mod http;
mod labels;
mod limits;
mod logins;
mod plain;
pub mod recent;
mod refreshes;
mod sessions;
mod stanzas;
mod websocket;

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn histograms<L: Clone + Eq + std::hash::Hash>(new: fn() -> Histogram) -> Histograms<L> {
    Family::new_with_constructor(new)
}

fn unix_time() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// All metrics. Counting is cheap: the counters in frequent use are looked up once.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    started: Gauge,
    http: Http,
    forwards: Forwards,
    sessions: Sessions,
    stanzas: Stanzas,
    websockets: WebSockets,
    refreshes: Refreshes,
    logins: Logins,
    cluster: Cluster,
    limits: Limits,
    reloads: Family<Outcome, Counter>,
    connections: Gauge,
    domains: Domains,
    history: Mutex<History>,
}

/// What exists at a moment, as the caller of [`Metrics::render`] has counted it.
#[derive(Debug)]
pub struct Gauges {
    /// Sessions of each front in each state, by the labels.
    pub sessions: Vec<(&'static str, &'static str, usize)>,
    /// Sessions that have been given a roster, and get pushes.
    pub interested: usize,
    /// Connections of all listeners.
    pub connections: usize,
    /// Bytes that are pending for clients.
    pub pending: usize,
}

/// What [`Metrics::survey`] tells. Times are those since 1970 (UTC).
#[derive(Debug)]
pub struct Survey {
    /// When the gateway was started.
    pub started: Duration,
    /// Requests that wait for their answer.
    pub held: i64,
    /// Sessions ever created.
    pub created: u64,
    /// Contacts that were pushed.
    pub pushes: u64,
    /// Users that were refreshed.
    pub updated: u64,
    /// Users that could not be refreshed.
    pub failed: u64,
    /// When the backend last said that any list has changed.
    pub last_refresh: Option<Duration>,
    /// All domains that have been known since the start.
    pub domains: Vec<Domain>,
    /// The recent failures, the latest first.
    pub failures: Vec<Failure>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rostergate");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let started = Gauge::<i64>::default();
        started.set(unix_time());
        registry.register(
            "start_time_seconds",
            "When it was started, since 1970 (UTC)",
            started.clone(),
        );
        let http = Http::register(&mut registry);
        let forwards = Forwards::register(&mut registry);
        let sessions = Sessions::register(&mut registry);
        let stanzas = Stanzas::register(&mut registry);
        let websockets = WebSockets::register(&mut registry);
        let refreshes = Refreshes::register(&mut registry);
        let logins = Logins::register(&mut registry);
        let cluster = Cluster::register(&mut registry);
        let limits = Limits::register(&mut registry);
        registry.register(
            "log_lines_dropped",
            "Lines that were not logged, as nobody read those before",
            log::dropped(),
        );
        let reloads = Family::<Outcome, Counter>::default();
        registry.register("reloads", "Reloads of the configuration", reloads.clone());
        let connections = Gauge::default();
        registry.register(
            "connections",
            "Connections of clients, proxies and backends to the gateway",
            connections.clone(),
        );
        let domains = Domains::default();
        domains.register(&mut registry);
        Self {
            registry,
            started,
            http,
            forwards,
            sessions,
            stanzas,
            websockets,
            refreshes,
            logins,
            cluster,
            limits,
            reloads,
            connections,
            domains,
            history: Mutex::new(History::new(Instant::now())),
        }
    }
}

impl Metrics {
    /// The metrics of a domain. They stay the same for as long as the program runs.
    pub fn domain(&self, domain: &str) -> Domain {
        self.domains.of(domain)
    }

    /// The configuration has been read again.
    pub fn reloaded(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// A few of the numbers, for people who look at a page.
    pub fn survey(&self) -> Survey {
        Survey {
            started: Duration::from_secs(self.started.get().unsigned_abs()),
            held: self.http.held(),
            created: self.sessions.created(),
            pushes: self.sessions.pushes(),
            updated: self.refreshes.updated(),
            failed: self.refreshes.failed(),
            last_refresh: self.refreshes.last(),
            domains: self.domains.all(),
            failures: self.domains.failures(),
        }
    }

    /// The last hour up to `now`, the oldest minute first, the last the one that runs; there are so many sessions. Who
    /// asks once a minute has each minute get what is its own.
    pub fn last_hour(&self, now: Instant, sessions: usize) -> Vec<Minute> {
        let totals = self.domains.add_to(Totals {
            sessions,
            messages: self.stanzas.messages_of_clients(),
            refreshed: self
                .refreshes
                .updated()
                .saturating_add(self.refreshes.failed()),
            ..Totals::default()
        });
        let mut history = self.history.lock();
        history.advance(now, totals);
        history.all(totals)
    }

    /// All metrics, in the text format of OpenMetrics 1.0.
    pub fn render(&self, gauges: &Gauges) -> String {
        self.sessions.set(gauges);
        let connections = i64::try_from(gauges.connections).unwrap_or(i64::MAX);
        self.connections.set(connections);
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes it");
        text
    }

    /// The same in the older text format of Prometheus, 0.0.4.
    pub fn render_plain(&self, gauges: &Gauges) -> String {
        plain::plain(&self.render(gauges))
    }
}
