//! Client's side of a stream to a server, without I/O: bytes in, events out (RFC 6120 §4).

use std::{fmt::Write as _, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use quick_xml::{
    events::BytesStart,
    parser::{ElementParser, Parser as _},
};

use super::{
    LIMITS, MAX_ELEMENT,
    error::Malformed,
    split::{Piece, Splitter},
};
use crate::proto::{
    stanza::{Inheritance, Kind, Stanza, scan_next_stanza, scan_stanza},
    xml::{Ns, Scope, scan_header, write::Tag},
};

/// The closing tag that matches what [`header`] opens.
pub const CLOSE: Bytes = Bytes::from_static(b"</stream:stream>");

/// The request for an acknowledgement as Prosody writes it. With stream management it follows nearly every stanza, so
/// that it is parsed only once. One that is written otherwise is parsed like any element.
const ACK_REQUEST: Bytes = Bytes::from_static(b"<r xmlns='urn:xmpp:sm:3'/>");
static ASKS: LazyLock<Stanza> = LazyLock::new(|| Stanza::ours(ACK_REQUEST));

/// The bytes that open a stream to the domain `to` (RFC 6120 §4.7). `from` is a bare JID, and only
/// for streams that nobody can overhear (§4.7.1); `lang` is the default language of the client.
pub fn header(to: &str, from: Option<&str>, lang: Option<&str>) -> Bytes {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(b"<?xml version='1.0'?>");
    Tag::within(&mut out, "stream:stream")
        .attribute("to", to)
        .attribute_if("from", from)
        .attribute_if("xml:lang", lang)
        .attribute("version", "1.0")
        .ns(Ns::Client)
        .attribute("xmlns:stream", "http://etherx.jabber.org/streams")
        .open();
    out.into()
}

/// What the server said.
#[derive(Clone, Debug)]
pub enum Event {
    /// It opened its stream.
    Header(Header),
    /// `stream:features`
    Features(Stanza),
    /// Any other element but a stream error.
    Stanza(Stanza),
    /// A legal stanza that cannot be passed on, for instance because it is deeper than [`LIMITS`] allow. Its sender
    /// must not be able to end the recipient's stream. Only its start tag is left of it, or only its name.
    Unreadable(Stanza),
    /// `stream:error`; nothing but [`Self::Closed`] will follow.
    Error(Stanza),
    /// It closed its stream.
    Closed,
}

/// What the server's stream header says (RFC 6120 §4.7).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// The stream's name, unpredictable.
    pub id: Option<String>,
    /// The domain that the server speaks for.
    pub from: Option<String>,
}

/// The receiving half of a stream. After an error it must not be used any further.
#[derive(Debug)]
pub struct Stream {
    splitter: Splitter,
    /// Bytes not yet split; holds no memory while it is empty.
    buffer: BytesMut,
    /// What the header declared; every element is read in it.
    scope: Scope,
    /// What the last element inherited from the header.
    inheritance: Inheritance,
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    /// Before the server's header.
    pub fn new() -> Self {
        Self {
            splitter: Splitter::new(MAX_ELEMENT),
            buffer: BytesMut::new(),
            scope: Scope::default(),
            inheritance: Inheritance::default(),
        }
    }

    /// Expects a new header on the same connection (RFC 6120 §4.3.3).
    pub fn restart(&mut self) {
        self.splitter.reset();
        self.scope = Scope::default();
        self.inheritance = Inheritance::default();
    }

