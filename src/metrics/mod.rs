//! What the gateway counts, for those who look at it from outside (`docs/metrics.md`).
//!
//! Counters are increased where things happen; [`Metrics::render`] writes them down in the format of
//! OpenMetrics. What there is at a moment, such as sessions, is counted when somebody asks.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use self::health::{Failure, Failures, Health, Part};
use crate::{
    clock::{now, since_1970},
    log,
    proto::stanza::Kind,
    session::Counts,
};

pub mod health;

/// Bounds of the histograms' buckets, seconds: from a lookup in memory to a backend that is slow, and for
/// requests that are held, to the longest `bosh.wait`.
const ANSWERS: [f64; 12] = [
    0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0,
];
const HOLDS: [f64; 12] = [
    0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0,
];

/// The status of a request whose client has hung up before there was an answer; Nginx logs the same.
pub const HUNG_UP: u16 = 499;

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interface {
    /// The connection manager.
    Bosh,
    /// The admin API.
    Admin,
    /// XEP-0156.
    Discovery,
    /// Metrics and health.
    Monitoring,
    /// Nothing that there is.
    Unknown,
}

impl Interface {
    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bosh => "bosh",
            Self::Admin => "admin",
            Self::Discovery => "discovery",
            Self::Monitoring => "monitoring",
            Self::Unknown => "unknown",
        }
    }
}

