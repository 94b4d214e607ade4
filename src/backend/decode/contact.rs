//! Reader of one contact: name, groups and subscription of an entry.

use std::fmt;

use jid::BareJid;
use serde::{
    Deserialize,
    de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::text::{Printable, Scalar, scalar, text};
use crate::roster::{Contact, Subscription};

/// Most groups of one contact.
pub(super) const MAX_GROUPS: usize = 100;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Name,
    Groups,
    Subscription,
    #[serde(other)]
    Other,
}

/// Whether a contact can be described like this: by an object, PHP's empty array, or not at all.
pub(super) fn is_data(json: &str) -> bool {
    let is_empty_array = || serde_json::from_str::<[(); 0]>(json).is_ok();
    json.starts_with('{') || json == "null" || is_empty_array()
}

/// The contact of that JID. No data costs it its place on the list.
pub(super) fn contact(jid: BareJid, json: &str, groups_left: usize) -> serde_json::Result<Contact> {
    let data = match json.starts_with('{') {
        true => serde_json::Deserializer::from_str(json).deserialize_map(DataReader)?,
        false => Data::default(),
    };
    let name = data.name.map_or(Ok(None), text)?;
    let most = MAX_GROUPS.min(groups_left);
    let groups = data
        .groups
        .map_or(Ok(Vec::new()), |json| groups(json, most))?;
    let word = data.subscription.map_or(Ok(None), text)?;
    let subscription = word.as_deref().map_or(Subscription::Both, subscription_of);
    Ok(Contact::new(jid, name, groups, subscription))
}

/// Data of a contact, as it is written.
#[derive(Default)]
struct Data<'a> {
    name: Option<&'a str>,
    groups: Option<&'a str>,
    subscription: Option<&'a str>,
}

/// Reads an object. Of equal keys the last one counts.
struct DataReader;

impl<'de> Visitor<'de> for DataReader {
    type Value = Data<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data<'de>, A::Error> {
        let mut data = Data::default();
        while let Some(key) = map.next_key()? {
            let value = Some(map.next_value::<&RawValue>()?.get());
            match key {
                Key::Name => data.name = value,
                Key::Groups => data.groups = value,
                Key::Subscription => data.subscription = value,
                Key::Other => {}
            }
        }
        Ok(data)
    }
}

/// The groups of a contact, so many at most.
fn groups(json: &str, most: usize) -> serde_json::Result<Vec<String>> {
    let reader = GroupsReader { most };
    if json.starts_with(['[', '{']) {
        return serde_json::Deserializer::from_str(json).deserialize_any(reader);
    }
    let mut groups = Vec::new();
    reader.add(&mut groups, text(json)?);
    Ok(groups)
}

/// Reads groups, so many at most.
struct GroupsReader {
    most: usize,
}

impl<'de> Visitor<'de> for GroupsReader {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("groups")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut groups = Vec::new();
        while groups.len() < self.most
            && let Some(group) = seq.next_element::<&RawValue>()?
        {
            self.add(&mut groups, text(group.get()).map_err(A::Error::custom)?);
        }
        skip(seq)?;
        Ok(groups)
    }

    /// The keys are the groups. But PHP writes a list with holes as an object, whose keys are numbers. In
    /// such a list `true` is nothing; so it stands for its key, and a group may be called `2024`.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut is_list = true;
        while let Some((Printable(key), value)) = map.next_entry::<_, &RawValue>()? {
            is_list &= !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
            match scalar(value.get()).map_err(A::Error::custom)? {
                Scalar::Absent => continue,
                Scalar::Compound => {}
                Scalar::Text(value) => self.add(&mut values, Some(value)),
                Scalar::True => self.add(&mut values, Some(key.clone())),
            }
            self.add(&mut keys, Some(key));
        }
        if is_list {
            return Ok(values);
        }
        keys.sort_unstable();
        Ok(keys)
    }
}

impl GroupsReader {
    fn add(&self, groups: &mut Vec<String>, group: Option<String>) {
        let group = group.filter(|group| !group.is_empty() && groups.len() < self.most);
        groups.extend(group.filter(|group| !groups.contains(group)));
    }
}

/// Reads the rest of an array without looking at it.
fn skip<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn subscription_of(word: &str) -> Subscription {
    match &*word.to_ascii_lowercase() {
        "none" => Subscription::None,
        "to" => Subscription::To,
        "from" => Subscription::From,
        _ => Subscription::Both,
    }
}
