//! Plan for a list that the XMPP server holds: what has to be written and removed, so that it is the list that the site
//! wants. It does not write, and knows no server.
//!
//! Each of two users holds an item for the other, and the two have to agree on who sees whose presence (RFC 6121 §3).
//! Servers deal badly with a pair that does not: Prosody, for one, takes a subscription back as soon as it finds that
//! the other side knows nothing of it. So a contact of the same domain gets what both lists allow ([`agreed`]), and
//! where one item changes, the contact's own list is looked at as well ([`Changes::counterparts`]).

use std::collections::{HashMap, HashSet};

use jid::{BareJid, DomainRef};

use super::{
    Contact, Roster, Subscription,
    diff::{self, Change, diff},
};

/// List as the server holds it.
#[derive(Debug, Default)]
pub struct Held {
    /// The contacts.
    pub roster: Roster,
    /// Those that the gateway has written; their users added the others, or they were there before.
    pub written: HashSet<BareJid>,
    /// Those whom the user has asked for presence, or who have asked the user, without an answer. Nobody will give one where
    /// the site has the lists.
    pub asked: HashSet<BareJid>,
    /// Those whose pair with the user may be half ([`Changes::opened`]).
    pub open: HashSet<BareJid>,
}

/// Whose the contacts are that the site does not list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Own {
    /// The site's: they are removed.
    All,
    /// The user's, unless the gateway has written them.
    #[default]
    Written,
}

/// What has to become of one user's list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Contacts that are not held, or not in this way.
    pub writes: Vec<Contact>,
    /// Contacts that go.
    pub removals: Vec<BareJid>,
    /// Contacts who have an item of the user that is not what this list says until more is written.
    pub opened: Vec<BareJid>,
    /// Contacts of whom this is true no longer.
    pub closed: Vec<BareJid>,
}

impl Changes {
    /// The changes that turn what is `held` into what is `wanted`.
    pub fn between(held: &Held, wanted: &Roster, own: Own) -> Self {
        let mut changes = Self::default();
        for change in diff(&held.roster, wanted) {
            match change {
                Change::Added(at) | Change::Changed { new: at, .. } => {
                    changes.writes.push(wanted.contacts()[at].clone());
                }
                Change::Removed(at) => {
                    changes.remove(held, &held.roster.contacts()[at].jid, own);
                }
            }
        }
        let asked = held.asked.iter();
        let asked = asked.filter_map(|jid| wanted.get(jid.as_str()));
        let asked: Vec<_> = asked.filter(|it| !changes.is_written(&it.jid)).collect();
        if !asked.is_empty() {
            changes.writes.extend(asked.into_iter().cloned());
            let by_jid = |it: &Contact, other: &Contact| it.jid.as_str().cmp(other.jid.as_str());
            changes.writes.sort_unstable_by(by_jid);
        }
        changes
    }

    /// The same for one contact of the list.
    pub fn of_contact(held: &Held, jid: &BareJid, wanted: Option<Contact>, own: Own) -> Self {
        let mut changes = Self::default();
        match wanted {
            Some(wanted) => changes.writes.push(wanted),
            None if held.roster.get(jid.as_str()).is_some() => changes.remove(held, jid, own),
            None => {}
        }
        changes.leave_out_what_is_held(held);
        changes
    }

    fn remove(&mut self, held: &Held, jid: &BareJid, own: Own) {
        if own == Own::All || held.written.contains(jid) {
            self.removals.push(jid.clone());
        }
    }

    /// Whether this contact is written. The writes are sorted, as lists are.
    fn is_written(&self, jid: &BareJid) -> bool {
        let by_jid = |it: &Contact| it.jid.as_str().cmp(jid.as_str());
        self.writes.binary_search_by(by_jid).is_ok()
    }

