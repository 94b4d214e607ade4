//! Scene of many tests: a session driven by hand, and a contact on the server.

use crate::{
    bosh::Bosh,
    client::{Account, Client},
    gateway::Gateway,
    site::Site,
    xml::{CLIENT, Element, message},
};

/// A session driven by hand, and a contact on the server who sees what gets there.
pub struct Scene {
    pub gateway: Gateway,
    pub account: Account,
    pub web: Bosh,
    pub desk: Client,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(&[], &[]).await
    }

    /// With these lines in `[bosh]` and these attributes in the creation request.
    pub async fn with(config: &[&str], changes: &[(&str, &str)]) -> Self {
        let prosody = Site::shared();
        let mut builder = Gateway::builder(prosody);
        for line in config {
            builder = builder.bosh(line);
        }
        let gateway = builder.start();
        let account = prosody.account("john");
        let web = Bosh::log_in_with(&gateway.bosh(), &account, "web", changes).await;
        let desk = prosody.contact("marie").await;
        Self {
            gateway,
            account,
            web,
            desk,
        }
    }

    /// The full JID of the session.
    pub fn jid(&self) -> String {
        format!("{}/web", self.account.jid())
    }

    /// A message to the contact. When it arrives, the gateway has accepted the request that carried it.
    pub fn to_desk(&self, body: &str) -> String {
        message(&self.desk.jid, body)
    }

    /// A presence that makes the server tell the contact when the session ends.
    pub fn hello(&self) -> String {
        format!("<presence xmlns='{CLIENT}' to='{}'/>", self.desk.jid)
    }

    /// Says hello and hangs up, which the gateway may notice a moment later.
    pub async fn greet(&mut self) {
        let sent = self.web.send("", &self.hello()).await;
        self.desk.expect_presence(&self.jid(), "").await;
        sent.abort();
    }

    /// Asserts that the server has ended the session.
    pub async fn expect_gone(&mut self) {
        let jid = self.jid();
        self.desk.expect_presence(&jid, "unavailable").await;
    }

    /// Asserts that requests of the session are no longer served.
    pub async fn assert_unknown(&mut self) {
        let response = self.web.send("", "").await.response().await;
        assert_eq!(response.condition().as_deref(), Some("item-not-found"));
    }
}

#[track_caller]
pub fn assert_empty(body: &Element) {
    assert_eq!((body.attr("type"), body.nodes.len()), (None, 0), "{body}");
}
