//! The backend's JSON, turned into contacts. The rules are the table in [`super::source`].

use std::fmt;

use jid::BareJid;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use tracing::debug;

use super::{Contact, Subscription, address};

/// The contacts of an answer, and how many were left out.
#[derive(Debug, Default, PartialEq)]
pub struct Contacts {
    /// The contacts, in the order of the answer.
    pub contacts: Vec<Contact>,
    /// How many entries could not be used.
    pub skipped: usize,
}

/// Reads the roster of `owner`.
///
/// # Errors
///
/// When the whole answer is unusable: not JSON, or neither an object nor an empty list.
pub fn contacts(json: &[u8], owner: &BareJid) -> Result<Contacts, serde_json::Error> {
    let mut input = serde_json::Deserializer::from_slice(json);
    let found = input.deserialize_any(Reader { owner })?;
    input.end()?;
    Ok(found)
}

/// Takes the map entry by entry, so that no more than one contact is held as loose JSON.
struct Reader<'a> {
    owner: &'a BareJid,
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Contacts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of contacts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Contacts, A::Error> {
        let mut found = Contacts::default();
        while let Some((jid, Entry(data))) = map.next_entry::<String, _>()? {
            match contact(&jid, data, self.owner) {
                Ok(contact) => found.contacts.push(contact),
                Err(reason) => {
                    debug!(owner = %self.owner, contact = jid, reason, "contact left out");
                    found.skipped += 1;
                }
            }
        }
        Ok(found)
    }

    /// PHP writes an empty map as `[]`.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Contacts, A::Error> {
        match seq.next_element::<Value>()? {
            None => Ok(Contacts::default()),
            Some(_) => Err(serde::de::Error::invalid_type(
                serde::de::Unexpected::Seq,
                &self,
            )),
        }
    }
}

/// What is said of a contact; what is not is null.
#[derive(Default)]
struct Data {
    name: Value,
    groups: Value,
    subscription: Value,
}

/// It, unless there is something else in its place.
struct Entry(Option<Data>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Name,
    Groups,
    Subscription,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryReader)
    }
}

struct EntryReader;

impl<'de> Visitor<'de> for EntryReader {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut data = Data::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Name => data.name = map.next_value()?,
                Key::Groups => data.groups = map.next_value()?,
                Key::Subscription => data.subscription = map.next_value()?,
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Entry(Some(data)))
    }

    fn visit_unit<E>(self) -> Result<Entry, E> {
        Ok(Entry(Some(Data::default())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
        while seq.next_element::<Value>()?.is_some() {}
        Ok(Entry(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Entry, E> {
        Ok(Entry(None))
    }
}

/// One contact, or why it cannot be used.
fn contact(jid: &str, data: Option<Data>, owner: &BareJid) -> Result<Contact, &'static str> {
    let jid = address::prepare(jid).ok_or("not a JID")?;
    let jid = BareJid::try_from(jid).map_err(|_| "JID with a resource")?;
    if jid == *owner {
        return Err("the user's own JID");
    }
    if jid.node().is_none() && !jid.domain().as_str().contains('.') {
        return Err("neither user@domain nor a domain name");
    }
    let data = data.ok_or("data is not an object")?;
    let name = match data.name {
        Value::Null => None,
        Value::String(name) => Some(printable(name)?),
        _ => return Err("name is not a string"),
    };
    let groups = match data.groups {
        Value::Null => Vec::new(),
        Value::Array(groups) => group_list(groups)?,
        Value::Object(groups) => group_keys(groups)?,
        _ => return Err("groups is neither an array nor an object"),
    };
    let subscription = match data.subscription {
        Value::Null => Subscription::Both,
        Value::String(word) => subscription(&word)?,
        _ => return Err("subscription is not a string"),
    };
    Ok(Contact::new(jid, name, groups, subscription))
}

fn group_list(groups: Vec<Value>) -> Result<Vec<String>, &'static str> {
    groups
        .into_iter()
        .filter(|group| !group.is_null())
        .map(|group| match group {
            Value::String(group) => printable(group),
            _ => Err("group is not a string"),
        })
        .collect()
}

fn group_keys(groups: Map<String, Value>) -> Result<Vec<String>, &'static str> {
    groups
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(group, _)| printable(group))
        .collect()
}

fn subscription(word: &str) -> Result<Subscription, &'static str> {
    match word {
        "none" => Ok(Subscription::None),
        "to" => Ok(Subscription::To),
        "from" => Ok(Subscription::From),
        "both" => Ok(Subscription::Both),
        _ => Err("unknown subscription"),
    }
}

