//! Errors for stanzas that did not arrive: writes what their senders are told. Does not decide whether a stanza passes.

use std::borrow::Cow;

use super::{Effect, Side};
use crate::proto::{
    stanza::{IqType, Kind, MessageType, Stanza},
    xml::{Ns, write::Tag},
};

/// Longest id or address that an answer repeats, bytes, after escaping. A valid address is not longer (RFC 7622 §3.1).
const LONGEST_REPEATED: usize = 3071;

/// Whether an answer repeats this id or address.
pub(super) fn is_repeated(value: &str) -> bool {
    let is_escaped = |byte: &u8| b"&<>\"'\t\n\r".contains(byte);
    let longer = value.bytes().filter(is_escaped).count().saturating_mul(5);
    value.len().saturating_add(longer) <= LONGEST_REPEATED
}

/// The error that goes back to the sender of a `stanza` that the client never got (XEP-0206 "Undelivered
/// Stanzas"); `None` where nothing must be sent: for presence, and for answers.
pub fn undelivered(stanza: &Stanza) -> Option<Stanza> {
    let (name, condition) = match stanza.kind() {
        Kind::Iq(IqType::Get | IqType::Set) => ("iq", "service-unavailable"),
        Kind::Message(MessageType::Other) => ("message", "recipient-unavailable"),
        _ => return None,
    };
    let to = ("to", stanza.from());
    Some(error(name, stanza, to, ("wait", condition)))
}

/// The error for a stanza of the server that cannot be passed on. It goes to the sender; for an answer, it goes to the
/// client, which waits for it. `None` where nothing must be sent, or the sender is unknown.
pub fn unreadable(stanza: &Stanza) -> Option<Effect> {
    let why = ("modify", "not-acceptable");
    let to_sender = |name, to| Effect::ToServer(error(name, stanza, ("to", to), why));
    match stanza.kind() {
        // Without `from`, it comes from the own account.
        Kind::Iq(IqType::Get | IqType::Set) => Some(to_sender("iq", stanza.from())),
        Kind::Iq(IqType::Result | IqType::Error) => {
            let answer = error("iq", stanza, ("from", stanza.from()), why);
            Some(Effect::ToClient(answer))
        }
        // Messages to many are not answered (RFC 6121 §8.5.2).
        Kind::Message(MessageType::Other)
            if !matches!(
                stanza.attribute("type").as_deref(),
                Some("groupchat" | "headline")
            ) =>
        {
            Some(to_sender("message", Some(stanza.from()?)))
        }
        _ => None,
    }
}

/// The error that tells the client of a `stanza` of its own that the server may never have got.
pub fn unsent(stanza: &Stanza) -> Option<Stanza> {
    let name = match stanza.kind() {
        Kind::Iq(IqType::Get | IqType::Set) => "iq",
        Kind::Message(MessageType::Other) => "message",
        _ => return None,
    };
    Some(error(
        name,
        stanza,
        ("from", stanza.to()),
        ("wait", "remote-server-timeout"),
    ))
}

/// The answer to a roster push from somebody other than the server (clients have to ignore it, RFC 6121 §2.1.6). A
/// server answers the same for a resource that does not exist, so the sender learns nothing.
pub fn unwelcome(push: &Stanza) -> Stanza {
    let to = ("to", push.from());
    error("iq", push, to, ("cancel", "service-unavailable"))
}

/// The answer to a `message` between people who are not contacts. A stranger elsewhere is told what a server says that
/// does not know the address.
pub(super) fn not_contacts(message: &Stanza, sender: Side) -> Stanza {
    let (peer, condition) = match sender {
        Side::Client => (("from", message.to()), "not-allowed"),
        Side::Server => (("to", message.from()), "service-unavailable"),
    };
    let text = "Only contacts can write to each other here.";
    explained("message", message, peer, ("cancel", condition), text)
}

/// The error in the place of another one, from somebody to somebody, of which nothing may be shown but that it is one.
pub(super) fn without_text(message: &Stanza) -> Stanza {
    let id = message.id().filter(|id| is_repeated(id));
    let [from, to] = [message.from(), message.to()].map(|it| it.filter(|it| is_repeated(it)));
    let error = Tag::new("message")
        .ns(Ns::Client)
        .attribute("type", "error")
        .attribute_if("id", id.as_deref())
        .attribute_if("from", from.as_deref())
        .attribute_if("to", to.as_deref())
        .content(|out| write_error(out, "cancel", "service-unavailable"));
    Stanza::ours(error)
}

/// The error that tells the client that a `stanza` of its own was not sent. Its namespace does not matter.
pub fn refused(stanza: &Stanza, kind: &str, condition: &str) -> Option<Stanza> {
    let is_answer = matches!(
        stanza.attribute("type").as_deref(),
        Some("result" | "error")
    );
    let name = stanza.local();
    if is_answer || !matches!(name, "iq" | "message" | "presence") {
        return None;
    }
    let from = ("from", stanza.to());
    Some(error(name, stanza, from, (kind, condition)))
}

fn error(
    name: &str,
    stanza: &Stanza,
    peer: (&str, Option<Cow<'_, str>>),
    why: (&str, &str),
) -> Stanza {
    explained(name, stanza, peer, why, "")
}

/// The same with an explanation for people.
fn explained(
    name: &str,
    stanza: &Stanza,
    (side, peer): (&str, Option<Cow<'_, str>>),
    (kind, condition): (&str, &str),
    text: &str,
) -> Stanza {
    let id = stanza.id().filter(|id| is_repeated(id));
    let peer = peer.filter(|peer| is_repeated(peer));
    let error = Tag::new(name)
        .ns(Ns::Client)
        .attribute("type", "error")
        .attribute_if("id", id.as_deref())
        .attribute_if(side, peer.as_deref())
        .content(|out| write_explained(out, kind, condition, text));
    Stanza::ours(error)
}

/// Appends what an answer of type `error` has in it (RFC 6120 §8.3).
pub(super) fn write_error(out: &mut Vec<u8>, kind: &str, condition: &str) {
    write_explained(out, kind, condition, "");
}

fn write_explained(out: &mut Vec<u8>, kind: &str, condition: &str, text: &str) {
    Tag::within(out, "error")
        .attribute("type", kind)
        .content(|out| {
            Tag::within(out, condition).ns(Ns::Stanzas).empty();
            if !text.is_empty() {
                let tag = Tag::within(out, "text").ns(Ns::Stanzas);
                tag.attribute("xml:lang", "en").text(text);
            }
        });
}
