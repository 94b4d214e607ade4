//! Snapshot of all rosters in memory: readers never lock. It does not fetch, and does not decide which roster is fresh.
//!
//! It is one immutable map from users to cells. A change of a roster swaps the content of one cell, so it costs the
//! same however many users there are. The map itself changes only when a user is added or forgotten. It is persistent:
//! a change copies the few nodes on the path to that user, and shares all others with the old map.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::HeaderValue;
use imbl::HashMap;
use parking_lot::Mutex;

use super::{Roster, Username, left_out::LeftOut};

/// Version of an answer. The backend's own validators (RFC 9110 §8.8) are sent back to it, except a `Last-Modified`
/// that may hold for a later list, too.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Validators {
    /// Number of the source that it is about: another one may call another list the same.
    pub source: u64,
    /// `ETag`
    pub etag: Option<HeaderValue>,
    /// `Last-Modified`
    pub last_modified: Option<HeaderValue>,
    /// Hash of the answer, keyed by its source: most backends say nothing.
    pub digest: Option<u64>,
}

impl Validators {
    /// Whether there is nothing that a conditional request could be made with.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// One user's roster.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The contacts.
    pub roster: Arc<Roster>,
    /// The entries of the answer that are not among the contacts.
    pub left_out: LeftOut,
    /// For the next, conditional, fetch.
    pub validators: Validators,
    /// When the backend last confirmed it, as time since 1970 (UTC).
    pub fetched: Duration,
    /// When the site last put one of the user's lists, this one or an earlier, by the clock of the gateway that it called;
    /// as time since 1970, zero if it never has. It tells which is the later of two that are put by way of two gateways,
    /// and nothing else: the clocks of gateways differ.
    pub put: Duration,
    /// Fetched while the user has been online, so that every notification since has been heeded.
    /// Otherwise it is a fallback: for when the backend fails, until a fetch succeeds.
    pub fresh: bool,
}

/// The rosters of one host. Any number of readers, and writers that take turns.
#[derive(Debug)]
pub struct Snapshot {
    cells: ArcSwap<HashMap<Username, Cell>>,
    fallbacks: Mutex<Fallbacks>,
    most_fallbacks: usize,
    /// Bound on the memory of these, bytes.
    most_bytes: usize,
}

/// Where a user's latest entry is, shared by all versions of the map.
type Cell = Arc<ArcSwap<Entry>>;

/// Entries that are not fresh, in the order in which they became so. Its lock is the writers' lock.
#[derive(Debug, Default)]
struct Fallbacks {
    next: u64,
    by_age: BTreeMap<u64, Username>,
    age_of: std::collections::HashMap<Username, (u64, usize)>,
    /// Sum of their footprints.
    bytes: usize,
}

impl Snapshot {
    /// Empty; keeps at most `most_fallbacks` entries that are not fresh, of `most_bytes` in all.
    pub fn new(most_fallbacks: usize, most_bytes: usize) -> Self {
        Self {
            cells: ArcSwap::default(),
            fallbacks: Mutex::default(),
            most_fallbacks,
            most_bytes,
        }
    }

    /// A user's entry. Never waits.
    pub fn get(&self, user: &Username) -> Option<Arc<Entry>> {
        Some(self.cells.load().get(user)?.load_full())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.cells.load().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `entry` in the place of the user's last one. An entry that is not fresh may push out
    /// the oldest of its kind.
    pub fn publish(&self, user: Username, entry: Entry) {
        let mut fallbacks = self.fallbacks.lock();
        fallbacks.forget(&user);
        if !entry.fresh {
            fallbacks.remember(user.clone(), entry.roster.footprint());
        }
        let entry = Arc::new(entry);
        let cells = self.cells.load();
        if let Some(cell) = cells.get(&user) {
            cell.store(entry);
        } else {
            let cells = cells.update(user, Arc::new(ArcSwap::new(entry)));
            self.cells.store(Arc::new(cells));
        }
        self.forget_old(&mut fallbacks);
    }

    fn forget_old(&self, fallbacks: &mut Fallbacks) {
        while (fallbacks.by_age.len() > self.most_fallbacks || fallbacks.bytes > self.most_bytes)
            && let Some(oldest) = fallbacks.forget_oldest()
        {
            self.cells
                .store(Arc::new(self.cells.load().without(&oldest)));
        }
    }

    /// Says of the user's entry, if there is one, whether it is fresh.
    pub fn confirm(&self, user: &Username, fresh: bool) {
        // As with `retire`, nobody else publishes this user just now.
        if let Some(entry) = self.get(user).filter(|entry| entry.fresh != fresh) {
            let entry = Entry {
                fresh,
                ..Entry::clone(&entry)
            };
            self.publish(user.clone(), entry);
        }
    }

    /// Turns the user's entry, if there is one, into a fallback.
    pub fn retire(&self, user: &Username) {
        // The caller is the only one who publishes this user just now (see `refresh`).
        if let Some(entry) = self.get(user) {
            let entry = Entry {
                fresh: false,
                ..Entry::clone(&entry)
            };
            self.publish(user.clone(), entry);
        }
    }
}

impl Fallbacks {
    fn remember(&mut self, user: Username, footprint: usize) {
        self.by_age.insert(self.next, user.clone());
        self.age_of.insert(user, (self.next, footprint));
        self.bytes += footprint;
        self.next += 1;
    }

