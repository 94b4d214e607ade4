//! Pending stanzas: those that the client has not been sent yet, and how many of them one answer may carry.

use std::collections::VecDeque;

use crate::proto::{
    stanza::{Kind, Stanza},
    xml::Ns,
};

/// Most stanzas of one answer. Each may be a roster push, which the client answers. Its answers to all of them may come
/// in one request, which has to stay within the limits on requests.
const MAX_STANZAS: usize = 1000;

/// Stanzas for the client, in order.
#[derive(Debug, Default)]
pub(super) struct Pending {
    stanzas: VecDeque<Stanza>,
    /// What it takes to keep them, bytes.
    size: usize,
    /// How many there have been.
    given: u64,
}

impl Pending {
    pub(super) fn push(&mut self, stanza: Stanza) {
        self.size = self.size.saturating_add(stanza.footprint());
        self.given = self.given.saturating_add(1);
        self.stanzas.push_back(stanza);
    }

    /// Puts stanzas back that had been taken, before all others.
    pub(super) fn put_back(&mut self, mut stanzas: VecDeque<Stanza>) {
        let size = stanzas.iter().map(Stanza::footprint).sum();
        self.size = self.size.saturating_add(size);
        stanzas.append(&mut self.stanzas);
        self.stanzas = stanzas;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stanzas.is_empty()
    }

    pub(super) fn given(&self) -> u64 {
        self.given
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn take_all(&mut self) -> VecDeque<Stanza> {
        self.size = 0;
        std::mem::take(&mut self.stanzas)
    }

    /// Takes what may travel in one answer.
    ///
    /// Presence waits for the answer after the one with the roster. Converse.js adds new contacts only when it has gone
    /// through the whole answer; after presence of such a contact in the same answer, it would never listen to presence
    /// again.
    pub(super) fn take_next(&mut self) -> VecDeque<Stanza> {
        let is_roster = |stanza: &Stanza| matches!(stanza.payload(), Some((Ns::Roster, _)));
        let is_presence = |stanza: &Stanza| matches!(stanza.kind(), Kind::Presence(_));
        // No more stanzas are looked at than may be taken, so that a long queue costs nothing.
        let mut after_roster = self
            .stanzas
            .iter()
            .take(MAX_STANZAS)
            .enumerate()
            .skip_while(|(_, stanza)| !is_roster(stanza));
        let presence = after_roster.find(|(_, stanza)| is_presence(stanza));
        let end = presence.map_or(MAX_STANZAS, |(index, _)| index);
        if end >= self.stanzas.len() {
            return self.take_all();
        }
        let taken: VecDeque<Stanza> = self.stanzas.drain(..end).collect();
        let size = taken.iter().map(Stanza::footprint).sum();
        self.size = self.size.saturating_sub(size);
        taken
    }
}
