//! The client's stanzas: how many have come, and what the client is told of them.

use bytes::Bytes;

use crate::proto::{
    sm::{Ledger, has_reached},
    xml::{Ns, write::Tag},
};

/// Counts what the client has sent. An `<a/>` promises the client that it need not keep a stanza any longer, so its `h`
/// counts those that the server has acknowledged, or that needed no server.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Stanzas that have come.
    count: u32,
    /// How many stanzas that came before the count began are yet to be dealt with.
    uncounted: u32,
    /// Which of those that were dealt with are settled.
    ledger: Ledger,
    /// The highest `h` that the client has been told. It must never hear of a lower one.
    told: u32,
    /// The client is owed an `<a/>`, at once.
    is_asked: bool,
    /// What the client had sent when it asked: it is owed an `<a/>` once that much is settled.
    owed: Option<u32>,
}

impl Received {
    /// Begins to count while `in_hand` stanzas are yet to be dealt with.
    pub(super) fn new(in_hand: u32) -> Self {
        Self {
            uncounted: in_hand,
            ..Self::default()
        }
    }

    /// A stanza has come.
    pub(super) fn take_in(&mut self) {
        self.count = self.count.wrapping_add(1);
    }

    /// The next stanza has been dealt with; by then, `sent` stanzas had been sent to the server.
    pub(super) fn deal_with(&mut self, sent: u64) {
        match self.uncounted.checked_sub(1) {
            Some(uncounted) => self.uncounted = uncounted,
            None => self.ledger.receive(sent),
        }
    }

    /// The server has acknowledged the first `sent` stanzas.
    pub(super) fn settle(&mut self, sent: u64) {
        self.ledger.confirm(sent);
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn settled(&self) -> u32 {
        self.ledger.acknowledgeable()
    }

    pub(super) fn is_all_settled(&self) -> bool {
        self.settled() == self.count
    }

    /// The client wants to know.
    pub(super) fn ask(&mut self) {
        self.is_asked = true;
        self.owed = Some(self.count);
    }

    /// Owes the client a last word.
    pub(super) fn ask_at_last(&mut self) {
        self.is_asked = true;
    }

    /// Whether the client asked about stanzas that are not settled.
    pub(super) fn is_owed(&self) -> bool {
        self.owed
            .is_some_and(|owed| !has_reached(self.safe(), owed))
    }

    /// The client hears the count in another way, and has nothing else to hear.
    pub(super) fn tell_all(&mut self) -> u32 {
        self.told = self.count;
        self.forget_questions();
        self.count
    }

    /// Whoever has asked will not be there for the answer.
    pub(super) fn forget_questions(&mut self) {
        (self.is_asked, self.owed) = (false, None);
    }

    /// The `<a/>` that is due.
    pub(super) fn poll_answer(&mut self) -> Option<Bytes> {
        let pays = self.owed.is_some() && !self.is_owed();
        if !pays && !self.is_asked {
            return None;
        }
        self.is_asked = false;
        if pays {
            self.owed = None;
        }
        self.told = self.safe();
        let answer = Tag::new("a").ns(Ns::Sm3).plain("h", self.told).empty();
        Some(answer.into())
    }

    /// The `h` that the client may be told.
    fn safe(&self) -> u32 {
        match has_reached(self.settled(), self.told) {
            true => self.settled(),
            false => self.told,
        }
    }
}

#[cfg(test)]
impl Received {
    pub(super) fn count_from(&mut self, count: u32) {
        (self.count, self.told) = (count, count);
        (self.ledger.received, self.ledger.acknowledgeable) = (count, count);
    }
}