    fn forget(&mut self, user: &Username) {
        if let Some((age, footprint)) = self.age_of.remove(user) {
            self.by_age.remove(&age);
            self.bytes -= footprint;
        }
    }

    fn forget_oldest(&mut self) -> Option<Username> {
        let (_, user) = self.by_age.pop_first()?;
        if let Some((_, footprint)) = self.age_of.remove(&user) {
            self.bytes -= footprint;
        }
        Some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::{contact, user};

    fn entry(fresh: bool) -> Entry {
        Entry {
            roster: Arc::default(),
            left_out: LeftOut::default(),
            validators: Validators::default(),
            fetched: Duration::ZERO,
            put: Duration::ZERO,
            fresh,
        }
    }

    #[test]
    fn only_the_newest_fallbacks_are_kept_and_all_fresh_entries() {
        let snapshot = Snapshot::new(2, usize::MAX);
        for name in ["a", "b", "c", "d"] {
            snapshot.publish(user(name), entry(true));
        }
        assert_eq!(snapshot.len(), 4);
        for name in ["a", "b", "c", "nobody"] {
            snapshot.retire(&user(name));
        }
        assert!(snapshot.get(&user("a")).is_none());
        assert!(!snapshot.get(&user("b")).unwrap().fresh);
        assert!(snapshot.get(&user("d")).unwrap().fresh);
        assert_eq!(snapshot.len(), 3);
    }

    #[test]
    fn an_entry_that_was_renewed_is_no_longer_old() {
        let snapshot = Snapshot::new(2, usize::MAX);
        for name in ["a", "b"] {
            snapshot.publish(user(name), entry(false));
        }
        snapshot.publish(user("a"), entry(true));
        snapshot.publish(user("c"), entry(false));
        assert_eq!(snapshot.len(), 3);
        snapshot.retire(&user("a"));
        assert!(snapshot.get(&user("b")).is_none(), "b is the oldest now");
        assert!(snapshot.get(&user("a")).is_some());
    }

    #[test]
    fn fallbacks_have_so_many_bytes_in_all() {
        let of = |contacts: usize| {
            let contacts = (0..contacts).map(|number| contact(&format!("c{number}@x.org")));
            let roster = Arc::new(Roster::new(contacts.collect()));
            Entry {
                roster,
                ..entry(false)
            }
        };
        let most = 2 * of(10).roster.footprint();
        let snapshot = Snapshot::new(100, most);
        for name in ["a", "b", "a", "c"] {
            snapshot.publish(user(name), of(10));
        }
        assert!(snapshot.get(&user("b")).is_none(), "the oldest");
        assert_eq!(snapshot.len(), 2);
        snapshot.publish(user("d"), of(100));
        assert!(snapshot.is_empty(), "one that is too large is not kept");
        assert_eq!(snapshot.fallbacks.lock().bytes, 0);
    }

    #[test]
    fn readers_keep_what_they_saw() {
        let snapshot = Snapshot::new(0, usize::MAX);
        snapshot.publish(user("a"), entry(true));
        let seen = snapshot.get(&user("a")).unwrap();
        snapshot.retire(&user("a"));
        assert!(snapshot.is_empty());
        assert!(seen.fresh);
    }
}
