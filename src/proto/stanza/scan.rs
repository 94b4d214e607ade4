//! One forward pass over a document: the stanzas in it, cut out with what routing needs to know of them.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use smallvec::SmallVec;

use super::{Head, Stanza};
use crate::proto::xml::{
    Attr, Attribute, Declaration, Element, Form, Lexer, Limits, Ns, ScanError, ScanErrorKind,
    Scope, Token, lint,
};

/// Most bytes of declarations that one element may inherit: several times what any client or server declares.
const MAX_INHERITANCE: usize = 1024;

/// A BOSH `<body/>`: its attributes and the stanzas in it.
#[derive(Debug)]
pub struct Body {
    /// The attributes, namespace declarations left out, in document order.
    pub attributes: SmallVec<[Attribute; 8]>,
    /// The child elements, in document order, namespace-closed.
    pub children: SmallVec<[Stanza; 2]>,
}

/// Reads a complete BOSH `<body/>` document (XEP-0124 "`<body/>` Wrapper Element").
///
/// Children that leave their namespace to the wrapper are `jabber:client` (XEP-0206).
///
/// # Errors
/// When the document is not well-formed, has forbidden markup or text directly in `<body/>`, is
/// something else than `{http://jabber.org/protocol/httpbind}body`, or exceeds `limits`.
pub fn scan_body(mut document: Bytes, limits: &Limits) -> Result<Body, ScanError> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    if !document.starts_with(BOM) {
        return scan_bare_body(&document, limits);
    }
    let _ = document.split_to(BOM.len());
    scan_bare_body(&document, limits)
        .map_err(|error| error.kind.at(error.at.saturating_add(BOM.len())))
}

fn scan_bare_body(document: &Bytes, limits: &Limits) -> Result<Body, ScanError> {
    let outside = Scope::default();
    let mut lexer = Lexer::new(document, &outside, limits)?;
    lexer.allow_declaration();
    let Token::Start(root) = lexer.next_element()? else {
        return Err(ScanErrorKind::NotWellFormed.at(document.len()));
    };
    if (root.ns, root.local) != (Ns::HttpBind, b"body") {
        return Err(ScanErrorKind::WrongRoot.at(root.at));
    }
    let attributes = Attribute::collect(document, &lexer.attributes);
    let lang = lexer
        .attributes
        .iter()
        .find(|attr| attr.is_lang())
        .map(|attr| attr.value)
        // A longer value is no language tag, and is ignored.
        .filter(|lang| lang.len() <= lint::MAX_LANGUAGE);
    lexer.scopes.unwrap_client(root.depth);
    let mut last = Inheritance::default();
    let mut closing = Closing::new(lang, limits.inherited, &mut last);
    let mut children = SmallVec::new();
    loop {
        match lexer.next()? {
            Token::Start(element) if children.len() >= limits.children => {
                return Err(ScanErrorKind::Limit.at(element.at));
            }
            Token::Start(element) => {
                let (span, insert, head) = cut(&mut lexer, &mut closing, element)?;
                // A copy, so that keeping one stanza does not keep the whole document.
                let bytes = Bytes::copy_from_slice(document.get(span).unwrap_or_default());
                children.push(Stanza::new(bytes, head.local.end, insert, head));
            }
            Token::Text {
                form: Form::Literal { text, cdata: false },
                ..
            } if text.iter().all(|&byte| lint::is_white(byte)) => {}
            Token::Text { at, .. } => return Err(ScanErrorKind::NotWellFormed.at(at)),
            Token::End { .. } => {}
            Token::Eof => {
                return Ok(Body {
                    attributes,
                    children,
                });
            }
        }
    }
}

/// Reads one complete element cut out of a stream whose header declared `scope`. White space around
/// it is left out. The stanza shares the memory of `element`.
///
/// # Errors
/// When the element is not well-formed, has forbidden markup, or exceeds `limits`.
pub fn scan_stanza(element: Bytes, scope: &Scope, limits: &Limits) -> Result<Stanza, ScanError> {
    scan_next_stanza(element, scope, limits, &mut Inheritance::default())
}

/// The same for one of many elements in one scope: `last` is what the previous one inherited.
pub(in crate::proto) fn scan_next_stanza(
    element: Bytes,
    scope: &Scope,
    limits: &Limits,
    last: &mut Inheritance,
) -> Result<Stanza, ScanError> {
    read_only_element(&element, Lexer::new(&element, scope, limits)?, limits, last)
}

/// Reads a document that is one element, such as a WebSocket message (RFC 7395 §3.3.3): an XML declaration may stand
/// before it. What has neither prefix nor namespace is taken as `jabber:client`.
pub(in crate::proto) fn scan_document(
    document: &Bytes,
    limits: &Limits,
) -> Result<Stanza, ScanError> {
    let outside = Scope::default();
    let mut lexer = Lexer::new(document, &outside, limits)?;
    lexer.allow_declaration();
    read_only_element(document, lexer, limits, &mut Inheritance::default())
}

/// Reads the one element of a document, and makes sure that nothing but white space is around it.
fn read_only_element<'d>(
    document: &'d Bytes,
    mut lexer: Lexer<'d>,
    limits: &Limits,
    last: &mut Inheritance,
) -> Result<Stanza, ScanError> {
    lexer.scopes.unwrap_client(0);
    let Token::Start(root) = lexer.next_element()? else {
        return Err(ScanErrorKind::NotWellFormed.at(document.len()));
    };
    let mut closing = Closing::new(None, limits.inherited, last);
    let (span, insert, head) = cut(&mut lexer, &mut closing, root)?;
    match lexer.next()? {
        Token::Eof => Ok(Stanza::new(
            document.slice(span),
            head.local.end,
            insert,
            head,
        )),
        _ => Err(ScanErrorKind::NotWellFormed.at(document.len())),
    }
}

