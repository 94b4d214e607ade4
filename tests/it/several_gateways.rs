//! Several gateways that are one (`[cluster]`): whichever a client comes to, it finds its session, and it meets what it
//! would meet if there were only one.

use std::time::Duration;

use tokio::{sync::watch, task::JoinSet};

use support::{
    backend::Backend,
    bosh::{Bosh, Pending},
    client::{Account, Client},
    gateway::{Builder, Gateway},
    home::Home,
    http::Endpoint,
    nats::Nats,
    prosody::Prosody,
    proxy::Kind,
    relay::{Fault, Relay},
    resilient::Resilient,
    several::Gateways,
    within,
    xml::{CLIENT, Element, message},
};

/// Three gateways before the shared Prosody.
fn three(builder: Builder) -> Gateways {
    Gateways::three(Nats::shared(), &builder)
}

fn gateway() -> Builder {
    Gateway::builder(Prosody::shared())
}

/// A session of the gateway `a`, driven by hand, and a contact on the server who sees what gets there.
struct Scene {
    gateways: Gateways,
    account: Account,
    web: Bosh,
    desk: Client,
}

impl Scene {
    async fn new(builder: Builder) -> Self {
        Self::with(builder, &[]).await
    }

    /// With these attributes in the creation request.
    async fn with(builder: Builder, changes: &[(&str, &str)]) -> Self {
        let gateways = three(builder);
        let prosody = Prosody::shared();
        let account = prosody.account("john");
        let web = Bosh::log_in_with(&gateways.all[0].bosh(), &account, "web", changes).await;
        assert!(web.sid.starts_with("a-"), "a's session: {}", web.sid);
        let desk = prosody.contact("marie").await;
        let mut scene = Self {
            gateways,
            account,
            web,
            desk,
        };
        scene.at(1);
        let hello = format!("<presence xmlns='{CLIENT}' to='{}'/>", scene.desk.jid);
        scene.web.send("", &hello).await.abort();
        let jid = scene.jid();
        scene.desk.expect_presence(&jid, "").await;
        scene
    }

    /// The next requests go to this gateway.
    fn at(&mut self, gateway: usize) {
        self.web.endpoint = self.gateways.all[gateway].bosh();
    }

    fn jid(&self) -> String {
        format!("{}/web", self.account.jid())
    }

    fn to_desk(&self, body: &str) -> String {
        message(&self.desk.jid, body)
    }

    /// The next request, which is held until there is news.
    async fn poll(&mut self) -> Pending {
        self.web.send("", "").await
    }

    /// Asserts that the server has ended the session.
    async fn expect_gone(&mut self) {
        let jid = self.jid();
        self.desk.expect_presence(&jid, "unavailable").await;
    }
}

#[track_caller]
fn assert_texts(body: &Element, texts: &[&str]) {
    let found: Vec<_> = body.children().filter_map(Element::body).collect();
    assert_eq!(found, texts, "{body}");
}

#[tokio::test]
async fn a_client_knows_nothing_of_them() {
    let backend = Backend::start();
    let gateways = three(gateway().backend(&backend));
    let balancer = gateways.balanced(Kind::RoundRobin);
    let prosody = Prosody::shared();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    let list = serde_json::json!({ marie.jid(): { "subscription": "both" } });
    backend.set(&john.local, list);
    let mut web = balancer.login(&john, "web").await;
    let mut other = balancer.login(&marie, "web").await;
    assert_eq!(web.roster().await.len(), 1);
    for number in 0..50 {
        let text = number.to_string();
        web.send_message(&other.jid, &text);
        other.send_message(&web.jid, &text);
    }
    for number in 0..50 {
        let text = Some(number.to_string());
        assert_eq!(web.next().await.body(), text);
        assert_eq!(other.next().await.body(), text);
    }
    assert!(!web.logout().await.lost);
    assert!(!other.logout().await.lost);
    let forwarded = gateways.forwarded("answered").await;
    assert!(
        forwarded > 10,
        "most requests come to another gateway: {forwarded}"
    );
}

#[tokio::test]
async fn a_request_is_held_and_answered_wherever_it_came_to() {
    let mut scene = Scene::with(gateway(), &[("wait", "1")]).await;
    for gateway in [1, 2, 0, 1] {
        scene.at(gateway);
        let held = scene.poll().await;
        scene.desk.send_message(&scene.jid(), "news");
        assert_texts(&held.body().await, &["news"]);
        // Nothing comes for a second: empty, and the session goes on.
        let empty = scene.web.exchange("").await;
        assert_eq!(
            (empty.attr("type"), empty.nodes.len()),
            (None, 0),
            "{empty}"
        );
    }
}

