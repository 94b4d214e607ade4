//! `<body/>`: what a request says, and how an answer is written.

use std::{borrow::Cow, hash::BuildHasher as _, time::Duration};

use bytes::{Bytes, BytesMut};
use foldhash::quality::FixedState;
use smallvec::SmallVec;

use super::{Rid, condition::Condition};
use crate::proto::{
    page::Page,
    stanza::{Kind, Stanza, scan_body},
    xml::{self, Ns, lint::is_language, write::Tag},
};

/// The document of an empty answer (XEP-0124 "Empty Response").
const EMPTY: &[u8] = b"<body xmlns='http://jabber.org/protocol/httpbind'/>";
const OPEN: &[u8] = b"<body xmlns='http://jabber.org/protocol/httpbind'";
const XMLNS_STREAM: &[u8] = b" xmlns:stream='http://etherx.jabber.org/streams'";
const CLOSE: &[u8] = b"</body>";

/// Pieces up to this size are copied together, which costs less than writing one more piece.
const COPY: usize = 2048;

/// One request document.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
pub enum Message {
    /// It has no `sid`: a session is to be created.
    Creation(Creation),
    /// It belongs to a session.
    Request(Request),
}

/// A session creation request (XEP-0124 "Session Creation Request").
#[derive(Clone, Debug)]
pub struct Creation {
    /// First request id.
    pub rid: Rid,
    /// Domain that the client wants to talk to, as written.
    pub to: Option<String>,
    /// Longest time a request may be held.
    pub wait: Option<Duration>,
    /// Most requests that the client wants held.
    pub hold: Option<u32>,
    /// Protocol version of the client, major and minor.
    pub ver: Option<(u32, u32)>,
    /// Content type that the client wants for answers, if it may have that.
    pub content: Option<&'static str>,
    /// The client acknowledges answers.
    pub acks: bool,
    /// `xml:lang` for the stream: a language tag.
    pub lang: Option<String>,
    /// The hash of the next request's key, if requests are to have keys.
    pub newkey: Option<Box<str>>,
}

/// A request of a session that exists.
#[derive(Debug)]
pub struct Request {
    /// Session id, as written.
    pub sid: Bytes,
    /// Request id.
    pub rid: Rid,
    /// Highest rid whose answer, and all before it, the client has received.
    pub ack: Option<Rid>,
    /// Proof that it comes from the same client as the request before it.
    pub key: Option<Box<str>>,
    /// The beginning of another chain of keys.
    pub newkey: Option<Box<str>>,
    /// Session pause asked for, seconds.
    pub pause: Option<u64>,
    /// The stream is to be restarted (XEP-0206 "Authentication and Resource Binding").
    pub restart: bool,
    /// The session is to end after this request.
    pub terminate: bool,
    /// Stanzas for the server, in order.
    pub payload: SmallVec<[Stanza; 2]>,
    /// Hash of the document, to tell a resend from another request with the same rid.
    pub digest: u64,
    /// The web page that sent it, if pages say who they are; not part of the document.
    pub page: Option<Page>,
}

/// A document that is no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{condition}: {why}")]
pub struct InvalidDocument {
    /// What to answer.
    pub condition: Condition,
    /// For logs.
    pub why: &'static str,
}

impl InvalidDocument {
    const fn bad_request(why: &'static str) -> Self {
        Self {
            condition: Condition::BadRequest,
            why,
        }
    }
}

