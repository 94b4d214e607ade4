//! Backlog: what is pending for the clients of all sessions together, and when that is too much.
//!
//! The bound on one session, times the number of sessions, would be no bound. So there is a bound on all. Half of it is
//! for any session that needs it. Once that is used up, the other half is divided evenly: a session with more than its
//! share does not read from its server until its client comes. No session is ended for that, nothing is lost, and no
//! session waits for the client of another.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes are pending, and how many may be.
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
    /// Sets another bound, in bytes.
    pub fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many bytes are pending.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// For one session, `now` bytes are pending in place of `before`.
    pub(super) fn change(&self, before: usize, now: usize) {
        if now >= before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Whether a session that has `own` bytes pending must not have more. There are `sessions` in all.
    pub(super) fn is_used_up(&self, own: usize, sessions: usize) -> bool {
        let half = self.most.load(Ordering::Relaxed) / 2;
        own > half / sessions.max(1) && self.bytes() >= half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_with_little_may_always_have_more() {
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
