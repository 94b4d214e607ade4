//! Receiver's side of a stream over WebSocket (RFC 7395), without I/O: each message carries one element.
//!
//! ```text
//!             <success/> sent                <open/>
//!  Open  -------------------->  Restarting ----------> Open
//! ```
//!
//! It tells elements of the stream from stanzas, and says when a stream may be opened anew. It does not know frames,
//! and how a stream is closed is decided by its owner.

use std::borrow::Cow;

use bytes::Bytes;

use super::error::stream_error;
use crate::proto::{
    stanza::{Stanza, scan_document},
    xml::{Limits, Ns, ScanError, ScanErrorKind, lint, scan_header, write::Tag},
};

/// Closes the stream (RFC 7395 §3.6). Strophe recognizes it in this spelling only.
pub const CLOSE: Bytes =
    Bytes::from_static(br#"<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />"#);

/// Opens the gateway's side of the stream (RFC 7395 §3.4), for the domain `from`. Strophe wants the name first, and
/// then nothing but one space.
pub fn open(from: &str, id: &str, lang: &str) -> Bytes {
    let tag = Tag::new("open")
        .ns(Ns::Framing)
        .attribute("from", from)
        .attribute("id", id)
        .attribute("version", "1.0")
        .attribute("xml:lang", lang);
    tag.empty().into()
}

/// What a client's `<open/>` says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Open {
    /// The domain that it wants.
    pub to: Option<String>,
    /// Its language, if that is one (RFC 5646).
    pub lang: Option<String>,
}

/// What a client has said.
#[derive(Clone, Debug)]
pub enum Event {
    /// It opens its stream anew, after it has authenticated (RFC 7395 §3.7).
    Restart(Open),
    /// Any element but those of RFC 7395.
    Element(Stanza),
    /// It closes its stream.
    Closed,
}

/// Why a stream has to end: what a client has sent breaks a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// It is not one well-formed element.
    #[error("not one well-formed element")]
    NotWellFormed,
    /// A comment, a processing instruction or a DTD (RFC 6120 §11.1).
    #[error("markup that XMPP forbids")]
    RestrictedXml,
    /// Too deep, or too large in its parts.
    #[error("an element beyond the limits")]
    Limit,
    /// `<stream:stream>`, from drafts of RFC 7395.
    #[error("streams over WebSocket begin with <open/> (RFC 7395), not with <stream:stream>")]
    OldDraft,
    /// An element in no namespace, or in one that has no such element.
    #[error("an element in a wrong namespace")]
    InvalidNamespace,
    /// The stream does not begin with `<open/>`.
    #[error("streams begin with <open/>")]
    NotOpened,
    /// `<open/>` where no stream may begin.
    #[error("<open/> is for the beginning, and for after authentication")]
    AlreadyOpen,
    /// Something else than `<open/>` right after authentication.
    #[error("after authentication the stream has to be opened anew")]
    NotRestarted,
    /// Version before 1.0.
    #[error("the stream's version has to be 1.0")]
    UnsupportedVersion,
}

impl Fault {
    /// The condition of the stream error (RFC 6120 §4.9.3).
    pub fn condition(self) -> &'static str {
        match self {
            Self::NotWellFormed => "not-well-formed",
            Self::RestrictedXml => "restricted-xml",
            Self::Limit => "policy-violation",
            Self::OldDraft | Self::InvalidNamespace => "invalid-namespace",
            Self::NotOpened | Self::AlreadyOpen => "bad-format",
            Self::NotRestarted => "not-authorized",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }

    /// The stream error.
    pub fn error(self) -> Stanza {
        stream_error(self.condition(), &self.to_string())
    }
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        match error.kind {
            ScanErrorKind::Limit => Self::Limit,
            ScanErrorKind::Restricted => Self::RestrictedXml,
            _ => Self::NotWellFormed,
        }
    }
}

/// A stream that a client has opened.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
}

#[derive(Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Open,
    /// The client has authenticated, and has to open its stream anew.
    Restarting,
}

impl Framing {
    /// Reads the first message of a connection.
    ///
    /// # Errors
    /// When it is no proper `<open/>`. The answer is an [`open`] all the same, then the [error](Fault::error) and
    /// [`CLOSE`] (RFC 7395 §3.5).
    pub fn begin(message: &Bytes, limits: &Limits) -> Result<(Self, Open), Fault> {
        let element = read(message, limits)?.ok_or(Fault::NotOpened)?;
        match (element.ns(), element.local()) {
            (Ns::Framing, "open") => Ok((Self::default(), read_open(&element)?)),
            (_, "open") => Err(Fault::InvalidNamespace),
            _ => Err(Fault::NotOpened),
        }
    }

