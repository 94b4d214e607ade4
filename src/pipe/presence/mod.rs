//! Presence between contacts, carried by directed presence on the client's own stream, for servers
//! that know nothing of the contacts (RFC 6121 §4.6).
//!
//! The server itself tells everybody who got directed presence when the client goes away, however it
//! goes. What is left to do here:
//!
//! 1. a client that becomes available is announced to every contact that may see it,
//! 2. an announcement is answered with the client's presence, so both orders of login work,
//! 3. a change is passed on to the contacts that are there,
//! 4. contacts who come and go by a refresh are told, and the client is told about them.
//!
//! Each is seen once. All of it goes to bare JIDs: a server says goodbye to each address that it remembers. Its `id`
//! tells an announcement from what needs no answer (`stanzas::Mark`), and both from presence that others have sent: of what
//! gateways send, the client is given neither what it has already nor what comes from people who are not on its list.

mod announcement;
mod changes;
mod stanzas;
mod strangers;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use smallvec::SmallVec;

pub use self::stanzas::too_large;
use self::{
    stanzas::{Mark, unavailable},
    strangers::Stranger,
};
use super::{Effect, blocked::Blocked, identity::Identity};
use crate::{
    proto::stanza::{PresenceType, Stanza},
    roster::{Contact, Roster},
};

/// Longest presence that goes to all contacts, bytes. Clients send some hundred; with a signature or two, some
/// thousand.
pub const MAX_BROADCAST: usize = 16 << 10;
/// Most resources of one contact that are told apart.
const MAX_RESOURCES: usize = 32;
/// Length of the full JIDs that are remembered before the roster is known, bytes in all.
const MAX_EARLY: usize = 64 << 10;
/// Most resources of strangers that are known to be out of the client's sight, and most addresses that it has met.
const MAX_UNSEEN: usize = 4096;

type Effects = VecDeque<Effect>;

/// One resource of a contact that is available.
#[derive(Debug)]
struct Resource {
    full: Box<str>,
    /// What the client has last been given of it; `None` if it is out of the client's sight.
    seen: Option<Digest>,
}

/// Of what a presence says, whoever it is addressed to.
type Digest = u64;

fn digest(presence: &Stanza) -> Digest {
    let mut hasher = DefaultHasher::new();
    for child in presence.children() {
        hasher.write(&child.bytes);
    }
    hasher.finish()
}

fn digest_of_address(jid: &str) -> Digest {
    let mut hasher = DefaultHasher::new();
    jid.hash(&mut hasher);
    hasher.finish()
}

