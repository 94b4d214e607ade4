//! Blocking (XEP-0191) between contacts that the server knows nothing of.

use serde_json::json;

use support::{
    backend::Backend,
    client::{Account, Client},
    ejabberd::Ejabberd,
    gateway::Gateway,
    prosody::Prosody,
    within,
};

use crate::presence::{nothing_more, sees};

const BLOCKING: &str = "urn:xmpp:blocking";

async fn online(gateway: &Gateway, account: &Account, resource: &str) -> Client {
    let mut client = gateway.login(account, resource).await;
    client.roster().await;
    client.send_presence("");
    client.expect_presence(&client.jid.clone(), "").await;
    client
}

async fn command(client: &mut Client, act: &str, jid: &str) {
    let item = match jid {
        "" => String::new(),
        jid => format!("<item jid='{jid}'/>"),
    };
    let payload = format!("<{act} xmlns='{BLOCKING}'>{item}</{act}>");
    let answer = client.iq("set", "", &payload).await;
    assert_eq!(answer.error(), None, "{answer}");
}

/// John blocks Marie, while both of them are there twice.
async fn scene(gateway: &Gateway, backend: &Backend, [john, marie]: [Account; 2]) {
    backend.set(&john.local, json!({ (marie.jid()): {} }));
    backend.set(&marie.local, json!({ (john.jid()): {} }));
    let mut one = online(gateway, &john, "one").await;
    let mut two = online(gateway, &john, "two").await;
    let mut other = online(gateway, &marie, "web").await;
    for john in [&mut one, &mut two] {
        sees(john, &other, "").await;
        sees(&mut other, john, "").await;
    }
    nothing_more([&mut one, &mut two, &mut other]).await;

    command(&mut one, "block", &marie.jid()).await;
    for john in [&mut one, &mut two] {
        sees(john, &other, "unavailable").await;
        sees(&mut other, john, "unavailable").await;
    }
    one.send_presence("<show>away</show>");
    other.send_presence("<show>dnd</show>");
    let mut third = online(gateway, &john, "third").await;
    nothing_more([&mut one, &mut two, &mut third, &mut other]).await;
    two.logout().await;
    nothing_more([&mut one, &mut third, &mut other]).await;

    for (jid, round) in [(marie.jid(), "by name"), (String::new(), "all")] {
        command(&mut one, "unblock", &jid).await;
        for john in [&mut one, &mut third] {
            sees(john, &other, "").await;
            sees(&mut other, john, "").await;
        }
        nothing_more([&mut one, &mut third, &mut other]).await;
        if round == "by name" {
            command(&mut one, "block", &marie.jid()).await;
            for john in [&mut one, &mut third] {
                sees(john, &other, "unavailable").await;
                sees(&mut other, john, "unavailable").await;
            }
        }
    }
    let jid = one.jid.clone();
    one.logout().await;
    other.expect_presence(&jid, "unavailable").await;
    nothing_more([&mut third, &mut other]).await;
}

#[tokio::test]
async fn hides_from_each_other_on_prosody() {
    for roster in [true, false] {
        let prosody = Prosody::builder().modules(["blocklist"]).roster(roster);
        let prosody: &'static Prosody = Box::leak(Box::new(prosody.start()));
        let backend = Backend::start();
        let gateway = Gateway::builder(prosody).backend(&backend).start();
        let users = [prosody.account("john"), prosody.account("marie")];
        scene(&gateway, &backend, users).await;
    }
}

#[tokio::test]
async fn hides_from_each_other_on_ejabberd() {
    let ejabberd = Ejabberd::builder().with("mod_blocking: {}");
    let ejabberd = ejabberd.with("mod_privacy: {}").start();
    let backend = Backend::start();
    let gateway = Gateway::builder(&ejabberd).backend(&backend).start();
    let users = [
        ejabberd.account("john").await,
        ejabberd.account("marie").await,
    ];
    scene(&gateway, &backend, users).await;
}

/// As a page does that is left.
#[tokio::test]
async fn a_block_comes_before_the_logout_that_follows_it() {
    let prosody = Prosody::builder().modules(["blocklist"]);
    let prosody: &'static Prosody = Box::leak(Box::new(prosody.start()));
    let backend = Backend::start();
    let gateway = Gateway::builder(prosody).backend(&backend).start();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    backend.set(&john.local, json!({ (marie.jid()): {} }));
    backend.set(&marie.local, json!({ (john.jid()): {} }));
    let _sibling = online(&gateway, &john, "sibling").await;
    for round in 0..5 {
        let mut client = online(&gateway, &john, "web").await;
        command(&mut client, "unblock", "").await;
        let item = format!("<item jid='{}'/>", marie.jid());
        client.send_iq(
            "set",
            "",
            &format!("<block xmlns='{BLOCKING}'>{item}</block>"),
        );
        client.logout().await;
        let mut client = online(&gateway, &john, "again").await;
        let get = format!("<blocklist xmlns='{BLOCKING}'/>");
        let blocked = async {
            while !client
                .iq("get", "", &get)
                .await
                .to_string()
                .contains(&marie.jid())
            {}
        };
        within(&format!("the block of round {round}"), blocked).await;
        client.logout().await;
    }
}
