//! The backend's JSON, turned into contacts. The rules are the table in [`super::http`].
//!
//! Nothing is kept that does not count: values are looked at as they are written, and cut to what a list
//! may hold. So a list costs no more than a few times the answer that it is read from, and a number may be
//! larger than any that a program can hold.

use std::fmt;

use jid::BareJid;
use memchr::{memchr, memchr2};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::roster::{Contact, Subscription, address, left_out::LeftOut};

/// Most contacts of one list.
const MAX_CONTACTS: usize = 100_000;
/// Most groups of one contact, and of all contacts of one list together.
const MAX_GROUPS: usize = 100;
const MAX_GROUPS_OF_LIST: usize = 4 * MAX_CONTACTS;
/// Longest name of a contact or of a group, bytes.
const MAX_TEXT: usize = 1024;

/// The contacts of an answer, and what was left out.
#[derive(Debug, Default, PartialEq)]
pub struct Contacts {
    /// The contacts, in the order of the answer.
    pub contacts: Vec<Contact>,
    /// The entries that could not be used.
    pub left_out: LeftOut,
}

/// Why a whole answer is no list.
#[derive(Debug, thiserror::Error)]
pub enum NoContacts {
    /// It is no JSON, or neither an object nor an empty array.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It has entries, and none of them is a contact: an error that is told with status 200, perhaps.
    #[error("none of the entries is a contact")]
    NoneOfThem,
}

/// Reads the roster of `owner`. What a string cannot hold is replaced in `json` first: bytes that are no
/// UTF-8 and control characters by spaces, lone surrogates by U+FFFD. So are numbers that JSON does not know, by
/// empty strings.
///
/// # Errors
///
/// When the whole answer is unusable.
pub fn contacts(json: &mut [u8], owner: &BareJid) -> Result<Contacts, NoContacts> {
    let json = match json {
        // The byte order mark.
        [0xef, 0xbb, 0xbf, json @ ..] => json,
        json => json,
    };
    replace_what_is_no_text(json);
    replace_lone_surrogates(json);
    replace_odd_numbers(json);
    let json = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
    let mut input = serde_json::Deserializer::from_str(json);
    let list = input.deserialize_any(ListReader { owner })?;
    input.end()?;
    if !list.is_list() {
        return Err(NoContacts::NoneOfThem);
    }
    Ok(list.found)
}

fn replace_what_is_no_text(mut json: &mut [u8]) {
    // Between values, a space is as good as a line feed.
    for byte in json.iter_mut().filter(|byte| byte.is_ascii_control()) {
        *byte = b' ';
    }
    while let Err(error) = std::str::from_utf8(json) {
        let (_, rest) = json.split_at_mut(error.valid_up_to());
        let wrong = error.error_len().unwrap_or(rest.len());
        rest[..wrong].fill(b' ');
        json = &mut rest[wrong..];
    }
}

/// In JSON, halves of a character can be written as `\ud83d`; in a string of ours they cannot be.
fn replace_lone_surrogates(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        at += match escaped_unit(json, at) {
            Some(0xd800..=0xdbff)
                if matches!(escaped_unit(json, at + 6), Some(0xdc00..=0xdfff)) =>
            {
                12
            }
            Some(0xd800..=0xdfff) => {
                json[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            Some(_) => 6,
            None => 2,
        };
    }
}

/// Python writes `NaN` and `Infinity`, templates write `007`, and the reader of the original module takes them: empty
/// strings in their places are as good as nothing.
fn replace_odd_numbers(json: &mut [u8]) {
    let mut at = 0;
    while let Some(first) = json.get(at) {
        at = match first {
            b'"' => end_of_string(json, at),
            b'+' | b'-' | b'0'..=b'9' | b'I' | b'N' | b'i' | b'n' => {
                let is_end = |byte: &u8| b" ,:[]{}\"".contains(byte);
                let length = json[at..].iter().position(is_end);
                let end = length.map_or(json.len(), |length| at + length);
                let token = &mut json[at..end];
                if is_odd_number(token) {
                    token.fill(b' ');
                    token[..2].fill(b'"');
                }
                end
            }
            _ => at + 1,
        };
    }
}

/// Behind the string that begins here.
fn end_of_string(json: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if json[at - 1] == b'"' {
            return at;
        }
        // Whatever is escaped.
        at += 1;
    }
    json.len()
}

