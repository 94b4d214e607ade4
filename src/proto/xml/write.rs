//! Escaping.
//!
//! Characters that XML cannot carry are left out, whoever supplied them: one of them would end the
//! reader's stream.

/// Appends `text` as an attribute value, for either quote. Tabs and line breaks survive, as
/// references: written as such they would be read as spaces (XML 1.0 §3.3.3).
pub fn attribute_into(out: &mut Vec<u8>, text: &str) {
    replace_into(out, text, |byte| match byte {
        b'"' => Some(b"&quot;"),
        b'\'' => Some(b"&apos;"),
        b'\t' => Some(b"&#9;"),
        b'\n' => Some(b"&#10;"),
        _ => text_replacement(byte),
    });
}

/// Appends `text` as character data.
pub fn text_into(out: &mut Vec<u8>, text: &str) {
    replace_into(out, text, |byte| match byte {
        b'\t' | b'\n' => None,
        _ => text_replacement(byte),
    });
}

/// Appends ` name='value'`, escaping the value.
pub fn attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    attribute_into(out, value);
    out.push(b'\'');
}

fn text_replacement(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'\r' => Some(b"&#13;"),
        0..b' ' => Some(b""),
        _ => None,
    }
}

fn replace_into(out: &mut Vec<u8>, text: &str, replacement: fn(u8) -> Option<&'static [u8]>) {
    out.reserve(text.len());
    let mut rest = text.as_bytes();
    let is_special = |(at, byte): (usize, &u8), rest: &[u8]| {
        replacement(*byte).is_some() || (*byte == 0xef && is_noncharacter(rest.get(at..)))
    };
    while let Some(at) = rest
        .iter()
        .enumerate()
        .position(|found| is_special(found, rest))
    {
        let Some((before, after)) = rest.split_at_checked(at) else {
            break;
        };
        out.extend_from_slice(before);
        let [byte, after @ ..] = after else { break };
        rest = match replacement(*byte) {
            Some(replacement) => {
                out.extend_from_slice(replacement);
                after
            }
            None => after.get(2..).unwrap_or_default(),
        };
    }
    out.extend_from_slice(rest);
}

/// U+FFFE or U+FFFF.
fn is_noncharacter(text: Option<&[u8]>) -> bool {
    matches!(text, Some([0xef, 0xbf, 0xbe | 0xbf, ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&mut Vec<u8>, &str), text: &str) -> String {
        let mut out = b">".to_vec();
        write(&mut out, text);
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn escapes_for_attributes_and_text() {
        let text = "a&b<c>d\"e'f\tg\nh\ri €";
        let attribute = ">a&amp;b&lt;c&gt;d&quot;e&apos;f&#9;g&#10;h&#13;i €";
        assert_eq!(written(attribute_into, text), attribute);
        assert_eq!(
            written(text_into, text),
            ">a&amp;b&lt;c&gt;d\"e'f\tg\nh&#13;i €"
        );
        let mut out = Vec::new();
        super::attribute(&mut out, "name", "O'Hara");
        assert_eq!(out, b" name='O&apos;Hara'");
    }

    #[test]
    fn never_emits_what_xml_cannot_carry() {
        let text = "a\u{0}b\u{1}\u{1f}c\u{fffe}d\u{ffff}e\u{fffd}f\u{ff01}g\u{7f}\u{ffff}";
        let clean = ">abcde\u{fffd}f\u{ff01}g\u{7f}";
        assert_eq!(written(attribute_into, text), clean);
        assert_eq!(written(text_into, text), clean);
    }

    #[test]
    fn escaped_text_reads_back_the_same() {
        for text in ["", "&amp;", "a\tb\r\nc", "<>'\"&", "]]>", "\u{1f600}"] {
            let mut out = Vec::new();
            attribute_into(&mut out, text);
            assert_eq!(super::super::attribute_value(&out), text);
        }
    }
}
