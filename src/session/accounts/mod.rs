//! Accounts: the register of the sessions that belong to one account, by domain and bare JID.
//!
//! Each session has a connection of its own to the server, but some things the sessions of an account do together.
//! *Members* take over messages that another one leaves ([`Membership`]); this needs stream management. *Siblings* tell
//! each other of blocks ([`Sibling`]); this needs directed presence. A session may be one, both or neither.

mod membership;
mod sibling;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

pub(super) use self::{
    membership::Membership,
    sibling::{AllDone, Done, Notice, Sibling},
};
use crate::{
    net::wake_flag::WakeFlag,
    proto::handover::{Account, Member},
};

/// A served domain, and the bare JID that its server has bound.
type Key = (Box<str>, Box<str>);

/// All accounts that have a session. Locks are held for an operation on memory only. Whoever needs both takes the lock
/// of all accounts before that of one.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<HashMap<Key, Arc<Shared>>>);

#[derive(Debug, Default)]
struct Shared(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    /// How many places are taken. The account is forgotten with the last.
    places: usize,
    account: Account,
    /// How to wake the members of `account`.
    wake_flags: BTreeMap<Member, Arc<WakeFlag>>,
    siblings: sibling::Siblings,
}

/// A place in an account. The account lives as long as one is taken.
#[derive(Debug)]
struct Place {
    accounts: Arc<Accounts>,
    key: Key,
    shared: Arc<Shared>,
}

impl Accounts {
    /// A place in the account `bare` of `domain`.
    fn place(self: &Arc<Self>, domain: &str, bare: &str) -> Place {
        let key: Key = (domain.into(), bare.into());
        let mut accounts = self.0.lock();
        let shared = Arc::clone(accounts.entry(key.clone()).or_default());
        shared.0.lock().places += 1;
        drop(accounts);
        Place {
            accounts: Arc::clone(self),
            key,
            shared,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accounts = self.accounts.0.lock();
        let mut sessions = self.shared.0.lock();
        sessions.places -= 1;
        if sessions.places == 0 {
            accounts.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

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
        let sibling = accounts.join_siblings(["x", "c@x"], 1, Arc::default());
        assert!(has_others(&first));
        drop(first);
        assert!(!has_others(&second));
        drop((second, others));
        assert_eq!(accounts.0.lock().len(), 1);
        drop(sibling);
        assert!(accounts.0.lock().is_empty());
    }
}
