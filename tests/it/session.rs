//! Requests and answers of a session: rids, holding, replays (requirements B-RID, B-HOLD, B-ACK).

use std::time::{Duration, Instant};

use crate::support::{
    bosh::{Bosh, FIRST_RID, bodies},
    client::{Account, Client},
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
    xml::{CLIENT, Element, HTTPBIND, message},
};

/// A session driven by hand, and a contact on the server who sees what gets there.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) account: Account,
    pub(crate) web: Bosh,
    pub(crate) desk: Client,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(&[], &[]).await
    }

    /// With lines of `[bosh]` and attributes of the creation request.
    pub(crate) async fn with(config: &[&str], changes: &[(&str, &str)]) -> Self {
        let prosody = Prosody::shared();
        let mut builder = Gateway::builder(prosody);
        for line in config {
            builder = builder.bosh(line);
        }
        let gateway = builder.start();
        let account = prosody.account("john");
        let web = Bosh::log_in_with(&gateway.bosh(), &account, "web", changes).await;
        let desk = prosody.contact("marie").await;
        Self {
            gateway,
            account,
            web,
            desk,
        }
    }

    /// The full JID of the session.
    pub(crate) fn jid(&self) -> String {
        format!("{}/web", self.account.jid())
    }

    /// A message to the contact: when it arrives, the request that bore it has been taken.
    pub(crate) fn to_desk(&self, body: &str) -> String {
        message(&self.desk.jid, body)
    }

    /// A presence that makes the server tell the contact when the session ends.
    pub(crate) fn hello(&self) -> String {
        format!("<presence xmlns='{CLIENT}' to='{}'/>", self.desk.jid)
    }

    /// Says hello, and hangs up; the gateway may learn of that a moment later.
    pub(crate) async fn greet(&mut self) {
        let sent = self.web.send("", &self.hello()).await;
        self.desk.expect_presence(&self.jid(), "").await;
        sent.abort();
    }

    /// Asserts that the server has ended the session.
    pub(crate) async fn expect_gone(&mut self) {
        let jid = self.jid();
        self.desk.expect_presence(&jid, "unavailable").await;
    }

    /// Asserts that requests of the session are no longer served.
    pub(crate) async fn assert_unknown(&mut self) {
        let response = self.web.send("", "").await.response().await;
        assert_eq!(response.condition().as_deref(), Some("item-not-found"));
    }
}

#[track_caller]
pub(crate) fn assert_empty(body: &Element) {
    assert_eq!((body.attr("type"), body.nodes.len()), (None, 0), "{body}");
}

#[tokio::test]
async fn answers_within_wait() {
    let mut scene = Scene::with(&[], &[("wait", "2")]).await;
    let start = Instant::now();
    let response = scene.web.send("", "").await.response().await;
    let waited = start.elapsed();
    response.assert_usual_headers();
    assert_empty(&response.xml());
    assert!(waited >= Duration::from_millis(800), "held: {waited:?}");
    assert!(
        waited <= Duration::from_millis(2500),
        "Strophe gives up at 1.1 wait: {waited:?}"
    );
}

#[tokio::test]
async fn holds_no_more_than_one_request() {
    let mut scene = Scene::new().await;
    let first = scene.web.send("", "").await;
    let second = scene.web.send("", "").await;
    assert_empty(&first.body().await);
    scene.desk.send_message(&scene.jid(), "for the second");
    let answer = second.body().await;
    assert!(
        answer
            .children()
            .any(|child| child.is_message("for the second")),
        "{answer}"
    );
}

#[tokio::test]
async fn forwards_payload_while_holding() {
    let mut scene = Scene::new().await;
    let held = scene.web.send("", "").await;
    let next = scene.web.send("", &scene.to_desk("now")).await;
    scene.desk.expect_message("now").await;
    assert_empty(&held.body().await);
    scene.desk.send_message(&scene.jid(), "reply");
    assert!(
        next.body()
            .await
            .children()
            .any(|child| child.is_message("reply"))
    );
}

