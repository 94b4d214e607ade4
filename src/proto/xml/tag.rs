//! Start tags: the name and the attributes in one. The XML declaration is read here too, as it has the same form.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr, memchr3};
use smallvec::SmallVec;

use super::decode::attribute_value;
use super::error::{ScanError, ScanErrorKind};
use super::lint;
use super::name::Ns;

/// One attribute as written.
#[derive(Clone, Copy, Debug)]
pub(in crate::proto) struct Attr<'d> {
    /// What is before the colon, or nothing.
    pub(in crate::proto) prefix: &'d [u8],
    /// What is after the colon.
    pub(in crate::proto) local: &'d [u8],
    /// What is between the quotes.
    pub(in crate::proto) value: &'d [u8],
    /// Offset of `value` in the document, bytes.
    pub(in crate::proto) value_at: usize,
    /// Namespace name of the prefix, once resolved.
    pub(in crate::proto) uri: &'d [u8],
    /// Namespace, once resolved.
    pub(in crate::proto) ns: Ns,
}

impl Attr<'_> {
    /// Whether this is `xmlns` or `xmlns:…`.
    pub(in crate::proto) fn is_declaration(&self) -> bool {
        self.prefix == b"xmlns" || (self.prefix.is_empty() && self.local == b"xmlns")
    }

    /// Whether this attribute has no prefix and the given name.
    pub(in crate::proto) fn is(&self, local: &[u8]) -> bool {
        self.prefix.is_empty() && self.local == local
    }

    /// Whether this is `xml:lang`.
    pub(in crate::proto) fn is_lang(&self) -> bool {
        self.prefix == b"xml" && self.local == b"lang"
    }
}

/// One attribute; its name and its value share the document's memory.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Namespace; [`Ns::None`] for an attribute without a prefix.
    pub ns: Ns,
    /// Local name.
    pub local: Bytes,
    /// Value as written, references not yet resolved.
    pub raw: Bytes,
}

impl Attribute {
    /// The local name.
    pub fn local(&self) -> &str {
        std::str::from_utf8(&self.local).unwrap_or_default()
    }

    /// The value, with references resolved and white space normalized (XML 1.0 §3.3.3).
    pub fn value(&self) -> Cow<'_, str> {
        attribute_value(&self.raw)
    }

    /// The attributes that are no declarations.
    pub(in crate::proto) fn collect(
        document: &Bytes,
        attributes: &[Attr<'_>],
    ) -> SmallVec<[Self; 8]> {
        let attributes = attributes.iter().filter(|attr| !attr.is_declaration());
        attributes
            .map(|attr| Self {
                ns: attr.ns,
                local: document.slice_ref(attr.local),
                raw: document.slice_ref(attr.value),
            })
            .collect()
    }
}

/// The byte may stand in a name.
const NAME: u8 = 1;
/// The byte may begin a name.
const START: u8 = 2;
/// The byte alone does not tell: it is a colon, or part of a longer character.
const SPECIAL: u8 = 4;

#[expect(clippy::indexing_slicing, reason = "when it is compiled")]
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => NAME | START,
            b'0'..=b'9' | b'-' | b'.' => NAME,
            b':' | 0x80.. => NAME | SPECIAL,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Splits a qualified name off the front: prefix, local name, rest. `None` if there is no name.
pub(super) fn split_name(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut seen = 0;
    let ends = |byte: &u8| {
        let class = class(*byte);
        seen |= class;
        class == 0
    };
    let end = text.iter().position(ends).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    // Nearly all names are plain ASCII without a prefix.
    if seen & SPECIAL == 0 {
        let begins = class(*name.first()?) & START != 0;
        return begins.then_some((b"", name, rest));
    }
    match lint::split_once(b':', name) {
        Some((prefix, local)) => {
            (lint::is_nc_name(prefix) && lint::is_nc_name(local)).then_some((prefix, local, rest))
        }
        None => lint::is_nc_name(name).then_some((b"", name, rest)),
    }
}