/// Whether this is a number of more than one byte, but none of JSON.
fn is_odd_number(token: &[u8]) -> bool {
    let Ok(token) = std::str::from_utf8(token) else {
        return false;
    };
    let unsigned = token.trim_start_matches(['+', '-']);
    let hexadecimal = unsigned
        .strip_prefix("0x")
        .or_else(|| unsigned.strip_prefix("0X"));
    let is_hexadecimal = hexadecimal.is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok());
    let is_number = is_hexadecimal || token.parse::<f64>().is_ok();
    token.len() > 1 && is_number && serde_json::from_str::<IgnoredAny>(token).is_err()
}

/// The UTF-16 code unit that is written here as `\uXXXX`.
fn escaped_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Takes the map entry by entry.
struct ListReader<'a> {
    owner: &'a BareJid,
}

#[derive(Default)]
struct List {
    found: Contacts,
    /// Somebody is among the entries, be it the owner.
    has_somebody: bool,
    /// A domain is among them that has no data of a contact, like `{"error.message": "down"}`.
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
    /// Whether it is one, and no error that is told with status 200. Whoever is alone on their own list has an
    /// empty one. Where there are only domains, nothing else may be among them: keys of errors have dots, too.
    fn is_list(&self) -> bool {
        self.has_somebody || (self.found.left_out.count() == 0 && !self.has_other_data)
    }

    /// The JID, if it may have a place on the list.
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

/// Reads the JID of an entry; says why it is none.
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
fn is_data(json: &str) -> bool {
    let is_empty_array = || serde_json::from_str::<[(); 0]>(json).is_ok();
    json.starts_with('{') || json == "null" || is_empty_array()
}

/// The contact of that JID. Whatever is said of it, it is one.
fn contact(jid: BareJid, json: &str, groups_left: usize) -> serde_json::Result<Contact> {
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

/// What is said of a contact, as it is written.
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

/// One value, as far as it can be shown.
enum Scalar {
    /// `null` or `false`
    Absent,
    /// An array or an object, which means nothing here.
    Compound,
    /// A string or a number; perhaps empty.
    Text(String),
    /// `true`
    True,
}

/// Reads one value. A number is the text that it is written as.
fn scalar(json: &str) -> serde_json::Result<Scalar> {
    Ok(match json.as_bytes() {
        [b'"', ..] => Scalar::Text(serde_json::from_str::<Printable>(json)?.0),
        [b'[' | b'{', ..] => Scalar::Compound,
        [b't', ..] => Scalar::True,
        [b'f' | b'n', ..] => Scalar::Absent,
        _ => Scalar::Text(printable(json)),
    })
}

/// The text of a string or a number; perhaps empty.
fn text(json: &str) -> serde_json::Result<Option<String>> {
    Ok(match scalar(json)? {
        Scalar::Text(text) => Some(text),
        Scalar::Absent | Scalar::Compound | Scalar::True => None,
    })
}

/// A string, as far as a list can show it.
struct Printable(String);

impl<'de> Deserialize<'de> for Printable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(StringReader)
    }
}

struct StringReader;

