//! Boundaries of the elements of a stream, found while its bytes arrive in any portions.
//!
//! This is a boundary finder and no parser: it knows tags, quotes and CDATA sections, counts the
//! nesting and refuses the markup that XMPP forbids (RFC 6120 §11.1), so that a complete piece can
//! be read in one pass by [`crate::proto::stanza::scan_stanza`]. No byte is looked at twice, apart
//! from the few that may turn out to be the beginning of a delimiter.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr3, memmem};

const CDATA: &[u8] = b"<![CDATA[";
const DECLARATION: &[u8] = b"<?xml ";

/// One part of a stream, complete.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// The XML declaration, if there was one, and the opening tag of the stream.
    Header(Bytes),
    /// An element directly below the stream's root.
    Element(Bytes),
    /// The closing tag of the stream.
    Close,
}

/// Why a stream cannot be split any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// A comment, a processing instruction or a document type (RFC 6120 §11.1).
    #[error("markup that XMPP forbids")]
    Forbidden,
    /// Something other than white space between two elements.
    #[error("text outside of an element")]
    StrayText,
    /// An element, or the header, of more bytes than allowed.
    #[error("element of more than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// A closing tag without its opening tag, an empty stream, a tag after the end of the stream.
    #[error("tag in the wrong place")]
    WrongTag,
}

/// The boundary finder. After an error it must not be used any further.
///
/// ```text
///              header            <x           </x> or />
///   (0 open) ----------> (1) ------------> (2…) ----------> (1) -- </stream:stream> --> ended
/// ```
#[derive(Debug)]
pub struct Splitter {
    max_element: usize,
    /// How much of the buffer has been looked at.
    at: usize,
    /// What the byte at `at` belongs to.
    within: Within,
    /// Tags open, the stream's among them.
    open: usize,
    /// An XML declaration was read and the opening tag of the stream has not come yet.
    declared: bool,
    ended: bool,
}

/// Lexical state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Within {
    /// Between tags.
    Text,
    /// At a `<` of which the rest decides what it is.
    Markup,
    StartTag,
    /// A quoted value in a start tag, and the quote that ends it.
    Value(u8),
    EndTag,
    Cdata,
    Declaration,
}

impl Splitter {
    /// At the beginning of a stream; no element may have more than `max_element` bytes.
    pub fn new(max_element: usize) -> Self {
        Self {
            max_element,
            at: 0,
            within: Within::Text,
            open: 0,
            declared: false,
            ended: false,
        }
    }

    /// Expects a new stream (RFC 6120 §4.3.3). Bytes of the old one that are still in the buffer
    /// will be taken for the beginning of the new one.
    pub fn reset(&mut self) {
        *self = Self::new(self.max_element);
    }

    /// Takes the next piece off the front of `buf`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Whatever makes the rest of the stream worthless, see [`SplitError`].
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Piece>, SplitError> {
        loop {
            if self.within == Within::Text && self.at == 0 {
                // White space between elements belongs to no piece.
                let blank = buf.iter().take_while(|byte| is_space(**byte)).count();
                buf.advance(blank);
            }
            let rest = buf.get(self.at..).unwrap_or_default();
            let Some(step) = self.step(rest)? else {
                if buf.len() > self.max_element {
                    return Err(self.too_long());
                }
                return Ok(None);
            };
            if step == Step::Inside {
                continue;
            }
            if self.at > self.max_element {
                return Err(self.too_long());
            }
            let piece = buf.split_to(self.at).freeze();
            self.at = 0;
            return match step {
                Step::Header => Ok(Some(Piece::Header(piece))),
                Step::Close if closes_stream(&piece) => Ok(Some(Piece::Close)),
                Step::Close => Err(SplitError::WrongTag),
                Step::Inside | Step::Element => Ok(Some(Piece::Element(piece))),
            };
        }
    }

