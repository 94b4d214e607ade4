//! Backend's answer: whatever is accepted from it can be shown to any client.

use std::collections::BTreeSet;

use jid::BareJid;
use rostergate::{backend::decode, roster::Roster};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::agreement::Node;

pub fn decode(bytes: &[u8]) -> bool {
    let owner = BareJid::new("john@example.org").expect("a bare JID");
    let mut json = bytes.to_vec();
    let Ok(found) = decode::contacts(&mut json, &owner) else {
        assert!(!is_roster(bytes), "an object with a contact is a roster");
        return false;
    };
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&json);
    serde_json::from_slice::<IgnoredAny>(json).expect("what is accepted is JSON");
    // The answer may be nested more deeply than this reader goes.
    match serde_json::from_slice(json) {
        Ok(Value::Object(entries)) => {
            assert!(found.contacts.len() + found.left_out.count() >= entries.len());
        }
        Ok(Value::Array(entries)) => assert!(entries.is_empty()),
        Ok(other) => panic!("no roster: {other}"),
        Err(_) => {}
    }
    for contact in &found.contacts {
        assert_ne!(contact.jid, owner);
        let again = BareJid::new(contact.jid.as_str()).expect("a JID stays one");
        assert_eq!(again, contact.jid, "prepared once is prepared for good");
        assert!(contact.groups.len() <= 100);
        for text in contact.groups.iter().chain(&contact.name) {
            assert!(text.len() <= 1024 && text.trim() == text && !text.is_empty());
            assert!(!text.contains(char::is_control));
        }
    }
    assert_shown(&Roster::new(found.contacts));
    true
}

/// An object that names a contact is no error message, whatever else it says.
fn is_roster(bytes: &[u8]) -> bool {
    let Ok(Value::Object(entries)) = serde_json::from_slice(bytes) else {
        return false;
    };
    let is_contact = |jid: &String| {
        let jid = jid.is_ascii().then(|| BareJid::new(jid).ok()).flatten();
        jid.is_some_and(|jid| jid.node().is_some())
    };
    entries.is_empty() || entries.keys().any(is_contact)
}

/// A strict parser finds every contact in the rendered items, unchanged.
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
