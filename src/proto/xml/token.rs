//! The tokens of a document, checked.

use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::Event;
use smallvec::SmallVec;

use super::scope::{Declaration, Scope, Scopes};
use super::tag::{self, Attr};
use super::{Limits, Ns, ScanError, ScanErrorKind, lint};

/// Reads a document token by token, and refuses what is not well-formed or forbidden in XMPP.
pub(in crate::proto) struct Lexer<'d> {
    reader: Reader<&'d [u8]>,
    document: &'d [u8],
    limits: &'d Limits,
    /// Declarations in scope for the last token.
    pub(in crate::proto) scopes: Scopes<'d>,
    /// Attributes of the last start tag, in document order.
    pub(in crate::proto) attributes: SmallVec<[Attr<'d>; 8]>,
    depth: usize,
    /// The last start tag was an empty element's, whose end is still to be told.
    empty: bool,
    declaration_allowed: bool,
    root_seen: bool,
}

/// What [`Lexer::next`] finds.
#[derive(Clone, Copy, Debug)]
pub(in crate::proto) enum Token<'d> {
    /// A start tag.
    Start(Element<'d>),
    /// The end of the element at this depth; the offset is one past its last byte.
    End { depth: usize, end: usize },
    /// Character data, in an element at this depth.
    Text {
        depth: usize,
        at: usize,
        form: Form<'d>,
    },
    /// The end of the document, which is complete.
    Eof,
}

/// How character data is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::proto) enum Form<'d> {
    /// As it is, or within a CDATA section.
    Literal { text: &'d [u8], cdata: bool },
    /// As a reference to this character.
    Reference(char),
}

/// A start tag.
#[derive(Clone, Copy, Debug)]
pub(in crate::proto) struct Element<'d> {
    pub(in crate::proto) ns: Ns,
    pub(in crate::proto) local: &'d [u8],
    pub(in crate::proto) prefixed: bool,
    /// 1 for the root.
    pub(in crate::proto) depth: usize,
    /// Depth of the element whose declaration gave `ns`; 0 if none in the document did.
    pub(in crate::proto) declared: usize,
    /// Offset of `<`.
    pub(in crate::proto) at: usize,
    /// One past the last byte of the name.
    pub(in crate::proto) name_end: usize,
    /// One past `>`.
    pub(in crate::proto) tag_end: usize,
    /// Whether the tag ends with `/>`.
    pub(in crate::proto) empty: bool,
}

impl<'d> Lexer<'d> {
    /// Begins at the first byte of `document`, around which `scope` is declared.
    pub(in crate::proto) fn new(
        document: &'d Bytes,
        scope: &'d Scope,
        limits: &'d Limits,
    ) -> Result<Self, ScanError> {
        // Spans count with 32 bits.
        if u32::try_from(document.len()).is_err() {
            return Err(ScanErrorKind::Limit.at(0));
        }
        let text = lint::characters(document).map_err(|(at, kind)| kind.at(at))?;
        // The reader would skip it and not count it.
        if text.starts_with('\u{feff}') {
            return Err(ScanErrorKind::NotWellFormed.at(0));
        }
        Ok(Self {
            reader: Reader::from_str(text),
            document,
            limits,
            scopes: Scopes::new(scope),
            attributes: SmallVec::new(),
            depth: 0,
            empty: false,
            declaration_allowed: false,
            root_seen: false,
        })
    }

    /// Lets the document begin with an XML declaration.
    pub(in crate::proto) fn allow_declaration(&mut self) {
        self.declaration_allowed = true;
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    /// The next token that is not text.
    pub(in crate::proto) fn next_element(&mut self) -> Result<Token<'d>, ScanError> {
        loop {
            match self.next()? {
                Token::Text { .. } => {}
                token => return Ok(token),
            }
        }
    }

