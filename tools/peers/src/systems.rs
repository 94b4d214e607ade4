//! What is compared: a server alone, or one with a gateway or a proxy in front.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use memchr::memmem;
use tokio::time::sleep;

use crate::{
    backend::Backend,
    http::{Endpoint, get},
    servers::{
        Gc, Manner, Server, ejabberd, haproxy, hyper_hop, nats, nginx, node_xmpp_bosh, prosody,
        rostergate,
    },
    session::{Style, User, between},
};

/// One way to serve BOSH and WebSocket.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// rostergate in front of Prosody's c2s, with Prosody's default garbage collector.
    RostergateProsody,
    /// The same with the generational one.
    RostergateProsodyGenerational,
    /// rostergate in front of ejabberd's c2s.
    RostergateEjabberd,
    /// rostergate with two threads, in front of Prosody's c2s.
    RostergateTwoThreads,
    /// Prosody's own fronts, with its default garbage collector.
    Prosody,
    /// The same with the generational one.
    ProsodyGenerational,
    /// nginx in front of that.
    Nginx,
    /// HAProxy in front of that.
    Haproxy,
    /// The least that a proxy of hyper can be, in front of that.
    HyperHop,
    /// node-xmpp-bosh 0.7.10 in front of its c2s.
    NodeXmppBosh,
    /// ejabberd's own fronts.
    Ejabberd,
    /// rostergate in front of Prosody's c2s; clients come over TLS, BOSH by HTTP/2.
    RostergateTls,
    /// nginx in front of Prosody's; clients come over TLS, BOSH by HTTP/2.
    NginxTls,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 13] = [
        Self::RostergateProsody,
        Self::Prosody,
        Self::RostergateProsodyGenerational,
        Self::RostergateTwoThreads,
        Self::ProsodyGenerational,
        Self::Nginx,
        Self::Haproxy,
        Self::HyperHop,
        Self::NodeXmppBosh,
        Self::RostergateEjabberd,
        Self::Ejabberd,
        Self::RostergateTls,
        Self::NginxTls,
    ];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::RostergateProsody => "rostergate + Prosody",
            Self::RostergateProsodyGenerational => "rostergate + Prosody gen",
            Self::RostergateTwoThreads => "rostergate, two threads + Prosody gen",
            Self::RostergateEjabberd => "rostergate + ejabberd",
            Self::Prosody => "Prosody",
            Self::ProsodyGenerational => "Prosody gen",
            Self::Nginx => "nginx + Prosody gen",
            Self::Haproxy => "HAProxy + Prosody gen",
            Self::HyperHop => "hyper hop + Prosody gen",
            Self::NodeXmppBosh => "node-xmpp-bosh + Prosody gen",
            Self::Ejabberd => "ejabberd",
            Self::RostergateTls => "rostergate TLS + Prosody gen",
            Self::NginxTls => "nginx TLS + Prosody gen",
        }
    }

    /// Whether rostergate is a part of it.
    pub fn has_rostergate(self) -> bool {
        matches!(
            self,
            Self::RostergateProsody
                | Self::RostergateProsodyGenerational
                | Self::RostergateEjabberd
        )
    }

    /// Whether it serves WebSocket.
    pub fn has_websocket(self) -> bool {
        self != Self::NodeXmppBosh
    }

    /// What it is compared with: the same server on its own, which rostergate takes the front off; without
    /// TLS what has it, with one thread what has two.
    pub fn alone(self) -> Option<Self> {
        match self {
            Self::RostergateProsody => Some(Self::Prosody),
            Self::RostergateProsodyGenerational => Some(Self::ProsodyGenerational),
            Self::RostergateEjabberd => Some(Self::Ejabberd),
            Self::NodeXmppBosh => Some(Self::ProsodyGenerational),
            Self::RostergateTls | Self::RostergateTwoThreads => {
                Some(Self::RostergateProsodyGenerational)
            }
            Self::NginxTls => Some(Self::Nginx),
            _ => None,
        }
    }

    /// Starts all of it, for these users.
    ///
    /// # Errors
    ///
    /// Something does not start.
    pub async fn start(self, program: &Path, backend: &Backend, users: &[User]) -> Result<System> {
        let generational = Gc::Generational;
        let servers = match self {
            Self::RostergateProsody | Self::RostergateProsodyGenerational => {
                let gc = if self == Self::RostergateProsody {
                    Gc::Default
                } else {
                    generational
                };
                let server = prosody(gc, users, false)?;
                vec![
                    rostergate(program, server.c2s, backend, Manner::Plain)?,
                    server,
                ]
            }
            Self::RostergateTwoThreads => {
                let server = prosody(generational, users, false)?;
                vec![
                    rostergate(program, server.c2s, backend, Manner::TwoThreads)?,
                    server,
                ]
            }
            Self::RostergateTls => {
                let server = prosody(generational, users, false)?;
                vec![
                    rostergate(program, server.c2s, backend, Manner::Encrypted)?,
                    server,
                ]
            }
            Self::RostergateEjabberd => {
                let server = ejabberd(users, false).await?;
                vec![
                    rostergate(program, server.c2s, backend, Manner::Plain)?,
                    server,
                ]
            }
            Self::Prosody => vec![prosody(Gc::Default, users, true)?],
            Self::ProsodyGenerational => vec![prosody(generational, users, true)?],
            Self::Nginx | Self::NginxTls => {
                let server = prosody(generational, users, true)?;
                let is_encrypted = self == Self::NginxTls;
                vec![nginx(server.http, is_encrypted)?, server]
            }
            Self::Haproxy => {
                let server = prosody(generational, users, true)?;
                vec![haproxy(server.http)?, server]
            }
            Self::HyperHop => {
                let server = prosody(generational, users, true)?;
                vec![hyper_hop(server.http)?, server]
            }
            Self::NodeXmppBosh => {
                let server = prosody(generational, users, true)?;
                vec![node_xmpp_bosh(server.c2s)?, server]
            }
            Self::Ejabberd => vec![ejabberd(users, true).await?],
        };
        Ok(System {
            kind: self,
            servers: servers.into(),
            gateways: 1,
            home: 0,
            way: 0,
        })
    }
}

