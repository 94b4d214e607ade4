//! Child elements of a stanza, for callers that need more of it than its head tells.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem;

use bytes::Bytes;

use super::{Stanza, scan_stanza};
use crate::proto::xml::{
    Attr, Element, Lexer, Limits, Ns, Scope, Token, attribute_value, push_text,
};

/// A child element of a [`Stanza`], or of another child.
#[derive(Clone)]
pub struct Child {
    /// Namespace.
    pub ns: Ns,
    /// Local name.
    pub local: Bytes,
    /// The whole element as written. Not necessarily namespace-closed.
    pub bytes: Bytes,
    /// Where it begins in its parent's bytes; of a stanza, those of
    /// [`Stanza::to_bytes`](super::Stanza::to_bytes).
    pub at: usize,
    /// What is declared around it.
    scope: Scope,
}

impl Child {
    /// The local name.
    pub fn local(&self) -> &str {
        std::str::from_utf8(&self.local).unwrap_or_default()
    }

    /// Whether this is the element `{ns}local`.
    pub fn is(&self, ns: Ns, local: &str) -> bool {
        self.ns == ns && self.local == local.as_bytes()
    }

    /// The value of an attribute without a prefix, references resolved.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        find_attribute(&self.bytes, &self.scope, |attr| attr.is(name.as_bytes()))
    }

    /// The direct child elements, in order.
    pub fn children(&self) -> Children {
        Children::of(self.bytes.clone(), &self.scope)
    }

    /// The element with the declarations around it written into it: it means the same in any wrapper. `None` if there
    /// are more of them than anybody declares.
    pub fn closed(&self) -> Option<Stanza> {
        scan_stanza(self.bytes.clone(), &self.scope, &Limits::NONE).ok()
    }

    /// Hashes what the element means, not how it is written: names, attributes in any order, character data.
    pub fn hash_meaning(&self, state: &mut impl Hasher) {
        let mut text = Cow::Borrowed("");
        let mut lexer = Lexer::again(&self.bytes, &self.scope);
        loop {
            match lexer.next() {
                Ok(Token::Text { form, .. }) => push_text(&mut text, form),
                Ok(Token::Start(element)) => {
                    (mem::take(&mut text), "<").hash(state);
                    self.hash_tag(&lexer, &element, state);
                }
                Ok(Token::End { .. }) => (mem::take(&mut text), ">").hash(state),
                Ok(Token::Eof) | Err(_) => return,
            }
        }
    }

    fn hash_tag(&self, lexer: &Lexer<'_>, element: &Element<'_>, state: &mut impl Hasher) {
        let start = element.at.saturating_add(1);
        let name = self.bytes.get(start..element.name_end).unwrap_or_default();
        let prefix = name.strip_suffix(element.local).unwrap_or_default();
        let prefix = prefix.strip_suffix(b":").unwrap_or(prefix);
        let uri = lexer.scopes.resolve(prefix).map(|declared| declared.uri);
        (uri, element.local).hash(state);
        let mut attributes: Vec<_> = lexer
            .attributes
            .iter()
            .filter(|attr| !attr.is_declaration())
            .map(|attr| (attr.uri, attr.local, attribute_value(attr.value)))
            .collect();
        attributes.sort_unstable();
        attributes.hash(state);
    }

    /// The character data directly in the element, references resolved.
    pub fn text(&self) -> Cow<'_, str> {
        let mut text = Cow::Borrowed("");
        let mut lexer = Lexer::again(&self.bytes, &self.scope);
        loop {
            match lexer.next() {
                Ok(Token::Text { depth: 1, form, .. }) => push_text(&mut text, form),
                Ok(Token::End { .. } | Token::Start(_) | Token::Text { .. }) => {}
                Ok(Token::Eof) | Err(_) => return text,
            }
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("ns", &self.ns)
            .field("local", &self.local())
            .field("size", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn find_attribute<'d>(
    element: &'d Bytes,
    scope: &Scope,
    is_wanted: impl Fn(&Attr<'_>) -> bool,
) -> Option<Cow<'d, str>> {
    let mut lexer = Lexer::again(element, scope);
    lexer.next().ok()?;
    let found = lexer.attributes.iter().find(|attr| is_wanted(attr))?;
    // The value is cut from the document: what the lexer finds lives no longer than the lexer.
    let at = found.value_at;
    element
        .get(at..at.saturating_add(found.value.len()))
        .map(attribute_value)
}

/// The direct children of an element that has been accepted before. There may be very many, so each is kept as its
/// place alone until it is asked for.
#[derive(Debug)]
pub struct Children {
    element: Bytes,
    /// What is declared in the element.
    scope: Scope,
    places: std::vec::IntoIter<Place>,
}

/// Where a child is in its element.
#[derive(Debug)]
struct Place {
    ns: Ns,
    start: u32,
    end: u32,
    name_end: u32,
    /// Length of the local name.
    local: u32,
}

impl Children {
    /// The children of `element`, around which `scope` is declared.
    pub(super) fn of(element: Bytes, scope: &Scope) -> Self {
        let mut lexer = Lexer::again(&element, scope);
        let mut inside = Scope::default();
        let mut places = Vec::new();
        let mut open = None;
        while let Ok(token) = lexer.next_element() {
            match token {
                Token::Start(root) if root.depth == 1 => {
                    inside = scope.within(&element, &lexer.attributes);
                }
                Token::Start(child) if child.depth == 2 => open = Some(child),
                Token::End { depth: 2, end } => {
                    places.extend(open.take().map(|child| Place::new(&child, end)));
                }
                Token::Eof => break,
                Token::End { .. } | Token::Start(_) | Token::Text { .. } => {}
            }
        }
        Self {
            element: element.clone(),
            scope: inside,
            places: places.into_iter(),
        }
    }
}

impl Place {
    fn new(child: &Element<'_>, end: usize) -> Self {
        // The scanner accepts no document of more bytes than this can count.
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            ns: child.ns,
            start: narrow(child.at),
            end: narrow(end),
            name_end: narrow(child.name_end),
            local: narrow(child.local.len()),
        }
    }
}

impl Iterator for Children {
    type Item = Child;

    fn next(&mut self) -> Option<Child> {
        let place = self.places.next()?;
        let part = |start: u32, end: u32| {
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            Some(self.element.slice(start..end))
        };
        Some(Child {
            ns: place.ns,
            local: part(place.name_end.saturating_sub(place.local), place.name_end)?,
            bytes: part(place.start, place.end)?,
            at: usize::try_from(place.start).ok()?,
            scope: self.scope.clone(),
        })
    }
}
