//! Presence and avatars through the module for Prosody, and what users change.

use serde_json::json;

use support::{
    client::{Account, Client, Transport},
    prosody::{DOMAIN, Prosody, TOKEN},
    xml::{CLIENT, Element, ROSTER},
};

use crate::{
    presence::sees,
    prosody_module::{available, avatars, notified, publish_avatar, pushes, read, write},
    site::item,
};

#[tokio::test]
async fn presence_is_seen_once_when_the_second_list_is_written() {
    let prosody = Prosody::shared_rostergate();
    for [first, second] in [[0, 1], [1, 0]] {
        let users = [prosody.account("john"), prosody.account("marie")];
        let [native, web] = [
            Transport::Tcp(prosody.c2s()),
            Transport::WebSocket(prosody.websocket()),
        ];
        let mut one = available(&native, &users[0], "one").await;
        let mut two = available(&web, &users[0], "two").await;
        let mut other = available(&web, &users[1], "web").await;
        sees(&mut one, &two, "").await;
        sees(&mut two, &one, "").await;
        two.send_presence("<show>away</show>");
        sees(&mut one, &two, "").await;
        two.expect_presence(&two.jid.clone(), "").await;
        befriend(prosody, &users[first], &users[second]).await;
        quiet([&mut one, &mut two, &mut other]).await;
        // Prosody would send it: the sender lists the other.
        one.send_presence("<show>xa</show>");
        other.send_presence("<show>xa</show>");
        for client in [&mut one, &mut other] {
            client.expect_presence(&client.jid.clone(), "").await;
        }
        sees(&mut two, &one, "").await;
        quiet([&mut one, &mut two, &mut other]).await;

        befriend(prosody, &users[second], &users[first]).await;
        for client in [&mut one, &mut two] {
            let seen = sees(client, &other, "").await;
            assert!(seen.child(CLIENT, "show").is_some(), "the latest: {seen}");
        }
        sees(&mut other, &one, "").await;
        sees(&mut other, &two, "").await;
        quiet([&mut one, &mut two, &mut other]).await;

        // A change of something else shows nothing again.
        let named = json!({ (users[1].jid()): { "name": "Marie" } });
        write(prosody, &users[0], &named, &[]).await;
        quiet([&mut one, &mut two, &mut other]).await;

        unfriend(prosody, &users[first], &users[second]).await;
        for client in [&mut one, &mut two] {
            sees(client, &other, "unavailable").await;
        }
        sees(&mut other, &one, "unavailable").await;
        sees(&mut other, &two, "unavailable").await;
        // The other still has the item, and yet nothing more is seen.
        one.send_presence("");
        other.send_presence("");
        for client in [&mut one, &mut other] {
            client.expect_presence(&client.jid.clone(), "").await;
        }
        sees(&mut two, &one, "").await;
        quiet([&mut one, &mut two, &mut other]).await;
        if first == 0 {
            unfriend(prosody, &users[1], &users[0]).await;
            quiet([&mut one, &mut two, &mut other]).await;
            other.logout().await;
            quiet([&mut one, &mut two]).await;
        } else {
            let jid = one.jid.clone();
            one.logout().await;
            two.expect_presence(&jid, "unavailable").await;
            quiet([&mut two, &mut other]).await;
        }
    }
}

