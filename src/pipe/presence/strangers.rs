//! Strangers: people who are not on the list, and whose presence has come. Decides what is kept of it, and when the
//! client is given it.
//!
//! The notification of a new friendship may be slower than the new friend's presence. So presence that a gateway has
//! sent is held for a while: it is shown at once if the stranger becomes a contact, and anyway at the end of that time.

use std::collections::VecDeque;

use super::{
    Effects, MAX_EARLY, PresenceService, bare_of, digest_of_address,
    stanzas::{Mark, gone},
};
use crate::{
    pipe::{Effect, identity::Identity},
    proto::stanza::Stanza,
    roster::Contact,
};

/// Most strangers that are remembered.
const MAX_STRANGERS: usize = 32;
/// Largest presence kept of a stranger, bytes.
const MAX_STRANGER_SIZE: usize = 4096;

/// The latest presence of someone who is not on the list.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) full: Box<str>,
    pub(super) presence: Stanza,
    /// The client has been given this presence.
    pub(super) is_shown: bool,
}

impl PresenceService {
    pub(super) fn stranger_is_available(
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
        // A room passes on what gateways send to it, marks included: there, a mark says nothing about this client.
        let is_shown = Mark::of(&presence).is_none() || was_shown || self.has_addressed(bare);
        if is_shown {
            if is_early && self.early.saturating_add(full.len()) <= MAX_EARLY {
                let shown = self.memory.keep(&presence);
                let (is_new, _) = self.learn(bare, &full, Some(shown));
                self.early = self
                    .early
                    .saturating_add(if is_new { full.len() } else { 0 });
            }
            self.hidden.remove(&digest_of_address(&full));
            effects.push_back(Effect::ToClient(presence.clone()));
            if self.has_addressed(bare) {
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

    /// Whether presence is held that the client is given if its senders do not become contacts soon.
    pub fn has_held(&self) -> bool {
        self.strangers.iter().any(|it| self.is_held(it))
    }

    fn is_held(&self, stranger: &Stranger) -> bool {
        let is_hidden = self.is_former(bare_of(&stranger.full)) || self.blocked.has(&stranger.full);
        !stranger.is_shown && !is_hidden
    }

    pub(super) fn is_former(&self, bare: &str) -> bool {
        !self.former.is_empty() && self.former.contains(&digest_of_address(bare))
    }

    /// Gives the client all presence that is held: its senders have not become contacts, and clients ignore people whom
    /// they do not know.
    pub fn show_held(&mut self, effects: &mut Effects) {
        for mut stranger in std::mem::take(&mut self.strangers) {
            self.show_stranger(&stranger, effects);
            stranger.is_shown |= self.is_held(&stranger);
            self.strangers.push_back(stranger);
        }
    }

    fn show_stranger(&mut self, stranger: &Stranger, effects: &mut Effects) {
        if self.is_held(stranger) {
            self.hidden.remove(&digest_of_address(&stranger.full));
            effects.push_back(Effect::ToClient(stranger.presence.clone()));
        }
    }

    /// Takes those resources that belong to a new contact out of the strangers, and shows their presence.
    pub(super) fn introduce_all(&mut self, contact: &Contact, effects: &mut Effects) {
        for stranger in std::mem::take(&mut self.strangers) {
            if bare_of(&stranger.full) == contact.jid.as_str() {
                self.introduce(contact, stranger, effects);
            } else {
                self.strangers.push_back(stranger);
            }
        }
    }

    pub(super) fn introduce(
        &mut self,
        contact: &Contact,
        stranger: Stranger,
        effects: &mut Effects,
    ) {
        if self.blocked.has(&stranger.full) {
            return;
        }
        self.hidden.remove(&digest_of_address(&stranger.full));
        let is_visible = contact.sends_presence();
        let shown = is_visible.then(|| self.memory.keep(&stranger.presence));
        let (_, has_changed) = self.learn(contact.jid.as_str(), &stranger.full, shown);
        if is_visible && has_changed {
            effects.push_back(Effect::ToClient(stranger.presence));
        }
    }

    /// Forgets the strangers that are blocked, and tells the client that they have gone.
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
}
