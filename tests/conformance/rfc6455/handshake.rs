//! 4.2, 4.4: Server-Side Requirements of the opening handshake, Supporting Multiple Versions.

use support::{
    gateway::Gateway,
    http::{Connection, Endpoint, Response},
    site::{Site, domain, only_rostergate},
    websocket::{ACCEPT, FIN, TEXT, WebSocket, frame, upgrade},
    webstream::open,
    within,
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

/// The answer to an upgrade that has to be refused.
async fn refusal(endpoint: &Endpoint, changes: &[(&str, &str)]) -> Response {
    let answer = WebSocket::try_open(endpoint, changes).await;
    answer
        .err()
        .unwrap_or_else(|| panic!("upgraded: {changes:?}"))
}

#[tokio::test]
async fn upgrades_and_proves_that_it_has_read_the_key() {
    let gateway = gateway();
    let socket = WebSocket::open(&gateway.websocket()).await;
    let response = &socket.response;
    let token = |name| response.header(name).map(str::to_ascii_lowercase);
    assert_eq!(
        token("upgrade").as_deref(),
        Some("websocket"),
        "{response:?}"
    );
    assert_eq!(
        token("connection").as_deref(),
        Some("upgrade"),
        "{response:?}"
    );
    assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
}

#[tokio::test]
async fn takes_upgrades_in_any_case_and_among_other_tokens() {
    let gateway = gateway();
    for changes in [
        [("Upgrade", "WebSocket"), ("Connection", "upgrade")],
        [
            ("Upgrade", "WEBSOCKET"),
            ("Connection", "keep-alive, Upgrade"),
        ],
        [
            ("Upgrade", "websocket"),
            ("Connection", "UPGRADE,Keep-Alive"),
        ],
    ] {
        WebSocket::open_with(&gateway.websocket(), &changes).await;
    }
}

#[tokio::test]
async fn takes_header_names_in_any_case() {
    let gateway = gateway();
    let endpoint = gateway.websocket();
    for change in [str::to_ascii_lowercase, str::to_ascii_uppercase] {
        let headers = upgrade(&[]);
        let names: Vec<_> = headers.iter().map(|header| change(header.0)).collect();
        let headers = names.iter().zip(&headers);
        let headers: Vec<_> = headers.map(|(name, header)| (&**name, header.1)).collect();
        let mut connection = Connection::open(&endpoint).await;
        connection.send("GET", &endpoint.path, &headers, "").await;
        assert_eq!(connection.response().await.status(), 101, "{headers:?}");
    }
}

#[tokio::test]
async fn tells_clients_of_other_versions_which_it_speaks() {
    let gateway = gateway();
    for version in ["8", "14", "0", "x"] {
        let changes = [("Sec-WebSocket-Version", version)];
        let response = refusal(&gateway.websocket(), &changes).await;
        assert_eq!(response.status(), 426, "{version}: {response:?}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
    }
}

#[tokio::test]
async fn refuses_keys_that_are_not_sixteen_bytes() {
    let gateway = gateway();
    for key in [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZQ",
        "=",
        "******==",
    ] {
        let response = refusal(&gateway.websocket(), &[("Sec-WebSocket-Key", key)]).await;
        assert_eq!(response.status(), 400, "{key:?}: {response:?}");
    }
}

#[tokio::test]
async fn refuses_http_1_0() {
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let mut connection = Connection::open(&endpoint).await;
    let headers = upgrade(&[]);
    let headers = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = headers.collect();
    let path = &endpoint.path;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    connection.write(request.as_bytes()).await;
    let status = connection.response().await.status();
    assert!((400..600).contains(&status), "{status}");
}

#[tokio::test]
async fn accepts_no_extension() {
    let gateway = gateway();
    let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
    let changes = [("Sec-WebSocket-Extensions", offer)];
    let socket = WebSocket::open_with(&gateway.websocket(), &changes).await;
    let accepted = socket.response.header("sec-websocket-extensions");
    assert_eq!(accepted, None);
}

#[tokio::test]
async fn shows_a_page_to_those_who_ask_for_no_upgrade() {
    only_rostergate("no specification says");
    let gateway = gateway();
    for method in ["GET", "HEAD"] {
        let response = gateway.websocket().request(method, &[], "").await;
        assert_eq!(response.status(), 200, "{response:?}");
        response.assert_inert();
        assert_eq!(response.text().is_empty(), method == "HEAD");
    }
}

#[tokio::test]
async fn refuses_other_methods() {
    let gateway = gateway();
    for method in ["POST", "PUT", "DELETE"] {
        let response = gateway.websocket().request(method, &upgrade(&[]), "").await;
        assert_eq!(response.status(), 405, "{method}: {response:?}");
    }
}

/// Browsers do not follow a redirect here.
#[tokio::test]
async fn serves_its_path_with_slash_and_query() {
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let path = &endpoint.path;
    for path in [
        format!("{path}/"),
        format!("{path}?u=john"),
        format!("{path}/?room=a&u=b"),
    ] {
        WebSocket::open(&endpoint.at(&path)).await;
    }
}

#[tokio::test]
async fn says_nothing_of_what_was_asked() {
    only_rostergate("no specification says");
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let marked = endpoint.at(&format!("{}?MARK", endpoint.path));
    let mark = [
        ("Origin", "https://MARK"),
        ("Sec-WebSocket-Protocol", "MARK, xmpp"),
        ("X-Mark", "MARK"),
    ];
    let upgraded = WebSocket::open_with(&marked, &mark).await.response;
    let refused = refusal(&marked, &[mark[0], ("Sec-WebSocket-Key", "MARK")]).await;
    for response in [upgraded, refused] {
        assert!(!format!("{response:?}").contains("MARK"), "{response:?}");
    }
}

/// Web servers keep their connections, and use them for whatever comes next.
#[tokio::test]
async fn takes_an_upgrade_on_a_connection_that_has_been_used() {
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let mut connection = Connection::open(&endpoint).await;
    for _ in 0..2 {
        connection.send("GET", &gateway.bosh().path, &[], "").await;
        connection.response().await;
    }
    let headers = upgrade(&[]);
    connection.send("GET", &endpoint.path, &headers, "").await;
    assert_eq!(connection.response().await.status(), 101);
}

/// What follows would be taken for frames by some, and for a body by others.
#[tokio::test]
async fn does_not_take_the_body_of_a_request_for_frames() {
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let open = frame(FIN | TEXT, open(domain(), &[]).as_bytes());
    let length = open.len().to_string();
    let mut connection = Connection::open(&endpoint).await;
    let headers = upgrade(&[("Content-Length", &length)]);
    connection.send("GET", &endpoint.path, &headers, "").await;
    connection.write(&open).await;
    let response = within("an answer", connection.try_response()).await;
    let status = response.map(|response| response.status());
    assert!(matches!(status, None | Some(400..)), "{status:?}");
}
