//! Pace of all writes to one server, in contacts: first come, first served, a second's worth at a time.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Mutex;

/// The pace.
#[derive(Debug)]
pub(super) struct Pace {
    limiter: DefaultDirectRateLimiter,
    rate: NonZeroU32,
    /// Held by the one who waits for the limiter, which would serve small wishes first for ever. The lock is fair.
    turn: Mutex<()>,
}

impl Pace {
    pub(super) fn new(rate: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::direct(Quota::per_second(rate)),
            rate,
            turn: Mutex::default(),
        }
    }

    /// Waits until so many contacts may be written.
    pub(super) async fn wait(&self, contacts: usize) {
        let mut left = u32::try_from(contacts).unwrap_or(u32::MAX);
        while let Some(step) = NonZeroU32::new(left.min(self.rate.get())) {
            let _turn = self.turn.lock().await;
            if self.limiter.until_n_ready(step).await.is_err() {
                return;
            }
            left -= step.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{
        FutureExt as _,
        future::{Either, select},
    };

    use super::*;

    #[tokio::test]
    async fn a_pace_is_kept() {
        let pace = Pace::new(NonZeroU32::MIN);
        assert!(pace.wait(1).now_or_never().is_some());
        assert!(pace.wait(1).now_or_never().is_none());
        // More than a second's worth is waited for in parts.
        let pace = Pace::new(NonZeroU32::new(1000).unwrap());
        assert!(pace.wait(1000).now_or_never().is_some());
        assert!(pace.wait(1500).now_or_never().is_none());
        pace.wait(1500).await;
    }

    #[tokio::test]
    async fn a_long_list_does_not_wait_for_short_ones_that_come_later() {
        let pace = Pace::new(NonZeroU32::new(1000).unwrap());
        pace.wait(1000).await;
        let (mut long, mut short) = (pin!(pace.wait(200)), pin!(pace.wait(1)));
        assert!((&mut long).now_or_never().is_none());
        assert!((&mut short).now_or_never().is_none());
        let first = select(long, short).await;
        assert!(matches!(first, Either::Left(_)), "the short one overtakes");
    }
}