fn bare_of(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// The presence of one session, and of its contacts as seen by it.
#[derive(Debug, Default)]
pub struct Carrier {
    /// The client's last broadcast, while it is available.
    available: Option<Stanza>,
    /// It is not what contacts were first told.
    has_changed: bool,
    /// Place in the roster of the contact that is told next, while contacts are told.
    telling: Option<usize>,
    /// Contacts from this place on have not been told since the client became available.
    untold: usize,
    /// Resources known as available, by bare JID. Contacts only, once the roster is there.
    known: HashMap<Box<str>, SmallVec<[Resource; 1]>>,
    /// Length of those that have been learned before the roster was known.
    early: usize,
    /// Some contact has had more resources than are told apart.
    is_crowded: bool,
    strangers: VecDeque<Stranger>,
    /// Resources of people not on the list whose presence the client has not been given, or has seen go.
    unseen: HashSet<Digest>,
    /// People who have been on the list: nothing more is seen of them.
    former: HashSet<Digest>,
    /// Not all strangers are remembered.
    has_dropped: bool,
    /// Bare JIDs that the client itself has sent presence to: rooms, mostly.
    met: HashSet<Digest>,
    /// Whom the user has blocked.
    pub(super) blocked: Blocked,
}

impl Carrier {
    /// The client's presence for everybody.
    pub fn client_broadcast(
        &mut self,
        kind: PresenceType,
        presence: Stanza,
        roster: Option<&Roster>,
        effects: &mut Effects,
    ) {
        effects.push_back(Effect::ToServer(presence.clone()));
        match kind {
            PresenceType::Available => {
                let before = self.available.replace(presence);
                self.has_changed = before.is_some();
                if before.is_none() {
                    self.untold = 0;
                }
                // Those who have not been told of the one before hear this one instead.
                self.telling = roster.map(|_| 0);
                if roster.is_none() {
                    effects.push_back(Effect::NeedRoster);
                }
            }
            PresenceType::Unavailable => {
                // The server passes it on to everybody who got directed presence.
                (self.available, self.telling) = (None, None);
                self.known.clear();
                self.has_dropped |= !self.strangers.is_empty();
                self.strangers.clear();
            }
            _ => {}
        }
    }

    /// The client's presence for somebody.
    pub fn client_directed(&mut self, to: &str) {
        if self.met.len() < MAX_UNSEEN {
            self.met.insert(digest_of_address(bare_of(to)));
        }
    }

    /// Presence from the server's side.
    pub fn server_presence(
        &mut self,
        kind: PresenceType,
        presence: Stanza,
        roster: Option<&Roster>,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let from = presence.from().unwrap_or_default().into_owned();
        let bare = bare_of(&from);
        if bare == identity.bare() {
            return effects.push_back(Effect::ToClient(presence));
        }
        if self.blocked.has(&from) {
            return;
        }
        let contact = roster.and_then(|roster| roster.get(bare));
        match (kind, contact) {
            (PresenceType::Available, Some(contact)) => {
                self.contact_is_available(contact, &from, presence, effects);
            }
            (PresenceType::Available, None) => {
                self.stranger_is_available(from, presence, roster.is_none(), effects);
            }
            (PresenceType::Unavailable, _) => {
                if let Some(contact) = contact.filter(|it| it.receives_presence())
                    && Mark::of(&presence) == Some(Mark::Hello)
                {
                    self.show_to(contact, Mark::News, effects);
                }
                if self.sees_go(bare, &presence, contact.is_some()) {
                    effects.push_back(Effect::ToClient(presence));
                }
            }
            // An answer to presence that the client does not know it has sent.
            (PresenceType::Error, Some(contact)) if contact.receives_presence() => {}
            (PresenceType::Error, _) if Mark::of(&presence).is_some() => {}
            _ => effects.push_back(Effect::ToClient(presence)),
        }
    }

    fn contact_is_available(
        &mut self,
        contact: &Contact,
        full: &str,
        presence: Stanza,
        effects: &mut Effects,
    ) {
        let mark = Mark::of(&presence);
        let is_visible = mark.is_none() || contact.sends_presence();
        let seen = is_visible.then(|| digest(&presence));
        self.unseen.remove(&digest_of_address(full));
        let (is_new, has_changed) = self.learn(contact.jid.as_str(), full, seen);
        if is_visible && (mark.is_none() || has_changed) {
            effects.push_back(Effect::ToClient(presence));
        }
        let is_answered = match mark {
            Some(Mark::Hello) => true,
            // The client may have changed before it was known that this contact is there.
            Some(Mark::News) => is_new && self.has_changed,
            None => is_new,
        };
        if is_answered && contact.receives_presence() {
            self.show_to(contact, Mark::News, effects);
        }
    }

    /// The first roster of the session is there, and the client has it if it wants it.
    pub fn roster_arrived(&mut self, roster: &Roster, effects: &mut Effects) {
        self.known.retain(|bare, _| roster.get(bare).is_some());
        self.untold = 0;
        self.telling = self.available.as_ref().map(|_| 0);
        for stranger in std::mem::take(&mut self.strangers) {
            match roster.get(bare_of(&stranger.full)) {
                // Any other presence has been shown as it came.
                Some(contact) if Mark::of(&stranger.presence).is_some() => {
                    self.introduce(contact, stranger, effects);
                }
                Some(_) => {}
                None => self.strangers.push_back(stranger),
            }
        }
    }

    /// Announces the client to a contact, or, where that may not see it, asks for the contact's presence alone.
    fn greet(&self, contact: &Contact, effects: &mut Effects) {
        if contact.receives_presence() {
            self.show_to(contact, Mark::Hello, effects);
        } else if contact.sends_presence()
            && self.available.is_some()
            && !self.blocked.has(contact.jid.as_str())
        {
            let question = unavailable(Mark::Hello).addressed(contact.jid.as_str());
            effects.push_back(Effect::ToServer(question));
        }
    }

    /// Sends the client's presence to a contact.
    fn show_to(&self, contact: &Contact, mark: Mark, effects: &mut Effects) {
        if let Some(available) = &self.available
            && !self.blocked.has(contact.jid.as_str())
        {
            let presence = available.with_id(mark.id());
            let presence = presence.addressed(contact.jid.as_str());
            effects.push_back(Effect::ToServer(presence));
        }
    }

    /// Notes a resource as available, and what the client is given of it. Says whether it was not known as such and
    /// is now, and whether the client had not been given the same. One that would be new each time would be answered
    /// each time.
    fn learn(&mut self, bare: &str, full: &str, seen: Option<Digest>) -> (bool, bool) {
        let known = self.known.entry(bare.into()).or_default();
        if let Some(one) = known.iter_mut().find(|one| *one.full == *full) {
            let has_changed = one.seen != seen;
            one.seen = seen;
            return (false, has_changed);
        }
        let has_room = known.len() < MAX_RESOURCES;
        self.is_crowded |= !has_room;
        if has_room {
            let full = full.into();
            known.push(Resource { full, seen });
        }
        (has_room, true)
    }

    /// Takes note that somebody has gone; whether the client has to. It need not if it has not seen them.
    fn sees_go(&mut self, bare: &str, presence: &Stanza, is_contact: bool) -> bool {
        let from = presence.from().unwrap_or_default();
        let place = self.strangers.iter().position(|it| *it.full == *from);
        let stranger = place.and_then(|place| self.strangers.remove(place));
        if self.unseen.remove(&digest_of_address(&from)) {
            return false;
        }
        if *from == *bare {
            self.known.remove(bare);
            return true;
        }
        if let Some(seen) = self.forget(bare, &from) {
            return seen;
        }
        if let Some(stranger) = stranger {
            return stranger.is_shown;
        }
        // Of a contact, it may be the second time: a server may remember more than one address.
        let is_marked = Mark::of(presence).is_some();
        match is_contact {
            true => self.is_crowded && !is_marked,
            false => self.has_met(bare) || self.has_dropped && !is_marked && !self.is_former(bare),
        }
    }

    /// Whether the client has seen this resource; `None` if it was not known.
    fn forget(&mut self, bare: &str, full: &str) -> Option<bool> {
        let known = self.known.get_mut(bare)?;
        let place = known.iter().position(|one| *one.full == *full)?;
        let seen = known.swap_remove(place).seen;
        if known.is_empty() {
            self.known.remove(bare);
        }
        Some(seen.is_some())
    }

    fn has_met(&self, bare: &str) -> bool {
        self.met.len() >= MAX_UNSEEN || self.met.contains(&digest_of_address(bare))
    }

    /// The client sees nothing of this resource, and so need not see it go.
    fn hide(&mut self, full: &str) {
        if self.unseen.len() < MAX_UNSEEN {
            self.unseen.insert(digest_of_address(full));
        }
    }
}
