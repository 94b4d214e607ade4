//! A web site with a chat: its backend, the gateway, and people who are friends or not.

use serde_json::{Map, Value, json};

use support::{
    backend::Backend,
    bosh::Bosh,
    client::{Account, Client, Item},
    gateway::{Builder, Gateway},
    http::Response,
    prosody::Prosody,
    xml::{CLIENT, ROSTER},
};

/// The gateway in front of a Prosody, with rosters from a backend.
pub(crate) struct Site {
    pub(crate) backend: Backend,
    pub(crate) gateway: Gateway,
    pub(crate) prosody: &'static Prosody,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::on(Prosody::shared())
    }

    pub(crate) fn on(prosody: &'static Prosody) -> Self {
        Self::with(prosody, |gateway| gateway)
    }

    pub(crate) fn with(prosody: &'static Prosody, change: impl FnOnce(Builder) -> Builder) -> Self {
        let backend = Backend::start();
        let gateway = change(Gateway::builder(prosody).backend(&backend)).start();
        Self {
            backend,
            gateway,
            prosody,
        }
    }

    /// A new member without friends.
    pub(crate) fn member(&self, name: &str) -> Account {
        let account = self.prosody.account(name);
        self.backend.set(&account.local, json!({}));
        account
    }

    /// Says who is on the list of `owner`.
    pub(crate) fn list(&self, owner: &Account, friends: &[&Account]) {
        let contacts = friends.iter().map(|friend| (friend.jid(), json!({})));
        let contacts: Map<String, Value> = contacts.collect();
        self.backend.set(&owner.local, contacts.into());
    }

    /// Makes two members friends of each other and of nobody else.
    pub(crate) fn befriend(&self, one: &Account, other: &Account) {
        self.list(one, &[other]);
        self.list(other, &[one]);
    }

    /// Gives a member so many contacts, logs in and gets them.
    pub(crate) async fn crowded(&self, account: &Account, contacts: usize) -> Bosh {
        let contacts = (0..contacts).map(|number| (format!("c{number}@example.org"), json!({})));
        let contacts: Map<String, Value> = contacts.collect();
        self.backend.set(&account.local, contacts.into());
        let mut bosh = Bosh::log_in(&self.gateway.bosh(), account, "web").await;
        let get = format!("<iq xmlns='{CLIENT}' type='get' id='r'><query xmlns='{ROSTER}'/></iq>");
        bosh.exchange_until(&get, |stanza| stanza.is_reply_to("r"))
            .await;
        bosh
    }

    /// Logs in, gets the roster and becomes available.
    pub(crate) async fn online(&self, account: &Account, resource: &str) -> Client {
        let mut client = self.gateway.login(account, resource).await;
        client.roster().await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        client
    }

    /// What the admin API says to this body.
    pub(crate) async fn post(&self, body: &str) -> Response {
        let refresh = self.gateway.admin().at("/roster_admin/refresh");
        refresh.request("POST", &[], body).await
    }

    /// Tells the gateway that these lists have changed, which must go well.
    pub(crate) async fn refresh(&self, accounts: &[&Account]) {
        let users: Vec<&str> = accounts.iter().map(|account| &*account.local).collect();
        let response = self.post(&json!(users).to_string()).await;
        let summary: Value = serde_json::from_str(response.text()).expect("JSON");
        let expected = json!({
            "status": "ok", "message": "roster update complete",
            "updated": users.len(), "errors": 0,
        });
        assert_eq!((response.status(), summary), (200, expected));
    }
}

/// A contact as the gateway shows it.
pub(crate) fn item(jid: &str, name: Option<&str>, groups: &[&str], subscription: &str) -> Item {
    Item {
        jid: jid.to_owned(),
        name: name.map(str::to_owned),
        subscription: Some(subscription.to_owned()),
        ask: None,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}