    /// The next token.
    pub(in crate::proto) fn next(&mut self) -> Result<Token<'d>, ScanError> {
        loop {
            if self.empty {
                self.empty = false;
                return Ok(self.end());
            }
            self.scopes.leave(self.depth.saturating_add(1));
            let at = self.position();
            let event = self
                .reader
                .read_event()
                .map_err(|_| ScanErrorKind::NotWellFormed.at(at))?;
            let depth = self.depth;
            match event {
                Event::Start(_) => return self.start(at, false),
                Event::Empty(_) => return self.start(at, true),
                Event::End(_) => return Ok(self.end()),
                Event::Text(_) => {
                    let text = self.document.get(at..self.position()).unwrap_or_default();
                    if depth > 0 {
                        // To look for one byte costs less than to prepare for three, which are rare.
                        if memchr::memchr(b']', text).is_some()
                            && let Some(found) = memchr::memmem::find(text, b"]]>")
                        {
                            let at = at.saturating_add(found);
                            return Err(ScanErrorKind::NotWellFormed.at(at));
                        }
                        let form = Form::Literal { text, cdata: false };
                        return Ok(Token::Text { depth, at, form });
                    }
                    if !text.iter().all(|&byte| lint::is_white(byte)) {
                        return Err(ScanErrorKind::NotWellFormed.at(at));
                    }
                }
                Event::CData(_) if depth > 0 => {
                    let markup = self.document.get(at..self.position()).unwrap_or_default();
                    let text = markup
                        .strip_prefix(b"<![CDATA[")
                        .and_then(|text| text.strip_suffix(b"]]>"))
                        .ok_or_else(|| ScanErrorKind::NotWellFormed.at(at))?;
                    let form = Form::Literal { text, cdata: true };
                    return Ok(Token::Text { depth, at, form });
                }
                Event::GeneralRef(name) if depth > 0 => {
                    let c = lint::reference(name.as_bytes())
                        .ok_or_else(|| ScanErrorKind::NotWellFormed.at(at))?;
                    return Ok(Token::Text {
                        depth,
                        at,
                        form: Form::Reference(c),
                    });
                }
                Event::Decl(_) if at == 0 && self.declaration_allowed => {
                    let markup = self.document.get(..self.position()).unwrap_or_default();
                    markup
                        .strip_prefix(b"<?xml")
                        .and_then(|content| content.strip_suffix(b"?>"))
                        .ok_or(ScanErrorKind::NotWellFormed)
                        .and_then(lint::declaration)
                        .map_err(|kind| kind.at(at))?;
                }
                Event::Eof if depth == 0 && self.root_seen => return Ok(Token::Eof),
                Event::Comment(_) | Event::DocType(_) | Event::PI(_) => {
                    return Err(ScanErrorKind::Restricted.at(at));
                }
                Event::CData(_) | Event::Decl(_) | Event::Eof | Event::GeneralRef(_) => {
                    return Err(ScanErrorKind::NotWellFormed.at(at));
                }
            }
        }
    }

    fn end(&mut self) -> Token<'d> {
        let depth = self.depth;
        self.depth = depth.saturating_sub(1);
        Token::End {
            depth,
            end: self.position(),
        }
    }

    fn start(&mut self, at: usize, empty: bool) -> Result<Token<'d>, ScanError> {
        let malformed = || ScanErrorKind::NotWellFormed.at(at);
        let tag_end = self.position();
        let content = self
            .document
            .get(at..tag_end)
            .and_then(|tag| tag.strip_prefix(b"<"))
            .and_then(|tag| tag.strip_suffix(if empty { &b"/>"[..] } else { b">" }));
        let (prefix, local, rest) = content.and_then(tag::split_name).ok_or_else(malformed)?;
        if self.depth == 0 && self.root_seen {
            return Err(malformed());
        }
        self.root_seen = true;
        self.depth = self.depth.saturating_add(1);
        self.empty = empty;
        if self.depth > self.limits.depth {
            return Err(ScanErrorKind::Limit.at(at));
        }
        let markup = if empty { 2 } else { 1 };
        let name_end = tag_end.saturating_sub(rest.len()).saturating_sub(markup);
        self.attributes.clear();
        tag::read_attributes(rest, name_end, self.limits.attributes, &mut self.attributes)?;
        self.resolve_attributes(at)?;
        let Declaration {
            ns,
            depth: declared,
            ..
        } = self
            .scopes
            .resolve(prefix)
            .filter(|_| prefix != b"xmlns")
            .ok_or_else(|| ScanErrorKind::Namespace.at(at))?;
        Ok(Token::Start(Element {
            ns,
            local,
            prefixed: !prefix.is_empty(),
            depth: self.depth,
            declared,
            at,
            name_end,
            tag_end,
            empty,
        }))
    }

    /// Takes up the declarations among the attributes, resolves the prefixes of the others, and
    /// makes sure that no attribute is there twice, under whatever prefix.
    fn resolve_attributes(&mut self, at: usize) -> Result<(), ScanError> {
        for attr in self.attributes.iter().filter(|attr| attr.is_declaration()) {
            self.scopes
                .declare(attr, self.depth)
                .map_err(|kind| kind.at(attr.value_at))?;
        }
        // Looking a prefix up walks the declarations in scope: this bounds it.
        if self.scopes.len() > self.limits.attributes.saturating_add(self.limits.depth) {
            return Err(ScanErrorKind::Limit.at(at));
        }
        for attr in &mut self.attributes {
            if !attr.prefix.is_empty() && attr.prefix != b"xmlns" {
                let found = self.scopes.resolve(attr.prefix);
                let found = found.ok_or_else(|| ScanErrorKind::Namespace.at(attr.value_at))?;
                (attr.ns, attr.uri) = (found.ns, found.uri);
            }
        }
        let mut rest = &self.attributes[..];
        while let [attr, later @ ..] = rest {
            let bare = attr.prefix.is_empty();
            let twice = later
                .iter()
                .any(|other| match bare || other.prefix.is_empty() {
                    true => bare && other.prefix.is_empty() && other.local == attr.local,
                    false => {
                        other.local == attr.local
                            && (other.prefix == attr.prefix
                                || (!attr.uri.is_empty() && other.uri == attr.uri))
                    }
                });
            if twice {
                return Err(ScanErrorKind::NotWellFormed.at(attr.value_at));
            }
            rest = later;
        }
        Ok(())
    }
}
