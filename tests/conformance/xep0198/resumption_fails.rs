//! 5: when a session cannot be resumed.

use super::Managed;
use support::{
    gateway::Gateway,
    site::{Site, only_rostergate},
    webstream::{Management, WebStream},
    xml::{Element, SM, STANZA_ERRORS, STREAM_ERRORS},
};

fn is_not_found(failed: &Element) -> bool {
    failed.is(SM, "failed") && failed.child(STANZA_ERRORS, "item-not-found").is_some()
}

#[tokio::test]
async fn says_that_an_unknown_id_is_unknown_and_lets_bind() {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let account = site.account("john");
    let mut web = WebStream::authenticated(&gateway.websocket(), &account).await;
    for id in ["never-given", "x", "ß&lt;&quot;"] {
        let state = Management {
            id: id.to_owned(),
            ..Management::default()
        };
        let failed = web.try_resume(&state).await;
        assert!(is_not_found(&failed), "{failed}");
        assert_eq!(failed.attr("h"), None, "{failed}");
    }
    web.bind("web").await;
    let enabled = web.enable().await;
    assert!(enabled.is(SM, "enabled"), "{enabled}");
    web.fence().await;
}

#[tokio::test]
async fn says_what_it_had_got_when_the_time_is_over() {
    only_rostergate("it is configured for this test");
    let gateway = Gateway::builder(Site::shared())
        .websocket("resume = \"1s\"")
        .start();
    let mut session = Managed::behind(gateway).await;
    session.greet().await;
    session.say("one").await;
    session.desk.expect_message("one").await;
    session.web.fence().await;
    session.web.expect_acknowledged().await;
    let state = session.lose().await;
    session
        .desk
        .expect_presence(&state.jid, "unavailable")
        .await;
    let failed = session.web.resume(state).await;
    assert!(is_not_found(&failed), "{failed}");
    assert_eq!(failed.attr("h"), Some("3"), "{failed}");
    session.web.bind("web").await;
}

/// Whoever has found the id of somebody else learns nothing by it.
#[tokio::test]
async fn gives_nobody_the_session_of_another() {
    let mut session = Managed::new().await;
    session.say("one").await;
    let state = session.lose().await;
    let thief = Site::shared().account("thief");
    let mut web = WebStream::authenticated(&session.endpoint(), &thief).await;
    let failed = web.try_resume(&state).await;
    assert!(is_not_found(&failed), "{failed}");
    assert_eq!(failed.attr("h"), None, "{failed}");
    let resumed = session.web.resume(state).await;
    assert!(
        resumed.is(SM, "resumed"),
        "its owner still has it: {resumed}"
    );
}

/// Known beforehand is only the name, so nothing may be done in the name of it.
#[tokio::test]
async fn resumes_nothing_before_authentication() {
    let mut session = Managed::new().await;
    let state = session.lose().await;
    let mut web = WebStream::open(&session.endpoint(), &session.account.domain).await;
    let (id, h) = (&state.id, state.received);
    web.send(&format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>"))
        .await;
    let answer = web.receive().await.expect("an answer");
    assert!(!answer.is(SM, "resumed"), "{answer}");
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
}

#[tokio::test]
async fn refuses_a_stream_that_has_a_resource() {
    let mut session = Managed::new().await;
    let state = session.lose().await;
    session.web.bind("other").await;
    let failed = session.web.try_resume(&state).await;
    assert!(failed.is(SM, "failed"), "{failed}");
    let condition = failed.child(STANZA_ERRORS, "unexpected-request");
    assert!(condition.is_some(), "{failed}");
    session.web.fence().await;
    session.web = session.another().await;
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
}

#[tokio::test]
async fn refuses_a_count_that_is_too_high_and_keeps_the_session() {
    only_rostergate("XEP-0198 does not say what becomes of the session");
    let mut session = Managed::new().await;
    let state = session.lose().await;
    let wrong = Management {
        received: state.received + 1,
        ..state.clone()
    };
    let (id, h) = (&wrong.id, wrong.received);
    let resume = format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>");
    session.web.send(&resume).await;
    let another = session.another().await;
    let ended = std::mem::replace(&mut session.web, another).end().await;
    let error = ended.error.expect("a stream error");
    let condition = error.child(STREAM_ERRORS, "undefined-condition");
    assert!(condition.is_some(), "{error}");
    let count = error
        .child(SM, "handled-count-too-high")
        .expect("what is wrong");
    assert_eq!(count.attr("h"), Some(&*h.to_string()));
    assert_eq!(count.attr("send-count"), Some(&*state.received.to_string()));
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
}

#[tokio::test]
async fn keeps_no_session_that_did_not_ask_for_it() {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let account = site.account("john");
    let mut web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
    web.enable_with("").await;
    let mut desk = site.contact("marie").await;
    let presence = format!("<presence xmlns='jabber:client' to='{}'/>", desk.jid);
    web.send_stanza(&presence).await;
    desk.expect_presence(&web.jid, "").await;
    let jid = web.jid.clone();
    drop(web);
    desk.expect_presence(&jid, "unavailable").await;
}

/// The server has all that the client had not acknowledged, and stores it.
#[tokio::test]
async fn leaves_to_the_server_what_was_not_acknowledged() {
    only_rostergate("servers have settings for it");
    let prosody = support::prosody::Prosody::builder()
        .modules(["offline"])
        .start();
    let gateway = Gateway::builder(&prosody)
        .websocket("resume = \"1s\"")
        .start();
    let account = prosody.account("john");
    let endpoint = gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    web.send_presence().await;
    let mut desk = prosody.contact("marie").await;
    for number in 0..20 {
        desk.send_message(&account.jid(), &number.to_string());
    }
    desk.fence().await;
    for number in 0..5 {
        web.expect_message(&number.to_string()).await;
    }
    web.acknowledge().await;
    web.ask().await;
    let state = web.vanish();
    let acknowledged = state.received as usize - 1;
    prosody.stores(&account, 20 - acknowledged).await;
    let mut web = WebStream::log_in(&endpoint, &account, "web").await;
    web.send_stanza("<presence xmlns='jabber:client'/>").await;
    for number in acknowledged..20 {
        web.expect_message(&number.to_string()).await;
    }
}
