//! Presence between contacts that the server knows nothing of, with and without its own rosters.

use std::time::Duration;

use serde_json::json;

use support::{
    backend::Backend,
    client::{Account, Client},
    gateway::Gateway,
    prosody::Prosody,
    xml::{CLIENT, Element, ROSTER},
};

use crate::site::Site;

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod with_rosters_of_the_server {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(Site::on(Prosody::shared())).await; })*
        }
        mod without_rosters_of_the_server {
            use super::*;
            $(#[tokio::test] async fn $name() {
                super::$name(Site::on(Prosody::shared_without_roster())).await;
            })*
        }
    };
}

on_both! {
    added_contacts_see_each_other,
    both_orders_of_login_work,
    changes_are_seen,
    every_end_is_seen,
    every_resource_takes_part_in_a_refresh,
    presence_may_come_before_or_with_the_roster_get,
    removed_contacts_lose_each_other,
    two_resources_are_told_apart,
    a_client_without_its_roster_takes_part_in_a_refresh,
    everything_is_seen_once,
    a_contact_listed_by_one_side_only_sees_the_other,
    who_may_see_but_not_be_seen_sees,
}

const GET: &str =
    "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";

pub(crate) async fn sees(client: &mut Client, other: &Client, kind: &str) -> Element {
    client.expect_presence(&other.jid.clone(), kind).await
}

async fn both_orders_of_login_work(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut one = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    one.logout().await;
    let mut one = site.online(&john, "again").await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
}

async fn presence_may_come_before_or_with_the_roster_get(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut marie = site.online(&marie, "web").await;
    let presence = format!("<presence xmlns='{CLIENT}'/>");
    for (resource, stanzas) in [
        ("before", format!("{presence}{GET}")),
        ("after", format!("{GET}{presence}")),
        ("alone", presence.clone()),
    ] {
        let mut client = site.gateway.login(&john, resource).await;
        client.send(&stanzas);
        sees(&mut client, &marie, "").await;
        sees(&mut marie, &client, "").await;
    }
}

async fn two_resources_are_told_apart(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut marie = site.online(&marie, "web").await;
    let one = site.online(&john, "one").await;
    let two = site.online(&john, "two").await;
    sees(&mut marie, &one, "").await;
    sees(&mut marie, &two, "").await;
    let jid = one.jid.clone();
    one.logout().await;
    marie.expect_presence(&jid, "unavailable").await;
    let gone = |stanza: &Element| stanza.is_presence(&two.jid, "unavailable");
    marie.expect_none("the end of the other", gone).await;
}

async fn changes_are_seen(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let one = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    sees(&mut other, &one, "").await;
    one.send_presence("<show>dnd</show><status>writing</status>");
    let changed = other
        .expect("the change", |stanza| {
            stanza.is_presence(&one.jid, "") && stanza.child(CLIENT, "show").is_some()
        })
        .await;
    let status = changed.child(CLIENT, "status").expect("a status").text();
    assert_eq!(status, "writing");
}

async fn every_end_is_seen(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let friend = marie;
    let mut marie = site.online(&friend, "web").await;

    let client = site.online(&john, "unavailable").await;
    sees(&mut marie, &client, "").await;
    client.send(&format!("<presence xmlns='{CLIENT}' type='unavailable'/>"));
    sees(&mut marie, &client, "unavailable").await;
    client.send_presence("");
    sees(&mut marie, &client, "").await;
    let jid = client.jid.clone();
    client.logout().await;
    marie.expect_presence(&jid, "unavailable").await;

    let short = Site::with(site.prosody, |gateway| gateway.bosh("inactivity = \"1s\""));
    short.list(&john, &[&friend]);
    let client = short.online(&john, "vanishing").await;
    sees(&mut marie, &client, "").await;
    let jid = client.jid.clone();
    client.vanish();
    marie.expect_presence(&jid, "unavailable").await;

    let client = short.online(&john, "orphaned").await;
    sees(&mut marie, &client, "").await;
    short.gateway.signal("KILL");
    sees(&mut marie, &client, "unavailable").await;
}

