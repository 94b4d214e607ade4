//! What comes before a session over WebSocket: the HTTP request that opens it (RFC 6455 §4.2), and `<open/>` (RFC 7395).

use support::{
    bosh::Bosh,
    gateway::{Builder, Gateway},
    http::{Connection, Endpoint, Response},
    prosody::{DOMAIN, Prosody},
    websocket::{ACCEPT, BINARY, FIN, Received, TEXT, WebSocket, frame, head, upgrade},
    webstream::{WebStream, open},
    within,
    xml::Element,
};

const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
const ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
const STREAMS: &str = "http://etherx.jabber.org/streams";
const CLOSE: &str = r#"<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />"#;

fn builder() -> Builder {
    Gateway::builder(Prosody::shared())
}

/// The answer to an upgrade that is refused.
async fn refusal(endpoint: &Endpoint, changes: &[(&str, &str)]) -> Response {
    match WebSocket::try_open(endpoint, changes).await {
        Ok(opened) => panic!("opened: {:?}", opened.response),
        Err(response) => response,
    }
}

/// What a client is told that gets no session: the condition of the stream error, and the Close code.
async fn refused(mut socket: WebSocket) -> (String, Option<u16>) {
    let Received::Text(open) = socket.next().await else {
        panic!("no <open/>");
    };
    assert!(open.starts_with("<open "), "{open}");
    let open = Element::parse(&open);
    assert!(open.is(FRAMING, "open"), "{open:?}");
    assert_eq!(open.attr("version"), Some("1.0"));
    let Received::Text(error) = socket.next().await else {
        panic!("no stream error");
    };
    let error = Element::parse(&error);
    assert!(error.is(STREAMS, "error"), "{error:?}");
    let condition = error
        .children()
        .find(|it| it.is(ERRORS, &it.name))
        .expect("a condition");
    let condition = condition.name.clone();
    assert_eq!(socket.next().await, Received::Text(CLOSE.to_owned()));
    socket.send(CLOSE).await;
    let Received::Close(code) = socket.next().await else {
        panic!("no Close frame");
    };
    socket.close(1000).await;
    assert_eq!(socket.next().await, Received::End);
    (condition, code)
}

