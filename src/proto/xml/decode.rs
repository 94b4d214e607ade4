//! Attribute values: what they mean, as opposed to how they are written.

use std::borrow::Cow;

use super::lint;

/// What an attribute value means: references resolved, white space normalized (XML 1.0 §3.3.3). The scanner must
/// have accepted the value before.
pub(in crate::proto) fn attribute_value(raw: &[u8]) -> Cow<'_, str> {
    let text = std::str::from_utf8(raw).unwrap_or_default();
    if !raw
        .iter()
        .any(|byte| matches!(byte, b'&' | b'\t' | b'\n' | b'\r'))
    {
        return Cow::Borrowed(text);
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let reference = rest
            .strip_prefix('&')
            .and_then(|after| after.split_once(';'));
        if let Some((name, after)) = reference {
            value.extend(lint::reference(name.as_bytes()));
            rest = after;
            continue;
        }
        // CR LF is one line end (XML 1.0 §2.11), and becomes one space.
        let (meant, written) = match c {
            '\r' if rest.starts_with("\r\n") => (' ', "\r\n".len()),
            '\t' | '\n' | '\r' => (' ', c.len_utf8()),
            _ => (c, c.len_utf8()),
        };
        value.push(meant);
        rest = rest.get(written..).unwrap_or_default();
    }
    Cow::Owned(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_attribute_values() {
        let plain = attribute_value("jörg@example.org".as_bytes());
        assert!(matches!(plain, Cow::Borrowed("jörg@example.org")));
        for (raw, value) in [
            ("a&amp;b&lt;&gt;&quot;&apos;", "a&b<>\"'"),
            ("&#x41;&#66;&#x20ac;", "AB€"),
            ("a\tb\nc\rd\r\ne", "a b c d e"),
            ("&#9;&#10;&#13;&#13;&#10;", "\t\n\r\r\n"),
            ("&amp;amp;", "&amp;"),
            ("ä&#10;ö", "ä\nö"),
        ] {
            assert_eq!(attribute_value(raw.as_bytes()), value);
        }
    }
}
