//! XML as bytes with spans: no tree is ever built.
//!
//! A document is read once, front to back ([`scan_body`], [`scan_stanza`]). What comes out are
//! slices of it, and what routing needs to know of them; nobody downstream parses again.
//!
//! **What is checked.** Everything that decides where an element begins and ends and what it is
//! called: UTF-8, legal characters, names, quotes, duplicate attributes, references, balanced tags,
//! one root, and namespaces with all prefixes declared. Markup that XMPP forbids (comments,
//! processing instructions, DTDs; RFC 6120 §11.1, XEP-0124 "`<body/>` Wrapper Element") is refused.
//! quick-xml finds where a tag ends, with its own parser of elements; its reader, which checks less than
//! this, took more than all of that together (docs/performance.md). Whatever is accepted here, a strict
//! parser must accept with the same elements in it; the tests hold this against one.
//!
//! **What is not checked.** Whether a stanza makes sense; that the URI of a namespace is a URI;
//! that a language tag is one. The XMPP server judges that. This is safe because every session has
//! a stream of its own to the server: what is wrong there ends nobody's session but its owner's. If
//! sessions ever share a stream, this reasoning falls.
//!
//! **The invariant.** A [`Stanza`](crate::proto::stanza::Stanza) is namespace-closed: what it takes
//! from around it is written into its start tag, so that it means the same in any wrapper.
//!
//! **Order.** Each file uses those before it: `error`, `limits`, `name`, `names` ← `lint` ← `decode`, `tag` ←
//! `scope` ← `token` ← `scan`. `write` stands alone.

pub mod error;
pub mod limits;
pub mod lint;
pub mod name;
pub mod scan;
pub mod write;

mod decode;
mod names;
mod scope;
mod tag;
mod token;

pub use error::{ScanError, ScanErrorKind};
pub use limits::Limits;
pub use name::Ns;
pub use scan::{Attribute, Body, scan_body, scan_header, scan_stanza};
pub use scope::Scope;

pub(in crate::proto) use decode::attribute_value;
pub(in crate::proto) use scan::{Inheritance, scan_next_stanza};
pub(in crate::proto) use tag::Attr;
pub(in crate::proto) use token::{Element, Lexer, Token, push_text};

#[cfg(test)]
pub(crate) mod agreement;
#[cfg(test)]
mod tests;
