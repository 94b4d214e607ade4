//! The backlog: what pends for the clients of all sessions together, and when that is too much.
//!
//! The bound on one session, times the number of sessions, would be no bound. So half of what may pend in all is
//! for whoever needs it. Once that is used, the other half is divided among the sessions: the server of a
//! session that has more than its share is not read until the client of that session comes. No session is ended for
//! it, nothing is lost, and nobody waits for the client of another.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that pend, and how many may.
#[derive(Debug)]
pub struct Backlog {
    bytes: AtomicUsize,
    most: AtomicUsize,
}

impl Default for Backlog {
    /// Without a bound.
    fn default() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Backlog {
    /// Goes by another bound from now on, bytes.
    pub fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Bytes that pend.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// For one session, `now` bytes pend in place of `before`.
    pub(super) fn change(&self, before: usize, now: usize) {
        if now >= before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Whether a session, one of `sessions`, for which `own` bytes pend, must not have more.
    pub(super) fn is_used_up(&self, own: usize, sessions: usize) -> bool {
        let half = self.most.load(Ordering::Relaxed) / 2;
        own > half / sessions.max(1) && self.bytes() >= half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_little_may_always_have_more() {
        let backlog = Backlog::default();
        backlog.bound(1000);
        backlog.change(0, 499);
        assert!(!backlog.is_used_up(499, 5), "half of it is free for all");
        backlog.change(0, 1);
        assert!(backlog.is_used_up(499, 5));
        assert!(!backlog.is_used_up(100, 5), "its share");
        assert!(backlog.is_used_up(101, 5));
        assert!(backlog.is_used_up(51, 10), "a share of less");
        backlog.change(499, 0);
        assert!(!backlog.is_used_up(101, 5));
        assert_eq!(backlog.bytes(), 1);
    }

    /// Sessions take 10 bytes at a time, as long as they may.
    #[test]
    fn all_together_have_no_more_than_the_bound() {
        let backlog = Backlog::default();
        backlog.bound(1000);
        let mut sessions = [0_usize; 20];
        loop {
            let hungry = sessions.iter().enumerate().rev();
            let mut hungry = hungry.filter(|(_, own)| !backlog.is_used_up(**own, 20));
            let Some(index) = hungry.next().map(|(index, _)| index) else {
                break;
            };
            backlog.change(sessions[index], sessions[index] + 10);
            sessions[index] += 10;
        }
        let all: usize = sessions.iter().sum();
        assert_eq!(all, backlog.bytes());
        assert!((500..=1000 + 20 * 10).contains(&all), "{all}");
        assert!(sessions.iter().all(|own| *own > 20), "{sessions:?}");
    }
}
