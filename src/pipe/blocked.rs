//! Block list of a user, as far as a session has heard of it (XEP-0191), and changes to it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    proto::{
        stanza::{IqType, Kind, Stanza},
        xml::Ns,
    },
    roster::{Contact, address},
};

/// Most addresses of one request that are looked at.
const MAX_ITEMS: usize = 1000;
/// Most addresses that are known as blocked.
const MAX_BLOCKED: usize = 4096;

/// What becomes of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// They are blocked.
    Block,
    /// They are blocked no longer.
    Unblock,
}

/// Some contacts are blocked, or no longer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    act: Act,
    whom: Arc<Whom>,
    /// Not these: the client has blocked them since.
    except: Vec<Arc<Whom>>,
}

#[derive(Debug, Eq, PartialEq)]
enum Whom {
    All,
    Some {
        /// Bare JIDs and domains.
        bare: HashSet<Box<str>>,
        /// Resources of others.
        resources: HashMap<Box<str>, Vec<Box<str>>>,
    },
}

/// How much of a contact is meant.
pub(super) enum Extent<'a> {
    All,
    Resources(Vec<&'a str>),
}

impl Change {
    /// What a request, or a push of the server, is about.
    pub fn of(iq: &Stanza) -> Option<Self> {
        let act = match (iq.kind(), iq.payload()) {
            (Kind::Iq(IqType::Set), Some((Ns::Blocking, "block"))) => Act::Block,
            (Kind::Iq(IqType::Set), Some((Ns::Blocking, "unblock"))) => Act::Unblock,
            _ => return None,
        };
        let command = iq.children().next()?;
        let items = command.children().take(MAX_ITEMS);
        let jids: Vec<_> = items
            .filter_map(|item| address::prepare(&item.attribute("jid")?))
            .collect();
        let is_all = act == Act::Unblock && command.children().next().is_none();
        let whom = if is_all {
            Whom::All
        } else {
            let mut bare = HashSet::new();
            let mut resources: HashMap<Box<str>, Vec<Box<str>>> = HashMap::new();
            for jid in jids {
                let address: Box<str> = jid.to_bare().as_str().into();
                match jid.resource() {
                    Some(resource) => resources
                        .entry(address)
                        .or_default()
                        .push(resource.as_str().into()),
                    None => {
                        bare.insert(address);
                    }
                }
            }
            Whom::Some { bare, resources }
        };
        Some(Self {
            act,
            whom: Arc::new(whom),
            except: Vec::new(),
        })
    }

    /// What becomes of them.
    pub fn act(&self) -> Act {
        self.act
    }

    /// Nobody is blocked of these any longer but those that `later` requests of the client block.
    pub(super) fn lifted<'a>(&self, later: impl Iterator<Item = &'a Self>) -> Self {
        let later = later.filter(|change| change.act == Act::Block);
        Self {
            act: Act::Unblock,
            whom: Arc::clone(&self.whom),
            except: later.map(|change| Arc::clone(&change.whom)).collect(),
        }
    }

    /// How much of a contact is meant; `None` if nothing is.
    pub(super) fn extent_of(&self, contact: &Contact) -> Option<Extent<'_>> {
        let is_excepted = |whom: &Arc<Whom>| whom.extent_of(contact).is_some();
        let extent = self.whom.extent_of(contact);
        extent.filter(|_| !self.except.iter().any(is_excepted))
    }
}

impl Whom {
    fn extent_of(&self, contact: &Contact) -> Option<Extent<'_>> {
        let Self::Some { bare, resources } = self else {
            return Some(Extent::All);
        };
        let (jid, domain) = (contact.jid.as_str(), contact.jid.domain().as_str());
        if bare.contains(jid) || bare.contains(domain) {
            return Some(Extent::All);
        }
        // Not those of the domain: that would be as many for each contact.
        let named = resources.get(jid)?;
        Some(Extent::Resources(
            named.iter().map(|resource| &**resource).collect(),
        ))
    }
}

/// Whom the user has blocked, as far as this session has heard: they get nothing and are not heard. By the time of
/// that, the server may not have heard of it.
#[derive(Debug, Default)]
pub struct Blocked {
    /// Bare JIDs and domains.
    bare: HashSet<Box<str>>,
    /// Resources of others.
    full: HashSet<Box<str>>,
}

impl Blocked {
    /// Whether that is true of an address, prepared.
    pub fn has(&self, jid: &str) -> bool {
        if self.bare.is_empty() && self.full.is_empty() {
            return false;
        }
        let (bare, resource) = match jid.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (jid, None),
        };
        let domain = bare.rsplit('@').next().unwrap_or_default();
        let of_domain = || resource.map(|resource| format!("{domain}/{resource}"));
        self.bare.contains(bare)
            || self.bare.contains(domain)
            || self.full.contains(jid)
            || of_domain().is_some_and(|full| self.full.contains(&*full))
    }

    /// Takes note of a change.
    pub(super) fn note(&mut self, change: &Change) {
        self.take(&change.whom, change.act);
        change
            .except
            .iter()
            .for_each(|whom| self.take(whom, Act::Block));
    }

    fn take(&mut self, whom: &Whom, act: Act) {
        let Whom::Some { bare, resources } = whom else {
            return *self = Self::default();
        };
        let full = resources.iter().flat_map(|(bare, resources)| {
            resources
                .iter()
                .map(move |resource| format!("{bare}/{resource}").into())
        });
        let full: Vec<Box<str>> = full.collect();
        match act {
            Act::Block => {
                let room =
                    MAX_BLOCKED.saturating_sub(self.bare.len().saturating_add(self.full.len()));
                self.full.extend(full.into_iter().take(room));
                self.bare.extend(bare.iter().take(room).cloned());
            }
            Act::Unblock => {
                self.bare.retain(|jid| !bare.contains(jid));
                self.full.retain(|jid| !full.contains(jid));
            }
        }
    }
}
