//! A session by BOSH (XEP-0124, XEP-0206).

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use memchr::memmem;

use crate::{
    DOMAIN,
    http::{Connection, Endpoint},
    session::{BIND, Style, User, attribute, auth, between, good},
};

const FIRST_RID: u64 = 1_573_741_820;

/// A session; one of its connections may be waiting, or both.
#[derive(Debug)]
pub struct Session {
    style: Style,
    connections: [Connection; 2],
    sid: String,
    rid: u64,
    /// The full JID.
    pub(super) jid: String,
}

impl Session {
    /// Opens a session, in which a request is held for `wait` seconds, authenticates by PLAIN, and binds
    /// a resource.
    pub(super) async fn log_in(
        endpoint: &Endpoint,
        user: &User,
        style: Style,
        wait: u32,
    ) -> Result<Self> {
        let mut session = Self {
            style,
            connections: connections(endpoint),
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
        session.exchange_until(&auth(user), b"<success").await?;
        let restart =
            format!("to='{DOMAIN}' xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true' xml:lang='en'");
        session.send(0, &restart, "").await?;
        let mut answer = good(session.connections[0].answer().await?)?;
        while memmem::find(&answer, b"urn:ietf:params:xml:ns:xmpp-bind").is_none() {
            answer = session.exchange("").await?;
        }
        let answer = session.exchange_until(BIND, b"<jid>").await?;
        session.jid = between(&answer, b"<jid>", b"<").context("no JID")?;
        Ok(session)
    }

    /// Sends its requests there from now on; none may be out.
    pub(super) fn go_by(&mut self, endpoint: &Endpoint) {
        self.connections = connections(endpoint);
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
    pub(super) async fn exchange(&mut self, payload: &str) -> Result<Vec<u8>> {
        self.send(0, "", payload).await?;
        good(self.connections[0].answer().await?)
    }

    /// One request after the other, while no other is out, until an answer has `wanted` in it.
    pub(super) async fn exchange_until(&mut self, payload: &str, wanted: &[u8]) -> Result<Vec<u8>> {
        self.send(0, "", payload).await?;
        self.receive(Style::Lean, wanted, &AtomicU64::new(0)).await
    }

    /// Sends a payload in this style, and returns the answer that has `wanted` in it. Requests are counted.
    pub(super) async fn operate(
        &mut self,
        payload: &str,
        wanted: &[u8],
        requests: &AtomicU64,
    ) -> Result<Vec<u8>> {
        if self.style == Style::Held && !self.is_waiting() {
            self.send(0, "", "").await?;
            requests.fetch_add(1, Ordering::Relaxed);
        }
        let free = usize::from(self.connections[0].is_waiting());
        self.send(free, "", payload).await?;
        requests.fetch_add(1, Ordering::Relaxed);
        self.wait_for(wanted, requests).await
    }

    /// Waits for an answer that has `wanted` in it; a request is out all the while.
    pub(super) async fn wait_for(
        &mut self,
        wanted: &[u8],
        requests: &AtomicU64,
    ) -> Result<Vec<u8>> {
        self.receive(self.style, wanted, requests).await
    }

    async fn receive(
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
    pub(super) async fn terminate(mut self) -> Result<()> {
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

fn connections(endpoint: &Endpoint) -> [Connection; 2] {
    [(); 2].map(|()| Connection::new(endpoint, "text/xml; charset=utf-8"))
}
