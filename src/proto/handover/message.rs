//! Messages of a handover: which ones are handed over, how copies are recognized, and the delay that they get.

use std::{
    borrow::Cow,
    hash::{BuildHasher, Hash, Hasher},
};

use bytes::Bytes;

use crate::proto::{
    stanza::{Child, Children, Kind, MessageType, Stanza},
    xml::{Ns, write::Tag},
};

/// Whether a message may be handed over: whether a server would store it. Rooms have a history of their own, headlines
/// are for those online at the time, and results of an archive for the session that asked.
pub fn is_for_any_session(stanza: &Stanza) -> bool {
    stanza.kind() == Kind::Message(MessageType::Other)
        && !matches!(
            stanza.attribute("type").as_deref(),
            Some("groupchat" | "headline")
        )
        && !stanza.children().any(|child| is_archived(&child))
        && !is_of_room(stanza)
}

/// Whether this is a private message between occupants of a room (XEP-0045 §7.5), or a copy of one. It means nothing to
/// a session that is not in the room; an invitation does.
fn is_of_room(stanza: &Stanza) -> bool {
    let is_of_room = |child: Child| {
        let is_request = |inner: Child| matches!(inner.local(), "invite" | "decline");
        child.is(Ns::MucUser, "x") && !child.children().any(is_request)
    };
    stanza.may_have(Ns::MucUser)
        && match carbon(stanza) {
            Some((_, inner)) => inner.children().any(is_of_room),
            None => stanza.children().any(is_of_room),
        }
}

/// Whether this is a copy of a message that the session `jid` of the account has sent (XEP-0280).
pub(super) fn is_sent_by(stanza: &Stanza, jid: &str) -> bool {
    stanza.may_have(Ns::Carbons)
        && carbon(stanza).is_some_and(|(copy, inner)| {
            copy.local() == "sent" && inner.attribute("from").as_deref() == Some(jid)
        })
}

/// Whether this is what an archive answers (XEP-0313), of any version.
fn is_archived(child: &Child) -> bool {
    let is_forwarded = |inner: Child| inner.is(Ns::Forward, "forwarded");
    child.local() == "result" && child.children().any(is_forwarded)
}

/// A hash of what copies of one message have in common, however they are written: all but what servers add on the way
/// to one session. A carbon (XEP-0280) is a copy of the message in it.
///
/// The resource in the address counts: no server changes it, and even a carbon has it. So a message to one resource is
/// no copy of one that looks the same and is for another.
pub(super) fn fingerprint(stanza: &Stanza, hasher: &impl BuildHasher) -> u64 {
    if stanza.may_have(Ns::Carbons)
        && let Some((_, inner)) = carbon(stanza)
    {
        let attributes = ["to", "from", "id", "type"].map(|name| inner.attribute(name));
        return hash(attributes, inner.children(), hasher);
    }
    let attributes = [
        stanza.to(),
        stanza.from(),
        stanza.id(),
        stanza.attribute("type"),
    ];
    hash(attributes, stanza.children(), hasher)
}

/// A carbon (XEP-0280), and the message in it.
pub fn carbon(stanza: &Stanza) -> Option<(Child, Child)> {
    let mut children = stanza.children();
    let copy = children
        .find(|child| child.is(Ns::Carbons, "received") || child.is(Ns::Carbons, "sent"))?;
    let forwarded = copy
        .children()
        .find(|child| child.is(Ns::Forward, "forwarded"))?;
    let mut messages = forwarded.children();
    let message = messages.find(|child| child.is(Ns::Client, "message"))?;
    Some((copy, message))
}

