//! Inactivity, and pauses.

use std::time::{Duration, Instant};

use support::scene::{Scene, assert_empty};
use support::{
    bosh::{Bosh, bodies},
    site::Site,
};

#[tokio::test]
async fn ends_when_nobody_asks_any_more() {
    let mut scene = Scene::with(&["inactivity = \"2s\""], &[]).await;
    let held = scene.web.send("", &scene.hello()).await;
    scene.desk.expect_presence(&scene.jid(), "").await;
    let start = Instant::now();
    held.abort();
    scene.expect_gone().await;
    let lived = start.elapsed();
    assert!(lived >= Duration::from_millis(1500), "{lived:?}");
    assert!(lived <= Duration::from_secs(5), "{lived:?}");
    scene.assert_unknown().await;
}

#[tokio::test]
async fn lives_on_while_a_request_is_held() {
    let mut scene = Scene::with(&["inactivity = \"1s\""], &[]).await;
    let held = scene.web.send("", &scene.to_desk("held")).await;
    scene.desk.expect_message("held").await;
    let since = Instant::now();
    // Somebody else's whole inactivity passes meanwhile.
    pass_inactivity(&mut scene).await;
    assert!(since.elapsed() >= Duration::from_millis(900));
    scene.desk.send_message(&scene.jid(), "still here");
    assert!(
        held.body()
            .await
            .children()
            .any(|child| child.is_message("still here"))
    );
}

/// Opens a session on the same gateway, leaves it alone, and sees it end.
async fn pass_inactivity(scene: &mut Scene) {
    let account = Site::shared().account("paul");
    let mut other = Bosh::log_in(&scene.gateway.bosh(), &account, "web").await;
    let jid = format!("{}/web", account.jid());
    let hello = scene.hello();
    let sent = other.send("", &hello).await;
    scene.desk.expect_presence(&jid, "").await;
    sent.abort();
    scene.desk.expect_presence(&jid, "unavailable").await;
}

#[tokio::test]
async fn counts_an_interrupted_poll_as_activity() {
    let mut scene = Scene::with(&["inactivity = \"1s\""], &[]).await;
    let first = scene.web.send("", "").await;
    let second = scene.web.send("", &scene.to_desk("interrupts")).await;
    assert_empty(&first.body().await);
    pass_inactivity(&mut scene).await;
    scene.desk.send_message(&scene.jid(), "still here");
    assert!(
        second
            .body()
            .await
            .children()
            .any(|child| child.is_message("still here"))
    );
}

#[tokio::test]
async fn rests_during_a_pause() {
    let mut scene = Scene::with(&["inactivity = \"1s\""], &[]).await;
    let held = scene.web.send("", "").await;
    let pause = scene
        .web
        .send("pause='60'", &scene.to_desk("a pause may bear something"))
        .await;
    for answer in bodies([held, pause]).await {
        assert_empty(&answer);
    }
    scene
        .desk
        .expect_message("a pause may bear something")
        .await;
    scene.desk.send_message(&scene.jid(), "meanwhile");
    pass_inactivity(&mut scene).await;
    let answer = scene.web.exchange("").await;
    assert!(
        answer.children().any(|child| child.is_message("meanwhile")),
        "{answer}"
    );
}

#[tokio::test]
async fn ends_after_a_pause_is_over() {
    let mut scene = Scene::new().await;
    scene.greet().await;
    let start = Instant::now();
    // Shorter than the inactivity of two minutes.
    scene.web.exchange_pause(1).await;
    scene.expect_gone().await;
    assert!(start.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn refuses_pauses_too_long() {
    for seconds in ["121", "10000", "0", "x", "-1"] {
        let mut scene = Scene::new().await;
        let held = scene
            .web
            .send("", &format!("{}{}", scene.hello(), scene.to_desk("held")))
            .await;
        scene.desk.expect_message("held").await;
        let attributes = format!("pause='{seconds}'");
        let response = scene.web.send(&attributes, "").await.response().await;
        let condition = response.condition();
        let expected = if seconds.parse::<u32>().is_ok() {
            "policy-violation"
        } else {
            "bad-request"
        };
        assert_eq!(condition.as_deref(), Some(expected), "{seconds}");
        if expected == "policy-violation" {
            let condition = held.response().await.condition();
            assert!(condition.is_some(), "{seconds}");
            scene.expect_gone().await;
        }
    }
}

#[tokio::test]
async fn ends_sessions_that_never_log_in() {
    // Such as those whose creation answer was lost.
    let mut scene = Scene::with(&["inactivity = \"1s\""], &[]).await;
    let mut idle = Bosh::open(&scene.gateway.bosh(), Site::shared().domain()).await;
    pass_inactivity(&mut scene).await;
    let response = idle.send("", "").await.response().await;
    assert_eq!(response.condition().as_deref(), Some("item-not-found"));
}
