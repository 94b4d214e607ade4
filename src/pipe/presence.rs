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
//! tells an announcement from what needs no answer (`Mark`), and both from presence that others have sent: of what
//! gateways send, the client is given neither what it has already nor what comes from people who are not on its list.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Effect, blocked::Blocked, bounce::is_repeated, identity::Identity};
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
/// Most resources of strangers that are known to be out of the client's sight, and most addresses that it has met.
const MAX_UNSEEN: usize = 4096;

type Effects = VecDeque<Effect>;

/// What directed presence of a gateway is for. It is the `id` of the stanza.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mark {
    /// "Here I am, and who is there?" Whoever may be seen by the sender answers. From somebody who may see, but not be
    /// seen, it is unavailable presence.
    Hello,
    /// Everything else: answers and changes.
    News,
}

impl Mark {
    fn of(presence: &Stanza) -> Option<Self> {
        let id = presence.id()?;
        [Self::Hello, Self::News]
            .into_iter()
            .find(|mark| *mark.id() == *id)
    }

    fn id(self) -> &'static str {
        match self {
            Self::Hello => "rostergate-hello",
            Self::News => "rostergate-news",
        }
    }
}

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

/// The latest presence of someone who is not on the list: the notification of that may have been slower.
#[derive(Debug)]
struct Stranger {
    full: Box<str>,
    presence: Stanza,
    /// The client has been given it.
    is_shown: bool,
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

