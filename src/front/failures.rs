//! Failed creations: how often a client has been told to come again, by 503.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use parking_lot::Mutex;

use crate::proto::bosh::Rid;

/// Clients whose tries are counted.
const MAX_FAILURES: usize = 4096;

/// How often clients have been told to come again. A client is known by its first rid, which it keeps
/// while it tries.
#[derive(Default)]
pub(super) struct Failures {
    tries: Mutex<HashMap<u64, u8>>,
    hasher: RandomState,
}

impl Failures {
    /// Names the tries of one client to create a session for `domain`.
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
