//! What the backend sent instead of a contact list, in words that say where to look. Knows only how the answer begins.

use std::fmt;

/// Characters of the answer that are shown.
const SHOWN: usize = 60;
/// Bytes of it that are looked at.
pub const LOOKED_AT: usize = 256;

/// An answer that is no JSON object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instead {
    kind: Kind,
    /// How it begins, on one line.
    begins: Box<str>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Nothing,
    Compressed,
    Html,
    /// PHP's own words, which come before the JSON or in place of it.
    Php,
    /// Whole JSON, but an array, or a string, a number, …
    Other(&'static str),
    /// It ends before the JSON does.
    CutOff,
    /// From this line and column on, it is no JSON.
    Broken(usize, usize),
}

impl Instead {
    /// Looks at how an answer begins, as it came, and at what the parser says of it.
    pub fn of(beginning: &[u8], error: &serde_json::Error) -> Self {
        let text = String::from_utf8_lossy(beginning);
        let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
        let kind = match text.to_ascii_lowercase() {
            _ if beginning.starts_with(&[0x1f, 0x8b]) => Kind::Compressed,
            text if text.is_empty() => Kind::Nothing,
            text if is_php(&text) => Kind::Php,
            text if text.starts_with('<') => Kind::Html,
            text if error.is_data() => Kind::Other(json_kind(&text)),
            _ if error.is_eof() => Kind::CutOff,
            _ => Kind::Broken(error.line(), error.column()),
        };
        Self {
            kind,
            begins: shown(text),
        }
    }
}

/// A warning as PHP prints it, with or without `html_errors`.
fn is_php(text: &str) -> bool {
    let text = text.strip_prefix("<br />").unwrap_or(text).trim_start();
    let text = text.strip_prefix("<b>").unwrap_or(text);
    let text = text.strip_prefix("php ").unwrap_or(text);
    let kinds = [
        "warning",
        "notice",
        "deprecated",
        "fatal error",
        "parse error",
    ];
    kinds.into_iter().any(|kind| {
        let rest = text.strip_prefix(kind);
        rest.is_some_and(|rest| rest.starts_with(':') || rest.starts_with("</b>:"))
    })
}

fn json_kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'[') => "a JSON array (contacts are the keys of an object)",
        Some(b'"') => "a JSON string (was it encoded twice?)",
        Some(b'n') => "JSON null (for a user without contacts, {} is right)",
        _ => "JSON of another kind",
    }
}

/// The beginning of a text on one line, without tags and control characters.
fn shown(text: &str) -> Box<str> {
    let mut is_tag = false;
    let plain = text.chars().filter(|c| {
        let was_tag = is_tag;
        is_tag = (is_tag || *c == '<') && *c != '>';
        !was_tag && !is_tag
    });
    let plain: String = plain
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN).collect()
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begins = &self.begins;
        match self.kind {
            Kind::Nothing => f.write_str("nothing"),
            Kind::Compressed => f.write_str("gzip, which it was not asked for"),
            Kind::Html if begins.is_empty() => f.write_str("HTML"),
            Kind::Html => write!(f, "HTML, {begins:?}"),
            Kind::Php => write!(f, "a message of PHP, {begins:?}"),
            Kind::Other(what) => f.write_str(what),
            Kind::CutOff => f.write_str("JSON that is cut off"),
            Kind::Broken(line, column) => {
                write!(
                    f,
                    "{begins:?}, no JSON from line {line}, column {column} on"
                )
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::IgnoredAny;

    use super::*;

    fn words(answer: &[u8]) -> String {
        let error = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(answer).unwrap_err();
        Instead::of(answer, &error).to_string()
    }

    #[test]
    fn says_what_came() {
        for (answer, expected) in [
            ("", "nothing"),
            (" \r\n", "nothing"),
            (
                "<!DOCTYPE html>\n<html><title>Log in</title>\n<p>Please",
                "HTML, \"Log in Please\"",
            ),
            ("<html>", "HTML"),
            (
                "<br />\n<b>Warning</b>:  Undefined variable $c in <b>/srv/c.php</b> on line <b>7</b><br />\n{}",
                "a message of PHP, \"Warning: Undefined variable $c in /srv/c.php on line 7 {}\"",
            ),
            (
                "PHP Notice:  odd\n{}",
                "a message of PHP, \"PHP Notice: odd {}\"",
            ),
            ("[1]", "a JSON array (contacts are the keys of an object)"),
            ("\"{}\"", "a JSON string (was it encoded twice?)"),
            (
                "null",
                "JSON null (for a user without contacts, {} is right)",
            ),
            ("7", "JSON of another kind"),
            ("{\"marie@example.org\": {", "JSON that is cut off"),
            (
                "{\n  \"marie\": {},\n}",
                "\"{ \\\"marie\\\": {}, }\", no JSON from line 3, column 1 on",
            ),
            (
                "Access denied",
                "\"Access denied\", no JSON from line 1, column 1 on",
            ),
        ] {
            assert_eq!(words(answer.as_bytes()), expected, "{answer:?}");
        }
        assert_eq!(
            words(b"\x1f\x8b\x08\0\0"),
            "gzip, which it was not asked for"
        );
    }

    #[test]
    fn shows_little_and_on_one_line() {
        let long = words("no \u{7}\u{1b}[31m \u{2028}".repeat(900).as_bytes());
        assert!(long.len() < 200, "{long}");
        assert!(
            !long.contains(['\u{7}', '\u{1b}', '\u{2028}', '\n']),
            "{long}"
        );
    }
}