/// The way that a stanza goes. The gateway is no mere pipe: what is taken from one side need not be given to
/// the other, and some is its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Taken from a client.
    FromClient,
    /// Given to a client's session.
    ToClient,
    /// Taken from a server.
    FromServer,
    /// Given to a server.
    ToServer,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::FromClient,
        Self::ToClient,
        Self::FromServer,
        Self::ToServer,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::FromClient => "from_client",
            Self::ToClient => "to_client",
            Self::FromServer => "from_server",
            Self::ToServer => "to_server",
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

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfStanza {
    direction: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfLimit {
    limit: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfDomain {
    domain: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DomainOutcome {
    domain: String,
    outcome: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn histograms<L: Clone + Eq + std::hash::Hash>(new: fn() -> Histogram) -> Histograms<L> {
    Family::new_with_constructor(new)
}

fn of_answers() -> Histogram {
    Histogram::new(ANSWERS)
}

/// All of it. Cheap to count in: what is counted often is looked up once.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    started: Gauge,
    requests: Family<OfRequest, Counter>,
    bosh_ok: Counter,
    request_seconds: Histograms<OfInterface>,
    bosh_seconds: Histogram,
    bosh_requests: Family<Outcome, Counter>,
    bosh_answered: Counter,
    held: Gauge,
    hold_seconds: Histogram,
    sessions: Family<OfState, Gauge>,
    interested: Gauge,
    /// Sessions that have been created.
    pub created: Counter,
    ended: Family<Reason, Counter>,
    stanzas: [[Counter; 4]; 4],
    /// Roster pushes (RFC 6121 §2.1.6) that sessions were given.
    pub pushes: Counter,
    /// Messages that were handed over from sessions that had ended to others of the same accounts.
    pub handed_over: Counter,
    refreshed: [Counter; 2],
    last_refresh: Gauge,
    limits: Family<OfLimit, Counter>,
    reloads: Family<Outcome, Counter>,
    connections: Gauge,
    pending: Gauge,
    domains: Domains,
}

/// The families that a [`Domain`] is a row of.
#[derive(Debug)]
struct Domains {
    known: Mutex<BTreeMap<String, Domain>>,
    failures: Arc<Failures>,
    fetches: Family<DomainOutcome, Counter>,
    fetch_seconds: Histograms<OfDomain>,
    left_out: Family<OfDomain, Counter>,
    stale: Family<OfDomain, Counter>,
    connects: Family<DomainOutcome, Counter>,
    connect_seconds: Histograms<OfDomain>,
    lost: Family<OfDomain, Counter>,
}

/// What is counted for one domain. Clones count together.
#[derive(Clone, Debug)]
pub struct Domain {
    domain: String,
    fetches: Family<DomainOutcome, Counter>,
    fetch_seconds: Histogram,
    left_out: Counter,
    /// Rosters of before that were given to sessions, as the backend had failed.
    pub stale: Counter,
    connects: Family<DomainOutcome, Counter>,
    connect_seconds: Histogram,
    lost: Counter,
    failures: Arc<Failures>,
    /// Whether the backend works.
    pub backend: Health,
    /// Whether the server can be connected to.
    pub upstream: Health,
}

impl Default for Domain {
    /// One that nobody looks at.
    fn default() -> Self {
        Domains::default().of("")
    }
}

impl Default for Domains {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            failures: Arc::default(),
            fetches: Family::default(),
            fetch_seconds: histograms(of_answers),
            left_out: Family::default(),
            stale: Family::default(),
            connects: Family::default(),
            connect_seconds: histograms(of_answers),
            lost: Family::default(),
        }
    }
}

impl Domains {
    fn of(&self, domain: &str) -> Domain {
        let mut known = self.known.lock();
        let known = known.entry(domain.to_owned());
        known.or_insert_with(|| self.row(domain)).clone()
    }

    fn row(&self, domain: &str) -> Domain {
        let domain = domain.to_owned();
        let label = OfDomain {
            domain: domain.clone(),
        };
        Domain {
            fetches: self.fetches.clone(),
            fetch_seconds: self.fetch_seconds.get_or_create_owned(&label),
            left_out: self.left_out.get_or_create_owned(&label),
            stale: self.stale.get_or_create_owned(&label),
            connects: self.connects.clone(),
            connect_seconds: self.connect_seconds.get_or_create_owned(&label),
            lost: self.lost.get_or_create_owned(&label),
            failures: Arc::clone(&self.failures),
            backend: Health::default(),
            upstream: Health::default(),
            domain,
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "roster_fetches",
            "Answers of the backend to requests for a roster: new, unchanged, or what went wrong",
            self.fetches.clone(),
        );
        registry.register(
            "roster_fetch_seconds",
            "How long they took, the wait for a turn included",
            self.fetch_seconds.clone(),
        );
        registry.register(
            "contacts_left_out",
            "Entries of the backend's answers that could not be used",
            self.left_out.clone(),
        );
        registry.register(
            "stale_rosters",
            "Rosters of before that were served, as the backend had failed",
            self.stale.clone(),
        );
        registry.register(
            "upstream_connects",
            "Attempts to connect to the XMPP server: ok, or what went wrong",
            self.connects.clone(),
        );
        registry.register(
            "upstream_connect_seconds",
            "How long they took, until the server's features are there",
            self.connect_seconds.clone(),
        );
        registry.register(
            "upstream_losses",
            "Connections to the XMPP server that broke",
            self.lost.clone(),
        );
    }
}

impl Domain {
    fn outcome(&self, outcome: &'static str) -> DomainOutcome {
        DomainOutcome {
            domain: self.domain.clone(),
            outcome,
        }
    }

    /// The backend has been asked for a roster.
    pub fn fetched(&self, outcome: &'static str, worked: bool, took: Duration) {
        self.fetches.get_or_create(&self.outcome(outcome)).inc();
        self.fetch_seconds.observe(took.as_secs_f64());
        self.backend.note(worked, since_1970());
    }

    /// So many entries of a new roster could not be used.
    pub fn left_out(&self, count: usize) {
        self.left_out
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// The server has been connected to, or not.
    pub fn connected(&self, outcome: &'static str, worked: bool, took: Duration) {
        self.connects.get_or_create(&self.outcome(outcome)).inc();
        self.connect_seconds.observe(took.as_secs_f64());
        self.upstream.note(worked, since_1970());
    }

    /// A connection to the server broke.
    pub fn lost(&self) {
        self.lost.inc();
        self.upstream.note(false, since_1970());
    }

    /// Something did not work: `error` says what, in a sentence, in which others may have had a word.
    pub fn failed(&self, part: Part, error: impl Display) {
        self.failures.push(Failure {
            at: since_1970(),
            domain: self.domain.clone(),
            part,
            error: log::plain(error),
        });
    }

    /// Which one it is.
    pub fn name(&self) -> &str {
        &self.domain
    }
}

/// What [`Metrics::survey`] tells. Times are those since 1970 (UTC).
#[derive(Debug)]
pub struct Survey {
    /// When the gateway was started.
    pub started: Duration,
    /// Requests that wait for their answer.
    pub held: i64,
    /// Sessions ever.
    pub created: u64,
    /// Contacts that were pushed.
    pub pushes: u64,
    /// Users that were refreshed.
    pub updated: u64,
    /// Users that could not be.
    pub failed: u64,
    /// When the backend last said that any have changed.
    pub last_refresh: Option<Duration>,
    /// All domains that there have been.
    pub domains: Vec<Domain>,
    /// What has failed of late, the latest first.
    pub failures: Vec<Failure>,
}

/// A request that is with its session.
#[derive(Debug)]
#[must_use = "it is held for as long as this lives"]
pub struct Hold<'a> {
    metrics: &'a Metrics,
    since: Instant,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.metrics.held.dec();
        let held = now().saturating_duration_since(self.since);
        self.metrics.hold_seconds.observe(held.as_secs_f64());
    }
}

