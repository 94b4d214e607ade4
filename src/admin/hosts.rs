//! The configured domains: what the API may look at and change of each.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use jid::DomainPart;

use super::respond::Failure;
use crate::{
    backend::{http::HttpSource, refresh::Rosters},
    events::Availability,
    login::Login,
    writer::ServerRosters,
};

/// The configured domains and what is known of each, shared; can be replaced while requests are served.
pub struct Hosts<S = HttpSource>(Arc<ArcSwap<Table<S>>>);

/// The domains as they are configured at one moment.
pub(super) struct Table<S>(pub(super) HashMap<DomainPart, Served<S>>);

/// A configured domain: all of it that the API may look at or change.
pub struct Served<S> {
    /// Its contact lists; `None` without a roster URL.
    pub lists: Option<Lists<S>>,
    /// How its users log in without a password in the page; `None` if they do not.
    pub login: Option<Login>,
    /// Who of its users is available.
    pub availability: Arc<Availability>,
}

/// The contact lists of a domain, by who holds them.
pub enum Lists<S> {
    /// The gateway, which answers for them.
    Gateway(Arc<Rosters<S>>),
    /// The XMPP server, into which the gateway writes them.
    Server(Arc<ServerRosters<S>>),
}

impl<S> Hosts<S> {
    /// All configured domains.
    pub fn new(hosts: impl IntoIterator<Item = (DomainPart, Served<S>)>) -> Self {
        let table = Table(hosts.into_iter().collect());
        Self(Arc::new(ArcSwap::from_pointee(table)))
    }

    /// Serves these from now on. Requests under way keep what they began with.
    pub fn replace(&self, hosts: impl IntoIterator<Item = (DomainPart, Served<S>)>) {
        self.0.store(Arc::new(Table(hosts.into_iter().collect())));
    }

    /// The rosters of a domain, if it is configured and has any.
    pub fn get(&self, domain: &DomainPart) -> Option<Lists<S>> {
        self.0.load().0.get(domain)?.lists.clone()
    }

    /// All domains as they are now.
    pub(super) fn table(&self) -> Arc<Table<S>> {
        self.0.load_full()
    }

    pub(super) fn has(&self, domain: &DomainPart) -> bool {
        self.0.load().0.contains_key(domain)
    }

    /// Whether there is one like this.
    pub(super) fn any(&self, is_one: impl FnMut(&Served<S>) -> bool) -> bool {
        self.0.load().0.values().any(is_one)
    }
}

impl<S> Clone for Hosts<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Clone for Lists<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Gateway(rosters) => Self::Gateway(Arc::clone(rosters)),
            Self::Server(rosters) => Self::Server(Arc::clone(rosters)),
        }
    }
}

#[cfg(test)]
impl<S> From<Option<Lists<S>>> for Served<S> {
    fn from(lists: Option<Lists<S>>) -> Self {
        let availability =
            Availability::new("example.org", crate::metrics::Domain::default(), None);
        Self {
            lists,
            login: None,
            availability,
        }
    }
}

impl<S> From<Arc<Rosters<S>>> for Lists<S> {
    fn from(rosters: Arc<Rosters<S>>) -> Self {
        Self::Gateway(rosters)
    }
}

impl<S> fmt::Debug for Hosts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.load().0.keys()).finish()
    }
}

impl<S> Table<S> {
    pub(super) fn rosters(&self, domain: &DomainPart) -> Result<&Lists<S>, Failure> {
        self.served(domain)?
            .lists
            .as_ref()
            .ok_or(Failure::NoRosters)
    }

    pub(super) fn served(&self, domain: &DomainPart) -> Result<&Served<S>, Failure> {
        self.0.get(domain).ok_or(Failure::UnknownDomain)
    }

    /// The domain of users that are named without one, by the host that the request is for.
    pub(super) fn default_domain(&self, host: Option<DomainPart>) -> Result<DomainPart, Failure> {
        if let Some(domain) = host
            && self.0.contains_key(&domain)
        {
            return Ok(domain);
        }
        let mut with_rosters = self.0.iter().filter(|(_, it)| it.lists.is_some());
        match (with_rosters.next(), with_rosters.next()) {
            (Some((domain, _)), None) => Ok(domain.clone()),
            _ => Err(Failure::WhichDomain),
        }
    }

    /// The same, where it does not matter who holds lists.
    pub(super) fn any_default_domain(
        &self,
        host: Option<DomainPart>,
    ) -> Result<DomainPart, Failure> {
        let mut domains = self.0.keys();
        match (domains.next(), domains.next()) {
            (Some(domain), None) => Ok(domain.clone()),
            _ => self.default_domain(host),
        }
    }
}
