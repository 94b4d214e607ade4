//! How sessions end when the gateway does; `operation.rs` has the rest of it.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use support::{
    bosh::Bosh,
    client::{Client, Transport},
    gateway::{Gateway, Server},
    prosody::Prosody,
    websocket::WebSocket,
    webstream::{CLOSE_ELEMENT, WebStream},
    within,
    xml::{CLIENT, Element, FRAMING},
};

#[tokio::test]
async fn sessions_end_one_after_the_other() {
    let prosody = Prosody::shared();
    let mut gateway = Gateway::builder(prosody)
        .server("drain_spread = \"2s\"")
        .start();
    let mut held = Vec::new();
    for number in 0..4 {
        let account = prosody.account(&format!("john{number}"));
        let mut bosh = Bosh::log_in(&gateway.bosh(), &account, "web").await;
        held.push(bosh.send("", "").await);
    }
    let told = Instant::now();
    gateway.signal("TERM");
    let mut ends = Vec::new();
    for pending in held {
        ends.push(tokio::spawn(async move {
            let end = pending.body().await;
            (end.attr("condition").map(str::to_owned), told.elapsed())
        }));
    }
    let mut last = Duration::ZERO;
    for end in ends {
        let (condition, after) = within("the end", end).await.expect("no panic");
        assert_eq!(condition.as_deref(), Some("system-shutdown"));
        last = last.max(after);
    }
    // The fourth one's turn.
    assert!(last >= Duration::from_millis(1500), "all within {last:?}");
    assert!(gateway.wait().success());
}

/// One that would wait for long.
fn patient(server: &impl Server) -> Gateway {
    Gateway::builder(server)
        .server("drain_timeout = \"10m\"")
        .server("drain_spread = \"0s\"")
        .start()
}

/// However their clients went: while a request was open, between two, or before the session ended.
#[tokio::test]
async fn vanished_clients_are_not_waited_for() {
    let prosody = Prosody::shared();
    let mut gateway = patient(prosody);
    let mut hung_up = Bosh::log_in(&gateway.bosh(), &prosody.account("john"), "web").await;
    hung_up.send("", "").await.abort();
    let account = prosody.account("marie");
    let between = Bosh::log_in(&gateway.bosh(), &account, "web").await;
    // The server ends that one, for the sake of another.
    let mut paused = Bosh::log_in(&gateway.bosh(), &account, "web").await;
    paused.exchange_pause(60).await;
    let there = Bosh::log_in(&gateway.bosh(), &prosody.account("aaron"), "web").await;
    let held = there.clone().send("", "").await;
    gateway.signal("TERM");
    let told = held.response().await;
    assert_eq!(told.condition().as_deref(), Some("system-shutdown"));
    assert!(gateway.wait().success());
    assert!(!gateway.log().contains("left behind"));
    drop((between, there));
}

/// Whatever was on the way to them is in the server's store, and nothing waits longer for them than for the living.
#[tokio::test]
async fn what_vanished_clients_did_not_get_is_in_the_store_within_seconds() {
    let prosody = Prosody::shared();
    let mut gateway = patient(prosody);
    let endpoint = gateway.bosh();
    let presence = format!("<presence xmlns='{CLIENT}'/>");
    let native = Transport::Tcp(prosody.c2s());
    let mut marie = Client::login(&native, &prosody.account("marie"), "native").await;
    let accounts = ["hung-up", "between", "paused", "asleep", "silent"];
    let accounts = accounts.map(|name| prosody.account(name));
    let [hung_up, between, paused, asleep, silent] = &accounts;

    let mut hung_up = Bosh::log_in(&endpoint, hung_up, "web").await;
    hung_up.exchange(&presence).await;
    hung_up.send("", "").await.abort();
    let mut between = Bosh::log_in(&endpoint, between, "web").await;
    between.exchange(&presence).await;
    let mut paused = Bosh::log_in(&endpoint, paused, "web").await;
    paused.exchange(&presence).await;
    paused.exchange_pause(60).await;
    let mut asleep = WebStream::log_in_managed(&gateway.websocket(), asleep, "web").await;
    asleep.send_presence().await;
    asleep.fence().await;
    drop(asleep);
    let mut silent = WebStream::log_in_managed(&gateway.websocket(), silent, "web").await;
    silent.send_presence().await;
    silent.fence().await;

    for account in &accounts {
        marie.send_message(&account.jid(), "while you were away");
    }
    marie.fence().await;
    gateway.signal("TERM");
    let told = Instant::now();
    assert!(gateway.wait().success());
    let took = told.elapsed();
    // The silent one takes longest: 2 s to be heard, and half a second to be closed.
    assert!(took < Duration::from_millis(3800), "{took:?}");
    for account in &accounts {
        let mut later = Client::login(&native, account, "later").await;
        later.send_presence("");
        later.expect_message("while you were away").await;
    }
    drop((between, paused, silent));
}

