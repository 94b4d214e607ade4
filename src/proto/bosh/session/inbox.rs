//! Inbox of the shell: the client's stanzas, restarts and end, until the shell takes them.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::Event;
use crate::proto::stanza::Stanza;

/// Most bytes of stanzas that may wait for the shell, besides those of one request.
pub(super) const MAX_SIZE: usize = 1 << 20;

/// Events, in order.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: VecDeque<Event>,
    /// What it takes to keep the stanzas among them, bytes.
    size: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, event: Event) {
        if let Event::Stanza(stanza) = &event {
            self.size = self.size.saturating_add(stanza.footprint());
        }
        self.events.push_back(event);
    }

    pub(super) fn push_stanzas(&mut self, stanzas: SmallVec<[Stanza; 2]>) {
        for stanza in stanzas {
            self.push(Event::Stanza(stanza));
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if let Some(Event::Stanza(stanza)) = &event {
            self.size = self.size.saturating_sub(stanza.footprint());
        }
        if event.is_none() {
            // Most sessions are idle most of the time, and then take no room for that.
            self.events = VecDeque::new();
        }
        event
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What it takes to keep the stanzas, bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Whether these stanzas may be added. If none wait, those of one request always may.
    pub(super) fn has_room_for(&self, stanzas: &[Stanza]) -> bool {
        self.size == 0 || self.size.saturating_add(footprint(stanzas)) <= MAX_SIZE
    }
}

/// What it takes to keep stanzas, bytes.
pub(super) fn footprint(stanzas: &[Stanza]) -> usize {
    stanzas.iter().map(Stanza::footprint).sum()
}
