//! The cases of MongooseIM's BOSH suite, by their names there, written anew.
//!
//! Two of them go beyond XEP-0124 and hold with `polling = false` and `report_grace = "0s"`.

use std::time::{Duration, Instant};

use support::{
    bosh::{Bosh, FIRST_RID, bodies, creation},
    client::Client,
    ejabberd::Ejabberd,
    gateway::Gateway,
    prosody::Prosody,
    scene::{Scene, assert_empty},
    site::{Site, domain, only_rostergate},
    xml::{CLIENT, Element, escape, message},
};

/// The configuration of its group `time`.
const SHORT: [&str; 2] = ["inactivity = \"2s\"", "wait = \"5s\""];

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

/// A creation request that must be refused, and leave no session.
async fn assert_no_session(gateway: &Gateway, changes: &[(&str, &str)], condition: &str) {
    let response = gateway.bosh().post(&creation(domain(), changes)).await;
    assert_eq!(response.condition().as_deref(), Some(condition));
    assert_eq!(response.xml().attr("sid"), None);
}

async fn assert_ends(bosh: &mut Bosh) {
    let end = bosh.send("type='terminate'", "").await.response().await;
    assert_eq!(end.condition(), None);
    let late = bosh.send("", "").await.response().await;
    assert_eq!(late.condition().as_deref(), Some("item-not-found"));
}

#[tokio::test]
async fn reject_connection_when_bosh_is_disabled() {
    // BOSH is enabled by domain: here, for another than the client asks for.
    let elsewhere = Prosody::builder().domain("elsewhere.example").start();
    only_rostergate("it is disabled for this test");
    let gateway = Gateway::start(&elsewhere);
    assert_no_session(&gateway, &[], "host-unknown").await;
}

#[tokio::test]
async fn create_and_terminate_session() {
    let gateway = gateway();
    let mut bosh = Bosh::open(&gateway.bosh(), domain()).await;
    assert_ends(&mut bosh).await;
}

#[tokio::test]
async fn cannot_create_session_for_unknown_domain() {
    assert_no_session(&gateway(), &[("to", "unknown.example")], "host-unknown").await;
}

#[tokio::test]
async fn cannot_create_session_for_disallowed_host_type() {
    only_rostergate("it is configured for this test");
    let prosody = Prosody::builder()
        .component("VirtualHost \"hidden.example\"")
        .start();
    let gateway = Gateway::start(&prosody);
    assert_no_session(&gateway, &[("to", "hidden.example")], "host-unknown").await;
}

#[tokio::test]
async fn accept_higher_hold_value() {
    let gateway = gateway();
    let mut bosh = Bosh::open_with(&gateway.bosh(), domain(), &[("hold", "2")]).await;
    assert_eq!(bosh.creation.attr("hold"), Some("1"));
    assert_ends(&mut bosh).await;
}

#[tokio::test]
async fn do_not_accept_0_hold_value() {
    let gateway = Gateway::builder(Site::shared())
        .bosh("polling = false")
        .start();
    for polling in [("hold", "0"), ("wait", "0")] {
        assert_no_session(&gateway, &[polling], "policy-violation").await;
    }
    let mut bosh = Bosh::open(&gateway.bosh(), domain()).await;
    assert_ends(&mut bosh).await;
}

#[tokio::test]
async fn options_request() {
    let origin = [("Origin", "localhost")];
    let response = gateway().bosh().request("OPTIONS", &origin, "").await;
    assert_eq!((response.status(), response.text()), (200, ""));
    for (name, value) in [
        ("access-control-max-age", "1728000"),
        ("access-control-allow-methods", "POST, OPTIONS, GET"),
    ] {
        assert_eq!(response.header(name), Some(value));
    }
    let headers = response.header("access-control-allow-headers");
    assert_eq!(
        headers.map(str::to_lowercase).as_deref(),
        Some("content-type")
    );
    let origin = response.header("access-control-allow-origin");
    assert!(matches!(origin, Some("localhost" | "*")), "{response:?}");
}

