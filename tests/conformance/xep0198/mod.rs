//! XEP-0198, Stream Management, over WebSocket: a module per section.

mod acking;
mod closing;
mod enable;
mod resumption;
mod resumption_fails;

use support::{
    client::{Account, Client},
    gateway::Gateway,
    http::Endpoint,
    site::Site,
    webstream::{Management, WebStream},
    xml::{CLIENT, PING},
};

/// A session with stream management, and a contact on the server.
struct Managed {
    gateway: Gateway,
    account: Account,
    web: WebStream,
    desk: Client,
}

impl Managed {
    async fn new() -> Self {
        Self::behind(Gateway::start(Site::shared())).await
    }

    async fn behind(gateway: Gateway) -> Self {
        let site = Site::shared();
        let account = site.account("john");
        let web = WebStream::log_in_managed(&gateway.websocket(), &account, "web").await;
        let desk = site.contact("marie").await;
        Self {
            gateway,
            account,
            web,
            desk,
        }
    }

    fn endpoint(&self) -> Endpoint {
        self.gateway.websocket()
    }

    /// A stream of the same user on which nothing is bound.
    async fn another(&self) -> WebStream {
        WebStream::authenticated(&self.endpoint(), &self.account).await
    }

    /// Loses the connection of the session, and puts an unbound stream in its place.
    async fn lose(&mut self) -> Management {
        let another = self.another().await;
        std::mem::replace(&mut self.web, another).vanish()
    }

    /// Sends a message to the contact.
    async fn say(&mut self, body: &str) {
        let to = self.desk.jid.clone();
        self.web.send_message(&to, body).await;
    }

    /// Shows the session to the contact, who then learns when it ends.
    async fn greet(&mut self) {
        let presence = format!("<presence xmlns='{CLIENT}' to='{}'/>", self.desk.jid);
        self.web.send_stanza(&presence).await;
        self.desk.expect_presence(&self.web.jid, "").await;
    }

    /// Messages of the contact's, numbered; all of them have reached the server.
    async fn write(&mut self, to: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.desk.send_message(to, &number.to_string());
        }
        self.settle().await;
    }

    /// Waits until the server has taken all that the contact has sent.
    async fn settle(&mut self) {
        let domain = self.account.domain.clone();
        let ping = format!("<ping xmlns='{PING}'/>");
        self.desk.iq("get", &domain, &ping).await;
    }
}

/// The bodies of the next messages.
async fn bodies(web: &mut WebStream, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let element = web.next().await;
        bodies.push(element.body().unwrap_or_else(|| panic!("{element}")));
    }
    bodies
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
