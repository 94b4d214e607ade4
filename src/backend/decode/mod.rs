//! Decoder of the backend's JSON: turns an answer into contacts.
//!
//! A byte order mark at the beginning is skipped. Bytes that are no UTF-8 and control characters become spaces, lone
//! surrogates (`\ud83d`) U+FFFD. Numbers that JSON does not know (`NaN`, `Infinity`, `007`, `0x1f`) are as good as absent.
//!
//! | in one entry | result |
//! |---|---|
//! | JID not prepared (`Aaron@Example.ORG`, `aaron@example.org.`) | prepared; of equal JIDs the last one counts |
//! | JID of another domain | accepted: the XMPP server decides about federation |
//! | JID without localpart | accepted if the domain has a dot (a gateway); `pending` is left out |
//! | invalid JID, empty JID, JID with a resource, letters that servers leave alone (`ᴬdmin`) | left out |
//! | the user's own JID | left out; alone, it makes an empty roster |
//! | contacts beyond 100,000 | left out |
//! | data that is no object | a contact without name and groups |
//! | `name` a string or a number | that, trimmed; of more than 1,024 bytes the beginning; a number as it is written, be it `1e999` |
//! | `name` absent, blank, or anything else | no name |
//! | `groups` an array | its strings and numbers, in order; all else, blank and repeated ones do not count |
//! | `groups` an object | its keys, but those whose value is `null` or `false` |
//! | `groups` an object whose keys are numbers: PHP's array with holes | its values; `true` stands for the key |
//! | `groups` a string or a number | one group |
//! | `groups` absent, or anything else | no groups |
//! | more groups than 100 of a contact, 400,000 of a list | the first |
//! | `subscription` none, to, from or both, in any case | that |
//! | `subscription` absent, or anything else | `both` |
//! | control character (also tab, line feed), U+FFFE or U+FFFF in a name or group | a space |
//! | other keys | ignored |
//!
//! So a contact is left out for its JID alone. Which were, and why, says one line of the log, and
//! `GET /roster_admin/rosters/USER`; the rest of the roster counts.
//!
//! Nothing is kept that does not count: values are looked at as they are written, and cut to what a list
//! may hold. So a list costs no more than a few times the answer that it is read from, and a number may be
//! larger than any that a program can hold.

use jid::BareJid;
use serde::de::{Deserializer, Error as _};

use self::list::ListReader;
use crate::roster::{Contact, left_out::LeftOut};

mod contact;
mod list;
mod repair;
mod text;

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
    repair::replace_what_is_no_text(json);
    repair::replace_lone_surrogates(json);
    repair::replace_odd_numbers(json);
    let json = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
    let mut input = serde_json::Deserializer::from_str(json);
    let list = input.deserialize_any(ListReader { owner })?;
    input.end()?;
    if !list.is_list() {
        return Err(NoContacts::NoneOfThem);
    }
    Ok(list.found)
}

#[cfg(test)]
mod tests;
