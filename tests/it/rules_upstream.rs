//! What clients see of a server that has moved (requirement B-XMPP-12).

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use support::{
    bosh::Bosh,
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
    xml::{STREAM_ERRORS, STREAMS},
};

#[tokio::test]
async fn asks_clients_of_a_server_that_has_moved_to_come_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let header = format!(
            "<?xml version='1.0'?><stream:stream id='1' from='{DOMAIN}' version='1.0' \
             xmlns='jabber:client' xmlns:stream='{STREAMS}'><stream:features/>"
        );
        let moved = format!(
            "<stream:error><see-other-host xmlns='{STREAM_ERRORS}'>elsewhere.example\
             </see-other-host></stream:error></stream:stream>"
        );
        client.write_all(header.as_bytes()).await.expect("sent");
        let mut seen = Vec::new();
        while !seen.ends_with(b"</auth>") {
            let read = client.read_buf(&mut seen).await.expect("an answer");
            assert_ne!(read, 0, "hung up early");
        }
        client.write_all(moved.as_bytes()).await.expect("sent");
        while client.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {}
    });
    let gateway = Gateway::builder(Prosody::shared())
        .upstream(&format!("xmpp://{address}"))
        .start();
    let mut bosh = Bosh::open(&gateway.bosh(), DOMAIN).await;
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";
    let answer = bosh.exchange(auth).await;
    assert_eq!(answer.attr("condition"), Some("remote-stream-error"));
    let error = answer.child(STREAMS, "error").expect("an error");
    assert!(error.child(STREAM_ERRORS, "reset").is_some(), "{error}");
    assert!(error.child(STREAM_ERRORS, "see-other-host").is_none());
    drop(gateway);
    server.await.expect("the server's part goes well");
}
