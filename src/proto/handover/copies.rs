//! Which sessions of an account have which message.

use std::{
    collections::{HashMap, VecDeque},
    hash::RandomState,
};

use smallvec::SmallVec;

use super::{Members, message};
use crate::proto::stanza::Stanza;

/// Messages remembered of an account that has several sessions. What is older may come twice.
const MAX_MESSAGES: usize = 2048;

/// Names a message among those of an account.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Noted {
    fingerprint: u64,
    /// When it was first seen.
    tick: u64,
}

/// The messages of late, and who has them.
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
    /// `holder`, bound at tick `since`, has got this. Of messages that look the same, its first is everybody's
    /// first since then, its second everybody's second, and so on.
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

    /// `holder` has been given it.
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

    /// Nobody is left who could ask.
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
