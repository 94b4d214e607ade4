//! How sessions end when the gateway does; `operation.rs` has the rest of it.

use std::time::{Duration, Instant};

use crate::support::{bosh::Bosh, gateway::Gateway, prosody::Prosody, within};

#[tokio::test]
async fn sessions_end_one_after_the_other() {
    let prosody = Prosody::shared();
    let mut gateway = Gateway::builder(prosody)
        .server("drain_spread = \"2s\"")
        .start();
    let mut held = Vec::new();
    for number in 0..4 {
        let account = prosody.account(&format!("john{number}"));
        let mut bosh = Bosh::log_in(&gateway.bosh(), &account, "web").await;
        held.push(bosh.send("", "").await);
    }
    let told = Instant::now();
    gateway.signal("TERM");
    let mut ends = Vec::new();
    for pending in held {
        ends.push(tokio::spawn(async move {
            let end = pending.body().await;
            (end.attr("condition").map(str::to_owned), told.elapsed())
        }));
    }
    let mut last = Duration::ZERO;
    for end in ends {
        let (condition, after) = within("the end", end).await.expect("no panic");
        assert_eq!(condition.as_deref(), Some("system-shutdown"));
        last = last.max(after);
    }
    // The fourth one's turn.
    assert!(last >= Duration::from_millis(1500), "all within {last:?}");
    assert!(gateway.wait().success());
}
