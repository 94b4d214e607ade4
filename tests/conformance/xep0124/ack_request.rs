//! Request Acknowledgements.

use support::scene::Scene;
use support::{
    bosh::{Bosh, FIRST_RID},
    gateway::Gateway,
    http::Endpoint,
    site::{Site, domain},
    xml::Element,
};

async fn create(bosh: &Endpoint, changes: &[(&str, &str)]) -> Element {
    Bosh::open_with(bosh, domain(), changes).await.creation
}

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

#[tokio::test]
async fn acknowledges_when_asked_to() {
    let gateway = gateway();
    let answer = create(&gateway.bosh(), &[("ack", "1")]).await;
    assert_eq!(answer.attr("ack"), Some(FIRST_RID.to_string().as_str()));
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
