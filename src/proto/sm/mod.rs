//! Stream management (XEP-0198), without resumption: which side owns which stanza.
//!
//! [`initiator`] is the gateway's part towards an XMPP server. The `Ledger` counts the stanzas that one side has
//! received on behalf of somebody else, and says how many of them may be acknowledged.

pub mod initiator;

use std::collections::VecDeque;

/// Counts stanzas received for a client, and how many may be acknowledged because the client has confirmed them.
/// Counters are modulo 2^32, as `h` is.
///
/// The two sides count differently. A stanza of the server may lead to none, one or many for the client, and some that
/// the client gets come from the gateway. So an acknowledgement that is due is a pair: once the client has confirmed
/// `after` stanzas of its own count, `h` may be acknowledged.
#[derive(Debug, Default)]
struct Ledger {
    /// Stanzas received.
    received: u32,
    /// How many of them may be acknowledged by now.
    acknowledgeable: u32,
    /// What may be acknowledged later, in order.
    due: VecDeque<Due>,
}

/// `h` may be acknowledged once `after` stanzas have been confirmed.
#[derive(Debug)]
struct Due {
    after: u64,
    h: u32,
}

impl Ledger {
    /// A stanza has been dealt with. By then, the client had been given `given` stanzas in all.
    fn receive(&mut self, given: u64) {
        self.received = self.received.wrapping_add(1);
        let h = self.received;
        match self.due.back_mut() {
            Some(due) if due.after == given => due.h = h,
            _ => self.due.push_back(Due { after: given, h }),
        }
    }

    /// The client has confirmed the first `given` stanzas.
    fn confirm(&mut self, given: u64) {
        while let Some(due) = self.due.front()
            && due.after <= given
        {
            self.acknowledgeable = due.h;
            self.due.pop_front();
        }
    }

    /// The `h` that may be sent now.
    fn acknowledgeable(&self) -> u32 {
        self.acknowledgeable
    }

    /// How many stanzas may not be acknowledged yet.
    fn unconfirmed(&self) -> u32 {
        self.received.wrapping_sub(self.acknowledgeable)
    }
}
