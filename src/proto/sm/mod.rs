//! Stream management (XEP-0198), without resumption: who owns which stanza.
//!
//! [`initiator`] is what the gateway is towards an XMPP server. The `Ledger` is the account of what one side has
//! received for somebody behind it, and says when that may be acknowledged.

pub mod initiator;

use std::collections::VecDeque;

/// Stanzas received on behalf of somebody else, until they confirm them. Counters are modulo 2^32, as `h` is.
///
/// Each stanza received may make us give the other side some stanzas, or none, and those are counted by whoever
/// delivers them. So an acknowledgement that is due is a pair: when `after` stanzas have been confirmed, `h` is true.
#[derive(Debug, Default)]
struct Ledger {
    /// Stanzas received.
    received: u32,
    /// How many of them may be acknowledged by now.
    acknowledgeable: u32,
    /// What may be acknowledged later, in order.
    due: VecDeque<Due>,
}

/// `h` may be acknowledged when `after` stanzas have been confirmed.
#[derive(Debug)]
struct Due {
    after: u64,
    h: u32,
}

impl Ledger {
    /// A stanza has been dealt with; `given` is how many stanzas had to be delivered by then, since the beginning.
    fn receive(&mut self, given: u64) {
        self.received = self.received.wrapping_add(1);
        let h = self.received;
        match self.due.back_mut() {
            Some(due) if due.after == given => due.h = h,
            _ => self.due.push_back(Due { after: given, h }),
        }
    }

    /// The first `given` stanzas have been confirmed by whom they were delivered to.
    fn confirm(&mut self, given: u64) {
        while let Some(due) = self.due.front()
            && due.after <= given
        {
            self.acknowledgeable = due.h;
            self.due.pop_front();
        }
    }

    /// The `h` that may be told now.
    fn acknowledgeable(&self) -> u32 {
        self.acknowledgeable
    }

    /// How many stanzas may not be acknowledged yet.
    fn unconfirmed(&self) -> u32 {
        self.received.wrapping_sub(self.acknowledgeable)
    }
}
