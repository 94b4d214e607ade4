//! Copies: which sessions of an account have got the same message. A server may send one message to several of them.
//!
//! Copies are recognized by a fingerprint of what they have in common. Two different messages may look the same (two
//! times "ok", without ids), so those are counted: the second that one session gets is a copy of the second that
//! another one gets, not of its first.

use std::{
    collections::{HashMap, VecDeque},
    hash::RandomState,
};

use smallvec::SmallVec;

use super::{Members, message};
use crate::proto::stanza::Stanza;

/// Messages that are remembered of an account with several sessions. Older ones may come twice.
const MAX_MESSAGES: usize = 2048;

/// Names a message among those of an account.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Noted {
    fingerprint: u64,
    /// The tick at which it was first seen.
    tick: u64,
}

/// The latest messages, and who has them.
#[derive(Debug, Default)]
pub(super) struct Copies {
    hasher: RandomState,
    by_fingerprint: HashMap<u64, SmallVec<[Copy; 1]>>,
    /// Fingerprints, in the order of the ticks.
    order: VecDeque<u64>,
}

/// One message, not necessarily the only one of its fingerprint.
#[derive(Debug)]
struct Copy {
    tick: u64,
    holders: Members,
}

impl Copies {
    /// `holder`, bound at the tick `since`, has got this. Of messages that look the same, its first is the first that
    /// anybody has got since then, and so on.
    pub(super) fn note(
        &mut self,
        stanza: &Stanza,
        holder: Members,
        since: u64,
        tick: u64,
    ) -> Noted {
        let fingerprint = message::fingerprint(stanza, &self.hasher);
        let alike = self.by_fingerprint.entry(fingerprint).or_default();
        let open = |copy: &&mut Copy| copy.tick >= since && !copy.holders.has(holder);
        if let Some(copy) = alike.iter_mut().find(open) {
            copy.holders.add(holder);
            let tick = copy.tick;
            return Noted { fingerprint, tick };
        }
        alike.push(Copy {
            tick,
            holders: holder,
        });
        self.order.push_back(fingerprint);
        if self.order.len() > MAX_MESSAGES {
            self.forget_oldest();
        }
        Noted { fingerprint, tick }
    }

    /// Whether `holder` has it.
    pub(super) fn has(&self, holder: Members, noted: Noted) -> bool {
        let mut alike = self.by_fingerprint.get(&noted.fingerprint).into_iter();
        let mut alike = alike.by_ref().flatten();
        alike.any(|copy| copy.tick == noted.tick && copy.holders.has(holder))
    }

    /// `holder` is being given it.
    pub(super) fn give(&mut self, holder: Members, noted: Noted) {
        let alike = self.by_fingerprint.get_mut(&noted.fingerprint);
        let mut alike = alike.into_iter().flatten();
        if let Some(copy) = alike.find(|copy| copy.tick == noted.tick) {
            copy.holders.add(holder);
        }
    }

    /// `holder` is gone.
    pub(super) fn forget(&mut self, holder: Members) {
        for copy in self.by_fingerprint.values_mut().flatten() {
            copy.holders.remove(holder);
        }
    }

    /// Forgets all: no other session is left.
    pub(super) fn clear(&mut self) {
        (self.by_fingerprint, self.order) = Default::default();
    }

    fn forget_oldest(&mut self) {
        let Some(fingerprint) = self.order.pop_front() else {
            return;
        };
        if let Some(alike) = self.by_fingerprint.get_mut(&fingerprint) {
            if alike.len() > 1 {
                alike.remove(0);
            } else {
                self.by_fingerprint.remove(&fingerprint);
            }
        }
    }
}
