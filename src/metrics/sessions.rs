//! Sessions: how many exist and have existed, how they ended, and what they were told of contact lists.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Gauges, Metrics};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfState {
    state: &'static str,
}

/// The families of sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    states: Family<OfState, Gauge>,
    interested: Gauge,
    created: Counter,
    ended: Family<Reason, Counter>,
    pushes: Counter,
    handed_over: Counter,
    pending: Gauge,
}

impl Sessions {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let states = Family::<OfState, Gauge>::default();
        registry.register(
            "sessions",
            "BOSH sessions by how far they are",
            states.clone(),
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
        let pending = Gauge::default();
        registry.register(
            "pending_bytes",
            "What waits for clients to come for it",
            pending.clone(),
        );
        Self {
            states,
            interested,
            created,
            ended,
            pushes,
            handed_over,
            pending,
        }
    }

    pub(super) fn set(&self, gauges: &Gauges) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, number) in gauges.sessions {
            self.states
                .get_or_create(&OfState { state })
                .set(count(number));
        }
        self.interested.set(count(gauges.interested));
        self.pending.set(count(gauges.pending));
    }

    /// How many sessions were created.
    pub(super) fn created(&self) -> u64 {
        self.created.get()
    }

    /// How many contacts were pushed.
    pub(super) fn pushes(&self) -> u64 {
        self.pushes.get()
    }
}

impl Metrics {
    /// A session has been created.
    pub fn session_created(&self) {
        self.sessions.created.inc();
    }

    /// A session has ended.
    pub fn ended(&self, reason: &'static str) {
        self.sessions.ended.get_or_create(&Reason { reason }).inc();
    }

    /// A session was given this many roster pushes (RFC 6121 §2.1.6).
    pub fn pushed(&self, count: u64) {
        self.sessions.pushes.inc_by(count);
    }

    /// A message was handed over from an ended session to another session of the same account.
    pub fn handed_over(&self) {
        self.sessions.handed_over.inc();
    }
}
