//! Polling Sessions.

use support::scene::assert_empty;
use support::{
    bosh::Bosh,
    gateway::Gateway,
    site::{Site, domain},
};

#[tokio::test]
async fn answers_polling_sessions_at_once() {
    let gateway = Gateway::start(Site::shared());
    for terms in [[("hold", "0")], [("wait", "0")]] {
        let mut web = Bosh::open_with(&gateway.bosh(), domain(), &terms).await;
        assert_empty(&web.exchange("").await);
    }
}
