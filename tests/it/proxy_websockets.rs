//! WebSockets through the examples for web servers, each on a Debian of its own: what arrives at the gateway, how long
//! a quiet one lasts, and what a web server's death does to it.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use support::{
    client::{Client, Transport},
    gateway::{Builder, Gateway},
    http::Endpoint,
    machine::{STRANGER, local},
    prosody::{DOMAIN, Prosody},
    webstream::{Management, WebStream, open},
    within,
    xml::{CLIENT, Element},
};

use crate::{
    browser,
    proxy_examples::{GATEWAY, Kind, Server},
};

macro_rules! of_each {
    ($($case:ident,)*) => {
        mod nginx {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Nginx).await; })*
        }
        mod apache {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Apache).await; })*
        }
        mod haproxy {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Haproxy).await; })*
        }
        mod caddy {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Caddy).await; })*
        }
    };
}

of_each![
    two_people_chat_by_either_front,
    the_gateway_knows_who_comes_by_websocket_and_how,
    a_websocket_over_http_2_works_where_it_is_offered,
    a_quiet_websocket_lasts_for_its_pings,
    nothing_is_lost_when_the_web_server_dies,
];

fn gateway(prosody: &Prosody) -> Builder {
    Gateway::builder(prosody).listen(local(GATEWAY))
}

/// Where browsers connect to.
fn websocket(site: &Server) -> Endpoint {
    site.example_org().at("/xmpp-websocket")
}

async fn two_people_chat_by_either_front(kind: Kind) {
    let site = Server::start(kind).await;
    let prosody = Prosody::builder().start();
    let _gateway = gateway(&prosody).start();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    for path in [
        "/xmpp-websocket",
        "/xmpp-websocket/",
        "/xmpp-websocket?u=john",
    ] {
        let websocket = Transport::WebSocket(websocket(&site).at(path));
        let mut one = Client::login(&websocket, &john, "web").await;
        let bosh = Transport::Bosh(site.example_org());
        let mut other = Client::login(&bosh, &marie, "web").await;
        for number in 0..20 {
            one.send_message(&other.jid, &format!("there {number}"));
            other.send_message(&one.jid, &format!("back {number}"));
        }
        for number in 0..20 {
            other.expect_message(&format!("there {number}")).await;
            one.expect_message(&format!("back {number}")).await;
        }
        let text = "a long story, ".repeat(15_000);
        one.send_message(&other.jid, &text);
        other.expect_message(&text).await;
        other.send_message(&one.jid, &text);
        one.expect_message(&text).await;
        one.logout().await;
        other.logout().await;
    }
}

async fn the_gateway_knows_who_comes_by_websocket_and_how(kind: Kind) {
    let site = Server::start(kind).await;
    let prosody = Prosody::builder().start();
    let gateway = gateway(&prosody).start();
    let stranger = site.outside(websocket(&site));
    let liar = stranger.adding("X-Forwarded-For", "198.51.100.7");
    let liar = liar.adding("Forwarded", "for=198.51.100.8;proto=http");
    let liar = liar.adding("X-Forwarded-Proto", "http");
    let stream = WebStream::log_in(&liar, &prosody.account("john"), "web").await;
    let sessions = gateway.admin().at("/roster_admin/sessions");
    let answer = sessions.request("GET", &[], "").await;
    let answer: Value = serde_json::from_str(answer.text()).expect("JSON");
    let shown = &answer["sessions"][0];
    assert_eq!(shown["jid"], json!(stream.jid), "{answer}");
    assert_eq!(shown["front"], "websocket", "{answer}");
    assert_eq!(shown["address"], json!(STRANGER.to_string()), "{answer}");
    assert_eq!(shown["tls"], true, "{answer}");
}

/// HAProxy offers it, and Chromium and Firefox use it then.
async fn a_websocket_over_http_2_works_where_it_is_offered(kind: Kind) {
    let _site = Server::start(kind).await;
    let prosody = Prosody::builder().start();
    let _gateway = gateway(&prosody).start();
    let mut connection = browser::Connection::open_to_any(local(443)).await;
    let websocket = connection.websocket(DOMAIN, "/xmpp-websocket").await;
    assert_eq!(websocket.is_some(), kind == Kind::Haproxy);
    if let Some(mut websocket) = websocket {
        websocket.send(&open(DOMAIN, &[]));
        websocket.expect("</stream:features>").await;
    }
}

