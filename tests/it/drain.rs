//! How sessions end when the gateway does; `operation.rs` has the rest of it.

use std::time::{Duration, Instant};

use support::{
    bosh::Bosh,
    gateway::{Gateway, Server},
    prosody::Prosody,
    within,
    xml::{CLIENT, Element},
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
