//! Hostile HTTP: slow, oversized and ambiguous requests. Each has a bound and an answer, and a session
//! next to it notices nothing.

use std::time::{Duration, Instant};

use support::{
    bosh::{Bosh, creation},
    gateway::Gateway,
    http::Connection,
    prosody::{DOMAIN, Prosody},
};

use crate::hostile_bystander::Bystander;

/// What the gateway reads of a request head at most.
const MAX_HEAD: usize = 64 << 10;

async fn scene() -> (Gateway, Bystander) {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let bystander = Bystander::log_in(&gateway, prosody).await;
    (gateway, bystander)
}

fn head(headers: &str) -> String {
    format!("POST /http-bind HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// A body that reaches further than its request: what is hidden in it must never be a request.
fn smuggled() -> String {
    let inner = creation(DOMAIN, &[]);
    format!(
        "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    )
}

/// Sends bytes and gives the answers that come until the gateway closes the connection.
async fn answers(gateway: &Gateway, bytes: &[u8]) -> Vec<(u16, String)> {
    let mut connection = Connection::open(&gateway.bosh()).await;
    connection.write(bytes).await;
    let mut answers = Vec::new();
    let all = async {
        while let Some(response) = connection.try_response().await {
            answers.push((response.status(), response.text().to_owned()));
        }
    };
    support::within("the end of the connection", all).await;
    answers
}

#[tokio::test]
async fn ambiguous_lengths_are_refused_and_nothing_is_smuggled() {
    let (gateway, mut bystander) = scene().await;
    let (body, hidden) = (creation(DOMAIN, &[]), smuggled());
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n{hidden}");
    let shapes = [
        (
            "two lengths",
            head(&format!(
                "Content-Length: {length}\r\nContent-Length: 3\r\n"
            )) + &body
                + &hidden,
        ),
        (
            "a list of lengths",
            head(&format!("Content-Length: {length}, 3\r\n")) + &body + &hidden,
        ),
        (
            "a signed length",
            head(&format!("Content-Length: +{length}\r\n")) + &body + &hidden,
        ),
        (
            "a negative length",
            head("Content-Length: -1\r\n") + &body + &hidden,
        ),
        (
            "a length beyond all numbers",
            head("Content-Length: 99999999999999999999\r\n") + &body + &hidden,
        ),
        (
            "chunked, but not last",
            head("Transfer-Encoding: chunked, identity\r\n") + &chunked,
        ),
        (
            "an unknown coding",
            head("Transfer-Encoding: xchunked\r\n") + &chunked,
        ),
        (
            "a folded header",
            head(&format!("X: a\r\n b\r\nContent-Length: {length}\r\n")) + &body + &hidden,
        ),
        (
            "a space before the colon",
            head(&format!("Content-Length : {length}\r\n")) + &body + &hidden,
        ),
        (
            "a NUL in a header",
            head(&format!("X: a\0b\r\nContent-Length: {length}\r\n")) + &body + &hidden,
        ),
        (
            "a bare carriage return in a header",
            head(&format!("X: a\rContent-Length: {length}\r\n")) + &body + &hidden,
        ),
        (
            "a bare line feed after a chunk extension",
            head("Transfer-Encoding: chunked\r\n") + "0;\n\r\n" + &body + &hidden,
        ),
        (
            "a chunk size that is no number",
            head("Transfer-Encoding: chunked\r\n") + "xyz\r\n" + &body + &hidden,
        ),
        (
            "a chunk size beyond all numbers",
            head("Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n" + &body + &hidden,
        ),
        (
            "a chunk longer than it says",
            head("Transfer-Encoding: chunked\r\n") + "1\r\n" + &body + "\r\n0\r\n\r\n" + &hidden,
        ),
    ];
    for (shape, request) in shapes {
        let answers = answers(&gateway, request.as_bytes()).await;
        assert!(
            answers.len() <= 1,
            "{shape}: one request, one answer: {answers:?}"
        );
        for (status, text) in answers {
            assert!(!text.contains("sid="), "{shape} creates no session: {text}");
            assert!(
                status == 400 || text.contains("bad-request"),
                "{shape}: {status} {text}"
            );
        }
        bystander.chats_on().await;
    }
}

/// RFC 9112 §6.3: the coding counts, not the length, and the connection ends with it.
#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let (gateway, mut bystander) = scene().await;
    let (body, hidden) = (creation(DOMAIN, &[]), smuggled());
    let length = body.len();
    for lengths in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        format!(
            "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n",
            length + hidden.len()
        ),
    ] {
        let request = head(&lengths) + &format!("{length:x}\r\n{body}\r\n0\r\n\r\n{hidden}");
        let answers = answers(&gateway, request.as_bytes()).await;
        assert!(answers.len() <= 1, "{lengths}: {answers:?}");
    }
    bystander.chats_on().await;
}

#[tokio::test]
async fn huge_heads_are_refused() {
    let (gateway, mut bystander) = scene().await;
    let one = head(&format!("X: {}\r\n", "x".repeat(2 * MAX_HEAD)));
    let many = head(&"X: y\r\n".repeat(2000));
    let path = format!("POST /{} HTTP/1.1\r\n", "x".repeat(2 * MAX_HEAD));
    for request in [one, many, path] {
        let answers = answers(&gateway, request.as_bytes()).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.0).collect();
        // Who is cut off while still sending may miss the answer.
        let known: [&[u16]; 4] = [&[], &[400], &[414], &[431]];
        assert!(
            known.contains(&&statuses[..]),
            "{:.40}: {statuses:?}",
            request
        );
        bystander.chats_on().await;
    }
}

#[tokio::test]
async fn bodies_over_the_limit_end_no_other_session() {
    let (gateway, mut bystander) = scene().await;
    let huge = "x".repeat(1200 << 10);
    let response = gateway.bosh().post(&huge).await;
    assert_eq!(response.condition().as_deref(), Some("policy-violation"));
    bystander.chats_on().await;
}

/// Connections with half a head, half a body, or nothing at all cost their own, and are closed when
/// the clients give up; the session beside them does not wait for any of them.
#[tokio::test]
async fn slow_requests_slow_nobody_else() {
    let (gateway, mut bystander) = scene().await;
    let bosh = gateway.bosh();
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut connection = Connection::open(&bosh).await;
        let start = match number % 3 {
            0 => String::new(),
            1 => "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".to_owned(),
            _ => head("Content-Length: 1000\r\n") + "<body",
        };
        connection.write(start.as_bytes()).await;
        slow.push(connection);
    }
    for _ in 0..5 {
        bystander.chats_on().await;
        for connection in &mut slow {
            connection.write(b"x").await;
        }
    }
    let began = Instant::now();
    bystander.chats_on().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "nobody is kept waiting"
    );
}

