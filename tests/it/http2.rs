//! HTTP/2 (B-HTTP-12): what browsers do with one connection, and with several.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use support::{
    client::{Account, Client},
    gateway::{Builder, Gateway},
    http::Endpoint,
    prosody::{DOMAIN, Prosody},
    webstream::WebStream,
    within,
    xml::{CLIENT, message},
};

use crate::browser::{Connection, Session, tls};

/// Streams that a browser may have open at once.
const STREAMS: usize = 250;

fn certs() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("certs")
}

fn https() -> Builder {
    Gateway::builder(Prosody::shared())
        .server("listen_tls = ['127.0.0.1:0']")
        .server(&format!(
            "certificate = {:?}",
            certs().join("localhost.crt")
        ))
        .server(&format!(
            "private_key = {:?}",
            certs().join("localhost.key")
        ))
}

/// A session that the server has told a contact of: the contact hears of its end.
struct Scene {
    gateway: Gateway,
    connection: Connection,
    account: Account,
    web: Session,
    desk: Client,
}

impl Scene {
    async fn of(gateway: Gateway) -> Self {
        let prosody = Prosody::shared();
        let connection = Connection::open(gateway.https()).await;
        let account = prosody.account("john");
        let web = Session::log_in(&connection, &account, "web").await;
        let desk = prosody.contact("marie").await;
        Self {
            gateway,
            connection,
            account,
            web,
            desk,
        }
    }

    fn jid(&self) -> String {
        format!("{}/web", self.account.jid())
    }

    fn hello(&self) -> String {
        format!("<presence xmlns='{CLIENT}' to='{}'/>", self.desk.jid)
    }
}

#[tokio::test]
async fn a_reset_stream_is_the_clients_hanging_up() {
    let mut scene = Scene::of(https().bosh("inactivity = \"1s\"").start()).await;
    let (jid, hello) = (scene.jid(), scene.hello());
    // Held for 60 s, were it not for the reset; after that the session has nobody left.
    let held = scene.web.send(&scene.connection, &hello).await;
    scene.desk.expect_presence(&jid, "").await;
    held.reset();
    scene.desk.expect_presence(&jid, "unavailable").await;
    scene.connection.assert_open();
}

#[tokio::test]
async fn a_reset_stream_gets_nothing_that_the_next_request_then_lacks() {
    let mut scene = Scene::of(https().start()).await;
    let (jid, hello) = (scene.jid(), scene.hello());
    let held = scene.web.send(&scene.connection, &hello).await;
    scene.desk.expect_presence(&jid, "").await;
    held.reset();
    // Once the gateway knows: a login that follows on the connection shows that it does.
    let account = Prosody::shared().account("jack");
    let mut other = Session::log_in(&scene.connection, &account, "web").await;
    let bystander = other.send(&scene.connection, "").await;
    scene.desk.send_message(&jid, "not for the dead");
    scene.desk.fence().await;
    let arrived = scene.web.exchange_until(&scene.connection, "", |child| {
        child.is_message("not for the dead")
    });
    within("the message", arrived).await;
    // No other request on this connection has noticed.
    let payload = message(&scene.desk.jid, "still here");
    let next = other.send(&scene.connection, &payload).await;
    assert_eq!(bystander.response().await.status(), 200);
    scene.desk.expect_message("still here").await;
    next.reset();
}

#[tokio::test]
async fn a_connection_has_250_streams_at_once() {
    let gateway = https().start();
    let mut connection = Connection::open(gateway.https()).await;
    assert_eq!(connection.max_streams().await, STREAMS);
    let mut sessions = Vec::new();
    for _ in 0..STREAMS {
        sessions.push(Session::open(&connection, DOMAIN).await);
    }
    let mut held = Vec::new();
    for session in &mut sessions {
        held.push(session.send(&connection, "").await);
    }
    // A second request answers the first: so that of the last session has got through while all the
    // others are held.
    let second = Connection::open(gateway.https()).await;
    let (last, held_last) = (sessions.last_mut(), held.pop());
    let newer = last.expect("one of 250").send(&second, "").await;
    let answer = held_last.expect("one of 250").response().await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    for sent in held.into_iter().chain([newer]) {
        sent.reset();
    }
    connection.assert_open();
}

