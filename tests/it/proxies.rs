//! The same through Nginx, through Apache and without: what a browser meets is the same, but for when the
//! gateway learns that it has hung up.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use support::{
    backend::Backend,
    bosh::{Bosh, creation},
    client::{Account, Client, Transport},
    gateway::{Builder, Gateway},
    http::{Connection, Endpoint},
    prosody::{DOMAIN, Prosody},
    proxy::{Kind, Proxy},
    websocket::WebSocket,
    within,
    xml::{CLIENT, Element, message},
};

/// What stands between browser and gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Direct,
    By(Kind),
}

/// A gateway, and what stands before it.
struct Edge {
    gateway: Gateway,
    proxy: Option<Proxy>,
    /// Where browsers connect to.
    bosh: Endpoint,
}

impl Edge {
    fn before(way: Way, gateway: Builder) -> Self {
        let gateway = gateway.start();
        let proxy = match way {
            Way::Direct => None,
            Way::By(kind) => Some(Proxy::start(kind, gateway.bosh().address)),
        };
        let bosh = proxy
            .as_ref()
            .map_or_else(|| gateway.bosh(), |proxy| proxy.https());
        Self {
            gateway,
            proxy,
            bosh,
        }
    }

    async fn login(&self, account: &Account) -> Client {
        Client::login(&Transport::Bosh(self.bosh.clone()), account, "web").await
    }

    /// Waits until the gateway has logged this.
    async fn logged(&self, text: &str) {
        within(text, async {
            while !self.gateway.log().contains(text) {
                self.gateway.bosh().request("GET", &[], "").await;
            }
        })
        .await;
    }
}

fn gateway() -> Builder {
    Gateway::builder(Prosody::shared())
}

macro_rules! through_each {
    ($($case:ident,)*) => {
        mod direct {
            $(#[tokio::test] async fn $case() { super::$case(super::Way::Direct).await; })*
        }
        mod nginx {
            $(#[tokio::test] async fn $case() {
                super::$case(super::Way::By(super::Kind::Nginx)).await;
            })*
        }
        mod nginx_http_1_0 {
            $(#[tokio::test] async fn $case() {
                super::$case(super::Way::By(super::Kind::NginxHttp10)).await;
            })*
        }
        mod apache {
            $(#[tokio::test] async fn $case() {
                super::$case(super::Way::By(super::Kind::Apache)).await;
            })*
        }
    };
}

through_each![
    a_session_has_all_there_is,
    a_held_request_waits_for_news,
    large_requests_and_answers_pass_as_they_are,
    a_client_that_hangs_up_is_missed,
    an_answer_that_nobody_heard_can_be_had_again,
    what_a_page_missed_goes_to_the_next_page,
    a_gateway_that_stops_says_so_and_is_found_again,
    a_reload_of_the_gateway_keeps_sessions,
    a_reload_of_the_proxy_keeps_sessions,
    the_gateway_knows_who_asks_and_how,
    refusals_arrive_as_they_are,
    hundreds_can_wait_at_once,
];

async fn a_session_has_all_there_is(way: Way) {
    let prosody = Prosody::shared();
    let backend = Backend::start();
    let edge = Edge::before(way, gateway().backend(&backend));
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    backend.set(&john.local, json!({}));
    backend.set(&marie.local, json!({ (john.jid()): {} }));
    let (mut one, mut other) = (edge.login(&john).await, edge.login(&marie).await);
    assert_eq!(one.roster().await.len(), 0);
    for client in [&mut one, &mut other] {
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
    }
    backend.set(&john.local, json!({ (marie.jid()): {} }));
    let refresh = edge.gateway.admin().at("/roster_admin/refresh");
    let body = json!([john.local]).to_string();
    assert_eq!(refresh.request("POST", &[], &body).await.status(), 200);
    assert_eq!(one.expect_push().await.jid, marie.jid());
    one.expect_presence(&other.jid.clone(), "").await;
    for number in 0..20 {
        one.send_message(&other.jid, &format!("there {number}"));
        other.send_message(&one.jid, &format!("back {number}"));
    }
    for number in 0..20 {
        other.expect_message(&format!("there {number}")).await;
        one.expect_message(&format!("back {number}")).await;
    }
    assert_eq!(one.logout().await.condition, None);
    other
        .expect_presence(&format!("{}/web", john.jid()), "unavailable")
        .await;
}

