//! Presence stanzas that the gateway writes itself, and the mark that they carry. Does not decide who gets them.

use bytes::Bytes;

use super::Effects;
use crate::{
    pipe::{Effect, bounce::is_repeated, identity::Identity},
    proto::{
        stanza::Stanza,
        xml::{Ns, write::Tag},
    },
};

/// Purpose of directed presence that a gateway sends; the receiving gateway reads it from the stanza's `id`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mark {
    /// Announcement, which asks for an answer. A contact that the sender may see answers with its presence. A sender
    /// that the receiver may not see uses unavailable presence to ask.
    Hello,
    /// Answer or change, which wants no answer.
    News,
}

impl Mark {
    pub(super) fn of(presence: &Stanza) -> Option<Self> {
        let id = presence.id()?;
        [Self::Hello, Self::News]
            .into_iter()
            .find(|mark| *mark.id() == *id)
    }

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Hello => "rostergate-hello",
            Self::News => "rostergate-news",
        }
    }
}

/// Tells a contact that the client has gone.
pub(super) fn hide_from(jid: &str, effects: &mut Effects) {
    let presence = unavailable(Mark::News).addressed(jid);
    effects.push_back(Effect::ToServer(presence));
}

pub(super) fn unavailable(mark: Mark) -> Stanza {
    let presence = Bytes::from_static(b"<presence xmlns='jabber:client' type='unavailable'/>");
    Stanza::ours(presence).with_id(mark.id())
}

/// Unavailable presence that tells the client that a resource has gone.
pub(super) fn gone(full: &str, identity: &Identity) -> Stanza {
    let gone = Tag::new("presence")
        .ns(Ns::Client)
        .attribute("type", "unavailable")
        .attribute("from", full)
        .attribute("to", identity.full())
        .empty();
    Stanza::ours(gone)
}

/// The answer to a broadcast presence of more than [`MAX_BROADCAST`](super::MAX_BROADCAST) (RFC 6120 §8.3).
pub fn too_large(presence: &Stanza) -> Stanza {
    let id = presence.id().filter(|id| is_repeated(id));
    let error = Tag::new("presence")
        .ns(Ns::Client)
        .attribute("type", "error")
        .attribute_if("id", id.as_deref())
        .content(|out| {
            Tag::within(out, "error")
                .attribute("type", "modify")
                .content(|out| {
                    Tag::within(out, "policy-violation").ns(Ns::Stanzas).empty();
                    Tag::within(out, "text")
                        .ns(Ns::Stanzas)
                        .text("presence is too large");
                });
        });
    Stanza::ours(error)
}
