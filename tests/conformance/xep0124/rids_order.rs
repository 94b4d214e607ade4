//! In-Order Message Forwarding: rids ahead of, and beyond, the window.

use support::scene::{Scene, assert_empty};
use support::{
    bosh::{FIRST_RID, bodies},
    site::only_rostergate,
};

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
    only_rostergate("XEP-0124 would end the session");
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