async fn added_contacts_see_each_other(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut one = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    let mut silent = site.gateway.login(&john, "silent").await;
    silent.roster().await;
    site.befriend(&john, &marie);
    site.refresh(&[&john, &marie]).await;
    assert_eq!(one.expect_push().await.jid, marie.jid());
    sees(&mut one, &other, "").await;
    assert_eq!(other.expect_push().await.jid, john.jid());
    sees(&mut other, &one, "").await;
    assert_eq!(silent.expect_push().await.jid, marie.jid());
    let silent_jid = silent.jid.clone();
    other
        .expect_none("who never became available", |stanza| {
            stanza.is_presence(&silent_jid, "")
        })
        .await;
}

async fn every_resource_takes_part_in_a_refresh(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut other = site.online(&marie, "web").await;
    let one = site.online(&john, "one").await;
    let two = site.online(&john, "two").await;
    let mut both = [one, two];
    site.befriend(&john, &marie);
    site.refresh(&[&john, &marie]).await;
    for client in &mut both {
        assert_eq!(client.expect_push().await.jid, marie.jid());
        sees(client, &other, "").await;
        sees(&mut other, client, "").await;
    }
    site.list(&john, &[]);
    site.refresh(&[&john]).await;
    for client in &mut both {
        let push = client.expect_push().await;
        assert_eq!(push.subscription.as_deref(), Some("remove"));
        sees(client, &other, "unavailable").await;
        sees(&mut other, client, "unavailable").await;
    }
}

/// A client that is available but has never asked for its roster.
async fn a_client_without_its_roster_takes_part_in_a_refresh(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut other = site.online(&marie, "web").await;
    let mut one = site.gateway.login(&john, "web").await;
    one.send_presence("");
    one.expect_presence(&one.jid.clone(), "").await;
    site.refresh(&[&john]).await;
    one.fence().await;
    site.befriend(&john, &marie);
    site.refresh(&[&john, &marie]).await;
    sees(&mut other, &one, "").await;
    sees(&mut one, &other, "").await;
    one.expect_none("push", support::client::is_push).await;
}

async fn removed_contacts_lose_each_other(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut one = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    // What this made her side send is there, too.
    other.fence().await;
    one.fence().await;
    // John alone is refreshed: both sides lose sight of each other all the same.
    site.list(&john, &[]);
    site.refresh(&[&john]).await;
    let seen = one.until("the push", support::client::is_push).await;
    assert!(
        seen.iter()
            .any(|stanza| stanza.is_presence(&other.jid, "unavailable")),
        "unavailable comes before the push: {seen:?}"
    );
    sees(&mut other, &one, "unavailable").await;
    other.send_presence("<show>away</show>");
    other.fence().await;
    one.expect_none("presence of a former contact", |stanza| {
        stanza.is_presence(&other.jid, "")
    })
    .await;
}

/// As if nobody had asked whether he may be seen; her client may ignore it.
async fn a_contact_listed_by_one_side_only_sees_the_other(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.list(&john, &[&marie]);
    let mut other = site.online(&marie, "web").await;
    let mut one = site.online(&john, "web").await;
    sees(&mut other, &one, "").await;
    other.send_presence("<show>away</show>");
    other.fence().await;
    one.expect_none("presence of who does not list him", |stanza| {
        stanza.is_presence(&other.jid, "")
    })
    .await;
    let jid = one.jid.clone();
    one.logout().await;
    other.expect_presence(&jid, "unavailable").await;
    let mut one = site.online(&john, "again").await;
    site.list(&marie, &[&john]);
    site.refresh(&[&marie]).await;
    assert_eq!(other.expect_push().await.jid, john.jid());
    sees(&mut other, &one, "").await;
    let away = sees(&mut one, &other, "").await;
    assert!(away.child(CLIENT, "show").is_some(), "the latest: {away}");
}