/// 30 s for a body (`ARCHITECTURE.md`, "Bounds"), however steadily it trickles.
#[tokio::test]
async fn a_body_that_trickles_is_cut_off() {
    let (gateway, mut bystander) = scene().await;
    let mut connection = Connection::open(&gateway.bosh()).await;
    let started = head("Content-Length: 100000\r\n") + "<body";
    connection.write(started.as_bytes()).await;
    let began = Instant::now();
    let mut trickle = tokio::time::interval(Duration::from_secs(1));
    let response = loop {
        tokio::select! {
            response = connection.try_response() => break response,
            _ = trickle.tick() => {}
        }
        connection.write(b" ").await;
        bystander.chats_on().await;
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "30 s are enough for any body"
        );
    };
    let response = response.expect("an answer before the end");
    assert_eq!(response.condition().as_deref(), Some("bad-request"));
    connection.closed().await;
    bystander.chats_on().await;
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let (gateway, mut bystander) = scene().await;
    let mut connection = Connection::open(&gateway.bosh()).await;
    let (bad, good) = ("<body/>".to_owned(), creation(DOMAIN, &[]));
    let row: String = [&bad, &good, &bad]
        .map(|body| head(&format!("Content-Length: {}\r\n", body.len())) + body)
        .concat();
    connection.write(row.as_bytes()).await;
    let conditions = [
        connection.response().await,
        connection.response().await,
        connection.response().await,
    ]
    .map(|response| response.xml().attr("condition").map(str::to_owned));
    assert_eq!(conditions[0].as_deref(), Some("bad-request"));
    assert_eq!(conditions[1], None);
    assert_eq!(conditions[2].as_deref(), Some("bad-request"));
    bystander.chats_on().await;
    drop(Bosh::open(&gateway.bosh(), DOMAIN).await);
}

/// What has come of long bodies has a bound in all. Whoever has most of it gives way: none who finishes has to wait
/// for those who do not.
#[tokio::test]
async fn unfinished_bodies_have_a_bound_together() {
    const LENGTH: usize = 250 << 10;
    let (gateway, mut bystander) = scene().await;
    let before = gateway.peak_memory();
    let unfinished = " ".repeat(LENGTH);
    let start = async |address: &str, sent: usize| {
        let mut connection = Connection::open(&gateway.bosh()).await;
        let length = format!(
            "X-Forwarded-For: {address}\r\nContent-Length: {}\r\n",
            LENGTH + 1
        );
        connection.write(head(&length).as_bytes()).await;
        connection.write(&unfinished.as_bytes()[..sent]).await;
        connection
    };
    let finish = async |mut connection: Connection, sent: usize| {
        connection.write(&unfinished.as_bytes()[sent..]).await;
        connection.write(b" ").await;
        let response = connection.response().await;
        assert_eq!(response.condition().as_deref(), Some("bad-request"));
    };
    // They announce much and send little.
    let mut open = Vec::new();
    for number in 0..320 {
        open.push(start(&format!("192.0.2.{}", number % 10), 5 << 10).await);
    }
    bystander.chats_on().await;
    finish(start("192.0.2.250", 5 << 10).await, 5 << 10).await;
    // They send much.
    for number in 0..900 {
        open.push(start(&format!("192.0.2.{}", number % 20), LENGTH).await);
        if number % 100 == 0 {
            bystander.chats_on().await;
        }
    }
    bystander.chats_on().await;
    let grown = gateway.peak_memory() - before;
    assert!(grown < 128 << 20, "{grown} bytes of {}", 900 * LENGTH);
    let mut others = Vec::new();
    for _ in 0..40 {
        others.push(start("192.0.2.250", 5 << 10).await);
    }
    bystander.chats_on().await;
    for other in others {
        finish(other, 5 << 10).await;
    }
    let answers = open.iter_mut().map(|it| Box::pin(it.response()));
    let (refused, ..) = futures_util::future::select_all(answers).await;
    assert_eq!(refused.not_now().1, "too much of unfinished requests");
}
