//! Several gateways that are one, while NATS hangs, is slow, or does not reach all of them.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::sleep};

use support::{
    backend::Backend,
    bosh::{Bosh, Pending},
    client::{Account, Client},
    gateway::Gateway,
    line::Line,
    nats::Nats,
    prosody::Prosody,
    several::{Gateways, sum},
    within,
    xml::{Element, HTTPBIND, message},
};

/// Two gateways, each with a line of its own to NATS, and one user at the second.
struct Scene {
    backend: Backend,
    gateways: Gateways,
    lines: [Line; 2],
    john: Account,
    web: Client,
}

impl Scene {
    async fn new(nats: &Nats) -> Self {
        let lines = [(); 2].map(|()| Line::start(nats.address()));
        let lines: [Line; 2] = join_all(lines).await.try_into().ok().expect("two");
        let urls: Vec<_> = lines
            .iter()
            .map(|it| format!("nats://{}", it.address))
            .collect();
        let backend = Backend::start();
        let builder = Gateway::builder(Prosody::shared()).backend(&backend);
        let gateways = spawn_blocking(move || Gateways::reaching(&urls, &builder));
        let gateways = gateways.await.expect("they start");
        let john = Prosody::shared().account("john");
        backend.set(&john.local, json!({}));
        let mut web = gateways.all[1].login(&john, "web").await;
        web.roster().await;
        Self {
            backend,
            gateways,
            lines,
            john,
            web,
        }
    }

    /// The site gives the user a friend, and tells the first gateway.
    async fn befriend(&self, friend: &str) -> (u16, Value) {
        self.backend.set(&self.john.local, json!({ friend: {} }));
        let endpoint = self.gateways.all[0].admin().at("/roster_admin/refresh");
        let body = json!([self.john.local]).to_string();
        let answer = endpoint.request("POST", &[], &body).await;
        (
            answer.status(),
            serde_json::from_str(answer.text()).expect("JSON"),
        )
    }

