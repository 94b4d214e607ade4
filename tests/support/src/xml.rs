//! Parsed XML, for inspecting answers. The parser is strict: it accepts only what XMPP allows.

use std::{
    collections::BTreeMap,
    fmt::{Display, Formatter, Write as _},
};

use rxml::{
    Event, Parse, Parser,
    error::{EndOrError, Error},
};

pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
pub const CLIENT: &str = "jabber:client";
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
pub const HTTPBIND: &str = "http://jabber.org/protocol/httpbind";
pub const PING: &str = "urn:xmpp:ping";
pub const ROSTER: &str = "jabber:iq:roster";
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
pub const SM: &str = "urn:xmpp:sm:3";
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
pub const XBOSH: &str = "urn:xmpp:xbosh";
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// An element. Two are equal if they mean the same, whatever their prefixes and quotes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Element {
    pub ns: String,
    pub name: String,
    /// By namespace (empty if there is none) and name.
    pub attrs: BTreeMap<(String, String), String>,
    pub nodes: Vec<Node>,
}

/// What an element holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// The one element of a document; panics if the document is not well-formed.
    #[track_caller]
    pub fn parse(document: impl AsRef<[u8]>) -> Self {
        let document = document.as_ref();
        Self::try_parse(document).unwrap_or_else(|error| {
            let text = String::from_utf8_lossy(document);
            panic!("{error}: {text}")
        })
    }

    pub fn try_parse(mut document: &[u8]) -> Result<Self, Error> {
        let (mut parser, mut builder) = (Parser::new(), Builder::default());
        let mut root = None;
        loop {
            match parser.parse(&mut document, true) {
                Ok(Some(event)) => root = builder.event(event, 0).or(root),
                Ok(None) => return Ok(root.expect("a document has a root")),
                Err(EndOrError::Error(error)) => return Err(error),
                Err(EndOrError::NeedMoreData) => unreachable!("the parser was told of the end"),
            }
        }
    }

    /// A stanza as clients write it, without declaring `jabber:client`.
    #[track_caller]
    pub fn stanza(xml: &str) -> Self {
        let wrapped = format!("<wrapper xmlns='{CLIENT}'>{xml}</wrapper>");
        let wrapper = Self::parse(wrapped);
        wrapper.children().next().expect("one element").clone()
    }

    /// An attribute without a namespace.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attr_ns("", name)
    }

    pub fn attr_ns(&self, ns: &str, name: &str) -> Option<&str> {
        let key = (ns.to_owned(), name.to_owned());
        self.attrs.get(&key).map(String::as_str)
    }

    pub fn is(&self, ns: &str, name: &str) -> bool {
        self.ns == ns && self.name == name
    }

    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child of this name.
    pub fn child(&self, ns: &str, name: &str) -> Option<&Self> {
        self.children().find(|child| child.is(ns, name))
    }

    /// Its own text, without the text of its children.
    pub fn text(&self) -> String {
        let texts = self.nodes.iter().filter_map(|node| match node {
            Node::Element(_) => None,
            Node::Text(text) => Some(text.as_str()),
        });
        texts.collect()
    }

    /// The text of a message's `<body/>`.
    pub fn body(&self) -> Option<String> {
        self.child(CLIENT, "body").map(Self::text)
    }

    /// The defined condition of a stanza error, such as `service-unavailable`.
    pub fn error(&self) -> Option<&str> {
        let error = self.child(CLIENT, "error")?;
        let condition = error
            .children()
            .find(|child| child.ns == STANZA_ERRORS && child.name != "text");
        condition.map(|condition| condition.name.as_str())
    }

    pub fn is_message(&self, body: &str) -> bool {
        self.is(CLIENT, "message") && self.body().as_deref() == Some(body)
    }

    /// A presence; `kind` is its `type`, empty for available.
    pub fn is_presence(&self, from: &str, kind: &str) -> bool {
        self.is(CLIENT, "presence")
            && self.attr("from") == Some(from)
            && self.attr("type").unwrap_or_default() == kind
    }

    pub fn is_reply_to(&self, id: &str) -> bool {
        self.is(CLIENT, "iq")
            && matches!(self.attr("type"), Some("result" | "error"))
            && self.attr("id") == Some(id)
    }

    fn push_text(&mut self, text: String) {
        if let Some(Node::Text(last)) = self.nodes.last_mut() {
            last.push_str(&text);
        } else {
            self.nodes.push(Node::Text(text));
        }
    }

    fn write(&self, around: &str, out: &mut Formatter<'_>) -> std::fmt::Result {
        write!(out, "<{}", self.name)?;
        if self.ns != around {
            write!(out, " xmlns='{}'", escape(&self.ns))?;
        }
        for (number, ((ns, name), value)) in self.attrs.iter().enumerate() {
            match ns.as_str() {
                "" => write!(out, " {name}")?,
                XML => write!(out, " xml:{name}")?,
                ns => write!(out, " xmlns:a{number}='{}' a{number}:{name}", escape(ns))?,
            }
            write!(out, "='{}'", escape(value))?;
        }
        if self.nodes.is_empty() {
            return out.write_str("/>");
        }
        out.write_char('>')?;
        for node in &self.nodes {
            match node {
                Node::Element(element) => element.write(&self.ns, out)?,
                Node::Text(text) => out.write_str(&escape(text))?,
            }
        }
        write!(out, "</{}>", self.name)
    }
}