impl Message {
    /// Reads a complete request document. Nothing of any session has changed when this fails.
    pub fn parse(document: Bytes, limits: &xml::Limits) -> Result<Self, InvalidDocument> {
        // A client that makes two documents collide deceives only its own session.
        let digest = FixedState::default().hash_one(&document);
        let body = scan_body(document, limits).map_err(|error| {
            if error.kind.is_limit() {
                InvalidDocument {
                    condition: Condition::PolicyViolation,
                    why: "document exceeds a limit",
                }
            } else {
                InvalidDocument::bad_request("document is not a well-formed body element")
            }
        })?;

        let mut fields = Fields::default();
        for attribute in &body.attributes {
            let local = attribute.local();
            match (attribute.ns, local) {
                (Ns::None, "sid") => fields.sid = Some(attribute.raw.clone()),
                (Ns::XBosh, "restart") => {
                    fields.restart = matches!(&*attribute.value(), "true" | "1");
                }
                (Ns::Xml, "lang") => {
                    let lang = Some(attribute.value()).filter(|lang| is_language(lang));
                    fields.lang = lang.map(Cow::into_owned);
                }
                (Ns::None, "rid") => {
                    let rid = Rid::parse(&attribute.value());
                    fields.rid =
                        Some(rid.ok_or(InvalidDocument::bad_request("rid is not a request id"))?);
                }
                (Ns::None, "to") => fields.to = Some(attribute.value().into_owned()),
                (Ns::None, "wait") => fields.wait = Some(number(&attribute.value())?),
                (Ns::None, "hold") => fields.hold = Some(number(&attribute.value())?),
                (Ns::None, "pause") => fields.pause = Some(number(&attribute.value())?),
                // Values that make no sense are as good as none (XEP-0124 "Acknowledgements").
                (Ns::None, "ack") => fields.ack = Rid::parse(&attribute.value()),
                (Ns::None, "ver") => fields.ver = version(&attribute.value()),
                (Ns::None, "content") => fields.content = content_type(&attribute.value()),
                (Ns::None, "key") => fields.key = Some(attribute.value().into()),
                (Ns::None, "newkey") => fields.newkey = Some(attribute.value().into()),
                // gloox says "terminal".
                (Ns::None, "type") => {
                    fields.terminate = matches!(&*attribute.value(), "terminate" | "terminal");
                }
                _ => {}
            }
        }
        fields.build(body.children, digest)
    }
}

/// The `sid` in the start tag that a document begins with, if the tag is complete and that of a `<body/>`. It is for
/// documents that are too large to be read whole.
pub fn sid_at_the_beginning(beginning: &[u8]) -> Option<String> {
    // Nothing after the start tag is looked at.
    let end = beginning.iter().position(|byte| *byte == b'>')?;
    let tag = beginning.get(..end)?.trim_ascii_end();
    let tag = tag.strip_suffix(b"/").unwrap_or(tag);
    let document = Bytes::from([tag, b"/>"].concat());
    let body = scan_body(document, &xml::Limits::default()).ok()?;
    let mut attributes = body.attributes.iter();
    let sid = attributes.find(|it| it.ns == Ns::None && it.local() == "sid")?;
    Some(sid.value().into_owned())
}

/// The attributes of a request, before it is known which kind it is.
#[derive(Default)]
struct Fields {
    sid: Option<Bytes>,
    rid: Option<Rid>,
    to: Option<String>,
    wait: Option<u64>,
    hold: Option<u64>,
    ver: Option<(u32, u32)>,
    content: Option<&'static str>,
    lang: Option<String>,
    ack: Option<Rid>,
    pause: Option<u64>,
    key: Option<Box<str>>,
    newkey: Option<Box<str>>,
    restart: bool,
    terminate: bool,
}

impl Fields {
    fn build(
        self,
        payload: SmallVec<[Stanza; 2]>,
        digest: u64,
    ) -> Result<Message, InvalidDocument> {
        let rid = self
            .rid
            .ok_or(InvalidDocument::bad_request("rid is missing"))?;
        if let Some(sid) = self.sid {
            return Ok(Message::Request(Request {
                sid,
                rid,
                ack: self.ack,
                key: self.key,
                newkey: self.newkey,
                pause: self.pause,
                restart: self.restart,
                terminate: self.terminate,
                payload,
                digest,
                page: None,
            }));
        }
        if self.key.is_some() || self.pause.is_some() || self.restart || self.terminate {
            return Err(InvalidDocument::bad_request(
                "attribute that only a session can have",
            ));
        }
        if rid > Rid::MAX {
            return Err(InvalidDocument::bad_request("rid is too large"));
        }
        if self.to.is_none() && !payload.is_empty() {
            return Err(InvalidDocument::bad_request("stanzas without a session"));
        }
        Ok(Message::Creation(Creation {
            rid,
            to: self.to,
            wait: self.wait.map(Duration::from_secs),
            hold: self
                .hold
                .map(|hold| u32::try_from(hold).unwrap_or(u32::MAX)),
            ver: self.ver,
            content: self.content,
            acks: self.ack == Rid::parse("1"),
            lang: self.lang,
            newkey: self.newkey,
        }))
    }
}

