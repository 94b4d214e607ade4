//! Whatever the scanner accepts, a strict parser that shares no code with it accepts too, and sees
//! the same: the same children, named alike, each meaning the same when cut out. Where the two
//! disagree, a client could show the gateway one stanza and the server another.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rxml::{Event, Parse, Parser};

use super::{Limits, Ns, Scope, scan_body, scan_stanza};
use crate::proto::stanza::{Child, IqType, Kind, MessageType, PresenceType, Stanza};

/// An element as the strict parser sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub(super) ns: String,
    pub(super) local: String,
    pub(super) attributes: BTreeMap<(String, String), String>,
    pub(super) content: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Element(Node),
    Text(String),
}

impl Node {
    /// Reads a whole document.
    pub(super) fn read(document: &[u8]) -> Result<Self, String> {
        // Line ends first (XML 1.0 §2.11): rxml loses a carriage return before a reference.
        let mut ends = document.to_vec();
        ends.dedup_by(|next, before| {
            (*before, *next) == (b'\r', b'\n') && {
                *before = b'\n';
                true
            }
        });
        ends.iter_mut()
            .filter(|byte| **byte == b'\r')
            .for_each(|byte| *byte = b'\n');
        let mut parser = Parser::new();
        let mut rest = &ends[..];
        let mut open = vec![Self::default()];
        while let Some(event) = parser
            .parse(&mut rest, true)
            .map_err(|error| format!("{error:?}"))?
        {
            match event {
                Event::XmlDeclaration(..) => {}
                Event::StartElement(_, (ns, local), attributes) => open.push(Self {
                    ns: ns.to_string(),
                    local: local.to_string(),
                    attributes: attributes
                        .into_iter()
                        .map(|((ns, local), value)| ((ns.to_string(), local.to_string()), value))
                        .collect(),
                    content: Vec::new(),
                }),
                Event::EndElement(_) => {
                    let node = open.pop().unwrap();
                    open.last_mut().unwrap().content.push(Piece::Element(node));
                }
                Event::Text(_, text) => match open.last_mut().unwrap().content.last_mut() {
                    Some(Piece::Text(before)) => before.push_str(&text),
                    _ => open.last_mut().unwrap().content.push(Piece::Text(text)),
                },
            }
        }
        match (open.len(), open.pop().unwrap().content.pop()) {
            (1, Some(Piece::Element(root))) => Ok(root),
            _ => Err("no root".to_owned()),
        }
    }

    pub(super) fn children(&self) -> Vec<&Self> {
        let elements = self.content.iter().filter_map(|piece| match piece {
            Piece::Element(node) => Some(node),
            Piece::Text(_) => None,
        });
        elements.collect()
    }

    fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|piece| match piece {
            Piece::Element(_) => None,
            Piece::Text(text) => Some(text.as_str()),
        });
        texts.collect()
    }

    fn attribute(&self, ns: &str, local: &str) -> Option<&str> {
        self.attributes
            .get(&(ns.to_owned(), local.to_owned()))
            .map(String::as_str)
    }

    /// What BOSH makes of it: the wrapper's namespace and none at all mean `jabber:client`.
    fn unwrapped(mut self) -> Self {
        let is_wrapper = |ns: &str| ns == "http://jabber.org/protocol/httpbind";
        if is_wrapper(&self.ns) || self.ns.is_empty() {
            self.ns = "jabber:client".to_owned();
        }
        let attributes = std::mem::take(&mut self.attributes).into_iter();
        self.attributes = attributes
            .map(|((ns, local), value)| match is_wrapper(&ns) {
                true => (("jabber:client".to_owned(), local), value),
                false => ((ns, local), value),
            })
            .collect();
        for piece in &mut self.content {
            if let Piece::Element(node) = piece {
                *node = std::mem::take(node).unwrapped();
            }
        }
        self
    }
}

fn joined(stanza: &Stanza) -> Vec<u8> {
    let chunks: Vec<Bytes> = stanza.chunks().collect();
    assert!(matches!(chunks.len(), 1..=3) && chunks.iter().all(|chunk| !chunk.is_empty()));
    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), stanza.size());
    chunks.concat()
}