async fn a_held_request_waits_for_news(way: Way) {
    let prosody = Prosody::shared();
    let edge = Edge::before(way, gateway());
    let john = prosody.account("john");
    let wait = Duration::from_secs(1);
    let mut web = Bosh::log_in_with(&edge.bosh, &john, "web", &[("wait", "1")]).await;
    let began = Instant::now();
    let empty = web.exchange("").await;
    assert!(began.elapsed() >= wait, "{empty}");
    assert_eq!(
        (empty.attr("type"), empty.nodes.len()),
        (None, 0),
        "{empty}"
    );

    let mut web = Bosh::log_in(&edge.bosh, &john, "web").await;
    let mut held = Box::pin(web.send("", "").await.body());
    // While it is held, somebody else comes and goes.
    let mut contact = prosody.contact("marie").await;
    let other = edge.login(&prosody.account("paul")).await;
    let whole_session = other.logout();
    tokio::select! {
        answer = &mut held => panic!("there is nothing to say: {answer}"),
        _ = whole_session => {}
    }
    contact.send_message(&format!("{}/web", john.jid()), "news");
    let answer = within("the news", held).await;
    assert!(
        answer.children().any(|child| child.is_message("news")),
        "{answer}"
    );
    contact.fence().await;
}

async fn large_requests_and_answers_pass_as_they_are(way: Way) {
    let prosody = Prosody::shared();
    let edge = Edge::before(way, gateway());
    let mut contact = prosody.contact("marie").await;
    let john = prosody.account("john");
    let mut web = Bosh::log_in(&edge.bosh, &john, "web").await;
    // Less than the largest body with all that is round it.
    // As browsers do; and gloox reads nothing without its length.
    web.endpoint = edge.bosh.clone().adding("Accept-Encoding", "gzip, br");
    let text = "a long story, ".repeat(18_000);
    let held = web.send("", &message(&contact.jid, &text)).await;
    contact.expect_message(&text).await;
    let text = "the same again, ".repeat(10_000);
    contact.send_message(&format!("{}/web", john.jid()), &text);
    let answer = held.response().await;
    assert!(answer.text().contains(&text));
    assert_eq!(
        answer.header("content-encoding"),
        None,
        "{:?}",
        answer.headers
    );
    let length = answer.header("content-length").map(str::to_owned);
    assert_eq!(length, Some(answer.body.len().to_string()));
}

async fn a_client_that_hangs_up_is_missed(way: Way) {
    let (wait, inactivity) = (Duration::from_secs(5), Duration::from_secs(1));
    let edge = Edge::before(way, gateway().bosh("wait = \"5s\"\ninactivity = \"1s\""));
    let prosody = Prosody::shared();
    let mut contact = prosody.contact("marie").await;
    let john = prosody.account("john");
    let mut web = Bosh::log_in(&edge.bosh, &john, "web").await;
    let hello = format!("<presence xmlns='{CLIENT}' to='{}'/>", contact.jid);
    let jid = format!("{}/web", john.jid());
    let began = Instant::now();
    let held = web.send("", &hello).await;
    contact.expect_presence(&jid, "").await;
    held.abort();
    contact.expect_presence(&jid, "unavailable").await;
    let lasted = began.elapsed();
    assert!(lasted >= inactivity, "{lasted:?}");
    // Apache tells the gateway nothing before it has got its answer.
    let is_seen = way != Way::By(Kind::Apache);
    assert_eq!(lasted < wait, is_seen, "{lasted:?}");
}

async fn an_answer_that_nobody_heard_can_be_had_again(way: Way) {
    let edge = Edge::before(way, gateway());
    let prosody = Prosody::shared();
    let mut contact = prosody.contact("marie").await;
    let john = prosody.account("john");
    let mut web = Bosh::log_in(&edge.bosh, &john, "web").await;
    let payload = message(&contact.jid, "once");
    let held = web.send("", &payload).await;
    contact.expect_message("once").await;
    held.abort();
    contact.send_message(&format!("{}/web", john.jid()), "reply");
    contact.fence().await;
    let again = web.send_as(web.rid, "", &payload).await.body().await;
    assert!(
        again.children().any(|child| child.is_message("reply")),
        "{again}"
    );
    assert_eq!(contact.fence().await, [], "not forwarded twice");
}

