//! What keeps a server in trouble from more of it, and its clients from waiting for nothing.
//!
//! Few connections at a time come about; and once some in a row have failed, none is tried for a while,
//! then one, whose success lets in all again.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

/// Connections that may be about to be opened at a time.
const DIALS: usize = 64;
/// Failures in a row after which the server is left alone.
const FAILURES: u32 = 5;
/// For how long. Clients have been told to try again after as long.
const REST: Duration = Duration::from_secs(5);

/// The gate of one host.
#[derive(Debug)]
pub(super) struct Gate {
    /// Turns to dial.
    pub(super) turns: Semaphore,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// In a row.
    failures: u32,
    rest_until: Option<Instant>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(DIALS),
            trouble: Mutex::default(),
        }
    }
}

impl Gate {
    /// Whether a connection may be tried. Whoever is let in while the server is in trouble is the only
    /// one for a while.
    pub(super) fn admits(&self) -> bool {
        let mut trouble = self.trouble.lock();
        let now = Instant::now();
        match trouble.rest_until {
            Some(until) if now < until => false,
            Some(_) => {
                trouble.rest_until = Some(now + REST);
                true
            }
            None => true,
        }
    }

    /// Takes note of how it went.
    pub(super) fn note(&self, has_succeeded: bool) {
        let mut trouble = self.trouble.lock();
        if has_succeeded {
            *trouble = Trouble::default();
            return;
        }
        trouble.failures = trouble.failures.saturating_add(1);
        if trouble.failures >= FAILURES {
            trouble.rest_until = Some(Instant::now() + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_in_trouble_is_left_alone_and_then_tried_by_one() {
        let gate = Gate::default();
        for _ in 0..FAILURES {
            assert!(gate.admits());
            gate.note(false);
        }
        assert!(!gate.admits());
        advance(REST).await;
        assert!(gate.admits(), "one finds out");
        assert!(!gate.admits(), "while others wait");
        gate.note(false);
        advance(REST).await;
        assert!(gate.admits());
        gate.note(true);
        assert!(gate.admits() && gate.admits());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_count_in_a_row() {
        let gate = Gate::default();
        for _ in 0..3 * FAILURES {
            gate.note(false);
            gate.note(true);
        }
        for _ in 1..FAILURES {
            gate.note(false);
        }
        assert!(gate.admits());
    }
}
