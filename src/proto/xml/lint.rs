//! What the tokenizer leaves open: characters, names, references.

use std::ops::ControlFlow;

use memchr::{memchr, memchr_iter};

use super::error::ScanErrorKind;
use super::names;

/// White space as XML has it (XML 1.0 §2.3).
pub fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether XML can carry a character at all, as such or as a reference (XML 1.0 §2.2).
pub fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// The document as text if it is UTF-8 and has only characters that XML can carry; otherwise the place and the kind
/// of the first error.
pub fn characters(document: &[u8]) -> Result<&str, (usize, ScanErrorKind)> {
    let text = std::str::from_utf8(document)
        .map_err(|error| (error.valid_up_to(), ScanErrorKind::Encoding))?;
    let is_control = |byte: u8| byte < b' ' && !is_white(byte);
    // No early exit, so that the compiler can look at many bytes at a time.
    let controls = document
        .iter()
        .fold(false, |found, &byte| found | is_control(byte));
    if controls {
        let at = document
            .iter()
            .position(|&byte| is_control(byte))
            .unwrap_or_default();
        return Err((at, ScanErrorKind::NotWellFormed));
    }
    // U+FFFE and U+FFFF: valid UTF-8, and the only other characters that XML excludes.
    let found = memchr_iter(0xef, document).try_for_each(|at| match document.get(at..) {
        Some([_, 0xbf, 0xbe | 0xbf, ..]) => ControlFlow::Break(at),
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(at) => Err((at, ScanErrorKind::NotWellFormed)),
        ControlFlow::Continue(()) => Ok(text),
    }
}

/// The character that `&name;` stands for, if `name` is one of the five predefined entities or a
/// legal character reference (XML 1.0 §4.1). All other entities would need a DTD.
pub fn reference(name: &[u8]) -> Option<char> {
    let (digits, radix) = match name {
        b"amp" => return Some('&'),
        b"apos" => return Some('\''),
        b"gt" => return Some('>'),
        b"lt" => return Some('<'),
        b"quot" => return Some('"'),
        [b'#', b'x', digits @ ..] => (digits, 16),
        [b'#', digits @ ..] => (digits, 10),
        _ => return None,
    };
    // Eight digits suffice for every character. A sign, which `from_str_radix` would take, is refused.
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    char::from_u32(code).filter(|&c| is_char(c))
}

/// Whether every `&` in an attribute value begins a reference that [`reference()`] knows.
pub fn references(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(at) = memchr(b'&', rest) {
        let Some((_, after)) = rest.split_at_checked(at.saturating_add(1)) else {
            return false;
        };
        let Some((name, after)) = split_once(b';', after) else {
            return false;
        };
        if reference(name).is_none() {
            return false;
        }
        rest = after;
    }
    true
}

/// Whether every reference in a namespace name stands for a character that may need one, such as `&` or a quote.
pub fn is_plain_uri(uri: &[u8]) -> bool {
    let has_to_be_referred_to =
        |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'' | '\t' | '\n' | '\r');
    let mut rest = uri;
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'&' | b'\t' | b'\n' | b'\r'))
    {
        let Some([b'&', after @ ..]) = rest.get(at..) else {
            return false;
        };
        let Some((name, after)) = split_once(b';', after) else {
            return false;
        };
        if !reference(name).is_some_and(has_to_be_referred_to) {
            return false;
        }
        rest = after;
    }
    true
}

/// What comes before and after the first `byte`.
pub(super) fn split_once(byte: u8, text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, text)?;
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, rest.get(1..)?))
}