#[tokio::test]
async fn keeps_stanzas_for_the_next_request() {
    let mut scene = Scene::new().await;
    for body in ["one", "two", "three"] {
        scene.desk.send_message(&scene.jid(), body);
    }
    scene.desk.fence().await;
    let mut bodies: Vec<String> = Vec::new();
    while bodies.len() < 3 {
        let answer = scene.web.exchange("").await;
        bodies.extend(answer.children().filter_map(Element::body));
    }
    assert_eq!(bodies, ["one", "two", "three"]);
}

#[tokio::test]
async fn takes_requests_out_of_order() {
    let mut scene = Scene::new().await;
    let rid = scene.web.rid;
    let second = scene.web.send_as(rid + 2, "", &scene.to_desk("2")).await;
    let first = scene.web.send_as(rid + 1, "", &scene.to_desk("1")).await;
    assert_empty(&first.body().await);
    let fourth = scene.web.send_as(rid + 4, "", &scene.to_desk("4")).await;
    let third = scene.web.send_as(rid + 3, "", &scene.to_desk("3")).await;
    for answer in bodies([second, third]).await {
        assert_empty(&answer);
    }
    for number in ["1", "2", "3", "4"] {
        assert_eq!(scene.desk.next().await.body().as_deref(), Some(number));
    }
    scene.desk.send_message(&scene.jid(), "done");
    assert!(
        fourth
            .body()
            .await
            .children()
            .any(|child| child.is_message("done"))
    );
}

#[tokio::test]
async fn answers_repeated_rid_from_cache() {
    let mut scene = Scene::new().await;
    let payload = scene.to_desk("once");
    let request = scene.web.send("", &payload).await;
    scene.desk.expect_message("once").await;
    scene.desk.send_message(&scene.jid(), "reply");
    let answer = request.response().await;
    assert!(answer.text().contains("reply"), "{answer:?}");

    // Something new must not ride along.
    scene.desk.send_message(&scene.jid(), "later");
    scene.desk.fence().await;
    for _ in 0..2 {
        let again = scene
            .web
            .send_as(scene.web.rid, "", &payload)
            .await
            .response()
            .await;
        assert_eq!(again.body, answer.body);
    }
    let next = scene.web.exchange(&scene.to_desk("twice")).await;
    assert!(
        next.children().any(|child| child.is_message("later")),
        "{next}"
    );
    let seen = scene
        .desk
        .until("the second message", |stanza| stanza.is_message("twice"))
        .await;
    assert_eq!(seen, [], "the first is not forwarded again");
}

#[tokio::test]
async fn answers_repeats_of_each_of_the_last_two_rids() {
    let mut scene = Scene::with(&[], &[("wait", "1")]).await;
    let first = scene
        .web
        .send("", &scene.to_desk("1"))
        .await
        .response()
        .await;
    let second = scene
        .web
        .send("", &scene.to_desk("2"))
        .await
        .response()
        .await;
    let rid = scene.web.rid;
    for (rid, answer) in [(rid - 1, first), (rid, second)] {
        let again = scene.web.send_as(rid, "", "").await.response().await;
        assert_eq!(again.body, answer.body);
    }
}

#[tokio::test]
async fn replaces_held_request_that_is_sent_again() {
    let mut scene = Scene::new().await;
    let payload = scene.to_desk("taken");
    let old = scene.web.send("", &payload).await;
    scene.desk.expect_message("taken").await;
    let new = scene.web.send_as(scene.web.rid, "", &payload).await;
    let answer = old.body().await;
    assert_eq!(answer.attr("type"), Some("error"), "recoverable: {answer}");
    assert_eq!(answer.attr("condition"), None, "{answer}");
    scene.desk.send_message(&scene.jid(), "to the new one");
    let answer = new.response().await;
    assert!(answer.text().contains("to the new one"), "{answer:?}");
    // The error was no answer to the rid.
    let again = scene
        .web
        .send_as(scene.web.rid, "", &payload)
        .await
        .response()
        .await;
    assert_eq!(again.body, answer.body);
    let seen = scene.desk.fence().await;
    assert_eq!(seen, [], "the payload is not forwarded again");
}