#[tokio::test]
async fn get_request() {
    let response = gateway().bosh().request("GET", &[], "").await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn post_empty_body() {
    assert_eq!(gateway().bosh().post("").await.status(), 400);
}

#[tokio::test]
async fn put_request() {
    let response = gateway().bosh().request("PUT", &[], "not today").await;
    assert_eq!(response.status(), 405);
}

#[tokio::test]
async fn interleave_requests() {
    let mut scene = Scene::new().await;
    let rid = scene.web.rid;
    let _second = scene.web.send_as(rid + 2, "", &scene.to_desk("2")).await;
    let _first = scene.web.send_as(rid + 1, "", &scene.to_desk("1")).await;
    scene.desk.expect_message("1").await;
    scene.desk.expect_message("2").await;
    let _third = scene.web.send_as(rid + 3, "", &scene.to_desk("3")).await;
    scene.desk.expect_message("3").await;
    let fourth = scene.web.send_as(rid + 4, "", &scene.to_desk("4")).await;
    scene.desk.expect_message("4").await;
    scene.desk.send_message(&scene.jid(), "still connected");
    let last = fourth.body().await;
    assert!(
        last.children()
            .any(|child| child.is_message("still connected")),
        "{last}"
    );
}

/// One message each way, which has to mean the same on the other side.
async fn chat(text: &str) {
    let site = Site::shared();
    let gateway = gateway();
    let mut web = gateway.login(&site.account("carol"), "web").await;
    let mut desk = site.contact("alice").await;
    web.send_message(&desk.jid, text);
    desk.expect_message(text).await;
    desk.send_message(&web.jid, text);
    web.expect_message(text).await;
}

#[tokio::test]
async fn simple_chat() {
    chat("Hi there").await;
}

#[tokio::test]
async fn cdata_escape_chat() {
    chat("Hi & < > \" ' there").await;
}

#[tokio::test]
async fn escape_attr_chat() {
    let site = Site::shared();
    let gateway = gateway();
    let mut web = gateway.login(&site.account("carol"), "web").await;
    let mut desk = site.contact("alice").await;
    let id = "Hi & < > \" ' there";
    let stanza = |to: &str| format!("<message xmlns='{CLIENT}' to='{to}' id='{}'/>", escape(id));
    web.send(&stanza(&desk.jid));
    assert_eq!(desk.next().await.attr("id"), Some(id));
    desk.send(&stanza(&web.jid));
    assert_eq!(web.next().await.attr("id"), Some(id));
}

#[tokio::test]
async fn cant_send_invalid_rid() {
    let mut scene = Scene::new().await;
    scene.greet().await;
    let rid = scene.web.rid + 999;
    let end = scene.web.send_as(rid, "", "").await.response().await;
    assert_eq!(end.condition().as_deref(), Some("item-not-found"));
    scene.expect_gone().await;
    scene.assert_unknown().await;
}

#[tokio::test]
async fn multiple_stanzas() {
    let mut scene = Scene::new().await;
    let payload: String = ["1", "2", "3", "4"]
        .map(|body| scene.to_desk(body))
        .concat();
    let _held = scene.web.send("", &payload).await;
    for body in ["1", "2", "3", "4"] {
        assert_eq!(scene.desk.next().await.body().as_deref(), Some(body));
    }
}

#[tokio::test]
async fn namespace() {
    let mut scene = Scene::with(&[], &[("wait", "1")]).await;
    let to = scene.jid();
    for stanza in [
        message(&to, "x"),
        format!("<presence to='{to}'/>"),
        format!("<iq type='get' id='1' to='{to}'><query xmlns='urn:x'/></iq>"),
    ] {
        scene.desk.send(&stanza);
    }
    let mut seen: Vec<Element> = Vec::new();
    while !seen.iter().any(|child| child.name == "iq") {
        let answer = scene.web.exchange("").await;
        assert_eq!(answer.attr("type"), None, "the session goes on: {answer}");
        seen.extend(answer.children().cloned());
    }
    for name in ["message", "presence", "iq"] {
        assert!(seen.iter().any(|child| child.is(CLIENT, name)), "{seen:?}");
    }
}

#[tokio::test]
async fn stream_error() {
    only_rostergate("not every server objects to a forged sender: here one that does");
    let ejabberd = Ejabberd::shared();
    let gateway = Gateway::start(ejabberd);
    let mut web = gateway.login(&ejabberd.account("carol").await, "web").await;
    web.send(&format!(
        "<message xmlns='{CLIENT}' from='mallory@example.org' to='example.org'/>"
    ));
    let end = web.expect_end().await;
    assert_eq!(end.condition.as_deref(), Some("remote-stream-error"));
    assert_eq!(end.stream_error(), Some("invalid-from"));
}

#[tokio::test]
async fn disconnect_inactive() {
    let mut scene = Scene::with(&SHORT, &[("wait", "1")]).await;
    scene.web.exchange(&scene.hello()).await;
    let answered = Instant::now();
    scene.expect_gone().await;
    let lived = answered.elapsed();
    assert!(lived > Duration::from_millis(1500), "{lived:?}");
    assert!(lived < Duration::from_secs(5), "{lived:?}");
    scene.assert_unknown().await;
}

#[tokio::test]
async fn connection_interrupted() {
    let mut scene = Scene::with(&SHORT, &[("wait", "5")]).await;
    scene.greet().await;
    let cut = Instant::now();
    scene.expect_gone().await;
    let lived = cut.elapsed();
    assert!(
        lived > Duration::from_millis(1500),
        "alive at first: {lived:?}"
    );
    assert!(
        lived < Duration::from_secs(7),
        "gone after wait and inactivity: {lived:?}"
    );
}

#[tokio::test]
async fn interrupt_long_poll_is_activity() {
    let mut scene = Scene::with(&SHORT, &[("wait", "5")]).await;
    let poll = scene.web.send("", &scene.hello()).await;
    let newer = scene.web.send("", &scene.to_desk("interrupts")).await;
    assert_empty(&poll.body().await);
    // Held for longer than the inactivity: the session is not inactive.
    let start = Instant::now();
    assert_empty(&newer.body().await);
    assert!(
        start.elapsed() > Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let _alive = scene.web.send("", &scene.to_desk("alive")).await;
    scene
        .desk
        .until("the message", |stanza| stanza.is_message("alive"))
        .await;
}

#[tokio::test]
async fn reply_on_pause() {
    let mut scene = Scene::new().await;
    let held = scene.web.send("", "").await;
    let pause = scene.web.send("pause='10'", "").await;
    for answer in bodies([held, pause]).await {
        assert_empty(&answer);
    }
    let _alive = scene.web.send("", &scene.to_desk("alive")).await;
    scene.desk.expect_message("alive").await;
}

#[tokio::test]
async fn cant_pause_for_too_long() {
    let mut scene = Scene::new().await;
    scene.greet().await;
    let end = scene.web.send("pause='10000'", "").await.response().await;
    assert_eq!(end.condition().as_deref(), Some("policy-violation"));
    scene.expect_gone().await;
    scene.assert_unknown().await;
}

#[tokio::test]
async fn pause_request_is_activity() {
    let mut scene = Scene::with(&SHORT, &[("wait", "5")]).await;
    scene.greet().await;
    let start = Instant::now();
    assert_empty(&scene.web.exchange_pause(4).await);
    scene.expect_gone().await;
    let lived = start.elapsed();
    assert!(
        lived > Duration::from_millis(3500),
        "the pause counts: {lived:?}"
    );
}

#[tokio::test]
async fn reply_in_time() {
    let mut scene = Scene::with(&[], &[("wait", "6")]).await;
    let start = Instant::now();
    assert_empty(&scene.web.exchange("").await);
    let waited = start.elapsed();
    // A tenth more, as strophe allows, and a tenth for a slow machine.
    assert!(waited < Duration::from_millis(7200), "{waited:?}");
}

#[tokio::test]
async fn force_report() {
    let terms = [("ack", "1"), ("wait", "1")];
    let mut scene = Scene::with(&["report_grace = \"0s\""], &terms).await;
    let stale = scene.web.rid;
    let ack = format!("ack='{stale}'");
    let mut reports = Vec::new();
    for body in ["1", "2", "3"] {
        let request = scene.web.send(&ack, &scene.to_desk(body)).await;
        let answer = request.body().await;
        reports.extend(answer.attr("report").is_some().then_some(answer));
    }
    let [last] = &reports[..] else {
        panic!("one report, and no storm: {reports:?}")
    };
    let report = (stale + 1).to_string();
    assert_eq!(last.attr("report"), Some(report.as_str()), "{last}");
    let time = last.attr("time").and_then(|time| time.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time < 10_000), "{last}");
}

#[tokio::test]
async fn force_retransmission() {
    let mut scene = Scene::new().await;
    let request = scene.web.send("", "").await;
    scene.desk.send_message(&scene.jid(), "once and again");
    let answer = request.response().await;
    assert!(answer.text().contains("once and again"), "{answer:?}");
    let again = scene.web.send_as(scene.web.rid, "", "").await;
    assert_eq!(again.response().await.body, answer.body);
}

#[tokio::test]
async fn force_cache_trimming() {
    let mut scene = Scene::with(&[], &[("ack", "1"), ("wait", "5")]).await;
    let rid = scene.web.rid;
    let first = scene.web.send(&format!("ack='{rid}'"), "").await;
    scene.desk.send_message(&scene.jid(), "one");
    first.body().await;
    let ack = format!("ack='{}'", scene.web.rid);
    let _held = scene.web.send(&ack, &scene.to_desk("acknowledged")).await;
    scene.desk.expect_message("acknowledged").await;
    // What the client has is no longer kept.
    let again = scene.web.send_as(rid + 1, "", "").await.response().await;
    assert_eq!(again.condition().as_deref(), Some("item-not-found"));
}

#[tokio::test]
async fn server_acks() {
    let mut scene = Scene::with(&[], &[("ack", "1")]).await;
    assert_eq!(
        scene.web.creation.attr("ack"),
        Some(FIRST_RID.to_string().as_str())
    );
    let ack = format!("ack='{}'", scene.web.rid);
    let older = scene.web.send(&ack, "").await;
    let newer = scene.web.send(&ack, "").await;
    let answer = older.body().await;
    assert_eq!(
        answer.attr("ack"),
        Some(newer.rid.to_string().as_str()),
        "{answer}"
    );
}

#[tokio::test]
async fn interleave_requests_statem() {
    for seed in [1, 0x5eed, 0xb05b] {
        interleave(seed).await;
    }
}

/// Messages both ways in any order, each read at any time: none is lost, doubled or out of order.
async fn interleave(seed: u64) {
    let site = Site::shared();
    let gateway = gateway();
    let mut carol = gateway.login(&site.account("carol"), "web").await;
    let mut alice = site.contact("alice").await;
    let (mut to_alice, mut to_carol) = ((0, 0), (0, 0));
    let mut state = seed;
    for _ in 0..100 {
        // Xorshift: any sequence that can be had again will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state % 8 {
            0..=2 => say(&carol, &alice.jid, &mut to_alice),
            3..=5 => say(&alice, &carol.jid, &mut to_carol),
            6 => hear(&mut alice, &mut to_alice, seed).await,
            _ => hear(&mut carol, &mut to_carol, seed).await,
        }
    }
    hear(&mut alice, &mut to_alice, seed).await;
    hear(&mut carol, &mut to_carol, seed).await;
    let rest: Vec<Element> = [alice.fence().await, carol.fence().await].concat();
    assert_eq!(rest, [], "seed {seed}");
}

/// Sends the next message; the first number is how many have been sent.
fn say(from: &Client, to: &str, numbers: &mut (u32, u32)) {
    numbers.0 += 1;
    from.send_message(to, &numbers.0.to_string());
}

/// Reads all that have been sent; the second number is how many have been read.
async fn hear(client: &mut Client, numbers: &mut (u32, u32), seed: u64) {
    while numbers.1 < numbers.0 {
        numbers.1 += 1;
        let expected = numbers.1.to_string();
        assert_eq!(client.next().await.body(), Some(expected), "seed {seed}");
    }
}