impl Display for Element {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        self.write("", out)
    }
}

/// A chat message.
pub fn message(to: &str, body: &str) -> String {
    let (to, body) = (escape(to), escape(body));
    format!("<message xmlns='{CLIENT}' to='{to}' type='chat'><body>{body}</body></message>")
}

/// Text, escaped for an attribute or an element.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => write!(out, "&#{};", char as u32).expect("a string takes it"),
            char => out.push(char),
        }
    }
    out
}

/// Builds elements from parser events.
#[derive(Debug, Default)]
pub struct Builder {
    depth: usize,
    open: Vec<Element>,
}

impl Builder {
    /// The element that this event completes, if it was inside exactly `depth` others.
    pub fn event(&mut self, event: Event, depth: usize) -> Option<Element> {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (ns, name), attrs) => {
                if self.depth >= depth {
                    let attrs = attrs.into_iter().map(|((ns, name), value)| {
                        let ns = ns.as_str().to_owned();
                        ((ns, name.to_string()), value.to_string())
                    });
                    self.open.push(Element {
                        ns: ns.as_str().to_owned(),
                        name: name.to_string(),
                        attrs: attrs.collect(),
                        nodes: Vec::new(),
                    });
                }
                self.depth += 1;
            }
            Event::Text(_, text) => {
                if let Some(open) = self.open.last_mut() {
                    open.push_text(text.to_string());
                }
            }
            Event::EndElement(_) => {
                self.depth -= 1;
                let element = self.open.pop()?;
                match self.open.last_mut() {
                    Some(parent) => parent.nodes.push(Node::Element(element)),
                    None => return Some(element),
                }
            }
        }
        None
    }
}

/// A stream of elements inside one root, as on a c2s connection.
pub struct Stream {
    parser: Parser,
    builder: Builder,
    header: Option<Element>,
}

/// One part of a stream.
#[derive(Debug)]
pub enum Part {
    /// The root's start tag, as an element without content.
    Header(Element),
    Element(Element),
    /// The root's end tag.
    End,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            parser: Parser::new(),
            builder: Builder::default(),
            header: None,
        }
    }

    /// Takes bytes off the front of `data` up to the next part; `None` if it needs more bytes.
    pub fn part(&mut self, data: &mut &[u8]) -> Result<Option<Part>, Error> {
        loop {
            let event = match self.parser.parse(data, false) {
                Ok(Some(event)) => event,
                Ok(None) | Err(EndOrError::NeedMoreData) => return Ok(None),
                Err(EndOrError::Error(error)) => return Err(error),
            };
            if self.header.is_none() && matches!(event, Event::StartElement(..)) {
                // The root's start tag is read as an element without content, so that it is complete at once.
                let mut root = Builder::default();
                self.builder.depth = 1;
                let end = Event::EndElement(rxml::parser::EventMetrics::zero());
                root.event(event, 0);
                let header = root.event(end, 0).expect("the root ends");
                self.header = Some(header.clone());
                return Ok(Some(Part::Header(header)));
            }
            if let Some(element) = self.builder.event(event, 1) {
                return Ok(Some(Part::Element(element)));
            }
            if self.header.is_some() && self.builder.depth == 0 {
                return Ok(Some(Part::End));
            }
        }
    }
}
