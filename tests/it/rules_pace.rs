//! How fast a client may be (requirement B-HOLD-11).

use std::time::{Duration, Instant};

use support::{
    bosh::Bosh,
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
    websocket::{FIN, PING, PONG, frame},
    webstream::WebStream,
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

/// TCP slows it, and nothing is lost.
#[tokio::test]
async fn reads_a_websocket_slowly_that_is_too_fast() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .session("max_request_rate = 20")
        .start();
    let mut desk = prosody.contact("marie").await;
    let account = prosody.account("john");
    let mut web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
    let began = Instant::now();
    let to = desk.jid.clone();
    for number in 0..120 {
        web.send_message(&to, &number.to_string()).await;
    }
    for number in 0..120 {
        assert_eq!(desk.next().await.body(), Some(number.to_string()));
    }
    // 80 at once, the others twenty a second.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1700), "{took:?}");
    web.fence().await;
}

#[tokio::test]
async fn reads_pings_and_pongs_no_faster() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .session("max_request_rate = 20")
        .start();
    for opcode in [PING, PONG] {
        let account = prosody.account("john");
        let mut web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
        let began = Instant::now();
        web.write(&frame(FIN | opcode, b"").repeat(120)).await;
        web.fence().await;
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(1700), "{opcode}: {took:?}");
    }
}
