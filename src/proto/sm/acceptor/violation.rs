//! Violations: what a client must not say, and the stream error that it then hears.

use crate::proto::{
    stanza::Stanza,
    xml::{Ns, write::Tag},
};

/// The client broke a rule of XEP-0198.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Violation {
    /// It says that it has handled more stanzas than it was sent.
    #[error("{h} stanzas acknowledged, {sent} sent")]
    HandledTooHigh {
        /// What it says.
        h: u32,
        /// How many it has been sent, modulo 2^32.
        sent: u32,
    },
    /// It wants to resume with an `h` below the one that it has acknowledged: it has lost what nobody keeps any more,
    /// as a copy of a browser tab has. Only a new session gives it the archive from the right place, so the better
    /// answer is [`refuse`](super::Acceptor::refuse).
    #[error("resumption with {h} stanzas, of which {acknowledged} had been acknowledged")]
    HandledTooLow {
        /// What it says.
        h: u32,
        /// What it has said before.
        acknowledged: u32,
    },
    /// `<a/>` or `<resume/>` without a number in `h`, or without `previd`.
    #[error("an element of stream management lacks an attribute")]
    Incomplete,
}

impl Violation {
    /// The stream error (RFC 6120 §4.9, XEP-0198 §4).
    pub fn error(&self) -> Stanza {
        let condition = match self {
            Self::Incomplete => "bad-format",
            Self::HandledTooHigh { .. } | Self::HandledTooLow { .. } => "undefined-condition",
        };
        let error = Tag::new("stream:error")
            .attribute("xmlns:stream", "http://etherx.jabber.org/streams")
            .content(|out| {
                Tag::within(out, condition).ns(Ns::StreamConditions).empty();
                let text = self.to_string();
                Tag::within(out, "text")
                    .ns(Ns::StreamConditions)
                    .text(&text);
                if let Self::HandledTooHigh { h, sent } = self {
                    Tag::within(out, "handled-count-too-high")
                        .ns(Ns::Sm3)
                        .plain("h", h)
                        .plain("send-count", sent)
                        .empty();
                }
            });
        Stanza::ours(error)
    }
}
