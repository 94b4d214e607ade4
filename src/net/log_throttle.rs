//! Log throttle: a line that each of a thousand requests would cause is logged at most once a second, or a few times.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lets a line into the log so many times a second.
#[derive(Debug)]
pub struct LogThrottle {
    pace: DefaultDirectRateLimiter,
    unsaid: AtomicU64,
}

/// Once a second.
impl Default for LogThrottle {
    fn default() -> Self {
        Self::per_second(NonZeroU32::MIN)
    }
}

impl LogThrottle {
    /// At most `most` times a second.
    pub fn per_second(most: NonZeroU32) -> Self {
        Self {
            pace: RateLimiter::direct(Quota::per_second(most)),
            unsaid: AtomicU64::new(0),
        }
    }

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
