//! 3.6: Closing the Connection.

use support::{
    client::Client,
    gateway::Gateway,
    site::{Site, domain, only_rostergate},
    websocket::Received,
    webstream::{CLOSE_ELEMENT, WebStream},
    xml::{CLIENT, Element, FRAMING},
};

/// A session of which a contact learns when it ends.
async fn seen() -> (Gateway, WebStream, Client) {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let mut web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
    let mut desk = site.contact("marie").await;
    let hello = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
    web.send_stanza(&hello).await;
    desk.expect_presence(&web.jid, "").await;
    (gateway, web, desk)
}

#[tokio::test]
async fn answers_close_with_close_and_ends() {
    let (_gateway, mut web, mut desk) = seen().await;
    let jid = web.jid.clone();
    web.send(CLOSE_ELEMENT).await;
    assert_eq!(web.end().await.steps, ["<close/>", "1000"]);
    desk.expect_presence(&jid, "unavailable").await;
}

/// As Strophe does.
#[tokio::test]
async fn ends_in_order_if_the_client_sends_its_close_frame_at_once() {
    let (_gateway, mut web, mut desk) = seen().await;
    let jid = web.jid.clone();
    web.send(CLOSE_ELEMENT).await;
    web.close(1000).await;
    let steps = web.end().await.steps;
    assert!(steps.ends_with(&["1000".to_owned()]), "{steps:?}");
    let closes = steps.iter().filter(|step| *step == "<close/>");
    assert!(closes.count() <= 1, "{steps:?}");
    desk.expect_presence(&jid, "unavailable").await;
}

/// Strophe compares the text.
#[tokio::test]
async fn writes_close_as_strophe_looks_for_it() {
    only_rostergate("RFC 7395 leaves the form open");
    let (_gateway, mut web, _desk) = seen().await;
    web.send(CLOSE_ELEMENT).await;
    let expected = "<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\" />";
    assert_eq!(web.end().await.close, expected);
}

#[tokio::test]
async fn sends_what_the_client_said_before_it_closed() {
    let (_gateway, mut web, mut desk) = seen().await;
    let to = desk.jid.clone();
    for number in 0..50 {
        web.send_message(&to, &number.to_string()).await;
    }
    web.send(CLOSE_ELEMENT).await;
    for number in 0..50 {
        desk.expect_message(&number.to_string()).await;
    }
    desk.expect_presence(&web.jid, "unavailable").await;
}

#[tokio::test]
async fn does_nothing_that_is_said_after_close() {
    let (_gateway, mut web, mut desk) = seen().await;
    let (to, jid) = (desk.jid.clone(), web.jid.clone());
    web.send(CLOSE_ELEMENT).await;
    web.send_message(&to, "too late").await;
    web.end().await;
    desk.expect_presence(&jid, "unavailable").await;
    assert_eq!(desk.fence().await, []);
}

#[tokio::test]
async fn ends_a_session_without_resumption_when_its_connection_is_lost() {
    let (_gateway, web, mut desk) = seen().await;
    let jid = web.jid.clone();
    drop(web);
    desk.expect_presence(&jid, "unavailable").await;
}

#[tokio::test]
async fn ends_a_session_without_resumption_when_its_page_is_left() {
    let (_gateway, mut web, mut desk) = seen().await;
    let jid = web.jid.clone();
    web.close(1001).await;
    assert_eq!(web.end().await.steps, ["1001"]);
    desk.expect_presence(&jid, "unavailable").await;
}

#[tokio::test]
async fn does_not_wait_for_a_client_that_does_not_answer_close() {
    let (_gateway, mut web, _desk) = seen().await;
    web.send("<hello/>").await;
    // A client that says nothing any more, but reads.
    let mut seen = Vec::new();
    loop {
        match web.socket.next().await {
            Received::Text(text) => seen.push(Element::parse(text).name),
            Received::Close(code) => seen.push(format!("{code:?}")),
            Received::End => break,
        }
    }
    assert_eq!(seen, ["error", "close", "Some(1000)"]);
}

#[tokio::test]
async fn passes_on_that_the_server_ends_the_session() {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let account = site.account("john");
    let endpoint = gateway.websocket();
    let old = WebStream::log_in(&endpoint, &account, "same").await;
    let mut new = WebStream::log_in(&endpoint, &account, "same").await;
    let steps = old.end().await.steps;
    assert_eq!(steps, ["conflict", "<close/>", "1000"]);
    new.fence().await;
    assert_eq!(domain(), account.domain);
}

#[tokio::test]
async fn sends_exactly_one_close() {
    let (_gateway, mut web, _desk) = seen().await;
    for _ in 0..3 {
        web.send(CLOSE_ELEMENT).await;
    }
    web.send(&format!("<close xmlns='{FRAMING}'></close>"))
        .await;
    assert_eq!(web.end().await.steps, ["<close/>", "1000"]);
}
