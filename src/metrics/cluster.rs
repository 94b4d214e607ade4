//! Several gateways as one: who is there, and what they ask each other.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Metrics;

/// A question, and what became of it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Asked {
    question: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    node: String,
}

/// The families of the cluster. Without one, they are empty.
#[derive(Debug)]
pub(super) struct Cluster {
    members: Family<Of, Gauge>,
    connected: Family<Of, Gauge>,
    asked: Family<Asked, Counter>,
    answered: Family<Asked, Counter>,
}

impl Cluster {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let members = Family::<Of, Gauge>::default();
        registry.register(
            "cluster_members",
            "Gateways that this one knows of, itself included; 0 while it is no member",
            members.clone(),
        );
        let connected = Family::<Of, Gauge>::default();
        registry.register(
            "cluster_connected",
            "Whether the gateway reaches the others over NATS (1) or not (0)",
            connected.clone(),
        );
        let asked = Family::<Asked, Counter>::default();
        registry.register(
            "cluster_questions_asked",
            "Questions to other gateways, by what became of them",
            asked.clone(),
        );
        let answered = Family::<Asked, Counter>::default();
        registry.register(
            "cluster_questions_answered",
            "Questions of other gateways, by what became of them",
            answered.clone(),
        );
        Self {
            members,
            connected,
            asked,
            answered,
        }
    }
}

impl Metrics {
    /// So many gateways are known to this one, which is called `node`, and it reaches them or not.
    pub fn cluster(&self, node: &str, members: usize, is_connected: bool) {
        let of = Of {
            node: node.to_owned(),
        };
        let members = i64::try_from(members).unwrap_or(i64::MAX);
        self.cluster.members.get_or_create(&of).set(members);
        let connected = self.cluster.connected.get_or_create(&of);
        connected.set(is_connected.into());
    }

    /// A question to another gateway is settled.
    pub fn question_asked(&self, question: &'static str, outcome: &'static str) {
        let label = Asked { question, outcome };
        self.cluster.asked.get_or_create(&label).inc();
    }

    /// A question of another gateway is settled.
    pub fn question_answered(&self, question: &'static str, outcome: &'static str) {
        let label = Asked { question, outcome };
        self.cluster.answered.get_or_create(&label).inc();
    }
}