#[tokio::test]
async fn ends_session_on_rid_beyond_window() {
    let mut scene = Scene::new().await;
    let held = scene
        .web
        .send("", &format!("{}{}", scene.hello(), scene.to_desk("held")))
        .await;
    scene.desk.expect_message("held").await;
    let beyond = scene
        .web
        .send_as(scene.web.rid + 999, "", "")
        .await
        .response()
        .await;
    assert_eq!(beyond.condition().as_deref(), Some("item-not-found"));
    assert_eq!(
        held.response().await.condition().as_deref(),
        Some("other-request")
    );
    scene.expect_gone().await;
    scene.assert_unknown().await;
}

#[tokio::test]
async fn refuses_only_a_stale_rid_while_another_is_held() {
    let mut scene = Scene::new().await;
    let held = scene.web.send("", &scene.to_desk("held")).await;
    scene.desk.expect_message("held").await;
    let stale = scene
        .web
        .send_as(FIRST_RID, "", &scene.to_desk("stale"))
        .await
        .response()
        .await;
    assert_eq!(stale.condition().as_deref(), Some("item-not-found"));
    scene.desk.send_message(&scene.jid(), "still here");
    assert!(
        held.body()
            .await
            .children()
            .any(|child| child.is_message("still here"))
    );
    let next = scene.web.send("", &scene.to_desk("next")).await;
    let seen = scene
        .desk
        .until("the next", |stanza| stanza.is_message("next"))
        .await;
    assert_eq!(seen, [], "what a stale request bears is not forwarded");
    next.abort();
}

#[tokio::test]
async fn refuses_rids_no_double_can_hold() {
    let scene = Scene::new().await;
    let response = scene.web.send_as(1 << 53, "", "").await.response().await;
    assert_eq!(response.condition().as_deref(), Some("item-not-found"));
}

#[tokio::test]
async fn refuses_unknown_sid() {
    let mut scene = Scene::new().await;
    let sid = std::mem::replace(&mut scene.web.sid, "unknown".to_owned());
    scene.assert_unknown().await;
    scene.web.sid = sid;
    scene.web.rid -= 1;
    let _held = scene.web.send("", &scene.to_desk("not hurt")).await;
    scene.desk.expect_message("not hurt").await;
}

#[tokio::test]
async fn survives_malformed_xml() {
    let mut scene = Scene::new().await;
    for payload in [
        "<message xmlns:p='urn:a&amp;b'/>",
        "<message>",
        "</body>",
        "<message/>&bad;",
        "<!-- x -->",
        "text",
        "<a b=c/>",
    ] {
        let rid = scene.web.rid + 1;
        let response = scene.web.send_as(rid, "", payload).await.response().await;
        assert_eq!(
            response.condition().as_deref(),
            Some("bad-request"),
            "{payload}"
        );
    }
    let _held = scene.web.send("", &scene.to_desk("not hurt")).await;
    scene.desk.expect_message("not hurt").await;
}

#[tokio::test]
async fn forwards_nothing_of_a_malformed_request() {
    let mut scene = Scene::new().await;
    let rid = scene.web.rid + 1;
    let payload = format!("{}<oops>", scene.to_desk("half"));
    scene.web.send_as(rid, "", &payload).await.response().await;
    let _held = scene.web.send("", &scene.to_desk("whole")).await;
    let seen = scene
        .desk
        .until("the whole", |stanza| stanza.is_message("whole"))
        .await;
    assert_eq!(seen, []);
}