    /// Goes on to the next change of state; `None` when `rest` ends before it.
    fn step(&mut self, rest: &[u8]) -> Result<Option<Step>, SplitError> {
        match self.within {
            Within::Text => {
                let text = memchr(b'<', rest);
                let len = text.unwrap_or(rest.len());
                if self.open < 2 && !rest.iter().take(len).all(|byte| is_space(*byte)) {
                    return Err(SplitError::StrayText);
                }
                Ok(self.skip(len, text.is_some(), Within::Markup))
            }
            Within::Markup => self.markup(rest),
            Within::StartTag => match memchr3(b'>', b'"', b'\'', rest) {
                Some(at) if rest.get(at) == Some(&b'>') => {
                    // A slash that counts is always in `rest`: after `<` comes at least one byte of the name, after a
                    // value its quote, and a slash at the end of an earlier `rest` was kept.
                    let empty = at
                        .checked_sub(1)
                        .is_some_and(|before| rest.get(before) == Some(&b'/'));
                    self.skip(at.saturating_add(1), true, Within::Text);
                    self.opened(empty).map(Some)
                }
                Some(at) => {
                    let quote = rest.get(at).copied().unwrap_or_default();
                    Ok(self.skip(at.saturating_add(1), true, Within::Value(quote)))
                }
                None => {
                    // A slash at the end is kept for the next call, which must see it.
                    let kept = usize::from(rest.last() == Some(&b'/'));
                    Ok(self.skip(rest.len().saturating_sub(kept), false, self.within))
                }
            },
            Within::Value(quote) => {
                let end = memchr(quote, rest);
                let len = end.map_or(rest.len(), |at| at.saturating_add(1));
                Ok(self.skip(len, end.is_some(), Within::StartTag))
            }
            Within::EndTag => match memchr(b'>', rest) {
                Some(at) => {
                    self.skip(at.saturating_add(1), true, Within::Text);
                    Ok(Some(self.closed()))
                }
                None => Ok(self.skip(rest.len(), false, self.within)),
            },
            Within::Cdata => Ok(self.past(rest, b"]]>", Within::Text)),
            Within::Declaration => Ok(self.past(rest, b"?>", Within::Text)),
        }
    }

    /// Tells by the bytes after a `<` what begins there.
    fn markup(&mut self, rest: &[u8]) -> Result<Option<Step>, SplitError> {
        let (known, then) = match rest.get(1) {
            None => return Ok(None),
            Some(_) if self.ended => return Err(SplitError::WrongTag),
            Some(b'!') if self.open >= 2 => (CDATA, Within::Cdata),
            Some(b'?') if self.open == 0 && !self.declared => (DECLARATION, Within::Declaration),
            Some(b'!' | b'?') => return Err(SplitError::Forbidden),
            Some(b'/') if self.open == 0 => return Err(SplitError::WrongTag),
            Some(b'/') => return Ok(self.skip(2, true, Within::EndTag)),
            // A name has at least one byte.
            Some(_) => return Ok(self.skip(1, true, Within::StartTag)),
        };
        let seen = rest.get(..known.len()).unwrap_or(rest);
        if !known.starts_with(seen) {
            return Err(SplitError::Forbidden);
        }
        self.declared = then == Within::Declaration && seen == known;
        if seen.len() < known.len() {
            return Ok(None);
        }
        Ok(self.skip(known.len(), true, then))
    }

    /// After the `>` of a start tag.
    fn opened(&mut self, empty: bool) -> Result<Step, SplitError> {
        match (self.open, empty) {
            (0, true) => Err(SplitError::WrongTag),
            (0, false) => {
                self.open = 1;
                self.declared = false;
                Ok(Step::Header)
            }
            (1, true) => Ok(Step::Element),
            (_, true) => Ok(Step::Inside),
            (_, false) => {
                self.open = self.open.saturating_add(1);
                Ok(Step::Inside)
            }
        }
    }

    /// After the `>` of an end tag.
    fn closed(&mut self) -> Step {
        self.open = self.open.saturating_sub(1);
        match self.open {
            0 => {
                self.ended = true;
                Step::Close
            }
            1 => Step::Element,
            _ => Step::Inside,
        }
    }

    /// Skips everything up to and including `end`, and goes on within `then`.
    fn past(&mut self, rest: &[u8], end: &[u8], then: Within) -> Option<Step> {
        match memmem::find(rest, end) {
            Some(at) => self.skip(at.saturating_add(end.len()), true, then),
            None => {
                // The last bytes may be the beginning of `end`.
                let sure = rest.len().saturating_sub(end.len().saturating_sub(1));
                self.skip(sure, false, self.within)
            }
        }
    }

    /// Moves on by `len` bytes; with `found`, into the state `then`.
    fn skip(&mut self, len: usize, found: bool, then: Within) -> Option<Step> {
        self.at = self.at.saturating_add(len);
        if !found {
            return None;
        }
        self.within = then;
        Some(Step::Inside)
    }

