//! Domains: what is counted for the backend and the XMPP server of each.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{
    Histograms,
    failures::{Failure, Failures},
    health::{Dependency, Health},
    histograms,
    history::Totals,
};
use crate::{clock::since_1970, log};

/// Bounds of the buckets, seconds: from a lookup in memory to a backend that is slow.
const ANSWERS: [f64; 12] = [
    0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0,
];

fn of_answers() -> Histogram {
    Histogram::new(ANSWERS)
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

/// What all domains count together, for the status page alone.
#[derive(Debug, Default)]
struct Together {
    failures: Failures,
    failed: AtomicU64,
    answers: AtomicU64,
    answers_took: AtomicU64,
}

/// The families in which each [`Domain`] is a row.
#[derive(Debug)]
pub(super) struct Domains {
    known: Mutex<BTreeMap<String, Domain>>,
    together: Arc<Together>,
    fetches: Family<DomainOutcome, Counter>,
    fetch_seconds: Histograms<OfDomain>,
    left_out: Family<OfDomain, Counter>,
    stale: Family<OfDomain, Counter>,
    connects: Family<DomainOutcome, Counter>,
    connect_seconds: Histograms<OfDomain>,
    lost: Family<OfDomain, Counter>,
    writes: Family<DomainOutcome, Counter>,
    contacts_written: Family<OfDomain, Counter>,
    unwritten: Family<OfDomain, Gauge>,
    events_sent: Family<OfDomain, Counter>,
    events_lost: Family<OfDomain, Counter>,
    events_pending: Family<OfDomain, Gauge>,
    event_posts: Family<DomainOutcome, Counter>,
}

/// What is counted for one domain. Clones share their counters.
#[derive(Clone, Debug)]
pub struct Domain {
    domain: String,
    fetches: Family<DomainOutcome, Counter>,
    fetch_seconds: Histogram,
    left_out: Counter,
    /// Rosters fetched earlier that were given to sessions because the backend had failed.
    pub stale: Counter,
    connects: Family<DomainOutcome, Counter>,
    connect_seconds: Histogram,
    lost: Counter,
    writes: Family<DomainOutcome, Counter>,
    /// Contacts that were written into the server's lists, or removed from them.
    pub contacts_written: Counter,
    /// Users whose lists are to be written again, as that has failed.
    pub unwritten: Gauge,
    events_sent: Counter,
    /// Events that the site will not hear.
    pub events_lost: Counter,
    /// Events that the site has yet to hear.
    pub events_pending: Gauge,
    event_posts: Family<DomainOutcome, Counter>,
    together: Arc<Together>,
    /// Whether the backend works.
    pub backend: Health,
    /// Whether the server can be connected to.
    pub upstream: Health,
    /// Whether lists can be written into the server.
    pub writer: Health,
    /// Whether the site takes events.
    pub events: Health,
}

impl Default for Domain {
    /// A domain whose numbers nobody reads.
    fn default() -> Self {
        Domains::default().of("")
    }
}

impl Default for Domains {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            together: Arc::default(),
            fetches: Family::default(),
            fetch_seconds: histograms(of_answers),
            left_out: Family::default(),
            stale: Family::default(),
            connects: Family::default(),
            connect_seconds: histograms(of_answers),
            lost: Family::default(),
            writes: Family::default(),
            contacts_written: Family::default(),
            unwritten: Family::default(),
            events_sent: Family::default(),
            events_lost: Family::default(),
            events_pending: Family::default(),
            event_posts: Family::default(),
        }
    }
}

impl Domains {
    pub(super) fn of(&self, domain: &str) -> Domain {
        let mut known = self.known.lock();
        let known = known.entry(domain.to_owned());
        known.or_insert_with(|| self.row(domain)).clone()
    }

    /// All domains that have been known since the start.
    pub(super) fn all(&self) -> Vec<Domain> {
        self.known.lock().values().cloned().collect()
    }