#[tokio::test]
async fn requests_that_overtake_each_other_on_their_ways_are_put_in_order() {
    let mut scene = Scene::new(gateway()).await;
    let [b, c] = [1, 2].map(|gateway| scene.gateways.all[gateway].bosh());
    for round in 0..20 {
        let [first, second] = [0, 1].map(|n| scene.to_desk(&(2 * round + n).to_string()));
        let rid = scene.web.rid + 1;
        scene.web.rid += 2;
        let late = Pending::send(&c, rid + 1, scene.web.request(rid + 1, "", &second)).await;
        let early = Pending::send(&b, rid, scene.web.request(rid, "", &first)).await;
        for n in 0..2 {
            scene
                .desk
                .expect_message(&(2 * round + n).to_string())
                .await;
        }
        // The session holds one request at most, so the earlier one is answered.
        early.body().await;
        late.abort();
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_at_another_gateway_is_away() {
    let mut scene = Scene::new(gateway().bosh("inactivity = \"2s\"")).await;
    let held = scene.poll().await;
    scene.desk.send_message(&scene.jid(), "taken");
    assert_texts(&held.body().await, &["taken"]);
    // As long as its request is held, it is there.
    let held = scene.poll().await;
    scene.desk.fence().await;
    held.abort();
    scene.expect_gone().await;
    assert!(scene.gateways.forwarded("hung_up").await >= 1);
}

#[tokio::test]
async fn what_a_client_sends_arrives_even_if_it_hangs_up_at_once() {
    let mut scene = Scene::new(gateway()).await;
    for number in 0..30 {
        scene.at(1 + number % 2);
        let text = number.to_string();
        let payload = scene.to_desk(&text);
        scene.web.send("", &payload).await.abort();
        scene.desk.expect_message(&text).await;
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_once_and_taken_once_wherever_it_comes() {
    let mut scene = Scene::new(gateway()).await;
    let rid = scene.web.rid + 1;
    let text = scene.to_desk("once");
    scene.desk.send_message(&scene.jid(), "answer");
    scene.desk.fence().await;
    let first = scene.web.send("", &text).await.body().await;
    assert_texts(&first, &["answer"]);
    for gateway in [2, 0, 1] {
        scene.at(gateway);
        let again = scene.web.send_as(rid, "", &text).await.body().await;
        assert_texts(&again, &["answer"]);
    }
    // One that is held is answered where it came to last.
    scene.desk.expect_message("once").await;
    let text = scene.to_desk("held");
    let held = scene.web.send("", &text).await;
    scene.desk.expect_message("held").await;
    scene.at(2);
    let again = scene.web.send_as(held.rid, "", &text).await;
    scene.desk.send_message(&scene.jid(), "news");
    assert_texts(&again.body().await, &["news"]);
    scene
        .desk
        .expect_none("second copy", |it| {
            it.is_message("once") || it.is_message("held")
        })
        .await;
}

#[tokio::test]
async fn a_session_pauses_and_ends_by_whichever_gateway() {
    let mut scene = Scene::new(gateway().bosh("inactivity = \"1s\"")).await;
    let paused = scene.web.exchange_pause(60).await;
    assert_eq!(paused.attr("type"), None, "{paused}");
    // Longer than it would have been waited for otherwise.
    scene.gateways.joined();
    scene.at(2);
    scene.desk.send_message(&scene.jid(), "news");
    assert_texts(&scene.web.exchange("").await, &["news"]);
    let last = scene.web.send("type='terminate'", "").await.body().await;
    assert_eq!(last.attr("type"), Some("terminate"), "{last}");
    scene.expect_gone().await;
    for gateway in [0, 1, 2] {
        scene.at(gateway);
        let late = scene.web.send("", "").await.response().await;
        assert_eq!(late.condition().as_deref(), Some("item-not-found"));
    }
}

#[tokio::test]
async fn a_sid_that_names_no_gateway_or_no_session_is_unknown() {
    let scene = Scene::new(gateway()).await;
    let secret = "0123456789abcdef0123456789abcdef";
    for sid in ["a", "b", "c", "z", "zz"].map(|node| format!("{node}-{secret}")) {
        for gateway in &scene.gateways.all {
            let mut web = scene.web.clone();
            web.sid.clone_from(&sid);
            web.endpoint = gateway.bosh();
            let answer = web.send("", "").await.response().await;
            assert_eq!(answer.status(), 200);
            assert_eq!(
                answer.condition().as_deref(),
                Some("item-not-found"),
                "{sid}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_ends_the_session_at_its_gateway() {
    let mut scene = Scene::new(gateway().bosh("max_body = \"16KiB\"")).await;
    let text = scene.to_desk(&"x".repeat(20 << 10));
    let answer = scene.web.send("", &text).await.response().await;
    assert_eq!(answer.condition().as_deref(), Some("policy-violation"));
    assert_eq!(answer.header("connection"), Some("close"));
    scene.expect_gone().await;
}

#[tokio::test]
async fn long_documents_go_both_ways_in_parts() {
    let mut scene = Scene::new(gateway().session("max_pending = \"4MiB\"")).await;
    let texts: Vec<_> = (0..4)
        .map(|n| format!("{n}{}", "x".repeat(170 << 10)))
        .collect();
    let payload: String = texts.iter().map(|text| scene.to_desk(text)).collect();
    assert!(payload.len() > 512 << 10);
    scene.web.send("", &payload).await.abort();
    for text in &texts {
        scene.desk.expect_message(text).await;
        scene.desk.send_message(&scene.jid(), text);
    }
    scene.desk.fence().await;
    let mut heard = Vec::new();
    while heard.len() < texts.len() {
        let answer = scene.web.exchange("").await;
        heard.extend(answer.children().filter_map(Element::body));
    }
    assert!(heard == texts, "in order");
}

#[tokio::test]
async fn a_session_from_behind_tls_is_closed_to_requests_in_clear() {
    let gateways = three(gateway().server("trusted_proxies = [\"127.0.0.1\"]"));
    let account = Prosody::shared().account("john");
    let secure = |gateway: &Gateway, proto: &str| {
        let bosh = gateway.bosh();
        bosh.adding("X-Forwarded-For", "192.0.2.1")
            .adding("X-Forwarded-Proto", proto)
    };
    let mut web = Bosh::log_in(&secure(&gateways.all[0], "https"), &account, "web").await;
    web.endpoint = secure(&gateways.all[1], "http");
    let answer = web.send_as(web.rid + 1, "", "").await.response().await;
    assert_eq!(answer.condition().as_deref(), Some("policy-violation"));
    web.endpoint = secure(&gateways.all[1], "https");
    let answer = web.send("type='terminate'", "").await.body().await;
    assert_eq!(answer.attr("condition"), None, "{answer}");
}

#[tokio::test]
async fn the_access_log_names_the_gateway_that_answers() {
    let gateways = three(gateway().tables("[log]\naccess = true"));
    let account = Prosody::shared().account("john");
    let mut web = Bosh::log_in(&gateways.all[0].bosh(), &account, "web").await;
    web.endpoint = gateways.all[1].bosh();
    web.terminate().await;
    let log = gateways.all[1].log();
    let line = log.lines().find(|line| line.contains("/http-bind"));
    let line = line.expect("a line of the request");
    assert!(
        line.contains("node=\"a\"") || line.contains("node=a"),
        "{line}"
    );
}

#[tokio::test]
async fn every_message_arrives_once_and_in_order_over_bad_lines() {
    let gateways = three(gateway().bosh("wait = \"2s\""));
    let balancer = gateways.balanced(Kind::RoundRobinTcp);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let relay = Relay::start(balancer.bosh.address, &Fault::ALL, seed).await;
    let bad = Endpoint::new(relay.address, &balancer.bosh.path);
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut sessions = Vec::new();
    for number in 0..6 {
        let account = Prosody::shared().account("john");
        let acknowledges = number % 2 == 0;
        let attributes: &[_] = if acknowledges { &[("ack", "1")] } else { &[] };
        let mut session = Bosh::log_in_with(&balancer.bosh, &account, "web", attributes).await;
        session.endpoint = bad.clone();
        let jid = format!("{}/web", account.jid());
        sessions.push((jid, Resilient::new(session, acknowledges, dice.u64(..))));
    }
    relay.set_bad(2);
    let jids: Vec<_> = sessions.iter().map(|(jid, _)| jid.clone()).collect();
    let (done, _) = watch::channel(0);
    let mut clients = JoinSet::new();
    for (number, (_, client)) in sessions.into_iter().enumerate() {
        let partner = number ^ 1;
        let to = jids[partner].clone();
        let texts: Vec<_> = (0..60).map(|n| format!("{number}: {n}")).collect();
        let expected: Vec<_> = (0..60).map(|n| format!("{partner}: {n}")).collect();
        let done = done.clone();
        clients.spawn(async move {
            let (heard, _) = client.chat(&to, texts, done, 6).await;
            assert_eq!(heard, expected, "all, once, in order");
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(90), clients.join_all()).await;
    all.expect("everybody hears everything in time");
    for fault in Fault::ALL {
        assert!(relay.count(fault) > 0, "{fault:?} happened");
    }
    assert!(gateways.forwarded("answered").await > 0);
}

#[tokio::test]
async fn one_that_is_killed_loses_no_message_and_the_others_go_on() {
    let home = Home::prosody(5000);
    let gateways = Gateways::three(Nats::shared(), &home.gateway());
    let [john, marie] = [home.account("john").await, home.account("marie").await];
    let mut web = Bosh::log_in(&gateways.all[0].bosh(), &john, "web").await;
    let mut other = Bosh::log_in(&gateways.all[1].bosh(), &marie, "web").await;
    let mut desk = home.contact("desk").await;
    for (session, gateway) in [(&mut web, 1), (&mut other, 2)] {
        session.endpoint = gateways.all[gateway].bosh();
        let jid = format!(
            "{}/web",
            if gateway == 1 {
                john.jid()
            } else {
                marie.jid()
            }
        );
        let hello = format!(
            "<presence xmlns='{CLIENT}'/><presence xmlns='{CLIENT}' to='{}'/>",
            desk.jid
        );
        session.send("", &hello).await.abort();
        desk.expect_presence(&jid, "").await;
    }
    let johns = format!("{}/web", john.jid());
    desk.send_message(&johns, "begin");
    web.exchange_until("", |it| it.is_message("begin")).await;
    let unread = web.send("", "").await;
    for number in 0..20 {
        desk.send_message(&johns, &number.to_string());
    }
    desk.fence().await;
    unread.answered().await;
    gateways.all[0].signal("KILL");
    desk.expect_presence(&johns, "unavailable").await;
    // Its client learns that it has to log in again.
    let end = web.send("", "").await.response().await;
    assert_eq!(end.condition().as_deref(), Some("item-not-found"));
    // The others are as they were.
    desk.send_message(&format!("{}/web", marie.jid()), "still here");
    let is_text = |it: &Element| it.is_message("still here");
    other.exchange_until("", is_text).await;
    let mut next = gateways.all[1].login(&john, "next").await;
    next.send_presence("");
    for number in 0..20 {
        next.expect_message(&number.to_string()).await;
    }
}

#[tokio::test]
async fn without_nats_each_serves_its_own_sessions_and_then_all_go_on() {
    let mut nats = Nats::start();
    let prosody = Prosody::shared();
    let gateways = Gateways::three(&nats, &gateway());
    let account = prosody.account("john");
    let mut desk = prosody.contact("marie").await;
    let jid = format!("{}/web", account.jid());
    let mut web = Bosh::log_in(&gateways.all[0].bosh(), &account, "web").await;
    let [a, b] = [0, 1].map(|gateway| gateways.all[gateway].bosh());
    web.endpoint = b.clone();
    let held = web.send("", "").await;
    desk.send_message(&jid, "before");
    assert_texts(&held.body().await, &["before"]);

    let held = web.send("", "").await;
    nats.kill();
    // The client is told to come again: the session lives.
    let answer = held.response().await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    let again = web.send_as(web.rid, "", "").await.response().await;
    assert_eq!(again.status(), 503, "{again:?}");
    desk.send_message(&jid, "meanwhile");
    web.endpoint = a;
    let answer = web.send_as(web.rid, "", "").await.body().await;
    assert_texts(&answer, &["meanwhile"]);

    let text = message(&desk.jid, "through");
    web.endpoint = b;
    let late = web.send("", &text).await.response().await;
    assert_eq!(late.status(), 503, "{late:?}");
    nats.start_again();
    gateways.joined();
    desk.send_message(&jid, "after");
    let answer = web.send_as(web.rid, "", &text).await.body().await;
    assert_texts(&answer, &["after"]);
    desk.expect_message("through").await;
    desk.expect_none("second copy", |it| it.is_message("through"))
        .await;
}

#[tokio::test]
async fn one_that_stops_says_so_to_those_who_wait_at_others() {
    let mut scene = Scene::new(gateway()).await;
    let held = scene.poll().await;
    scene.desk.send_message(&scene.jid(), "taken");
    assert_texts(&held.body().await, &["taken"]);
    let held = scene.poll().await;
    // What comes after it to the same gateway is answered.
    let other = &scene.gateways.all[1];
    other.await_metric("forwarded_requests_held", 1);
    let sessions = other.admin().at("/roster_admin/sessions");
    let sessions = sessions.request("GET", &[], "").await;
    assert!(!sessions.text().contains("incomplete"), "{sessions:?}");
    scene.gateways.all[0].signal("TERM");
    let end = held.body().await;
    assert_eq!(end.attr("condition"), Some("system-shutdown"), "{end}");
    assert!(scene.gateways.all[0].wait().success());
    within("the end", async {
        loop {
            let late = scene.web.send("", "").await.response().await;
            if late.condition().as_deref() == Some("item-not-found") {
                break;
            }
        }
    })
    .await;
}
