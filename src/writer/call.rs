//! One call of the site: whom it names, and the lists that were fetched for it, so that a list which many others concern
//! is not fetched for each of them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jid::BareJid;
use parking_lot::Mutex;

use super::turns::{Latest, List};
use crate::roster::Roster;

/// Most contacts in the lists that are kept.
const MOST: usize = 200_000;
/// A call that names more leaves each item to the refresh of its owner, where that is refreshed as well.
const FEW: usize = 10;

/// List of the site, as it was fetched.
#[derive(Clone, Debug)]
pub(super) struct SiteList {
    pub(super) roster: Arc<Roster>,
    /// A later answer has a higher one.
    pub(super) number: Latest,
    /// The same list in the server; obtained before the fetch.
    pub(super) list: Arc<List>,
}

/// A call. Lists are kept as long as it is.
#[derive(Debug, Default)]
pub struct Call {
    named: HashSet<BareJid>,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    by_owner: HashMap<BareJid, SiteList>,
    contacts: usize,
}

impl Call {
    /// A call that names these users.
    pub fn naming(users: impl IntoIterator<Item = BareJid>) -> Arc<Self> {
        Arc::new(Self {
            named: users.into_iter().collect(),
            lists: Mutex::default(),
        })
    }

    /// Whether it names this user, and so many others that the user's items are left to the user's own refresh.
    pub(super) fn is_left_to(&self, user: &BareJid) -> bool {
        self.named.len() > FEW && self.named.contains(user)
    }

    /// A list that was fetched for it.
    pub(super) fn list(&self, owner: &BareJid) -> Option<SiteList> {
        self.lists.lock().by_owner.get(owner).cloned()
    }

    /// Keeps a list, if there is room and others are named that it may concern.
    pub(super) fn keep(&self, owner: &BareJid, list: &SiteList) {
        let mut lists = self.lists.lock();
        let contacts = list.roster.len();
        if self.named.len() > 1 && lists.contacts + contacts <= MOST {
            lists.contacts += contacts.max(1);
            lists.by_owner.insert(owner.clone(), list.clone());
        }
    }
}
