//! A backend's answer: what is taken from it can be shown to any client.

use std::collections::BTreeSet;

use jid::BareJid;
use rostergate::roster::{Roster, decode};
use serde_json::Value;

use super::agreement::Node;

pub fn decode(bytes: &[u8]) -> bool {
    let owner = BareJid::new("john@example.org").expect("a bare JID");
    let Ok(found) = decode::contacts(bytes, &owner) else {
        assert!(!is_roster(bytes), "an object of objects is a roster");
        return false;
    };
    match serde_json::from_slice(bytes).expect("what is accepted is JSON") {
        Value::Object(entries) => {
            assert!(found.contacts.len() + found.skipped >= entries.len());
        }
        Value::Array(entries) => assert!(entries.is_empty()),
        other => panic!("no roster: {other}"),
    }
    for contact in &found.contacts {
        assert_ne!(contact.jid, owner);
        let again = BareJid::new(contact.jid.as_str()).expect("a JID stays one");
        assert_eq!(again, contact.jid, "prepared once is prepared for good");
    }
    assert_shown(&Roster::new(found.contacts));
    true
}

fn is_roster(bytes: &[u8]) -> bool {
    let Ok(Value::Object(entries)) = serde_json::from_slice(bytes) else {
        return false;
    };
    entries.values().all(Value::is_object)
}

/// A strict parser reads every contact from the rendered items, as it is.
fn assert_shown(roster: &Roster) {
    let items = roster.items();
    let document = [b"<query xmlns='jabber:iq:roster'>", &items[..], b"</query>"].concat();
    let query = Node::read(&document).expect("items are well-formed");
    assert_eq!(query.children().len(), roster.len());
    for (index, (item, contact)) in query.children().iter().zip(roster.contacts()).enumerate() {
        assert_eq!((&*item.ns, &*item.local), ("jabber:iq:roster", "item"));
        assert_eq!(item.attribute("", "jid"), Some(contact.jid.as_str()));
        let subscription = item.attribute("", "subscription");
        assert_eq!(subscription, Some(contact.subscription.as_str()));
        let name = item.attribute("", "name").unwrap_or_default();
        assert_eq!(name, contact.name.as_deref().unwrap_or_default());
        let groups: Vec<String> = item.children().iter().map(|group| group.text()).collect();
        assert_eq!(groups, contact.groups);
        let unique: BTreeSet<&String> = groups.iter().collect();
        assert_eq!(unique.len(), groups.len(), "a group is named once");
        assert_eq!(roster.index_of(contact.jid.as_str()), Some(index));
        assert!(
            items
                .windows(roster.item(index).len())
                .any(|part| part == roster.item(index))
        );
    }
}
