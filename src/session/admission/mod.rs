//! Admission: whether a client may have a session. Decided before the XMPP server hears of it, and in the same way for
//! every front. The front puts a refusal into words of its protocol.

mod creations;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use tracing::warn;

pub use self::creations::{Creations, Refusal};
use super::{Front, Host, Origin, Registry, Sid, registry};
use crate::{
    net::{log_throttle::LogThrottle, quota::Permit, refusals::AccessRefusal},
    upstream::Connector,
};

/// The served domains, and the bounds on new sessions.
pub struct Admission {
    hosts: HashMap<String, Arc<Host>>,
    creations: Creations,
    /// Refusals are logged, but not each of very many.
    refusals: Arc<LogThrottle>,
}

/// A client that may have a session.
pub struct Admitted {
    pub(super) host: Arc<Host>,
    pub(super) sid: Sid,
    /// Where the request for the session comes from.
    pub(super) origin: Origin,
    /// Counts the session for its address; `None` where that is unknown.
    pub(super) permit: Option<Permit<IpAddr>>,
}

impl Admitted {
    /// The host that it may have a session at.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// A place for a session of a client that has yet to say which host it wants.
pub struct Reserved {
    origin: Origin,
    permit: Option<Permit<IpAddr>>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The client names no domain.
    #[error("no domain")]
    NoDomain,
    /// The domain is not served.
    #[error("unknown domain")]
    UnknownDomain,
    /// A bound on new sessions is reached; the client may come again.
    #[error(transparent)]
    Bound(#[from] Refusal),
    /// The system has no random numbers.
    #[error("no randomness for a session id")]
    NoRandomness(#[from] getrandom::Error),
    /// The gateway is going down; the client may come again.
    #[error("going down")]
    Closed(#[from] registry::Closed),
}

impl Admission {
    /// To `hosts`, by their domains, within the bounds of `creations`.
    pub fn new(hosts: HashMap<String, Arc<Host>>, creations: Creations) -> Self {
        Self {
            hosts,
            creations,
            refusals: Arc::default(),
        }
    }

    /// Takes over what clients have created under the `previous` bounds.
    pub fn following(self, previous: &Self) -> Self {
        Self {
            hosts: self.hosts,
            creations: self.creations.following(&previous.creations),
            refusals: Arc::clone(&previous.refusals),
        }
    }

    /// The host that a client names.
    ///
    /// # Errors
    /// [`Refused::NoDomain`]; [`Refused::UnknownDomain`], which is logged.
    pub fn host(
        &self,
        to: &str,
        front: Front,
        origin: Origin,
        registry: &Registry,
    ) -> Result<&Arc<Host>, Refused> {
        let domain = jid::DomainPart::new(to).map_err(|_| Refused::NoDomain)?;
        let host = self.hosts.get(domain.as_str());
        host.ok_or_else(|| {
            let refusal = AccessRefusal::Domain {
                front: front.as_str(),
                domain: domain.as_str(),
            };
            registry.refusals.log(origin.client(), refusal);
            Refused::UnknownDomain
        })
    }

    /// The host of this domain, if it is served.
    pub fn host_of(&self, domain: &str) -> Option<&Arc<Host>> {
        self.hosts.get(domain)
    }

    /// Whether the server of any host listens, as far as is known. While that is known of none, this has them tried, so
    /// that the next call knows more.
    pub fn may_reach_a_server(&self) -> bool {
        let connectors = || self.hosts.values().map(|host| &host.connector);
        let known = || connectors().map(Connector::is_listening);
        if !known().any(|it| it == Some(true)) {
            connectors().for_each(Connector::look);
        }
        known().any(|it| it != Some(false))
    }

    /// The domain in whose name a client is spoken to that wants `to`: that one, if it is a domain at all.
    pub fn spoken_for(&self, to: Option<&str>) -> String {
        let domain = to.and_then(|to| jid::DomainPart::new(to).ok());
        match domain {
            Some(domain) => domain.to_string(),
            None => self.hosts.keys().min().cloned().unwrap_or_default(),
        }
    }

    /// Lets a client have a session at `host`, if the bounds allow it. The session counts for the client's address, where
    /// that is known.
    ///
    /// # Errors
    /// [`Refused::Bound`], which is counted and logged; [`Refused::NoRandomness`], which is logged.
    pub fn admit(
        &self,
        host: &Arc<Host>,
        origin: Origin,
        registry: &Registry,
    ) -> Result<Admitted, Refused> {
        let reserved = self.reserve(origin, registry)?;
        self.admit_reserved(reserved, host, registry)
    }

    /// Keeps a place for a client, as [`Self::admit`] does. It counts as one of its address's sessions from now on.
    ///
    /// # Errors
    /// The bound that is reached, which is counted and logged.
    pub fn reserve(&self, origin: Origin, registry: &Registry) -> Result<Reserved, Refusal> {
        let permit = self.creations.admit(origin.client(), registry);
        let permit = permit.inspect_err(|refusal| self.refused(*refusal, origin, registry))?;
        Ok(Reserved { origin, permit })
    }

    /// Lets a client have a session in its place, unless there are too many sessions by now.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_reserved(
        &self,
        reserved: Reserved,
        host: &Arc<Host>,
        registry: &Registry,
    ) -> Result<Admitted, Refused> {
        let Reserved { origin, permit } = reserved;
        let room = self.creations.check_room(registry);
        room.inspect_err(|refusal| self.refused(*refusal, origin, registry))?;
        let sid = Sid::random(registry.node.as_deref());
        let sid = sid.inspect_err(|error| warn!(%error, "no randomness for a session id"))?;
        Ok(Admitted {
            host: Arc::clone(host),
            sid,
            origin,
            permit,
        })
    }

    fn refused(&self, refusal: Refusal, origin: Origin, registry: &Registry) {
        registry.metrics.limit(refusal.limit());
        if let Some(unsaid) = self.refusals.is_due() {
            let client = origin.address.ip();
            warn!(%client, %refusal, unsaid, "session refused");
        }
    }
}