/// Whether `name`, which is UTF-8, is a name without a colon (XML 1.0 §2.3 up to its fourth edition, Namespaces in
/// XML §3).
pub fn is_nc_name(name: &[u8]) -> bool {
    if name
        .iter()
        .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    {
        return name
            .first()
            .is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_');
    }
    let Ok(text) = std::str::from_utf8(name) else {
        return false;
    };
    let mut chars = text.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

/// The same by the fifth edition of XML 1.0.
pub(super) fn is_new_nc_name(name: &[u8]) -> bool {
    let is_start = |c: char| {
        is_name_start(c)
            || matches!(
                c,
                '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
                    | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
                    | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
                    | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}'
            )
    };
    let is_part = |c: char| {
        is_start(c)
            || is_name_char(c)
            || matches!(c, '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
    };
    let mut chars = std::str::from_utf8(name).unwrap_or_default().chars();
    chars.next().is_some_and(is_start) && chars.all(is_part)
}

fn is_name_start(c: char) -> bool {
    matches!(c, 'A'..='Z' | 'a'..='z' | '_') || names::is_start(c)
}

fn is_name_char(c: char) -> bool {
    matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_') || names::is_part(c)
}

/// Longest language tag, bytes (RFC 5646 §4.4.1).
pub(in crate::proto) const MAX_LANGUAGE: usize = 35;

/// Whether this is a language tag: subtags of letters and digits, the first of letters only
/// (RFC 5646 §2.1).
pub fn is_language(tag: &str) -> bool {
    let is_subtag = |subtag: &str| {
        (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let first = tag.split('-').next().unwrap_or_default();
    tag.len() <= MAX_LANGUAGE
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && tag.split('-').all(is_subtag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_characters_that_xml_cannot_carry() {
        assert_eq!(
            characters("aä\t\r\n\u{7f}\u{fffd}\u{10ffff}".as_bytes()).map(str::len),
            Ok(14)
        );
        for (text, at) in [
            ("ab\u{0}", 2),
            ("\u{1f}", 0),
            ("a\u{fffe}", 1),
            ("ä\u{ffff}", 2),
        ] {
            assert_eq!(
                characters(text.as_bytes()),
                Err((at, ScanErrorKind::NotWellFormed))
            );
        }
        for bytes in [&b"ab\xff"[..], b"ab\xc3", b"ab\xed\xa0\x80", b"ab\xc0\xaf"] {
            assert_eq!(characters(bytes), Err((2, ScanErrorKind::Encoding)));
        }
    }

    #[test]
    fn knows_five_entities_and_character_references() {
        for (name, c) in [
            ("amp", '&'),
            ("apos", '\''),
            ("gt", '>'),
            ("lt", '<'),
            ("quot", '"'),
            ("#65", 'A'),
            ("#x20aC", '€'),
            ("#x10FFFF", '\u{10ffff}'),
            ("#00000009", '\t'),
        ] {
            assert_eq!(reference(name.as_bytes()), Some(c), "{name}");
        }
        for name in [
            "",
            "#",
            "#x",
            "nbsp",
            "AMP",
            "#0",
            "#1",
            "#x1f",
            "#xd800",
            "#xfffe",
            "#xFFFF",
            "#X41",
            "#x110000",
            "#+65",
            "#-1",
            "#6a",
            "# 65",
            "#000000065",
            "amp ",
        ] {
            assert_eq!(reference(name.as_bytes()), None, "{name}");
        }
        assert!(references(b"a&amp;b&#10;") && references(b""));
        for value in [&b"a&b"[..], b"&", b"&amp", b"&&amp;", b"&amp;&x;"] {
            assert!(!references(value));
        }
    }

    #[test]
    fn knows_names() {
        for name in ["a", "_", "a-b.c1", "é", "a\u{b7}", "名", "a\u{300}"] {
            assert!(is_nc_name(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "1a",
            "-a",
            ".a",
            "a:b",
            "a b",
            "\u{b7}a",
            "a×",
            "a\u{2028}",
            "a'",
            "\u{feff}a",
            "a\u{fffb}",
            "\u{300}a",
            // Of the fifth edition only.
            "\u{10000}",
            "a\u{370}",
            "\u{2c00}",
        ] {
            assert!(!is_nc_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_language_is_a_tag_or_none() {
        for tag in [
            "en",
            "de-CH-1996",
            "zh-cmn-Hans-CN",
            "i-klingon",
            "x-whatever",
            "sl-Latn-IT-nedis-x-private",
        ] {
            assert!(is_language(tag), "{tag}");
        }
        let long = ["en"; 12].join("-");
        assert_eq!(long.len(), MAX_LANGUAGE);
        assert!(is_language(&long));
        let longer = format!("{long}-a");
        for other in [
            "",
            "-",
            "en-",
            "-en",
            "en--US",
            "en_US",
            "en US",
            "1994",
            "deutschland",
            "d\u{e9}",
            "en\n",
            "en'",
            "en-'/>",
            &longer,
        ] {
            assert!(!is_language(other), "{other}");
        }
    }
}
