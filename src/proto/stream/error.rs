//! Errors of streams: why one cannot be read, and what a `stream:error` says (RFC 6120 §4.9).

use super::split::SplitError;
use crate::proto::{
    stanza::{Child, Stanza},
    xml::{Ns, ScanError, write::Tag},
};

/// A stream error of the gateway's own, with an explanation for people.
pub fn stream_error(condition: &str, text: &str) -> Stanza {
    let error = Tag::new("stream:error")
        .attribute("xmlns:stream", "http://etherx.jabber.org/streams")
        .content(|out| {
            // Clients look for the namespace on the elements themselves.
            Tag::within(out, condition).ns(Ns::StreamConditions).empty();
            Tag::within(out, "text").ns(Ns::StreamConditions).text(text);
        });
    Stanza::ours(error)
}

/// Why the rest of a stream is worthless.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Its elements cannot be told apart.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The header or an element is malformed.
    #[error("malformed element")]
    Scan(#[from] ScanError),
    /// The server speaks the protocol from before RFC 3920, without features.
    #[error("stream without version 1.0")]
    Version,
}

/// What a `stream:error` says (RFC 6120 §4.9).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamCondition {
    /// Name of the defined condition; `undefined-condition` where there is none.
    pub name: String,
    /// Text of the condition: the other host in `see-other-host`, else nothing.
    pub content: String,
    /// The explanation for people.
    pub text: Option<String>,
}

impl StreamCondition {
    /// Reads a `stream:error`.
    pub fn of(error: &Stanza) -> Self {
        let mut condition = Self {
            name: String::new(),
            content: String::new(),
            text: None,
        };
        for child in error
            .children()
            .filter(|child| child.ns == Ns::StreamConditions)
        {
            if *child.local == *b"text" {
                condition.text = Some(content(&child));
            } else if condition.name.is_empty() {
                condition.name = String::from_utf8_lossy(&child.local).into_owned();
                condition.content = content(&child);
            }
        }
        if condition.name.is_empty() {
            condition.name.push_str("undefined-condition");
        }
        condition
    }
}

/// The character data of an element that has nothing else in it.
fn content(element: &Child) -> String {
    let text = String::from_utf8_lossy(&element.bytes);
    let inside = text
        .split_once('>')
        .and_then(|(_, rest)| rest.rsplit_once("</"));
    let raw = inside.map_or("", |(raw, _)| raw);
    quick_xml::escape::unescape(raw)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
