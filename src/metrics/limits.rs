//! Limits that were reached.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::Metrics;

/// A limit because of which something was refused, delayed or ended. Most have a key in the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// `server.max_connections`
    Connections,
    /// `server.connections_per_address`
    ConnectionsPerAddress,
    /// `server.handshake_timeout`
    HandshakeTimeout,
    /// `server.http2_ping`
    Http2Ping,
    /// `server.idle_timeout`
    IdleTimeout,
    /// `server.max_head`
    RequestHead,
    /// `bosh.max_body`
    BoshBody,
    /// `bosh.body_timeout`
    BoshBodyTimeout,
    /// Unfinished bodies of requests that were dropped in favour of others.
    UnfinishedBodies,
    /// WebSockets on which no stream was opened in time.
    WebSocketOpen,
    /// `session.max_sessions`
    Sessions,
    /// `session.sessions_per_address`
    SessionsPerAddress,
    /// `session.sessions_per_user`
    SessionsPerUser,
    /// `session.creations_per_address`
    CreationsPerAddress,
    /// `session.max_request_rate`
    RequestRate,
    /// `session.max_unconfirmed`
    Unconfirmed,
    /// `session.max_pending`
    Pending,
    /// `session.max_pending_total`
    PendingTotal,
    /// `admin.max_body`
    AdminBody,
    /// `admin.deadline`
    AdminDeadline,
    /// Refreshes that were refused because too many were unfinished.
    UnfinishedRefreshes,
    /// Sessions for pages that were refused because too many were being begun.
    Prebinds,
    /// Stanzas of servers that are nested more deeply, or larger in their parts, than what is passed on.
    StanzaShape,
    /// Requests that wait for other gateways
    Forwarded,
}

impl Limit {
    #[cfg(test)]
    const ALL: [Self; 24] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::HandshakeTimeout,
        Self::Http2Ping,
        Self::IdleTimeout,
        Self::RequestHead,
        Self::BoshBody,
        Self::BoshBodyTimeout,
        Self::UnfinishedBodies,
        Self::WebSocketOpen,
        Self::Sessions,
        Self::SessionsPerAddress,
        Self::SessionsPerUser,
        Self::CreationsPerAddress,
        Self::RequestRate,
        Self::Unconfirmed,
        Self::Pending,
        Self::PendingTotal,
        Self::AdminBody,
        Self::AdminDeadline,
        Self::UnfinishedRefreshes,
        Self::Prebinds,
        Self::StanzaShape,
        Self::Forwarded,
    ];

    /// Its label: the key that configures it, or a word of its own.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "server.max_connections",
            Self::ConnectionsPerAddress => "server.connections_per_address",
            Self::HandshakeTimeout => "server.handshake_timeout",
            Self::Http2Ping => "server.http2_ping",
            Self::IdleTimeout => "server.idle_timeout",
            Self::RequestHead => "server.max_head",
            Self::BoshBody => "bosh.max_body",
            Self::BoshBodyTimeout => "bosh.body_timeout",
            Self::UnfinishedBodies => "bodies",
            Self::WebSocketOpen => "open",
            Self::Sessions => "session.max_sessions",
            Self::SessionsPerAddress => "session.sessions_per_address",
            Self::SessionsPerUser => "session.sessions_per_user",
            Self::CreationsPerAddress => "session.creations_per_address",
            Self::RequestRate => "session.max_request_rate",
            Self::Unconfirmed => "session.max_unconfirmed",
            Self::Pending => "session.max_pending",
            Self::PendingTotal => "session.max_pending_total",
            Self::AdminBody => "admin.max_body",
            Self::AdminDeadline => "admin.deadline",
            Self::UnfinishedRefreshes => "accepted",
            Self::Prebinds => "prebinds",
            Self::StanzaShape => "unreadable",
            Self::Forwarded => "forwarded",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfLimit {
    limit: &'static str,
}

/// The family of limits.
#[derive(Debug)]
pub(super) struct Limits(Family<OfLimit, Counter>);

impl Limits {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let hit = Family::<OfLimit, Counter>::default();
        registry.register(
            "limits_hit",
            "What was refused, made to wait or ended, by the configuration key of the limit",
            hit.clone(),
        );
        Self(hit)
    }
}

impl Metrics {
    /// Something was refused, delayed or ended because of `limit`.
    pub fn limit(&self, limit: Limit) {
        let limit = limit.as_str();
        self.limits.0.get_or_create(&OfLimit { limit }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_with_a_dot_is_a_key_of_the_configuration() {
        let example = include_str!("../../config.example.toml");
        for limit in Limit::ALL {
            let Some((section, key)) = limit.as_str().split_once('.') else {
                continue;
            };
            let (_, section) = example
                .split_once(&format!("[{section}]\n"))
                .expect("a section");
            let section = section.split("\n[").next().unwrap_or_default();
            let is_it = |line: &str| {
                let line = line.trim_start_matches(['#', ' ']);
                line.split(['=', ' ']).next() == Some(key)
            };
            assert!(section.lines().any(is_it), "{limit:?}");
        }
    }
}