    fn stranger_is_available(
        &mut self,
        full: String,
        presence: Stanza,
        is_early: bool,
        effects: &mut Effects,
    ) {
        let bare = bare_of(&full);
        let was_shown = self
            .strangers
            .iter()
            .any(|it| *it.full == *full && it.is_shown);
        // What others say in a room goes by no mark of theirs.
        let is_shown = Mark::of(&presence).is_none() || was_shown || self.has_met(bare);
        if is_shown {
            if is_early && self.early.saturating_add(full.len()) <= MAX_EARLY {
                let (is_new, _) = self.learn(bare, &full, Some(digest(&presence)));
                self.early = self
                    .early
                    .saturating_add(if is_new { full.len() } else { 0 });
            }
            self.unseen.remove(&digest_of_address(&full));
            effects.push_back(Effect::ToClient(presence.clone()));
            if self.has_met(bare) {
                return;
            }
        } else {
            self.hide(&full);
        }
        let stranger = Stranger {
            full: full.into(),
            presence,
            is_shown,
        };
        self.meet_stranger(stranger, effects);
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
        let [hello, news] = [Mark::Hello, Mark::News].map(|mark| available.with_id(mark.id()));
        let question = unavailable(Mark::Hello);
        let (mut many, mut count) = (BytesMut::new(), 0);
        let rest = contacts.iter().enumerate().skip(begin);
        let mut turn = rest.take(TURN);
        let mut next = contacts.len();
        for (place, contact) in turn.by_ref() {
            let is_untold = place >= self.untold;
            let is_there =
                || !contact.sends_presence() || self.known.contains_key(contact.jid.as_str());
            let presence = match (contact.receives_presence(), is_untold) {
                (true, true) => Some(&hello),
                (true, false) => Some(&news).filter(|_| is_there()),
                (false, true) => Some(&question).filter(|_| contact.sends_presence()),
                (false, false) => None,
            };
            let is_blocked = || self.blocked.has(contact.jid.as_str());
            if let Some(presence) = presence.filter(|_| !is_blocked()) {
                for chunk in presence.addressed(contact.jid.as_str()).chunks() {
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
        let bare = before.jid.as_str();
        let mut known = self.known.remove(bare).unwrap_or_default();
        for resource in &mut known {
            if resource.seen.take().is_some() {
                effects.push_back(Effect::ToClient(gone(&resource.full, identity)));
            }
        }
        if after.is_some() {
            self.known.insert(bare.into(), known);
        } else {
            known.iter().for_each(|resource| self.hide(&resource.full));
            if self.former.len() < MAX_UNSEEN {
                self.former.insert(digest_of_address(bare));
            }
        }
    }

    /// A contact has been pushed as `after`: who may see whom has changed with it.
    pub fn after_push(
        &mut self,
        before: Option<&Contact>,
        after: Option<&Contact>,
        effects: &mut Effects,
    ) {
        if self.available.is_none() {
            return;
        }
        let had = |may: fn(&Contact) -> bool| before.is_some_and(may);
        let (saw, was_seen) = (
            had(Contact::sends_presence),
            had(Contact::receives_presence),
        );
        let jid = before.map(|before| before.jid.as_str()).unwrap_or_default();
        let Some(after) = after else {
            if was_seen {
                hide_from(jid, effects);
            }
            return;
        };
        self.former.remove(&digest_of_address(after.jid.as_str()));
        if before.is_none() {
            self.introduce_all(after, effects);
        }
        if was_seen && !after.receives_presence() {
            hide_from(jid, effects);
        }
        let may_see = !saw && after.sends_presence();
        let may_be_seen = !was_seen && after.receives_presence();
        if may_see || may_be_seen {
            self.greet(after, effects);
        }
    }

    /// A contact, or a resource of theirs, is about to be blocked: neither is there for the other. With `is_told`, they
    /// are told.
    pub fn block(
        &mut self,
        contact: &Contact,
        resource: Option<&str>,
        is_told: bool,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let bare = contact.jid.as_str();
        let full = resource.map(|resource| format!("{bare}/{resource}"));
        if is_told && self.available.is_some() && contact.receives_presence() {
            hide_from(full.as_deref().unwrap_or(bare), effects);
        }
        let known = self.known.remove(bare).unwrap_or_default();
        let is_meant = |one: &Resource| full.as_ref().is_none_or(|full| *one.full == **full);
        let (blocked, others): (SmallVec<[_; 1]>, SmallVec<[_; 1]>) =
            known.into_iter().partition(is_meant);
        for resource in blocked.iter().filter(|one| one.seen.is_some()) {
            effects.push_back(Effect::ToClient(gone(&resource.full, identity)));
        }
        if !others.is_empty() {
            self.known.insert(bare.into(), others);
        }
    }

    /// Whoever is blocked, and is no contact or not yet known as one, is seen no more.
    pub fn drop_blocked(&mut self, identity: &Identity, effects: &mut Effects) {
        let (strangers, blocked) = (std::mem::take(&mut self.strangers), &self.blocked);
        let (gone_now, others) = strangers
            .into_iter()
            .partition::<VecDeque<_>, _>(|it| blocked.has(&it.full));
        self.strangers = others;
        self.has_dropped |= !gone_now.is_empty();
        for stranger in gone_now.iter().filter(|it| it.is_shown) {
            self.forget(bare_of(&stranger.full), &stranger.full);
            effects.push_back(Effect::ToClient(gone(&stranger.full, identity)));
        }
    }

    /// A contact is blocked no longer.
    pub fn unblock(&mut self, contact: &Contact, effects: &mut Effects) {
        self.greet(contact, effects);
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

    fn meet_stranger(&mut self, stranger: Stranger, effects: &mut Effects) {
        self.strangers.retain(|it| it.full != stranger.full);
        self.strangers.push_back(stranger);
        let is_large = |it: &Stranger| it.presence.size() > MAX_STRANGER_SIZE;
        let last = self.strangers.pop_back_if(|it| is_large(it));
        let first = match self.strangers.len() > MAX_STRANGERS {
            true => self.strangers.pop_front(),
            false => None,
        };
        for stranger in last.into_iter().chain(first) {
            self.has_dropped = true;
            self.show_stranger(&stranger, effects);
        }
    }

    /// Whether there are people whose presence the client is given if they do not become contacts soon.
    pub fn has_held(&self) -> bool {
        self.strangers.iter().any(|it| self.is_held(it))
    }

    fn is_held(&self, stranger: &Stranger) -> bool {
        let is_hidden = self.is_former(bare_of(&stranger.full)) || self.blocked.has(&stranger.full);
        !stranger.is_shown && !is_hidden
    }

    fn is_former(&self, bare: &str) -> bool {
        !self.former.is_empty() && self.former.contains(&digest_of_address(bare))
    }

    /// They have not: it is the client's to ignore them.
    pub fn show_held(&mut self, effects: &mut Effects) {
        for mut stranger in std::mem::take(&mut self.strangers) {
            self.show_stranger(&stranger, effects);
            stranger.is_shown |= self.is_held(&stranger);
            self.strangers.push_back(stranger);
        }
    }

    fn show_stranger(&mut self, stranger: &Stranger, effects: &mut Effects) {
        if self.is_held(stranger) {
            self.unseen.remove(&digest_of_address(&stranger.full));
            effects.push_back(Effect::ToClient(stranger.presence.clone()));
        }
    }

    /// Shows the presence of someone who has just become a contact.
    fn introduce_all(&mut self, contact: &Contact, effects: &mut Effects) {
        for stranger in std::mem::take(&mut self.strangers) {
            if bare_of(&stranger.full) == contact.jid.as_str() {
                self.introduce(contact, stranger, effects);
            } else {
                self.strangers.push_back(stranger);
            }
        }
    }

    fn introduce(&mut self, contact: &Contact, stranger: Stranger, effects: &mut Effects) {
        if self.blocked.has(&stranger.full) {
            return;
        }
        self.unseen.remove(&digest_of_address(&stranger.full));
        let seen = contact.sends_presence().then(|| digest(&stranger.presence));
        let (_, has_changed) = self.learn(contact.jid.as_str(), &stranger.full, seen);
        if seen.is_some() && has_changed {
            effects.push_back(Effect::ToClient(stranger.presence));
        }
    }
}

/// Tells somebody that the client is gone.
fn hide_from(jid: &str, effects: &mut Effects) {
    let presence = unavailable(Mark::News).addressed(jid);
    effects.push_back(Effect::ToServer(presence));
}

fn unavailable(mark: Mark) -> Stanza {
    let presence = Bytes::from_static(b"<presence xmlns='jabber:client' type='unavailable'/>");
    Stanza::ours(presence).with_id(mark.id())
}

/// What tells the client that a resource is gone.
fn gone(full: &str, identity: &Identity) -> Stanza {
    let mut text = b"<presence xmlns='jabber:client' type='unavailable' from='".to_vec();
    write::attribute_into(&mut text, full);
    text.extend_from_slice(b"' to='");
    write::attribute_into(&mut text, identity.full());
    text.extend_from_slice(b"'/>");
    Stanza::ours(text)
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
    Stanza::ours(text)
}
