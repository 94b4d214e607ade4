//! Two people who may become contacts, or cease to be.

use serde_json::json;

use support::{
    backend::Backend,
    client::{Account, Client, is_push},
    gateway::Gateway,
    site::{Site, foreign},
    xml::{CLIENT, Element, ROSTER, escape},
};

pub(super) struct Friends {
    gateway: Gateway,
    /// The site's, where there is one: what it says goes.
    backend: Option<Backend>,
    pub(super) john: Account,
    pub(super) marie: Account,
}

impl Friends {
    /// Nobody is on anybody's list.
    pub(super) fn to_be() -> Self {
        let server = Site::shared();
        let (john, marie) = (server.account("john"), server.account("marie"));
        let (gateway, backend) = if foreign().is_some() {
            (Gateway::start(server), None)
        } else {
            let backend = Backend::start();
            backend.set(&john.local, json!({}));
            backend.set(&marie.local, json!({}));
            let gateway = Gateway::builder(server).backend(&backend).start();
            (gateway, Some(backend))
        };
        Self {
            gateway,
            backend,
            john,
            marie,
        }
    }

    /// Each is on the other's list.
    pub(super) async fn new() -> Self {
        let friends = Self::to_be();
        friends.befriend().await;
        friends
    }

    /// Logs in, and no more.
    pub(super) async fn login(&self, account: &Account, resource: &str) -> Client {
        self.gateway.login(account, resource).await
    }

    /// Logs in, gets the roster and becomes available.
    pub(super) async fn online(&self, account: &Account, resource: &str) -> Client {
        let mut client = self.login(account, resource).await;
        client.roster().await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        client
    }

    /// Puts each on the other's list, who see each other from now on.
    pub(super) async fn befriend(&self) {
        let Some(backend) = &self.backend else {
            let site = Site::shared();
            let mut one = by_hand(site, &self.john).await;
            let mut other = by_hand(site, &self.marie).await;
            subscribe(&mut one, &self.john, &mut other, &self.marie).await;
            subscribe(&mut other, &self.marie, &mut one, &self.john).await;
            one.logout().await;
            other.logout().await;
            return;
        };
        backend.set(&self.john.local, json!({ self.marie.jid(): {} }));
        backend.set(&self.marie.local, json!({ self.john.jid(): {} }));
        self.refresh(&[&self.john, &self.marie]).await;
    }

    /// Gives Marie a name and a group on John's list.
    pub(super) async fn rename(&self, name: &str, group: &str) {
        let jid = self.marie.jid();
        let Some(backend) = &self.backend else {
            let (name, group) = (escape(name), escape(group));
            let item = format!("<item jid='{jid}' name='{name}'><group>{group}</group></item>");
            return self.set(&item).await;
        };
        let roster = json!({ jid: { "name": name, "groups": [group] } });
        backend.set(&self.john.local, roster);
        self.refresh(&[&self.john]).await;
    }

    /// Takes Marie off John's list.
    pub(super) async fn remove(&self) {
        let Some(backend) = &self.backend else {
            let item = format!("<item jid='{}' subscription='remove'/>", self.marie.jid());
            return self.set(&item).await;
        };
        backend.set(&self.john.local, json!({}));
        self.refresh(&[&self.john]).await;
    }

    async fn refresh(&self, accounts: &[&Account]) {
        let users: Vec<&str> = accounts.iter().map(|account| &*account.local).collect();
        let refresh = self.gateway.admin().at("/roster_admin/refresh");
        let body = json!(users).to_string();
        let response = refresh.request("POST", &[], &body).await;
        assert_eq!(response.status(), 200, "{}", response.text());
    }

    /// Changes John's list as a client of his does.
    async fn set(&self, item: &str) {
        let mut client = Site::shared().login(&self.john, "desk").await;
        let query = format!("<query xmlns='{ROSTER}'>{item}</query>");
        let reply = client.iq("set", "", &query).await;
        assert_eq!(reply.attr("type"), Some("result"), "{reply}");
        client.logout().await;
    }
}

/// Past any BOSH, and ready for requests.
async fn by_hand(site: &Site, account: &Account) -> Client {
    let mut client = site.login(account, "desk").await;
    client.roster().await;
    client.send_presence("");
    client
}

/// `one` asks to see `other`, who agrees.
async fn subscribe(one: &mut Client, me: &Account, other: &mut Client, you: &Account) {
    one.send(&format!("<presence to='{}' type='subscribe'/>", you.jid()));
    other.expect_presence(&me.jid(), "subscribe").await;
    other.send(&format!("<presence to='{}' type='subscribed'/>", me.jid()));
    one.expect_presence(&you.jid(), "subscribed").await;
}

/// The next roster push, and that it is well-formed: an id, one item, and nobody's but the account's.
pub(super) async fn expect_push(client: &mut Client, account: &Account) -> Element {
    let push = client.expect("a roster push", is_push).await;
    assert!(push.attr("id").is_some_and(|id| !id.is_empty()), "{push}");
    let from = push.attr("from");
    assert!(from.is_none_or(|from| from == account.jid()), "{push}");
    let query = push.child(ROSTER, "query").expect("a push has a query");
    let items: Vec<_> = query.children().collect();
    assert_eq!(items.len(), 1, "{push}");
    items[0].clone()
}

/// Whether an iq was answered by an error.
pub(super) fn is_refused(reply: &Element) -> bool {
    reply.is(CLIENT, "iq") && reply.attr("type") == Some("error") && reply.error().is_some()
}
