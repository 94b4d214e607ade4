//! The gateway in front of ejabberd: what other servers do differently.

use serde_json::json;

use support::{
    backend::Backend, client::Client, ejabberd::Ejabberd, gateway::Gateway, prosody::DOMAIN,
    sasl::Mechanism, xml::CLIENT,
};

use crate::{presence::seen_once, site::item};

#[tokio::test]
async fn logs_in_by_every_mechanism() {
    let ejabberd = Ejabberd::shared();
    let gateway = Gateway::start(ejabberd);
    for mechanism in [
        Mechanism::Plain,
        Mechanism::ScramSha1,
        Mechanism::ScramSha256,
    ] {
        let account = ejabberd.account("john").await;
        let mut client = Client::login_by(mechanism, &gateway.transport(), &account, "web").await;
        assert_eq!(
            client.jid,
            format!("{}/web", account.jid()),
            "{mechanism:?}"
        );
        let mut contact = ejabberd.contact("marie").await;
        client.send_message(&contact.jid, "hello");
        contact.expect_message("hello").await;
        contact.send_message(&client.jid, "hi");
        client.expect_message("hi").await;
        assert_eq!(client.logout().await.condition, None);
    }
}

#[tokio::test]
async fn passes_the_refusal_of_a_forged_sender_on() {
    let ejabberd = Ejabberd::shared();
    let gateway = Gateway::start(ejabberd);
    let account = ejabberd.account("john").await;
    let mut client = gateway.login(&account, "web").await;
    let (forged, to) = (format!("mallory@{DOMAIN}"), account.jid());
    client.send(&format!(
        "<message xmlns='{CLIENT}' from='{forged}' to='{to}'/>"
    ));
    let end = client.expect_end().await;
    assert_eq!(end.stream_error(), Some("invalid-from"));
}

#[tokio::test]
async fn passes_a_conflict_on() {
    let ejabberd = Ejabberd::shared();
    let gateway = Gateway::start(ejabberd);
    let account = ejabberd.account("john").await;
    let mut first = gateway.login(&account, "web").await;
    let mut second = gateway.login(&account, "web").await;
    let end = first.expect_end().await;
    assert_eq!(end.stream_error(), Some("conflict"));
    assert_eq!(second.fence().await, []);
}

#[tokio::test]
async fn carries_rosters_and_presence() {
    rosters_and_presence(Ejabberd::shared()).await;
}

/// Without mod_roster, ejabberd crashes sessions that send subscriptions.
#[tokio::test]
async fn carries_rosters_and_presence_without_rosters_of_its_own() {
    rosters_and_presence(&Ejabberd::builder().without("mod_roster").start()).await;
}

#[tokio::test]
async fn shows_everything_once() {
    let ejabberd = Ejabberd::shared();
    let backend = Backend::start();
    let first = Gateway::builder(ejabberd).backend(&backend).start();
    let second = Gateway::builder(ejabberd).backend(&backend);
    let second = second.bosh("inactivity = \"3s\"").start();
    let users = [
        ejabberd.account("john").await,
        ejabberd.account("marie").await,
    ];
    seen_once(&backend, [&first, &second], users).await;
}

async fn rosters_and_presence(ejabberd: &Ejabberd) {
    let backend = Backend::start();
    let gateway = Gateway::builder(ejabberd).backend(&backend).start();
    let (john, marie) = (
        ejabberd.account("john").await,
        ejabberd.account("marie").await,
    );
    backend.set(&john.local, json!({ (marie.jid()): { "name": "Marie" } }));
    backend.set(&marie.local, json!({ (john.jid()): {} }));
    let mut one = gateway.login(&john, "web").await;
    let roster: Vec<_> = one.roster().await.into_values().collect();
    assert_eq!(roster, [item(&marie.jid(), Some("Marie"), &[], "both")]);
    one.send_presence("");
    one.expect_presence(&one.jid.clone(), "").await;
    one.send(&format!(
        "<presence xmlns='{CLIENT}' type='subscribe' to='x@{DOMAIN}'/>"
    ));
    one.expect_presence(&format!("x@{DOMAIN}"), "unsubscribed")
        .await;

    let mut other = gateway.login(&marie, "web").await;
    other.send_presence("<show>away</show>");
    one.expect_presence(&other.jid.clone(), "").await;
    other.expect_presence(&one.jid.clone(), "").await;

    backend.set(&john.local, json!({}));
    let refresh = gateway.admin().at("/roster_admin/refresh");
    let body = json!([john.local]).to_string();
    assert_eq!(refresh.request("POST", &[], &body).await.status(), 200);
    one.expect_presence(&other.jid.clone(), "unavailable").await;
    let removed = loop {
        let push = one.expect_push().await;
        if push.jid == marie.jid() {
            break push;
        }
    };
    assert_eq!(removed, item(&marie.jid(), None, &[], "remove"));
    other.expect_presence(&one.jid.clone(), "unavailable").await;

    one.send(&format!("<presence xmlns='{CLIENT}' to='{}'/>", other.jid));
    other.expect_presence(&one.jid.clone(), "").await;
    let jid = one.jid.clone();
    one.logout().await;
    other.expect_presence(&jid, "unavailable").await;
}