/// He may see her, she may not see him, whoever is there first.
async fn who_may_see_but_not_be_seen_sees(site: Site) {
    let (john, marie) = (site.member("john"), site.member("marie"));
    let list = |owner: &Account, friend: &Account, subscription: &str| {
        let contact = json!({ "subscription": subscription });
        site.backend
            .set(&owner.local, json!({ (friend.jid()): contact }));
    };
    list(&john, &marie, "to");
    list(&marie, &john, "from");
    let mut other = site.online(&marie, "web").await;
    let mut one = site.online(&john, "web").await;
    sees(&mut one, &other, "").await;
    nothing_more([&mut one, &mut other]).await;
    let jid = other.jid.clone();
    other.logout().await;
    one.expect_presence(&jid, "unavailable").await;
    let mut other = site.online(&marie, "again").await;
    sees(&mut one, &other, "").await;
    nothing_more([&mut one, &mut other]).await;
}

/// John behind one gateway, Marie behind another, before one server.
async fn everything_is_seen_once(site: Site) {
    let second = Gateway::builder(site.prosody).backend(&site.backend);
    let second = second.bosh("inactivity = \"3s\"").start();
    let (john, marie) = (site.member("john"), site.member("marie"));
    seen_once(&site.backend, [&site.gateway, &second], [john, marie]).await;
}

/// All that can happen between two, each of whom has a gateway.
pub(crate) async fn seen_once(
    backend: &Backend,
    gateways: [&Gateway; 2],
    [john, marie]: [Account; 2],
) {
    let list = |owner: &Account, friend: &Account| {
        backend.set(&owner.local, json!({ (friend.jid()): {} }));
    };
    let refresh = async |users: &[&Account]| {
        let users: Vec<&str> = users.iter().map(|user| &*user.local).collect();
        for gateway in gateways {
            let refresh = gateway.admin().at("/roster_admin/refresh");
            let body = json!(users).to_string();
            assert_eq!(refresh.request("POST", &[], &body).await.status(), 200);
        }
    };
    let online = async |at: usize, account: &Account, resource: &str| {
        let mut client = gateways[at].login(account, resource).await;
        client.roster().await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        client
    };
    list(&john, &marie);
    list(&marie, &john);

    // One after the other, a second resource, a change.
    let mut one = online(0, &john, "one").await;
    let mut other = online(1, &marie, "web").await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    nothing_more([&mut one, &mut other]).await;
    let mut two = online(0, &john, "two").await;
    sees(&mut other, &two, "").await;
    sees(&mut two, &other, "").await;
    nothing_more([&mut one, &mut other, &mut two]).await;
    two.send_presence("<show>dnd</show>");
    sees(&mut other, &two, "").await;
    nothing_more([&mut one, &mut other, &mut two]).await;

    // A logout; the browser of another is gone.
    let jid = two.jid.clone();
    two.logout().await;
    other.expect_presence(&jid, "unavailable").await;
    nothing_more([&mut one, &mut other]).await;
    let vanishing = online(1, &marie, "vanishing").await;
    sees(&mut one, &vanishing, "").await;
    let jid = vanishing.jid.clone();
    vanishing.vanish();
    let gone = |stanza: &Element| stanza.is_presence(&jid, "unavailable");
    let limit = Duration::from_secs(30);
    one.expect_within(limit, "the end of who has vanished", gone)
        .await;
    nothing_more([&mut one, &mut other]).await;

    // No friends any longer, by a refresh of both; what either does then is nothing to the other.
    backend.set(&john.local, json!({}));
    backend.set(&marie.local, json!({}));
    refresh(&[&john, &marie]).await;
    sees(&mut one, &other, "unavailable").await;
    sees(&mut other, &one, "unavailable").await;
    one.send_presence("<show>away</show>");
    nothing_more([&mut one, &mut other]).await;

    // Friends again, by a refresh of both; then one alone removes the other, who logs out.
    list(&john, &marie);
    list(&marie, &john);
    refresh(&[&john, &marie]).await;
    sees(&mut one, &other, "").await;
    let away = sees(&mut other, &one, "").await;
    assert!(away.child(CLIENT, "show").is_some(), "the latest: {away}");
    nothing_more([&mut one, &mut other]).await;
    backend.set(&john.local, json!({}));
    refresh(&[&john]).await;
    sees(&mut one, &other, "unavailable").await;
    sees(&mut other, &one, "unavailable").await;
    other.logout().await;
    nothing_more([&mut one]).await;

    // A list that is empty for a moment.
    list(&john, &marie);
    refresh(&[&john]).await;
    let mut other = online(1, &marie, "again").await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    backend.set(&john.local, json!({}));
    refresh(&[&john]).await;
    sees(&mut one, &other, "unavailable").await;
    sees(&mut other, &one, "unavailable").await;
    list(&john, &marie);
    refresh(&[&john]).await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    nothing_more([&mut one, &mut other]).await;
    let jid = other.jid.clone();
    other.logout().await;
    one.expect_presence(&jid, "unavailable").await;
    nothing_more([&mut one]).await;
    backend.set(&john.local, json!({}));
    refresh(&[&john]).await;
    let mut other = online(1, &marie, "back").await;
    nothing_more([&mut one, &mut other]).await;
    one.logout().await;
    nothing_more([&mut other]).await;
}

