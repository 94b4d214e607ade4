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
    /// Sum of their sizes, bytes.
    size: usize,
    /// How many there have been.
    given: u64,
}

impl Pending {
    pub(super) fn push(&mut self, stanza: Stanza) {
        self.size = self.size.saturating_add(stanza.size());
        self.given = self.given.saturating_add(1);
        self.stanzas.push_back(stanza);
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
        let roster = self.stanzas.iter().position(is_roster);
        let presence = roster.and_then(|roster| {
            let presence = self.stanzas.iter().skip(roster).position(is_presence)?;
            Some(roster.saturating_add(presence))
        });
        let end = presence.unwrap_or(usize::MAX).min(MAX_STANZAS);
        if end >= self.stanzas.len() {
            return self.take_all();
        }
        let rest = self.stanzas.split_off(end);
        self.size = rest.iter().map(Stanza::size).sum();
        std::mem::replace(&mut self.stanzas, rest)
    }
}
