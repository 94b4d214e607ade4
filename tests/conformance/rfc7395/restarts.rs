//! 3.7: Stream Restarts.

use support::{
    client::Client,
    gateway::Gateway,
    sasl::Mechanism,
    site::{Site, domain},
    webstream::{WebStream, open},
    xml::{BIND, SASL, message},
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

#[tokio::test]
async fn opens_a_new_stream_after_authentication() {
    let gateway = gateway();
    let account = Site::shared().account("john");
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    let first = stream.opening.attr("id").map(str::to_owned);
    let success = stream.try_authenticate(&account).await;
    assert!(success.is(SASL, "success"), "{success}");
    stream.start().await;
    assert_ne!(stream.opening.attr("id").map(str::to_owned), first);
    assert_eq!(stream.opening.attr("from"), Some(domain()));
    assert!(stream.features.child(BIND, "bind").is_some());
    stream.bind("web").await;
    assert_eq!(stream.jid, format!("{}/web", account.jid()));
}

/// Nothing comes between `<success/>` and what the client does next.
#[tokio::test]
async fn waits_for_the_client_to_open_the_new_stream() {
    let gateway = gateway();
    let account = Site::shared().account("john");
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    stream.try_authenticate(&account).await;
    stream.ping(b"anything else?").await;
    while stream.pongs.is_empty() {
        let frame = support::within("a pong", stream.frame()).await;
        // It panics at anything but pings and pongs.
        stream.handle_control(frame.expect("open")).await;
    }
}

#[tokio::test]
async fn refuses_stanzas_before_the_new_stream() {
    let gateway = gateway();
    let site = Site::shared();
    let mut desk = site.contact("marie").await;
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    stream.try_authenticate(&site.account("john")).await;
    stream.send(&message(&desk.jid, "too early")).await;
    let steps = stream.end().await.steps;
    let condition = steps.first().map(String::as_str);
    assert!(
        matches!(condition, Some("not-authorized" | "bad-format")),
        "{steps:?}"
    );
    assert_eq!(steps[1..], ["<close/>", "1000"]);
    assert_eq!(desk.fence().await, []);
}

#[tokio::test]
async fn lets_try_again_after_a_wrong_password() {
    let gateway = gateway();
    let account = Site::shared().account("john");
    let mut wrong = account.clone();
    wrong.password.push('x');
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    let failure = stream.try_authenticate(&wrong).await;
    assert!(failure.child(SASL, "not-authorized").is_some(), "{failure}");
    stream.authenticate(&account).await;
    stream.bind("web").await;
}

/// There is no new stream after a failure.
#[tokio::test]
async fn refuses_open_after_a_wrong_password() {
    let gateway = gateway();
    let mut wrong = Site::shared().account("john");
    wrong.password.push('x');
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    stream.try_authenticate(&wrong).await;
    stream.send(&open(domain(), &[])).await;
    let steps = stream.end().await.steps;
    assert_eq!(steps, ["bad-format", "<close/>", "1000"]);
}

#[tokio::test]
async fn passes_every_mechanism_of_the_server() {
    let gateway = gateway();
    let account = Site::shared().account("john");
    let transport = support::client::Transport::WebSocket(gateway.websocket());
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha1] {
        let client = Client::login_by(mechanism, &transport, &account, "web").await;
        assert_eq!(client.jid, format!("{}/web", account.jid()));
    }
}
