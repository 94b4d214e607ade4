//! What the client has not been sent yet.

use std::collections::VecDeque;

use crate::proto::{
    stanza::{Kind, Stanza},
    xml::Ns,
};

/// Most stanzas of one answer. Each may be a roster push, and a client may confirm all of them in its
/// next request, which has to stay below the limits on requests.
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

    /// Puts stanzas that had been taken before all others again.
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

    /// Takes what may travel in one answer. Converse.js makes contacts known to itself only after it
    /// has gone through the whole answer; presence of a new contact in the same one would end its
    /// listening to presence for good. So presence waits for the answer after the one with the roster.
    pub(super) fn take_next(&mut self) -> VecDeque<Stanza> {
        let is_roster = |stanza: &Stanza| matches!(stanza.payload(), Some((Ns::Roster, _)));
        let is_presence = |stanza: &Stanza| matches!(stanza.kind(), Kind::Presence(_));
        // No more is looked at than may be taken, whatever else waits.
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
