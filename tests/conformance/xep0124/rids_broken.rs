//! Broken Connections: repeats, replays, aborted requests.

use support::scene::Scene;
use support::{site::Site, site::only_rostergate};

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
async fn delivers_after_an_abort_to_the_next_request() {
    let mut scene = Scene::new().await;
    let held = scene.web.send("", &scene.to_desk("held")).await;
    scene.desk.expect_message("held").await;
    held.abort();
    // Once the gateway knows: a request by another client shows that it is not busy with less.
    let prosody = Site::shared();
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
    only_rostergate("XEP-0124 has no such bound");
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
