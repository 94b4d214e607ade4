//! Elements that the gateway writes itself, and escaping.
//!
//! Characters that XML cannot carry are left out, whoever supplied them: one of them would end the
//! reader's stream.

use std::{borrow::BorrowMut, fmt::Display, io::Write as _};

use super::Ns;

/// An element whose start tag is being written: attributes first, then one call that ends it. It is written to a
/// buffer of its own or at the end of the caller's; the last call returns that buffer.
#[derive(Debug)]
#[must_use = "nothing has ended the start tag"]
pub struct Tag<'a, Out> {
    out: Out,
    name: &'a str,
}

impl<'a> Tag<'a, Vec<u8>> {
    /// Begins an element that stands alone.
    pub fn new(name: &'a str) -> Self {
        Self::begin(Vec::with_capacity(128), name)
    }
}

impl<'a, 'b> Tag<'a, &'b mut Vec<u8>> {
    /// Begins an element at the end of `out`.
    pub fn within(out: &'b mut Vec<u8>, name: &'a str) -> Self {
        Self::begin(out, name)
    }
}

impl<'a, Out: BorrowMut<Vec<u8>>> Tag<'a, Out> {
    fn begin(mut out: Out, name: &'a str) -> Self {
        let written = out.borrow_mut();
        written.push(b'<');
        written.extend_from_slice(name.as_bytes());
        Self { out, name }
    }

    /// Declares the namespace of the element and of what is in it.
    pub fn ns(mut self, ns: Ns) -> Self {
        let out = self.out.borrow_mut();
        out.extend_from_slice(b" xmlns='");
        out.extend_from_slice(ns.uri().unwrap_or_default().as_bytes());
        out.push(b'\'');
        self
    }

    /// Adds an attribute, escaping its value.
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        attribute(self.out.borrow_mut(), name, value);
        self
    }

    /// Adds an attribute if there is a value for it.
    pub fn attribute_if(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// Adds an attribute whose value needs no escapes, such as a number.
    pub fn plain(mut self, name: &str, value: impl Display) -> Self {
        // Writing to a vector cannot fail.
        let _ = write!(self.out.borrow_mut(), " {name}='{value}'");
        self
    }

    /// Ends the start tag; the caller writes the end tag.
    pub fn open(mut self) -> Out {
        self.out.borrow_mut().push(b'>');
        self.out
    }

    /// Ends the element, which is empty.
    pub fn empty(mut self) -> Out {
        self.out.borrow_mut().extend_from_slice(b"/>");
        self.out
    }

    /// Ends the element, with the content that `write` appends.
    pub fn content(self, write: impl FnOnce(&mut Vec<u8>)) -> Out {
        let name = self.name;
        let mut out = self.open();
        let written = out.borrow_mut();
        write(written);
        written.extend_from_slice(b"</");
        written.extend_from_slice(name.as_bytes());
        written.push(b'>');
        out
    }

    /// Ends the element, with `text` as its content, which is escaped.
    pub fn text(self, text: &str) -> Out {
        self.content(|out| text_into(out, text))
    }
}

/// Appends `text` as an attribute value, for either quote. Tabs and line breaks become references:
/// written as they are, they would be read as spaces (XML 1.0 §3.3.3).
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
    fn a_tag_ends_what_it_begins() {
        let whole = Tag::new("a")
            .ns(Ns::Client)
            .attribute("to", "O'Hara")
            .attribute_if("from", None)
            .attribute_if("id", Some("<"))
            .plain("h", 7)
            .content(|out| {
                Tag::within(out, "b").empty();
                Tag::within(out, "c").text("x & y");
                Tag::within(out, "d").text("");
            });
        let expected = "<a xmlns='jabber:client' to='O&apos;Hara' id='&lt;' h='7'>\
                        <b/><c>x &amp; y</c><d></d></a>";
        assert_eq!(String::from_utf8_lossy(&whole), expected);
        assert_eq!(Tag::new("a").attribute("b", "").open(), b"<a b=''>");
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
