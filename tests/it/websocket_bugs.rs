//! Bugs that other services had over WebSocket, and that this one shall not have. What any service has to do is in
//! `tests/conformance`; each test names the thread.

use std::time::Duration;

use support::{
    client::Account,
    gateway::Gateway,
    prosody::Prosody,
    websocket::{CONTINUATION, FIN, Received, TEXT, WebSocket, frame},
    webstream::WebStream,
    xml::{CLIENT, Element, SM, message},
};

fn managed(gateway: &Gateway) -> (support::http::Endpoint, Account) {
    (gateway.websocket(), Prosody::shared().account("john"))
}

/// A message of so many bytes, in frames of at most this many.
fn long(bytes: usize, fragment: usize) -> Vec<u8> {
    let start = format!("<message xmlns='{CLIENT}' to='nobody@example.org'><body>");
    let end = "</body></message>";
    let body = "x".repeat(bytes - start.len() - end.len());
    let text = [start.as_bytes(), body.as_bytes(), end.as_bytes()].concat();
    let mut frames = Vec::new();
    let mut parts = text.chunks(fragment).peekable();
    let mut opcode = TEXT;
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { FIN } else { 0 };
        frames.extend(frame(last | opcode, part));
        opcode = CONTINUATION;
    }
    frames
}

/// MongooseIM #4193, #1640.
#[tokio::test]
async fn the_limit_of_a_message_holds_for_one_frame_and_for_fragments() {
    let gateway = Gateway::start(Prosody::shared());
    for fragment in [usize::MAX, 10_000] {
        let (endpoint, account) = managed(&gateway);
        let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
        web.write(&long(256 << 10, fragment)).await;
        web.managed().sent += 1;
        web.managed().unacknowledged.push_back("long".to_owned());
        web.fence().await;
        let session = web.managed().clone();
        web.write(&long((256 << 10) + 1, fragment)).await;
        let steps = web.end().await.steps;
        let steps: Vec<_> = steps.iter().filter(|step| *step != "<a/>").collect();
        assert_eq!(
            steps,
            ["policy-violation", "<close/>", "1009"],
            "{fragment}"
        );
        // It would send the same again.
        let mut web = WebStream::authenticated(&endpoint, &account).await;
        let failed = web.try_resume(&session).await;
        assert!(failed.is(SM, "failed"), "{failed}");
    }
}

/// MongooseIM #4193: whoever has not said who they are has less.
#[tokio::test]
async fn before_login_the_limit_of_a_message_is_lower() {
    let gateway = Gateway::start(Prosody::shared());
    let endpoint = gateway.websocket();
    for fragment in [usize::MAX, 10_000] {
        let mut web = WebStream::open(&endpoint, "example.org").await;
        web.write(&long((64 << 10) + 1, fragment)).await;
        let steps = web.end().await.steps;
        assert_eq!(
            steps,
            ["policy-violation", "<close/>", "1009"],
            "{fragment}"
        );
        let mut web = WebStream::connect(&endpoint, "example.org").await;
        web.write(&long((64 << 10) + 1, fragment)).await;
        let steps = web.end().await.steps;
        assert_eq!(steps.last().map(String::as_str), Some("1009"), "{steps:?}");
    }
}

/// MongooseIM #4557: the cable is pulled, and nothing tells.
#[tokio::test]
async fn contacts_see_that_a_client_without_resumption_is_gone() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .websocket("ping = \"1s\"\npong_timeout = \"1s\"")
        .start();
    let mut web = WebStream::log_in(&gateway.websocket(), &prosody.account("john"), "web").await;
    let mut desk = prosody.contact("marie").await;
    let presence = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
    web.send_stanza(&presence).await;
    desk.expect_presence(&web.jid, "").await;
    // It is still there, and neither reads nor writes.
    desk.expect_presence(&web.jid, "unavailable").await;
    drop(web);
}

