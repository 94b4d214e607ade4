//! 3.8: Pings and Keepalives.

use std::time::{Duration, Instant};

use support::{
    gateway::Gateway,
    site::Site,
    websocket::Received,
    webstream::WebStream,
    xml::{CLIENT, PING},
};

#[tokio::test]
async fn passes_pings_of_the_client_as_any_request() {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let mut web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
    let ping = format!("<iq xmlns='{CLIENT}' type='get' id='1'><ping xmlns='{PING}'/></iq>");
    for _ in 0..3 {
        web.send_stanza(&ping).await;
        web.expect("the reply", |element| element.is_reply_to("1"))
            .await;
    }
}

#[tokio::test]
async fn pings_a_client_that_says_nothing() {
    let site = Site::shared();
    let gateway = Gateway::builder(site).websocket("ping = \"1s\"").start();
    let mut web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
    while web.pings.len() < 3 {
        let frame = support::within("a ping", web.frame()).await;
        web.handle_control(frame.expect("the connection is open"))
            .await;
    }
}

#[tokio::test]
async fn ends_a_client_that_does_not_answer_pings() {
    let site = Site::shared();
    let gateway = Gateway::builder(site)
        .websocket("ping = \"1s\"\npong_timeout = \"1s\"")
        .start();
    let mut web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
    let mut desk = site.contact("marie").await;
    let hello = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
    web.send_stanza(&hello).await;
    desk.expect_presence(&web.jid, "").await;
    web.answers_pings = false;
    let end = web.socket.next().await;
    assert!(matches!(end, Received::Close(_) | Received::End), "{end:?}");
    desk.expect_presence(&web.jid, "unavailable").await;
}

/// Whatever it says shows that it is there.
#[tokio::test]
async fn spares_a_client_that_speaks_but_does_not_answer_pings() {
    let site = Site::shared();
    let gateway = Gateway::builder(site)
        .websocket("ping = \"1s\"\npong_timeout = \"1s\"")
        .start();
    let mut web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
    web.answers_pings = false;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let pongs = web.pongs.len();
        web.ping(b"").await;
        while web.pongs.len() == pongs {
            let frame = support::within("a pong", web.frame()).await;
            web.handle_control(frame.expect("the connection is open"))
                .await;
        }
    }
}
