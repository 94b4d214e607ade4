//! Overactivity.

use support::scene::assert_empty;
use support::{
    bosh::Bosh,
    gateway::Gateway,
    site::{Site, domain},
};

#[tokio::test]
async fn ends_polling_sessions_that_poll_too_often() {
    let gateway = Gateway::start(Site::shared());
    let mut web = Bosh::open_with(&gateway.bosh(), domain(), &[("hold", "0")]).await;
    assert_empty(&web.exchange("").await);
    let response = web.send("", "").await.response().await;
    assert_eq!(response.condition().as_deref(), Some("policy-violation"));
}