    /// Bytes arrived. Drain [`Self::poll_event`] afterwards.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether there are bytes that no event has covered: part of an element, or elements that were not
    /// polled for.
    pub fn has_unread(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next event; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the rest of the stream cannot be understood.
    pub fn poll_event(&mut self) -> Result<Option<Event>, Malformed> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let piece = self.splitter.next(&mut self.buffer)?;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        match piece {
            None => Ok(None),
            Some(Piece::Header(bytes)) => self.open(&bytes).map(Some),
            Some(Piece::Element(bytes)) => {
                let stanza = if bytes == ACK_REQUEST {
                    ASKS.clone()
                } else {
                    // A copy, as the piece shares memory with what else has come with it.
                    let element = Bytes::copy_from_slice(&bytes);
                    let inheritance = &mut self.inheritance;
                    match scan_next_stanza(element.clone(), &self.scope, &LIMITS, inheritance) {
                        Ok(stanza) => stanza,
                        Err(error) => {
                            let husk = husk(&element, &self.scope);
                            return husk
                                .filter(|_| error.kind.is_legal())
                                .map(|husk| Some(Event::Unreadable(husk)))
                                .ok_or_else(|| error.into());
                        }
                    }
                };
                Ok(Some(match stanza.kind() {
                    Kind::Features => Event::Features(stanza),
                    Kind::StreamError => Event::Error(stanza),
                    _ => Event::Stanza(stanza),
                }))
            }
            Some(Piece::Close) => Ok(Some(Event::Closed)),
        }
    }

    fn open(&mut self, bytes: &[u8]) -> Result<Event, Malformed> {
        let (scope, attributes) = scan_header(bytes)?;
        self.scope = scope;
        self.inheritance = Inheritance::default();
        let mut header = Header::default();
        let mut version = None;
        for attribute in attributes
            .iter()
            .filter(|attribute| attribute.ns == Ns::None)
        {
            match attribute.local() {
                "from" => header.from = Some(attribute.value().into_owned()),
                "id" => header.id = Some(attribute.value().into_owned()),
                "version" => version = Some(attribute.value()),
                _ => {}
            }
        }
        // RFC 6120 §4.7.5: a missing version is 0.9; a higher minor or major one is the server's
        // offer, to which ours of 1.0 is the answer.
        match version.and_then(|version| version.split('.').next()?.parse().ok()) {
            Some(1_u32..) => Ok(Event::Header(header)),
            _ => Err(Malformed::Version),
        }
    }
}

/// The husk of an element: its name, addresses, id and type, or its name alone if that cannot be read; `None` if it is
/// no stanza. The rest of its start tag is skipped, because it may be of any length.
pub(in crate::proto) fn husk(element: &Bytes, scope: &Scope) -> Option<Stanza> {
    let tag = element.strip_prefix(b"<")?;
    let length = ElementParser::default().feed(tag)?;
    let tag = tag.get(..length)?;
    let tag = std::str::from_utf8(tag.strip_suffix(b"/").unwrap_or(tag)).ok()?;
    let name = tag.split([' ', '\t', '\r', '\n']).next()?;
    let (declares, local) = match name.split_once(':') {
        Some((prefix, local)) => (format!("xmlns:{prefix}"), local),
        None => ("xmlns".to_owned(), name),
    };
    if !matches!(local, "iq" | "message" | "presence") {
        return None;
    }
    let mut whole = format!("<{name}");
    let start = BytesStart::from_content(tag, name.len());
    for attribute in start.attributes().with_checks(false).filter_map(Result::ok) {
        let (key, value) = (attribute.key.as_ref(), &attribute.value);
        if key == declares || matches!(key, "from" | "to" | "id" | "type") {
            let quote = if value.contains('\'') { '"' } else { '\'' };
            let _ = write!(whole, " {key}={quote}{value}{quote}");
        }
    }
    whole.push_str("/>");
    let read = scan_stanza(whole.into(), scope, &LIMITS);
    let bare = format!("<{local}/>");
    read.or_else(|_| Stanza::parse(bare)).ok()
}

/// Whether and how features offer STARTTLS (RFC 6120 §5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartTls {
    /// Not at all.
    Absent,
    /// It may be used.
    Offered,
    /// It must be used: said outright, or because nothing else is offered (§5.3.1).
    Required,
}

