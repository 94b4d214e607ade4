//! What waits costs nothing.

use std::{fs, time::Duration};

use support::{bosh::Bosh, gateway::Gateway, prosody::Prosody, xml::message};

/// CPU time of a process so far.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields = stat.rsplit_once(')').expect("its name").1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<u32>().expect("a number"))
        .sum::<u32>()
        * TICK
}

/// Sessions that have ended are remembered for a minute, for requests that come too late.
#[tokio::test]
async fn sessions_that_have_ended_use_no_processor() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    for number in 0..5 {
        let account = prosody.account(&format!("john{number}"));
        let mut web = Bosh::log_in(&gateway.bosh(), &account, "web").await;
        // The server asks whether that has arrived, and is owed an answer when the session ends.
        let hello = message(&format!("{}/web", account.jid()), "hello");
        web.exchange_until(&hello, |stanza| stanza.is_message("hello"))
            .await;
        web.send("type='terminate'", "").await.body().await;
    }
    // Polls that nothing comes for take five seconds each. After 15 s, an answer to the server would be due.
    let account = prosody.account("marie");
    let patient = [("wait", "5")];
    let mut web = Bosh::log_in_with(&gateway.bosh(), &account, "web", &patient).await;
    for _ in 0..3 {
        web.exchange("").await;
    }
    let before = cpu_time(gateway.pid());
    web.exchange("").await;
    let spent = cpu_time(gateway.pid()) - before;
    assert!(
        spent < Duration::from_millis(500),
        "{spent:?} in five seconds"
    );
}