/// The stanza as the strict parser sees it, in a wrapper that gives a wrong meaning to whatever the
/// stanza does not declare itself.
pub(super) fn in_hostile_wrapper(stanza: &Stanza) -> Node {
    let mut document = b"<w xmlns='urn:hostile'".to_vec();
    for prefix in PREFIXES {
        document.extend_from_slice(format!(" xmlns:{prefix}='urn:hostile:{prefix}'").as_bytes());
    }
    document.push(b'>');
    document.extend_from_slice(&joined(stanza));
    document.extend_from_slice(b"</w>");
    let wrapper = Node::read(&document).expect("a stanza is a well-formed element");
    assert_eq!((wrapper.content.len(), wrapper.children().len()), (1, 1));
    wrapper.children()[0].clone()
}

/// Everything that the stanza says of itself is what the strict parser sees in `node`.
fn assert_same(stanza: &Stanza, node: &Node) {
    assert_eq!(
        (stanza.ns(), stanza.local()),
        (Ns::of(node.ns.as_bytes()), &*node.local)
    );
    assert_eq!(stanza.to().as_deref(), node.attribute("", "to"));
    assert_eq!(stanza.from().as_deref(), node.attribute("", "from"));
    assert_eq!(stanza.id().as_deref(), node.attribute("", "id"));
    let payload = node
        .children()
        .first()
        .map(|node| (Ns::of(node.ns.as_bytes()), &*node.local));
    assert_eq!(stanza.payload(), payload);
    let of_type = node.attribute("", "type");
    let kind = match (&*node.ns, &*node.local) {
        ("jabber:client", "iq") => Kind::Iq(match of_type {
            Some("get") => IqType::Get,
            Some("set") => IqType::Set,
            Some("result") => IqType::Result,
            Some("error") => IqType::Error,
            _ => IqType::Invalid,
        }),
        ("jabber:client", "message") if of_type == Some("error") => {
            Kind::Message(MessageType::Error)
        }
        ("jabber:client", "message") => Kind::Message(MessageType::Other),
        ("jabber:client", "presence") => Kind::Presence(match of_type {
            None => PresenceType::Available,
            Some("unavailable") => PresenceType::Unavailable,
            Some("subscribe") => PresenceType::Subscribe,
            Some("subscribed") => PresenceType::Subscribed,
            Some("unsubscribe") => PresenceType::Unsubscribe,
            Some("unsubscribed") => PresenceType::Unsubscribed,
            Some("probe") => PresenceType::Probe,
            Some("error") => PresenceType::Error,
            Some(_) => PresenceType::Invalid,
        }),
        ("http://etherx.jabber.org/streams", "features") => Kind::Features,
        ("http://etherx.jabber.org/streams", "error") => Kind::StreamError,
        _ => Kind::Nonza,
    };
    assert_eq!(stanza.kind(), kind);
    assert_children(stanza.children(), node);
}

fn assert_children(children: impl Iterator<Item = Child>, node: &Node) {
    let children: Vec<Child> = children.collect();
    assert_eq!(children.len(), node.children().len());
    for (child, node) in children.iter().zip(node.children()) {
        assert_eq!(
            (child.ns, child.local()),
            (Ns::of(node.ns.as_bytes()), &*node.local)
        );
        assert_eq!(child.text(), node.text());
        for ((ns, local), value) in &node.attributes {
            if ns.is_empty() {
                assert_eq!(child.attribute(local).as_deref(), Some(value.as_str()));
            }
        }
        assert_children(child.children(), node);
    }
}

fn assert_addressable(stanza: &Stanza, mut node: Node) {
    if stanza.to().is_some() {
        return;
    }
    let to = "o'hara&\"<\t@example.org/\n>";
    let addressed = stanza.addressed(to);
    node.attributes
        .insert((String::new(), "to".to_owned()), to.to_owned());
    assert_eq!(in_hostile_wrapper(&addressed), node);
    assert_same(&addressed, &node);
}