#[tokio::test]
async fn logins_and_logouts_are_seen_once() {
    let prosody = Prosody::shared_rostergate();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    let native = Transport::Tcp(prosody.c2s());
    // Nobody is online.
    befriend(prosody, &john, &marie).await;
    befriend(prosody, &marie, &john).await;
    let mut one = available(&native, &john, "one").await;
    let mut other = available(&native, &marie, "other").await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    let jid = one.jid.clone();
    one.logout().await;
    other.expect_presence(&jid, "unavailable").await;
    quiet([&mut other]).await;

    // One has logged in between the two writes.
    unfriend(prosody, &john, &marie).await;
    unfriend(prosody, &marie, &john).await;
    befriend(prosody, &john, &marie).await;
    let mut one = available(&native, &john, "one").await;
    quiet([&mut one, &mut other]).await;
    befriend(prosody, &marie, &john).await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    quiet([&mut one, &mut other]).await;

    // A resource without presence takes no part.
    let mut silent = Client::login(&native, &john, "silent").await;
    silent.roster().await;
    unfriend(prosody, &john, &marie).await;
    sees(&mut one, &other, "unavailable").await;
    sees(&mut other, &one, "unavailable").await;
    befriend(prosody, &john, &marie).await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    assert_eq!(pushes(&mut silent).await.len(), 2);
    quiet([&mut one, &mut other, &mut silent]).await;
    one.vanish();
    let gone = format!("{}/one", john.jid());
    other.expect_presence(&gone, "unavailable").await;
    quiet([&mut other, &mut silent]).await;
}

#[tokio::test]
async fn avatars_flow_while_both_are_contacts() {
    let prosody = Prosody::shared_rostergate();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    let web = Transport::Bosh(prosody.bosh());
    let mut one = notified(&Transport::Tcp(prosody.c2s()), &john, "native").await;
    let mut other = notified(&web, &marie, "web").await;
    publish_avatar(&mut one, "j1").await;
    publish_avatar(&mut other, "m1").await;
    befriend(prosody, &john, &marie).await;
    assert_eq!(avatars(&mut one).await, []);
    assert_eq!(avatars(&mut other).await, []);
    befriend(prosody, &marie, &john).await;
    assert_eq!(avatars(&mut one).await, [(marie.jid(), "m1".to_owned())]);
    assert_eq!(avatars(&mut other).await, [(john.jid(), "j1".to_owned())]);
    publish_avatar(&mut one, "j2").await;
    publish_avatar(&mut other, "m2").await;
    assert_eq!(avatars(&mut one).await, [(marie.jid(), "m2".to_owned())]);
    assert_eq!(avatars(&mut other).await, [(john.jid(), "j2".to_owned())]);

    unfriend(prosody, &john, &marie).await;
    publish_avatar(&mut one, "j3").await;
    publish_avatar(&mut other, "m3").await;
    assert_eq!(avatars(&mut one).await, []);
    assert_eq!(avatars(&mut other).await, []);
    unfriend(prosody, &marie, &john).await;

    // Somebody who is offline is seen all the same.
    let jid = other.jid.clone();
    other.logout().await;
    one.expect_none("logout of a stranger", |stanza| {
        stanza.is_presence(&jid, "unavailable")
    })
    .await;
    befriend(prosody, &marie, &john).await;
    befriend(prosody, &john, &marie).await;
    assert_eq!(avatars(&mut one).await, [(marie.jid(), "m3".to_owned())]);
}

#[tokio::test]
async fn users_change_nothing_themselves() {
    let prosody = Prosody::shared_rostergate();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    let native = Transport::Tcp(prosody.c2s());
    befriend(prosody, &john, &marie).await;
    befriend(prosody, &marie, &john).await;
    let mut one = available(&native, &john, "one").await;
    let mut other = available(&native, &marie, "other").await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    let (friend, stranger) = (marie.jid(), format!("stranger@{DOMAIN}"));
    for (item, is_now) in [
        (
            format!("<item jid='{friend}' name='Mine'/>"),
            item(&friend, None, &[], "both"),
        ),
        (
            format!("<item jid='{friend}' subscription='remove'/>"),
            item(&friend, None, &[], "both"),
        ),
        (
            format!("<item jid='{stranger}'/>"),
            item(&stranger, None, &[], "remove"),
        ),
    ] {
        let set = format!("<query xmlns='{ROSTER}'>{item}</query>");
        let reply = one.iq("set", "", &set).await;
        assert_eq!(reply.error(), Some("not-allowed"), "{reply}");
        assert!(
            reply.to_string().contains("managed by the website"),
            "{reply}"
        );
        assert_eq!(pushes(&mut one).await, [is_now]);
    }
    for garbage in [
        "",
        "<item/>",
        "<item jid='@'/>",
        "<item jid='a@b/c'/><item jid='d'/>",
        "<x/>",
    ] {
        let set = format!("<query xmlns='{ROSTER}'>{garbage}</query>");
        assert_eq!(
            one.iq("set", "", &set).await.error(),
            Some("not-allowed"),
            "{garbage}"
        );
        one.fence().await;
    }
    for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
        for to in [&friend, &other.jid, &stranger, DOMAIN] {
            one.send(&format!(
                "<presence xmlns='{CLIENT}' type='{kind}' to='{to}'/>"
            ));
            let refused = one.expect_presence(to, "error").await;
            assert_eq!(refused.error(), Some("not-allowed"), "{refused}");
        }
    }
    quiet([&mut one, &mut other]).await;
    let listed =
        |contact: &Account| json!({ (contact.jid()): { "subscription": "both", "written": true } });
    assert_eq!(read(prosody, &john).await, listed(&marie));
    assert_eq!(read(prosody, &marie).await, listed(&john));
}

