//! Terminal Binding Conditions.

use support::scene::Scene;

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
