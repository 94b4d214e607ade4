//! Escaping of text that others have written, so that it can be shown: on one line, in its written order, and not too
//! long.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use serde_json::Value;

/// Most bytes of one value.
pub(super) const LONGEST: usize = 1024;
/// Mark of text that has been cut.
const REST: char = '…';

/// Whether a character does something to a line, or to a terminal, beyond standing in it.
fn is_active(char: char) -> bool {
    char.is_control()
        || matches!(char,
            // These end lines.
            '\u{2028}' | '\u{2029}'
            // These change the direction of what follows.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Passes text on, with active characters written as in Rust, and without what is beyond the longest.
pub(super) struct Plain<W> {
    to: W,
    left: usize,
    is_cut: bool,
}

impl<W: Write> Plain<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            left: LONGEST,
            is_cut: false,
        }
    }

    /// Whether there is room for so many bytes more. If not, that is said, and nothing more.
    fn take(&mut self, size: usize) -> Result<bool, fmt::Error> {
        if self.is_cut {
            return Ok(false);
        }
        if size > self.left {
            self.is_cut = true;
            self.to.write_char(REST)?;
            return Ok(false);
        }
        self.left -= size;
        Ok(true)
    }
}

impl<W: Write> Write for Plain<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly always, all of it is as it should be.
        if text.len() <= self.left && !self.is_cut && !text.contains(is_active) {
            self.left -= text.len();
            return self.to.write_str(text);
        }
        for char in text.chars() {
            if is_active(char) {
                let escaped = char.escape_default();
                if !self.take(escaped.len())? {
                    break;
                }
                write!(self.to, "{escaped}")?;
            } else {
                if !self.take(char.len_utf8())? {
                    break;
                }
                self.to.write_char(char)?;
            }
        }
        Ok(())
    }
}

/// What `text` says, fit to be shown.
pub fn plain(text: impl fmt::Display) -> String {
    let mut plain = String::new();
    // A string takes everything.
    let _ = write!(Plain::new(&mut plain), "{text}");
    plain
}

/// The same for a line of JSON, whose own escapes do less.
pub(super) fn plain_json(line: &str) -> Cow<'_, str> {
    let (document, end) = match line.strip_suffix('\n') {
        Some(document) => (document, "\n"),
        None => (line, ""),
    };
    let mut document = Cow::Borrowed(document);
    if document.len() > LONGEST
        && let Ok(mut value) = serde_json::from_str::<Value>(&document)
        && shorten(&mut value)
    {
        document = Cow::Owned(value.to_string());
    }
    if document.contains(is_active) {
        let mut escaped = String::with_capacity(document.len());
        for char in document.chars() {
            if is_active(char) {
                // Nothing active is outside of the basic plane, or of strings.
                let _ = write!(escaped, "\\u{:04x}", u32::from(char));
            } else {
                escaped.push(char);
            }
        }
        document = Cow::Owned(escaped);
    }
    match document {
        Cow::Borrowed(_) => Cow::Borrowed(line),
        Cow::Owned(document) => Cow::Owned(document + end),
    }
}

/// Cuts what is too long; whether anything was.
fn shorten(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text.len() > LONGEST => {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push(REST);
            true
        }
        Value::Array(values) => values.iter_mut().map(shorten).fold(false, |a, b| a | b),
        Value::Object(values) => values.values_mut().map(shorten).fold(false, |a, b| a | b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_is_left_and_all_else_is() {
        assert_eq!(
            plain("Zo\u{eb} \u{5d0} \\n 'x' \"y\""),
            "Zo\u{eb} \u{5d0} \\n 'x' \"y\""
        );
        for (active, shown) in [
            ("a\nb\r\n", "a\\nb\\r\\n"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\0\t\u{7f}\u{9b}", "\\u{0}\\t\\u{7f}\\u{9b}"),
            ("\u{2028}\u{2029}\u{85}", "\\u{2028}\\u{2029}\\u{85}"),
            ("\u{202e}\u{2066}\u{200f}", "\\u{202e}\\u{2066}\\u{200f}"),
        ] {
            assert_eq!(plain(active), shown);
        }
    }

    #[test]
    fn long_values_are_cut() {
        let long = "\u{eb}".repeat(LONGEST);
        let cut = plain(&long);
        assert!(cut.ends_with("\u{eb}…") && cut.len() <= LONGEST + REST.len_utf8());
        assert!(plain("\n".repeat(LONGEST)).len() <= LONGEST + REST.len_utf8());
        let in_pieces = plain(format_args!("{long}{long}{}", 1));
        assert_eq!(in_pieces, cut, "the rest is said once");
        let fits = "x".repeat(LONGEST);
        assert_eq!(plain(&fits), fits);
    }

    #[test]
    fn json_stays_json() {
        let usual = "{\"a\":\"\\n\u{eb}\"}\n";
        assert!(matches!(plain_json(usual), Cow::Borrowed(line) if line == usual));
        let active = "{\"a\":\"\u{7f}\u{9b}\u{2028}\u{202e}\"}\n";
        let plain = plain_json(active);
        assert_eq!(plain, "{\"a\":\"\\u007f\\u009b\\u2028\\u202e\"}\n");
        let read = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        assert_eq!(read(&plain), read(active));

        let long = format!(
            "{{\"a\":[\"{}\"],\"b\":{{\"c\":1}}}}\n",
            "\u{eb}".repeat(2000)
        );
        let cut = plain_json(&long);
        assert!(cut.len() < LONGEST + 50 && cut.ends_with("}\n"));
        assert_eq!(read(&cut)["b"]["c"], 1);
    }
}