/// Compares the two on a document; false when the scanner refuses it.
fn agrees(document: &[u8]) -> bool {
    let Ok(body) = scan_body(Bytes::copy_from_slice(document), &Limits::default()) else {
        return false;
    };
    // The strict parser takes neither of these, though XML 1.0 §2.8 and §4.3.3 do.
    let bare = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let bare = bare.trim_ascii_start();
    let root = Node::read(bare).expect("what is accepted is well-formed");
    assert_eq!(
        (&*root.ns, &*root.local),
        ("http://jabber.org/protocol/httpbind", "body")
    );
    assert_eq!(root.text().trim_matches([' ', '\t', '\n', '\r']), "");
    assert_eq!(body.attributes.len(), root.attributes.len());
    for attr in &body.attributes {
        let same = root.attributes.iter().any(|((ns, local), value)| {
            Ns::of(ns.as_bytes()) == attr.ns && local == attr.local() && *value == attr.value()
        });
        assert!(same, "attribute {attr:?}");
    }
    assert_eq!(body.children.len(), root.children().len());
    let lang = root.attribute("http://www.w3.org/XML/1998/namespace", "lang");
    for (stanza, node) in body.children.iter().zip(root.children()) {
        let mut expected = node.clone().unwrapped();
        if let Some(lang) = lang {
            let name = (
                "http://www.w3.org/XML/1998/namespace".to_owned(),
                "lang".to_owned(),
            );
            expected
                .attributes
                .entry(name)
                .or_insert_with(|| lang.to_owned());
        }
        let alone = in_hostile_wrapper(stanza);
        assert_eq!(alone.clone().unwrapped(), expected);
        assert_same(stanza, &alone);
        let again = Stanza::parse(joined(stanza)).expect("a stanza stands alone");
        assert_eq!(
            joined(&again),
            joined(stanza),
            "a closed stanza needs no more"
        );
        assert_same(&again, &alone);
        assert_addressable(stanza, alone);
    }
    true
}

const HEADER: &str = "<stream:stream xmlns='jabber:client' xml:lang='en' id=\"a&amp;b\" \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:a='urn:a' from='example.org'>";

/// Compares the two on an element of a stream.
fn agrees_in_stream(element: &[u8]) -> bool {
    let (scope, _) = Scope::from_header(HEADER.as_bytes()).expect("the header is right");
    let Ok(stanza) = scan_stanza(Bytes::copy_from_slice(element), &scope, &Limits::default())
    else {
        return false;
    };
    let document = [HEADER.as_bytes(), element, b"</stream:stream>"].concat();
    let stream = Node::read(&document).expect("what is accepted is well-formed");
    assert_eq!(stream.children().len(), 1);
    let alone = in_hostile_wrapper(&stanza);
    assert_eq!(&alone, stream.children()[0]);
    assert_same(&stanza, &alone);
    assert_addressable(&stanza, alone);
    true
}

const PREFIXES: &[&str] = &["a", "b", "c", "stream"];

fn prefix() -> impl Strategy<Value = &'static str> {
    prop_oneof![40 => Just(""), 12 => select(PREFIXES), 1 => select(&["xml", "xmlns"][..])]
}

fn uri() -> impl Strategy<Value = &'static str> {
    const SOUND: &[&str] = &[
        "http://etherx.jabber.org/streams",
        "http://jabber.org/protocol/httpbind",
        "jabber:client",
        "jabber:iq:roster",
        "urn:a",
        "urn:it's",
    ];
    const UNSOUND: &[&str] = &[
        "",
        "http://www.w3.org/2000/xmlns/",
        "http://www.w3.org/XML/1998/namespace",
        "jabber&#58;client",
    ];
    prop_oneof![20 => select(SOUND), 1 => select(UNSOUND)]
}

const LOCALS: &[&str] = &[
    "iq", "message", "presence", "features", "error", "query", "body", "é", "a.b-c_d", "x1",
];

const VALUES: &[&str] = &[
    "",
    "get",
    "set",
    "result",
    "g&#101;t",
    "unavailable",
    "subscribe",
    "a>b",
    "x y",
    "&amp;&lt;",
    "&#10;\n\t ",
    "en",
    "ü",
    "subscribed ",
    "&quot;&apos;",
    "a\r\nb",
];

const TEXTS: &[&str] = &[
    "hi",
    " ",
    "\n",
    "&amp;",
    "&#x20ac;",
    "<![CDATA[<a>]]>",
    "<![CDATA[]]>",
    "]]",
    "]]&gt;",
    "\"'",
    "a\r\nb\rc",
    "ü€😀",
    "=",
    "stream:",
    "<![CDATA[]]]]><![CDATA[>]]>",
];

