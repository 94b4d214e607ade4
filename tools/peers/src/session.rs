//! Sessions that cost the load generator little: what they send are templates, what they receive is searched
//! for a few bytes.

mod bosh;
mod websocket;

use std::sync::atomic::AtomicU64;

use anyhow::{Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use memchr::memmem;

use crate::http::Endpoint;

/// How a client's stanzas travel.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Style {
    /// BOSH. A request is always out; what is to be sent goes with another, which answers that.
    Held,
    /// BOSH. What is to be sent goes with the only request, whose answer brings what there is.
    Lean,
    /// WebSocket.
    WebSocket,
    /// WebSocket, with stream management (XEP-0198) that can resume, as web clients have it.
    Managed,
}

impl Style {
    /// Whether it is one of those by WebSocket.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::Managed)
    }

    /// The front that serves it, for the names of stages and files.
    pub fn front(self) -> &'static str {
        if self.is_websocket() {
            "websocket"
        } else {
            "bosh"
        }
    }

    /// The same in words.
    pub fn front_title(self) -> &'static str {
        if self.is_websocket() {
            "WebSocket"
        } else {
            "BOSH"
        }
    }

    /// For file names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Lean => "lean",
            Self::WebSocket => "websocket",
            Self::Managed => "websocket-sm",
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Held => "a poll always out",
            Self::Lean => "one request per operation",
            Self::WebSocket => "WebSocket",
            Self::Managed => "WebSocket with stream management",
        }
    }

    /// Where servers have it.
    pub fn path(self) -> &'static str {
        if self.is_websocket() {
            "/xmpp-websocket"
        } else {
            "/http-bind"
        }
    }
}

/// A user of whom the servers know; the password is the name.
#[derive(Clone, Debug)]
pub struct User {
    /// The localpart.
    pub name: String,
}

/// A session that has logged in and bound a resource.
#[derive(Debug)]
pub enum Session {
    /// By BOSH.
    Bosh(Box<bosh::Session>),
    /// By WebSocket.
    WebSocket(Box<websocket::Session>),
}

impl Session {
    /// Connects, authenticates by PLAIN, and binds a resource. BOSH requests are held for `wait` seconds.
    ///
    /// # Errors
    ///
    /// Any of that fails.
    pub async fn log_in(endpoint: &Endpoint, user: &User, style: Style, wait: u32) -> Result<Self> {
        Ok(if style.is_websocket() {
            let session = websocket::Session::log_in(endpoint, user, style).await?;
            Self::WebSocket(Box::new(session))
        } else {
            let session = bosh::Session::log_in(endpoint, user, style, wait).await?;
            Self::Bosh(Box::new(session))
        })
    }

    /// Sends its requests there from now on, by BOSH; none may be out. A WebSocket stays where it is.
    pub fn go_by(&mut self, endpoint: &Endpoint) {
        if let Self::Bosh(session) = self {
            session.go_by(endpoint);
        }
    }

    /// The full JID.
    pub fn jid(&self) -> &str {
        match self {
            Self::Bosh(session) => &session.jid,
            Self::WebSocket(session) => &session.jid,
        }
    }

    /// Sends a payload, if there is one, and returns what comes next: an answer, or a message. By BOSH, no
    /// request may be out.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn exchange(&mut self, payload: &str) -> Result<Vec<u8>> {
        match self {
            Self::Bosh(session) => session.exchange(payload).await,
            Self::WebSocket(session) => session.exchange(payload).await,
        }
    }

    /// The same until `wanted` is in what has come. By BOSH, with one request after the other.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn exchange_until(&mut self, payload: &str, wanted: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Bosh(session) => session.exchange_until(payload, wanted).await,
            Self::WebSocket(session) => session.exchange_until(payload, wanted).await,
        }
    }

    /// Sends a payload in the style of the session, and returns what has come with `wanted` in it. Requests,
    /// or messages that were sent, are counted.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn operate(
        &mut self,
        payload: &str,
        wanted: &[u8],
        requests: &AtomicU64,
    ) -> Result<Vec<u8>> {
        match self {
            Self::Bosh(session) => session.operate(payload, wanted, requests).await,
            Self::WebSocket(session) => session.operate(payload, wanted, requests).await,
        }
    }

    /// Waits for what has `wanted` in it. By BOSH, a request is out all the while.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn wait_for(&mut self, wanted: &[u8], requests: &AtomicU64) -> Result<Vec<u8>> {
        match self {
            Self::Bosh(session) => session.wait_for(wanted, requests).await,
            Self::WebSocket(session) => session.wait_for(wanted, requests).await,
        }
    }

    /// Loses the connection, and resumes the session by another.
    ///
    /// # Errors
    ///
    /// It is not [`Style::Managed`], or the server does not let it.
    pub async fn resume(&mut self, requests: &AtomicU64) -> Result<()> {
        match self {
            Self::Bosh(_) => bail!("BOSH has no resumption"),
            Self::WebSocket(session) => session.resume(requests).await,
        }
    }

    /// Takes and confirms what still comes, so that no later session of the user is given it. By BOSH, requests confirm.
    pub async fn settle(&mut self) {
        if let Self::WebSocket(session) = self {
            session.settle().await;
        }
    }

    /// Ends it. Requests that are out are given up.
    ///
    /// # Errors
    ///
    /// The server does not say that it has ended.
    pub async fn terminate(self) -> Result<()> {
        match self {
            Self::Bosh(session) => session.terminate().await,
            Self::WebSocket(session) => session.terminate().await,
        }
    }
}