fn hash(
    [to, from, id, kind]: [Option<Cow<'_, str>>; 4],
    children: Children,
    hasher: &impl BuildHasher,
) -> u64 {
    let mut state = hasher.build_hasher();
    let resource = to.as_deref().and_then(|to| to.split_once('/'));
    resource.map(|(_, resource)| resource).hash(&mut state);
    (from, id).hash(&mut state);
    kind.as_deref().unwrap_or("normal").hash(&mut state);
    for child in children.filter(|child| !is_added(child)) {
        child.hash_meaning(&mut state);
    }
    state.finish()
}

/// Whether servers add this to what they pass on.
fn is_added(child: &Child) -> bool {
    child.ns == Ns::Carbons
        || child.is(Ns::StanzaIds, "stanza-id")
        || child.is(Ns::Delay, "delay")
        || child.is(Ns::LegacyDelay, "x")
        || child.is(Ns::LegacyArchive, "archived")
}

/// The message with a note of when the gateway had it (XEP-0203), unless the server has put one there. Shares the
/// bytes of the message.
pub fn delayed(stanza: &Stanza, domain: &str, stamp: &str) -> Stanza {
    let by_server = |child: Child| {
        child.is(Ns::Delay, "delay") && child.attribute("from").as_deref() == Some(domain)
    };
    if stanza.may_have(Ns::Delay) && stanza.children().any(by_server) {
        return stanza.clone();
    }
    let delay = Tag::new("delay")
        .ns(Ns::Delay)
        .attribute("from", domain)
        .attribute("stamp", stamp)
        .empty();
    let bytes = stanza.to_bytes();
    match before_end(&bytes) {
        Some(at) => Stanza::from_trusted(bytes, at, delay.into()),
        None => opened(&bytes, &delay),
    }
}

/// Where the end tag begins, if there is one.
fn before_end(bytes: &Bytes) -> Option<usize> {
    if bytes.ends_with(b"/>") {
        return None;
    }
    bytes.windows(2).rposition(|pair| pair == b"</")
}

/// An empty element with something in it.
fn opened(bytes: &Bytes, content: &[u8]) -> Stanza {
    let start = bytes.strip_suffix(b"/>").unwrap_or(bytes);
    let name = start.strip_prefix(b"<").unwrap_or_default();
    let name = name
        .split(|byte| byte.is_ascii_whitespace())
        .next()
        .unwrap_or_default();
    let whole = [start, b">", content, b"</", name, b">"].concat();
    Stanza::ours(whole)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::hash::RandomState;

    use super::*;

    fn stanza(text: &str) -> Stanza {
        Stanza::parse(text.to_owned()).unwrap()
    }

    fn carbon(inner: &str) -> String {
        format!(
            "<message from='me@x' to='me@x/b' type='chat'><received xmlns='urn:xmpp:carbons:2'>\
             <forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></received></message>"
        )
    }

    #[test]
    fn copies_have_the_same_fingerprint_and_others_have_not() {
        let hasher = RandomState::new();
        let fingerprint = |text: &str| fingerprint(&stanza(text), &hasher);
        let first = fingerprint("<message from='a@x/1' id='1' to='me@x'><body>a</body></message>");
        let copies = [
            "<message type='normal' from='a@x/1' id='1' to='me@x'>\n<body>a</body></message>"
                .to_owned(),
            "<message from='a@x/1' id='1'><body>a</body><stanza-id xmlns='urn:xmpp:sid:0' id='7'/>\
             <archived xmlns='urn:xmpp:mam:tmp' id='7'/><x xmlns='jabber:x:delay' stamp=''/>\
             <delay xmlns='urn:xmpp:delay' stamp=''/></message>"
                .to_owned(),
            "<m:message xmlns:m='jabber:client' from='a@x/1' id='1'><m:body><![CDATA[a]]></m:body></m:message>"
                .to_owned(),
            carbon(
                "<message xmlns='jabber:client' from='a@x/1' id='1' to='me@x'><body>a</body></message>",
            ),
        ];
        for copy in &copies {
            assert_eq!(fingerprint(copy), first, "{copy}");
        }
        for other in [
            "<message from='a@x/2' id='1'><body>a</body></message>",
            "<message from='a@x/1' id='2'><body>a</body></message>",
            "<message from='a@x/1'><body>a</body></message>",
            "<message from='a@x/1' id='1' type='chat'><body>a</body></message>",
            "<message from='a@x/1' id='1'><body>b</body></message>",
            "<message from='a@x/1' id='1'/>",
            "<message from='a@x/1' id='1' to='me@x/a'><body>a</body></message>",
            "<message from='a@x/1' id='1'><body>a</body><subject>a</subject></message>",
            "<message from='a@x/1' id='1'><body xml:lang='de'>a</body></message>",
        ] {
            assert_ne!(fingerprint(other), first, "{other}");
        }
    }

    #[test]
    fn a_message_to_one_resource_is_no_copy_of_one_to_another() {
        let hasher = RandomState::new();
        let fingerprint = |text: &str| fingerprint(&stanza(text), &hasher);
        let to = |resource: &str| {
            format!(
                "<message xmlns='jabber:client' from='a@x' to='me@x/{resource}'><body/></message>"
            )
        };
        assert_eq!(fingerprint(&to("a")), fingerprint(&carbon(&to("a"))));
        assert_ne!(fingerprint(&to("a")), fingerprint(&to("b")));
        assert_ne!(fingerprint(&to("a")), fingerprint(&carbon(&to("b"))));
    }

    #[test]
    fn messages_without_id_and_body_differ_by_the_rest() {
        let hasher = RandomState::new();
        let with = |child: &str| {
            fingerprint(
                &stanza(&format!("<message from='a@x/1'>{child}</message>")),
                &hasher,
            )
        };
        let first = with("<received xmlns='urn:xmpp:receipts' id='1'/>");
        assert_eq!(
            first,
            with("<r:received id=\"1\" xmlns:r='urn:xmpp:receipts'></r:received>")
        );
        for other in [
            "<received xmlns='urn:xmpp:receipts' id='2'/>",
            "<received xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "<request xmlns='urn:xmpp:receipts' id='1'/>",
            "<received xmlns='urn:xmpp:receipts' id='1'>a</received>",
            "<received xmlns='urn:xmpp:receipts' id='1'><a/></received>",
            "",
        ] {
            assert_ne!(with(other), first, "{other}");
        }
        let (two, one) = ("<a xmlns='u' b='1' c='2'/>", "<a xmlns='u' c='2' b='1'/>");
        assert_eq!(with(two), with(one));
    }

    #[test]
    fn messages_that_only_one_session_can_use_are_not_handed_over() {
        for text in [
            "<message/>",
            "<message type='chat'><body>a</body></message>",
            "<message type='what?'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
            &carbon("<message xmlns='jabber:client'/>"),
            "<message><x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@x'/></x></message>",
        ] {
            assert!(is_for_any_session(&stanza(text)), "{text}");
        }
        for text in [
            "<message type='error'/>",
            "<message type='groupchat'><body>a</body></message>",
            "<message type='headline'/>",
            "<message><result xmlns='urn:xmpp:mam:2'><forwarded xmlns='urn:xmpp:forward:0'/></result></message>",
            "<message type='chat'><body/><x xmlns='http://jabber.org/protocol/muc#user'/></message>",
            &carbon(
                "<message xmlns='jabber:client'><x xmlns='http://jabber.org/protocol/muc#user'/></message>",
            ),
            "<presence/>",
            "<iq type='get'/>",
        ] {
            assert!(!is_for_any_session(&stanza(text)), "{text}");
        }
    }

    #[test]
    fn a_delay_is_added_once() {
        let text = |stanza: &Stanza| String::from_utf8(stanza.to_bytes().to_vec()).unwrap();
        let delay = "<delay xmlns='urn:xmpp:delay' from='x' stamp='now'/>";
        for (before, after) in [
            ("<message xmlns='jabber:client' id='1'>", "</message>"),
            (
                "<m:message xmlns:m='jabber:client'><m:body>a</m:body>",
                "</m:message>",
            ),
            (
                "<message xmlns='jabber:client'><delay xmlns='urn:xmpp:delay' from='y' stamp='then'/>",
                "</message>",
            ),
        ] {
            let message = stanza(&format!("{before}{after}"));
            let with_delay = delayed(&message, "x", "now");
            assert_eq!(text(&with_delay), format!("{before}{delay}{after}"));
            assert_eq!(with_delay.kind(), message.kind());
            let again = Stanza::parse(with_delay.to_bytes()).unwrap();
            assert_eq!(text(&delayed(&again, "x", "later")), text(&with_delay));
        }
        for empty in [
            "<message id='a>b'/>",
            "<m:message xmlns:m='jabber:client' />",
        ] {
            let with_delay = delayed(&stanza(empty), "x", "now");
            let again = Stanza::parse(with_delay.to_bytes()).unwrap();
            assert!(again.children().any(|child| child.is(Ns::Delay, "delay")));
        }
    }
}