/// What NATS took from gateways.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried<N> {
    /// Messages.
    pub messages: N,
    /// What they bring, without subjects.
    pub bytes: N,
}

impl Carried<u64> {
    /// What it took for each of so many operations since.
    pub(crate) fn until(self, after: Self, operations: f64) -> Carried<f64> {
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / operations;
        Carried {
            messages: each(self.messages, after.messages),
            bytes: each(self.bytes, after.bytes),
        }
    }
}

/// One that runs; all of it ends with the last copy.
#[derive(Clone, Debug)]
pub struct System {
    /// What it is.
    pub kind: Kind,
    /// The front first, if there is one; gateways that are one, and then NATS.
    servers: Arc<[Server]>,
    /// How many are fronts, or the server alone.
    gateways: usize,
    /// Which of them sessions begin at.
    home: usize,
    /// Which of them their requests go to when they have begun.
    way: usize,
}

impl System {
    /// So many gateways that are one, in front of Prosody.
    ///
    /// # Errors
    ///
    /// Something does not start, or they do not find each other.
    pub async fn cluster(
        gateways: usize,
        program: &Path,
        backend: &Backend,
        users: &[User],
    ) -> Result<Self> {
        let server = prosody(Gc::Generational, users, false)?;
        let broker = nats()?;
        let manners = ('a'..).take(gateways).map(|node| Manner::Member {
            node,
            nats: broker.c2s,
        });
        let members = manners.map(|manner| rostergate(program, server.c2s, backend, manner));
        let mut servers = members.collect::<Result<Vec<_>>>()?;
        servers.extend([broker, server]);
        let system = Self {
            kind: Kind::RostergateProsodyGenerational,
            servers: servers.into(),
            gateways,
            home: 0,
            way: 0,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        for home in 0..gateways {
            while system.clone().at(home, home).members().await? != gateways {
                if Instant::now() > deadline {
                    bail!("gateways do not find each other");
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(system)
    }

    /// The same, where sessions begin at one of the gateways and their requests go to another one then.
    pub fn at(self, home: usize, way: usize) -> Self {
        Self { home, way, ..self }
    }

    /// How many gateways there are; or a server alone.
    pub fn gateways(&self) -> usize {
        self.gateways
    }

    /// How many gateways the one where sessions begin knows, itself included.
    async fn members(&self) -> Result<usize> {
        let status = Endpoint {
            path: "/roster_admin/status".to_owned(),
            ..self.endpoint(Style::Lean)
        };
        let status = get(&status).await?;
        // The sum of all has one, too.
        Ok(memmem::find_iter(&status, b"\"draining\":").count() - 1)
    }

    /// What NATS has taken from the gateways so far.
    ///
    /// # Errors
    ///
    /// It does not say.
    pub async fn carried(&self) -> Result<Carried<u64>> {
        // The server is behind it.
        let Some(nats) = self
            .servers
            .get(self.gateways..)
            .and_then(|rest| match rest {
                [nats, _] => Some(nats),
                _ => None,
            })
        else {
            return Ok(Carried::default());
        };
        let varz = Endpoint {
            address: nats.http,
            path: "/varz".to_owned(),
            is_encrypted: false,
        };
        let varz = get(&varz).await?;
        let number = |name: &str| {
            let number = between(&varz, format!("\"{name}\": ").as_bytes(), b",");
            anyhow::Ok(number.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Carried {
            messages: number("in_msgs")?,
            bytes: number("in_bytes")?,
        })
    }

    /// Where clients connect whose stanzas travel so.
    pub fn endpoint(&self, style: Style) -> Endpoint {
        self.endpoint_of(self.home, style)
    }

    /// Where they send their requests when they have logged in.
    pub fn endpoint_later(&self, style: Style) -> Endpoint {
        self.endpoint_of(self.way, style)
    }

    fn endpoint_of(&self, gateway: usize, style: Style) -> Endpoint {
        let Server {
            http, is_encrypted, ..
        } = self.servers[gateway];
        Endpoint {
            address: http,
            path: style.path().to_owned(),
            is_encrypted,
        }
    }

    /// Of its processes: the front, if there is one, and the server; where gateways are one, they, NATS, and
    /// the server.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }
}