    /// Whether the contacts are as they should be.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.removals.is_empty()
    }

    /// Whether pairs are opened or closed.
    pub fn has_pairs(&self) -> bool {
        !self.opened.is_empty() || !self.closed.is_empty()
    }

    /// How many contacts change.
    pub fn len(&self) -> usize {
        self.writes.len() + self.removals.len()
    }

    /// How many of the writes add a contact.
    pub fn additions(&self, held: &Held) -> usize {
        let is_new = |contact: &&Contact| held.roster.get(contact.jid.as_str()).is_none();
        self.writes.iter().filter(is_new).count()
    }

    /// How many contacts would go, and of how many, if that is more than `percent`: the site's answer may lack them by
    /// mistake. One contact may always go.
    ///
    /// What users have added themselves does not count, neither way, as long as the gateway has written at least half of
    /// what is `wanted`: then it is known whose the others are. Before, all contacts count.
    pub fn removes_too_many(
        &self,
        percent: u8,
        held: &Held,
        wanted: &Roster,
    ) -> Option<(usize, usize)> {
        let is_written = |jid: &&BareJid| held.written.contains(*jid);
        let is_wanted = |jid: &BareJid| wanted.get(jid.as_str()).is_some();
        let gone = self.removals.iter().filter(is_written).count();
        let jids = || held.roster.contacts().iter().map(|it| &it.jid);
        let kept = jids()
            .filter(|jid| is_wanted(jid) && is_written(jid))
            .count();
        let is_known = gone == self.removals.len() || gone + kept > 0 && kept * 2 >= wanted.len();
        let (gone, all) = match is_known {
            true => (
                gone,
                jids()
                    .filter(|jid| is_wanted(jid) || is_written(jid))
                    .count(),
            ),
            false => (self.removals.len(), held.roster.len()),
        };
        let too_many = self.removals.len() > 1 && gone * 100 > all * usize::from(percent);
        too_many.then_some((gone, all))
    }

    /// Contacts of `domain` whose own lists are concerned: who may see whom changes, or the contact goes.
    pub fn counterparts<'a>(
        &'a self,
        held: &'a Held,
        domain: &'a DomainRef,
    ) -> impl Iterator<Item = &'a BareJid> {
        let changes = |contact: &&Contact| {
            let old = held.roster.get(contact.jid.as_str());
            old.is_none_or(|old| old.subscription != contact.subscription)
                || held.asked.contains(&contact.jid)
        };
        let written = self.writes.iter().filter(changes).map(|it| &it.jid);
        let all = written.chain(&self.removals);
        all.filter(|jid| is_local(jid, domain))
    }

    /// Writes contacts only as far as their own lists allow: `theirs` knows how these have the owner, which `says` tells. A
    /// contact that is held as it is `wanted` is written if that is too much.
    pub fn agree<T>(
        &mut self,
        wanted: &Roster,
        theirs: &HashMap<BareJid, T>,
        says: impl Fn(&T) -> Option<Subscription>,
    ) {
        let held = theirs.keys().filter(|jid| !self.is_written(jid));
        let held: Vec<_> = held.filter_map(|jid| wanted.get(jid.as_str())).collect();
        self.writes.extend(held.into_iter().cloned());
        for contact in &mut self.writes {
            if let Some(theirs) = theirs.get(&contact.jid) {
                contact.subscription = agreed(contact.subscription, says(theirs));
            }
        }
    }

    /// Leaves contacts without presence who are held so, and of whom it `is_known` that they do not list the owner.
    pub fn agree_unseen(&mut self, held: &Held, is_known: impl Fn(&BareJid) -> bool) {
        for contact in &mut self.writes {
            let old = held.roster.get(contact.jid.as_str());
            let is_unseen = old.is_some_and(|old| old.subscription == Subscription::None);
            if is_unseen && is_known(&contact.jid) {
                contact.subscription = Subscription::None;
            }
        }
    }

    /// Whether this contact goes, or sees the user or is seen no longer, and nothing else of that changes.
    pub fn takes_away(&self, jid: &BareJid, held: &Held) -> bool {
        let before = held.roster.get(jid.as_str()).map(|it| it.subscription);
        let Some(before) = before else { return false };
        if self.removals.contains(jid) {
            return true;
        }
        let now = self.writes.iter().find(|it| it.jid == *jid);
        now.is_some_and(|now| {
            let now = now.subscription;
            let is_less = (before.is_to() || !now.is_to()) && (before.is_from() || !now.is_from());
            is_less && now != before
        })
    }

    /// Takes out the contacts for which `is_meant` is true.
    pub fn leave_out(&mut self, is_meant: impl Fn(&BareJid) -> bool) {
        self.writes.retain(|contact| !is_meant(&contact.jid));
        self.removals.retain(|jid| !is_meant(jid));
    }

    /// Whether this contact is written or goes.
    pub fn concerns(&self, jid: &BareJid) -> bool {
        self.writes.iter().any(|contact| contact.jid == *jid) || self.removals.contains(jid)
    }

    /// Writes a contact that was to go without presence instead.
    pub fn keep(&mut self, jid: &BareJid, held: &Held) {
        let removals = self.removals.len();
        self.removals.retain(|removed| removed != jid);
        if self.removals.len() < removals
            && let Some(kept) = held.roster.get(jid.as_str())
        {
            let mut kept = kept.clone();
            kept.subscription = Subscription::None;
            self.writes.push(kept);
            self.leave_out_what_is_held(held);
        }
    }

    /// Takes out the writes that would change nothing.
    pub fn leave_out_what_is_held(&mut self, held: &Held) {
        self.writes.retain(|contact| {
            let old = held.roster.get(contact.jid.as_str());
            held.asked.contains(&contact.jid) || !old.is_some_and(|old| diff::same(old, contact))
        });
    }
}

