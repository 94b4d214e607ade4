//! Looking into a stanza, for those who have to know more of it than its head tells.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::proto::xml::{Lexer, Limits, Ns, Scope, Token, attribute_value, push_text};

/// A child element of a [`Stanza`](super::Stanza), or of another child.
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
        find_attribute(&self.bytes, &self.scope, name)
    }

    /// The direct child elements, in order.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<> {
        children_of(self.bytes.clone(), &self.scope).into_iter()
    }

    /// The character data directly in the element, references resolved.
    pub fn text(&self) -> Cow<'_, str> {
        let mut text = Cow::Borrowed("");
        let Ok(mut lexer) = Lexer::new(&self.bytes, &self.scope, &Limits::NONE) else {
            return text;
        };
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
    name: &str,
) -> Option<Cow<'d, str>> {
    let mut lexer = Lexer::new(element, scope, &Limits::NONE).ok()?;
    lexer.next().ok()?;
    let found = lexer
        .attributes
        .iter()
        .find(|attr| attr.is(name.as_bytes()))?;
    // Through the document, since the lexer borrows the scope for no longer than this.
    let at = found.value_at;
    element
        .get(at..at.saturating_add(found.value.len()))
        .map(attribute_value)
}

/// The direct children of `element`, around which `scope` is declared. It has been accepted before,
/// so that there are no errors to report.
pub(super) fn children_of(element: Bytes, scope: &Scope) -> Vec<Child> {
    let mut found: Vec<Child> = Vec::new();
    let Ok(mut lexer) = Lexer::new(&element, scope, &Limits::NONE) else {
        return found;
    };
    let mut inside = Scope::default();
    let mut open = None;
    while let Ok(token) = lexer.next_element() {
        match token {
            Token::Start(root) if root.depth == 1 => {
                inside = scope.within(&element, &lexer.attributes);
            }
            Token::Start(child) if child.depth == 2 => open = Some(child),
            Token::End { depth: 2, end } => {
                found.extend(open.take().map(|child| Child {
                    ns: child.ns,
                    local: element.slice_ref(child.local),
                    bytes: element.slice(child.at..end),
                    at: child.at,
                    scope: inside.clone(),
                }));
            }
            Token::Eof => break,
            Token::End { .. } | Token::Start(_) | Token::Text { .. } => {}
        }
    }
    found
}