/// ejabberd #2615: it was ended, resumed, ended …
#[tokio::test]
async fn a_client_that_never_acknowledges_ends_once_and_for_good() {
    let prosody = Prosody::builder().modules(["offline"]).start();
    let gateway = Gateway::builder(&prosody)
        .session("max_pending = \"64KiB\"\nmax_unconfirmed = 50")
        .start();
    let endpoint = gateway.websocket();
    let account = prosody.account("john");
    let mut desk = prosody.contact("marie").await;
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    web.send_presence().await;
    for number in 0..300 {
        desk.send_message(&account.jid(), &number.to_string());
    }
    desk.fence().await;
    // It reads, and acknowledges nothing.
    let mut seen = 0;
    while let Ok(Received::Text(text)) =
        tokio::time::timeout(Duration::from_secs(3), web.socket.late_next()).await
    {
        seen += u32::from(text.contains("<body>"));
    }
    let session = web.vanish();
    prosody.stores(&account, 300).await;
    let mut web = WebStream::authenticated(&endpoint, &account).await;
    let failed = web.try_resume(&session).await;
    assert!(failed.is(SM, "failed"), "after {seen} messages: {failed}");
    web.bind("web").await;
    web.send_stanza(&format!("<presence xmlns='{CLIENT}'/>"))
        .await;
    for number in 0..300 {
        web.expect_message(&number.to_string()).await;
    }
}

/// ejabberd #566, #968: a proxy that speaks HTTP/1.0, or drops what it does not know.
#[tokio::test]
async fn a_proxy_that_drops_the_upgrade_is_told_of() {
    let gateway = Gateway::start(Prosody::shared());
    let answer = WebSocket::try_open(&gateway.websocket(), &[("Upgrade", "")]).await;
    let response = answer.expect_err("there was no upgrade");
    assert_eq!(response.status(), 400, "{response:?}");
    let text = response.text();
    assert!(text.starts_with("a proxy has dropped Upgrade"), "{text}");
}

#[tokio::test]
async fn any_page_may_where_any_origin_is_allowed() {
    let gateway = Gateway::builder(Prosody::shared())
        .web("origins = [\"*\"]")
        .start();
    for origin in ["https://any.example", "null", "http://localhost:3000"] {
        WebSocket::open_with(&gateway.websocket(), &[("Origin", origin)]).await;
    }
}

/// MongooseIM #4699, #4501: as long as a whole login in one segment of TCP.
#[tokio::test]
async fn what_comes_in_one_segment_is_taken_in_order() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let mut desk = prosody.contact("marie").await;
    let account = prosody.account("john");
    let mut web = WebStream::authenticated(&gateway.websocket(), &account).await;
    let mut bytes = Vec::new();
    for text in [
        support::bosh::bind_request("web"),
        format!("<enable xmlns='{SM}' resume='true'/>"),
        message(&desk.jid, "one"),
        format!("<r xmlns='{SM}'/>"),
        message(&desk.jid, "two"),
    ] {
        bytes.extend(frame(FIN | TEXT, text.as_bytes()));
    }
    web.write(&bytes).await;
    // Enabling may come too early for a server that has not bound the resource yet, but nothing may be lost or wrong.
    let answer = web
        .expect("an answer", |it| {
            it.ns == SM && it.name != "a" && it.name != "r"
        })
        .await;
    assert!(matches!(&*answer.name, "enabled" | "failed"), "{answer}");
    desk.expect_message("one").await;
    desk.expect_message("two").await;
}

/// MongooseIM, Openfire OF-2818: to wait for TCP takes a quarter of an hour.
#[tokio::test]
async fn a_client_that_takes_nothing_for_a_minute_is_lost() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .websocket("ping = \"10m\"\npong_timeout = \"10m\"")
        .start();
    let account = prosody.account("john");
    let mut web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
    let mut desk = prosody.contact("marie").await;
    let presence = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
    web.send_stanza(&presence).await;
    desk.expect_presence(&web.jid, "").await;
    // More than the kernels keep for a connection.
    let text = "x".repeat(100_000);
    for _ in 0..200 {
        desk.send_message(&web.jid, &text);
    }
    let is_gone = |it: &Element| it.is_presence(&web.jid, "unavailable");
    let limit = Duration::from_secs(90);
    desk.expect_within(limit, "the end of the session", is_gone)
        .await;
}
