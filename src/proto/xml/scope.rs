//! Namespaces in scope: which prefix means which namespace, and where.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::error::ScanErrorKind;
use super::lint;
use super::name::Ns;
use super::tag::Attr;

/// Namespace declarations in scope around an element that is cut out of a stream. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    declarations: Arc<[(Bytes, Bytes, Ns)]>,
}

impl Scope {
    /// The scope inside an element of `document` that has these attributes.
    pub(in crate::proto) fn within(&self, document: &Bytes, attributes: &[Attr<'_>]) -> Self {
        if !attributes.iter().any(Attr::is_declaration) {
            return self.clone();
        }
        let mut declarations = self.declarations.to_vec();
        for attr in attributes.iter().filter(|attr| attr.is_declaration()) {
            let prefix = if attr.prefix.is_empty() {
                &b""[..]
            } else {
                attr.local
            };
            declarations.retain(|(known, ..)| known != prefix);
            let (prefix, uri) = (document.slice_ref(prefix), document.slice_ref(attr.value));
            declarations.push((prefix, uri, Ns::of(attr.value)));
        }
        Self {
            declarations: declarations.into(),
        }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = Declaration<'_>> {
        self.declarations
            .iter()
            .map(|(prefix, uri, ns)| Declaration {
                prefix,
                uri,
                ns: *ns,
                depth: 0,
            })
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

/// The declarations in scope while a document is read, innermost last. Those of the default namespace are kept
/// apart: it is looked up most, and this lookup must not take longer when there are many prefixes.
#[derive(Debug)]
pub(in crate::proto) struct Scopes<'d> {
    /// Around the document.
    outside: &'d Scope,
    /// Outside the document, the namespace of `<body/>`, and no namespace at all, mean `jabber:client`.
    is_unwrapped: bool,
    prefixes: SmallVec<[Declaration<'d>; 8]>,
    defaults: SmallVec<[Declaration<'d>; 4]>,
}

impl Declaration<'_> {
    /// The same declaration within `<body/>`, where that element's namespace, and none, mean `jabber:client`.
    fn unwrapped(self) -> Self {
        let belongs_to_client = match self.ns {
            Ns::HttpBind => true,
            Ns::None => self.prefix.is_empty(),
            _ => false,
        };
        match belongs_to_client {
            true => Self {
                uri: b"jabber:client",
                ns: Ns::Client,
                ..self
            },
            false => self,
        }
    }
}

const NONE: Declaration<'static> = Declaration {
    prefix: b"",
    uri: b"",
    ns: Ns::None,
    depth: 0,
};
const XML: &[u8] = b"http://www.w3.org/XML/1998/namespace";
const XMLNS: &[u8] = b"http://www.w3.org/2000/xmlns/";

/// Longest declaration, prefix and URI together, bytes. This bounds the cost of comparing names.
const MAX_DECLARATION: usize = 1024;

impl<'d> Scopes<'d> {
    pub(super) fn new(outside: &'d Scope) -> Self {
        Self {
            outside,
            is_unwrapped: false,
            prefixes: SmallVec::new(),
            defaults: SmallVec::new(),
        }
    }

    fn push(&mut self, declaration: Declaration<'d>) {
        if declaration.prefix.is_empty() {
            self.defaults.push(declaration);
        } else {
            self.prefixes.push(declaration);
        }
    }

    pub(super) fn len(&self) -> usize {
        let own = self.prefixes.len().saturating_add(self.defaults.len());
        own.saturating_add(self.outside.declarations.len())
    }

    fn outside(&self) -> impl DoubleEndedIterator<Item = Declaration<'d>> {
        let is_unwrapped = self.is_unwrapped;
        self.outside.iter().map(move |outer| match is_unwrapped {
            true => outer.unwrapped(),
            false => outer,
        })
    }

    /// Adds the declaration `attr` of an element at `depth` to the scope.
    ///
    /// A value may contain references only to characters that may need one. No namespace known here contains such a
    /// character, so that values can be compared as they are written.
    pub(super) fn declare(&mut self, attr: &Attr<'d>, depth: usize) -> Result<(), ScanErrorKind> {
        let prefix = if attr.prefix.is_empty() {
            b""
        } else {
            attr.local
        };
        let uri = attr.value;
        if prefix.len().saturating_add(uri.len()) > MAX_DECLARATION {
            return Err(ScanErrorKind::Limit);
        }
        if !lint::is_plain_uri(uri) {
            return Err(ScanErrorKind::Unusual);
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
        self.push(Declaration {
            prefix,
            uri,
            ns,
            depth,
        });
        Ok(())
    }

    /// What `prefix` means here; an empty prefix asks for the default namespace.
    pub(in crate::proto) fn resolve(&self, prefix: &[u8]) -> Option<Declaration<'d>> {
        match prefix {
            b"" => {
                let default = self.defaults.last().copied();
                let outer = || self.outside().find(|outer| outer.prefix.is_empty());
                Some(default.or_else(outer).unwrap_or(NONE))
            }
            b"xml" => Some(Declaration {
                prefix: b"xml",
                uri: XML,
                ns: Ns::Xml,
                depth: 0,
            }),
            _ => {
                let known = self.prefixes.iter().rev().copied();
                known
                    .chain(self.outside())
                    .find(|known| known.prefix == prefix)
            }
        }
    }

    /// Removes the declarations of elements at `depth` and deeper.
    pub(super) fn leave(&mut self, depth: usize) {
        while self.prefixes.last().is_some_and(|last| last.depth >= depth) {
            self.prefixes.pop();
        }
        while self.defaults.last().is_some_and(|last| last.depth >= depth) {
            self.defaults.pop();
        }
    }

    /// From here on, the namespace of the wrapper at `depth`, and no namespace at all, mean `jabber:client`:
    /// clients omit that declaration (XEP-0206).
    pub(in crate::proto) fn unwrap_client(&mut self, depth: usize) {
        self.is_unwrapped = true;
        for known in self.prefixes.iter_mut().chain(&mut self.defaults) {
            *known = known.unwrapped();
        }
        if !self.iter().any(|known| known.prefix.is_empty()) {
            self.defaults.push(Declaration {
                depth,
                ..NONE.unwrapped()
            });
        }
    }

    fn iter(&self) -> impl Iterator<Item = Declaration<'d>> {
        let own = self.defaults.iter().chain(&self.prefixes);
        self.outside().chain(own.copied())
    }

    /// Declarations made outside an element at `depth`. All elements of one wrapper see the same ones, in the same
    /// order.
    pub(in crate::proto) fn outer(&self, depth: usize) -> impl Iterator<Item = Declaration<'d>> {
        self.iter().filter(move |known| known.depth < depth)
    }

    /// The outer declarations that the element does not override, each with its place among
    /// [all of them](Self::outer). The element's own declarations must still be in scope.
    pub(in crate::proto) fn inherited(
        &self,
        depth: usize,
    ) -> impl Iterator<Item = (usize, Declaration<'d>)> {
        let own = self.iter().filter(|known| known.depth == depth);
        let own: SmallVec<[&[u8]; 8]> = own.map(|own| own.prefix).collect();
        let outer = self.outer(depth).enumerate();
        outer.filter(move |(_, known)| !own.contains(&known.prefix))
    }
}