    fn too_long(&self) -> SplitError {
        SplitError::TooLong {
            max: self.max_element,
        }
    }
}

/// What a change of state means for the piece that is being read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Inside,
    Header,
    Element,
    Close,
}

/// Whether an end tag at the top is the stream's, whatever its prefix.
fn closes_stream(tag: &[u8]) -> bool {
    let name = tag
        .strip_prefix(b"</")
        .and_then(|rest| rest.strip_suffix(b">"));
    let local = name.and_then(|name| name.trim_ascii_end().rsplit(|byte| *byte == b':').next());
    local == Some(b"stream")
}

/// White space (XML 1.0 §2.3).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "<?xml version='1.0'?>\n<stream:stream xmlns='jabber:client' id='a>b'>";
    const MAX: usize = 4096;

    /// Feeds the portions one after the other.
    fn split<'a>(
        portions: impl IntoIterator<Item = &'a [u8]>,
        max: usize,
    ) -> (Vec<String>, Option<SplitError>) {
        let (mut splitter, mut buf) = (Splitter::new(max), BytesMut::new());
        let mut pieces = Vec::new();
        for portion in portions {
            buf.extend_from_slice(portion);
            loop {
                match splitter.next(&mut buf) {
                    Ok(None) => break,
                    Ok(Some(Piece::Header(bytes) | Piece::Element(bytes))) => {
                        pieces.push(String::from_utf8(bytes.to_vec()).unwrap());
                    }
                    Ok(Some(Piece::Close)) => pieces.push("close".to_owned()),
                    Err(error) => return (pieces, Some(error)),
                }
            }
        }
        (pieces, None)
    }

    /// Splits the stream at once and byte by byte; both must give the same.
    fn both(text: &str, max: usize) -> (Vec<String>, Option<SplitError>) {
        let whole = split([text.as_bytes()], max);
        assert_eq!(whole, split(text.as_bytes().chunks(1), max), "{text}");
        whole
    }

    fn refusal(after_header: &str) -> Option<SplitError> {
        both(&format!("{HEADER}{after_header}"), MAX).1
    }

    #[test]
    fn takes_elements_apart_and_swallows_white_space() {
        let elements = [
            "<a/>",
            "<a b='/>'/>",
            "<a b=\">'\" c='\"/'>x</a >",
            "<a><a><b/></a>&lt;</a>",
            "<a><![CDATA[</a>]] >]>]]>]]</a>",
            "<a b='x'\n/>",
            "<a></a>",
        ];
        let text = format!(" {HEADER}\r\n{}\t</stream:stream> ", elements.join(" \n"));
        let (pieces, error) = both(&text, MAX);
        assert_eq!(error, None);
        assert_eq!(pieces.first().map(String::as_str), Some(HEADER));
        assert_eq!(pieces[1..8], elements);
        assert_eq!(pieces[8..], ["close"]);
    }

    #[test]
    fn refuses_forbidden_markup() {
        for markup in [
            "<!-- -->",
            "<?pi?>",
            "<?xml version='1.0'?>",
            "<!DOCTYPE a>",
            "<![CDATA[]]>",
        ] {
            assert_eq!(refusal(markup), Some(SplitError::Forbidden), "{markup}");
        }
        for markup in [
            "<a><!-- --></a>",
            "<a><?pi?></a>",
            "<a><!ENTITY></a>",
            "<a><![CDAT</a>",
        ] {
            assert_eq!(refusal(markup), Some(SplitError::Forbidden), "{markup}");
        }
        for start in [
            "<!DOCTYPE a>",
            "<?pi ?>",
            "<?xml-style ?>",
            "<?xml ?><?xml ?>",
            "<!-- -->",
        ] {
            assert_eq!(
                both(start, MAX),
                (vec![], Some(SplitError::Forbidden)),
                "{start}"
            );
        }
    }

    #[test]
    fn refuses_text_and_tags_in_the_wrong_place() {
        assert_eq!(refusal("<a/>x<b/>"), Some(SplitError::StrayText));
        assert_eq!(refusal("</stream:stream>x"), Some(SplitError::StrayText));
        assert_eq!(
            both("HTTP/1.1 400 Bad Request", MAX).1,
            Some(SplitError::StrayText)
        );
        assert_eq!(refusal("</stream:stream><a/>"), Some(SplitError::WrongTag));
        assert_eq!(
            refusal("</stream:stream><?xml ?>"),
            Some(SplitError::WrongTag)
        );
        assert_eq!(refusal("</other>"), Some(SplitError::WrongTag));
        assert_eq!(both("</stream:stream>", MAX).1, Some(SplitError::WrongTag));
        assert_eq!(both("<stream:stream/>", MAX).1, Some(SplitError::WrongTag));
    }

    #[test]
    fn bounds_length() {
        let long = format!("{HEADER}<a>{}</a>", "x".repeat(93));
        assert_eq!(both(&long, 100).1, None);
        assert_eq!(both(&long, 99).1, Some(SplitError::TooLong { max: 99 }));
        let endless = format!("{HEADER}<a b='{}", "x".repeat(200));
        assert_eq!(
            both(&endless, 100).1,
            Some(SplitError::TooLong { max: 100 })
        );
        // White space between elements counts for no element.
        assert_eq!(
            both(&format!("{HEADER}{}<a/>", " ".repeat(500)), 100).1,
            None
        );
    }

    #[test]
    fn begins_again_after_a_reset() {
        let mut splitter = Splitter::new(MAX);
        for id in ["1", "2"] {
            let mut buf =
                BytesMut::from(&*format!("<?xml version='1.0'?><s:stream id='{id}'><f/>"));
            assert!(matches!(
                splitter.next(&mut buf),
                Ok(Some(Piece::Header(_)))
            ));
            assert!(matches!(
                splitter.next(&mut buf),
                Ok(Some(Piece::Element(_)))
            ));
            assert_eq!(splitter.next(&mut buf), Ok(None));
            splitter.reset();
        }
    }

    #[test]
    fn looks_at_no_byte_twice() {
        // 4 MiB in portions of one byte: quadratic work would show.
        let text = format!(
            "{HEADER}<a b='{}'>{}</a>",
            "x".repeat(1 << 21),
            "y".repeat(1 << 21)
        );
        let (pieces, error) = split(text.as_bytes().chunks(1), 1 << 23);
        assert_eq!((pieces.len(), error), (2, None));
    }

    fn portions<'a>(text: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts
            .iter()
            .map(|cut| cut.index(text.len().max(1)))
            .collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2)
            .map(|pair| &text.as_bytes()[pair[0]..pair[1]])
            .collect()
    }

    /// An element as text.
    fn element() -> impl Strategy<Value = String> {
        let name = "[a-z]{1,3}(:[a-z]{1,3})?";
        let attributes = "( [a-z]{1,3}=('[a-z/>\"=]{0,6}'|\"[a-z/>'=]{0,6}\")){0,3}[ \n]?";
        let text = "[ a-z\"'/>=é]{0,8}|<!\\[CDATA\\[[a-z<>/\"' \\]]{0,12}\\]\\]>";
        let text = text.prop_filter("ends early", |text| text.matches("]]>").count() < 2);
        let leaf =
            (name, attributes).prop_map(|(name, attributes)| format!("<{name}{attributes}/>"));
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let content = prop_oneof![text.clone(), inner];
            (name, attributes, prop::collection::vec(content, 0..4)).prop_map(
                |(name, attributes, content)| {
                    format!("<{name}{attributes}>{}</{name}>", content.concat())
                },
            )
        })
    }

    proptest! {
        #[test]
        fn portions_do_not_matter(
            elements in prop::collection::vec((element(), "[ \r\n\t]{0,3}"), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut text = HEADER.to_owned();
            let mut expected = vec![HEADER.to_owned()];
            for (element, blank) in elements {
                text.extend([element.as_str(), &blank]);
                expected.push(element);
            }
            text.push_str("</stream:stream>");
            expected.push("close".to_owned());

            let portions = portions(&text, &cuts);
            prop_assert_eq!(split(portions, MAX), (expected, None));
        }

        #[test]
        fn portions_do_not_matter_for_garbage(
            text in "(<|>|/|'|\"|=|!|\\[CDATA\\[|\\]|\\?|xml|-|a|:|stream| |é){0,40}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            header in any::<bool>(),
        ) {
            let text = if header { format!("{HEADER}{text}") } else { text };
            let portions = portions(&text, &cuts);
            prop_assert_eq!(split(portions, MAX), split([text.as_bytes()], MAX));
        }
    }
}
