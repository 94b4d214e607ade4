//! Hostile use of WebSockets: whoever does it loses their own connection at most.

use std::time::Duration;

use serde_json::json;
use support::{
    gateway::Gateway,
    http::{Connection, Endpoint},
    prosody::Prosody,
    websocket::{CONTINUATION, FIN, PING, Received, TEXT, WebSocket, frame, head, mask, upgrade},
    webstream::WebStream,
    within, within_limit,
    xml::{BIND, CLIENT, PING as XMPP_PING, ROSTER, SM},
};

use crate::{hostile_bystander::Bystander, site::Site};

/// What the gateway may need on top of what it has, bytes.
const ALLOWED: usize = 8 << 20;

async fn scene(config: &[&str]) -> (Gateway, Bystander) {
    let prosody = Prosody::shared();
    let builder = config
        .iter()
        .fold(Gateway::builder(prosody), |it, line| it.server(line));
    let gateway = builder.start();
    let bystander = Bystander::log_in(&gateway, prosody).await;
    (gateway, bystander)
}

async fn attacker(endpoint: &Endpoint) -> WebStream {
    WebStream::log_in(endpoint, &Prosody::shared().account("mallory"), "web").await
}

/// Writes for as long as the gateway takes something; returns how many bytes it has taken.
async fn flood(mut socket: Connection, bytes: &[u8], most: usize) -> usize {
    let mut taken = 0;
    while taken < most {
        let write = tokio::time::timeout(Duration::from_secs(1), socket.write(bytes));
        if write.await.is_err() {
            break;
        }
        taken += bytes.len();
    }
    taken
}

#[tokio::test]
async fn connections_without_a_stream_end_soon() {
    let (gateway, mut bystander) = scene(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(WebSocket::open(&gateway.websocket()).await);
    }
    let mut slow = WebSocket::open(&gateway.websocket()).await;
    let open = frame(FIN | TEXT, "<open/>".repeat(1000).as_bytes());
    let drip = async {
        for byte in open.chunks(1) {
            slow.write(byte).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ends = async {
        for mut socket in silent {
            let mut told = Vec::new();
            while let Received::Text(text) = socket.late_next().await {
                told.push(text);
            }
            assert!(told[1].contains("connection-timeout"), "{told:?}");
        }
    };
    within_limit(Duration::from_secs(15), "their end", async {
        tokio::select! {
            () = ends => {}
            () = drip => panic!("taken in small pieces"),
        }
    })
    .await;
    let metrics = gateway.monitoring().request("GET", &[], "").await;
    let line = "rostergate_limits_hit_total{limit=\"open\"} ";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    bystander.chats_on().await;
}

#[tokio::test]
async fn the_head_of_an_upgrade_has_to_come_in_time() {
    let (gateway, mut bystander) = scene(&["idle_timeout = '1s'"]).await;
    let mut open = attacker(&gateway.websocket()).await;
    let mut slow = Connection::open(&gateway.websocket()).await;
    let mut request = "GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for (name, value) in upgrade(&[]) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    slow.write(request.as_bytes()).await;
    slow.closed().await;
    // A WebSocket may be silent for longer.
    open.fence().await;
    bystander.chats_on().await;
}

/// What has come of long messages has a bound in all, and whoever has most of it gives way.
#[tokio::test]
async fn unfinished_messages_have_a_bound_together() {
    const LENGTH: usize = 60 << 10;
    let (gateway, mut bystander) = scene(&[]).await;
    let before = gateway.peak_memory();
    let mut unfinished = head(FIN | TEXT, LENGTH);
    unfinished.extend(mask(&vec![b' '; LENGTH - 1024]));
    let mut open = Vec::new();
    for number in 0..1500 {
        let address = format!("192.0.2.{}", number % 20);
        let from = [("X-Forwarded-For", &*address)];
        let mut socket = WebSocket::open_with(&gateway.websocket(), &from).await;
        socket.write(&unfinished).await;
        open.push(socket);
        if number % 300 == 0 {
            bystander.chats_on().await;
        }
    }
    let ends = open.iter_mut().map(|socket| Box::pin(socket.next()));
    let (end, ..) = futures_util::future::select_all(ends).await;
    assert_eq!(end, Received::Close(Some(1008)));
    bystander.chats_on().await;
    let grown = gateway.peak_memory() - before;
    assert!(grown < 128 << 20, "{grown} bytes of {}", 1500 * LENGTH);
}

#[tokio::test]
async fn fragments_come_to_an_end() {
    let (gateway, mut bystander) = scene(&[]).await;
    let before = gateway.peak_memory();
    for empty in [true, false] {
        let mut socket = attacker(&gateway.websocket()).await;
        socket.write(&frame(TEXT, b"<message>")).await;
        let part = if empty { Vec::new() } else { vec![b' '; 4096] };
        let part = frame(CONTINUATION, &part).repeat(100);
        let told = within("the refusal", async {
            loop {
                tokio::select! {
                    biased;
                    told = socket.socket.late_next() => break told,
                    () = tokio::task::yield_now() => {}
                }
                socket.write(&part).await;
            }
        })
        .await;
        let Received::Text(error) = told else {
            panic!("{told:?}")
        };
        assert!(error.contains("policy-violation"), "{error}");
        let mut last = socket.socket.next().await;
        while let Received::Text(_) = last {
            last = socket.socket.next().await;
        }
        assert_eq!(last, Received::Close(Some(1009)));
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < ALLOWED, "{grown} bytes more");
    bystander.chats_on().await;
}

/// However it is kept alive: pings in it, and more of them than are heard, win no time.
#[tokio::test]
async fn a_message_has_to_come_within_a_minute() {
    let (gateway, mut bystander) = scene(&[]).await;
    let mut slow = attacker(&gateway.websocket()).await;
    slow.write(&frame(TEXT, b"<message>")).await;
    let pings = frame(FIN | PING, b"").repeat(150);
    let told = within_limit(Duration::from_secs(90), "its end", async {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                told = slow.socket.late_next() => break told,
                _ = second.tick() => slow.write(&pings).await,
            }
        }
    });
    assert_eq!(told.await, Received::Close(Some(1008)));
    bystander.chats_on().await;
}

