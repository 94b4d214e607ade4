//! How fast a client may be (requirement B-HOLD-11).

use std::time::{Duration, Instant};

use support::{
    bosh::Bosh,
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
};

#[tokio::test]
async fn slows_down_a_client_that_is_too_fast() {
    let gateway = Gateway::builder(Prosody::shared())
        .session("max_request_rate = 10")
        .start();
    let mut bosh = Bosh::open(&gateway.bosh(), DOMAIN).await;
    let began = Instant::now();
    for _ in 0..60 {
        let answer = bosh.send("pause='60'", "").await.body().await;
        assert_eq!(answer.attr("type"), None, "it is answered: {answer}");
    }
    // 40 at once, the others ten a second.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1900), "{took:?}");
}
