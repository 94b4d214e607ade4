//! Which stanzas the client is known to have (XEP-0124 "Acknowledgements").

use std::collections::VecDeque;

use super::Rid;

/// Answers remembered one by one; beyond that, the oldest count as one.
const MAX_ANSWERS: usize = 64;

/// How far delivery has come. Stanzas are counted in the order in which they were given to the session.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// Stanzas put into answers.
    written: u64,
    confirmed: u64,
    /// Answers that carried stanzas, and `written` after each.
    answers: VecDeque<(Rid, u64)>,
}

impl Deliveries {
    /// The answer to `rid` carries `count` stanzas.
    pub(super) fn answered(&mut self, rid: Rid, count: usize) {
        if count == 0 {
            return;
        }
        self.written = self
            .written
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        self.answers.push_back((rid, self.written));
        if self.answers.len() > MAX_ANSWERS {
            self.answers.pop_front();
        }
    }

    /// The client has the answers to `rid` and to all requests before it.
    pub(super) fn confirm(&mut self, rid: Rid) {
        while let Some((answered, written)) = self.answers.front()
            && *answered <= rid
        {
            self.confirmed = *written;
            self.answers.pop_front();
        }
    }

    /// How many stanzas the client is known to have.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }
}
