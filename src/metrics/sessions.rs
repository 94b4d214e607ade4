//! Sessions: how many exist and have existed, how they ended, and what they were told of contact lists.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    Gauges, Metrics,
    labels::{Outcome, Reason},
};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfState {
    front: &'static str,
    state: &'static str,
}

/// What came of a client's wish to go on with a session (XEP-0198 "Resumption").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resumption {
    /// It goes on.
    Resumed,
    /// There is none with this SM-ID, or no longer.
    Unknown,
    /// It is of another user.
    Stranger,
    /// It was created over TLS, and the client is without.
    Insecure,
    /// The client claims to have more than it was sent.
    TooHigh,
    /// The server did not say who the client is.
    Unproven,
    /// The session was in another gateway.
    Elsewhere,
}

impl Resumption {
    const ALL: [Self; 7] = [
        Self::Resumed,
        Self::Unknown,
        Self::Stranger,
        Self::Insecure,
        Self::TooHigh,
        Self::Unproven,
        Self::Elsewhere,
    ];

    fn label(self) -> Outcome {
        let outcome = match self {
            Self::Resumed => "resumed",
            Self::Unknown => "unknown",
            Self::Stranger => "stranger",
            Self::Insecure => "insecure",
            Self::TooHigh => "too_high",
            Self::Unproven => "unproven",
            Self::Elsewhere => "elsewhere",
        };
        Outcome { outcome }
    }
}

/// The families of sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    states: Family<OfState, Gauge>,
    interested: Gauge,
    created: Counter,
    ended: Family<Reason, Counter>,
    ended_by_site: Counter,
    resumptions: Family<Outcome, Counter>,
    asleep_ended: Family<Reason, Counter>,
    pushes: Counter,
    handed_over: Counter,
    strangers_refused: Counter,
    pending: Gauge,
}

impl Sessions {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let states = Family::<OfState, Gauge>::default();
        registry.register(
            "sessions",
            "Sessions by front and how far they are",
            states.clone(),
        );
        let interested = Gauge::default();
        registry.register(
            "interested_sessions",
            "Sessions that have asked for their roster, and get pushes",
            interested.clone(),
        );
        let created = Counter::default();
        registry.register("sessions_created", "Sessions ever", created.clone());
        let ended = Family::<Reason, Counter>::default();
        registry.register("sessions_ended", "Sessions that are over", ended.clone());
        let ended_by_site = Counter::default();
        registry.register(
            "sessions_ended_by_site",
            "Sessions that the admin API was asked to end",
            ended_by_site.clone(),
        );
        let resumptions = Family::<Outcome, Counter>::default();
        registry.register(
            "resumptions",
            "Resumptions that clients wanted, by what came of them",
            resumptions.clone(),
        );
        for resumption in Resumption::ALL {
            drop(resumptions.get_or_create(&resumption.label()));
        }
        let asleep_ended = Family::<Reason, Counter>::default();
        registry.register(
            "asleep_sessions_ended",
            "Sessions that are over without having been resumed",
            asleep_ended.clone(),
        );
        let reason = "inactive";
        drop(asleep_ended.get_or_create(&Reason { reason }));
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
        let strangers_refused = Counter::default();
        registry.register(
            "messages_between_strangers",
            "Messages that did not pass, as their sender and their recipient are not contacts",
            strangers_refused.clone(),
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
            ended_by_site,
            resumptions,
            asleep_ended,
            pushes,
            handed_over,
            strangers_refused,
            pending,
        }
    }

    pub(super) fn set(&self, gauges: &Gauges) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for &(front, state, number) in &gauges.sessions {
            self.states
                .get_or_create(&OfState { front, state })
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

    /// The site has had this many sessions ended.
    pub fn ended_by_site(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.sessions.ended_by_site.inc_by(count);
    }

    /// A client wanted to resume a session.
    pub fn resumption(&self, resumption: Resumption) {
        let label = resumption.label();
        self.sessions.resumptions.get_or_create(&label).inc();
    }

    /// A session has ended while it was asleep.
    pub fn asleep_ended(&self, reason: &'static str) {
        let reason = Reason { reason };
        self.sessions.asleep_ended.get_or_create(&reason).inc();
    }

    /// A session was given this many roster pushes (RFC 6121 §2.1.6).
    pub fn pushed(&self, count: u64) {
        self.sessions.pushes.inc_by(count);
    }

    /// A message was handed over from an ended session to another session of the same account.
    pub fn handed_over(&self) {
        self.sessions.handed_over.inc();
    }

    /// A message did not pass, as its sender and its recipient are not contacts.
    pub fn stranger_refused(&self) {
        self.sessions.strangers_refused.inc();
    }
}
