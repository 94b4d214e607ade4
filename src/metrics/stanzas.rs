//! Stanzas by direction and kind.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::Metrics;
use crate::proto::stanza::Kind;

/// Where a stanza comes from or goes. The numbers of the two sides need not agree: the gateway answers some stanzas
/// itself, and sends some of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Taken from a client.
    FromClient,
    /// Given to a client's session.
    ToClient,
    /// Taken from a server.
    FromServer,
    /// Given to a server.
    ToServer,
}

impl Direction {
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
struct OfStanza {
    direction: &'static str,
    kind: &'static str,
}

const KINDS: [&str; 4] = ["message", "presence", "iq", "other"];
const MESSAGE: usize = 0;
const PRESENCE: usize = 1;

/// The place of a kind in [`KINDS`].
fn index_of(kind: Kind) -> usize {
    match kind {
        Kind::Message(_) => MESSAGE,
        Kind::Presence(_) => PRESENCE,
        Kind::Iq(_) => 2,
        Kind::Features | Kind::StreamError | Kind::Nonza => 3,
    }
}

/// The counters of each direction and kind, looked up once, since every stanza is counted here.
#[derive(Debug)]
pub(super) struct Stanzas([[Counter; KINDS.len()]; Direction::ALL.len()]);

impl Stanzas {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let stanzas = Family::<OfStanza, Counter>::default();
        registry.register(
            "stanzas",
            "Stanzas and other elements, by direction and kind",
            stanzas.clone(),
        );
        Self(Direction::ALL.map(|direction| {
            KINDS.map(|kind| {
                stanzas.get_or_create_owned(&OfStanza {
                    direction: direction.as_str(),
                    kind,
                })
            })
        }))
    }

    /// Messages that were taken from clients or given to them.
    pub(super) fn messages_of_clients(&self) -> u64 {
        let of = |direction| self.0[direction as usize][MESSAGE].get();
        of(Direction::FromClient).saturating_add(of(Direction::ToClient))
    }
}

impl Metrics {
    /// A stanza, or another element of the stream, has been taken or given.
    pub fn stanza(&self, direction: Direction, kind: Kind) {
        self.stanzas.0[direction as usize][index_of(kind)].inc();
    }

    /// This many presence stanzas have been given to a server.
    pub fn presence_to_server(&self, count: u32) {
        self.stanzas.0[Direction::ToServer as usize][PRESENCE].inc_by(count.into());
    }
}
