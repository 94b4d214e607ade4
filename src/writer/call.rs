//! One call of the site: whom it names, and the lists that were fetched for it, each once, however many users it concerns.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jid::BareJid;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell},
    time::Instant,
};

use super::{
    WriteError,
    turns::{Latest, List},
};
use crate::roster::Roster;

/// Most contacts in the lists that are kept.
const MOST: usize = 200_000;
/// A call that names more leaves each item to the refresh of its owner, where that is refreshed as well.
const FEW: usize = 10;

/// List of the site, as it was fetched.
#[derive(Clone, Debug)]
pub(super) struct SiteList {
    pub(super) roster: Arc<Roster>,
    /// When the fetch began.
    pub(super) began: Instant,
    /// A later answer has a higher one.
    pub(super) number: Latest,
    /// The same list in the server; obtained before the fetch.
    pub(super) list: Arc<List>,
    /// The call keeps it: all whom it concerns have this one.
    pub(super) is_shared: bool,
}

/// List that could not be fetched.
#[derive(Clone, Debug)]
pub(super) struct Unfetched {
    /// As if it were empty.
    pub(super) list: SiteList,
    pub(super) error: WriteError,
}

/// What has come of a fetch.
pub(super) type Answer = Result<SiteList, Unfetched>;

/// A call. Lists are kept as long as it is.
#[derive(Debug)]
pub struct Call {
    began: Instant,
    named: HashSet<BareJid>,
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    known: HashMap<BareJid, Arc<Known>>,
    /// How many contacts their lists have.
    contacts: usize,
}

/// What is known of a user. Whoever wants to know what another is finding out waits for that.
#[derive(Debug, Default)]
struct Known {
    list: AsyncMutex<Option<Answer>>,
    /// Those named of whom an earlier list said something else: they may have written their items by that, or left this
    /// user's to this user.
    misled: Mutex<HashSet<BareJid>>,
    has_account: OnceCell<bool>,
}

impl From<Unfetched> for WriteError {
    fn from(unfetched: Unfetched) -> Self {
        unfetched.error
    }
}

impl Default for Call {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            named: HashSet::new(),
            users: Mutex::default(),
        }
    }
}

impl Call {
    /// A call that names these users.
    pub fn naming(users: impl IntoIterator<Item = BareJid>) -> Arc<Self> {
        let named = users.into_iter().collect();
        Arc::new(Self {
            named,
            ..Self::default()
        })
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Whether it names this user.
    pub(super) fn names(&self, user: &BareJid) -> bool {
        self.named.contains(user)
    }

    /// Whether it names this user, and so many others that the user's items are left to the user's own refresh.
    pub(super) fn is_left_to(&self, user: &BareJid) -> bool {
        self.named.len() > FEW && self.names(user)
    }

    /// Whether there is room for more lists.
    pub(super) fn has_room(&self) -> bool {
        self.users.lock().contacts < MOST
    }

    /// The list of `owner` as it has come for this call by a fetch that began after `since`; otherwise it is fetched.
    pub(super) async fn list(
        &self,
        owner: &BareJid,
        since: Instant,
        fetch: impl Future<Output = Answer>,
    ) -> Answer {
        let Some(known) = self.known(owner) else {
            return fetch.await;
        };
        let mut list = known.list.lock().await;
        let earlier = list.as_ref().map(|answer| match answer {
            Ok(list) | Err(Unfetched { list, .. }) => list,
        });
        if let Some(answer) = &*list
            && earlier.is_some_and(|earlier| earlier.began >= since)
        {
            return answer.clone();
        }
        let mut answer = fetch.await;
        if let (Some(earlier), Ok(now)) = (earlier, &answer) {
            let of = |list: &SiteList, jid: &BareJid| {
                let contact = list.roster.get(jid.as_str());
                contact.map(|contact| contact.subscription)
            };
            let both = earlier.roster.contacts().iter();
            let both = both.chain(now.roster.contacts()).map(|it| &it.jid);
            let misled = both.filter(|jid| self.names(jid) && of(earlier, jid) != of(now, jid));
            let misled: Vec<_> = misled.cloned().collect();
            known.misled.lock().extend(misled);
        }
        let keeps = self.keeps(&answer);
        if let Ok(now) = &mut answer {
            now.is_shared = keeps;
        }
        *list = keeps.then(|| answer.clone());
        answer
    }

    /// Those named to whom this call has told something else of `owner` than the list that counts now.
    pub(super) fn misled_by(&self, owner: &BareJid) -> Vec<BareJid> {
        let known = self.users.lock().known.get(owner).cloned();
        known.map_or_else(Vec::new, |known| {
            known.misled.lock().iter().cloned().collect()
        })
    }

    /// Whether this call has told `contact` something else of `owner`.
    pub(super) fn has_misled(&self, owner: &BareJid, contact: &BareJid) -> bool {
        let known = self.users.lock().known.get(owner).cloned();
        known.is_some_and(|known| known.misled.lock().contains(contact))
    }

    /// Whether there is an account, which is looked up by `check` if that is not known.
    pub(super) async fn has_account(
        &self,
        user: &BareJid,
        check: impl Future<Output = Result<bool, WriteError>>,
    ) -> Result<bool, WriteError> {
        match self.known(user) {
            Some(known) => known.has_account.get_or_try_init(|| check).await.copied(),
            None => check.await,
        }
    }

    /// What is known of a user, if others are named whom it may concern, and if there is room.
    fn known(&self, user: &BareJid) -> Option<Arc<Known>> {
        if self.named.len() < 2 {
            return None;
        }
        let mut users = self.users.lock();
        if users.known.len() >= MOST {
            return users.known.get(user).cloned();
        }
        Some(Arc::clone(users.known.entry(user.clone()).or_default()))
    }

    fn keeps(&self, answer: &Answer) -> bool {
        let contacts = answer.as_ref().map_or(0, |list| list.roster.len());
        let mut users = self.users.lock();
        let fits = users.contacts + contacts <= MOST;
        if fits {
            users.contacts += contacts;
        }
        fits
    }
}
