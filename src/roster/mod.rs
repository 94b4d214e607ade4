//! Contact lists: what they are, how they are kept, compared and written.
//!
//! The types here are plain values without I/O. [`address`] says who is meant, [`snapshot`] keeps them,
//! [`diff`] compares them, [`render`] writes them as XML, [`left_out`] remembers what of an answer is no
//! contact, and [`plan`] says what to change in a list that the XMPP server holds. Who fetches them is
//! [`crate::backend`].

use std::{collections::HashSet, fmt, sync::Arc};

use bytes::Bytes;
use jid::{BareJid, NodeRef};

pub mod address;
pub mod diff;
pub mod left_out;
pub mod plan;
pub mod render;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;

/// The localpart of a user of one host, prepared with nodeprep (RFC 7622 §3.3). Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Username(Arc<str>);

impl Username {
    /// Prepares `name`, so that `JOHN` is `john`; `None` if it is no valid localpart, or if servers do
    /// not agree on whose it is.
    pub fn prepare(name: &str) -> Option<Self> {
        address::prepare_node(name).map(|node| Self::from(&*node))
    }

    /// The prepared name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&NodeRef> for Username {
    fn from(node: &NodeRef) -> Self {
        Self(node.as_str().into())
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who sees whose presence (RFC 6121 §2.1.2.5), from the side of the roster's owner.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Subscription {
    /// Neither.
    None,
    /// The owner sees the contact.
    To,
    /// The contact sees the owner.
    From,
    /// Each sees the other.
    #[default]
    Both,
}

impl Subscription {
    /// The subscription in which the owner sees the contact (`to`), and the contact the owner (`from`), or not.
    pub fn new(to: bool, from: bool) -> Self {
        match (to, from) {
            (false, false) => Self::None,
            (true, false) => Self::To,
            (false, true) => Self::From,
            (true, true) => Self::Both,
        }
    }

    /// Whether the owner sees the contact.
    pub fn is_to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// Whether the contact sees the owner.
    pub fn is_from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    /// The subscription that a server's `subscription` attribute says.
    pub fn of_attribute(value: &str) -> Self {
        match value {
            "to" => Self::To,
            "from" => Self::From,
            "both" => Self::Both,
            _ => Self::None,
        }
    }

    /// The value of the `subscription` attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        }
    }
}

/// One contact of a roster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// Whom it is about, prepared.
    pub jid: BareJid,
    /// The name that the owner sees; never empty.
    pub name: Option<String>,
    /// Groups in the order that the backend gave; distinct, none empty.
    pub groups: Vec<String>,
    /// Who sees whose presence.
    pub subscription: Subscription,
}

impl Contact {
    /// Cleans up what the backend gave: an empty name is none, empty and repeated groups go.
    pub fn new(
        jid: BareJid,
        name: Option<String>,
        groups: Vec<String>,
        subscription: Subscription,
    ) -> Self {
        Self {
            jid,
            name: name.filter(|name| !name.is_empty()),
            groups: distinct(groups),
            subscription,
        }
    }

    /// Whether the owner's presence goes to this contact.
    pub fn receives_presence(&self) -> bool {
        self.subscription.is_from()
    }

    /// Whether this contact's presence goes to the owner.
    pub fn sends_presence(&self) -> bool {
        self.subscription.is_to()
    }
}

/// Without the empty ones, and those that have been there before.
pub(crate) fn distinct(mut groups: Vec<String>) -> Vec<String> {
    groups.retain(|group| !group.is_empty());
    // Most contacts are in one group.
    if groups.len() > 1 {
        let mut seen = HashSet::new();
        groups.retain(|group| seen.insert(group.clone()));
    }
    // A vector that has grown has room for four at least.
    groups.shrink_to_fit();
    groups
}

/// One user's contacts, sorted by bare JID and rendered once.
#[derive(Debug, Default)]
pub struct Roster {
    contacts: Box<[Contact]>,
    items: Bytes,
    /// Where each contact's `<item/>` ends in `items`.
    ends: Box<[usize]>,
}

