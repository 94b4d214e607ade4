//! Hostile use of sessions: guessed ids, foreign addresses, floods and gaps. Whoever does it loses
//! their own session at most.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    task::JoinSet,
};

use support::{
    bosh::{Bosh, Pending, creation},
    gateway::Gateway,
    http::Connection,
    prosody::{DOMAIN, Prosody},
    within,
    xml::{Element, HTTPBIND, message},
};

use crate::hostile_bystander::Bystander;

async fn scene() -> (Gateway, Bystander) {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let bystander = Bystander::log_in(&gateway, prosody).await;
    (gateway, bystander)
}

async fn attacker(gateway: &Gateway) -> Bosh {
    let account = Prosody::shared().account("mallory");
    Bosh::log_in(&gateway.bosh(), &account, "web").await
}

/// Posts from an address of one's own, on a connection that ends with the answer.
async fn post_from(from: &str, gateway: &Gateway, body: &str) -> Element {
    let from: SocketAddr = from.parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(from).expect("all of 127.0.0.0/8 is loopback");
    let to = gateway.bosh().address;
    let mut stream = within("a connection", socket.connect(to))
        .await
        .expect("it listens");
    let request = format!(
        "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("room to write");
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer))
        .await
        .expect("readable");
    let answer = String::from_utf8(answer).expect("text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    Element::parse(body)
}

#[tokio::test]
async fn guessed_sids_find_nothing() {
    let (gateway, mut bystander) = scene().await;
    let mut connection = Connection::open(&gateway.bosh()).await;
    let real = attacker(&gateway).await;
    let near = |number: usize| match number % 4 {
        0 => format!("{number:032x}"),
        1 => real.sid[..real.sid.len() - 1].to_owned(),
        2 => real.sid.to_uppercase() + "0",
        _ => format!("{}%00", real.sid),
    };
    for number in 0..1000 {
        let sid = near(number);
        let guess = format!(
            "<body xmlns='{HTTPBIND}' rid='{}' sid='{sid}'/>",
            real.rid + 1
        );
        connection.send("POST", "/http-bind", &[], &guess).await;
        let response = connection.response().await;
        assert_eq!(
            response.condition().as_deref(),
            Some("item-not-found"),
            "{sid}"
        );
        if number % 100 == 0 {
            bystander.chats_on().await;
        }
    }
    let mut real = real;
    let answer = real.exchange_pause(10).await;
    assert_eq!(
        answer.attr("type"),
        None,
        "the one whose id was nearly guessed goes on"
    );
}

/// Addresses change under way (mobile networks), so the id alone opens a session, and only the right
/// rid keeps it open.
#[tokio::test]
async fn a_session_may_move_to_another_address_but_not_be_taken_by_wrong_rids() {
    let (gateway, mut bystander) = scene().await;
    let mut moved = attacker(&gateway).await;
    moved.rid += 1;
    let next = moved.request(moved.rid, "pause='10'", "");
    let answer = post_from("127.0.0.2:0", &gateway, &next).await;
    assert_eq!(answer.attr("type"), None, "{answer}");

    let stray = moved.request(moved.rid + 1000, "", "");
    let answer = post_from("127.0.0.3:0", &gateway, &stray).await;
    assert_eq!(answer.attr("type"), Some("terminate"), "{answer}");
    assert_eq!(answer.attr("condition"), Some("item-not-found"));
    bystander.chats_on().await;
}

/// Ten times in ten seconds; then the session ends, as any resend may tell.
#[tokio::test]
async fn a_flood_of_duplicates_ends_its_own_session() {
    let (gateway, mut bystander) = scene().await;
    let mut flooder = attacker(&gateway).await;
    flooder.send("pause='30'", "").await.body().await;
    let again = flooder.request(flooder.rid, "pause='30'", "");
    let mut connection = Connection::open(&gateway.bosh()).await;
    let mut answered = 0;
    for _ in 0..200 {
        connection.send("POST", "/http-bind", &[], &again).await;
        let body = connection.response().await.xml();
        if body.attr("type") == Some("terminate") {
            assert_eq!(body.attr("condition"), Some("policy-violation"), "{body}");
            break;
        }
        answered += 1;
    }
    assert_eq!(answered, 10, "resends are answered, a flood is not");
    bystander.chats_on().await;
}

/// A rid that is missing is waited for, 12 s, and what came after it is not passed on before.
#[tokio::test]
async fn a_gap_that_never_closes_is_given_up() {
    let (gateway, mut bystander) = scene().await;
    let mut mallory = attacker(&gateway).await;
    let in_order = message(bystander.contact(), "in order");
    let held = mallory.send("", &in_order).await;
    bystander.hears("in order").await;
    let began = Instant::now();
    let after = message(bystander.contact(), "after the gap");
    let early = mallory.send_as(mallory.rid + 2, "", &after).await;
    assert_eq!(
        held.body().await.children().count(),
        0,
        "one is enough to wait with"
    );
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    while began.elapsed() < Duration::from_secs(8) {
        tick.tick().await;
        bystander.chats_on().await;
    }
    bystander.hears("after the gap").await;
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_secs(11),
        "time to close the gap: {waited:?}"
    );
    early.abort();
    bystander.chats_on().await;
}

/// What each of them costs is a connection to the server; who has its session goes on all the same.
#[tokio::test]
async fn a_thousand_creations_leave_a_session_alone() {
    let (gateway, mut bystander) = scene().await;
    let bosh = gateway.bosh();
    for _ in 0..10 {
        let mut open = JoinSet::new();
        for _ in 0..100 {
            let bosh = bosh.clone();
            open.spawn(async move {
                let pending = Pending::send(&bosh, 0, creation(DOMAIN, &[])).await;
                pending.response().await.status()
            });
        }
        bystander.chats_on().await;
        while let Some(status) = open.join_next().await {
            let status = status.expect("no panic");
            assert!(
                matches!(status, 200 | 429 | 503),
                "a session, or not now: {status}"
            );
        }
    }
    bystander.chats_on().await;
}
