//! Counter of failed creations: how often each client has been told by 503 to come again.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use parking_lot::Mutex;

use crate::proto::bosh::Rid;

/// Most clients whose tries are counted.
const MAX_FAILURES: usize = 4096;

/// Tries by client. A client is recognized by its first rid, which it repeats while it tries.
#[derive(Default)]
pub(super) struct Failures {
    tries: Mutex<HashMap<u64, u8>>,
    hasher: RandomState,
}

impl Failures {
    /// Identifies the tries of one client to create a session for `domain`.
    pub(super) fn trial(&self, rid: Rid, domain: &str) -> u64 {
        self.hasher.hash_one((rid, domain))
    }

    /// Counts one more failure.
    pub(super) fn count(&self, trial: u64) -> u8 {
        let mut tries = self.tries.lock();
        if tries.len() >= MAX_FAILURES {
            tries.clear();
        }
        let count = tries.entry(trial).or_default();
        *count = count.saturating_add(1);
        *count
    }
}