fn unix_time() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// The row of a stanza in [`Metrics::stanzas`], and its label.
fn kind(kind: Kind) -> (usize, &'static str) {
    match kind {
        Kind::Message(_) => (0, "message"),
        Kind::Presence(_) => (1, "presence"),
        Kind::Iq(_) => (2, "iq"),
        Kind::Features | Kind::StreamError | Kind::Nonza => (3, "other"),
    }
}
const KINDS: [&str; 4] = ["message", "presence", "iq", "other"];

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

        let sessions = Family::<OfState, Gauge>::default();
        registry.register(
            "sessions",
            "BOSH sessions by how far they are",
            sessions.clone(),
        );
        let interested = Gauge::default();
        registry.register(
            "interested_sessions",
            "BOSH sessions that have asked for their roster, and get pushes",
            interested.clone(),
        );
        let created = Counter::default();
        registry.register("sessions_created", "BOSH sessions ever", created.clone());
        let ended = Family::<Reason, Counter>::default();
        registry.register(
            "sessions_ended",
            "BOSH sessions that are over",
            ended.clone(),
        );

        let stanzas = Family::<OfStanza, Counter>::default();
        registry.register(
            "stanzas",
            "Stanzas and other elements, by direction and kind",
            stanzas.clone(),
        );
        let pushes = Counter::default();
        registry.register(
            "roster_pushes",
            "Contacts that were pushed, one for each session",
            pushes.clone(),
        );
        let handed_over = Counter::default();
        registry.register(
            "messages_handed_over",
            "Messages of ended sessions that were given to other sessions of the same accounts",
            handed_over.clone(),
        );

        let refreshes = Family::<Outcome, Counter>::default();
        registry.register(
            "refreshed_users",
            "Users that the backend said have changed: updated or failed",
            refreshes.clone(),
        );
        let last_refresh = Gauge::default();
        registry.register(
            "last_refresh_seconds",
            "When it last did, since 1970 (UTC); 0: never",
            last_refresh.clone(),
        );

        let limits = Family::<OfLimit, Counter>::default();
        registry.register(
            "limits_hit",
            "What was refused, made to wait or ended, by the configuration key of the limit",
            limits.clone(),
        );
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
        let pending = Gauge::default();
        registry.register(
            "pending_bytes",
            "What waits for clients to come for it",
            pending.clone(),
        );
        let domains = Domains::default();
        domains.register(&mut registry);

        Self {
            bosh_ok: requests.get_or_create_owned(&OfRequest {
                interface: Interface::Bosh.as_str(),
                code: 200,
            }),
            bosh_seconds: request_seconds.get_or_create_owned(&OfInterface {
                interface: Interface::Bosh.as_str(),
            }),
            bosh_answered: bosh_requests.get_or_create_owned(&Outcome {
                outcome: "answered",
            }),
            stanzas: Way::ALL.map(|way| {
                KINDS.map(|kind| {
                    stanzas.get_or_create_owned(&OfStanza {
                        direction: way.as_str(),
                        kind,
                    })
                })
            }),
            refreshed: ["updated", "failed"]
                .map(|outcome| refreshes.get_or_create_owned(&Outcome { outcome })),
            registry,
            started,
            requests,
            request_seconds,
            bosh_requests,
            held,
            hold_seconds,
            sessions,
            interested,
            created,
            ended,
            pushes,
            handed_over,
            last_refresh,
            limits,
            reloads,
            connections,
            pending,
            domains,
        }
    }
}

