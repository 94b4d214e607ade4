//! Reader of the whole list: decides which entries are contacts, and whether the answer is a list at all.

use std::fmt;

use jid::BareJid;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::{
    Contacts,
    contact::{contact, is_data},
};
use crate::roster::{address, left_out::LeftOut};

/// Most contacts of one list.
pub(super) const MAX_CONTACTS: usize = 100_000;
/// Most groups of all contacts of one list together.
pub(super) const MAX_GROUPS_OF_LIST: usize = 4 * MAX_CONTACTS;

/// Reads the object entry by entry.
pub(super) struct ListReader<'a> {
    pub(super) owner: &'a BareJid,
}

#[derive(Default)]
pub(super) struct List {
    pub(super) found: Contacts,
    /// An entry has a localpart; it may be the owner's.
    has_somebody: bool,
    /// An entry is a domain whose value is no data of a contact, like `{"error.message": "down"}`.
    has_other_data: bool,
    groups: usize,
}

impl<'de> Visitor<'de> for ListReader<'_> {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of contacts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List, A::Error> {
        let mut list = List::default();
        while let Some(jid) = map.next_key_seed(JidReader(&mut list.found.left_out))? {
            list.has_somebody |= jid.as_ref().is_some_and(|jid| jid.node().is_some());
            let Some(jid) = list.usable(jid, self.owner) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let data = map.next_value::<&RawValue>()?.get();
            list.has_other_data |= jid.node().is_none() && !is_data(data);
            let groups_left = MAX_GROUPS_OF_LIST - list.groups;
            let contact = contact(jid, data, groups_left).map_err(A::Error::custom)?;
            list.groups += contact.groups.len();
            list.found.contacts.push(contact);
        }
        Ok(list)
    }

    /// PHP writes an empty map as `[]`.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(List::default()),
            Some(_) => Err(serde::de::Error::invalid_type(
                serde::de::Unexpected::Seq,
                &self,
            )),
        }
    }
}

impl List {
    /// Whether this is a list, and not an error with status 200. A list with its owner alone counts as empty. If all
    /// entries are domains, each must look like a contact: keys of error objects have dots, too.
    pub(super) fn is_list(&self) -> bool {
        self.has_somebody || (self.found.left_out.count() == 0 && !self.has_other_data)
    }

    /// The JID, if it may be a contact.
    fn usable(&mut self, jid: Option<BareJid>, owner: &BareJid) -> Option<BareJid> {
        let jid = jid?;
        let reason = if jid == *owner {
            "the user's own JID"
        } else if self.found.contacts.len() >= MAX_CONTACTS {
            "more than 100000 contacts"
        } else {
            return Some(jid);
        };
        self.found.left_out.push(jid.as_str(), reason);
        None
    }
}

/// Reads the JID of an entry; notes the reason if it is none.
struct JidReader<'a>(&'a mut LeftOut);

impl<'de> DeserializeSeed<'de> for JidReader<'_> {
    type Value = Option<BareJid>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for JidReader<'_> {
    type Value = Option<BareJid>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JID")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<BareJid>, E> {
        let jid = contact_jid(text);
        Ok(jid.inspect_err(|reason| self.0.push(text, reason)).ok())
    }
}

fn contact_jid(text: &str) -> Result<BareJid, &'static str> {
    let jid = address::prepare(text).ok_or("not a JID")?;
    let jid = BareJid::try_from(jid).map_err(|_| "JID with a resource")?;
    if jid.node().is_none() && !jid.domain().as_str().contains('.') {
        return Err("neither user@domain nor a domain name");
    }
    Ok(jid)
}