/// Why there is no name at the front of `text`.
pub(super) fn no_name(text: &[u8]) -> ScanErrorKind {
    let end = text.iter().position(|byte| class(*byte) == 0);
    let name = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let is_name = match lint::split_once(b':', name) {
        Some((prefix, local)) => lint::is_new_nc_name(prefix) && lint::is_new_nc_name(local),
        None => lint::is_new_nc_name(name),
    };
    match is_name {
        true => ScanErrorKind::Unusual,
        false => ScanErrorKind::NotWellFormed,
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    let white = text
        .iter()
        .take_while(|&&byte| lint::is_white(byte))
        .count();
    text.get(white..).unwrap_or_default()
}

/// Reads what follows the name in a start tag: `(S Name S? '=' S? AttValue)* S?` (XML 1.0 §3.1).
/// `at` is the offset of `text` in the document, for errors. Namespaces stay unresolved.
pub(super) fn read_attributes<'d>(
    text: &'d [u8],
    at: usize,
    limit: usize,
    out: &mut SmallVec<[Attr<'d>; 8]>,
) -> Result<(), ScanError> {
    let end = at.saturating_add(text.len());
    let offset = |rest: &[u8]| end.saturating_sub(rest.len());
    let malformed = |rest: &[u8]| ScanErrorKind::NotWellFormed.at(offset(rest));
    let mut rest = text;
    loop {
        let name = trim_start(rest);
        if name.is_empty() {
            return Ok(());
        }
        if name.len() == rest.len() {
            return Err(malformed(rest));
        }
        let (prefix, local, after) =
            split_name(name).ok_or_else(|| no_name(name).at(offset(name)))?;
        let after = match trim_start(after) {
            [b'=', after @ ..] => trim_start(after),
            _ => return Err(malformed(after)),
        };
        let (quote, after) = match after {
            [quote @ (b'\'' | b'"'), after @ ..] => (*quote, after),
            _ => return Err(malformed(after)),
        };
        // Most values have no reference; those that do are walked once more.
        let first = memchr3(quote, b'<', b'&', after).ok_or_else(|| malformed(after))?;
        let (value, after) = match after.split_at_checked(first) {
            Some((value, [byte, after @ ..])) if *byte == quote => (value, after),
            Some((_, [b'&', ..])) => {
                let (value, after) =
                    lint::split_once(quote, after).ok_or_else(|| malformed(after))?;
                if memchr(b'<', value).is_some() || !lint::references(value) {
                    return Err(malformed(after));
                }
                (value, after)
            }
            _ => return Err(malformed(after)),
        };
        if out.len() >= limit {
            return Err(ScanErrorKind::Limit.at(offset(name)));
        }
        let value_at = offset(after).saturating_sub(value.len()).saturating_sub(1);
        out.push(Attr {
            prefix,
            local,
            value,
            value_at,
            uri: b"",
            ns: Ns::None,
        });
        rest = after;
    }
}

/// Checks what stands between `<?xml` and `?>`: version 1.0, UTF-8 if an encoding is given, and nothing declared
/// outside the document (XML 1.0 §2.8, §2.9; RFC 6120 §11.4, §11.6).
pub(super) fn declaration(content: &[u8]) -> Result<(), ScanErrorKind> {
    let mut pairs = SmallVec::new();
    read_attributes(content, 0, 3, &mut pairs).map_err(|error| error.kind)?;
    let mut pairs = pairs
        .iter()
        .map(|pair| (pair.prefix, pair.local, pair.value))
        .peekable();
    match pairs.next() {
        Some((b"", b"version", b"1.0")) => {}
        _ => return Err(ScanErrorKind::NotWellFormed),
    }
    if let Some((_, _, encoding)) = pairs.next_if(|pair| (pair.0, pair.1) == (b"", b"encoding"))
        && !encoding.eq_ignore_ascii_case(b"utf-8")
    {
        return Err(ScanErrorKind::Encoding);
    }
    pairs.next_if_eq(&(b"", b"standalone", b"yes"));
    if pairs.next().is_some() {
        return Err(ScanErrorKind::NotWellFormed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_a_declaration_of_utf_8_xml_1_0() {
        for content in [
            " version='1.0'",
            " version=\"1.0\" encoding=\"UTF-8\"",
            " version='1.0' encoding='utf-8' standalone='yes' ",
            " version = '1.0'\n",
        ] {
            assert_eq!(declaration(content.as_bytes()), Ok(()), "{content}");
        }
        for encoding in ["ISO-8859-1", "utf-16", "UTF8", ""] {
            let content = format!(" version='1.0' encoding='{encoding}'");
            assert_eq!(
                declaration(content.as_bytes()),
                Err(ScanErrorKind::Encoding)
            );
        }
        for content in [
            "",
            " version='1.1'",
            " version='1.0' version='1.0'",
            " encoding='UTF-8'",
            " encoding='UTF-8' version='1.0'",
            " version='1.0' foo='bar'",
            " version='1.0'encoding='UTF-8'",
            " x:version='1.0'",
        ] {
            assert_eq!(
                declaration(content.as_bytes()),
                Err(ScanErrorKind::NotWellFormed)
            );
        }
    }
}
