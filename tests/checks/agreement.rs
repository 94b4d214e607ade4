//! Agreement of the scanner with a strict parser that shares no code with it: whatever the scanner accepts, the
//! parser accepts too, and sees the same children, named alike, each meaning the same when cut out. Where the
//! two disagree, a client could show the gateway one stanza and the server another.

use std::collections::BTreeMap;

use bytes::Bytes;
use rostergate::proto::{
    stanza::{Child, IqType, Kind, MessageType, PresenceType, Stanza, scan_body, scan_stanza},
    xml::{Limits, Ns, scan_header},
};
use rxml::{Event, Parse, Parser};

/// An element as the strict parser sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub ns: String,
    pub local: String,
    pub attributes: BTreeMap<(String, String), String>,
    pub content: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Element(Node),
    Text(String),
}

impl Node {
    /// Reads a whole document.
    pub fn read(document: &[u8]) -> Result<Self, String> {
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

    pub fn children(&self) -> Vec<&Self> {
        let elements = self.content.iter().filter_map(|piece| match piece {
            Piece::Element(node) => Some(node),
            Piece::Text(_) => None,
        });
        elements.collect()
    }

    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|piece| match piece {
            Piece::Element(_) => None,
            Piece::Text(text) => Some(text.as_str()),
        });
        texts.collect()
    }

    pub fn attribute(&self, ns: &str, local: &str) -> Option<&str> {
        self.attributes
            .get(&(ns.to_owned(), local.to_owned()))
            .map(String::as_str)
    }

    /// The element as BOSH reads it: the wrapper's namespace, and none at all, mean `jabber:client`.
    pub fn unwrapped(mut self) -> Self {
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

/// Prefixes that get another meaning around a stanza that has been cut out.
pub const PREFIXES: &[&str] = &["a", "b", "c", "stream"];

/// The stanza as the strict parser sees it, in a wrapper that gives a wrong meaning to everything that the stanza does
/// not declare itself.
pub fn in_hostile_wrapper(stanza: &Stanza) -> Node {
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

/// All that the stanza tells of itself agrees with what the strict parser sees in `node`.
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
pub fn agrees(document: &[u8]) -> bool {
    let Ok(body) = scan_body(Bytes::copy_from_slice(document), &Limits::default()) else {
        return false;
    };
    // The strict parser accepts neither of these, though XML 1.0 §2.8 and §4.3.3 do.
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
    // A longer value is no language tag (RFC 5646 §4.4.1), and is not passed on to every child.
    let lang = root
        .attribute("http://www.w3.org/XML/1998/namespace", "lang")
        .filter(|lang| lang.len() <= 35);
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

const CLIENT: &[u8] = b" xmlns='jabber:client'";

/// Compares the two on an element of the stream that `header` opens; false when the scanner refuses
/// either.
pub fn agrees_in_stream(header: &[u8], element: &[u8]) -> bool {
    let Ok((scope, _)) = scan_header(header) else {
        return false;
    };
    let Ok(stanza) = scan_stanza(Bytes::copy_from_slice(element), &scope, &Limits::default())
    else {
        return false;
    };
    let open = header.iter().rposition(|&byte| byte == b'<');
    let name = open.map_or(header, |open| &header[open + 1..]);
    let end = name.iter().position(|byte| b" \t\r\n>".contains(byte));
    let name = &name[..end.unwrap_or(name.len())];
    let document = [header, element, b"</", name, b">"].concat();
    let stream = Node::read(&document).expect("what is accepted is well-formed");
    assert_eq!(stream.children().len(), 1);
    let alone = in_hostile_wrapper(&stanza);
    let within = stream.children()[0].clone();
    if header.windows(CLIENT.len()).any(|part| part == CLIENT) {
        assert_eq!(alone, within);
    }
    // A server that declares no default namespace still means that of its stanzas.
    assert_eq!(alone.clone().unwrapped(), within.unwrapped());
    assert_same(&stanza, &alone);
    assert_addressable(&stanza, alone);
    true
}
