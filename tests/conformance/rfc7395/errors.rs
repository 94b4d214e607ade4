//! 3.5: Stream Errors.

use support::{
    gateway::Gateway,
    site::{Site, domain},
    websocket::Received,
    webstream::{WebStream, open},
    xml::{CLIENT, STREAM_ERRORS},
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

/// Strophe compares the attribute of the condition, and needs the prefix of the error.
#[tokio::test]
async fn writes_errors_as_clients_look_for_them() {
    let gateway = gateway();
    let mut stream = WebStream::connect(&gateway.websocket(), domain()).await;
    stream.send(&open("unknown.example", &[])).await;
    let mut texts = Vec::new();
    while let Received::Text(text) = stream.socket.next().await {
        texts.push(text);
    }
    let error = &texts[1];
    let tag = error.split('>').next().expect("a tag");
    assert!(tag.starts_with("<stream:error"), "{error}");
    assert!(tag.contains("xmlns:stream="), "{error}");
    let (_, condition) = error.split_once("<host-unknown").expect("the condition");
    let tag = condition.split('>').next().expect("a tag");
    assert!(tag.contains(STREAM_ERRORS), "{error}");
}

#[tokio::test]
async fn ends_the_session_after_an_error() {
    let site = Site::shared();
    let gateway = gateway();
    let mut desk = site.contact("marie").await;
    let mut web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
    let to = desk.jid.clone();
    web.send_stanza(&format!("<presence xmlns='{CLIENT}' to='{to}'/>"))
        .await;
    desk.expect_presence(&web.jid, "").await;
    let jid = web.jid.clone();
    web.send("<hello/>").await;
    web.send_message(&to, "too late").await;
    let steps = web.end().await.steps;
    assert_eq!(steps.len(), 3, "{steps:?}");
    desk.expect_presence(&jid, "unavailable").await;
    assert_eq!(desk.fence().await, []);
}

#[tokio::test]
async fn does_not_hurt_other_sessions() {
    let site = Site::shared();
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let account = site.account("john");
    let mut other = WebStream::log_in(&endpoint, &account, "other").await;
    let mut web = WebStream::log_in(&endpoint, &account, "web").await;
    web.send("<presence").await;
    web.end().await;
    other.fence().await;
}