    /// Reads a message; `None` if it means nothing.
    ///
    /// # Errors
    /// When the stream has to end for it.
    pub fn handle_message(
        &mut self,
        message: &Bytes,
        limits: &Limits,
    ) -> Result<Option<Event>, Fault> {
        let Some(element) = read(message, limits)? else {
            return Ok(None);
        };
        let is_restarting = self.state == State::Restarting;
        match (element.ns(), element.local()) {
            (Ns::Framing, "close") => Ok(Some(Event::Closed)),
            (Ns::Framing, "open") if is_restarting => {
                self.state = State::Open;
                Ok(Some(Event::Restart(read_open(&element)?)))
            }
            _ if is_restarting => Err(Fault::NotRestarted),
            (Ns::Framing, "open") => Err(Fault::AlreadyOpen),
            (Ns::Framing | Ns::None, _) => Err(Fault::InvalidNamespace),
            // Some clients forget the namespace of their stanzas, but of nothing else.
            (Ns::Client, _) if !element.is_stanza() => Err(Fault::InvalidNamespace),
            _ => Ok(Some(Event::Element(element))),
        }
    }

    /// This is being sent to the client. True if the client is authenticated by it, and has to open the stream anew.
    pub fn sent(&mut self, element: &Stanza) -> bool {
        let is_success = (element.ns(), element.local()) == (Ns::Sasl, "success");
        if is_success {
            self.state = State::Restarting;
        }
        is_success
    }
}

/// Whether a message closes the stream.
pub fn is_close(message: &Bytes) -> bool {
    let element = scan_document(message, &Limits::default());
    element.is_ok_and(|element| (element.ns(), element.local()) == (Ns::Framing, "close"))
}

/// The element of a message. `None` if there is none: some clients send white space to keep their connection alive,
/// which RFC 7395 §3.8 forbids and nobody is hurt by.
fn read(message: &Bytes, limits: &Limits) -> Result<Option<Stanza>, Fault> {
    if message.iter().all(|byte| lint::is_white(*byte)) {
        return Ok(None);
    }
    scan_document(message, limits).map(Some).map_err(|error| {
        // A stream header is no element, as it does not end.
        match scan_header(message) {
            Ok(_) => Fault::OldDraft,
            Err(_) => error.into(),
        }
    })
}

