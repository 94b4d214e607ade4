//! Stream management (XEP-0198): which side owns which stanza.
//!
//! The gateway stands between two streams, and counts on each. [`initiator`] is its part towards an XMPP server,
//! without resumption; [`acceptor`] is its part towards a client, with resumption. Neither knows the other: the session
//! tells each how far the other has come. A `Ledger` is what one of them knows of that.

pub mod acceptor;
pub mod initiator;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

/// Counts the stanzas that came from one side, and how many of them may be acknowledged because the other side has what
/// was made of them. Counters are modulo 2^32, as `h` is.
///
/// The two sides count differently. One stanza may lead to none, one or many for the other side, and some that the
/// other side gets come from the gateway. So an acknowledgement that is due is a pair: once the other side has `after`
/// stanzas of its own count, `h` may be acknowledged.
#[derive(Debug, Default)]
struct Ledger {
    /// Stanzas received.
    received: u32,
    /// How many of them may be acknowledged by now.
    acknowledgeable: u32,
    /// What may be acknowledged later, in order.
    due: VecDeque<Due>,
}

/// `h` may be acknowledged once the other side has `after` stanzas.
#[derive(Debug)]
struct Due {
    after: u64,
    h: u32,
}

impl Ledger {
    /// A stanza has been dealt with. By then, `after` stanzas were on their way to the other side in all, or there.
    fn receive(&mut self, after: u64) {
        self.received = self.received.wrapping_add(1);
        let h = self.received;
        match self.due.back_mut() {
            Some(due) if due.after == after => due.h = h,
            _ => self.due.push_back(Due { after, h }),
        }
    }

    /// The other side has the first `reached` stanzas.
    fn confirm(&mut self, reached: u64) {
        while let Some(due) = self.due.front()
            && due.after <= reached
        {
            self.acknowledgeable = due.h;
            self.due.pop_front();
        }
        if self.due.is_empty() {
            // A burst is over: an idle session is to cost little.
            self.due.shrink_to(8);
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

/// Whether the counter `h` has reached `other`. Counted modulo 2^32: nobody is ahead by half of that.
fn has_reached(h: u32, other: u32) -> bool {
    h.wrapping_sub(other) <= u32::MAX / 2
}
