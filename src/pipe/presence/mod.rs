//! Presence between contacts, for servers that know nothing of the contacts: the gateway sends directed presence
//! (RFC 6121 §4.6) on the client's own stream. Holds what one session knows of its contacts' presence. It does not
//! change lists, and does not write to the server itself: it says what is to be sent.
//!
//! The server remembers who got directed presence, and tells them when the client goes away, however it goes. The
//! gateway does the rest:
//!
//! 1. it announces a client that becomes available to every contact that may see it,
//! 2. it answers an announcement with the client's presence, so both orders of login work,
//! 3. it passes a change on to the contacts that are available,
//! 4. when a refresh adds or removes contacts, it tells them, and tells the client about them,
//! 5. it shows a client that begins anew in a living session (a page that was loaded again) who is there.
//!
//! It sends to bare JIDs only. The server says goodbye to each address that it remembers, so a contact that got
//! presence at its bare and its full JID would see the client go twice.
//!
//! The `id` of a presence says what it is (`stanzas::Mark`): an announcement, which is answered; other presence of a
//! gateway, which is not; or, without such an `id`, presence that somebody else has sent. Announcements of two sessions
//! may cross, so the same presence may come twice: the client is given what a gateway sends only if it differs from the
//! last, and only from people on its list. What others send passes as it is.

mod announcement;
mod changes;
mod shown;
mod stanzas;
mod strangers;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use smallvec::SmallVec;

pub use self::stanzas::too_large;
use self::{
    shown::{Memory, Shown},
    stanzas::{Mark, unavailable},
    strangers::Stranger,
};
use super::{Effect, blocked::Blocked, identity::Identity};
use crate::{
    proto::stanza::{PresenceType, Stanza},
    roster::{Contact, Roster},
};

/// Longest presence that goes to all contacts, bytes. Clients send some hundred bytes; with a signature or two, some
/// thousand.
pub const MAX_BROADCAST: usize = 16 << 10;
/// Most resources of one contact that are remembered.
const MAX_RESOURCES: usize = 32;
/// Most bytes of full JIDs that are remembered before the roster is known.
const MAX_EARLY: usize = 64 << 10;
/// Most entries of each of the sets `hidden`, `former` and `addressed`.
const MAX_ADDRESSES: usize = 4096;

type Effects = VecDeque<Effect>;

/// One available resource of a contact.
#[derive(Debug)]
struct Resource {
    full: Box<str>,
    /// The presence that the client was last given; `None` if the client must not see this contact.
    shown: Option<Shown>,
}

/// Hash of a presence, or of an address.
type Digest = u64;

/// Hashes the children alone: `to` and `id` differ where the presence does not.
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

/// The presence of one session's client, and of its contacts as the client sees it.
#[derive(Debug, Default)]
pub struct PresenceService {
    /// The client's last broadcast, while it is available.
    available: Option<Stanza>,
    /// `available` differs from what contacts were first told.
    has_changed: bool,
    /// Index in the roster of the contact that is told next; `None` while none is to be told.
    announcing: Option<usize>,
    /// Contacts from this index on have not been told since the client became available.
    unannounced: usize,
    /// Available resources by bare JID. Before the roster is known, these may belong to anybody; afterwards only to
    /// contacts.
    known: HashMap<Box<str>, SmallVec<[Resource; 1]>>,
    /// What the client was given of them.
    memory: Memory,
    /// Index in the roster of the contact that the client is shown again next; `None` while none is.
    showing: Option<usize>,
    /// Bytes of the full JIDs in `known` that were added before the roster was known.
    early: usize,
    /// Some contact has had more resources than are remembered.
    is_crowded: bool,
    strangers: VecDeque<Stranger>,
    /// Full JIDs of people not on the list that the client believes to be unavailable: it was never given their
    /// presence, or has been told that they are gone.
    hidden: HashSet<Digest>,
    /// Bare JIDs that have been taken off the list. The client is given no more presence of theirs.
    former: HashSet<Digest>,
    /// Some strangers have been forgotten.
    has_dropped: bool,
    /// Bare JIDs that the client itself has sent presence to, mostly rooms. What comes from there passes.
    addressed: HashSet<Digest>,
    /// Addresses that the user has blocked.
    pub(super) blocked: Blocked,
}

