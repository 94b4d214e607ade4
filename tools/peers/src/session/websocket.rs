//! A session by WebSocket (RFC 7395), with stream management (XEP-0198) where it is asked for.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use memchr::memmem;
use tokio::time::timeout;

use crate::{
    DOMAIN,
    http::Endpoint,
    session::{BIND, Style, User, attribute, auth, between, good},
    websocket::WebSocket,
};

/// A client asks for an acknowledgement after so many stanzas, as Strophe does.
const UNASKED: u32 = 5;

/// How long messages may be on their way.
const WAY: Duration = Duration::from_millis(300);

/// At least as often, rostergate pings clients without stream management to hear what they have.
const PING: Duration = Duration::from_secs(2);

/// A session whose connection may be replaced.
#[derive(Debug)]
pub struct Session {
    endpoint: Endpoint,
    user: User,
    socket: WebSocket,
    /// Messages that were sent by the operation under way.
    sent: u64,
    account: Option<Account>,
    /// The full JID.
    pub(super) jid: String,
}

/// What stream management has to know.
#[derive(Debug)]
struct Account {
    /// The SM-ID.
    id: String,
    /// Stanzas that have come since.
    received: u32,
    /// Stanzas that have been sent and not been asked about.
    unasked: u32,
}

impl Session {
    /// Connects, authenticates by PLAIN, binds a resource, and enables stream management.
    pub(super) async fn log_in(endpoint: &Endpoint, user: &User, style: Style) -> Result<Self> {
        let mut session = Self {
            endpoint: endpoint.clone(),
            user: user.clone(),
            socket: WebSocket::open(endpoint, "xmpp").await?,
            sent: 0,
            account: None,
            jid: String::new(),
        };
        session.authenticate().await?;
        let answer = session.exchange_until(BIND, b"<jid>").await?;
        session.jid = between(&answer, b"<jid>", b"<").context("no JID")?;
        if style == Style::Managed {
            let enable = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
            let enabled = session.exchange_until(enable, b"<enabled").await?;
            session.account = Some(Account {
                id: attribute(&enabled, "id").context("it cannot be resumed")?,
                received: 0,
                unasked: 0,
            });
        }
        Ok(session)
    }

    /// From the opening of the stream to the features that come after authentication.
    async fn authenticate(&mut self) -> Result<()> {
        let open = format!(
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{DOMAIN}' version='1.0' \
             xml:lang='en'/>"
        );
        self.exchange_until(&open, b"PLAIN").await?;
        self.exchange_until(&auth(&self.user), b"<success").await?;
        let bind = b"urn:ietf:params:xml:ns:xmpp-bind";
        self.exchange_until(&open, bind).await?;
        Ok(())
    }

    async fn send(&mut self, message: &str) -> Result<()> {
        self.sent += 1;
        self.socket.send(message).await
    }

    /// Sends a stanza, and asks for an acknowledgement where it is time.
    async fn send_stanza(&mut self, stanza: &str) -> Result<()> {
        self.send(stanza).await?;
        let Some(account) = &mut self.account else {
            return Ok(());
        };
        account.unasked += 1;
        if account.unasked < UNASKED {
            return Ok(());
        }
        account.unasked = 0;
        self.send("<r xmlns='urn:xmpp:sm:3'/>").await
    }

    /// The next message that is not stream management's.
    async fn receive(&mut self) -> Result<Vec<u8>> {
        loop {
            let message = self.socket.receive().await?;
            let message = good(message.context("the connection was closed")?)?;
            if self.account.is_none() {
                return Ok(message);
            }
            let begins = |name: &[u8]| {
                let rest = message.strip_prefix(name);
                rest.is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'/' | b'>')))
            };
            if begins(b"<r") {
                self.acknowledge().await?;
                continue;
            }
            if begins(b"<a") {
                continue;
            }
            let is_stanza = begins(b"<message") || begins(b"<presence") || begins(b"<iq");
            if let Some(account) = self.account.as_mut().filter(|_| is_stanza) {
                account.received = account.received.wrapping_add(1);
            }
            return Ok(message);
        }
    }

    /// Says how many stanzas have come, where that is counted.
    async fn acknowledge(&mut self) -> Result<()> {
        let Some(Account { received, .. }) = &self.account else {
            return Ok(());
        };
        self.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{received}'/>"))
            .await
    }

    pub(super) async fn exchange(&mut self, payload: &str) -> Result<Vec<u8>> {
        if !payload.is_empty() {
            self.send_stanza(payload).await?;
        }
        self.receive().await
    }

    pub(super) async fn exchange_until(&mut self, payload: &str, wanted: &[u8]) -> Result<Vec<u8>> {
        let mut message = self.exchange(payload).await?;
        while memmem::find(&message, wanted).is_none() {
            message = self.receive().await?;
        }
        Ok(message)
    }

    pub(super) async fn operate(
        &mut self,
        payload: &str,
        wanted: &[u8],
        requests: &AtomicU64,
    ) -> Result<Vec<u8>> {
        self.sent = 0;
        let message = self.exchange_until(payload, wanted).await;
        requests.fetch_add(self.sent, Ordering::Relaxed);
        message
    }

    pub(super) async fn wait_for(
        &mut self,
        wanted: &[u8],
        requests: &AtomicU64,
    ) -> Result<Vec<u8>> {
        self.operate("", wanted, requests).await
    }

    /// Loses the connection, and resumes by another.
    pub(super) async fn resume(&mut self, requests: &AtomicU64) -> Result<()> {
        let account = self.account.take().context("no stream management")?;
        self.sent = 0;
        self.socket.abandon().await;
        self.socket = WebSocket::open(&self.endpoint, "xmpp").await?;
        self.authenticate().await?;
        let Account { id, received, .. } = &account;
        let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='{received}'/>");
        self.exchange_until(&resume, b"<resumed").await?;
        self.account = Some(account);
        requests.fetch_add(self.sent, Ordering::Relaxed);
        Ok(())
    }

    /// Takes what still comes. With stream management, it is acknowledged at the end.
    pub(super) async fn settle(&mut self) {
        let time = match self.account {
            Some(_) => WAY,
            None => WAY + PING,
        };
        let taking = async { while self.receive().await.is_ok() {} };
        // It ends by itself only where the connection has.
        let _ = timeout(time, taking).await;
    }

    /// Ends the stream, and then the connection.
    pub(super) async fn terminate(mut self) -> Result<()> {
        // What has come is not to come again.
        self.acknowledge().await?;
        self.send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
            .await?;
        while let Some(message) = self.socket.receive().await? {
            if message.starts_with(b"<close") {
                break;
            }
        }
        self.socket.close().await
    }
}
