//! 3.1: Handshake.

use support::{
    gateway::Gateway,
    http::Connection,
    site::{Site, domain, only_rostergate},
    websocket::{WebSocket, upgrade},
    webstream::WebStream,
};

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

#[tokio::test]
async fn chooses_xmpp_among_the_protocols_offered() {
    let gateway = gateway();
    for offer in [
        "xmpp",
        "chat, xmpp",
        "xmpp,chat",
        "a,b ,  xmpp",
        "chat,xmpp,foo",
    ] {
        let socket = WebSocket::open_with(&gateway.websocket(), &[(PROTOCOL, offer)]).await;
        let chosen = socket.response.header("sec-websocket-protocol");
        assert_eq!(chosen, Some("xmpp"), "{offer}");
    }
}

#[tokio::test]
async fn chooses_xmpp_in_any_case_and_in_any_line() {
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let mut lines = upgrade(&[(PROTOCOL, "chat")]);
    lines.push((PROTOCOL, "XMPP"));
    let mut connection = Connection::open(&endpoint).await;
    connection.send("GET", &endpoint.path, &lines, "").await;
    let response = connection.response().await;
    assert_eq!(response.status(), 101, "{response:?}");
    let chosen = response.header("sec-websocket-protocol");
    assert!(matches!(chosen, Some("xmpp" | "XMPP")), "{response:?}");
}

#[tokio::test]
async fn refuses_those_who_do_not_offer_xmpp_and_says_why() {
    only_rostergate("RFC 7395 does not say how");
    let gateway = gateway();
    for offer in ["", "chat", "xmpp2, xmp", "xmpp chat"] {
        let answer = WebSocket::try_open(&gateway.websocket(), &[(PROTOCOL, offer)]).await;
        let response = answer.err().unwrap_or_else(|| panic!("upgraded: {offer}"));
        assert_eq!(response.status(), 400, "{response:?}");
        assert!(response.text().contains("xmpp"), "{response:?}");
    }
}

#[tokio::test]
async fn takes_the_domain_from_open_and_not_from_host() {
    let gateway = gateway();
    let host = [("Host", "chat.site.example:8443")];
    let socket = WebSocket::open_with(&gateway.websocket(), &host).await;
    let mut stream = WebStream::over(socket, domain());
    stream.start().await;
    assert_eq!(stream.opening.attr("from"), Some(domain()));
}