/// Pieces that a document breaks on, or nearly.
const TOKENS: &[&str] = &[
    "<",
    ">",
    "/>",
    "</",
    "'",
    "\"",
    "&",
    ";",
    "=",
    " ",
    "\t",
    "!",
    "?",
    "]]>",
    "<!--",
    "-->",
    ":",
    "<![CDATA[",
    "<?xml version='1.0'?>",
    "<?xml version='1.0' encoding='UTF-8'?>",
    "<?pi?>",
    "/",
    "<!DOCTYPE body>",
    "\u{feff}",
    "\u{0}",
    "\u{1}",
    "\u{fffe}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "&nbsp;",
    "&#0;",
    "&#x1;",
    "&#xfffe;",
    "&#xd800;",
    "&#65;",
    "&amp",
    "</body>",
    "<body>",
    "<a/>",
    "<body xmlns='http://jabber.org/protocol/httpbind'/>",
    " xmlns='jabber:client'",
    " xmlns=''",
    " xmlns:a='urn:a'",
    " xmlns:a=''",
    " xmlns:xml='http://www.w3.org/XML/1998/namespace'",
    "a:",
    " xmlns:a='jabber:client'",
    " xmlns:b='jabber:client'",
    " xmlns:xml='urn:a'",
    " a:to='1'",
    " b:to='2'",
    " xmlns:xmlns='urn:a'",
    " xml:lang='de'",
    " to='x'",
    " to=\"y\"",
    " novalue",
    " unquoted=1",
    " 1a='b'",
    "<1a/>",
    "<a b='<'/>",
    "<iq/>",
    "<iq />",
    "</iq >",
    "</ iq>",
    "<iq/ >",
    "text",
    "\r\n",
    " type='get'",
    " xmlns='jabber\u{9}client'",
    "<stream:error/>",
    "<xmlns:a/>",
    "<xml:a/>",
    "\u{b7}",
    "×",
];

fn attribute() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        16 => select(&["to", "from", "id", "type", "xml:lang", "é"][..]).prop_map(str::to_owned),
        2 => select(&["a:to", "b:to", "c:x"][..]).prop_map(str::to_owned),
        1 => (prefix(), select(LOCALS)).prop_map(|(prefix, local)| match prefix {
            "" => local.to_owned(),
            _ => format!("{prefix}:{local}"),
        }),
    ];
    let plain = (name, select(VALUES));
    let declaration = (prefix(), uri()).prop_map(|(prefix, uri)| match prefix {
        "" => ("xmlns".to_owned(), uri),
        _ => (format!("xmlns:{prefix}"), uri),
    });
    let space = select(&[" ", " ", " ", "\n", "  ", "\t"][..]);
    let equals = select(&["=", "=", "=", " = "][..]);
    (
        prop_oneof![3 => plain, 1 => declaration],
        space,
        equals,
        any::<bool>(),
    )
        .prop_map(|((name, value), space, equals, single)| {
            match single && !value.contains('\'') {
                true => format!("{space}{name}{equals}'{value}'"),
                false => format!("{space}{name}{equals}\"{value}\""),
            }
        })
}

fn element() -> impl Strategy<Value = String> {
    let tag = || {
        (
            prefix(),
            select(LOCALS),
            prop::collection::vec(attribute(), 0..3),
        )
    };
    let qualified = |prefix: &str, local: &str| match prefix {
        "" => local.to_owned(),
        _ => format!("{prefix}:{local}"),
    };
    let leaf = tag().prop_map(move |(prefix, local, attributes)| {
        format!("<{}{}/>", qualified(prefix, local), attributes.concat())
    });
    leaf.prop_recursive(4, 12, 3, move |inner| {
        let piece = prop_oneof![inner, select(TEXTS).prop_map(str::to_owned)];
        (
            tag(),
            prop::collection::vec(piece, 0..4),
            select(&["", " ", "\n"][..]),
        )
            .prop_map(move |((prefix, local, attributes), content, space)| {
                let (name, attributes) = (qualified(prefix, local), attributes.concat());
                format!(
                    "<{name}{attributes}{space}>{}</{name}{space}>",
                    content.concat()
                )
            })
    })
}