impl StartTls {
    /// What `features` say of it.
    pub fn of(features: &Stanza) -> Self {
        if !features.may_have(Ns::Tls) {
            return Self::Absent;
        }
        let mut others = false;
        let mut found = Self::Absent;
        for child in features.children() {
            if child.ns != Ns::Tls || *child.local != *b"starttls" {
                others = true;
            } else if memchr::memmem::find(&child.bytes, b"required").is_some() {
                // Nothing but `<required/>` or `<optional/>` can be in there.
                return Self::Required;
            } else {
                found = Self::Offered;
            }
        }
        if found == Self::Offered && !others {
            return Self::Required;
        }
        found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::error::StreamCondition;
    use super::*;

    const OPEN: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='s&amp;1' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='example.org'>";

    fn events(stream: &mut Stream, text: &str) -> Vec<Event> {
        stream.handle_bytes(text.as_bytes());
        std::iter::from_fn(|| stream.poll_event().unwrap()).collect()
    }

    fn refusal(text: &str) -> Malformed {
        let mut stream = Stream::new();
        stream.handle_bytes(text.as_bytes());
        loop {
            match stream.poll_event() {
                Ok(event) => assert!(event.is_some(), "no refusal of {text}"),
                Err(error) => return error,
            }
        }
    }

    fn features(inside: &str) -> Stanza {
        let text = format!("{OPEN}<stream:features>{inside}</stream:features>");
        match events(&mut Stream::new(), &text).pop() {
            Some(Event::Features(features)) => features,
            other => panic!("{other:?}"),
        }
    }

    fn condition(inside: &str) -> StreamCondition {
        let text = format!("{OPEN}<stream:error>{inside}</stream:error>");
        match events(&mut Stream::new(), &text).pop() {
            Some(Event::Error(error)) => StreamCondition::of(&error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn builds_the_header() {
        assert_eq!(
            header("example.org", None, None),
            "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        let hostile = header(
            "example.org",
            Some("o'neil@example.org"),
            Some("en'/><x y='"),
        );
        let mut splitter = Splitter::new(MAX_ELEMENT);
        let piece = splitter.next(&mut BytesMut::from(&*hostile)).unwrap();
        assert_eq!(piece, Some(Piece::Header(hostile.clone())));
        let (_, attributes) = scan_header(&hostile).unwrap();
        let value = |local: &str| {
            let attribute = attributes
                .iter()
                .find(|attribute| attribute.local() == local);
            attribute.unwrap().value().into_owned()
        };
        assert_eq!(value("from"), "o'neil@example.org");
        assert_eq!(value("lang"), "en'/><x y='");
    }

    #[test]
    fn tells_what_the_server_said() {
        let mut stream = Stream::new();
        let text = format!("{OPEN}<stream:features/> <message/><stream:error/></stream:stream>");
        let said = events(&mut stream, &text);
        assert!(
            matches!(
                &said[..],
                [
                    Event::Header(_),
                    Event::Features(_),
                    Event::Stanza(_),
                    Event::Error(_),
                    Event::Closed
                ]
            ),
            "{said:?}"
        );
        let Some(Event::Header(header)) = said.first() else {
            panic!("no header");
        };
        assert_eq!(header.id.as_deref(), Some("s&1"));
        assert_eq!(header.from.as_deref(), Some("example.org"));
        assert!(!stream.has_unread());
    }

    #[test]
    fn reads_elements_in_the_scope_of_their_own_header() {
        let mut stream = Stream::new();
        for prefix in ["stream", "s"] {
            let open = OPEN.replace("stream:stream", &format!("{prefix}:stream"));
            let open = open.replace("xmlns:stream", &format!("xmlns:{prefix}"));
            let said = events(&mut stream, &format!("{open}<{prefix}:features/>"));
            assert!(matches!(&said[..], [Event::Header(_), Event::Features(_)]));
            stream.restart();
        }
    }

    #[test]
    fn a_legal_stanza_that_cannot_be_passed_on_ends_nothing() {
        let deep = format!("{}{}", "<a>".repeat(300), "</a>".repeat(300));
        let attributes: String = (0..300).map(|number| format!(" a{number}=''")).collect();
        let long = "u".repeat(2000);
        for (stanza, from) in [
            (
                format!("<message from='a@b' id='1'>{deep}</message>"),
                Some("a@b"),
            ),
            (
                format!("<iq type='get' from='a@b'><a{attributes}/></iq>"),
                Some("a@b"),
            ),
            (
                format!("<message from='a@b'><a xmlns='{long}'/></message>"),
                Some("a@b"),
            ),
            (
                "<message from='a@b'><a xmlns='urn:&#97;'/></message>".into(),
                Some("a@b"),
            ),
            (
                "<message from='a@b'><\u{10000}/></message>".into(),
                Some("a@b"),
            ),
            (
                format!("<presence from='a@b' xmlns:p='{long}'/>"),
                Some("a@b"),
            ),
            (format!("<iq{attributes} from='a@b'/>"), Some("a@b")),
            (format!("<iq from='a@b' xmlns='{long}'/>"), None),
        ] {
            let text = format!("{OPEN}{stanza}<iq/>");
            let said = events(&mut Stream::new(), &text);
            let [Event::Header(_), Event::Unreadable(husk), Event::Stanza(_)] = &said[..] else {
                panic!("{said:?}")
            };
            assert!(
                husk.is_stanza() && husk.from().as_deref() == from,
                "{husk:?}"
            );
            assert!(stanza.starts_with(&format!("<{}", husk.local())));
        }
        assert!(matches!(
            refusal(&format!("{OPEN}<stream:features>{deep}</stream:features>")),
            Malformed::Scan(_)
        ));
    }

    #[test]
    fn knows_what_is_unread() {
        let mut stream = Stream::new();
        assert_eq!(events(&mut stream, &format!("{OPEN}<a/> <b")).len(), 2);
        assert!(stream.has_unread());
        assert_eq!(events(&mut stream, "/> ").len(), 1);
        assert!(!stream.has_unread());
    }

    #[test]
    fn refuses_what_is_no_stream_of_version_1() {
        assert_eq!(
            refusal(&OPEN.replace(" version='1.0' from", " from")),
            Malformed::Version
        );
        assert_eq!(
            refusal(&OPEN.replace(" version='1.0' f", " version='0.9' f")),
            Malformed::Version
        );
        assert_eq!(
            refusal(&OPEN.replace(" version='1.0' f", " version='x' f")),
            Malformed::Version
        );
        assert_eq!(
            events(&mut Stream::new(), &OPEN.replace("'1.0' f", "'1.1' f")).len(),
            1
        );

        let other = OPEN.replace("etherx.jabber.org", "example.org");
        assert!(matches!(refusal(&other), Malformed::Scan(_)));
        assert!(matches!(
            refusal(&format!("{OPEN}<a></b></a>")),
            Malformed::Scan(_)
        ));
        assert!(matches!(
            refusal(&format!("{OPEN}text")),
            Malformed::Split(_)
        ));
    }

    #[test]
    fn reads_stream_errors() {
        const NS: &str = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'";
        let read = condition(&format!(
            "<text {NS}>too &lt;many&gt;</text><policy-violation {NS}/><a xmlns='urn:x'/>"
        ));
        assert_eq!(read.name, "policy-violation");
        assert_eq!(read.content, "");
        assert_eq!(read.text.as_deref(), Some("too <many>"));

        let read = condition(&format!("<see-other-host {NS}> h:1 </see-other-host>"));
        assert_eq!(
            (&*read.name, &*read.content, read.text),
            ("see-other-host", "h:1", None)
        );
        assert_eq!(condition("").name, "undefined-condition");
    }

    #[test]
    fn reads_the_offer_of_starttls() {
        const NS: &str = "xmlns='urn:ietf:params:xml:ns:xmpp-tls'";
        let read = |inside: &str| StartTls::of(&features(inside));
        assert_eq!(read(""), StartTls::Absent);
        assert_eq!(
            read("<starttls xmlns='urn:x'><required/></starttls>"),
            StartTls::Absent
        );
        assert_eq!(read(&format!("<starttls {NS}/><a/>")), StartTls::Offered);
        assert_eq!(read(&format!("<starttls {NS}/>")), StartTls::Required);
        assert_eq!(
            read(&format!("<a/><starttls {NS}><required/></starttls><b/>")),
            StartTls::Required
        );
    }
}
