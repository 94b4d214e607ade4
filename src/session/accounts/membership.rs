//! Membership of a session in its account, for the handover of messages: from the bound resource to the end of its
//! stream. The rules are those of [`crate::proto::handover`].

use std::{sync::Arc, time::Instant};

use super::{Accounts, Place, Sessions};
use crate::{
    clock::now,
    net::wake_flag::WakeFlag,
    proto::handover::{Account, Member},
};

/// A session's place in its account, until it is dropped.
#[derive(Debug)]
pub(in crate::session) struct Membership {
    place: Place,
    member: Member,
}

impl Accounts {
    /// Adds a session to the account `bare` of `domain`. The server has bound it to `full`. `wake_flag` wakes it when
    /// it has something to do. `None` if the account has too many sessions.
    pub(in crate::session) fn join(
        self: &Arc<Self>,
        domain: &str,
        [bare, full]: [&str; 2],
        wake_flag: Arc<WakeFlag>,
        now: Instant,
    ) -> Option<Membership> {
        let place = self.place(domain, bare);
        let mut sessions = place.shared.0.lock();
        let member = sessions.account.join(full, now)?;
        sessions.wake_flags.insert(member, wake_flag);
        sessions.wake(member);
        drop(sessions);
        Some(Membership { place, member })
    }
}

impl Sessions {
    /// Wakes the members that have something to do, but for `member`, which is awake.
    fn wake(&mut self, member: Member) {
        for woken in self.account.take_woken() {
            if woken != member
                && let Some(wake_flag) = self.wake_flags.get(&woken)
            {
                wake_flag.wake();
            }
        }
    }
}

impl Membership {
    /// Does something with the account, as this member of it.
    pub(in crate::session) fn with<R>(&self, act: impl FnOnce(&mut Account, Member) -> R) -> R {
        let mut sessions = self.place.shared.0.lock();
        let result = act(&mut sessions.account, self.member);
        sessions.wake(self.member);
        result
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut sessions = self.place.shared.0.lock();
        sessions.account.remove(self.member, now());
        sessions.wake_flags.remove(&self.member);
        sessions.wake(self.member);
    }
}
