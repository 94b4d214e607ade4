//! Terminating the BOSH Session.

use support::scene::{Scene, assert_empty};
use support::{bosh::bodies, site::Site, site::only_rostergate, xml::CLIENT};

#[tokio::test]
async fn ends_on_request() {
    let mut scene = Scene::new().await;
    scene.greet().await;
    let farewell = format!(
        "{}<presence xmlns='{CLIENT}' type='unavailable'/>",
        scene.to_desk("bye")
    );
    let response = scene
        .web
        .send("type='terminate'", &farewell)
        .await
        .response()
        .await;
    assert_eq!(response.xml().attr("condition"), None);
    scene.desk.expect_message("bye").await;
    scene.expect_gone().await;
    scene.assert_unknown().await;
}

#[tokio::test]
async fn tells_the_oldest_request_of_the_end() {
    let mut scene = Scene::new().await;
    let held = scene.web.send("", &scene.to_desk("held")).await;
    scene.desk.expect_message("held").await;
    let terminate = scene.web.send("type='terminate'", "").await;
    let [held, terminate] = bodies([held, terminate]).await;
    assert_eq!(
        (held.attr("type"), held.attr("condition")),
        (Some("terminate"), None)
    );
    assert_empty(&terminate);
}

#[tokio::test]
async fn takes_terminate_as_a_third_request() {
    let mut scene = Scene::new().await;
    scene.greet().await;
    let _held = scene.web.send("", &scene.to_desk("held")).await;
    scene.desk.expect_message("held").await;
    // The order in which these two come in is open.
    let _next = scene.web.send("", &scene.to_desk("next")).await;
    let _beacon = scene.web.send("type='terminate'", "").await;
    scene.desk.expect_message("next").await;
    scene.expect_gone().await;
}

#[tokio::test]
async fn takes_terminal_for_terminate() {
    only_rostergate("a kindness to gloox");
    let mut scene = Scene::new().await;
    scene.greet().await;
    let response = scene.web.send("type='terminal'", "").await.response().await;
    assert_eq!(response.xml().attr("condition"), None, "gloox writes it so");
    scene.expect_gone().await;
}

#[tokio::test]
async fn repeats_the_end_to_whoever_missed_it() {
    only_rostergate("XEP-0124 does not say");
    let mut scene = Scene::new().await;
    let end = scene
        .web
        .send("type='terminate'", "")
        .await
        .response()
        .await;
    let again = scene
        .web
        .send_as(scene.web.rid, "type='terminate'", "")
        .await
        .response()
        .await;
    assert_eq!(again.body, end.body);
}

#[tokio::test]
async fn ends_in_good_order_for_a_client() {
    let mut scene = Scene::new().await;
    let account = Site::shared().account("paul");
    let client = scene.gateway.login(&account, "web").await;
    let (jid, hello) = (client.jid.clone(), scene.hello());
    client.send(&hello);
    scene.desk.expect_presence(&jid, "").await;
    let end = client.logout().await;
    assert_eq!((end.condition, end.lost, end.status), (None, false, None));
    scene.desk.expect_presence(&jid, "unavailable").await;
}