/// The web server's patience, cut down to 2 s for the test.
fn impatient(kind: Kind, folder: &Path) -> bool {
    let changes: &[(&str, &str)] = match kind {
        Kind::Nginx => &[
            ("proxy_read_timeout 300s;", "proxy_read_timeout 2s;"),
            ("proxy_send_timeout 300s;", "proxy_send_timeout 2s;"),
        ],
        // That of Apache itself counts as well, which Debian sets to 300.
        Kind::Apache => &[
            ("timeout=300", "timeout=2"),
            ("ProxyRequests Off", "ProxyRequests Off\n    Timeout 2"),
        ],
        Kind::Haproxy => &[("timeout tunnel 1h", "timeout tunnel 2s")],
        // It waits for ever.
        Kind::Caddy => &[],
    };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind.example());
    let mut text = fs::read_to_string(example).expect("the example");
    for (from, to) in changes {
        assert!(text.contains(from), "{kind:?}: {from}");
        text = text.replace(from, to);
    }
    fs::write(folder.join(kind.example()), text).expect("a writable folder");
    !changes.is_empty()
}

async fn a_quiet_websocket_lasts_for_its_pings(kind: Kind) {
    let folder = tempfile::tempdir().expect("a folder");
    let is_impatient = impatient(kind, folder.path());
    let site = Server::start_from(kind, folder.path()).await;
    let prosody = Prosody::builder().start();
    let (john, mut contact) = (prosody.account("john"), prosody.contact("marie").await);

    let pinging = gateway(&prosody).websocket("ping = \"1s\"").start();
    let mut stream = WebStream::log_in(&websocket(&site), &john, "web").await;
    // Each after a second in which nothing else was said.
    within("pings", async {
        while stream.pings.len() < 5 {
            let frame = stream.socket.frame().await.expect("an open WebSocket");
            stream.socket.handle_control(frame).await;
        }
    })
    .await;
    contact.send_message(&stream.jid, "still there?");
    stream.expect_message("still there?").await;
    stream.send_message(&contact.jid, "yes").await;
    contact.expect_message("yes").await;
    drop((stream, pinging));

    if is_impatient {
        let _silent = gateway(&prosody).websocket("ping = \"1h\"").start();
        let mut stream = WebStream::log_in(&websocket(&site), &john, "web").await;
        assert_eq!(stream.receive().await, None, "it ends");
    }
}

/// Sessions of the same web server.
const MANY: usize = 30;

async fn nothing_is_lost_when_the_web_server_dies(kind: Kind) {
    let site = Server::start(kind).await;
    let prosody = Prosody::builder().start();
    let _gateway = gateway(&prosody).start();
    let mut contact = prosody.contact("marie").await;
    let endpoint = websocket(&site);
    let mut streams = Vec::new();
    for _ in 0..MANY {
        let john = prosody.account("john");
        let stream = WebStream::log_in_managed(&endpoint, &john, "web").await;
        streams.push((john, stream));
    }
    for (_, stream) in &mut streams {
        contact.send_message(&stream.jid, "read");
        stream.expect_message("read").await;
    }
    // It dies with this on its way.
    site.freeze();
    for (_, stream) in &mut streams {
        contact.send_message(&stream.jid, "before");
        stream.send_message(&contact.jid, "last words").await;
    }
    let mut arrived = contact.fence().await;
    site.kill();
    let mut asleep: Vec<(_, Management, _)> = Vec::new();
    for (john, mut stream) in streams {
        let mut seen = Vec::new();
        while let Some(element) = stream.receive().await {
            seen.push(element);
        }
        contact.send_message(&stream.jid, "meanwhile");
        asleep.push((john, stream.vanish(), seen));
    }
    arrived.extend(contact.fence().await);
    site.start_again().await;

    let mut resumed = JoinSet::new();
    for (john, session, mut seen) in asleep {
        let endpoint = endpoint.clone();
        resumed.spawn(async move {
            let mut stream = WebStream::resumed(&endpoint, &john, session).await;
            seen.extend(stream.fence().await);
            (seen, stream)
        });
    }
    let mut there = Vec::new();
    for (seen, stream) in within("all of them", resumed.join_all()).await {
        assert_eq!(bodies(&seen), ["before", "meanwhile"], "{}", stream.jid);
        there.push(stream);
    }
    arrived.extend(contact.fence().await);
    for stream in there {
        let own = arrived
            .iter()
            .filter(|message| message.attr("from") == Some(&*stream.jid));
        assert_eq!(bodies(own), ["last words"], "{}", stream.jid);
    }
}

/// The texts of messages, in their order.
fn bodies<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Vec<String> {
    let bodies = elements
        .into_iter()
        .filter_map(|element| element.child(CLIENT, "body"));
    bodies.map(Element::text).collect()
}
