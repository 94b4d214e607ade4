//! Tokens of a document, with all checks made.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr, memchr2, memmem};
use quick_xml::parser::{ElementParser, Parser as _};
use smallvec::SmallVec;

use super::decode::attribute_value;
use super::error::{ScanError, ScanErrorKind};
use super::limits::Limits;
use super::lint;
use super::name::Ns;
use super::scope::{Declaration, Scope, Scopes};
use super::tag::{self, Attr};

/// Reads a document token by token, and refuses what is not well-formed or forbidden in XMPP.
pub(in crate::proto) struct Lexer<'d> {
    document: &'d [u8],
    /// How far it has been read.
    at: usize,
    limits: &'d Limits,
    /// Declarations in scope for the last token.
    pub(in crate::proto) scopes: Scopes<'d>,
    /// Attributes of the last start tag, in document order.
    pub(in crate::proto) attributes: SmallVec<[Attr<'d>; 8]>,
    depth: usize,
    /// Names of the elements that are open, as written.
    open: SmallVec<[&'d [u8]; 8]>,
    /// The last start tag was that of an empty element (`<x/>`), whose end is the next token.
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
        // The reader would skip a byte order mark and not count it.
        if text.starts_with('\u{feff}') {
            return Err(ScanErrorKind::NotWellFormed.at(0));
        }
        Ok(Self::at_start(document, scope, limits))
    }

    /// The same for a document that has been accepted before.
    pub(in crate::proto) fn again(document: &'d Bytes, scope: &'d Scope) -> Self {
        Self::at_start(document, scope, &Limits::NONE)
    }

    fn at_start(document: &'d Bytes, scope: &'d Scope, limits: &'d Limits) -> Self {
        Self {
            document,
            at: 0,
            limits,
            scopes: Scopes::new(scope),
            attributes: SmallVec::new(),
            depth: 0,
            open: SmallVec::new(),
            empty: false,
            declaration_allowed: false,
            root_seen: false,
        }
    }

    /// Lets the document begin with an XML declaration.
    pub(in crate::proto) fn allow_declaration(&mut self) {
        self.declaration_allowed = true;
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
            let (at, depth) = (self.at, self.depth);
            let malformed = || ScanErrorKind::NotWellFormed.at(at);
            let rest = self.rest();
            match rest {
                [] if depth == 0 && self.root_seen => return Ok(Token::Eof),
                [] => return Err(malformed()),
                [b'<', b'/', ..] => return self.close(),
                [b'<', b'!', ..] => {
                    let form = self.cdata()?;
                    return Ok(Token::Text { depth, at, form });
                }
                [b'<', b'?', ..] => self.declaration()?,
                [b'<', tag @ ..] => {
                    let length = ElementParser::default().feed(tag).ok_or_else(malformed)?;
                    let content = tag.get(..length).unwrap_or_default();
                    // One past the `>`.
                    self.at = at.saturating_add(length).saturating_add(2);
                    return match content.strip_suffix(b"/") {
                        Some(content) => self.start(at, content, true),
                        None => self.start(at, content, false),
                    };
                }
                [b'&', after @ ..] => {
                    let (name, after) = lint::split_once(b';', after).ok_or_else(malformed)?;
                    let c = lint::reference(name).filter(|_| depth > 0);
                    let form = Form::Reference(c.ok_or_else(malformed)?);
                    self.at = self.document.len().saturating_sub(after.len());
                    return Ok(Token::Text { depth, at, form });
                }
                [..] => {
                    let length = memchr2(b'<', b'&', rest).unwrap_or(rest.len());
                    let text = rest.get(..length).unwrap_or_default();
                    self.at = at.saturating_add(length);
                    if depth > 0 {
                        // Most text has no `]`, and looking for one byte is faster than setting up a search for three.
                        if memchr(b']', text).is_some()
                            && let Some(found) = memmem::find(text, b"]]>")
                        {
                            let at = at.saturating_add(found);
                            return Err(ScanErrorKind::NotWellFormed.at(at));
                        }
                        let form = Form::Literal { text, cdata: false };
                        return Ok(Token::Text { depth, at, form });
                    }
                    if !text.iter().all(|&byte| lint::is_white(byte)) {
                        return Err(malformed());
                    }
                }
            }
        }
    }

    /// How far the document has been read.
    pub(in crate::proto) fn position(&self) -> usize {
        self.at
    }

    /// A part of the document.
    pub(in crate::proto) fn between(&self, start: usize, end: usize) -> &'d [u8] {
        self.document.get(start..end).unwrap_or_default()
    }

    fn rest(&self) -> &'d [u8] {
        self.document.get(self.at..).unwrap_or_default()
    }

    /// Reads `<!…`, which can only be a CDATA section.
    fn cdata(&mut self) -> Result<Form<'d>, ScanError> {
        let (at, rest) = (self.at, self.rest());
        let malformed = || ScanErrorKind::NotWellFormed.at(at);
        if rest.starts_with(b"<!--") || rest.starts_with(b"<!DOCTYPE") {
            return Err(ScanErrorKind::Restricted.at(at));
        }
        let rest = rest.strip_prefix(b"<![CDATA[").ok_or_else(malformed)?;
        let end = memmem::find(rest, b"]]>").filter(|_| self.depth > 0);
        let (text, rest) = end
            .and_then(|end| rest.split_at_checked(end))
            .ok_or_else(malformed)?;
        self.at = self
            .document
            .len()
            .saturating_sub(rest.len())
            .saturating_add(3);
        Ok(Form::Literal { text, cdata: true })
    }

    /// Reads `<?…`, which can only be an XML declaration, and only where it is allowed.
    fn declaration(&mut self) -> Result<(), ScanError> {
        let (at, rest) = (self.at, self.rest());
        let malformed = || ScanErrorKind::NotWellFormed.at(at);
        let content = rest.strip_prefix(b"<?xml");
        let is_declaration = |content: &&[u8]| {
            content
                .first()
                .is_none_or(|&byte| lint::is_white(byte) || byte == b'?')
        };
        let Some(content) = content.filter(is_declaration) else {
            return Err(ScanErrorKind::Restricted.at(at));
        };
        let end = memmem::find(content, b"?>").filter(|_| at == 0 && self.declaration_allowed);
        let content = end
            .and_then(|end| content.get(..end))
            .ok_or_else(malformed)?;
        tag::declaration(content).map_err(|kind| kind.at(at))?;
        self.at = content.len().saturating_add("<?xml?>".len());
        Ok(())
    }

    /// Reads `</…`, which has to close the element that was opened last.
    fn close(&mut self) -> Result<Token<'d>, ScanError> {
        let malformed = || ScanErrorKind::NotWellFormed.at(self.at);
        let rest = self.rest();
        let name = self.open.pop().ok_or_else(malformed)?;
        let after = rest.get(2..).and_then(|rest| rest.strip_prefix(name));
        let white = |after: &[u8]| {
            after
                .iter()
                .take_while(|&&byte| lint::is_white(byte))
                .count()
        };
        let after = after.and_then(|after| after.get(white(after)..));
        let Some([b'>', after @ ..]) = after else {
            return Err(malformed());
        };
        self.at = self.document.len().saturating_sub(after.len());
        Ok(self.end())
    }

    fn end(&mut self) -> Token<'d> {
        let depth = self.depth;
        self.depth = depth.saturating_sub(1);
        Token::End {
            depth,
            end: self.at,
        }
    }

    /// The start tag at `at`, with this between `<` and `>` or `/>`.
    fn start(&mut self, at: usize, content: &'d [u8], empty: bool) -> Result<Token<'d>, ScanError> {
        let malformed = || ScanErrorKind::NotWellFormed.at(at);
        let tag_end = self.at;
        let (prefix, local, rest) =
            tag::split_name(content).ok_or_else(|| tag::no_name(content).at(at))?;
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
        if !empty {
            let length = content.len().saturating_sub(rest.len());
            self.open.push(content.get(..length).unwrap_or_default());
        }
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

    /// Adds the declarations among the attributes to the scope, resolves the prefixes of the others, and makes sure
    /// that no attribute is there twice, whatever its prefix.
    fn resolve_attributes(&mut self, at: usize) -> Result<(), ScanError> {
        for attr in self.attributes.iter().filter(|attr| attr.is_declaration()) {
            self.scopes
                .declare(attr, self.depth)
                .map_err(|kind| kind.at(attr.value_at))?;
        }
        // A lookup of a prefix walks the declarations in scope. This bounds the walk.
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
        match is_twice(&self.attributes) {
            true => Err(ScanErrorKind::NotWellFormed.at(at)),
            false => Ok(()),
        }
    }
}

/// Whether an attribute is there twice, whatever its prefix.
fn is_twice<'d>(attributes: &[Attr<'d>]) -> bool {
    /// Up to so many are compared pairwise, which is faster than sorting them.
    const FEW: usize = 8;
    // Declarations have no URI themselves, and all the same prefix.
    let name = |attr: &Attr<'d>| (attr.prefix.is_empty(), attr.local);
    let uri = |attr: &Attr<'d>| attribute_value(attr.uri);
    if attributes.len() > FEW {
        let key = |attr: &Attr<'d>| (name(attr), uri(attr));
        let mut keys: SmallVec<[_; 32]> = attributes.iter().map(key).collect();
        keys.sort_unstable();
        return keys.windows(2).any(|pair| pair.first() == pair.last());
    }
    let mut rest = attributes;
    while let [attr, later @ ..] = rest {
        let is_same = |other: &Attr<'d>| name(other) == name(attr) && uri(other) == uri(attr);
        if later.iter().any(is_same) {
            return true;
        }
        rest = later;
    }
    false
}

/// Appends a piece of character data, line ends normalized (XML 1.0 §2.11).
pub(in crate::proto) fn push_text<'d>(out: &mut Cow<'d, str>, form: Form<'d>) {
    match form {
        Form::Reference(c) => out.to_mut().push(c),
        Form::Literal { text, .. } => {
            let text = std::str::from_utf8(text).unwrap_or_default();
            if text.contains('\r') {
                *out.to_mut() += &text.replace("\r\n", "\n").replace('\r', "\n");
            } else if out.is_empty() {
                *out = Cow::Borrowed(text);
            } else {
                *out.to_mut() += text;
            }
        }
    }
}
