//! Block list of a user (XEP-0191), as far as a session has heard of it, and changes to it. Tells nobody of them.

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
/// Most addresses that are remembered as blocked.
const MAX_BLOCKED: usize = 4096;

/// Kind of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Contacts are blocked.
    Block,
    /// Contacts are no longer blocked.
    Unblock,
}

/// Change of the block list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    act: Act,
    whom: Arc<Whom>,
    /// Exceptions: the client has blocked these again since.
    except: Vec<Arc<Whom>>,
}

#[derive(Debug, Eq, PartialEq)]
enum Whom {
    All,
    Some {
        /// Bare JIDs and domains.
        bare: HashSet<Box<str>>,
        /// Single resources, by the bare JID or domain.
        resources: HashMap<Box<str>, Vec<Box<str>>>,
    },
}

/// Part of a contact that a change is about.
pub(super) enum Extent<'a> {
    All,
    Resources(Vec<&'a str>),
}

impl Change {
    /// The change that a client's request, or a push of the server, is about; `None` if it is neither.
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

    /// Whether contacts are blocked or unblocked.
    pub fn act(&self) -> Act {
        self.act
    }

    /// The change that lifts this one, except for contacts that `later` requests of the account block.
    pub(super) fn lifted<'a>(&self, later: impl Iterator<Item = &'a Self>) -> Self {
        let later = later.filter(|change| change.act == Act::Block);
        Self {
            act: Act::Unblock,
            whom: Arc::clone(&self.whom),
            except: later.map(|change| Arc::clone(&change.whom)).collect(),
        }
    }

    /// Which part of a contact the change is about; `None` if it is not about this contact.
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
        // Blocked resources of the contact's domain are left out: they would be told to each contact of that domain.
        let named = resources.get(jid)?;
        Some(Extent::Resources(
            named.iter().map(|resource| &**resource).collect(),
        ))
    }
}

/// Addresses that the user has blocked, as far as this session has heard. The gateway sends them nothing and drops
/// their presence, also while the server has yet to hear of the block.
#[derive(Debug, Default)]
pub struct Blocked {
    /// Bare JIDs and domains.
    bare: HashSet<Box<str>>,
    /// Single resources, as full JIDs.
    full: HashSet<Box<str>>,
}

impl Blocked {
    /// Whether a prepared address is blocked.
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

    /// Applies a change.
    pub(super) fn note(&mut self, change: &Change) {
        self.apply(&change.whom, change.act);
        change
            .except
            .iter()
            .for_each(|whom| self.apply(whom, Act::Block));
    }

    fn apply(&mut self, whom: &Whom, act: Act) {
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