impl Roster {
    /// Sorts and renders `contacts`. Of several with one JID the last counts, as in JSON.
    pub fn new(mut contacts: Vec<Contact>) -> Self {
        contacts.reverse();
        contacts.sort_by(|a, b| a.jid.as_str().cmp(b.jid.as_str()));
        contacts.dedup_by(|later, kept| later.jid == kept.jid);
        let (items, ends) = render::items(&contacts);
        Self {
            contacts: contacts.into(),
            items,
            ends,
        }
    }

    /// A roster without contacts.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The contacts, in the order of their bare JIDs.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The contact with this prepared bare JID.
    pub fn get(&self, jid: &str) -> Option<&Contact> {
        self.index_of(jid)
            .and_then(|index| self.contacts.get(index))
    }

    /// Position of the contact with this prepared bare JID.
    pub fn index_of(&self, jid: &str) -> Option<usize> {
        self.contacts
            .binary_search_by(|contact| contact.jid.as_str().cmp(jid))
            .ok()
    }

    /// How many contacts there are.
    pub fn len(&self) -> usize {
        self.contacts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty()
    }

    /// About how much memory it takes, bytes: each contact has its texts once more in `items`.
    pub fn footprint(&self) -> usize {
        let each = size_of::<Contact>() + size_of::<usize>();
        size_of::<Self>() + 2 * self.items.len() + self.contacts.len() * each
    }

    /// All `<item/>` elements, to be put into `<query xmlns='jabber:iq:roster'>`. Shared bytes.
    pub fn items(&self) -> Bytes {
        self.items.clone()
    }

    /// The `<item/>` of one contact, sharing the bytes of [`items`](Self::items).
    ///
    /// # Panics
    ///
    /// If `index` is not below [`len`](Self::len).
    pub fn item(&self, index: usize) -> Bytes {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.items.slice(start..self.ends[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::contact;

    #[test]
    fn usernames_are_prepared() {
        assert_eq!(Username::prepare("JOHN").unwrap().as_str(), "john");
        assert_eq!(Username::prepare("j.o+hn").unwrap().as_str(), "j.o+hn");
        for bad in ["", "a@b", "a b", "a/b", "a\"b", "a\u{7}b", "ᴬdmin"] {
            assert_eq!(Username::prepare(bad), None, "{bad:?}");
        }
        assert_eq!(Username::prepare(&"x".repeat(1024)), None);
    }

    #[test]
    fn contacts_are_sorted_and_the_last_of_equals_counts() {
        let mut newer = contact("b@x.org");
        newer.name = Some("newer".into());
        let roster = Roster::new(vec![contact("b@x.org"), contact("a@x.org"), newer]);
        let jids: Vec<_> = roster.contacts().iter().map(|c| c.jid.as_str()).collect();
        assert_eq!(jids, ["a@x.org", "b@x.org"]);
        assert_eq!(
            roster.get("b@x.org").unwrap().name.as_deref(),
            Some("newer")
        );
        assert_eq!(roster.index_of("a@x.org"), Some(0));
        assert!(roster.get("c@x.org").is_none());
    }

    #[test]
    fn one_item_is_a_slice_of_all() {
        let roster = Roster::new(vec![contact("a@x.org"), contact("b@x.org")]);
        let all = roster.items();
        assert_eq!([roster.item(0), roster.item(1)].concat(), all);
        assert_eq!(roster.item(1), "<item jid='b@x.org' subscription='both'/>");
        assert_eq!(roster.item(0).as_ptr(), all.as_ptr());
        assert!(Roster::empty().is_empty() && Roster::empty().items().is_empty());
    }

    #[test]
    fn empty_and_repeated_groups_go() {
        let groups = ["b", "", "a", "b"].map(String::from).to_vec();
        let jid = BareJid::new("a@x.org").unwrap();
        let contact = Contact::new(jid, Some(String::new()), groups, Subscription::From);
        assert_eq!(contact.groups, ["b", "a"]);
        assert_eq!(contact.name, None);
        assert!(contact.receives_presence());
    }
}