#[tokio::test]
async fn an_upgrade_is_answered_with_what_browsers_check() {
    let gateway = builder().start();
    let protocols = [("Sec-WebSocket-Protocol", "foo, XMPP, bar")];
    for changes in [
        &[][..],
        &[
            ("Upgrade", "WebSocket"),
            ("Connection", "keep-alive, Upgrade"),
        ],
        &[("Host", "elsewhere.example")],
        &[("Origin", "https://anywhere.example")],
        &[(
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        )],
        &protocols,
    ] {
        let socket = WebSocket::open_with(&gateway.websocket(), changes).await;
        let header = |name| socket.response.header(name);
        assert_eq!(header("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(
            header("sec-websocket-protocol"),
            Some("xmpp"),
            "{changes:?}"
        );
        assert_eq!(header("sec-websocket-extensions"), None);
    }
    for path in [
        "/xmpp-websocket/",
        "/xmpp-websocket?u=john",
        "//xmpp-websocket",
    ] {
        WebSocket::open(&gateway.websocket().at(path)).await;
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_answered_by_what_is_wrong() {
    let gateway = builder().start();
    let endpoint = gateway.websocket();
    let page = endpoint.request("GET", &[], "").await;
    assert_eq!(page.status(), 200);
    page.assert_inert();
    let post = endpoint.request("POST", &[], "<open/>").await;
    assert_eq!(
        (post.status(), post.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let version = refusal(&endpoint, &[("Sec-WebSocket-Version", "8")]).await;
    assert_eq!(version.status(), 426);
    assert_eq!(version.header("sec-websocket-version"), Some("13"));
    for (changes, text) in [
        (&[("Upgrade", ""), ("Connection", "close")][..], "proxy"),
        (&[("Connection", "keep-alive")], "proxy"),
        (&[("Sec-WebSocket-Key", "x")], "Sec-WebSocket-Key"),
        (&[("Sec-WebSocket-Protocol", "")], "offer xmpp"),
        (&[("Sec-WebSocket-Protocol", "soap")], "offer xmpp"),
    ] {
        let answer = refusal(&endpoint, changes).await;
        assert_eq!(answer.status(), 400, "{changes:?}");
        assert!(
            answer.text().contains(text),
            "{changes:?}: {}",
            answer.text()
        );
        answer.assert_inert();
    }
    let log = gateway.log();
    assert!(log.contains("a proxy has dropped Upgrade"), "{log}");
    // Nginx speaks HTTP/1.0 where it is told nothing else.
    let mut old = Connection::open(&endpoint).await;
    let mut request = "GET /xmpp-websocket HTTP/1.0\r\n".to_owned();
    for (name, value) in upgrade(&[]) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    old.write(format!("{request}\r\n").as_bytes()).await;
    let answer = old.response().await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("HTTP/1.1"), "{}", answer.text());
}

#[tokio::test]
async fn pages_of_other_origins_open_nothing() {
    let gateway = builder()
        .web("origins = ['https://a.example', 'http://b.example:8080']")
        .start();
    let endpoint = gateway.websocket();
    for origin in [
        "",
        "https://a.example",
        "HTTPS://A.example:443",
        "http://b.example:8080",
    ] {
        WebSocket::open_with(&endpoint, &[("Origin", origin)]).await;
    }
    for origin in [
        "null",
        "https://evil.example",
        "http://a.example",
        "http://b.example",
    ] {
        let answer = refusal(&endpoint, &[("Origin", origin)]).await;
        assert_eq!(answer.status(), 403, "{origin}");
        assert!(!answer.text().contains("evil"), "nothing is echoed");
    }
    let log = gateway.log();
    assert!(log.contains("origin not in web.origins"), "{log}");
}

#[tokio::test]
async fn the_path_can_be_changed_or_left_out() {
    let moved = builder().websocket("path = '/ws'").start();
    WebSocket::open(&moved.websocket().at("/ws")).await;
    assert_eq!(refusal(&moved.websocket(), &[]).await.status(), 404);
    let none = builder().websocket("path = ''").start();
    assert_eq!(refusal(&none.websocket(), &[]).await.status(), 404);
    let apart = builder().admin("listen = '127.0.0.1:0'").start();
    let admin = apart.admin().at("/xmpp-websocket");
    assert_eq!(
        refusal(&admin, &[]).await.status(),
        404,
        "not where only the admin API is"
    );
}

#[tokio::test]
async fn streams_that_do_not_begin_are_refused_in_order() {
    let gateway = builder().start();
    let opening = |attributes: &str| format!("<open xmlns='{FRAMING}' {attributes}/>");
    for (message, condition) in [
        (
            opening("to='elsewhere.example' version='1.0'"),
            "host-unknown",
        ),
        (opening("version='1.0'"), "improper-addressing"),
        (opening("to='a b' version='1.0'"), "improper-addressing"),
        (opening("to='localhost'"), "unsupported-version"),
        (
            "<open to='localhost' version='1.0'/>".to_owned(),
            "invalid-namespace",
        ),
        ("<presence xmlns='jabber:client'/>".to_owned(), "bad-format"),
        ("<open".to_owned(), "not-well-formed"),
    ] {
        let mut socket = WebSocket::open(&gateway.websocket()).await;
        socket.send(&message).await;
        let told = refused(socket).await;
        assert_eq!(told, (condition.to_owned(), Some(1000)), "{message}");
    }
    let mut socket = WebSocket::open(&gateway.websocket()).await;
    socket.write(&head(FIN | TEXT, (64 << 10) + 1)).await;
    let told = refused(socket).await;
    assert_eq!(told, ("policy-violation".to_owned(), Some(1009)));
    let mut socket = WebSocket::open(&gateway.websocket()).await;
    socket.write(&frame(FIN | BINARY, b"<open/>")).await;
    assert_eq!(socket.next().await, Received::Close(Some(1003)));
    socket.close(1003).await;
    assert_eq!(socket.next().await, Received::End);
}

#[tokio::test]
async fn a_client_logs_in_and_hears_itself() {
    let prosody = Prosody::shared();
    let gateway = builder().start();
    let john = prosody.account("john");
    let mut stream = WebStream::log_in(&gateway.websocket(), &john, "upgrade").await;
    stream.send_presence().await;
    let jid = stream.jid.clone();
    stream.send_message(&jid, "hello").await;
    stream.expect_message("hello").await;
    stream.log_out().await;
}

#[tokio::test]
async fn what_follows_the_request_at_once_is_heard() {
    let gateway = builder().start();
    let mut request = "GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for (name, value) in upgrade(&[]) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = format!("{request}\r\n").into_bytes();
    bytes.extend(frame(FIN | TEXT, b"<presence/>"));
    let mut connection = Connection::open(&gateway.websocket()).await;
    connection.write(&bytes).await;
    assert_eq!(connection.response().await.status(), 101);
    within("an answer", async {
        while !String::from_utf8_lossy(connection.unread()).contains("bad-format") {
            connection.read().await.expect("more");
        }
    })
    .await;
}

#[tokio::test]
async fn over_tls_there_are_websockets_by_http_1_1() {
    let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/localhost");
    let pair = format!("certificate = '{certs}.crt'\nprivate_key = '{certs}.key'");
    let gateway = builder()
        .server("listen_tls = ['127.0.0.1:0']")
        .server(&pair)
        .start();
    let endpoint = Endpoint::new(gateway.https(), "/xmpp-websocket").over_any_tls();
    let mut socket = WebSocket::open(&endpoint).await;
    socket.send("<presence/>").await;
    assert_eq!(refused(socket).await.0, "bad-format");
}

#[tokio::test]
async fn bounds_on_sessions_are_told_before_the_upgrade() {
    let gateway = builder()
        .session("creations_per_address = 3")
        .session("sessions_per_address = 2")
        .start();
    let from = |last| {
        gateway
            .websocket()
            .adding("X-Forwarded-For", &format!("192.0.2.{last}"))
    };
    let first = WebSocket::open(&from(1)).await;
    let _second = WebSocket::open(&from(1)).await;
    let answer = refusal(&from(1), &[]).await;
    assert_eq!(
        (answer.status(), answer.header("retry-after")),
        (503, Some("5"))
    );
    assert!(
        answer.text().contains("too many sessions of this address"),
        "{}",
        answer.text()
    );
    WebSocket::open(&from(2)).await;
    // One that is gone makes room.
    drop(first);
    let mut third = None;
    within("room for a third", async {
        while third.is_none() {
            third = WebSocket::try_open(&from(1), &[]).await.ok();
        }
    })
    .await;
    drop(third);
    within("the limit of the pace", async {
        while !refusal(&from(1), &[])
            .await
            .text()
            .contains("too many new sessions")
        {}
    })
    .await;
}

#[tokio::test]
async fn a_websocket_counts_as_a_connection_for_as_long_as_it_is_open() {
    let gateway = builder()
        .server("trusted_proxies = []")
        .server("connections_per_address = 2")
        .start();
    let endpoint = gateway.websocket();
    let first = WebSocket::open(&endpoint).await;
    let _second = WebSocket::open(&endpoint).await;
    let answer = refusal(&endpoint, &[]).await;
    assert_eq!(answer.status(), 503);
    assert!(
        answer.text().contains("too many connections"),
        "{}",
        answer.text()
    );
    drop(first);
    within("room for a third", async {
        while WebSocket::try_open(&endpoint, &[]).await.is_err() {}
    })
    .await;
}

#[tokio::test]
async fn while_the_gateway_ends_there_are_no_new_streams() {
    let prosody = Prosody::shared();
    let gateway = builder().server("drain_spread = '5s'").start();
    let mut held = Vec::new();
    for number in 0..4 {
        let account = prosody.account(&format!("drained{number}"));
        let mut bosh = Bosh::log_in(&gateway.bosh(), &account, "web").await;
        held.push(bosh.send("", "").await);
    }
    let mut waiting = WebSocket::open(&gateway.websocket()).await;
    gateway.signal("TERM");
    within("the drain", async {
        while !gateway.log().contains("draining") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = refusal(&gateway.websocket(), &[]).await;
    assert_eq!(
        (answer.status(), answer.header("retry-after")),
        (503, Some("5"))
    );
    assert!(answer.text().contains("going down"), "{}", answer.text());
    waiting.send(&open(DOMAIN, &[])).await;
    let told = refused(waiting).await;
    assert_eq!(told, ("system-shutdown".to_owned(), Some(1000)));
}