/// A non-negative integer; larger ones than fit count as the largest.
fn number(text: &str) -> Result<u64, InvalidDocument> {
    const LARGEST: u64 = u32::MAX as u64;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDocument::bad_request(
            "attribute is not a non-negative integer",
        ));
    }
    Ok(text
        .parse()
        .map_or(LARGEST, |number: u64| number.min(LARGEST)))
}

/// `major.minor`, two integers: 1.10 is later than 1.6.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The content type for answers that a client asks for by `content`, if it is one of plain XML.
///
/// A browser would treat other types as more than data: it runs the scripts that a message can contain in a page
/// of `text/html`, but also of `application/xhtml+xml` or `image/svg+xml`. Parameters make no difference: answers
/// are UTF-8.
fn content_type(text: &str) -> Option<&'static str> {
    let (media_type, _) = text.split_once(';').unwrap_or((text, ""));
    match media_type.trim().to_ascii_lowercase().as_str() {
        "text/xml" => Some("text/xml; charset=utf-8"),
        "application/xml" => Some("application/xml; charset=utf-8"),
        _ => None,
    }
}

/// The document of an answer: pieces to be written one after the other.
#[derive(Clone, Debug, Default)]
pub struct Document {
    chunks: SmallVec<[Bytes; 4]>,
}

impl Document {
    /// An empty `<body/>`.
    pub fn empty() -> Self {
        Self {
            chunks: SmallVec::from_iter([Bytes::from_static(EMPTY)]),
        }
    }

    /// A `<body/>` that ends a session for `condition`, or without one if the client asked for the end.
    pub fn terminate(condition: Option<Condition>) -> Self {
        Self::with(&terminate_attributes(condition), std::iter::empty())
    }

    /// The same with an explanation for people.
    pub fn terminate_because(condition: Condition, text: &str) -> Self {
        let text = Stanza::ours(Tag::new("text").ns(Ns::StreamConditions).text(text));
        Self::with(
            &terminate_attributes(Some(condition)),
            std::iter::once(&text),
        )
    }

    /// A `<body/>` with `attributes` (each with a leading space) around `stanzas`.
    pub fn with<'a>(attributes: &str, stanzas: impl Iterator<Item = &'a Stanza> + Clone) -> Self {
        // XEP-0206: `stream:` has to be declared on the body that carries such an element.
        let streams = stanzas
            .clone()
            .any(|stanza| matches!(stanza.kind(), Kind::Features | Kind::StreamError));
        let around = [OPEN, XMLNS_STREAM, attributes.as_bytes(), b">", CLOSE].map(<[u8]>::len);
        let copied = stanzas
            .clone()
            .map(Stanza::size)
            .filter(|size| *size <= COPY);
        let size = around.into_iter().chain(copied).sum();
        let mut chunks = SmallVec::new();
        let mut buffer = BytesMut::with_capacity(size);
        buffer.extend_from_slice(OPEN);
        if streams {
            buffer.extend_from_slice(XMLNS_STREAM);
        }
        buffer.extend_from_slice(attributes.as_bytes());
        let mut empty = true;
        for stanza in stanzas {
            if empty {
                buffer.extend_from_slice(b">");
                empty = false;
            }
            for chunk in stanza.chunks() {
                if chunk.len() <= COPY {
                    buffer.extend_from_slice(&chunk);
                } else {
                    if !buffer.is_empty() {
                        chunks.push(buffer.split().freeze());
                    }
                    chunks.push(chunk);
                }
            }
        }
        buffer.extend_from_slice(if empty { b"/>" } else { CLOSE });
        chunks.push(buffer.freeze());
        Self { chunks }
    }

    /// The pieces, in order.
    pub fn into_chunks(self) -> SmallVec<[Bytes; 4]> {
        self.chunks
    }

    /// Length of the whole, bytes.
    pub fn size(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// The attributes that end a session.
pub(super) fn terminate_attributes(condition: Option<Condition>) -> String {
    match condition {
        Some(condition) => format!(" type='terminate' condition='{condition}'"),
        None => " type='terminate'".to_owned(),
    }
}

/// The attributes of a recoverable error (XEP-0124 "Recoverable Binding Conditions").
pub(super) const ERROR_ATTRIBUTES: &str = " type='error'";
