//! Presence between contacts, carried by directed presence on the client's own stream, for servers
//! that know nothing of the contacts (RFC 6121 §4.6).
//!
//! The server itself tells everybody who got directed presence when the client goes away, however it
//! goes. What is left to do here:
//!
//! 1. a client that becomes available is announced to every contact that may see it,
//! 2. a contact that turns up is answered with the client's presence, so both orders of login work,
//! 3. a change is passed on to the contacts that are there,
//! 4. contacts who come and go by a refresh are told, and the client is told about them.

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Effect, bounce::is_repeated, identity::Identity};
use crate::{
    proto::{
        stanza::{PresenceType, Stanza},
        xml::write,
    },
    roster::{Contact, Roster},
};

/// Longest presence that goes to all contacts, bytes. Clients send some hundred; with a signature or two, some
/// thousand.
pub const MAX_BROADCAST: usize = 16 << 10;
/// Bytes of presence made at once, and contacts looked at for them.
const BATCH: usize = 16 << 10;
const TURN: usize = 64;
/// Most resources of one contact that are told apart.
const MAX_RESOURCES: usize = 32;
/// Length of the full JIDs that are remembered before the roster is known, bytes in all.
const MAX_EARLY: usize = 64 << 10;
/// Most presences kept of people who might turn out to be contacts.
const MAX_STRANGERS: usize = 32;
/// Largest presence kept of a stranger, bytes.
const MAX_STRANGER_SIZE: usize = 4096;

type Effects = VecDeque<Effect>;

