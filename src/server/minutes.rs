//! The minute hand: has the last hour kept minute by minute, also while nobody looks at it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::session::Registry;

const MINUTE: Duration = Duration::from_secs(60);

/// Goes on for as long as the program runs.
pub(super) async fn keep(registry: Arc<Registry>) {
    let mut ticks = interval_at(Instant::now() + MINUTE, MINUTE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        registry.last_hour(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_while_nobody_looks_is_told_of_its_own_minute() {
        let registry = Arc::new(Registry::default());
        let keeping = tokio::spawn(keep(Arc::clone(&registry)));
        for minute in 0..3 {
            sleep(MINUTE / 2).await;
            registry.metrics.refreshed(minute, 1);
            sleep(MINUTE / 2 + Duration::from_millis(1)).await;
        }
        let minutes = registry.last_hour(Instant::now());
        let refreshed: Vec<_> = minutes.iter().map(|minute| minute.refreshed).collect();
        assert_eq!(refreshed, [1, 2, 3, 0]);
        keeping.abort();
    }
}