    /// Waits until the first gateway is alone, or both know of so many.
    async fn await_members(&self, count: usize) {
        within("members", async {
            while !(self.knows(0, count).await && (count == 1 || self.knows(1, count).await)) {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// Whether a gateway knows of so many.
    async fn knows(&self, place: usize, count: usize) -> bool {
        sum(&self.gateways.all[place], "rostergate_cluster_members{").await == count
    }

    /// A session by BOSH at a gateway, whose requests come to the other one from now on.
    async fn crossed(&self, place: usize) -> Bosh {
        let mut session = Bosh::log_in(&self.gateways.all[place].bosh(), &self.john, "").await;
        session.endpoint = self.gateways.all[1 - place].bosh();
        session
    }

    /// Sends so much to the first gateway that what comes later waits there, if NATS reads nothing.
    async fn fill(&self) -> Vec<Pending> {
        let entrance = self.gateways.all[0].bosh();
        let sid = "b-0123456789abcdef0123456789abcdef";
        let payload = message(&self.web.jid, &"x".repeat(60_000));
        let request = format!("<body xmlns='{HTTPBIND}' sid='{sid}' rid='1'>{payload}</body>");
        let requests = (0..300).map(|number| Pending::send(&entrance, number, request.clone()));
        join_all(requests).await
    }

    async fn end_sessions(&self, place: usize) -> u16 {
        let path = format!("/roster_admin/sessions?user={}", self.john.local);
        let endpoint = self.gateways.all[place].admin().at(&path);
        endpoint.request("DELETE", &[], "").await.status()
    }
}

/// A gateway that is cut off is missed for a while, and then counts as gone. It goes on by itself, and asks for what it has
/// missed when it is back.
#[tokio::test]
async fn a_gateway_that_is_cut_off_catches_up() {
    let mut site = Scene::new(Nats::shared()).await;
    site.lines[1].go_dead();
    let (status, body) = site.befriend("ann@example.org").await;
    let reason = &body["failed"][0]["reason"];
    assert_eq!((status, reason), (500, &json!("gateway b did not answer")));
    site.await_members(1).await;
    let (status, body) = site.befriend("ben@example.org").await;
    assert_eq!((status, &body["updated"]), (200, &json!(1)));
    // What is there goes on.
    let web = site.web.jid.clone();
    site.web.send_message(&web, "still here");
    site.web.expect_message("still here").await;
    site.lines[1].go_on();
    // The site has not told anybody again.
    assert_eq!(site.web.expect_push().await.jid, "ben@example.org");
    site.await_members(2).await;
    within("a refresh that reaches both", async {
        while site.befriend("cleo@example.org").await.0 != 200 {}
    })
    .await;
    while site.web.expect_push().await.jid != "cleo@example.org" {}
}

/// Who is banned meanwhile stays in a gateway that nobody can tell, and no longer.
#[tokio::test]
async fn a_gateway_that_was_cut_off_ends_the_sessions_that_the_site_has_ended() {
    let mut site = Scene::new(Nats::shared()).await;
    site.lines[1].go_dead();
    assert_eq!(site.end_sessions(0).await, 502);
    site.await_members(1).await;
    assert_eq!(site.end_sessions(0).await, 200);
    let web = site.web.jid.clone();
    site.web.send_message(&web, "still here");
    site.web.expect_message("still here").await;
    site.lines[1].go_on();
    let end = site.web.expect_end().await;
    let error = end.error.expect("the site has ended it").to_string();
    assert!(error.contains("not-authorized"), "{error}");
}

/// NATS that hangs says nothing, and its connections stay.
#[tokio::test]
async fn nats_that_hangs_is_away_until_it_goes_on() {
    let nats = Nats::start();
    let mut site = Scene::new(&nats).await;
    nats.signal("STOP");
    let (status, body) = site.befriend("ann@example.org").await;
    assert_eq!(status, 500, "{body}");
    assert_eq!(
        body["failed"][0]["username"],
        json!(site.john.local),
        "{body}"
    );
    site.await_members(0).await;
    let (status, body) = site.befriend("ben@example.org").await;
    let reason = "what other gateways have is not known: NATS is away";
    assert_eq!(
        (status, &body["failed"][0]["reason"]),
        (500, &json!(reason))
    );
    nats.signal("CONT");
    assert_eq!(site.web.expect_push().await.jid, "ben@example.org");
    site.await_members(2).await;
}

/// While it is not known yet that NATS hangs, nothing is taken for gone, or for done.
#[tokio::test]
async fn what_is_asked_as_nats_begins_to_hang_is_not_known() {
    let nats = Nats::start();
    let mut site = Scene::new(&nats).await;
    // They say hello at other moments than each other.
    site.gateways.all[1].signal("STOP");
    sleep(Duration::from_millis(fastrand::u64(1000..2000))).await;
    site.gateways.all[1].signal("CONT");
    let mut crossed = [site.crossed(0).await, site.crossed(1).await];
    crossed.iter_mut().for_each(|session| session.rid += 1);
    nats.signal("STOP");
    while !(site.knows(0, 0).await && site.knows(1, 0).await) {
        for place in [0, 1] {
            let refresh = site.gateways.all[place].admin().at("/roster_admin/refresh");
            let users = json!([site.john.local]).to_string();
            let refresh = refresh.request("POST", &[], &users);
            let poll = async {
                let session = &crossed[1 - place];
                let poll = session.send_as(session.rid, "", "").await;
                poll.late_response().await
            };
            let (refreshed, polled) = join(refresh, poll).await;
            assert_eq!(refreshed.status(), 500, "{refreshed:?}");
            assert_eq!(polled.status(), 503, "{polled:?}");
        }
    }
    nats.signal("CONT");
    site.await_members(2).await;
    let jid = site.web.jid.clone();
    // Both sessions live.
    for (number, mut session) in crossed.into_iter().enumerate() {
        session.endpoint = site.gateways.all[number].bosh();
        let text = number.to_string();
        let poll = session.send_as(session.rid, "", "").await;
        let sent = session.send("", &message(&jid, &text)).await;
        poll.body().await;
        site.web.expect_message(&text).await;
        sent.abort();
    }
}

/// The caller has heard that it could not be done.
#[tokio::test]
async fn what_was_given_up_is_not_done_when_nats_goes_on() {
    let nats = Nats::start();
    let mut site = Scene::new(&nats).await;
    nats.signal("STOP");
    let _requests = site.fill().await;
    assert_eq!(site.end_sessions(0).await, 502);
    site.await_members(0).await;
    nats.signal("CONT");
    site.await_members(2).await;
    let jid = site.web.jid.clone();
    site.web.send_message(&jid, "still here");
    site.web.expect_message("still here").await;
    let again = site.gateways.all[1].login(&site.john, "again").await;
    assert!(again.jid.ends_with("/again"), "{}", again.jid);
    assert_eq!(site.end_sessions(0).await, 200);
    assert_eq!(
        site.web.expect_end().await.stream_error(),
        Some("not-authorized")
    );
}

/// A long request waits for NATS no longer than a short one.
#[tokio::test]
async fn a_long_request_is_told_that_nats_is_away_too() {
    let nats = Nats::start();
    let site = Scene::new(&nats).await;
    let mut crossed = site.crossed(1).await;
    nats.signal("STOP");
    let _requests = site.fill().await;
    let text = message(&site.web.jid, &"x".repeat(200_000));
    let answer = crossed.send("", &text).await.response().await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    nats.signal("CONT");
}

/// What is asked and answered meanwhile is lost: clients hear that they have to ask again.
#[tokio::test]
async fn requests_for_a_gateway_that_has_to_connect_anew_are_told() {
    let mut site = Scene::new(Nats::shared()).await;
    let mut crossed = site.crossed(1).await;
    let jid = site.web.jid.clone();
    let first = crossed.send("", &message(&jid, "here I am")).await;
    let from = site.web.expect_message("here I am").await;
    let held = crossed.send("", "").await;
    // It is answered as the other one has come.
    first.body().await;
    // Its gateway has said that it has the request, so that the other one waits.
    sleep(Duration::from_millis(2500)).await;
    site.lines[1].cut();
    while !site.knows(1, 0).await {
        sleep(Duration::from_millis(50)).await;
    }
    site.web
        .send_message(from.attr("from").expect("a sender"), "meanwhile");
    site.web.fence().await;
    site.lines[1].go_on();
    let answer = held.response().await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    site.await_members(2).await;
    let again = crossed.send_as(crossed.rid, "", "").await.body().await;
    let bodies: Vec<_> = again.children().filter_map(Element::body).collect();
    assert_eq!(bodies, ["meanwhile"], "{again}");
}

/// Between continents, say.
#[tokio::test]
async fn slow_lines_to_nats_cost_time_and_nothing_else() {
    let mut site = Scene::new(Nats::shared()).await;
    site.lines
        .iter()
        .for_each(|line| line.delay(Duration::from_millis(250)));
    let (status, body) = site.befriend("ann@example.org").await;
    assert_eq!((status, &body["updated"]), (200, &json!(1)), "{body}");
    assert_eq!(site.web.expect_push().await.jid, "ann@example.org");
    let at_b = Bosh::log_in(&site.gateways.all[1].bosh(), &site.john, "bosh").await;
    let mut session = Bosh {
        endpoint: site.gateways.all[0].bosh(),
        ..at_b
    };
    for number in 0..10 {
        let text = number.to_string();
        session
            .send("", &message(&site.web.jid, &text))
            .await
            .abort();
        site.web.expect_message(&text).await;
    }
    assert_eq!(
        site.gateways.all[0].log().matches("NATS is away").count(),
        0
    );
}
