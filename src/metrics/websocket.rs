//! WebSockets: what was refused, and which clients were silent.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Metrics, labels::Reason};

/// What is wrong with a message that ends its WebSocket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadMessage {
    /// It is longer than it may be.
    TooLong,
    /// It is not text.
    Binary,
    /// Its frames break RFC 6455, or it is not UTF-8.
    Frame,
    /// It is not one element (RFC 7395 §3.3.3).
    Xml,
    /// It was incomplete when there was too much of such from all clients.
    Unfinished,
}

impl BadMessage {
    const ALL: [Self; 5] = [
        Self::TooLong,
        Self::Binary,
        Self::Frame,
        Self::Xml,
        Self::Unfinished,
    ];

    fn label(self) -> Reason {
        let reason = match self {
            Self::TooLong => "too_long",
            Self::Binary => "binary",
            Self::Frame => "frame",
            Self::Xml => "xml",
            Self::Unfinished => "unfinished",
        };
        Reason { reason }
    }
}

/// The families of WebSockets.
#[derive(Debug)]
pub(super) struct WebSockets {
    refused: Family<Reason, Counter>,
    unanswered: Counter,
}

impl WebSockets {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let refused = Family::<Reason, Counter>::default();
        registry.register(
            "websocket_messages_refused",
            "Messages of clients that ended their WebSocket, by what is wrong with them",
            refused.clone(),
        );
        for message in BadMessage::ALL {
            drop(refused.get_or_create(&message.label()));
        }
        let unanswered = Counter::default();
        registry.register(
            "websocket_pings_lost",
            "WebSockets that were given up, as no answer came to a ping",
            unanswered.clone(),
        );
        Self {
            refused,
            unanswered,
        }
    }
}

impl Metrics {
    /// A message of a client has ended its WebSocket.
    pub fn message_refused(&self, message: BadMessage) {
        let label = message.label();
        self.websockets.refused.get_or_create(&label).inc();
    }

    /// A WebSocket was given up: its client has not answered a ping in time.
    pub fn ping_lost(&self) {
        self.websockets.unanswered.inc();
    }
}