/// A resource is the server's choice.
const BIND: &str = "<iq xmlns='jabber:client' type='set' id='bind'>\
                    <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";

/// SASL PLAIN.
fn auth(User { name }: &User) -> String {
    let plain = BASE64.encode(format!("\0{name}\0{name}"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")
}

/// An answer or a message that lets the session go on.
fn good(answer: Vec<u8>) -> Result<Vec<u8>> {
    let tag = |begin: &[u8]| {
        let at = memmem::find(&answer, begin)?;
        let tag = answer[at..].split(|byte| *byte == b'>').next()?;
        Some(tag.to_vec())
    };
    let is_error = |tag: Vec<u8>| {
        let bad: [&[u8]; 4] = [b"'terminate'", b"\"terminate\"", b"'error'", b"\"error\""];
        bad.iter().any(|bad| memmem::find(&tag, bad).is_some())
    };
    // Presence that comes too late for a contact comes back as an error, too, and matters not.
    let has_error = tag(b"<body").is_some_and(is_error) || tag(b"<iq").is_some_and(is_error);
    // Of SASL, of stream management, of the stream.
    let ends = [&b"<failure"[..], b"<failed", b"<stream:error", b"<close"];
    if has_error || ends.iter().any(|end| tag(end).is_some()) {
        bail!("answered: {}", String::from_utf8_lossy(&answer));
    }
    Ok(answer)
}

/// The value of the first attribute of this name, in whichever quotes.
pub fn attribute(answer: &[u8], name: &str) -> Option<String> {
    let name = format!(" {name}=");
    let at = memmem::find(answer, name.as_bytes())? + name.len();
    let (quote, value) = answer.get(at..)?.split_first()?;
    let end = memchr::memchr(*quote, value)?;
    String::from_utf8(value[..end].to_vec()).ok()
}

/// What is between the first `begin` and the next `end`.
pub fn between(answer: &[u8], begin: &[u8], end: &[u8]) -> Option<String> {
    let rest = &answer[memmem::find(answer, begin)? + begin.len()..];
    let rest = &rest[..memmem::find(rest, end)?];
    String::from_utf8(rest.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_either_quotes() {
        let answer = b"<body xmlns:stream='s' authid='no' sid=\"a'b\" wait='60'/>";
        assert_eq!(attribute(answer, "sid").as_deref(), Some("a'b"));
        assert_eq!(attribute(answer, "wait").as_deref(), Some("60"));
        assert_eq!(attribute(answer, "hold"), None);
        assert_eq!(attribute(b"<body sid='", "sid"), None);
    }

    #[test]
    fn text_is_found_between_its_ends() {
        let answer = b"<jid>a@b/c</jid><jid>x</jid>";
        assert_eq!(between(answer, b"<jid>", b"<").as_deref(), Some("a@b/c"));
        assert_eq!(between(answer, b"<name>", b"<"), None);
    }

    #[test]
    fn the_end_of_a_session_is_no_good_answer() {
        assert!(good(b"<body/>".to_vec()).is_ok());
        assert!(good(b"<body type='terminate'/>".to_vec()).is_err());
        assert!(good(b"<body><iq type=\"error\"/></body>".to_vec()).is_err());
        assert!(good(b"<body><presence type='error'/></body>".to_vec()).is_ok());
    }
}
