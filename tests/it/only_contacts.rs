//! `messages_from = "contacts"`: people write to their contacts alone.

use serde_json::json;

use support::{
    client::{Account, Client},
    prosody::Prosody,
    xml::Element,
};

use crate::{put_rosters::puts, site::Site};

fn site() -> Site {
    Site::with(Prosody::shared(), |gateway| {
        gateway.host("messages_from = \"contacts\"")
    })
}

fn is_message(stanza: &Element) -> bool {
    stanza.name == "message"
}

/// What is said arrives.
async fn reaches(from: &Client, to: &mut Client, body: &str) {
    from.send_message(&to.jid, body);
    to.expect_message(body).await;
}

/// What is said comes back with this error, and does not arrive.
async fn is_refused(from: &mut Client, to: &mut Client, condition: &str) {
    from.send_message(&to.jid, "let me in");
    let error = |stanza: &Element| is_message(stanza) && stanza.error().is_some();
    let error = from.expect("an error", error).await;
    assert_eq!(error.error(), Some(condition), "{error}");
    assert_eq!(error.attr("from"), Some(&*to.jid), "{error}");
    let text = "Only contacts can write to each other here.";
    assert!(error.to_string().contains(text), "{error}");
    to.expect_none("a message", is_message).await;
    from.expect_none("another error", is_message).await;
}

#[tokio::test]
async fn a_change_of_the_list_opens_and_closes_the_way_at_once() {
    let site = site();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut web = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    is_refused(&mut web, &mut other, "not-allowed").await;
    site.befriend(&john, &marie);
    site.refresh(&[&john, &marie]).await;
    reaches(&web, &mut other, "at last").await;
    reaches(&other, &mut web, "indeed").await;

    puts(&site, &john, &[]).await;
    puts(&site, &marie, &[]).await;
    is_refused(&mut web, &mut other, "not-allowed").await;
    is_refused(&mut other, &mut web, "not-allowed").await;
    // One list is enough, whoever's it is.
    puts(&site, &marie, &[(&john.jid(), json!({}))]).await;
    reaches(&web, &mut other, "again").await;
    reaches(&other, &mut web, "and again").await;
    // To oneself one may always write.
    web.send_message(&john.jid(), "a note");
    web.expect_message("a note").await;
}

/// A list of somebody who is offline may be of yesterday: a refresh does not fetch it.
#[tokio::test]
async fn who_has_left_lets_nobody_in_by_an_old_list() {
    let site = site();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let web = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    let mut native = site.prosody.login(&john, "native").await;
    native.send_presence("");
    reaches(&native, &mut other, "hello").await;

    web.logout().await;
    for user in [&john, &marie] {
        site.backend.set(&user.local, json!({}));
    }
    site.refresh(&[&john, &marie]).await;
    is_refused(&mut native, &mut other, "service-unavailable").await;
}

#[tokio::test]
async fn a_stranger_elsewhere_is_answered_and_not_heard() {
    let site = site();
    let john = site.member("john");
    let mut web = site.online(&john, "web").await;
    let mut stranger = site.prosody.contact("stranger").await;
    is_refused(&mut stranger, &mut web, "service-unavailable").await;
    // Whom the user cannot answer, either.
    is_refused(&mut web, &mut stranger, "not-allowed").await;
    let jid = stranger
        .jid
        .split('/')
        .next()
        .expect("a bare JID")
        .to_owned();
    puts(&site, &john, &[(&jid, json!({}))]).await;
    web.expect_push().await;
    reaches(&stranger, &mut web, "hello").await;
    reaches(&web, &mut stranger, "hello").await;
}

/// Writes as somebody to somebody who is offline.
async fn leave(from: &mut Client, to: &Account, body: &str) {
    from.send_message(&to.jid(), body);
    from.fence().await;
}

#[tokio::test]
async fn what_was_stored_for_a_user_waits_for_the_list_at_login() {
    let site = site();
    let john = site.member("john");
    let mut friend = site.prosody.contact("friend").await;
    let mut stranger = site.prosody.contact("stranger").await;
    let jid = friend.jid.split('/').next().expect("a bare JID").to_owned();
    site.backend.set(&john.local, json!({ jid: {} }));
    leave(&mut friend, &john, "one").await;
    leave(&mut stranger, &john, "buy").await;
    leave(&mut friend, &john, "two").await;
    site.prosody.stores(&john, 3).await;

    let mut gate = site.backend.gate(&john.local);
    let mut web = site.gateway.login(&john, "web").await;
    web.send_presence("");
    gate.reached_by(1).await;
    web.send_message(&stranger.jid, "me too");
    gate.open();
    let mut seen = web
        .until("both", |it| it.body().as_deref() == Some("two"))
        .await;
    seen.retain(is_message);
    let bodies: Vec<_> = seen.iter().filter_map(Element::body).collect();
    assert!(!bodies.iter().any(|it| it == "buy"), "{bodies:?}");
    assert!(bodies.iter().any(|it| it == "one"), "{bodies:?}");
    let error = |it: &Element| it.error() == Some("service-unavailable");
    stranger.expect("an error", error).await;
    stranger.expect_none("the answer", is_message).await;
}
