//! What clients see when the server ends a stream, breaks, or is not there.

use support::{
    bosh::{Bosh, creation},
    free_ports,
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
    xml::{CLIENT, STREAM_ERRORS, STREAMS},
};

#[tokio::test]
async fn passes_a_conflict_on() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    let mut first = gateway.login(&account, "web").await;
    let mut second = gateway.login(&account, "web").await;
    let end = first.expect_end().await;
    assert_eq!(end.condition.as_deref(), Some("remote-stream-error"));
    assert_eq!(end.stream_error(), Some("conflict"));
    assert_eq!(second.fence().await, []);
}

#[tokio::test]
async fn leaves_forged_senders_to_the_server() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let client = gateway.login(&prosody.account("john"), "web").await;
    let mut contact = prosody.contact("marie").await;
    let to = &contact.jid;
    client.send(&format!(
        "<message xmlns='{CLIENT}' from='mallory@{DOMAIN}' to='{to}'><body>hi</body></message>"
    ));
    // Prosody puts the true one there; others end the stream.
    let message = contact.expect_message("hi").await;
    assert_eq!(message.attr("from"), Some(client.jid.as_str()));
}

#[tokio::test]
async fn writes_stream_errors_as_xep_0206_has_them() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    let mut bosh = Bosh::log_in(&gateway.bosh(), &account, "web").await;
    let held = bosh.send("", "").await;
    let _other = gateway.login(&account, "web").await;
    let response = held.response().await;
    assert_eq!(response.condition().as_deref(), Some("remote-stream-error"));
    let (text, body) = (response.text(), response.xml());
    assert!(text.contains("<stream:error"), "{text}");
    let start = text.split('>').next().expect("a start tag");
    assert!(
        start.contains("xmlns:stream="),
        "declared on the body: {start}"
    );
    let error = body.child(STREAMS, "error").expect("the error itself");
    assert!(error.child(STREAM_ERRORS, "conflict").is_some(), "{error}");
}

#[tokio::test]
async fn tells_of_a_conflict_to_whoever_asks_next() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    let mut contact = prosody.contact("marie").await;
    let terms = [("wait", "1")];
    let mut bosh = Bosh::log_in_with(&gateway.bosh(), &account, "web", &terms).await;
    bosh.exchange(&format!(
        "<presence xmlns='{CLIENT}' to='{}'/>",
        contact.jid
    ))
    .await;
    let jid = format!("{}/web", account.jid());
    contact.expect_presence(&jid, "").await;
    let _other = gateway.login(&account, "web").await;
    // The server has ended the old stream before it lets anybody have the resource.
    contact.expect_presence(&jid, "unavailable").await;
    let response = bosh.send("", "").await.response().await;
    assert_eq!(response.condition().as_deref(), Some("remote-stream-error"));
    assert!(response.text().contains("conflict"), "{}", response.text());
}

#[tokio::test]
async fn delivers_what_is_pending_before_a_stream_error() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    let mut contact = prosody.contact("marie").await;
    let terms = [("wait", "1")];
    let mut bosh = Bosh::log_in_with(&gateway.bosh(), &account, "web", &terms).await;
    let jid = format!("{}/web", account.jid());
    bosh.exchange(&format!(
        "<presence xmlns='{CLIENT}' to='{}'/>",
        contact.jid
    ))
    .await;
    contact.expect_presence(&jid, "").await;
    contact.send_message(&jid, "one");
    contact.send_message(&jid, "two");
    contact.fence().await;
    let _other = gateway.login(&account, "web").await;
    contact.expect_presence(&jid, "unavailable").await;
    let answer = bosh.exchange("").await;
    let bodies: Vec<_> = answer.children().filter_map(|child| child.body()).collect();
    assert_eq!(bodies, ["one", "two"], "{answer}");
    assert_eq!(answer.attr("type"), Some("terminate"));
    assert!(answer.child(STREAMS, "error").is_some());
}

#[tokio::test]
async fn tells_that_the_server_stops() {
    let mut prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let mut client = gateway.login(&prosody.account("john"), "web").await;
    prosody.stop().await;
    let end = client.expect_end().await;
    assert_eq!(end.condition.as_deref(), Some("remote-stream-error"));
    assert_eq!(end.stream_error(), Some("system-shutdown"));
}

#[tokio::test]
async fn tells_that_the_server_is_lost() {
    let mut prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let account = prosody.account("john");
    let mut client = gateway.login(&account, "web").await;
    prosody.kill();
    // Not remote-connection-failed: Converse gives up for good on that.
    let end = client.expect_end().await;
    assert_eq!(end.condition.as_deref(), Some("remote-stream-error"));
    assert_eq!(end.stream_error(), Some("system-shutdown"));
    prosody.start_again();
    let mut client = gateway.login(&account, "web").await;
    assert_eq!(client.fence().await, []);
}

#[tokio::test]
async fn asks_to_come_again_while_the_server_is_down() {
    let [port] = free_ports();
    let gateway = Gateway::builder(Prosody::shared())
        .upstream(&format!("xmpp://127.0.0.1:{port}"))
        .start();
    let creation = creation(DOMAIN, &[]);
    for _ in 0..2 {
        let response = gateway.bosh().post(&creation).await;
        let (condition, reason) = response.not_now();
        assert_eq!(condition, "remote-connection-failed", "Strophe tries again");
        assert_eq!(reason, "the XMPP server cannot be reached");
        assert_eq!(response.xml().attr("sid"), None);
    }
    let response = gateway.bosh().post(&creation).await;
    assert_eq!(
        response.condition().as_deref(),
        Some("remote-connection-failed")
    );
}

#[tokio::test]
async fn serves_again_once_the_server_is_back() {
    let mut prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let account = prosody.account("john");
    prosody.stop().await;
    assert_eq!(
        gateway.bosh().post(&creation(DOMAIN, &[])).await.status(),
        503
    );
    prosody.start_again();
    let mut client = gateway.login(&account, "web").await;
    assert_eq!(client.fence().await, []);
}

#[tokio::test]
async fn refuses_a_server_with_the_wrong_certificate() {
    let prosody = Prosody::builder().tls().start();
    let gateway = Gateway::builder(&prosody)
        .host("upstream_tls = \"verify\"")
        .start();
    let response = gateway.bosh().post(&creation(DOMAIN, &[])).await;
    assert!(response.status() == 503 || response.xml().attr("type") == Some("terminate"));
    assert_eq!(response.xml().attr("sid"), None);
}

#[tokio::test]
async fn leaves_other_hosts_alone_when_one_is_down() {
    let mut one = Prosody::builder().start();
    let other = Prosody::builder().domain("other.example").start();
    let gateway = Gateway::builder(&one).another_host(&other, "").start();
    let mut client = gateway.login(&other.account("john"), "web").await;
    one.stop().await;
    assert_eq!(
        gateway.bosh().post(&creation(DOMAIN, &[])).await.status(),
        503
    );
    assert_eq!(client.fence().await, []);
    gateway
        .login(&other.account("marie"), "web")
        .await
        .logout()
        .await;
}