/// The presence of one session, and of its contacts as seen by it.
#[derive(Debug, Default)]
pub struct Carrier {
    /// The client's last broadcast, while it is available.
    available: Option<Stanza>,
    /// Place in the roster of the contact that is told next, while contacts are told.
    telling: Option<usize>,
    /// Contacts from this place on have not been told since the client became available.
    untold: usize,
    /// Full JIDs known as available, by bare JID. Contacts only, once the roster is there.
    known: HashMap<Box<str>, SmallVec<[Box<str>; 1]>>,
    /// Length of those that have been learned before the roster was known.
    early: usize,
    /// Latest presences of people not on the roster, by full JID: their notification may have been
    /// faster than ours.
    strangers: VecDeque<(Box<str>, Stanza)>,
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
            }
            _ => {}
        }
    }

    /// Presence from the server's side.
    pub fn server_presence(
        &mut self,
        kind: PresenceType,
        presence: Stanza,
        roster: Option<&Roster>,
        effects: &mut Effects,
    ) {
        let from = presence.from().unwrap_or_default().into_owned();
        let bare = from.split_once('/').map_or(&*from, |(bare, _)| bare);
        let contact = roster.and_then(|roster| roster.get(bare));
        match kind {
            PresenceType::Available => {
                effects.push_back(Effect::ToClient(presence.clone()));
                match (contact, roster) {
                    (Some(contact), _) => {
                        if self.learn(bare, &from)
                            && contact.receives_presence()
                            && let Some(available) = &self.available
                        {
                            effects.push_back(Effect::ToServer(available.addressed(&from)));
                        }
                    }
                    (None, Some(_)) => self.meet_stranger(from.into(), &presence),
                    (None, None) => {
                        if self.early.saturating_add(from.len()) <= MAX_EARLY
                            && self.learn(bare, &from)
                        {
                            self.early = self.early.saturating_add(from.len());
                        }
                        self.meet_stranger(from.into(), &presence);
                    }
                }
            }
            PresenceType::Unavailable => {
                self.forget(bare, &from);
                effects.push_back(Effect::ToClient(presence));
            }
            // An answer to presence that the client does not know it has sent.
            PresenceType::Error if contact.is_some_and(Contact::receives_presence) => {}
            _ => effects.push_back(Effect::ToClient(presence)),
        }
    }

    /// The first roster of the session is there.
    pub fn roster_arrived(&mut self, roster: &Roster) {
        self.known.retain(|bare, _| roster.get(bare).is_some());
        self.untold = 0;
        self.telling = self.available.as_ref().map(|_| 0);
    }

    /// Whether contacts are being told of the client's presence.
    pub fn is_announcing(&self) -> bool {
        self.telling.is_some()
    }

    /// Sends the client's presence to the next contacts: to all that may see it and have not been told since
    /// it became available; a change only to those that are there, as far as is known.
    pub fn announce(&mut self, roster: Option<&Roster>, effects: &mut Effects) {
        let contacts = roster.map(Roster::contacts).unwrap_or_default();
        let begin = self.telling.take().unwrap_or_default();
        let Some(available) = &self.available else {
            return;
        };
        let (mut many, mut count) = (BytesMut::new(), 0);
        let rest = contacts.iter().enumerate().skip(begin);
        let mut turn = rest.take(TURN);
        let mut next = contacts.len();
        for (place, contact) in turn.by_ref() {
            let is_there =
                || !contact.sends_presence() || self.known.contains_key(contact.jid.as_str());
            if contact.receives_presence() && (place >= self.untold || is_there()) {
                for chunk in available.addressed(contact.jid.as_str()).chunks() {
                    many.extend_from_slice(&chunk);
                }
                count += 1;
            }
            next = place.saturating_add(1);
            if many.len() >= BATCH {
                break;
            }
        }
        self.telling = Some(next).filter(|next| *next < contacts.len());
        self.untold = match self.telling {
            Some(next) => self.untold.max(next),
            None => usize::MAX,
        };
        if !many.is_empty() {
            effects.push_back(Effect::ToServerMany {
                bytes: many.freeze(),
                count,
            });
        }
    }

    /// A contact is about to be pushed as `after`: the client must see one that it may no longer see
    /// go away before that.
    pub fn before_push(
        &mut self,
        before: Option<&Contact>,
        after: Option<&Contact>,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let Some(before) = before else { return };
        if after.is_some_and(|after| after.sends_presence() || !before.sends_presence()) {
            return;
        }
        let known = self.known.remove(before.jid.as_str()).unwrap_or_default();
        for full in known.iter().filter(|_| self.available.is_some()) {
            let mut text = b"<presence xmlns='jabber:client' type='unavailable' from='".to_vec();
            write::attribute_into(&mut text, full);
            text.extend_from_slice(b"' to='");
            write::attribute_into(&mut text, identity.full());
            text.extend_from_slice(b"'/>");
            effects.push_back(Effect::ToClient(Stanza::from_trusted(
                text.into(),
                0,
                Bytes::new(),
            )));
        }
    }

    /// A contact has been pushed as `after`: who may see the client has changed with it.
    pub fn after_push(
        &mut self,
        before: Option<&Contact>,
        after: Option<&Contact>,
        effects: &mut Effects,
    ) {
        let Some(available) = &self.available else {
            return;
        };
        let saw = before.is_some_and(Contact::receives_presence);
        match after.filter(|after| after.receives_presence()) {
            Some(after) if !saw => {
                let presence = available.addressed(after.jid.as_str());
                effects.push_back(Effect::ToServer(presence));
            }
            None if saw => {
                let jid = before.map(|before| before.jid.as_str()).unwrap_or_default();
                let mut text = b"<presence xmlns='jabber:client' type='unavailable' to='".to_vec();
                write::attribute_into(&mut text, jid);
                text.extend_from_slice(b"'/>");
                let presence = Stanza::from_trusted(text.into(), 0, Bytes::new());
                effects.push_back(Effect::ToServer(presence));
            }
            _ => {}
        }
        if let Some(after) = after.filter(|after| before.is_none() && after.sends_presence()) {
            self.introduce_stranger(after.jid.as_str(), effects);
        }
    }

    /// Notes a full JID as available; true if it was not known as such, and is now. One that is new each time
    /// would be answered each time, and the answer answered.
    fn learn(&mut self, bare: &str, full: &str) -> bool {
        let known = self.known.entry(bare.into()).or_default();
        let is_new = !known.iter().any(|one| **one == *full) && known.len() < MAX_RESOURCES;
        if is_new {
            known.push(full.into());
        }
        is_new
    }

    fn forget(&mut self, bare: &str, from: &str) {
        self.strangers.retain(|(full, _)| **full != *from);
        if bare == from {
            self.known.remove(bare);
        } else if let Some(known) = self.known.get_mut(bare) {
            known.retain(|one| **one != *from);
            if known.is_empty() {
                self.known.remove(bare);
            }
        }
    }

    fn meet_stranger(&mut self, full: Box<str>, presence: &Stanza) {
        self.strangers.retain(|(one, _)| *one != full);
        if presence.size() <= MAX_STRANGER_SIZE {
            if self.strangers.len() >= MAX_STRANGERS {
                self.strangers.pop_front();
            }
            // One is usual: the client itself.
            self.strangers.reserve_exact(1);
            self.strangers.push_back((full, presence.clone()));
        }
    }

    /// Shows the presence of someone who has just become a contact.
    fn introduce_stranger(&mut self, bare: &str, effects: &mut Effects) {
        let mut index = 0;
        while let Some((full, _)) = self.strangers.get(index) {
            if full.split_once('/').is_some_and(|(one, _)| one == bare) {
                if let Some((full, presence)) = self.strangers.remove(index) {
                    self.learn(bare, &full);
                    effects.push_back(Effect::ToClient(presence));
                }
            } else {
                index += 1;
            }
        }
    }
}

/// The answer to a broadcast presence of more than [`MAX_BROADCAST`] (RFC 6120 §8.3).
pub fn too_large(presence: &Stanza) -> Stanza {
    let mut text = b"<presence xmlns='jabber:client' type='error'".to_vec();
    if let Some(id) = presence.id().filter(|id| is_repeated(id)) {
        write::attribute(&mut text, "id", &id);
    }
    text.extend_from_slice(
        b"><error type='modify'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
          <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>presence is too large</text></error>\
          </presence>",
    );
    Stanza::from_trusted(text.into(), 0, Bytes::new())
}