/// Reads the rest of the element that begins with `root`. Returns where it lies, the declarations that it inherits,
/// and what routing needs to know.
fn cut<'d>(
    lexer: &mut Lexer<'d>,
    closing: &mut Closing<'d, '_>,
    root: Element<'d>,
) -> Result<(Range<usize>, Bytes, Head), ScanError> {
    let mut head = Head::read(&root, &lexer.attributes);
    let has_lang = lexer.attributes.iter().any(Attr::is_lang);
    let is_outside = |element: &Element<'_>| !element.prefixed && element.declared < root.depth;
    let mut needs_default = is_outside(&root);
    loop {
        match lexer.next_element()? {
            Token::Start(element) => {
                needs_default |= is_outside(&element);
                head.see_child(&root, &element);
            }
            Token::End { depth, end } if depth == root.depth => {
                let insert = closing.close(lexer, &root, end, needs_default, has_lang);
                return Ok((root.at..end, insert.map_err(|kind| kind.at(root.at))?, head));
            }
            Token::End { .. } | Token::Text { .. } => {}
            Token::Eof => return Err(ScanErrorKind::NotWellFormed.at(lexer.position())),
        }
    }
}

/// Writes down what the children of one wrapper inherit from it. Successive children that inherit the same share it.
struct Closing<'d, 'l> {
    /// Language of the wrapper.
    lang: Option<&'d [u8]>,
    /// Bytes that may still be inherited.
    left: usize,
    last: &'l mut Inheritance,
}

/// What the last child inherited from its wrapper, and the text of it.
#[derive(Debug, Default)]
pub(in crate::proto) struct Inheritance {
    /// Places of declarations among those around it.
    places: SmallVec<[usize; 4]>,
    has_lang: bool,
    written: Bytes,
}

impl<'d, 'l> Closing<'d, 'l> {
    fn new(lang: Option<&'d [u8]>, left: usize, last: &'l mut Inheritance) -> Self {
        Self { lang, left, last }
    }

    /// What the element from `root` to `end`, whose own declarations are still in scope, needs in its start tag to mean
    /// the same elsewhere: the default namespace if the element uses it, and every prefix, since content may use
    /// prefixes too. Only the prefix of the stream itself is left out where it is not used: it is declared everywhere
    /// and used nearly nowhere.
    fn close(
        &mut self,
        lexer: &Lexer<'d>,
        root: &Element<'d>,
        end: usize,
        needs_default: bool,
        has_lang: bool,
    ) -> Result<Bytes, ScanErrorKind> {
        let inherited = || lexer.scopes.inherited(root.depth);
        // A search costs as much as the element is long, so that only one prefix is searched for. Nobody declares two
        // for this namespace.
        let mut streams = inherited().filter(|(_, outer)| outer.ns == Ns::Streams);
        let uses_streams = match (streams.next(), streams.next()) {
            (Some((_, only)), None) => uses_prefix(lexer.between(root.at, end), only.prefix),
            _ => true,
        };
        let needed = || {
            let needed = inherited().filter(|(_, outer)| match outer.ns {
                _ if outer.prefix.is_empty() => needs_default,
                Ns::Streams => uses_streams,
                _ => true,
            });
            needed.map(|(place, _)| place)
        };
        let needs_lang = self.lang.is_some() && !has_lang;
        let is_same =
            self.last.has_lang == needs_lang && needed().eq(self.last.places.iter().copied());
        if !is_same {
            self.last.places = needed().collect();
            self.last.has_lang = needs_lang;
            self.last.written = self.write(lexer, root.depth);
        }
        let insert = self.last.written.clone();
        let left = self.left.checked_sub(insert.len());
        self.left = left
            .filter(|_| insert.len() <= MAX_INHERITANCE)
            .ok_or(ScanErrorKind::Limit)?;
        Ok(insert)
    }

    fn write(&self, lexer: &Lexer<'d>, depth: usize) -> Bytes {
        const CLIENT: &[u8] = b" xmlns='jabber:client'";
        let Inheritance {
            places, has_lang, ..
        } = &*self.last;
        let outer = |place: &usize| lexer.scopes.outer(depth).nth(*place);
        let declared = places.iter().filter_map(outer);
        // Nearly every stanza that needs anything needs only this.
        let is_client = |it: &Declaration<'_>| it.prefix.is_empty() && it.ns == Ns::Client;
        if places.len() == 1 && !has_lang && declared.clone().all(|it| is_client(&it)) {
            return Bytes::from_static(CLIENT);
        }
        let mut out = Vec::new();
        for outer in declared {
            push_raw(&mut out, b"xmlns", outer.prefix, outer.uri);
        }
        if let Some(lang) = self.lang.filter(|_| *has_lang) {
            push_raw(&mut out, b"xml", b"lang", lang);
        }
        out.into()
    }
}

fn uses_prefix(element: &[u8], prefix: &[u8]) -> bool {
    let is_colon = |end: usize| element.get(end) == Some(&b':');
    memmem::find_iter(element, prefix).any(|at| is_colon(at.saturating_add(prefix.len())))
}

/// Appends an attribute whose raw value was written elsewhere, in the quotes that fit it.
fn push_raw(out: &mut Vec<u8>, prefix: &[u8], local: &[u8], raw: &[u8]) {
    let quote: &[u8] = if raw.contains(&b'\'') { b"\"" } else { b"'" };
    let colon: &[u8] = if local.is_empty() { b"" } else { b":" };
    for part in [b" ", prefix, colon, local, b"=", quote, raw, quote] {
        out.extend_from_slice(part);
    }
}
