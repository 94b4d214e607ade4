//! Reader of one value as text that a list can show: a name, a group, a word.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, Visitor},
};

/// Longest name of a contact or of a group, bytes.
pub(super) const MAX_TEXT: usize = 1024;

/// One value, as far as it can be shown.
pub(super) enum Scalar {
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
pub(super) fn scalar(json: &str) -> serde_json::Result<Scalar> {
    Ok(match json.as_bytes() {
        [b'"', ..] => Scalar::Text(serde_json::from_str::<Printable>(json)?.0),
        [b'[' | b'{', ..] => Scalar::Compound,
        [b't', ..] => Scalar::True,
        [b'f' | b'n', ..] => Scalar::Absent,
        _ => Scalar::Text(printable(json)),
    })
}

/// The text of a string or a number; perhaps empty.
pub(super) fn text(json: &str) -> serde_json::Result<Option<String>> {
    Ok(match scalar(json)? {
        Scalar::Text(text) => Some(text),
        Scalar::Absent | Scalar::Compound | Scalar::True => None,
    })
}

/// A string, as far as a list can show it.
pub(super) struct Printable(pub(super) String);

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

/// Makes a text fit for a list: trimmed, cut to its bound, and with a space for each character that XML cannot carry or
/// no client should show.
fn printable(text: &str) -> String {
    let is_hidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let is_blank = |c: char| c.is_whitespace() || is_hidden(c);
    let text = text.trim_matches(is_blank);
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    text.trim_end_matches(is_blank).replace(is_hidden, " ")
}