    /// The recent failures, the latest first.
    pub(super) fn failures(&self) -> Vec<Failure> {
        self.together.failures.all()
    }

    /// Adds what has been counted of failures and of answers.
    pub(super) fn add_to(&self, totals: Totals) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            failures: read(&self.together.failed),
            answers: read(&self.together.answers),
            answers_took: read(&self.together.answers_took),
            ..totals
        }
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
            writes: self.writes.clone(),
            contacts_written: self.contacts_written.get_or_create_owned(&label),
            unwritten: self.unwritten.get_or_create_owned(&label),
            events_sent: self.events_sent.get_or_create_owned(&label),
            events_lost: self.events_lost.get_or_create_owned(&label),
            events_pending: self.events_pending.get_or_create_owned(&label),
            event_posts: self.event_posts.clone(),
            together: Arc::clone(&self.together),
            backend: Health::default(),
            upstream: Health::default(),
            writer: Health::default(),
            events: Health::default(),
            domain,
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
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
        registry.register(
            "roster_writes",
            "Lists that were to be in the XMPP server: written, unchanged, dry_run, or what went wrong",
            self.writes.clone(),
        );
        registry.register(
            "contacts_written",
            "Contacts that were written into the XMPP server's lists, or removed from them",
            self.contacts_written.clone(),
        );
        registry.register(
            "unwritten_rosters",
            "Lists that could not be written, and are tried again",
            self.unwritten.clone(),
        );
        registry.register(
            "events_sent",
            "Events that the site has taken: who has come online, and who has gone",
            self.events_sent.clone(),
        );
        registry.register(
            "events_lost",
            "Events that the site will not hear, as too many waited",
            self.events_lost.clone(),
        );
        registry.register(
            "events_pending",
            "Events that the site has yet to take",
            self.events_pending.clone(),
        );
        registry.register(
            "event_posts",
            "Requests with events to the site: ok, or what went wrong",
            self.event_posts.clone(),
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
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.together.answers.fetch_add(1, Ordering::Relaxed);
        self.together
            .answers_took
            .fetch_add(micros, Ordering::Relaxed);
        self.backend.note(worked, since_1970());
    }

    /// This many entries of a new roster could not be used.
    pub fn left_out(&self, count: usize) {
        self.left_out
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// An attempt to connect to the server has succeeded or failed.
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

    /// A list has been compared with the server's, and perhaps written.
    pub fn written(&self, outcome: &'static str) {
        self.writes.get_or_create(&self.outcome(outcome)).inc();
    }

    /// The site has been sent events, and has taken so many of them.
    pub fn events_posted(&self, outcome: &'static str, taken: usize) {
        self.event_posts.get_or_create(&self.outcome(outcome)).inc();
        let taken = u64::try_from(taken).unwrap_or(u64::MAX);
        self.events_sent.inc_by(taken);
        self.events.note(outcome == "ok", since_1970());
    }

    /// So many events are lost.
    pub fn events_lost(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.events_lost.inc_by(count);
    }

    /// So many events have not been taken yet.
    pub fn events_pending(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.events_pending.set(count);
    }

    /// Something did not work. `error` says what in a sentence, which may quote the other side.
    pub fn failed(&self, dependency: Dependency, error: impl Display) {
        self.note(dependency, error, VecDeque::new());
    }

    /// The same, of the list of one user.
    pub fn failed_of(&self, user: impl Display, dependency: Dependency, error: impl Display) {
        self.note(dependency, error, [log::plain(user)].into());
    }

    fn note(&self, dependency: Dependency, error: impl Display, users: VecDeque<String>) {
        let at = since_1970();
        self.together.failed.fetch_add(1, Ordering::Relaxed);
        self.together.failures.note(Failure {
            domain: self.domain.clone(),
            dependency,
            error: log::plain(error),
            count: 1,
            first: at,
            last: at,
            users,
        });
    }

    /// The name of the domain.
    pub fn name(&self) -> &str {
        &self.domain
    }
}
