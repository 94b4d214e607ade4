//! How long a request may take to come in and how long its head may be, where that is configured.

use std::{fs, future::Future, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    join,
    net::TcpStream,
};

use support::{
    gateway::{Builder, Gateway},
    http::Connection,
    prosody::Prosody,
    within, within_limit,
};

use crate::browser::{self, tls};

/// What is configured is over by then, and no default is.
const SOON: Duration = Duration::from_secs(8);

fn https() -> Builder {
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let file = |name| certs.join(name);
    Gateway::builder(Prosody::shared())
        .server("listen_tls = ['127.0.0.1:0']")
        .server(&format!("certificate = {:?}", file("localhost.crt")))
        .server(&format!("private_key = {:?}", file("localhost.key")))
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_limit(SOON, what, future).await
}

/// Waits until a limit has been hit so often.
async fn hit(gateway: &Gateway, limit: &str, times: usize) {
    let metrics = gateway.admin().at("/metrics");
    let line = format!("rostergate_limits_hit_total{{limit=\"{limit}\"}} {times}\n");
    let counted = async { while !metrics.request("GET", &[], "").await.text().contains(&line) {} };
    soon(&line, counted).await;
}

const GET: &[u8] = b"GET /http-bind HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn requests_have_the_time_that_is_configured() {
    let gateway = https()
        .server("handshake_timeout = '1s'")
        .server("idle_timeout = '1s'")
        .bosh("body_timeout = '1s'")
        .start();
    let bosh = gateway.bosh();
    let no_handshake = async {
        let mut silent = TcpStream::connect(gateway.https()).await.expect("accepted");
        let mut byte = [0];
        let read = silent.read(&mut byte);
        let read = soon("the end of a connection without handshake", read).await;
        assert!(matches!(read, Ok(0)), "{read:?}");
    };
    let no_request = async {
        let mut silent = Connection::open(&bosh).await;
        let ended = silent.try_response();
        assert!(
            soon("the end of a silent connection", ended)
                .await
                .is_none()
        );
    };
    let no_other_request = async {
        let mut once = Connection::open(&bosh).await;
        once.write(GET).await;
        assert_eq!(once.response().await.status(), 200);
        let ended = once.try_response();
        assert!(soon("the end of an idle connection", ended).await.is_none());
    };
    let half_a_body = async {
        let mut slow = Connection::open(&bosh).await;
        let half = "POST /http-bind HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n<body";
        slow.write(half.as_bytes()).await;
        let answer = soon("an answer to half a body", slow.response()).await;
        assert_eq!(answer.condition().as_deref(), Some("bad-request"));
        slow.closed().await;
    };
    join!(no_handshake, no_request, no_other_request, half_a_body);
    for (limit, times) in [
        ("server.handshake_timeout", 1),
        ("server.idle_timeout", 2),
        ("bosh.body_timeout", 1),
    ] {
        hit(&gateway, limit, times).await;
    }
}

#[tokio::test]
async fn a_reload_gives_new_connections_other_times() {
    let gateway = Gateway::builder(Prosody::shared())
        .server("idle_timeout = '1h'")
        .start();
    let mut old = Connection::open(&gateway.bosh()).await;
    old.write(GET).await;
    assert_eq!(old.response().await.status(), 200);
    let path = gateway.config_path();
    let config = fs::read_to_string(&path).expect("a file");
    fs::write(&path, config.replace("'1h'", "'1s'")).expect("written");
    gateway.signal("HUP");
    let reloaded = async {
        while !gateway.log().contains("configuration reloaded") {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("a reload", reloaded).await;
    let mut new = Connection::open(&gateway.bosh()).await;
    assert!(soon("the end of it", new.try_response()).await.is_none());
    old.write(GET).await;
    assert_eq!(old.response().await.status(), 200, "it has its hour");
}

#[tokio::test]
async fn heads_are_as_long_as_is_configured() {
    let get = |length: usize| {
        let before = "GET /http-bind HTTP/1.1\r\nHost: localhost\r\nX: ";
        let filler = "x".repeat(length - before.len() - "\r\n\r\n".len());
        format!("{before}{filler}\r\n\r\n")
    };
    let status = async |gateway: &Gateway, length: usize| {
        let mut connection = Connection::open(&gateway.bosh()).await;
        connection.write(get(length).as_bytes()).await;
        connection.response().await.status()
    };
    let small = https().server("max_head = '8KiB'").start();
    assert_eq!(status(&small, 8 << 10).await, 200);
    assert_eq!(status(&small, (8 << 10) + 1).await, 431);
    assert_eq!(status(&small, 9 << 10).await, 431);
    hit(&small, "server.max_head", 2).await;
    let large = Gateway::builder(Prosody::shared())
        .server("max_head = '128KiB'")
        .start();
    assert_eq!(status(&large, 128 << 10).await, 200);
    assert_eq!(status(&large, (128 << 10) + 1).await, 431);
    // Over HTTP/2 as well, by its own account (RFC 9113 §6.5.2).
    let before: usize = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/http-bind"),
        ("x", ""),
    ]
    .map(|(name, value)| name.len() + value.len() + 32)
    .iter()
    .sum();
    let status = async |length: usize| {
        let filler = "x".repeat(length - before);
        let connection = browser::Connection::open(small.https()).await;
        let headers = [("x", filler.as_str())];
        let sent = connection.post("/http-bind", &headers, "").await;
        sent.response().await.status()
    };
    assert_eq!(status((8 << 10) - 1).await, 400, "no body");
    assert_eq!(status((8 << 10) + 1).await, 431);
    hit(&small, "server.max_head", 3).await;
}

#[tokio::test]
async fn a_peer_that_answers_no_pings_has_the_configured_time() {
    let gateway = https().server("http2_ping = '1s'").start();
    let mut mute = tls(gateway.https(), "h2").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    mute.write_all(preface).await.expect("sent");
    let mut said = Vec::new();
    // However the end is told.
    let ended = soon("the end of it", mute.read_to_end(&mut said)).await;
    drop(ended);
    assert!(!said.is_empty(), "it spoke HTTP/2 before");
    hit(&gateway, "server.http2_ping", 1).await;
}