async fn what_a_page_missed_goes_to_the_next_page(way: Way) {
    let edge = Edge::before(way, gateway());
    let prosody = Prosody::shared();
    let mut contact = prosody.contact("marie").await;
    let john = prosody.account("john");
    let mut web = Bosh::log_in(&edge.bosh, &john, "web").await;
    let jid = format!("{}/web", john.jid());
    let texts = |answer: &Element| -> Vec<String> {
        let messages = answer
            .children()
            .filter(|child| child.is(CLIENT, "message"));
        let bodies = messages.filter_map(|message| message.child(CLIENT, "body"));
        bodies.map(Element::text).collect()
    };
    let page = |name: &str| edge.bosh.at(&format!("/http-bind?page={name}"));

    web.endpoint = page("one");
    let held = web.send("", "").await;
    contact.send_message(&jid, "unseen");
    // What it is answered is heard here, but by no page.
    assert_eq!(texts(&held.body().await), ["unseen"]);
    contact.send_message(&jid, "more");
    contact.fence().await;
    web.endpoint = page("two");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(texts(&web.exchange("").await));
    }
    assert_eq!(seen, ["unseen", "more"]);

    // The first page wakes up, with a count that is out of date.
    let held = web.send("", "").await;
    let old = Bosh {
        endpoint: page("one"),
        ..web.clone()
    };
    let payload = message(&contact.jid, "awake");
    let awake = old.send_as(web.rid, "", &payload).await;
    contact.expect_message("awake").await;
    assert_eq!(held.body().await.attr("type"), Some("error"));
    contact.send_message(&jid, "to whoever is awake");
    assert_eq!(texts(&awake.body().await), ["to whoever is awake"]);
}

async fn a_gateway_that_stops_says_so_and_is_found_again(way: Way) {
    let mut edge = Edge::before(way, gateway());
    let john = Prosody::shared().account("john");
    let mut client = edge.login(&john).await;
    client.fence().await;
    edge.gateway.signal("TERM");
    let end = client.expect_end().await;
    assert_eq!(end.condition.as_deref(), Some("system-shutdown"));
    assert!(edge.gateway.wait().success());

    let refused = match way {
        Way::Direct => None,
        Way::By(Kind::Apache) => Some(503),
        Way::By(_) => Some(502),
    };
    for _ in 0..3 {
        let Some(mut connection) = Connection::try_open(&edge.bosh).await else {
            assert_eq!(refused, None);
            continue;
        };
        connection
            .send("POST", "/http-bind", &[], &creation(DOMAIN, &[]))
            .await;
        assert_eq!(Some(connection.response().await.status()), refused);
    }
    edge.gateway = edge.gateway.start_again();
    let mut client = edge.login(&john).await;
    client.fence().await;
}

async fn a_reload_of_the_gateway_keeps_sessions(way: Way) {
    let edge = Edge::before(way, gateway());
    let prosody = Prosody::shared();
    let mut contact = prosody.contact("marie").await;
    let john = prosody.account("john");
    let mut web = Bosh::log_in(&edge.bosh, &john, "web").await;
    let held = web.send("", &message(&contact.jid, "before")).await;
    contact.expect_message("before").await;
    edge.gateway.signal("HUP");
    edge.logged("configuration reloaded").await;
    contact.send_message(&format!("{}/web", john.jid()), "after");
    let answer = held.body().await;
    assert!(
        answer.children().any(|child| child.is_message("after")),
        "{answer}"
    );
    let sent = web.send("", &message(&contact.jid, "and on")).await;
    contact.expect_message("and on").await;
    sent.abort();
}

async fn a_reload_of_the_proxy_keeps_sessions(way: Way) {
    let mut edge = Edge::before(way, gateway());
    let prosody = Prosody::shared();
    let mut contact = prosody.contact("marie").await;
    let (john, paul) = (prosody.account("john"), prosody.account("paul"));
    let mut web = Bosh::log_in(&edge.bosh, &john, "web").await;
    let mut client = edge.login(&paul).await;
    let held = web.send("", &message(&contact.jid, "before")).await;
    contact.expect_message("before").await;
    if let Some(proxy) = &mut edge.proxy {
        proxy.reload();
    }
    // On connections that are closed before their time, browsers ask again; these have a rid.
    contact.send_message(&client.jid, "to the old process");
    client.expect_message("to the old process").await;
    contact.send_message(&format!("{}/web", john.jid()), "after");
    let answer = held.body().await;
    assert!(
        answer.children().any(|child| child.is_message("after")),
        "{answer}"
    );
    let sent = web.send("", &message(&contact.jid, "and on")).await;
    contact.expect_message("and on").await;
    sent.abort();
    client.fence().await;
    client.logout().await;
}

