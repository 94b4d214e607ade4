//! Generation of request ids.

use support::scene::Scene;

#[tokio::test]
async fn refuses_rids_no_double_can_hold() {
    let scene = Scene::new().await;
    let response = scene.web.send_as(1 << 53, "", "").await.response().await;
    assert_eq!(response.condition().as_deref(), Some("item-not-found"));
}
