//! Kept stanzas: those that the client has been sent and has not acknowledged, and when it is asked about them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Given, Violation};

/// How many stanzas are sent before the client is asked, and how long after the first of them it is asked at the
/// latest. More questions would cost more than they tell; fewer would let the server keep more than it may.
const MANY: usize = 10;
pub(super) const PACE: Duration = Duration::from_secs(2);
/// How long the client may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

const REQUEST: Bytes = Bytes::from_static(b"<r xmlns='urn:xmpp:sm:3'/>");

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The stanzas, in order. They share their bytes with what was written.
    stanzas: VecDeque<Given>,
    /// What it takes to keep them, bytes.
    size: usize,
    /// How many stanzas the client has acknowledged.
    acknowledged: u32,
    /// How many stanzas have been written since the latest `<r/>`.
    unasked: usize,
    /// When the first of these was written, or the client gave an answer that left some of them open.
    since: Option<Instant>,
    /// Since when the client owes an answer.
    asking: Option<Instant>,
}

impl Kept {
    /// A stanza is being written.
    pub(super) fn push(&mut self, given: Given, now: Instant) {
        self.size = self.size.saturating_add(given.element.footprint());
        self.unasked = self.unasked.saturating_add(1);
        self.since = self.since.or(Some(now));
        self.stanzas.push_back(given);
    }

    /// How many of the stanzas the client acknowledges by `h`.
    ///
    /// # Errors
    /// When it cannot be true.
    pub(super) fn count_by(&self, h: u32) -> Result<usize, Violation> {
        let acknowledged = self.acknowledged;
        let count = h.wrapping_sub(acknowledged);
        if count > u32::MAX / 2 {
            return Err(Violation::HandledTooLow { h, acknowledged });
        }
        match usize::try_from(count) {
            Ok(count) if count <= self.stanzas.len() => Ok(count),
            _ => Err(Violation::HandledTooHigh {
                h,
                sent: self.sent(),
            }),
        }
    }

    /// How many stanzas the client has been sent, modulo 2^32.
    pub(super) fn sent(&self) -> u32 {
        let kept = u32::try_from(self.stanzas.len()).unwrap_or(u32::MAX);
        self.acknowledged.wrapping_add(kept)
    }

    /// The client has the first `count` of the stanzas.
    pub(super) fn release(&mut self, count: usize) {
        let count = count.min(self.stanzas.len());
        for given in self.stanzas.drain(..count) {
            self.size = self.size.saturating_sub(given.element.footprint());
            self.acknowledged = self.acknowledged.wrapping_add(1);
        }
        self.unasked = self.unasked.min(self.stanzas.len());
        if self.stanzas.is_empty() {
            // Most sessions are idle most of the time, and then take no room for that.
            self.stanzas = VecDeque::new();
        }
    }

    /// The position of the first of the stanzas.
    pub(super) fn first(&self) -> Option<u64> {
        self.stanzas.front().map(|given| given.position)
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Takes the stanzas.
    pub(super) fn take(&mut self) -> VecDeque<Given> {
        self.size = 0;
        self.forget_question();
        std::mem::take(&mut self.stanzas)
    }

    /// The client has answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.asking = None;
        self.since = match self.stanzas.is_empty() {
            true => None,
            false => self.since.or(Some(now)),
        };
    }

    /// The client will not answer: the connection is gone.
    pub(super) fn forget_question(&mut self) {
        (self.unasked, self.since, self.asking) = (0, None, None);
    }

    /// Whether an answer would tell more than the one before.
    pub(super) fn may_ask(&self) -> bool {
        self.asking.is_none() && self.unasked > 0 && !self.stanzas.is_empty()
    }

    /// The `<r/>` that is due; it is wanted earlier if `is_wanted`.
    pub(super) fn poll_request(&mut self, is_wanted: bool, now: Instant) -> Option<Bytes> {
        let may_ask = self.may_ask() && (is_wanted || self.unasked >= MANY);
        if !may_ask && self.ask_at().is_none_or(|at| at > now) {
            return None;
        }
        self.forget_question();
        self.asking = Some(now);
        Some(REQUEST)
    }

    /// When to ask, if not earlier.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.asking.is_none());
        since?.checked_add(PACE)
    }

    /// The client was not heard, so that its time to answer begins anew.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.asking = self.asking.map(|_| now);
    }

    pub(super) fn give_up_at(&self) -> Option<Instant> {
        self.asking?.checked_add(ANSWER)
    }
}

#[cfg(test)]
impl Kept {
    pub(super) fn count_from(&mut self, acknowledged: u32) {
        self.acknowledged = acknowledged;
    }

    pub(super) fn capacity(&self) -> usize {
        self.stanzas.capacity()
    }
}