impl PresenceService {
    /// The client has sent presence to everybody (without `to`).
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
                    self.unannounced = 0;
                }
                // From the first contact again: those that were not yet told of the presence before hear this one.
                self.announcing = roster.map(|_| 0);
                if roster.is_none() {
                    effects.push_back(Effect::NeedRoster);
                }
            }
            PresenceType::Unavailable => {
                // The server passes it on to everybody who got directed presence, so nobody needs to be told here.
                (self.available, self.announcing, self.showing) = (None, None, None);
                self.known.clear();
                self.has_dropped |= !self.strangers.is_empty();
                self.strangers.clear();
            }
            _ => {}
        }
    }

    /// The client has sent presence to one address.
    pub fn client_directed(&mut self, to: &str) {
        if self.addressed.len() < MAX_ADDRESSES {
            self.addressed.insert(digest_of_address(bare_of(to)));
        }
    }

    /// Presence has come from the server.
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
                if self.note_gone(bare, &presence, contact.is_some()) {
                    effects.push_back(Effect::ToClient(presence));
                }
            }
            // It answers presence that the gateway has sent: the client does not know of that.
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
        let shown = is_visible.then(|| self.memory.keep(&presence));
        self.hidden.remove(&digest_of_address(full));
        let (is_new, has_changed) = self.learn(contact.jid.as_str(), full, shown);
        if is_visible && (mark.is_none() || has_changed) {
            effects.push_back(Effect::ToClient(presence));
        }
        let is_answered = match mark {
            Some(Mark::Hello) => true,
            // The client may have changed before the gateway knew that this contact is available, and the change was
            // then not sent to it.
            Some(Mark::News) => is_new && self.has_changed,
            None => is_new,
        };
        if is_answered && contact.receives_presence() {
            self.show_to(contact, Mark::News, effects);
        }
    }

    /// The first roster of the session has arrived. A client that asked for it has it already: it would drop presence
    /// of contacts that it does not know.
    pub fn roster_arrived(&mut self, roster: &Roster, effects: &mut Effects) {
        self.known.retain(|bare, _| roster.get(bare).is_some());
        self.unannounced = 0;
        self.announcing = self.available.as_ref().map(|_| 0);
        for stranger in std::mem::take(&mut self.strangers) {
            match roster.get(bare_of(&stranger.full)) {
                // Presence without a mark was given to the client when it came.
                Some(contact) if Mark::of(&stranger.presence).is_some() => {
                    self.introduce(contact, stranger, effects);
                }
                Some(_) => {}
                None => self.strangers.push_back(stranger),
            }
        }
    }

    /// Announces the client to a contact. If the contact may not see the client, only asks for its presence.
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

    /// Notes that a resource is available, and which presence of it the client is given. Returns two answers: is the
    /// resource new, and does the presence differ from the last one?
    ///
    /// A resource for which there is no room does not count as new: it would be new, and be answered, each time.
    fn learn(&mut self, bare: &str, full: &str, shown: Option<Shown>) -> (bool, bool) {
        let known = self.known.entry(bare.into()).or_default();
        if let Some(one) = known.iter_mut().find(|one| *one.full == *full) {
            let has_changed = one.shown != shown;
            one.shown = shown;
            return (false, has_changed);
        }
        let has_room = known.len() < MAX_RESOURCES;
        self.is_crowded |= !has_room;
        if has_room {
            let full = full.into();
            known.push(Resource { full, shown });
        }
        (has_room, true)
    }

    /// Notes that somebody has gone. Returns whether to tell the client: not if it has never seen them, and not twice.
    fn note_gone(&mut self, bare: &str, presence: &Stanza, is_contact: bool) -> bool {
        let from = presence.from().unwrap_or_default();
        let place = self.strangers.iter().position(|it| *it.full == *from);
        let stranger = place.and_then(|place| self.strangers.remove(place));
        if self.hidden.remove(&digest_of_address(&from)) {
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
        // The resource is not known. A contact may have gone twice, as a server may remember more than one address.
        // The client is told only if the gateway may have forgotten the resource for lack of room.
        let is_marked = Mark::of(presence).is_some();
        match is_contact {
            true => self.is_crowded && !is_marked,
            false => {
                self.has_addressed(bare) || self.has_dropped && !is_marked && !self.is_former(bare)
            }
        }
    }

    /// Removes a resource from `known`. Returns whether the client has seen it; `None` if it was not known.
    fn forget(&mut self, bare: &str, full: &str) -> Option<bool> {
        let known = self.known.get_mut(bare)?;
        let place = known.iter().position(|one| *one.full == *full)?;
        let shown = known.swap_remove(place).shown;
        if known.is_empty() {
            self.known.remove(bare);
        }
        Some(shown.is_some())
    }

    fn has_addressed(&self, bare: &str) -> bool {
        self.addressed.len() >= MAX_ADDRESSES || self.addressed.contains(&digest_of_address(bare))
    }

    /// Notes that the client does not see this resource, and so need not be told when it goes.
    fn hide(&mut self, full: &str) {
        if self.hidden.len() < MAX_ADDRESSES {
            self.hidden.insert(digest_of_address(full));
        }
    }
}