/// At a login Prosody asks for the presence of contacts, and those who do not know the user answer that he is none.
#[tokio::test]
async fn a_one_sided_contact_stays_as_it_is_written() {
    let prosody = Prosody::shared_rostergate();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    let native = Transport::Tcp(prosody.c2s());
    befriend(prosody, &john, &marie).await;
    let mut other = available(&native, &marie, "other").await;
    let mut one = available(&native, &john, "one").await;
    quiet([&mut one, &mut other]).await;
    other.logout().await;
    let mut other = available(&native, &marie, "other").await;
    quiet([&mut one, &mut other]).await;
    let listed = json!({ (marie.jid()): { "subscription": "both", "written": true } });
    assert_eq!(read(prosody, &john).await, listed);
    assert_eq!(read(prosody, &marie).await, json!({}));
}

/// What another server does is its own affair; this one shows presence and asks for it.
#[tokio::test]
async fn contacts_of_another_domain_are_told() {
    let other_host = format!("VirtualHost \"example.net\"\nrostergate_token = \"{TOKEN}\"");
    let prosody = Prosody::builder()
        .rostergate()
        .component(&other_host)
        .start();
    let john = prosody.account("john");
    let zoe = prosody.account_at("zoe", "example.net");
    let native = Transport::Tcp(prosody.c2s());
    let mut one = available(&native, &john, "one").await;
    let mut other = available(&native, &zoe, "other").await;
    befriend(&prosody, &john, &zoe).await;
    sees(&mut other, &one, "").await;
    quiet([&mut one, &mut other]).await;
    befriend(&prosody, &zoe, &john).await;
    sees(&mut one, &other, "").await;
    sees(&mut other, &one, "").await;
    quiet([&mut one]).await;
    unfriend(&prosody, &john, &zoe).await;
    sees(&mut other, &one, "unavailable").await;
    one.send_presence("<show>away</show>");
    one.expect_presence(&one.jid.clone(), "").await;
    quiet([&mut other]).await;
    let listed = json!({ (john.jid()): { "subscription": "both", "written": true } });
    assert_eq!(read(&prosody, &zoe).await, listed);
}

/// Writes the contact into the list of the user alone.
async fn befriend(prosody: &Prosody, user: &Account, contact: &Account) {
    let written = write(prosody, user, &json!({ (contact.jid()): {} }), &[]).await;
    assert_eq!(written["written"], 1);
}

async fn unfriend(prosody: &Prosody, user: &Account, contact: &Account) {
    let removed = write(prosody, user, &json!({}), &[&contact.jid()]).await;
    assert_eq!(removed["removed"], 1);
}

/// Asserts that these clients have been told of nobody's presence since they were asked last.
async fn quiet<const N: usize>(clients: [&mut Client; N]) {
    for client in clients {
        let seen = client.fence().await;
        let unwanted = seen.iter().find(|stanza| stanza.is(CLIENT, "presence"));
        assert_eq!(unwanted.map(Element::to_string), None, "{}", client.jid);
    }
}
