//! A well-behaved session beside the attack, which must not notice it.

use support::{client::Client, gateway::Gateway, prosody::Prosody, unique};

/// Two people who chat, one of them behind the gateway.
pub(crate) struct Bystander {
    client: Client,
    contact: Client,
}

impl Bystander {
    pub(crate) async fn log_in(gateway: &Gateway, prosody: &Prosody) -> Self {
        let client = gateway.login(&prosody.account("bystander"), "web").await;
        let contact = prosody.contact("friend").await;
        Self { client, contact }
    }

    /// One message each way, both of which arrive within the deadline of any expectation.
    pub(crate) async fn chats_on(&mut self) {
        let (there, back) = (format!("hello {}", unique()), format!("hi {}", unique()));
        self.client.send_message(&self.contact.jid, &there);
        self.contact.expect_message(&there).await;
        self.contact.send_message(&self.client.jid, &back);
        self.client.expect_message(&back).await;
    }

    /// The full JID of whom it chats with.
    pub(crate) fn contact(&self) -> &str {
        &self.contact.jid
    }

    /// Waits for a message of anybody to the contact.
    pub(crate) async fn hears(&mut self, body: &str) {
        self.contact.expect_message(body).await;
    }
}
