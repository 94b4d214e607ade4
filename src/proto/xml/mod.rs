//! XML as bytes with spans: no tree is ever built.
//!
//! A document is read once, front to back, token by token. [`stanza`](crate::proto::stanza) cuts it into stanzas on
//! the way, and no later stage parses them again.
//!
//! **What is checked.** Everything that decides where an element begins and ends and what it is
//! called: UTF-8, legal characters, names, quotes, duplicate attributes, references, balanced tags,
//! one root, and namespaces with all prefixes declared. Markup that XMPP forbids (comments,
//! processing instructions, DTDs; RFC 6120 §11.1, XEP-0124 "`<body/>` Wrapper Element") is refused.
//! quick-xml only finds where a tag ends, with its `ElementParser`; its reader, which checks less, took more time
//! than all of this together (docs/performance/where-the-time-goes.md). A strict parser must accept every document
//! that is accepted here, and see the same elements in it; the tests compare the two.
//!
//! **What is not checked.** Whether a stanza makes sense; whether the URI of a namespace is a URI; whether a
//! language tag is one. The XMPP server judges that. This is safe because every session has a stream of its own to
//! the server, so that an error there ends only its owner's session. It is no longer safe if sessions ever share a
//! stream.
//!
//! **The invariant.** A [`Stanza`](crate::proto::stanza::Stanza) is namespace-closed: what it inherits
//! is written into its start tag, so that it means the same in any wrapper.
//!
//! **Order.** Each file uses those before it: `error`, `limits`, `name`, `names` ← `lint` ← `decode`, `tag` ←
//! `scope` ← `token` ← `header`. `write` uses `name` alone.

pub mod error;
pub mod limits;
pub mod lint;
pub mod name;
pub mod write;

mod decode;
mod header;
mod names;
mod scope;
mod tag;
mod token;

pub use error::{ScanError, ScanErrorKind};
pub use header::scan_header;
pub use limits::Limits;
pub use name::Ns;
pub use scope::Scope;
pub use tag::Attribute;

pub(in crate::proto) use decode::attribute_value;
pub(in crate::proto) use scope::Declaration;
pub(in crate::proto) use tag::Attr;
pub(in crate::proto) use token::{Element, Form, Lexer, Token, push_text};

#[cfg(test)]
pub(crate) mod agreement;
#[cfg(test)]
mod tests;
