//! Difference of two rosters, by one merge of two sorted slices.

use std::cmp::Ordering;

use super::{Contact, Roster};

/// Change of one contact.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It is new; its index in the new roster.
    Added(usize),
    /// Its name, groups or subscription changed; its index in both rosters.
    Changed {
        /// Index in the old roster.
        old: usize,
        /// Index in the new roster.
        new: usize,
    },
    /// It is gone; its index in the old roster.
    Removed(usize),
}

/// The changes that turn `old` into `new`, in the order of the bare JIDs. The order of a contact's
/// groups means nothing.
pub fn diff<'a>(old: &'a Roster, new: &'a Roster) -> impl Iterator<Item = Change> + use<'a> {
    let mut diff = Diff::default();
    std::iter::from_fn(move || diff.next(old, new))
}

/// Comparison of two rosters that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Diff {
    at_old: usize,
    at_new: usize,
}

impl Diff {
    /// The next change that turns `old` into `new`; they have to be the same ones each time.
    pub fn next(&mut self, old: &Roster, new: &Roster) -> Option<Change> {
        loop {
            let (at_old, at_new) = (self.at_old, self.at_new);
            let contacts = (old.contacts().get(at_old), new.contacts().get(at_new));
            let order = match contacts {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.jid.as_str().cmp(b.jid.as_str()),
            };
            self.at_old += usize::from(order.is_le());
            self.at_new += usize::from(order.is_ge());
            match (order, contacts) {
                (Ordering::Less, _) => return Some(Change::Removed(at_old)),
                (Ordering::Greater, _) => return Some(Change::Added(at_new)),
                (Ordering::Equal, (Some(a), Some(b))) if !same(a, b) => {
                    return Some(Change::Changed {
                        old: at_old,
                        new: at_new,
                    });
                }
                (Ordering::Equal, _) => {}
            }
        }
    }
}

/// Whether two contacts differ in nothing but the order of their groups.
pub fn same(a: &Contact, b: &Contact) -> bool {
    a.name == b.name && a.subscription == b.subscription && same_groups(&a.groups, &b.groups)
}

fn same_groups(a: &[String], b: &[String]) -> bool {
    a == b || (a.len() == b.len() && sorted(a) == sorted(b))
}

fn sorted(groups: &[String]) -> Vec<&String> {
    let mut groups: Vec<_> = groups.iter().collect();
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::roster::{Subscription, testing::contact};

    fn changes(old: &[Contact], new: &[Contact]) -> Vec<Change> {
        let (old, new) = (Roster::new(old.to_vec()), Roster::new(new.to_vec()));
        diff(&old, &new).collect()
    }

    #[test]
    fn added_changed_and_removed_are_told_apart() {
        let [a, b, c] = ["a@x.org", "b@x.org", "c@x.org"].map(contact);
        let mut renamed = b.clone();
        renamed.name = Some("B".into());
        assert_eq!(
            changes(&[a.clone(), b], &[renamed, c]),
            [
                Change::Removed(0),
                Change::Changed { old: 1, new: 0 },
                Change::Added(1)
            ]
        );
        assert_eq!(changes(&[], std::slice::from_ref(&a)), [Change::Added(0)]);
        assert_eq!(changes(&[a], &[]), [Change::Removed(0)]);
    }

    #[test]
    fn every_part_of_a_contact_counts_but_the_order_of_groups() {
        let mut it = contact("a@x.org");
        it.groups = vec!["one".into(), "two".into()];
        let changed = [Change::Changed { old: 0, new: 0 }];
        let with = |edit: fn(&mut Contact)| {
            let mut edited = it.clone();
            edit(&mut edited);
            changes(std::slice::from_ref(&it), &[edited])
        };
        assert_eq!(with(|_| ()), []);
        assert_eq!(with(|c| c.groups.reverse()), []);
        assert_eq!(with(|c| c.groups[0] = "three".into()), changed);
        assert_eq!(with(|c| c.groups.truncate(1)), changed);
        assert_eq!(with(|c| c.name = Some("A".into())), changed);
        assert_eq!(with(|c| c.subscription = Subscription::To), changed);
    }

    proptest! {
        #[test]
        fn applying_the_changes_gives_the_new_roster(
            old in prop::collection::btree_map(0_u8..12, 0_u8..3, 0..12),
            new in prop::collection::btree_map(0_u8..12, 0_u8..3, 0..12),
        ) {
            let roster = |map: &BTreeMap<u8, u8>| Roster::new(map.iter().map(|(jid, name)| {
                let mut it = contact(&format!("{jid}@x.org"));
                it.name = Some(name.to_string());
                it
            }).collect());
            let (old_roster, new_roster) = (roster(&old), roster(&new));
            let mut applied: BTreeMap<String, Contact> = old_roster.contacts().iter()
                .map(|c| (c.jid.to_string(), c.clone())).collect();
            for change in diff(&old_roster, &new_roster) {
                match change {
                    Change::Added(at) | Change::Changed { new: at, .. } => {
                        let it = &new_roster.contacts()[at];
                        let before = applied.insert(it.jid.to_string(), it.clone());
                        prop_assert_ne!(before.as_ref(), Some(it));
                    }
                    Change::Removed(at) => {
                        let gone = old_roster.contacts()[at].jid.to_string();
                        prop_assert!(applied.remove(&gone).is_some());
                    }
                }
            }
            let applied: Vec<_> = applied.into_values().collect();
            prop_assert_eq!(applied, new_roster.contacts());
        }
    }
}
