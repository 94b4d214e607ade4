//! Log throttle: a line that each of a thousand requests would cause is logged at most once a second.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lets a line into the log at most once a second.
#[derive(Debug)]
pub struct LogThrottle {
    pace: DefaultDirectRateLimiter,
    unsaid: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self {
            pace: RateLimiter::direct(Quota::per_second(NonZeroU32::MIN)),
            unsaid: AtomicU64::new(0),
        }
    }
}

impl LogThrottle {
    /// `Some` if the line is to be logged now, with the number of lines left out since the last one.
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
    fn a_flood_is_logged_once() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.is_due(), Some(0));
        let said = (0..1000).filter(|_| throttle.is_due().is_some()).count();
        assert!(said <= 1, "{said} in a moment");
    }
}
