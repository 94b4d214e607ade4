//! Which sessions belong to one account, so that one of them can take over what another leaves.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;

use crate::{
    clock::now,
    proto::handover::{Account, Member},
    roster::Poke,
};

/// A served domain, and the bare JID that its server has bound.
type Key = (Box<str>, Box<str>);

/// All accounts that have a session. Locks are held for an operation on memory, that of all before that of one.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<HashMap<Key, Arc<Shared>>>);

#[derive(Debug, Default)]
struct Shared(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    account: Account,
    /// How to wake them.
    pokes: BTreeMap<Member, Arc<Poke>>,
}

/// A session's place in its account, until it is dropped.
#[derive(Debug)]
pub struct Membership {
    accounts: Arc<Accounts>,
    key: Key,
    shared: Arc<Shared>,
    member: Member,
}

impl Accounts {
    /// Takes a session in that has been bound to `full`, of the account `bare`, in `domain`. It is told by `poke` when it has something to do.
    /// `None` if the account has too many sessions.
    pub fn join(
        self: &Arc<Self>,
        domain: &str,
        [bare, full]: [&str; 2],
        poke: Arc<Poke>,
        now: Instant,
    ) -> Option<Membership> {
        let key: Key = (domain.into(), bare.into());
        let mut accounts = self.0.lock();
        let shared = Arc::clone(accounts.entry(key.clone()).or_default());
        let mut sessions = shared.0.lock();
        let member = sessions.account.join(full, now)?;
        sessions.pokes.insert(member, poke);
        sessions.wake(member);
        drop(sessions);
        drop(accounts);
        Some(Membership {
            accounts: Arc::clone(self),
            key,
            shared,
            member,
        })
    }
}

impl Sessions {
    /// Wakes whoever has something to do, but for `member`, who is awake.
    fn wake(&mut self, member: Member) {
        for woken in self.account.take_woken() {
            if woken != member
                && let Some(poke) = self.pokes.get(&woken)
            {
                poke.wake();
            }
        }
    }
}

impl Membership {
    /// Does something with the account, as this member of it.
    pub fn with<R>(&self, act: impl FnOnce(&mut Account, Member) -> R) -> R {
        let mut sessions = self.shared.0.lock();
        let result = act(&mut sessions.account, self.member);
        sessions.wake(self.member);
        result
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut accounts = self.accounts.0.lock();
        let mut sessions = self.shared.0.lock();
        sessions.account.remove(self.member, now());
        sessions.pokes.remove(&self.member);
        sessions.wake(self.member);
        let is_empty = sessions.account.is_empty();
        drop(sessions);
        if is_empty {
            accounts.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_last_as_long_as_their_sessions() {
        let accounts = Arc::<Accounts>::default();
        let join = |domain, bare| {
            let jids = [bare, "full"];
            accounts.join(domain, jids, Arc::default(), now()).unwrap()
        };
        let first = join("x", "a@x");
        let others = [join("x", "b@x"), join("y", "a@x")];
        let has_others = |it: &Membership| it.with(|account, _| account.has_others());
        assert!(!has_others(&first), "of this user in this domain");
        let second = join("x", "a@x");
        assert!(has_others(&first));
        drop(first);
        assert!(!has_others(&second));
        drop((second, others));
        assert!(accounts.0.lock().is_empty());
    }
}
