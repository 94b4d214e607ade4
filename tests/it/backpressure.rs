//! Whoever does not listen costs the gateway a bounded amount of memory, and nobody else anything.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::timeout,
};

use support::{
    bosh::Bosh,
    client::Account,
    gateway::{Gateway, Place, Server},
    http::Endpoint,
    prosody::Prosody,
    within,
    xml::{BIND, CLIENT, Element, SASL, STREAMS, message},
};

/// Messages, fewer than may be unconfirmed, and the size of each: 20 MB.
const MESSAGES: usize = 200;
const SIZE: usize = 100_000;
/// What the gateway may need on top, bytes: what is pending, being read and being written.
const ALLOWED: usize = 8 << 20;

#[tokio::test]
async fn a_client_that_never_polls_costs_little_and_misses_nothing() {
    let prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let account = prosody.account("web");
    let mut web = Bosh::open(&gateway.bosh(), &account.domain).await;
    web.authenticate(&account).await;
    let jid = web.bind("tab").await;
    let mut desk = prosody.contact("desk").await;
    let presence = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
    // Nobody polls from here on.
    let held = web.send("", &presence).await;
    desk.expect_presence(&jid, "").await;
    let mut neighbor = gateway.login(&prosody.account("john"), "web").await;
    let before = gateway.peak_memory();

    for number in 0..MESSAGES {
        desk.send_message(&jid, &format!("{number} {}", "x".repeat(SIZE)));
    }
    // The gateway leaves it all to the server, which keeps it, and has had it when it answers a ping.
    desk.expect_presence(&jid, "unavailable").await;
    desk.fence().await;
    desk.send_message(&neighbor.jid, "hello");
    neighbor.expect_message("hello").await;
    let grown = gateway.peak_memory() - before;
    let offered = MESSAGES * SIZE;
    assert!(grown < ALLOWED, "{grown} bytes more for {offered}");

    drop(held);
    let mut next = gateway.login(&account, "next").await;
    next.send_presence("");
    for number in 0..MESSAGES {
        let message = next.expect("a message", |it| it.name == "message").await;
        let body = message.body().expect("a body");
        let came = body.split(' ').next().expect("a number comes first");
        assert_eq!(came, number.to_string(), "in order, none lost or doubled");
    }
}

/// A client that takes all that it is sent and confirms nothing is sent no more than may be undelivered.
#[tokio::test]
async fn a_client_that_confirms_nothing_costs_little_and_misses_nothing() {
    let prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let account = prosody.account("web");
    let mut web = Bosh::log_in_with(&gateway.bosh(), &account, "tab", &[("ack", "1")]).await;
    let jid = format!("{}/tab", account.jid());
    let mut desk = prosody.contact("desk").await;
    let presence = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
    let confirmed = web.rid;
    let held = web.send(&format!("ack='{confirmed}'"), &presence).await;
    desk.expect_presence(&jid, "").await;
    drop(held);
    let before = gateway.peak_memory();
    let mut came = Vec::new();
    let mut poll = async |web: &mut Bosh, confirmed: u64| {
        let answer = web.send(&format!("ack='{confirmed}'"), "").await;
        let answer = answer.body().await;
        assert_eq!(answer.attr("type"), None, "the session goes on: {answer}");
        let bodies = answer.children().filter_map(Element::body);
        let numbers = bodies.map(|body| body.split(' ').next().expect("a number").to_owned());
        came.extend(numbers);
        came.len()
    };
    for number in 0..MESSAGES {
        desk.send_message(&jid, &format!("{number} {}", "x".repeat(SIZE)));
        poll(&mut web, confirmed).await;
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < ALLOWED, "{grown} bytes more");
    loop {
        let last = web.rid;
        if poll(&mut web, last).await == MESSAGES {
            break;
        }
    }
    let all: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(came, all, "in order, none lost or doubled");
}

/// Sessions that do not poll, and what is written to each: 24 MB in all.
const SILENT: usize = 6;
const EACH: usize = 40;

