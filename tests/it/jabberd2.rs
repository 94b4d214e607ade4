//! The gateway in front of jabberd2: a server whose features have prefixes of its stream header, and which
//! knows neither stream management nor a client's own presence.

use serde_json::json;

use support::{
    backend::Backend,
    client::Client,
    gateway::Gateway,
    jabberd2::Jabberd2,
    prosody::DOMAIN,
    within,
    xml::{CLIENT, Element},
};

use crate::{presence::nothing_more, site::item};

const LEGACY_AUTH: &str = "jabber:iq:auth";

#[tokio::test]
async fn carries_rosters_presence_and_messages() {
    let jabberd2 = Jabberd2::start();
    let backend = Backend::start();
    let gateway = Gateway::builder(&jabberd2).backend(&backend).start();
    let (john, marie) = (
        jabberd2.account("john").await,
        jabberd2.account("marie").await,
    );
    let contact = json!({ "name": "Marie", "groups": ["Friends"] });
    backend.set(&john.local, json!({ (marie.jid()): contact }));
    backend.set(&marie.local, json!({ (john.jid()): {} }));
    let mut one = gateway.login(&john, "web").await;
    assert_eq!(one.jid, format!("{}/web", john.jid()));
    let ack = one.features.children().find(|child| child.name == "ack");
    let ack = ack.unwrap_or_else(|| panic!("not what jabberd2 offers: {}", one.features));
    assert_eq!(ack.ns, "http://www.xmpp.org/extensions/xep-0198.html#ns");
    let roster: Vec<_> = one.roster().await.into_values().collect();
    assert_eq!(
        roster,
        [item(&marie.jid(), Some("Marie"), &["Friends"], "both")]
    );
    one.send_presence("");

    let mut other = gateway.login(&marie, "web").await;
    other.send_presence("<show>away</show>");
    one.expect_presence(&other.jid.clone(), "").await;
    other.expect_presence(&one.jid.clone(), "").await;
    nothing_more([&mut one, &mut other]).await;

    let mut stranger = jabberd2.contact("carol").await;
    one.send_message(&stranger.jid, "hello");
    stranger.expect_message("hello").await;
    stranger.send_message(&john.jid(), "hi");
    one.expect_message("hi").await;

    backend.set(&john.local, json!({}));
    let refresh = gateway.admin().at("/roster_admin/refresh");
    let body = json!([john.local]).to_string();
    assert_eq!(refresh.request("POST", &[], &body).await.status(), 200);
    one.expect_presence(&other.jid.clone(), "unavailable").await;
    assert_eq!(
        one.expect_push().await,
        item(&marie.jid(), None, &[], "remove")
    );
    other.expect_presence(&one.jid.clone(), "unavailable").await;
    assert_eq!(one.logout().await.condition, None);
}

/// Without stream management what a client never got is the gateway's to send back.
#[tokio::test]
async fn sends_back_what_a_client_that_vanished_never_got() {
    let jabberd2 = Jabberd2::start();
    let gateway = Gateway::builder(&jabberd2)
        .bosh("wait = \"1s\"\ninactivity = \"2s\"")
        .start();
    let mut contact = jabberd2.contact("marie").await;
    let client = gateway.login(&jabberd2.account("john").await, "web").await;
    let jid = client.jid.clone();
    client.vanish();
    let noticed = async {
        while !gateway.log().contains("connection ended early") {
            tokio::task::yield_now().await;
        }
    };
    within("the gateway to see it go", noticed).await;
    contact.send_message(&jid, "are you there?");
    let bounced = contact
        .expect("the message again", |stanza| {
            stanza.is(CLIENT, "message") && stanza.attr("type") == Some("error")
        })
        .await;
    assert_eq!(bounced.attr("from"), Some(jid.as_str()), "{bounced}");
}

/// It has a login of its own before binding (XEP-0078), which leads around the gateway.
#[tokio::test]
async fn offers_no_other_login_than_sasl() {
    let jabberd2 = Jabberd2::start();
    let gateway = Gateway::start(&jabberd2);
    let john = jabberd2.account("john").await;
    let of_server = Client::connect(&jabberd2.transport(), DOMAIN)
        .await
        .features;
    let mut client = Client::connect(&gateway.transport(), DOMAIN).await;
    let offers = |features: &Element| {
        let mut namespaces = features.children().map(|child| child.ns.as_str());
        namespaces.any(|ns| ns == "http://jabber.org/features/iq-auth")
    };
    assert!(offers(&of_server), "the server has it: {of_server}");
    assert!(!offers(&client.features), "{}", client.features);
    let reply = client
        .iq(
            "set",
            "",
            &format!(
                "<query xmlns='{LEGACY_AUTH}'><username>{}</username><password>{}</password>\
                 <resource>web</resource></query>",
                john.local, john.password
            ),
        )
        .await;
    assert_eq!(reply.attr("type"), Some("error"), "{reply}");
}