/// Whether this is a user of `domain`.
pub fn is_local(jid: &BareJid, domain: &DomainRef) -> bool {
    jid.domain() == domain && jid.node().is_some()
}

/// What both of a pair allow: the owner sees the contact only if the contact's list lets itself be seen, and the other
/// way round. `theirs` is how the contact's own list has the owner.
pub fn agreed(ours: Subscription, theirs: Option<Subscription>) -> Subscription {
    let theirs = theirs.unwrap_or(Subscription::None);
    Subscription::new(
        ours.is_to() && theirs.is_from(),
        ours.is_from() && theirs.is_to(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::roster::testing::contact;

    fn jid(name: &str) -> BareJid {
        BareJid::new(name).unwrap()
    }

    fn held(contacts: &[Contact], written: &[&str]) -> Held {
        Held {
            roster: Roster::new(contacts.to_vec()),
            written: written.iter().map(|name| jid(name)).collect(),
            ..Held::default()
        }
    }

    fn domain() -> jid::DomainPart {
        jid::DomainPart::new("x.org").unwrap().into_owned()
    }

    #[test]
    fn what_is_as_wanted_is_not_written() {
        let [a, b] = ["a@x.org", "b@x.org"].map(contact);
        let held = held(&[a.clone(), b.clone()], &[]);
        let changes = Changes::between(&held, &Roster::new(vec![b, a]), Own::All);
        assert!(changes.is_empty(), "{changes:?}");
    }

    #[test]
    fn contacts_that_nobody_lists_go_if_they_are_ours() {
        let [a, b] = ["a@x.org", "b@x.org"].map(contact);
        let held = held(&[a, b], &["b@x.org"]);
        let removals = |own| Changes::between(&held, &Roster::empty(), own).removals;
        assert_eq!(removals(Own::Written), [jid("b@x.org")]);
        assert_eq!(removals(Own::All), [jid("a@x.org"), jid("b@x.org")]);
        let one = |name, own| Changes::of_contact(&held, &jid(name), None, own).removals;
        assert!(one("a@x.org", Own::Written).is_empty());
        assert_eq!(one("a@x.org", Own::All), [jid("a@x.org")]);
        assert_eq!(one("b@x.org", Own::Written), [jid("b@x.org")]);
        assert!(one("c@x.org", Own::All).is_empty());
    }

    /// What is too much of so many contacts: those that the gateway has written, those that it has not and the site lists,
    /// those of the user. The site lists so many of the first two, and some that are new.
    fn too_many(
        percent: u8,
        held: [usize; 3],
        listed: [usize; 2],
        new: usize,
    ) -> Option<(usize, usize)> {
        let names = |kind: &str, count: usize| -> Vec<Contact> {
            (0..count)
                .map(|n| contact(&format!("{kind}{n}@x.org")))
                .collect()
        };
        let [written, listed_before, own] = held;
        let written = names("written", written);
        let held = Held {
            written: written.iter().map(|it| it.jid.clone()).collect(),
            roster: Roster::new(
                [written, names("site", listed_before), names("own", own)].concat(),
            ),
            ..Held::default()
        };
        let [written, before] = listed;
        let wanted = [
            names("written", written),
            names("site", before),
            names("new", new),
        ];
        let wanted = Roster::new(wanted.concat());
        let changes = Changes::between(&held, &wanted, Own::All);
        changes.removes_too_many(percent, &held, &wanted)
    }

    #[test]
    fn a_share_of_the_list_may_go_and_always_one_contact() {
        let of_ten = |percent, left| too_many(percent, [10, 0, 0], [left, 0], 0);
        assert_eq!(of_ten(100, 0), None);
        assert_eq!(of_ten(50, 5), None);
        assert_eq!(of_ten(50, 4), Some((6, 10)));
        assert_eq!(of_ten(0, 9), None);
        assert_eq!(of_ten(0, 8), Some((2, 10)));
    }

    #[test]
    fn what_users_have_added_counts_only_until_the_gateway_has_written_the_list() {
        assert_eq!(too_many(20, [40, 0, 60], [40, 0], 0), None);
        assert_eq!(too_many(20, [40, 0, 60], [30, 0], 0), Some((10, 40)));
        assert_eq!(too_many(20, [40, 0, 60], [0, 0], 0), Some((40, 40)));
        assert_eq!(too_many(20, [1, 0, 60], [0, 0], 0), Some((1, 1)));
        // Nothing is written yet, or a contact by a refresh of the other one.
        assert_eq!(too_many(20, [0, 0, 60], [0, 0], 0), Some((60, 60)));
        assert_eq!(too_many(20, [1, 0, 60], [1, 0], 9), Some((60, 61)));
        // Most of the list was there before, and is not written, as it is right.
        assert_eq!(too_many(20, [5, 95, 0], [5, 45], 0), Some((50, 100)));
        assert_eq!(too_many(20, [5, 95, 0], [3, 95], 0), None);
        assert_eq!(too_many(20, [5, 95, 0], [0, 0], 0), Some((5, 5)));
    }

    #[test]
    fn the_own_lists_of_local_contacts_are_concerned_if_who_sees_whom_changes() {
        let mut renamed = contact("a@x.org");
        renamed.name = Some("A".into());
        let mut seen = contact("b@x.org");
        seen.subscription = Subscription::To;
        let wanted = [
            renamed,
            seen,
            contact("c@x.org"),
            contact("d@elsewhere.org"),
            contact("x.org"),
        ];
        let held = held(
            &["a@x.org", "b@x.org", "e@x.org"].map(contact),
            &["e@x.org"],
        );
        let changes = Changes::between(&held, &Roster::new(wanted.to_vec()), Own::Written);
        let domain = domain();
        let found: Vec<_> = changes.counterparts(&held, &domain).collect();
        assert_eq!(found, [&jid("b@x.org"), &jid("c@x.org"), &jid("e@x.org")]);
        assert_eq!((changes.len(), changes.additions(&held)), (6, 3));
    }

    #[test]
    fn a_contact_that_does_not_list_the_user_is_shown_without_presence() {
        let mut old = contact("a@x.org");
        old.subscription = Subscription::None;
        let held = held(&[old], &[]);
        let wanted = Roster::new(vec![contact("a@x.org")]);
        let mut changes = Changes::between(&held, &wanted, Own::All);
        let theirs = |subscription| HashMap::from([(jid("a@x.org"), subscription)]);
        changes.agree(&wanted, &theirs(Some(Subscription::Both)), |it| *it);
        assert_eq!(changes.writes, [contact("a@x.org")]);
        changes.agree(&wanted, &theirs(None), |it| *it);
        changes.leave_out_what_is_held(&held);
        assert!(changes.is_empty(), "it is so already");
    }

    #[test]
    fn a_pair_that_looks_right_is_written_if_the_contact_lists_the_user_no_longer() {
        let names = ["a@x.org", "b@x.org", "c@x.org"];
        let held = held(&names.map(contact), &[]);
        let wanted = Roster::new(names.map(contact).to_vec());
        let mut changes = Changes::between(&held, &wanted, Own::Written);
        let both = Some(Subscription::Both);
        let theirs = [("a@x.org", both), ("b@x.org", None), ("z@x.org", None)];
        let theirs = theirs.map(|(name, theirs)| (jid(name), theirs));
        changes.agree(&wanted, &HashMap::from(theirs), |it| *it);
        changes.leave_out_what_is_held(&held);
        let mut unseen = contact("b@x.org");
        unseen.subscription = Subscription::None;
        assert_eq!((changes.writes, changes.removals), (vec![unseen], vec![]));
    }

    #[test]
    fn a_contact_that_must_not_go_stays_without_presence() {
        let held = held(&["a@x.org", "b@x.org"].map(contact), &[]);
        let mut changes = Changes::of_contact(&held, &jid("a@x.org"), None, Own::All);
        changes.keep(&jid("b@x.org"), &held);
        assert_eq!(changes.removals, [jid("a@x.org")], "that one is not meant");
        changes.keep(&jid("a@x.org"), &held);
        let mut unseen = contact("a@x.org");
        unseen.subscription = Subscription::None;
        assert_eq!((changes.writes, changes.removals), (vec![unseen], vec![]));
    }

    fn any_subscription() -> impl Strategy<Value = Subscription> {
        (any::<bool>(), any::<bool>()).prop_map(|(to, from)| Subscription::new(to, from))
    }

    proptest! {
        /// RFC 6121 appendix A: one side is `to` where the other is `from`.
        #[test]
        fn the_items_of_a_pair_mirror_each_other(
            ours in any_subscription(),
            theirs in prop::option::of(any_subscription()),
        ) {
            let one = agreed(ours, theirs);
            let other = agreed(theirs.unwrap_or(Subscription::None), Some(ours));
            prop_assert_eq!(one.is_to(), other.is_from());
            prop_assert_eq!(one.is_from(), other.is_to());
            prop_assert!(!one.is_to() || ours.is_to());
            prop_assert!(!one.is_from() || ours.is_from());
        }
    }
}
