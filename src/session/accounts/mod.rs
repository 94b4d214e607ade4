//! The register of accounts: which sessions belong to one account, by domain and bare JID.
//!
//! Sessions of one account take over what another leaves ([`Membership`]), and tell each other of blocks ([`Sibling`]):
//! each has a connection of its own to the server. A session may be one without being the other: only a server with
//! stream management makes members, and only a host with directed presence makes siblings.

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
    backend::WakeFlag,
    proto::handover::{Account, Member},
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
    /// How many places are taken: without any, the account is forgotten.
    places: usize,
    account: Account,
    /// How to wake the members of `account`.
    wake_flags: BTreeMap<Member, Arc<WakeFlag>>,
    siblings: sibling::Siblings,
}

/// A place in an account, which is remembered as long as there is one.
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
        let sibling = accounts.join_siblings(["x", "c@x"], 1);
        assert!(has_others(&first));
        drop(first);
        assert!(!has_others(&second));
        drop((second, others));
        assert_eq!(accounts.0.lock().len(), 1);
        drop(sibling);
        assert!(accounts.0.lock().is_empty());
    }
}
