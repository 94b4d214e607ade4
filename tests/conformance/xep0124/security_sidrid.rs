//! Unpredictable SID and RID.

use support::{
    bosh::Bosh,
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
async fn gives_every_session_another_sid() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let one = create(&bosh, &[]).await;
    let two = create(&bosh, &[]).await;
    assert_ne!(one.attr("sid"), two.attr("sid"));
}