#[tokio::test]
async fn a_client_between_two_requests_is_told() {
    let prosody = Prosody::shared();
    let mut gateway = patient(prosody);
    let mut bosh = Bosh::log_in(&gateway.bosh(), &prosody.account("john"), "web").await;
    let ping = format!("<iq xmlns='{CLIENT}' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>");
    let is_reply = |child: &Element| child.is_reply_to("p");
    bosh.exchange_until(&ping, is_reply).await;
    gateway.signal("TERM");
    let told = bosh.send("", "").await.response().await;
    assert_eq!(told.condition().as_deref(), Some("system-shutdown"));
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_server_that_has_vanished_is_not_waited_for() {
    let prosody = Prosody::builder().start();
    let mut gateway = patient(&prosody);
    let bosh = Bosh::log_in(&gateway.bosh(), &prosody.account("john"), "web").await;
    prosody.signal("STOP");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    drop(bosh);
}

/// Over WebSocket. Nobody new comes in meanwhile, and sessions that sleep are not waited for.
#[tokio::test]
async fn streams_are_closed_and_connections_going_away() {
    let prosody = Prosody::shared();
    let mut gateway = Gateway::builder(prosody)
        .server("drain_spread = \"2s\"")
        .start();
    let endpoint = gateway.websocket();
    let asleep = WebStream::log_in_managed(&endpoint, &prosody.account("john"), "asleep").await;
    drop(asleep);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let account = prosody.account("john");
        sessions.push(WebStream::log_in_managed(&endpoint, &account, "web").await);
    }
    gateway.signal("TERM");
    let ends = sessions.into_iter().map(|session| session.end());
    let mut ends: FuturesUnordered<_> = ends.collect();
    let mut is_first = true;
    while let Some(ended) = within("the end", ends.next()).await {
        let steps = ended.steps.iter().filter(|step| *step != "<a/>");
        let steps: Vec<_> = steps.collect();
        assert_eq!(steps, ["system-shutdown", "<close/>", "1001"]);
        if std::mem::take(&mut is_first) {
            let refused = WebSocket::try_open(&endpoint, &[]).await;
            let refused = refused.expect_err("nobody is let in");
            assert_eq!(refused.status(), 503, "{refused:?}");
            assert!(refused.header("retry-after").is_some(), "{refused:?}");
        }
    }
    assert!(gateway.wait().success());
    assert!(!gateway.log().contains("left behind"));
}

/// What a client has written before it reads that the gateway goes down, however it leaves then.
#[tokio::test]
async fn what_is_on_its_way_when_the_gateway_goes_down_arrives() {
    let prosody = Prosody::shared();
    let mut gateway = patient(prosody);
    let account = prosody.account("marie");
    let mut marie = Client::login(&Transport::Tcp(prosody.c2s()), &account, "native").await;
    marie.send_presence("");
    marie.fence().await;
    let mut sessions = Vec::new();
    for resource in ["polite", "curt", "lost", "silent"] {
        let john = prosody.account("john");
        let session = WebStream::log_in_managed(&gateway.websocket(), &john, resource).await;
        sessions.push((resource, session));
    }
    gateway.signal("TERM");
    let mut silent = None;
    for (resource, mut john) in sessions {
        let close = |element: &Element| element.is(FRAMING, "close");
        john.expect("the end of the stream", close).await;
        john.send_message(&marie.jid, resource).await;
        match resource {
            "polite" => john.send(CLOSE_ELEMENT).await,
            "curt" => john.close(1000).await,
            "lost" => drop(john),
            _ => silent = Some(john),
        }
    }
    for resource in ["polite", "curt", "lost", "silent"] {
        marie.expect_message(resource).await;
    }
    assert!(gateway.wait().success());
    assert!(!gateway.log().contains("left behind"));
    drop(silent);
}
