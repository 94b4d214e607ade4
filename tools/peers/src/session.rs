//! A BOSH session that costs the load generator little: requests are templates, answers are searched for
//! a few bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use memchr::memmem;

use crate::{
    DOMAIN,
    http::{Connection, Endpoint},
};

const FIRST_RID: u64 = 1_573_741_820;

/// How a client uses its two requests.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Style {
    /// A request is always out; what is to be sent goes with another, which answers that.
    Held,
    /// What is to be sent goes with the only request, whose answer brings what there is.
    Lean,
}

/// A user of whom the servers know; the password is the name.
#[derive(Clone, Debug)]
pub struct User {
    /// The localpart.
    pub name: String,
}

/// A session; one of its connections may be waiting, or both.
#[derive(Debug)]
pub struct Session {
    connections: [Connection; 2],
    sid: String,
    rid: u64,
    /// The full JID.
    pub jid: String,
}

impl Session {
    /// Opens a session, in which a request is held for `wait` seconds, authenticates by PLAIN, and binds
    /// a resource.
    ///
    /// # Errors
    ///
    /// Any of that fails.
    pub async fn log_in(endpoint: &Endpoint, user: &User, wait: u32) -> Result<Self> {
        let connection = || Connection::new(endpoint, "text/xml; charset=utf-8");
        let mut session = Self {
            connections: [connection(), connection()],
            sid: String::new(),
            rid: FIRST_RID,
            jid: String::new(),
        };
        let creation = format!(
            "<body xmlns='http://jabber.org/protocol/httpbind' rid='{FIRST_RID}' to='{DOMAIN}' \
             content='text/xml; charset=utf-8' hold='1' wait='{wait}' ver='1.6' xml:lang='en' \
             xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'/>"
        );
        let [first, _] = &mut session.connections;
        first.send(&creation).await?;
        let mut answer = good(first.answer().await?)?;
        session.sid = attribute(&answer, "sid").context("no sid")?;
        while memmem::find(&answer, b"PLAIN").is_none() {
            answer = session.exchange("").await?;
        }
        let User { name } = user;
        let plain = BASE64.encode(format!("\0{name}\0{name}"));
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        );
        session.exchange_until(&auth, b"<success").await?;
        let restart =
            format!("to='{DOMAIN}' xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true' xml:lang='en'");
        session.send(0, &restart, "").await?;
        let mut answer = good(session.connections[0].answer().await?)?;
        while memmem::find(&answer, b"urn:ietf:params:xml:ns:xmpp-bind").is_none() {
            answer = session.exchange("").await?;
        }
        let bind = "<iq xmlns='jabber:client' type='set' id='bind'>\
                    <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
        let answer = session.exchange_until(bind, b"<jid>").await?;
        session.jid = between(&answer, b"<jid>", b"<").context("no JID")?;
        Ok(session)
    }

    /// Sends a request without waiting for its answer.
    async fn send(&mut self, connection: usize, attributes: &str, payload: &str) -> Result<()> {
        self.rid += 1;
        let Self { sid, rid, .. } = self;
        let space = if attributes.is_empty() { "" } else { " " };
        let body = format!(
            "<body xmlns='http://jabber.org/protocol/httpbind' rid='{rid}' sid='{sid}'{space}{attributes}>{payload}</body>"
        );
        self.connections[connection].send(&body).await
    }

    /// One request, while no other is out, and its answer.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn exchange(&mut self, payload: &str) -> Result<Vec<u8>> {
        self.send(0, "", payload).await?;
        good(self.connections[0].answer().await?)
    }

    /// One request after the other, while no other is out, until an answer has `wanted` in it.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn exchange_until(&mut self, payload: &str, wanted: &[u8]) -> Result<Vec<u8>> {
        self.send(0, "", payload).await?;
        self.wait_for(Style::Lean, wanted, &AtomicU64::new(0)).await
    }

    /// Sends a payload in this style, and returns the answer that has `wanted` in it. Requests are counted.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn operate(
        &mut self,
        style: Style,
        payload: &str,
        wanted: &[u8],
        requests: &AtomicU64,
    ) -> Result<Vec<u8>> {
        if style == Style::Held && !self.is_waiting() {
            self.send(0, "", "").await?;
            requests.fetch_add(1, Ordering::Relaxed);
        }
        let free = usize::from(self.connections[0].is_waiting());
        self.send(free, "", payload).await?;
        requests.fetch_add(1, Ordering::Relaxed);
        self.wait_for(style, wanted, requests).await
    }

    /// Waits for an answer that has `wanted` in it; a request is out all the while.
    ///
    /// # Errors
    ///
    /// The session or a connection ends.
    pub async fn wait_for(
        &mut self,
        style: Style,
        wanted: &[u8],
        requests: &AtomicU64,
    ) -> Result<Vec<u8>> {
        loop {
            if !self.is_waiting() {
                self.send(0, "", "").await?;
                requests.fetch_add(1, Ordering::Relaxed);
            }
            let answer = good(self.answer().await?)?;
            if memmem::find(&answer, wanted).is_some() {
                if style == Style::Held && !self.is_waiting() {
                    self.send(0, "", "").await?;
                    requests.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(answer);
            }
        }
    }

    /// Whichever answer comes first.
    async fn answer(&mut self) -> Result<Vec<u8>> {
        let [first, second] = &mut self.connections;
        tokio::select! {
            answer = first.answer(), if first.is_waiting() => answer,
            answer = second.answer(), if second.is_waiting() => answer,
        }
    }

    fn is_waiting(&self) -> bool {
        self.connections.iter().any(Connection::is_waiting)
    }

    /// Ends it. Requests that are out are given up.
    ///
    /// # Errors
    ///
    /// The server does not say that it has ended.
    pub async fn terminate(mut self) -> Result<()> {
        while self.connections.iter().all(Connection::is_waiting) {
            // The older one is answered, since there is another.
            self.answer().await?;
        }
        let last = usize::from(self.connections[0].is_waiting());
        self.send(last, "type='terminate'", "").await?;
        while self.connections[last].is_waiting() {
            self.answer().await?;
        }
        Ok(())
    }
}

/// An answer that goes on.
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
    if has_error || tag(b"<failure").is_some() {
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
