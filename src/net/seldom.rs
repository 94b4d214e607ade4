//! What may be said of each of a thousand requests, but is not said a thousand times.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lets a line into the log at most once a second.
#[derive(Debug)]
pub struct Seldom {
    pace: DefaultDirectRateLimiter,
    unsaid: AtomicU64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self {
            pace: RateLimiter::direct(Quota::per_second(NonZeroU32::MIN)),
            unsaid: AtomicU64::new(0),
        }
    }
}

impl Seldom {
    /// Whether to say it now; if so, how often it has not been said since the last time.
    pub fn is_due(&self) -> Option<u64> {
        if self.pace.check().is_ok() {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_once() {
        let seldom = Seldom::default();
        assert_eq!(seldom.is_due(), Some(0));
        let said = (0..1000).filter(|_| seldom.is_due().is_some()).count();
        assert!(said <= 1, "{said} in a moment");
    }
}
