//! Sending and Receiving XML Payloads: holding, answering, waiting.

use std::time::{Duration, Instant};

use support::scene::{Scene, assert_empty};
use support::xml::{CLIENT, Element, HTTPBIND, PING};

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
async fn writes_empty_answers_without_ado() {
    let mut scene = Scene::new().await;
    let first = scene.web.send("", "").await;
    let _second = scene.web.send("", "").await;
    let response = first.response().await;
    let text = response.text().replace('"', "'");
    assert_eq!(text, format!("<body xmlns='{HTTPBIND}'/>"));
}

/// XEP-0199, among others: whoever asks is answered by the other side.
#[tokio::test]
async fn passes_requests_both_ways() {
    let mut scene = Scene::new().await;
    let ping = format!("<ping xmlns='{PING}'/>");
    let id = scene.desk.send_iq("get", &scene.jid(), &ping);
    let is_ping = |child: &Element| child.attr("id") == Some(&id);
    scene.web.exchange_until("", is_ping).await;
    let to = &scene.desk.jid;
    let reply = format!("<iq xmlns='{CLIENT}' type='result' id='{id}' to='{to}'/>");
    let _held = scene.web.send("", &reply).await;
    let is_reply = |stanza: &Element| stanza.is_reply_to(&id);
    let reply = scene.desk.expect("the reply", is_reply).await;
    assert_eq!(reply.attr("type"), Some("result"), "{reply}");
    assert_eq!(reply.attr("from"), Some(scene.jid().as_str()), "{reply}");
}