#[tokio::test]
async fn delivers_after_an_abort_to_the_next_request() {
    let mut scene = Scene::new().await;
    let held = scene.web.send("", &scene.to_desk("held")).await;
    scene.desk.expect_message("held").await;
    held.abort();
    // Once the gateway knows: a request by another client shows that it is not busy with less.
    let prosody = Prosody::shared();
    let other = scene.gateway.login(&prosody.account("paul"), "web").await;
    other.logout().await;
    scene.desk.send_message(&scene.jid(), "waits");
    scene.desk.fence().await;
    let answer = scene.web.exchange("").await;
    assert!(
        answer.children().any(|child| child.is_message("waits")),
        "{answer}"
    );
}

#[tokio::test]
async fn takes_up_an_aborted_request_sent_again() {
    let mut scene = Scene::new().await;
    let payload = scene.to_desk("once");
    let held = scene.web.send("", &payload).await;
    scene.desk.expect_message("once").await;
    held.abort();
    let again = scene.web.send_as(scene.web.rid, "", &payload).await;
    scene.desk.send_message(&scene.jid(), "reply");
    assert!(
        again
            .body()
            .await
            .children()
            .any(|child| child.is_message("reply"))
    );
    assert_eq!(scene.desk.fence().await, [], "not forwarded twice");
}

#[tokio::test]
async fn ends_session_of_a_client_that_repeats_for_ever() {
    let mut scene = Scene::with(&[], &[("wait", "1")]).await;
    scene.web.exchange("").await;
    for _ in 0..1000 {
        let again = scene
            .web
            .send_as(scene.web.rid, "", "")
            .await
            .response()
            .await;
        let body = again.xml();
        if body.attr("type") == Some("terminate") {
            assert_eq!(body.attr("condition"), Some("policy-violation"));
            return;
        }
    }
    panic!("a thousand repeats are too many");
}

#[tokio::test]
async fn acknowledges_later_requests_when_asked_to() {
    let mut scene = Scene::with(&[], &[("ack", "1")]).await;
    let ack = format!("ack='{}'", scene.web.rid);
    let first = scene.web.send(&ack, "").await;
    let second = scene.web.send(&ack, &scene.to_desk("second")).await;
    let answer = first.body().await;
    assert_eq!(
        answer.attr("ack"),
        Some(second.rid.to_string().as_str()),
        "{answer}"
    );
    scene.desk.send_message(&scene.jid(), "for the second");
    let answer = second.body().await;
    assert_eq!(
        answer.attr("ack"),
        None,
        "the rid answered is left out: {answer}"
    );
}

#[tokio::test]
async fn acknowledges_nothing_unasked() {
    let mut scene = Scene::new().await;
    let first = scene.web.send("", "").await;
    let _second = scene.web.send("", "").await;
    assert_eq!(first.body().await.attr("ack"), None);
}

#[tokio::test]
async fn answers_polling_sessions_at_once() {
    let gateway = Gateway::start(Prosody::shared());
    for terms in [[("hold", "0")], [("wait", "0")]] {
        let mut web = Bosh::open_with(&gateway.bosh(), DOMAIN, &terms).await;
        assert_empty(&web.exchange("").await);
    }
}

#[tokio::test]
async fn ends_polling_sessions_that_poll_too_often() {
    let gateway = Gateway::start(Prosody::shared());
    let mut web = Bosh::open_with(&gateway.bosh(), DOMAIN, &[("hold", "0")]).await;
    assert_empty(&web.exchange("").await);
    let response = web.send("", "").await.response().await;
    assert_eq!(response.condition().as_deref(), Some("policy-violation"));
}

#[tokio::test]
async fn writes_empty_answers_without_ado() {
    let mut scene = Scene::new().await;
    let first = scene.web.send("", "").await;
    let _second = scene.web.send("", "").await;
    let response = first.response().await;
    let text = response.text().replace('"', "'");
    assert_eq!(text, format!("<body xmlns='{HTTPBIND}'/>"));
}