async fn the_gateway_knows_who_asks_and_how(way: Way) {
    let gateway = match way {
        Way::Direct => gateway().server("trusted_proxies = []"),
        // By default it trusts all of this machine: even the browser, were the proxy to pass it on.
        Way::By(_) => gateway(),
    };
    let edge = Edge::before(way, gateway);
    let browser = edge.bosh.clone().coming_from(Ipv4Addr::new(127, 0, 0, 2));
    let liar = browser.adding("X-Forwarded-For", "198.51.100.7");
    let liar = liar.adding("Forwarded", "for=198.51.100.8");
    let mut web = Bosh::open(&liar, DOMAIN).await;
    edge.logged("session created").await;
    let log = edge.gateway.log();
    assert!(log.contains("client=127.0.0.2 "), "{log}");
    assert!(!log.contains("198.51.100"), "{log}");
    if way == Way::Direct {
        return;
    }
    // Whoever comes by TLS is known to: in clear, the session cannot be used.
    web.endpoint = edge
        .gateway
        .bosh()
        .adding("X-Forwarded-For", "198.51.100.9");
    let thief = web.send_as(web.rid + 1, "", "").await.response().await;
    assert_eq!(thief.condition().as_deref(), Some("policy-violation"));
}

async fn refusals_arrive_as_they_are(way: Way) {
    // Nobody is there.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let edge = Edge::before(way, gateway().upstream(&format!("xmpp://{nowhere}")));
    let page = edge
        .bosh
        .clone()
        .adding("Origin", "https://www.example.net");
    let refused = page.post(&creation(DOMAIN, &[])).await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("5"));
    let unknown = page.post(&creation("nowhere.example", &[])).await;
    assert_eq!(unknown.condition().as_deref(), Some("host-unknown"));
    let large = page.post(&" ".repeat(1200 << 10)).await;
    assert_eq!(large.condition().as_deref(), Some("policy-violation"));
    let preflight = page.request("OPTIONS", &[], "").await;
    for response in [&refused, &unknown, &large, &preflight] {
        // None of them twice either: browsers take none of two.
        response.assert_usual_headers();
    }
}

async fn hundreds_can_wait_at_once(way: Way) {
    let edge = Edge::before(way, gateway());
    let prosody = Prosody::shared();
    let contact = prosody.contact("marie").await;
    let mut held = JoinSet::new();
    // More than Apache has threads by default. They need not log in to wait.
    for _ in 0..200 {
        let mut web = Bosh::open(&edge.bosh, DOMAIN).await;
        let pending = web.send("", "").await;
        held.spawn(pending.response());
    }
    let mut client = edge.login(&prosody.account("john")).await;
    contact.send_message(&client.jid, "and one more");
    client.expect_message("and one more").await;
    assert_eq!(held.try_join_next().map(|_| ()), None, "all of them wait");
}

#[tokio::test]
async fn an_nginx_that_speaks_http_1_0_is_told_why_there_is_no_websocket() {
    let edge = Edge::before(Way::By(Kind::NginxHttp10), gateway());
    let endpoint = edge.bosh.at("/xmpp-websocket");
    let refused = WebSocket::try_open(&endpoint, &[]).await;
    let refused = refused.expect_err("no upgrade");
    assert_eq!(refused.status(), 400, "{refused:?}");
    assert!(refused.text().contains("proxy_http_version"), "{refused:?}");
}

/// By any way, at once: it takes a minute.
#[tokio::test]
async fn a_request_is_held_longer_than_proxies_wait_by_themselves() {
    let wait = Duration::from_secs(62);
    let held = async |way: Way| {
        let edge = Edge::before(way, gateway().bosh("wait = \"62s\""));
        let john = Prosody::shared().account("john");
        let mut web = Bosh::log_in_with(&edge.bosh, &john, "web", &[("wait", "62")]).await;
        let began = Instant::now();
        let answer = timeout(wait * 2, web.send("", "").await.late_response());
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200, "{way:?}: {answer:?}");
        assert!(began.elapsed() >= wait, "{way:?}: {answer:?}");
    };
    tokio::join!(
        held(Way::Direct),
        held(Way::By(Kind::Nginx)),
        held(Way::By(Kind::NginxHttp10)),
        held(Way::By(Kind::Apache)),
    );
}
