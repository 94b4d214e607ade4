//! Announcement of the client's presence to all contacts, in batches: a list may hold 100,000 of them. Who asks for the
//! next batch decides when there is room for it.

use bytes::BytesMut;

use super::{
    Effects, PresenceService,
    stanzas::{Mark, unavailable},
};
use crate::{pipe::Effect, roster::Roster};

/// Size after which a batch ends, bytes.
const BATCH: usize = 16 << 10;
/// Most contacts that are looked at for one batch.
const TURN: usize = 64;

impl PresenceService {
    /// Whether contacts are being told of the client's presence.
    pub fn is_announcing(&self) -> bool {
        self.announcing.is_some()
    }

    /// Sends the client's presence to the next contacts. Those that have not been told since the client became
    /// available get an announcement. The others get the change, and only if they are available as far as is known: a
    /// contact that is not will announce itself, and be answered, when it comes.
    pub fn announce(&mut self, roster: Option<&Roster>, effects: &mut Effects) {
        let contacts = roster.map(Roster::contacts).unwrap_or_default();
        let begin = self.announcing.take().unwrap_or_default();
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
            let is_unannounced = place >= self.unannounced;
            // A contact whose presence the user does not get may be available unnoticed.
            let is_there =
                || !contact.sends_presence() || self.known.contains_key(contact.jid.as_str());
            let presence = match (contact.receives_presence(), is_unannounced) {
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
        self.announcing = Some(next).filter(|next| *next < contacts.len());
        self.unannounced = match self.announcing {
            Some(next) => self.unannounced.max(next),
            None => usize::MAX,
        };
        if !many.is_empty() {
            effects.push_back(Effect::ToServerMany {
                bytes: many.freeze(),
                count,
            });
        }
    }
}
