//! What becomes of stanzas that did not arrive: whoever sent them hears.

use std::borrow::Cow;

use super::Effect;
use crate::proto::{
    stanza::{IqType, Kind, MessageType, Stanza},
    xml::write,
};

/// Longest id or address that an answer repeats, as it is written down, bytes: an address has no more
/// (RFC 7622 §3.1).
const LONGEST_REPEATED: usize = 3071;

/// Whether an answer repeats this id or address.
pub(super) fn is_repeated(value: &str) -> bool {
    let is_escaped = |byte: &u8| b"&<>\"'\t\n\r".contains(byte);
    let longer = value.bytes().filter(is_escaped).count().saturating_mul(5);
    value.len().saturating_add(longer) <= LONGEST_REPEATED
}

/// The error that goes back to the sender of a `stanza` that the client never got (XEP-0206 "Undelivered
/// Stanzas"); `None` where silence is right: presence, and whatever is an answer itself.
pub fn undelivered(stanza: &Stanza) -> Option<Stanza> {
    let (name, condition) = match stanza.kind() {
        Kind::Iq(IqType::Get | IqType::Set) => ("iq", "service-unavailable"),
        Kind::Message(MessageType::Other) => ("message", "recipient-unavailable"),
        _ => return None,
    };
    let to = ("to", stanza.from());
    Some(error(name, stanza, to, ("wait", condition)))
}

/// What becomes of a stanza of the server that cannot be passed on: its sender hears, or, if it is an answer, the
/// client, who waits for it. `None` where silence is right, or where nothing tells who the sender is.
pub fn unreadable(stanza: &Stanza) -> Option<Effect> {
    let why = ("modify", "not-acceptable");
    let to_sender = |name, to| Effect::ToServer(error(name, stanza, ("to", to), why));
    match stanza.kind() {
        // Without a sender, it is the own account's.
        Kind::Iq(IqType::Get | IqType::Set) => Some(to_sender("iq", stanza.from())),
        Kind::Iq(IqType::Result | IqType::Error) => {
            let answer = error("iq", stanza, ("from", stanza.from()), why);
            Some(Effect::ToClient(answer))
        }
        // To what goes to many, nobody answers (RFC 6121 §8.5.2).
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

/// The answer to a roster push from somebody who has none to give (RFC 6121 §2.1.6: clients have to ignore it).
/// It is what a server says where there is no such resource, so that its sender learns nothing.
pub fn unwelcome(push: &Stanza) -> Stanza {
    let to = ("to", push.from());
    error("iq", push, to, ("cancel", "service-unavailable"))
}

/// The error that tells the client of a `stanza` of its own that it has gone nowhere, whatever its namespace.
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
    (side, peer): (&str, Option<Cow<'_, str>>),
    (kind, condition): (&str, &str),
) -> Stanza {
    let mut text = format!("<{name} xmlns='jabber:client' type='error'").into_bytes();
    for (name, value) in [("id", stanza.id()), (side, peer)] {
        if let Some(value) = value.filter(|value| is_repeated(value)) {
            write::attribute(&mut text, name, &value);
        }
    }
    text.extend_from_slice(
        format!(
            "><error type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>\
             </{name}>"
        )
        .as_bytes(),
    );
    Stanza::ours(text)
}