#[tokio::test]
async fn many_that_do_not_poll_have_a_bound_together_and_miss_nothing() {
    let prosody = Prosody::builder().start();
    let gateway = Gateway::builder(&prosody)
        .session("max_pending = '16MiB'")
        .session("max_pending_total = '2MiB'")
        .start();
    let mut desk = prosody.contact("desk").await;
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let account = prosody.account(&format!("web{number}"));
        let mut web = Bosh::open(&gateway.bosh(), &account.domain).await;
        web.authenticate(&account).await;
        let jid = web.bind("tab").await;
        silent.push((web, jid));
    }
    let mut neighbor = gateway.login(&prosody.account("john"), "web").await;
    let before = gateway.peak_memory();

    for number in 0..EACH {
        for (_, jid) in &silent {
            desk.send_message(jid, &format!("{number} {}", "x".repeat(SIZE)));
        }
        // The server has had them.
        desk.fence().await;
    }
    let metrics = gateway.admin().at("/metrics");
    let held_up = async {
        let line = format!("limits_hit_total{{limit=\"session.max_pending_total\"}} {SILENT}\n");
        while !metrics.request("GET", &[], "").await.text().contains(&line) {}
    };
    within("all of them to be held up", held_up).await;
    desk.send_message(&neighbor.jid, "hello");
    neighbor.expect_message("hello").await;
    let grown = gateway.peak_memory() - before;
    let offered = SILENT * EACH * SIZE;
    assert!(grown < ALLOWED, "{grown} bytes more for {offered}");

    for (web, _) in &mut silent {
        let mut came = Vec::new();
        while came.len() < EACH {
            let answer = web.exchange("").await;
            assert_eq!(answer.attr("type"), None, "the session is there: {answer}");
            let bodies = answer.children().filter_map(|child| child.body());
            let numbers = bodies.map(|body| body.split(' ').next().unwrap_or_default().to_owned());
            came.extend(numbers);
        }
        let expected: Vec<_> = (0..EACH).map(|number| number.to_string()).collect();
        assert_eq!(came, expected, "in order, none lost or doubled");
    }
}

/// A server that lets anybody in and then reads no more.
pub(crate) struct Deaf(SocketAddr);

impl Server for Deaf {
    fn place(&self) -> Place {
        Place {
            domain: "deaf.example".to_owned(),
            c2s: self.0,
            bosh: Endpoint::new(self.0, "/"),
        }
    }
}

impl Deaf {
    pub(crate) fn account() -> Account {
        Account {
            local: "web".to_owned(),
            domain: "deaf.example".to_owned(),
            password: "secret".to_owned(),
        }
    }

    /// For one connection.
    pub(crate) async fn start() -> Self {
        // Its kernel takes little either.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .set_recv_buffer_size(8 << 10)
            .expect("a small buffer");
        let any_port = "127.0.0.1:0".parse().expect("an address");
        socket.bind(any_port).expect("a free port");
        let listener = socket.listen(8).expect("it is bound");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the gateway comes");
            let header = format!(
                "<?xml version='1.0'?><stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAMS}' \
                 id='1' from='deaf.example' version='1.0'>"
            );
            let exchanges = [
                (
                    "<stream:stream",
                    format!(
                        "{header}<stream:features><mechanisms xmlns='{SASL}'>\
                         <mechanism>PLAIN</mechanism></mechanisms></stream:features>"
                    ),
                ),
                ("</auth>", format!("<success xmlns='{SASL}'/>")),
                (
                    "<stream:stream",
                    format!("{header}<stream:features><bind xmlns='{BIND}'/></stream:features>"),
                ),
                (
                    "</iq>",
                    format!(
                        "<iq type='result' id='bind'><bind xmlns='{BIND}'>\
                         <jid>web@deaf.example/tab</jid></bind></iq>"
                    ),
                ),
            ];
            for (awaited, reply) in exchanges {
                let mut heard = Vec::new();
                while !String::from_utf8_lossy(&heard).contains(awaited) {
                    let read = stream.read_buf(&mut heard).await;
                    assert!(read.is_ok_and(|length| length > 0), "the gateway speaks");
                }
                let written = stream.write_all(reply.as_bytes()).await;
                written.expect("the gateway listens");
            }
            // Open until the test ends, and unread.
            std::future::pending::<()>().await;
        });
        Self(address)
    }
}

#[tokio::test]
async fn a_server_that_never_reads_costs_little() {
    let deaf = Deaf::start().await;
    let gateway = Gateway::start(&deaf);
    let mut web = Bosh::log_in(&gateway.bosh(), &Deaf::account(), "tab").await;
    let before = gateway.peak_memory();
    let payload = message("john@deaf.example", &"x".repeat(2 * SIZE));

    let mut open = web.send("", &payload).await;
    let mut heard = 0;
    loop {
        // Every request that is heard frees the one before.
        let next = web.send("", &payload).await;
        if timeout(Duration::from_secs(3), open.body()).await.is_err() {
            break;
        }
        open = next;
        heard += payload.len();
        assert!(heard < 32 << 20, "it is heard on and on");
    }
    assert!(heard > 1 << 20, "heard at first: {heard}");
    let grown = gateway.peak_memory() - before;
    assert!(grown < 2 * ALLOWED, "{grown} bytes more for {heard}");
    // Others are served.
    assert_eq!(gateway.bosh().request("GET", &[], "").await.status(), 200);
}
