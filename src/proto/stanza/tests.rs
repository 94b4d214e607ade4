#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use super::*;

fn joined(stanza: &Stanza) -> String {
    String::from_utf8(stanza.chunks().collect::<Vec<_>>().concat()).unwrap()
}

#[test]
fn parses_and_writes_itself() {
    let text = "<message xmlns='jabber:client' from='a&amp;b@c' id=''><x/></message>";
    let message = Stanza::parse(text).unwrap();
    assert_eq!(
        (message.kind(), message.local()),
        (Kind::Message(MessageType::Other), "message")
    );
    assert_eq!(
        (message.from().as_deref(), message.id().as_deref()),
        (Some("a&b@c"), Some(""))
    );
    assert_eq!(message.to(), None);
    assert_eq!(message.payload(), Some((Ns::Client, "x")));
    assert_eq!(joined(&message), text);
    assert_eq!(message.size(), text.len());
    assert_eq!(message.chunks().count(), 1);
    assert_eq!(
        joined(&Stanza::parse("<iq/>").unwrap()),
        "<iq xmlns='jabber:client'/>"
    );
    for text in ["", "<iq>", "<p:iq/>", "<iq/><iq/>", "iq"] {
        assert!(Stanza::parse(text).is_err(), "{text}");
    }
}

#[test]
fn addresses_copies_and_shares_their_bytes() {
    for (text, expected) in [
        (
            "<presence/>",
            "<presence xmlns='jabber:client' to='o&apos;hara@example.org'/>",
        ),
        (
            "<presence xmlns='jabber:client'><show>away</show></presence>",
            "<presence to='o&apos;hara@example.org' xmlns='jabber:client'>\
             <show>away</show></presence>",
        ),
    ] {
        let presence = Stanza::parse(text).unwrap();
        let addressed = presence.addressed("o'hara@example.org");
        assert_eq!(joined(&addressed), expected);
        assert_eq!(addressed.size(), expected.len());
        assert_eq!(addressed.to().as_deref(), Some("o'hara@example.org"));
        assert_eq!(addressed.kind(), Kind::Presence(PresenceType::Available));
        let (first, second) = (presence.chunks().next(), addressed.chunks().next());
        assert_eq!(first.unwrap().as_ptr(), second.unwrap().as_ptr());
        assert_eq!(presence.to(), None);
    }
}

#[test]
fn shares_a_payload_that_is_its_own() {
    let text = "<iq xmlns='jabber:client' type='result' id='1'>\
        <query xmlns='jabber:iq:roster'></query></iq>";
    let at = text.find("</query>").unwrap();
    let items = Bytes::from_static(b"<item jid='a@b'/><item jid='c@d'><group>G</group></item>");
    let answer = Stanza::from_trusted(text.into(), at, items.clone());
    assert_eq!(answer.kind(), Kind::Iq(IqType::Result));
    assert_eq!(answer.payload(), Some((Ns::Roster, "query")));
    let chunks: Vec<Bytes> = answer.chunks().collect();
    assert_eq!((chunks.len(), chunks[1].as_ptr()), (3, items.as_ptr()));
    let query = answer.children().next().unwrap();
    let jids: Vec<String> = query
        .children()
        .filter(|item| item.is(Ns::Roster, "item"))
        .map(|item| item.attribute("jid").unwrap().into_owned())
        .collect();
    assert_eq!(jids, ["a@b", "c@d"]);
    assert_eq!(
        query
            .children()
            .nth(1)
            .unwrap()
            .children()
            .next()
            .unwrap()
            .text(),
        "G"
    );

    let addressed = answer.addressed("x@y");
    let start = "<iq to='x@y' xmlns='jabber:client' type='result' id='1'><query";
    assert!(
        joined(&addressed).starts_with(start),
        "{}",
        joined(&addressed)
    );
    assert_eq!(addressed.size(), answer.size() + " to='x@y'".len());
    assert_eq!(addressed.to().as_deref(), Some("x@y"));
    assert_eq!(addressed.id().as_deref(), Some("1"));
    assert_eq!(addressed.children().next().unwrap().children().count(), 2);
}

#[test]
fn walks_children_with_their_namespaces() {
    let text = "<iq type='result'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
        <jid>a&amp;b@c/<![CDATA[d]]></jid>\
        <r:query xmlns:r='jabber:iq:roster' a='1&#10;' r:a='2'/></bind>\
        <error/>text</iq>";
    let iq = Stanza::parse(text).unwrap();
    let children: Vec<Child> = iq.children().collect();
    assert_eq!(children.len(), 2);
    assert!(children[0].is(Ns::Bind, "bind") && children[1].is(Ns::Client, "error"));
    let whole = iq.to_bytes();
    assert!(whole[children[0].at..].starts_with(&children[0].bytes));
    let inner: Vec<Child> = children[0].children().collect();
    assert!(inner[0].is(Ns::Bind, "jid") && inner[1].is(Ns::Roster, "query"));
    assert_eq!(inner[0].text(), "a&b@c/d");
    assert_eq!(inner[1].attribute("a").as_deref(), Some("1\n"));
    assert_eq!(inner[1].attribute("r:a"), None);
    assert_eq!(children[0].text(), "");
    assert!(iq.may_have(Ns::Roster) && iq.may_have(Ns::Client) && iq.may_have(Ns::Other));
    assert!(!iq.may_have(Ns::Tls));
}

#[test]
fn shows_nothing_of_its_content_when_debugged() {
    let stanza = Stanza::parse("<message to='you'><body>secret</body></message>").unwrap();
    let child = stanza.children().next().unwrap();
    let shown = format!("{stanza:?} {child:?}");
    assert!(shown.contains("Message") && !shown.contains("secret") && !shown.contains("you"));
}
