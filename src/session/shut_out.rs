//! Accounts whose sessions the site has just ended. Clients log in again by themselves, some of them within seconds, and
//! with the password that they remember: then they hear that the login has failed, give up, and say so to their users.
//!
//! This is no ban. Who may log in is decided by the server; a person may log in again soon.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::proto::{stanza::Stanza, stream::error::stream_error};

/// What users read whose sessions the site ends.
pub(super) const TEXT: &str = "the site has ended this session";

/// What a client is told whose session the site ends: that it must not log in, or that it should log in again.
pub fn ended_by_site(again: bool) -> Stanza {
    let condition = if again { "reset" } else { "not-authorized" };
    stream_error(condition, TEXT)
}

/// How long an account cannot log in.
const SHUT: Duration = Duration::from_secs(20);
/// How long sessions end that had been created before, but were not bound. They have that long to bind.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most accounts that are remembered.
const MOST: usize = 10_000;

/// Accounts that cannot log in for a while. The lock is held for an operation on memory only.
#[derive(Debug, Default)]
pub struct ShutOut(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    by_name: HashMap<String, Ended>,
    /// When each was put here, the earliest first. Some may be there again, or gone.
    order: VecDeque<(Instant, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    at: Instant,
    /// Sessions with lower numbers were created before.
    before: u64,
    /// Later ones may log in already.
    is_lifted: bool,
}

impl ShutOut {
    /// The sessions of `account` (`Host::account`) end, whose numbers are below `before`.
    pub fn shut(&self, account: String, before: u64, now: Instant) {
        let mut accounts = self.0.lock();
        let ended = Ended {
            at: now,
            before,
            is_lifted: false,
        };
        accounts.by_name.insert(account.clone(), ended);
        accounts.order.push_back((now, account));
        accounts.forget(now);
    }

    /// Lets the account log in, as the site has just said that it may. Sessions that were created before still end.
    pub fn lift(&self, account: &str) {
        if let Some(ended) = self.0.lock().by_name.get_mut(account) {
            ended.is_lifted = true;
        }
    }

    /// Whether session `number` must not be one of `account`.
    pub fn is_shut(&self, account: &str, number: u64, now: Instant) -> bool {
        let ended = self.0.lock().by_name.get(account).copied();
        ended.is_some_and(|ended| {
            let since = now.saturating_duration_since(ended.at);
            let is_shut = since < SHUT && !ended.is_lifted;
            is_shut || since < REMEMBERED && number < ended.before
        })
    }

    /// Whether that is so of any account at all.
    pub fn is_empty(&self) -> bool {
        self.0.lock().by_name.is_empty()
    }
}

impl Accounts {
    fn forget(&mut self, now: Instant) {
        while let Some((at, account)) = self.order.front()
            && (*at + REMEMBERED <= now || self.order.len() > MOST)
        {
            if self
                .by_name
                .get(account)
                .is_some_and(|ended| ended.at == *at)
            {
                self.by_name.remove(account);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    #[test]
    fn an_account_is_shut_out_for_a_while_and_older_sessions_for_longer() {
        let shut_out = ShutOut::default();
        let began = now();
        assert!(shut_out.is_empty() && !shut_out.is_shut("a", 1, began));
        shut_out.shut("a".into(), 7, began);
        let at = |seconds| began + Duration::from_secs(seconds);
        let shut = |number, seconds| shut_out.is_shut("a", number, at(seconds));
        assert!(shut(6, 19) && shut(7, 19));
        assert!(shut(6, 20) && !shut(7, 20));
        assert!(shut(6, 59) && !shut(6, 60));
        assert!(!shut_out.is_shut("b", 6, began));
        shut_out.lift("a");
        assert!(shut(6, 1) && !shut(7, 1));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let shut_out = ShutOut::default();
        let began = now();
        for number in 0..=MOST {
            shut_out.shut(format!("a{number}"), 1, began);
        }
        assert_eq!(shut_out.0.lock().by_name.len(), MOST);
        assert!(!shut_out.is_shut("a0", 1, began) && shut_out.is_shut("a1", 1, began));
        // Who is here again stays.
        let later = began + Duration::from_secs(30);
        shut_out.shut("a1".into(), 1, later);
        shut_out.shut("z".into(), 1, began + REMEMBERED);
        assert!(shut_out.is_shut("a1", 2, later));
        let accounts = shut_out.0.lock();
        assert_eq!((accounts.by_name.len(), accounts.order.len()), (2, 2));
    }
}