/// Bodies most of which are right, save for a namespace now and then.
fn body() -> impl Strategy<Value = String> {
    let start = select(
        &[
            ("", "body xmlns='http://jabber.org/protocol/httpbind'"),
            ("b:", "b:body xmlns:b='http://jabber.org/protocol/httpbind'"),
            (
                "b:",
                "b:body xmlns:b=\"http://jabber.org/protocol/httpbind\" xmlns='jabber:client'",
            ),
            (
                "",
                "body xmlns='http://jabber.org/protocol/httpbind' xmlns:b='urn:b' xml:lang='en'",
            ),
            (
                "",
                "body xmlns='http://jabber.org/protocol/httpbind' xmlns:b='jabber:client'",
            ),
        ][..],
    );
    let extra = prop_oneof![
        3 => Just(String::new()),
        9 => Just(
            " xmlns:a='jabber:client' xmlns:c='urn:c' \
             xmlns:stream='http://etherx.jabber.org/streams'"
                .to_owned()
        ),
        1 => attribute(),
    ];
    let before = select(&["", "", "\n ", "\u{feff}", "<?xml version='1.0'?>"][..]);
    let space = select(&["", "\n", " "][..]);
    let children = prop::collection::vec((element(), space), 0..4);
    (before, start, extra, children).prop_map(|(before, (prefix, start), extra, children)| {
        let children: String = children
            .into_iter()
            .map(|(child, space)| child + space)
            .collect();
        format!("{before}<{start}{extra}>{children}</{prefix}body>")
    })
}

#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize, Index),
    Byte(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), select(TOKENS)).prop_map(|(at, token)| Change::Insert(at, token)),
        1 => (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (any::<Index>(), 1..30_usize, any::<Index>())
            .prop_map(|(from, length, to)| Change::Repeat(from, length, to)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ];
    prop::collection::vec(change, 0..3)
}

/// Places where a change is likeliest to be accepted, or to matter.
fn seam(document: &[u8], at: Index) -> usize {
    let is_seam = |&at: &usize| at == 0 || b"<>'\" /=:&;".contains(&document[at - 1]);
    let seams: Vec<usize> = (0..=document.len()).filter(is_seam).collect();
    seams[at.index(seams.len())]
}

fn changed(mut document: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        match *change {
            Change::Insert(at, token) => {
                let at = seam(&document, at);
                document.splice(at..at, token.bytes());
            }
            Change::Remove(at, length) => {
                let at = seam(&document, at);
                let end = document.len().min(at + length);
                document.drain(at..end);
            }
            Change::Repeat(from, length, to) => {
                let (from, to) = (seam(&document, from), seam(&document, to));
                let piece = document[from..document.len().min(from + length)].to_vec();
                document.splice(to..to, piece);
            }
            Change::Byte(_, _) if document.is_empty() => {}
            Change::Byte(at, byte) => {
                let at = at.index(document.len());
                document[at] = byte;
            }
        }
    }
    document
}

proptest! {
    // What it finds becomes a named test. More cases: PROPTEST_CASES=1000000.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4096),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn agrees_with_a_strict_parser_on_bodies(body in body(), changes in changes()) {
        agrees(&changed(body.into_bytes(), &changes));
    }

    #[test]
    fn agrees_with_a_strict_parser_on_streams(element in element(), changes in changes()) {
        agrees_in_stream(&changed(element.into_bytes(), &changes));
    }

    #[test]
    fn takes_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        agrees(&bytes);
    }
}

/// The generator is worth something: much of what it makes is accepted, and much is refused.
#[test]
fn the_generator_reaches_both_outcomes() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = [0; 2];
    for _ in 0..300 {
        let (body, changes) = (body(), changes()).new_tree(&mut runner).unwrap().current();
        accepted[0] += usize::from(agrees(body.as_bytes()));
        accepted[1] += usize::from(agrees(&changed(body.into_bytes(), &changes)));
    }
    assert!(
        accepted.iter().all(|count| (60..290).contains(count)),
        "{accepted:?}"
    );
}