fn read_open(element: &Stanza) -> Result<Open, Fault> {
    // RFC 6120 §4.7.5: a missing version is 0.9; to a higher one, ours of 1.0 is the answer.
    let version = element.attribute("version");
    match version.and_then(|version| version.split('.').next()?.parse().ok()) {
        Some(1_u32..) => Ok(Open {
            to: element.to().map(Cow::into_owned),
            lang: element
                .lang()
                .filter(|lang| lint::is_language(lang))
                .map(Cow::into_owned),
        }),
        _ => Err(Fault::UnsupportedVersion),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' \
                        version='1.0'/>";

    fn begin(message: &str) -> Result<Open, Fault> {
        let message = Bytes::copy_from_slice(message.as_bytes());
        Framing::begin(&message, &Limits::default()).map(|(_, open)| open)
    }

    fn hear(framing: &mut Framing, message: &str) -> Result<Option<Event>, Fault> {
        let message = Bytes::copy_from_slice(message.as_bytes());
        framing.handle_message(&message, &Limits::default())
    }

    fn fault(message: &str) -> Fault {
        hear(&mut Framing::default(), message).unwrap_err()
    }

    #[test]
    fn a_stream_begins_with_open() {
        let open = begin(OPEN).unwrap();
        assert_eq!(open.to.as_deref(), Some("example.org"));
        assert_eq!(open.lang, None);
        let declared = "<?xml version='1.0'?><o:open xml:lang='de' version='1.7' \
                        xmlns:o='urn:ietf:params:xml:ns:xmpp-framing'></o:open> ";
        assert_eq!(begin(declared).unwrap().lang.as_deref(), Some("de"));
        assert_eq!(begin(&OPEN.replace("1.0", "2.0")).map(drop), Ok(()));
        for (message, expected) in [
            (OPEN.replace("version='1.0'", ""), Fault::UnsupportedVersion),
            (OPEN.replace("1.0", "0.9"), Fault::UnsupportedVersion),
            (OPEN.replace("1.0", "x"), Fault::UnsupportedVersion),
            (OPEN.replace("framing", "frames"), Fault::InvalidNamespace),
            ("<open/>".into(), Fault::InvalidNamespace),
            ("<presence/>".into(), Fault::NotOpened),
            (" ".into(), Fault::NotOpened),
            ("".into(), Fault::NotOpened),
            ("hello".into(), Fault::NotWellFormed),
            (format!("{OPEN}<presence/>"), Fault::NotWellFormed),
            (
                "<stream:stream xmlns='jabber:client' to='example.org' version='1.0' \
                 xmlns:stream='http://etherx.jabber.org/streams'>"
                    .into(),
                Fault::OldDraft,
            ),
        ] {
            assert_eq!(begin(&message), Err(expected), "{message}");
        }
    }

    #[test]
    fn a_message_is_one_element() {
        for (message, expected) in [
            ("<iq/><iq/>", Fault::NotWellFormed),
            ("x<iq/>", Fault::NotWellFormed),
            ("<iq/>x", Fault::NotWellFormed),
            ("<iq>", Fault::NotWellFormed),
            ("<iq a='&b;'/>", Fault::NotWellFormed),
            ("<!-- --><iq/>", Fault::RestrictedXml),
            ("<iq/><!-- -->", Fault::RestrictedXml),
            ("<iq><?a b?></iq>", Fault::RestrictedXml),
            ("<!DOCTYPE iq><iq/>", Fault::RestrictedXml),
            ("<iq xmlns=''/>", Fault::InvalidNamespace),
            ("<auth mechanism='PLAIN'/>", Fault::InvalidNamespace),
            (
                "<x xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
                Fault::InvalidNamespace,
            ),
            (OPEN, Fault::AlreadyOpen),
        ] {
            assert_eq!(fault(message), expected, "{message}");
        }
        let deep = format!("<iq>{}{}</iq>", "<a>".repeat(101), "</a>".repeat(101));
        assert_eq!(fault(&deep), Fault::Limit);
        for nothing in ["", " ", "\r\n\t "] {
            let heard = hear(&mut Framing::default(), nothing);
            assert!(matches!(heard, Ok(None)));
        }
    }

    #[test]
    fn a_stanza_without_a_namespace_is_a_client_stanza() {
        for message in [
            "<message to='a@b'><body>hi</body></message>",
            "<message xmlns='jabber:client' to='a@b'><body>hi</body></message>",
            "<?xml version='1.0'?>\n<c:message xmlns:c='jabber:client' to='a@b'/>",
        ] {
            let Ok(Some(Event::Element(stanza))) = hear(&mut Framing::default(), message) else {
                panic!("{message}");
            };
            assert!(stanza.is_stanza(), "{message}");
            let text = stanza.to_bytes();
            let again = Stanza::parse(text.clone()).unwrap();
            assert_eq!(
                (again.ns(), again.to().as_deref()),
                (Ns::Client, Some("a@b"))
            );
            assert!(memchr::memmem::find(&text, b"jabber:client").is_some());
        }
    }

    #[test]
    fn a_stream_is_opened_anew_after_authentication_and_only_then() {
        let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
        let mut framing = Framing::default();
        assert!(!framing.sent(&Stanza::parse("<success/>").unwrap()));
        assert!(framing.sent(&Stanza::parse(success).unwrap()));
        assert_eq!(
            hear(&mut framing, "<iq/>").unwrap_err(),
            Fault::NotRestarted
        );
        let Ok(Some(Event::Restart(open))) = hear(&mut framing, OPEN) else {
            panic!("no restart");
        };
        assert_eq!(open.to.as_deref(), Some("example.org"));
        assert_eq!(hear(&mut framing, OPEN).unwrap_err(), Fault::AlreadyOpen);
        assert!(matches!(
            hear(
                &mut framing,
                "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
            ),
            Ok(Some(Event::Closed))
        ));
    }

    #[test]
    fn what_is_written_has_the_form_that_clients_look_for() {
        let open = open("example.org", "a'b", "en");
        assert_eq!(
            open,
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.org' \
             id='a&apos;b' version='1.0' xml:lang='en'/>"
        );
        assert_eq!(
            Fault::NotOpened.error().to_bytes(),
            "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
             <bad-format xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>streams begin with &lt;open/&gt;\
             </text></stream:error>"
        );
    }
}
