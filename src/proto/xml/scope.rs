//! Which prefix means which namespace, and where.

use bytes::Bytes;
use smallvec::SmallVec;

use super::tag::Attr;
use super::{Lexer, Limits, Ns, ScanError, ScanErrorKind, Token};
use crate::proto::xml::scan::Attribute;

/// Namespace declarations in scope around an element that is cut out of a stream.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    declarations: SmallVec<[(Bytes, Bytes); 2]>,
}

impl Scope {
    /// Reads a stream header, `<stream:stream …>` (RFC 6120 §4.7), which is an open tag and perhaps
    /// an XML declaration before it. Returns what it declares and its attributes.
    ///
    /// # Errors
    /// When the header is not well-formed, is anything but the start tag of
    /// `{http://etherx.jabber.org/streams}stream`, or goes on after it.
    pub fn from_header(header: &[u8]) -> Result<(Self, SmallVec<[Attribute; 8]>), ScanError> {
        let header = Bytes::copy_from_slice(header);
        let outside = Self::default();
        let limits = Limits::default();
        let mut lexer = Lexer::new(&header, &outside, &limits)?;
        lexer.allow_declaration();
        let Token::Start(root) = lexer.next_element()? else {
            return Err(ScanErrorKind::NotWellFormed.at(header.len()));
        };
        if (root.ns, root.local) != (Ns::Streams, b"stream") || root.empty {
            return Err(ScanErrorKind::WrongRoot.at(root.at));
        }
        let after = header.get(root.tag_end..).unwrap_or_default();
        if !after.iter().all(|&byte| super::lint::is_white(byte)) {
            return Err(ScanErrorKind::NotWellFormed.at(root.tag_end));
        }
        let scope = outside.within(&header, &lexer.attributes);
        Ok((scope, Attribute::collect(&header, &lexer.attributes)))
    }

    /// The scope inside an element of `document` that has these attributes.
    pub(in crate::proto) fn within(&self, document: &Bytes, attributes: &[Attr<'_>]) -> Self {
        let mut scope = self.clone();
        for attr in attributes.iter().filter(|attr| attr.is_declaration()) {
            let prefix = if attr.prefix.is_empty() {
                &b""[..]
            } else {
                attr.local
            };
            scope.declarations.retain(|(known, _)| known != prefix);
            let (prefix, uri) = (document.slice_ref(prefix), document.slice_ref(attr.value));
            scope.declarations.push((prefix, uri));
        }
        scope
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.declarations
            .iter()
            .map(|(prefix, uri)| (&prefix[..], &uri[..]))
    }
}

/// One declaration; the default namespace has an empty prefix.
#[derive(Clone, Copy, Debug)]
pub(in crate::proto) struct Declaration<'d> {
    pub(in crate::proto) prefix: &'d [u8],
    pub(in crate::proto) uri: &'d [u8],
    pub(in crate::proto) ns: Ns,
    /// Depth of the element that declares it; 0 is outside the document.
    pub(in crate::proto) depth: usize,
}

/// The declarations in scope while a document is read, innermost last.
#[derive(Debug, Default)]
pub(in crate::proto) struct Scopes<'d> {
    stack: SmallVec<[Declaration<'d>; 8]>,
}

const NONE: Declaration<'static> = Declaration {
    prefix: b"",
    uri: b"",
    ns: Ns::None,
    depth: 0,
};
const XML: &[u8] = b"http://www.w3.org/XML/1998/namespace";
const XMLNS: &[u8] = b"http://www.w3.org/2000/xmlns/";

impl<'d> Scopes<'d> {
    pub(super) fn new(scope: &'d Scope) -> Self {
        let outside = scope.iter().map(|(prefix, uri)| Declaration {
            prefix,
            uri,
            ns: Ns::of(uri),
            depth: 0,
        });
        Self {
            stack: outside.collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.stack.len()
    }

    /// Takes up the declaration `attr` of an element at `depth`.
    ///
    /// A value with a reference is refused: nobody needs one, and comparing names would have to
    /// resolve it. So is one with a tab or line break, which would have to be normalized.
    pub(super) fn declare(&mut self, attr: &Attr<'d>, depth: usize) -> Result<(), ScanErrorKind> {
        let prefix = if attr.prefix.is_empty() {
            b""
        } else {
            attr.local
        };
        let uri = attr.value;
        if uri
            .iter()
            .any(|byte| matches!(byte, b'&' | b'\t' | b'\n' | b'\r'))
        {
            return Err(ScanErrorKind::Namespace);
        }
        // Namespaces in XML §3 and §5: reserved prefixes and names; no undeclaring of prefixes.
        let ns = Ns::of(uri);
        let allowed = match prefix {
            b"xml" => ns == Ns::Xml,
            b"xmlns" => false,
            b"" => ns != Ns::Xml && uri != XMLNS,
            _ => !matches!(ns, Ns::None | Ns::Xml) && uri != XMLNS,
        };
        if !allowed {
            return Err(ScanErrorKind::Namespace);
        }
        self.stack.push(Declaration {
            prefix,
            uri,
            ns,
            depth,
        });
        Ok(())
    }

    /// What `prefix` means here; an empty prefix asks for the default namespace.
    pub(super) fn resolve(&self, prefix: &[u8]) -> Option<Declaration<'d>> {
        let mut known = self.stack.iter().rev();
        match prefix {
            // By far the most frequent, and worth no comparison of bytes.
            b"" => Some(
                known
                    .find(|known| known.prefix.is_empty())
                    .copied()
                    .unwrap_or(NONE),
            ),
            b"xml" => Some(Declaration {
                prefix: b"xml",
                uri: XML,
                ns: Ns::Xml,
                depth: 0,
            }),
            _ => known.find(|known| known.prefix == prefix).copied(),
        }
    }

    /// Forgets what elements at `depth` and deeper have declared.
    pub(super) fn leave(&mut self, depth: usize) {
        while self.stack.last().is_some_and(|last| last.depth >= depth) {
            self.stack.pop();
        }
    }

    /// From here on, what belongs to the wrapper at `depth` or to no namespace at all belongs to
    /// `jabber:client`: clients leave the declaration away (XEP-0206).
    pub(in crate::proto) fn unwrap_client(&mut self, depth: usize) {
        let (uri, ns) = (&b"jabber:client"[..], Ns::Client);
        for known in &mut self.stack {
            let replace = match known.ns {
                Ns::HttpBind => true,
                Ns::None => known.prefix.is_empty(),
                _ => false,
            };
            if replace {
                (known.uri, known.ns) = (uri, ns);
            }
        }
        if !self.stack.iter().any(|known| known.prefix.is_empty()) {
            self.stack.push(Declaration {
                prefix: b"",
                uri,
                ns,
                depth,
            });
        }
    }

    /// Declarations made outside an element at `depth` that it does not override itself, whose
    /// content must not have been left yet.
    pub(in crate::proto) fn inherited(
        &self,
        depth: usize,
    ) -> impl Iterator<Item = &Declaration<'d>> {
        let outer = self
            .stack
            .iter()
            .take_while(move |known| known.depth < depth);
        outer.filter(move |known| {
            let mut own = self.stack.iter().filter(move |own| own.depth == depth);
            !own.any(|own| own.prefix == known.prefix)
        })
    }
}
