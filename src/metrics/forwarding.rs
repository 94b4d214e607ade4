//! Requests that are passed on to the gateways that have their sessions.

use std::sync::Arc;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Metrics, labels::Outcome};

/// What came of a request that was passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forwarded {
    /// The owner has answered.
    Answered,
    /// The client has hung up before.
    HungUp,
    /// There is no such gateway.
    Gone,
    /// NATS was not there.
    Away,
    /// The owner did not answer.
    Late,
    /// The owner did not want to answer.
    Refused,
    /// Too many were under way.
    TooMany,
}

impl Forwarded {
    const ALL: [Self; 7] = [
        Self::Answered,
        Self::HungUp,
        Self::Gone,
        Self::Away,
        Self::Late,
        Self::Refused,
        Self::TooMany,
    ];

    fn label(self) -> Outcome {
        let outcome = match self {
            Self::Answered => "answered",
            Self::HungUp => "hung_up",
            Self::Gone => "gone",
            Self::Away => "away",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::TooMany => "too_many",
        };
        Outcome { outcome }
    }
}

/// The families of requests that are passed on.
#[derive(Debug)]
pub(super) struct Forwards {
    requests: Family<Outcome, Counter>,
    answered: Counter,
    in_flight: Gauge,
}

impl Forwards {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<Outcome, Counter>::default();
        registry.register(
            "forwarded_requests",
            "BOSH requests that were passed on to the gateway of their session, by what came of them",
            requests.clone(),
        );
        for outcome in Forwarded::ALL {
            drop(requests.get_or_create(&outcome.label()));
        }
        let in_flight = Gauge::default();
        registry.register(
            "forwarded_requests_held",
            "BOSH requests that wait for the answer of another gateway",
            in_flight.clone(),
        );
        Self {
            answered: requests.get_or_create_owned(&Forwarded::Answered.label()),
            requests,
            in_flight,
        }
    }
}

/// A request that is being passed on. If it is dropped before it has [`ended`](Self::ended), its client has hung up.
#[derive(Debug)]
#[must_use = "it counts for as long as it lives"]
pub struct Forwarding {
    metrics: Arc<Metrics>,
    outcome: Forwarded,
}

impl Forwarding {
    /// How many there are now.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.metrics.forwards.in_flight.get()).unwrap_or_default()
    }

    /// It has an end.
    pub fn ended(mut self, outcome: Forwarded) {
        self.outcome = outcome;
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let forwards = &self.metrics.forwards;
        forwards.in_flight.dec();
        match self.outcome {
            Forwarded::Answered => forwards.answered.inc(),
            other => forwards.requests.get_or_create(&other.label()).inc(),
        };
    }
}

impl Metrics {
    /// A request is passed on.
    pub fn forwarding(self: &Arc<Self>) -> Forwarding {
        self.forwards.in_flight.inc();
        Forwarding {
            metrics: Arc::clone(self),
            outcome: Forwarded::HungUp,
        }
    }
}
