//! Announcement of the client's presence to all contacts, in batches.

use bytes::BytesMut;

use super::{
    Carrier, Effects,
    stanzas::{Mark, unavailable},
};
use crate::{pipe::Effect, roster::Roster};

/// Bytes of presence made at once, and contacts looked at for them.
const BATCH: usize = 16 << 10;
const TURN: usize = 64;

impl Carrier {
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
}