#[tokio::test]
async fn a_long_message_is_refused_by_its_head() {
    let (gateway, mut bystander) = scene(&[]).await;
    let mut socket = attacker(&gateway.websocket()).await;
    socket.write(&head(FIN | TEXT, (256 << 10) + 1)).await;
    let Received::Text(error) = socket.socket.next().await else {
        panic!("no error")
    };
    assert!(error.contains("policy-violation"), "{error}");
    let mut longest = attacker(&gateway.websocket()).await;
    let body = "x".repeat((256 << 10) - 200);
    let ping = format!(
        "<iq xmlns='jabber:client' type='get' id='p' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>",
        longest.domain
    );
    let message = format!(
        "<message xmlns='jabber:client' type='error' to='{}'><body>{body}</body></message>",
        longest.jid
    );
    longest.send(&message).await;
    longest.send(&ping).await;
    longest.expect("the pong", |it| it.is_reply_to("p")).await;
    bystander.chats_on().await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_no_faster_than_it_is_heard() {
    let (gateway, mut bystander) = scene(&[]).await;
    let before = gateway.peak_memory();
    let mut connection = Connection::open(&gateway.websocket()).await;
    connection
        .send("GET", "/xmpp-websocket", &upgrade(&[]), "")
        .await;
    assert_eq!(connection.response().await.status(), 101);
    let pings = frame(FIN | PING, &[b'x'; 125]).repeat(1000);
    let most = 64 << 20;
    // No pong is read.
    let flooding = flood(connection, &pings, most);
    let (taken, ()) = tokio::join!(flooding, bystander.chats_on());
    assert!(taken < most, "all was taken");
    let grown = gateway.peak_memory() - before;
    assert!(grown < ALLOWED, "{grown} bytes more");
    bystander.chats_on().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_costs_little() {
    let prosody = Prosody::shared();
    let (gateway, mut bystander) = scene(&[]).await;
    let mut deaf = attacker(&gateway.websocket()).await;
    deaf.send_presence().await;
    let mut contact = prosody.contact("teller").await;
    let before = gateway.peak_memory();
    for number in 0..200 {
        contact.send_message(&deaf.jid, &format!("{number} {}", "x".repeat(100_000)));
    }
    contact.fence().await;
    bystander.chats_on().await;
    let grown = gateway.peak_memory() - before;
    assert!(grown < ALLOWED, "{grown} bytes more");
}

/// A resumption that fails leaves a resource that the server has bound, and that the client has not asked for yet.
#[tokio::test]
async fn nobody_but_the_server_says_who_a_client_is() {
    let site = Site::new();
    let (mallory, john) = (site.member("mallory"), site.member("john"));
    let secret = json!({ "secret@example.org": {} });
    site.backend.set(&john.local, secret);
    let endpoint = site.gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &mallory, "web").await;
    web.fence().await;
    web.acknowledge().await;
    web.fence().await;
    let mut session = web.vanish();
    session.received = 0;
    let mut web = WebStream::authenticated(&endpoint, &mallory).await;
    let failed = web.try_resume(&session).await;
    assert!(failed.is(SM, "failed"), "{failed}");
    // Whatever the server answers tells her the address.
    let to = &web.domain;
    let ping = format!(
        "<iq xmlns='{CLIENT}' type='get' id='p' to='{to}'><ping xmlns='{XMPP_PING}'/></iq>"
    );
    web.send(&ping).await;
    let pong = web.expect("a pong", |it| it.is_reply_to("p")).await;
    let own = pong.attr("to").expect("her address").to_owned();
    let victim = john.jid();
    let forged = format!(
        "<iq xmlns='{CLIENT}' type='result' id='forged' to='{own}'><bind xmlns='{BIND}'>\
         <jid>{victim}/web</jid></bind></iq>"
    );
    web.send(&forged).await;
    web.expect("what she sent to herself", |it| it.is_reply_to("forged"))
        .await;
    let get = format!("<iq xmlns='{CLIENT}' type='get' id='list'><query xmlns='{ROSTER}'/></iq>");
    web.send(&get).await;
    let list = web.expect("an answer", |it| it.is_reply_to("list")).await;
    assert!(!list.to_string().contains("secret@"), "{list}");
    // She is who she was.
    web.bind("web").await;
    assert_eq!(web.jid, own);
}