impl Visitor<'_> for StringReader {
    type Value = Printable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Printable, E> {
        Ok(Printable(printable(text)))
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

/// What a list can show of a text: a space in the place of what XML cannot carry and of what no client
/// should show; nothing around it; and no more than has room.
fn printable(text: &str) -> String {
    let is_hidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let is_blank = |c: char| c.is_whitespace() || is_hidden(c);
    let text = text.trim_matches(is_blank);
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    text.trim_end_matches(is_blank).replace(is_hidden, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(json: &[u8]) -> Result<Contacts, NoContacts> {
        contacts(
            &mut json.to_vec(),
            &BareJid::new("john@example.org").unwrap(),
        )
    }

    fn read(json: &str) -> Result<Contacts, NoContacts> {
        read_bytes(json.as_bytes())
    }

    /// The contact `marie@example.org` with this data, beside another one.
    fn with_bytes(data: &[u8]) -> Contact {
        let json = [
            br#"{"marie@example.org": "#,
            data,
            br#", "aaron@example.org": {"name": "Aaron"}}"#,
        ];
        let found = read_bytes(&json.concat()).unwrap();
        assert_eq!(found.left_out, LeftOut::default());
        let [marie, aaron] = &found.contacts[..] else {
            panic!("both of them: {found:?}")
        };
        assert_eq!(aaron.name.as_deref(), Some("Aaron"));
        assert_eq!(marie.jid.as_str(), "marie@example.org");
        marie.clone()
    }

    fn with_data(data: &str) -> Contact {
        with_bytes(data.as_bytes())
    }

    /// The contact with this JID and no data, or why it was left out.
    fn with_jid(jid: &str) -> Result<String, &'static str> {
        let found = read(&format!("{{{jid:?}: {{}}, \"aaron@example.org\": {{}}}}")).unwrap();
        assert_eq!(found.contacts.len() + found.left_out.count(), 2, "{jid}");
        if let [omission] = found.left_out.first() {
            assert_eq!(&*omission.jid, jid.trim_end_matches('.'));
            return Err(omission.reason);
        }
        Ok(found.contacts[0].jid.to_string())
    }

    #[test]
    fn the_documented_form_is_read() {
        let found = read(
            r#"{ "marie@example.org": { "name": "Marie", "groups": ["Friends", "Work"] },
                 "michael@example.org": { "name": "Michael", "subscription": "from",
                                          "unknown": [{}] } }"#,
        )
        .unwrap();
        assert_eq!(found.left_out.count(), 0);
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
        let groups = |json: &str| with_data(&format!(r#"{{"groups": {json}}}"#)).groups;
        for (json, expected) in [
            (
                r#"["b", "a", "b", "", null, false, true, [], {"c": 1}, 5]"#,
                &["b", "a", "5"][..],
            ),
            (
                r#"{"b": true, "a": {}, "c": null, "d": false, "": 1}"#,
                &["a", "b"],
            ),
            (r#"{"0": "Friends", "2": "Work"}"#, &["Friends", "Work"]),
            (r#"{"0": "Friends", "b": "Work"}"#, &["0", "b"]),
            (r#"{"2024": true, "0": null}"#, &["2024"]),
            (r#""Friends""#, &["Friends"]),
            ("5", &["5"]),
            ("1e999", &["1e999"]),
            (
                r#"[1e999, 12345678901234567890123]"#,
                &["1e999", "12345678901234567890123"],
            ),
            (r#"{"0": 1e999, "1": 5}"#, &["1e999", "5"]),
            (r#"["a\u0000b", " c\n", "\n"]"#, &["a b", "c"]),
            (r#"{"a\nb": 1}"#, &["a b"]),
            ("[[]]", &[]),
        ] {
            assert_eq!(groups(json), expected, "{json}");
        }
        for empty in ["[]", "{}", "null", "false", "true", r#""""#, r#"" ""#] {
            assert_eq!(groups(empty), [""; 0], "{empty}");
        }
    }

    #[test]
    fn null_is_absent_and_wrong_types_cost_no_contact() {
        for bare in [
            "{}",
            "null",
            "[]",
            "false",
            "true",
            "5",
            "-5",
            "5.5",
            "1e999",
            r#""Marie""#,
            r#"["Marie"]"#,
            r#"{"name": null, "groups": null, "subscription": null}"#,
            r#"{"name": false, "groups": false, "subscription": false}"#,
            r#"{"name": [], "groups": {}, "subscription": {}}"#,
            r#"{"name": ["Marie"], "groups": [[]], "subscription": true}"#,
            r#"{"name": " \u0007\uffff", "subscription": ""}"#,
        ] {
            let contact = with_data(bare);
            assert_eq!((contact.name, contact.groups), (None, vec![]), "{bare}");
            assert_eq!(contact.subscription, Subscription::Both, "{bare}");
        }
        for (word, expected) in [
            ("BOTH", Subscription::Both),
            ("From", Subscription::From),
            ("tO", Subscription::To),
            ("NONE", Subscription::None),
            ("remove", Subscription::Both),
        ] {
            let contact = with_data(&format!(r#"{{"subscription": "{word}"}}"#));
            assert_eq!(contact.subscription, expected, "{word}");
        }
    }

    #[test]
    fn a_name_costs_no_contact_whatever_it_is_made_of() {
        for (name, expected) in [
            (&br#""Marie""#[..], "Marie"),
            (br#"" Marie\t""#, "Marie"),
            (b"5", "5"),
            (b"-5", "-5"),
            (b"5.5", "5.5"),
            (b"1e999", "1e999"),
            (b"-1E400", "-1E400"),
            (b"0.10", "0.10"),
            (
                b"123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            (b"\"Marie\r\"", "Marie"),
            (b"\"Ma\trie\0\n\"", "Ma rie"),
            (br#""Marie\r""#, "Marie"),
            (br#""Pat O\u0092Brien""#, "Pat O Brien"),
            (br#""a\u0007b""#, "a b"),
            (br#""a\uffffb\u0085c""#, "a b c"),
            (br#""a\ud83db""#, "a\u{fffd}b"),
            (br#""a\ude00""#, "a\u{fffd}"),
            (br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (br#""\\ud83d""#, r"\ud83d"),
            (br#""\\\ud83d""#, "\\\u{fffd}"),
            (b"\"Ren\xe9e\"", "Ren e"),
            (b"\"Ren\xc3\"", "Ren"),
            (b"\"\xed\xa0\xbd!\"", "!"),
        ] {
            let data = [b"{\"name\": ", name, b"}"].concat();
            let said = String::from_utf8_lossy(name);
            assert_eq!(with_bytes(&data).name.as_deref(), Some(expected), "{said}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_know_are_as_good_as_nothing() {
        for number in [
            "NaN",
            "nan",
            "-NaN",
            "Infinity",
            "-Infinity",
            "inf",
            "007",
            "-01.5",
            "0x1F",
            "+1",
            "1.",
        ] {
            let bare = with_data(&format!(
                r#"{{"age": {number}, "name": {number}, "groups": [{number}, "a"],"x":{number}}}"#
            ));
            assert_eq!(
                (bare.name, bare.groups),
                (None, vec!["a".to_owned()]),
                "{number}"
            );
            assert_eq!(with_data(number).name, None);
            // In a text, it is a text.
            for text in [format!("{number}: {number}"), format!("\\\"{number},")] {
                let named = with_data(&format!(r#"{{"name": "{text}"}}"#));
                assert_eq!(named.name.unwrap(), text.replace('\\', ""), "{number}");
            }
        }
        for bad in ["nul", "Nay", "1e5x", "0xg", "--", "in", "1 2", "NaN NaN"] {
            let json = format!(r#"{{"marie@example.org": {{"age": {bad}}}}}"#);
            assert!(matches!(read(&json), Err(NoContacts::Json(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_long_is_cut_and_costs_no_contact() {
        let long = "ü".repeat(MAX_TEXT);
        let groups: Vec<String> = (0..2 * MAX_GROUPS).map(|group| group.to_string()).collect();
        let keys: Vec<String> = groups.iter().map(|it| format!("\"g{it}\": true")).collect();
        let contact = with_data(&format!(r#"{{"name": "{long}", "groups": {groups:?}}}"#));
        assert_eq!(contact.name.unwrap(), "ü".repeat(MAX_TEXT / 2));
        assert_eq!(contact.groups, groups[..MAX_GROUPS]);
        let contact = with_data(&format!(r#"{{"groups": {{{}}}}}"#, keys.join(",")));
        assert_eq!(contact.groups.len(), MAX_GROUPS);
        let contact = with_data(&format!(r#"{{"groups": ["{long}"]}}"#));
        assert_eq!(contact.groups, ["ü".repeat(MAX_TEXT / 2)]);
    }

    #[test]
    fn a_list_has_so_many_contacts_and_groups_and_no_more() {
        let groups = r#"{"groups": ["a", "b", "c", "d", "e"]}"#;
        let entries = (0..MAX_CONTACTS + 2).map(|number| format!("\"c{number}@x.org\": {groups}"));
        let json = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
        let found = read(&json).unwrap();
        assert_eq!(found.contacts.len(), MAX_CONTACTS);
        let groups: usize = found.contacts.iter().map(|it| it.groups.len()).sum();
        assert_eq!(groups, MAX_GROUPS_OF_LIST);
        assert_eq!(found.left_out.count(), 2);
        assert_eq!(
            found.left_out.first()[1].reason,
            "more than 100000 contacts"
        );
    }

    #[test]
    fn jids_are_prepared_and_bad_ones_left_out() {
        for (jid, expected) in [
            ("Marie@Example.ORG", "marie@example.org"),
            ("x@remote.net", "x@remote.net"),
            ("icq.example.org", "icq.example.org"),
            // The library would keep the dot.
            ("marie@example.org.", "marie@example.org"),
        ] {
            assert_eq!(with_jid(jid).as_deref(), Ok(expected), "{jid}");
        }
        for (bad, reason) in [
            ("", "not a JID"),
            // The library would make another one of a letter that servers leave alone.
            ("maᴿie@example.org", "not a JID"),
            ("@example.org", "not a JID"),
            ("marie@", "not a JID"),
            ("a@b@c", "not a JID"),
            ("a b@example.org", "not a JID"),
            ("marie@example.org/phone", "JID with a resource"),
            ("john@example.org", "the user's own JID"),
            ("john@example.org.", "the user's own JID"),
            ("pending", "neither user@domain nor a domain name"),
            ("marie", "neither user@domain nor a domain name"),
        ] {
            assert_eq!(with_jid(bad), Err(reason), "{bad:?}");
        }
    }

    #[test]
    fn an_empty_list_is_an_empty_roster() {
        for empty in ["{}", "[]", " [ ] ", "\u{feff}{}", "\u{feff} []"] {
            assert_eq!(read(empty).unwrap(), Contacts::default(), "{empty}");
        }
        let alone = read(r#"{"JOHN@example.org": {}}"#).unwrap();
        assert_eq!((alone.contacts.len(), alone.left_out.count()), (0, 1));
    }

    #[test]
    fn entries_of_which_none_is_a_contact_are_no_roster() {
        for error in [
            r#"{"error": "down"}"#,
            r#"{"status": "error"}"#,
            r#"{"result": "success", "data": {"marie@example.org": {}}}"#,
            r#"{"ver": "1", "items": [{"jid": "marie@example.org"}]}"#,
            r#"{"": {}}"#,
            // Keys that look like domains.
            r#"{"error.message": "down", "error.code": 5}"#,
            r#"{"status": "error", "api.example.org": {}}"#,
            r#"{"api.example.org": true}"#,
            r#"{"icq.example.org": {}, "error.code": 1e999}"#,
            r#"{"errors.name": ["required"]}"#,
            r#"{"error.code": [5], "icq.example.org": {}}"#,
            r#"{"errors.name": [[]]}"#,
            r#"{"errors.name": [null]}"#,
        ] {
            assert!(
                matches!(read(error), Err(NoContacts::NoneOfThem)),
                "{error}"
            );
        }
        let gateways = r#"{"icq.example.org": {"name": "ICQ"}, "sms.example.org": [ ], "irc.example.org": null}"#;
        assert_eq!(read(gateways).unwrap().contacts.len(), 3);
        let mixed = r#"{"icq.example.org": "ICQ", "pending": 1, "marie@example.org": {}}"#;
        let mixed = read(mixed).unwrap();
        assert_eq!((mixed.contacts.len(), mixed.left_out.count()), (2, 1));
        let one = read(r#"{"status": "ok", "marie@example.org": {}}"#).unwrap();
        assert_eq!((one.contacts.len(), one.left_out.count()), (1, 1));
    }

    #[test]
    fn anything_else_is_no_roster() {
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
            r#"{"a@x.org": {"name": "\ud83"}}"#,
            "{\u{feff}}",
        ] {
            assert!(matches!(read(bad), Err(NoContacts::Json(_))), "{bad:.40}");
        }
        // What nobody looks at may be as deep as it likes.
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for place in [
            deep.clone(),
            format!(r#"{{"shoes": {deep}}}"#),
            format!(r#"{{"name": {deep}}}"#),
            format!(r#"{{"groups": {deep}}}"#),
            format!(r#"{{"groups": [{deep}]}}"#),
        ] {
            assert_eq!(with_data(&place).name, None);
        }
    }
}