#[tokio::test]
async fn a_session_moves_between_connections_and_versions() {
    let mut scene = Scene::of(https().start()).await;
    let jid = scene.jid();
    let held = scene.web.send(&scene.connection, "").await;
    // Another tab's connection takes over while the first still holds a request.
    let second = Connection::open(scene.gateway.https()).await;
    let payload = message(&scene.desk.jid, "two");
    let newer = scene.web.send(&second, &payload).await;
    scene.desk.expect_message("two").await;
    assert_eq!(
        held.response().await.status(),
        200,
        "the older one is answered"
    );
    scene.connection.cut();
    scene.desk.send_message(&jid, "on the second");
    let answer = newer.response().await;
    assert!(answer.text().contains("on the second"), "{answer:?}");
    second.cut();
    let request = scene
        .web
        .next_request("", &message(&scene.desk.jid, "three"));
    let mut stream = tls(scene.gateway.https(), "http/1.1").await;
    let head = format!(
        "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{request}",
        request.len()
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    scene.desk.expect_message("three").await;
    scene.desk.send_message(&jid, "and on HTTP/1.1");
    let mut answer = String::new();
    let read = async {
        while !answer.contains("and on HTTP/1.1") {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).await.expect("an answer");
            assert_ne!(length, 0, "the end after {answer}");
            answer.push_str(&String::from_utf8_lossy(&part[..length]));
        }
    };
    within("the message", read).await;
}

#[tokio::test]
async fn an_answer_that_ends_an_http_1_connection_ends_only_its_stream() {
    let scene = Scene::of(https().start()).await;
    let coding = [("content-encoding", "gzip")];
    let refused = scene
        .connection
        .post("/http-bind", &coding, "nothing")
        .await;
    let refused = refused.response().await;
    assert_eq!(refused.status(), 415);
    refused.assert_usual_headers();
    assert_eq!(refused.header("connection"), None);
    let mut web = scene.web;
    let mut desk = scene.desk;
    let sent = web
        .send(&scene.connection, &message(&desk.jid, "next"))
        .await;
    desk.expect_message("next").await;
    sent.reset();
}

#[tokio::test]
async fn an_early_answer_waits_for_the_rest_of_the_request() {
    let gateway = https().start();
    let mut connection = Connection::open(gateway.https()).await;
    for path in ["/nowhere", "/roster_admin/nowhere"] {
        let mut sent = connection.begin(path, &[]).await;
        // The first has been dealt with when a request after it has been answered.
        let other = connection.post("/http-bind", &[], "nothing").await;
        assert_eq!(other.response().await.status(), 200);
        connection.ping().await;
        sent.finish("[]");
        assert_eq!(sent.response().await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_peer_that_resets_streams_without_end_is_cut_off() {
    let mut scene = Scene::of(https().start()).await;
    let evil = Connection::open(scene.gateway.https()).await;
    let is_cut = evil.reset_rapidly("/http-bind", 20_000).await;
    assert!(is_cut);
    let payload = message(&scene.desk.jid, "unmoved");
    let sent = scene.web.send(&scene.connection, &payload).await;
    scene.desk.expect_message("unmoved").await;
    sent.reset();
}

#[tokio::test]
async fn a_drain_tells_the_connection_and_ends_what_it_holds() {
    let mut scene = Scene::of(https().start()).await;
    let hello = scene.hello();
    let held = scene.web.send(&scene.connection, &hello).await;
    scene.desk.expect_presence(&scene.jid(), "").await;
    scene.gateway.signal("TERM");
    let answer = held.response().await;
    assert_eq!(answer.condition().as_deref(), Some("system-shutdown"));
    scene.connection.closed().await;
    assert!(scene.gateway.wait().success());
}

/// kgateway #14305, immich #31156, h2o #3470: a browser that is told of extended CONNECT uses it at once, and otherwise
/// opens its WebSocket on a connection of its own.
#[tokio::test]
async fn a_listener_of_http_2_takes_websockets_over_http_1_1_and_promises_no_others() {
    const SETTINGS: u8 = 4;
    const ENABLE_CONNECT_PROTOCOL: [u8; 2] = [0, 8];
    let gateway = https().start();
    let mut stream = tls(gateway.https(), "h2").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.expect("it is open");
    let mut head = [0; 9];
    let read = within("a frame", stream.read_exact(&mut head)).await;
    read.expect("a frame");
    assert_eq!(head[3], SETTINGS);
    let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
    let mut settings = vec![0; length];
    stream.read_exact(&mut settings).await.expect("settings");
    let names: Vec<_> = settings.chunks(6).map(|setting| &setting[..2]).collect();
    assert!(!names.is_empty() && !names.contains(&&ENABLE_CONNECT_PROTOCOL[..]));

    let (_, session) = tls(gateway.https(), "http/1.1").await.into_inner();
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    let endpoint = Endpoint::new(gateway.https(), "/xmpp-websocket").over_any_tls();
    let account = Prosody::shared().account("john");
    let web = WebStream::log_in(&endpoint, &account, "web").await;
    web.log_out().await;
}
