//! What the client was shown of its contacts, for a client that begins anew: a page that was loaded again goes on with
//! the session, and has forgotten who is there. Decides what is kept of it, and shows it again.
//!
//! Presence of contacts mostly differs in the sender alone. So it is kept once for all whose presence says the same,
//! and what there is no room for is not kept: such contacts are asked again.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use super::{Digest, Effects, PresenceService, digest};
use crate::{pipe::Effect, proto::stanza::Stanza, roster::Roster};

/// Most memory for presence that the client was given, bytes, and most for one.
const MAX_KEPT: usize = 16 << 10;
const MAX_ONE: usize = 2 << 10;
/// Size after which other sessions have their turn, bytes, and most contacts that are looked at before that.
const BATCH: usize = 16 << 10;
const TURN: usize = 64;

/// Presence as the client was given it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    digest: Digest,
    /// One that says the same, perhaps from somebody else. `None` if there was no room.
    presence: Option<Arc<Stanza>>,
}

/// It says the same.
impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// Presence of contacts, each once.
#[derive(Debug, Default)]
pub(super) struct Memory {
    presences: HashMap<Digest, Weak<Stanza>>,
    /// What they take, with those that nobody needs any longer, bytes.
    size: usize,
}

impl Memory {
    /// Keeps what the client is given, as long as the result lives.
    pub(super) fn keep(&mut self, presence: &Stanza) -> Shown {
        let digest = digest(presence);
        let known = self.presences.get(&digest).and_then(Weak::upgrade);
        let presence = known.or_else(|| self.add(digest, presence));
        Shown { digest, presence }
    }

    fn add(&mut self, digest: Digest, presence: &Stanza) -> Option<Arc<Stanza>> {
        let size = presence.footprint();
        if self.size.saturating_add(size) > MAX_KEPT {
            self.presences
                .retain(|_, presence| presence.strong_count() > 0);
            let kept = self.presences.values().filter_map(Weak::upgrade);
            self.size = kept.map(|presence| presence.footprint()).sum();
        }
        let after = self.size.saturating_add(size);
        if size > MAX_ONE || after > MAX_KEPT {
            return None;
        }
        self.size = after;
        let presence = Arc::new(presence.clone());
        self.presences.insert(digest, Arc::downgrade(&presence));
        Some(presence)
    }
}

impl PresenceService {
    /// The client has forgotten what it was shown.
    pub fn begin_anew(&mut self) {
        self.showing = (!self.known.is_empty()).then_some(0);
    }

    /// Whether the client is being shown again who is there.
    pub fn is_showing_again(&self) -> bool {
        self.showing.is_some()
    }

    /// Shows the client the next contacts again. Those whose presence is not kept are asked for it.
    pub fn show_again(&mut self, roster: Option<&Roster>, effects: &mut Effects) {
        let contacts = roster.map(Roster::contacts).unwrap_or_default();
        let begin = self.showing.take().unwrap_or_default();
        let (mut next, mut size) = (contacts.len(), 0_usize);
        for (place, contact) in contacts.iter().enumerate().skip(begin).take(TURN) {
            next = place.saturating_add(1);
            let known = self.known.get_mut(contact.jid.as_str());
            let mut is_asked = false;
            for resource in known.into_iter().flatten() {
                match &mut resource.shown {
                    Some(Shown {
                        presence: Some(presence),
                        ..
                    }) => {
                        let presence = presence.with_from(&resource.full);
                        size = size.saturating_add(presence.size());
                        effects.push_back(Effect::ToClient(presence));
                    }
                    // The answer will look like a change.
                    Some(Shown { digest, .. }) => {
                        *digest = !*digest;
                        is_asked = true;
                    }
                    None => {}
                }
            }
            if is_asked {
                self.greet(contact, effects);
            }
            if size >= BATCH {
                break;
            }
        }
        self.showing = Some(next).filter(|next| *next < contacts.len());
    }
}
