//! Blocked contacts (XEP-0191), where the server knows nothing of the contacts.
//!
//! Servers tell a contact that a user who blocks them is gone only if they know of a subscription, and from then
//! on pass nothing on, the user's logout included. So the contact is told before the server hears of the block, by
//! each of the user's sessions; and once the block is lifted, the two see each other again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Effect, bounce, identity::Identity, presence::Carrier};
use crate::{
    proto::{
        stanza::{IqType, Kind, Stanza},
        xml::Ns,
    },
    roster::{Contact, Roster, address},
};

/// Most addresses of one request that are looked at.
const MAX_ITEMS: usize = 1000;
/// Contacts looked at, at once.
const TURN: usize = 64;
/// Most requests whose answers are waited for, before the client is not heard.
const MAX_ASKED: usize = 256;
/// Most addresses that are known as blocked.
const MAX_BLOCKED: usize = 4096;

type Effects = std::collections::VecDeque<Effect>;

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
enum Part<'a> {
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
    fn lifted<'a>(&self, later: impl Iterator<Item = &'a Self>) -> Self {
        let later = later.filter(|change| change.act == Act::Block);
        Self {
            act: Act::Unblock,
            whom: Arc::clone(&self.whom),
            except: later.map(|change| Arc::clone(&change.whom)).collect(),
        }
    }

    fn part_of(&self, contact: &Contact) -> Option<Part<'_>> {
        let is_excepted = |whom: &Arc<Whom>| whom.part_of(contact).is_some();
        let part = self.whom.part_of(contact);
        part.filter(|_| !self.except.iter().any(is_excepted))
    }
}

impl Whom {
    fn part_of(&self, contact: &Contact) -> Option<Part<'_>> {
        let Self::Some { bare, resources } = self else {
            return Some(Part::All);
        };
        let (jid, domain) = (contact.jid.as_str(), contact.jid.domain().as_str());
        if bare.contains(jid) || bare.contains(domain) {
            return Some(Part::All);
        }
        // Not those of the domain: that would be as many for each contact.
        let named = resources.get(jid)?;
        Some(Part::Resources(
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

    fn note(&mut self, change: &Change) {
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

/// Who says that there is a change.
#[derive(Debug)]
enum Word {
    /// The client, by this request.
    Client(Box<Stanza>),
    /// Another session, or the answer to a request.
    Account,
    /// The server, which has seen to it already.
    Server,
}

/// Changes on their way through the list.
#[derive(Debug, Default)]
pub struct Blocking {
    turns: std::collections::VecDeque<(Change, Word, usize)>,
    /// Requests that the server has not answered.
    asked: std::collections::VecDeque<(Box<str>, Change)>,
}

impl Blocking {
    /// Whether contacts are being told.
    pub fn is_busy(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whether the server has yet to answer so many requests that there should be no more.
    pub fn is_full(&self) -> bool {
        self.asked.len() >= MAX_ASKED
    }

    /// The client's request. Without an `id` it is none (RFC 6120 §8.2.3): nobody could tell what became of it.
    pub fn client_asks(&mut self, request: Stanza, change: Change, effects: &mut Effects) {
        let Some(id) = request.id() else {
            let refusal = bounce::refused(&request, "modify", "bad-request");
            return effects.extend(refusal.map(Effect::ToClient));
        };
        self.asked.push_back((id.into(), change.clone()));
        match change.act {
            Act::Block => {
                let word = Word::Client(Box::new(request));
                self.turns.push_back((change, word, 0));
            }
            // Until the server has done so, it would pass nothing on.
            Act::Unblock => effects.push_back(Effect::ToServer(request)),
        }
    }

    /// Another session of the account has heard of a change.
    pub fn account_changes(&mut self, change: Change) {
        self.turns.push_back((change, Word::Account, 0));
    }

    /// The server tells of a change, which some other client has asked for.
    pub fn server_tells(&mut self, change: Change) {
        self.turns.push_back((change, Word::Server, 0));
    }

    /// The server's answer to a request, perhaps to one of these: a block that failed is lifted.
    pub fn server_answers(&mut self, kind: IqType, answer: &Stanza, effects: &mut Effects) {
        let Some(id) = answer.id() else { return };
        let place = self.asked.iter().position(|(asked, _)| **asked == *id);
        let Some((_, change)) = place.and_then(|place| self.asked.remove(place)) else {
            return;
        };
        match (change.act, kind) {
            (Act::Block, IqType::Error) | (Act::Unblock, IqType::Result) => {
                let later = self.asked.iter().skip(place.unwrap_or_default());
                let lifted = change.lifted(later.map(|(_, change)| change));
                effects.push_back(Effect::TellAccount(lifted.clone()));
                self.account_changes(lifted);
            }
            _ => {}
        }
    }

    /// Tells the next contacts.
    pub fn go_on(
        &mut self,
        carrier: &mut Carrier,
        roster: Option<&Roster>,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let Some((change, word, place)) = self.turns.front_mut() else {
            return;
        };
        if *place == 0 {
            carrier.blocked.note(change);
            if change.act == Act::Block {
                carrier.drop_blocked(identity, effects);
            }
        }
        let contacts = roster.map(Roster::contacts).unwrap_or_default();
        let is_told = !matches!(word, Word::Server);
        for contact in contacts.iter().skip(*place).take(TURN) {
            match (change.act, change.part_of(contact)) {
                (_, None) => {}
                (Act::Unblock, Some(_)) => carrier.unblock(contact, effects),
                (Act::Block, Some(Part::All)) => {
                    carrier.block(contact, None, is_told, identity, effects);
                }
                (Act::Block, Some(Part::Resources(resources))) => {
                    for resource in resources {
                        carrier.block(contact, Some(resource), is_told, identity, effects);
                    }
                }
            }
        }
        *place = place.saturating_add(TURN);
        if *place < contacts.len() {
            return;
        }
        if let Some((change, Word::Client(request), _)) = self.turns.pop_front() {
            effects.push_back(Effect::Block(*request, change));
        }
    }
}