impl Metrics {
    /// Those of a domain, the same for ever.
    pub fn domain(&self, domain: &str) -> Domain {
        self.domains.of(domain)
    }

    /// An HTTP request has been answered.
    pub fn request(&self, interface: Interface, code: u16, took: Duration) {
        let took = took.as_secs_f64();
        if interface == Interface::Bosh {
            self.bosh_seconds.observe(took);
        } else {
            let interface = interface.as_str();
            let label = OfInterface { interface };
            self.request_seconds.get_or_create(&label).observe(took);
        }
        if (interface, code) == (Interface::Bosh, 200) {
            self.bosh_ok.inc();
        } else {
            let interface = interface.as_str();
            self.requests
                .get_or_create(&OfRequest { interface, code })
                .inc();
        }
    }

    /// A BOSH request has been answered, by its session or, with a condition, by none.
    pub fn answered(&self, refusal: Option<&'static str>) {
        match refusal {
            Some(outcome) => self.bosh_requests.get_or_create(&Outcome { outcome }).inc(),
            None => self.bosh_answered.inc(),
        };
    }

    /// A BOSH request has come to its session.
    pub fn hold(&self) -> Hold<'_> {
        self.held.inc();
        Hold {
            metrics: self,
            since: now(),
        }
    }

    /// A session is over.
    pub fn ended(&self, reason: &'static str) {
        self.ended.get_or_create(&Reason { reason }).inc();
    }

    /// A stanza, or another element of the stream, is on its way.
    pub fn stanza(&self, way: Way, of: Kind) {
        self.stanzas[way as usize][kind(of).0].inc();
    }

    /// So many stanzas of presence have been given to a server.
    pub fn presence_to_server(&self, count: u32) {
        self.stanzas[Way::ToServer as usize][1].inc_by(count.into());
    }

    /// So many users have been refreshed.
    pub fn refreshed(&self, updated: usize, failed: usize) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.refreshed[0].inc_by(count(updated));
        self.refreshed[1].inc_by(count(failed));
        self.last_refresh.set(unix_time());
    }

    /// Something was refused because of the limit that is configured by `key`.
    pub fn limit(&self, key: &'static str) {
        self.limits.get_or_create(&OfLimit { limit: key }).inc();
    }

    /// The configuration has been read again.
    pub fn reloaded(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// A few of them, for people who look at a page.
    pub fn survey(&self) -> Survey {
        let known = self.domains.known.lock();
        let time = |gauge: &Gauge| Duration::from_secs(gauge.get().unsigned_abs());
        Survey {
            started: time(&self.started),
            held: self.held.get(),
            created: self.created.get(),
            pushes: self.pushes.get(),
            updated: self.refreshed[0].get(),
            failed: self.refreshed[1].get(),
            last_refresh: Some(time(&self.last_refresh)).filter(|at| !at.is_zero()),
            domains: known.values().cloned().collect(),
            failures: self.domains.failures.latest(),
        }
    }

    /// Everything, in the text format of OpenMetrics 1.0.
    pub fn render(&self, counts: &Counts, connections: usize, pending: usize) -> String {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, number) in counts.by_state() {
            let state = state.as_str();
            self.sessions
                .get_or_create(&OfState { state })
                .set(count(number));
        }
        self.interested.set(count(counts.interested));
        self.connections.set(count(connections));
        self.pending.set(count(pending));
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes it");
        text
    }
}