/// Refuses what XML cannot carry, and what no client should show.
fn printable(text: String) -> Result<String, &'static str> {
    if text.contains(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        return Err("control character");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Contacts, serde_json::Error> {
        contacts(json.as_bytes(), &BareJid::new("john@example.org").unwrap())
    }

    /// The one contact `marie@example.org` with this data; `None` if it was left out.
    fn with_data(data: &str) -> Option<Contact> {
        let json = format!(r#"{{"marie@example.org": {data}, "aaron@example.org": {{}}}}"#);
        let found = read(&json).unwrap();
        assert_eq!(
            found.contacts.len() + found.skipped,
            2,
            "the other one stays: {data}"
        );
        found
            .contacts
            .into_iter()
            .find(|c| c.jid.as_str() == "marie@example.org")
    }

    /// The contact with this JID and no data; `None` if it was left out.
    fn with_jid(jid: &str) -> Option<String> {
        let found = read(&format!("{{{jid:?}: {{}}, \"aaron@example.org\": {{}}}}")).unwrap();
        assert_eq!(
            found.contacts.len() + found.skipped,
            2,
            "the other one stays: {jid}"
        );
        let other = |c: Contact| c.jid.to_string();
        found
            .contacts
            .into_iter()
            .map(other)
            .find(|jid| jid != "aaron@example.org")
    }

    #[test]
    fn the_documented_form_is_read() {
        let found = read(
            r#"{ "marie@example.org": { "name": "Marie", "groups": ["Friends", "Work"] },
                 "michael@example.org": { "name": "Michael", "subscription": "from",
                                          "unknown": [{}] } }"#,
        )
        .unwrap();
        assert_eq!(found.skipped, 0);
        let [marie, michael] = &found.contacts[..] else {
            panic!("{found:?}")
        };
        assert_eq!(marie.name.as_deref(), Some("Marie"));
        assert_eq!(marie.groups, ["Friends", "Work"]);
        assert_eq!(marie.subscription, Subscription::Both);
        assert_eq!(michael.subscription, Subscription::From);
    }

    #[test]
    fn groups_may_be_a_list_or_the_keys_of_an_object() {
        let groups = |json: &str| with_data(&format!(r#"{{"groups": {json}}}"#)).map(|c| c.groups);
        assert_eq!(groups(r#"["b", "a", "b", "", null]"#).unwrap(), ["b", "a"]);
        assert_eq!(
            groups(r#"{"b": true, "a": {}, "c": null}"#).unwrap(),
            ["a", "b"]
        );
        for empty in ["[]", "{}", "null"] {
            assert_eq!(groups(empty).unwrap(), [""; 0], "{empty}");
        }
        for bad in [
            r#""a""#,
            "5",
            "true",
            "[1]",
            "[[]]",
            r#"["a\u0000"]"#,
            r#"{"a\n": 1}"#,
        ] {
            assert_eq!(groups(bad), None, "{bad}");
        }
    }

    #[test]
    fn null_is_absent_and_wrong_types_leave_the_contact_out() {
        for bare in [
            "{}",
            "null",
            r#"{"name": null, "groups": null, "subscription": null}"#,
        ] {
            let contact = with_data(bare).unwrap();
            assert_eq!((contact.name, contact.groups), (None, vec![]), "{bare}");
            assert_eq!(contact.subscription, Subscription::Both);
        }
        for bad in [
            "true",
            "5",
            r#""Marie""#,
            "[]",
            r#"{"name": 5}"#,
            r#"{"name": ["Marie"]}"#,
            r#"{"name": "a\u0007b"}"#,
            r#"{"name": "a\uffffb"}"#,
            r#"{"name": "a\u0085b"}"#,
            r#"{"subscription": "remove"}"#,
            r#"{"subscription": "BOTH"}"#,
            r#"{"subscription": true}"#,
        ] {
            assert_eq!(with_data(bad), None, "{bad}");
        }
    }

    #[test]
    fn jids_are_prepared_and_bad_ones_left_out() {
        assert_eq!(
            with_jid("Marie@Example.ORG").as_deref(),
            Some("marie@example.org")
        );
        assert_eq!(with_jid("x@remote.net").as_deref(), Some("x@remote.net"));
        assert_eq!(
            with_jid("icq.example.org").as_deref(),
            Some("icq.example.org")
        );
        // The library would keep the dot, and make another one of a letter that servers leave alone.
        assert_eq!(
            with_jid("marie@example.org.").as_deref(),
            Some("marie@example.org")
        );
        for bad in [
            "",
            "maᴿie@example.org",
            "john@example.org.",
            "@example.org",
            "marie@",
            "a@b@c",
            "a b@example.org",
            "marie@example.org/phone",
            "JOHN@example.org",
            "pending",
            "marie",
        ] {
            assert_eq!(with_jid(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_empty_list_is_an_empty_roster() {
        for empty in ["{}", "[]", " [ ] "] {
            assert_eq!(read(empty).unwrap(), Contacts::default(), "{empty}");
        }
    }

    #[test]
    fn anything_else_is_no_roster() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let deep_data = format!(r#"{{"a@x.org": {deep}}}"#);
        let deep_groups = format!(r#"{{"a@x.org": {{"groups": {deep}}}}}"#);
        for bad in [
            "",
            "null",
            "42",
            r#""x""#,
            "true",
            r#"["marie@example.org"]"#,
            "[null]",
            "<html/>",
            "{} {}",
            "{}x",
            r#"{"a@x.org": {}"#,
            r#"{"a@x.org": {},}"#,
            "\u{feff}{}",
            &deep_data,
            &deep_groups,
        ] {
            assert!(read(bad).is_err(), "{bad:.40}");
        }
        // What nobody looks at may be as deep as it likes.
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let found = read(&format!(r#"{{"a@x.org": {{"shoes": {deep}}}}}"#)).unwrap();
        assert_eq!(found.contacts.len(), 1);
    }
}