/// Asserts that nobody's presence comes any more but that of the own account.
pub(crate) async fn nothing_more<const N: usize>(mut clients: [&mut Client; N]) {
    // What one side's gateway sends may have an answer, and that another.
    for _ in 0..4 {
        for client in &mut clients {
            let bare = client.jid.split('/').next().expect("a JID").to_owned();
            let seen = client.fence().await;
            let presence = seen.iter().find(|stanza| {
                let from = stanza.attr("from").unwrap_or_default();
                stanza.is(CLIENT, "presence") && !from.starts_with(&bare)
            });
            assert_eq!(presence.map(Element::to_string), None, "{}", client.jid);
        }
    }
}

#[tokio::test]
async fn presence_sent_to_somebody_passes_untouched() {
    let site = Site::new();
    let john = site.member("john");
    let client = site.online(&john, "web").await;
    let mut marie = site.prosody.contact("marie").await;
    client.send(&format!(
        "<presence xmlns='{CLIENT}' to='{}'><x xmlns='urn:example:x'/></presence>",
        marie.jid
    ));
    let presence = marie.expect_presence(&client.jid.clone(), "").await;
    assert!(presence.child("urn:example:x", "x").is_some(), "{presence}");
    // The server remembers whom to tell of the end.
    let jid = client.jid.clone();
    client.logout().await;
    marie.expect_presence(&jid, "unavailable").await;
    let again = |stanza: &Element| stanza.is_presence(&jid, "unavailable");
    marie.expect_none("second end", again).await;
}

#[tokio::test]
async fn presence_can_be_left_to_the_server() {
    let prosody = Prosody::shared();
    let site = Site::with(prosody, |gateway| gateway.host("presence = \"server\""));
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    // A subscription in the server, made past the gateway.
    let mut one = prosody.login(&john, "direct").await;
    let mut other = prosody.login(&marie, "direct").await;
    for client in [&mut one, &mut other] {
        client.roster().await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
    }
    one.send(&format!(
        "<presence xmlns='{CLIENT}' type='subscribe' to='{}'/>",
        marie.jid()
    ));
    other.expect_presence(&john.jid(), "subscribe").await;
    other.send(&format!(
        "<presence xmlns='{CLIENT}' type='subscribed' to='{}'/>",
        john.jid()
    ));
    one.expect_presence(&marie.jid(), "subscribed").await;
    let mut web = site.online(&john, "web").await;
    sees(&mut web, &other, "").await;
    let none = |stanza: &Element| stanza.is_presence(&web.jid, "");
    other
        .expect_none("presence that nobody subscribed to", none)
        .await;
    assert!(
        web.iq("get", "", &format!("<query xmlns='{ROSTER}'/>"))
            .await
            .error()
            .is_none()
    );
}

#[tokio::test]
async fn group_chats_are_joined_as_ever() {
    let muc = "Component \"rooms.example.org\" \"muc\"";
    let prosody: &'static Prosody = Box::leak(Box::new(
        Prosody::builder().modules(["vcard"]).component(muc).start(),
    ));
    let site = Site::on(prosody);
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    let room = "room@rooms.example.org/john";
    client.send(&format!(
        "<presence xmlns='{CLIENT}' to='{room}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    ));
    client.expect_presence(room, "").await;
    client.send(&format!(
        "<presence xmlns='{CLIENT}' type='unavailable' to='{room}'/>"
    ));
    client.expect_presence(room, "unavailable").await;
}
