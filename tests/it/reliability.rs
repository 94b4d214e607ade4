//! Nothing is lost, whoever vanishes: what the client has not confirmed stays with the server, what the
//! server has not acknowledged comes back (XEP-0198 between gateway and server).

use std::{ops::RangeInclusive, time::Duration};

use support::{
    bosh::Bosh,
    client::{Account, Client},
    ejabberd::Ejabberd,
    gateway::Gateway,
    home::Home,
    prosody::Prosody,
    within,
    xml::{CLIENT, Element, PING, message},
};

/// As many as are sent to somebody who is not there.
const ALL: u32 = 1000;

fn gateway(home: &Home, bosh: &str) -> Gateway {
    let builder = match home {
        Home::Prosody(_) => home.gateway(),
        // It mixes what comes while a session ends with what the session leaves: so the session has to last as long as
        // they come.
        Home::Ejabberd(_) => home.gateway().bosh("inactivity = \"12s\""),
    };
    builder.bosh(bosh).start()
}

/// Somebody in a browser, who will vanish, and somebody at a desk, who writes to them.
struct Scene {
    home: Home,
    gateway: Gateway,
    account: Account,
    jid: String,
    web: Bosh,
    desk: Client,
    /// The answers with messages so far, and the number of the last message in each.
    read: Vec<(u64, u32)>,
}

impl Scene {
    async fn new(home: Home) -> Self {
        Self::with(home, "", &[]).await
    }

    /// The same with a line in `[bosh]`, and attributes of the creation request.
    async fn with(home: Home, line: &str, changes: &[(&str, &str)]) -> Self {
        let gateway = gateway(&home, line);
        let account = home.account("web").await;
        let mut web = Bosh::open_with(&gateway.bosh(), &account.domain, changes).await;
        web.authenticate(&account).await;
        let jid = web.bind("tab").await;
        let desk = home.contact("desk").await;
        let presence = format!(
            "<presence xmlns='{CLIENT}'/><presence xmlns='{CLIENT}' to='{}'/>",
            desk.jid
        );
        let mut scene = Self {
            home,
            gateway,
            account,
            jid,
            web,
            desk,
            read: Vec::new(),
        };
        scene.web.exchange(&presence).await;
        scene.desk.expect_presence(&scene.jid.clone(), "").await;
        scene
    }

    /// The desk writes these messages at once.
    fn write(&self, numbers: RangeInclusive<u32>) {
        for number in numbers {
            self.desk.send_message(&self.jid, &number.to_string());
        }
    }

    /// The browser reads until it has had so many.
    async fn read_up_to(&mut self, last: u32) {
        while self.read.last().is_none_or(|read| read.1 < last) {
            let answer = self.web.exchange("").await;
            self.take(self.web.rid, &answer);
        }
    }

    fn take(&mut self, rid: u64, answer: &Element) {
        for number in numbers(answer) {
            let before = self.read.last().map_or(0, |read| read.1);
            assert_eq!(number, before + 1, "in order, none lost or doubled");
            self.read.push((rid, number));
        }
    }

    /// The last message whose answer the client has confirmed by making request `rid`.
    fn confirmed(&self, rid: u64) -> u32 {
        let confirmed = self.read.iter().rev().find(|read| read.0 <= rid - 2);
        confirmed.map_or(0, |read| read.1)
    }

    /// Whatever the desk has sent is with the server when it answers this.
    async fn sent(&mut self) {
        self.desk.iq("get", &self.account.domain, &ping()).await;
    }

    /// The end of the session shows at the desk.
    async fn gone(&mut self) {
        let gone = |stanza: &Element| stanza.is_presence(&self.jid, "unavailable");
        let patience = Duration::from_secs(60);
        self.desk.expect_within(patience, "the end", gone).await;
    }

    /// The next login brings all that had not been confirmed, in order.
    async fn assert_rest_comes(&mut self, confirmed: u32) {
        let gateway = gateway(&self.home, "");
        let mut next = gateway.login(&self.account, "next").await;
        next.send_presence("");
        let is_last = |stanza: &Element| stanza.is_message(&ALL.to_string());
        let mut found = next.until("the last message", is_last).await;
        found.retain(|stanza| stanza.name == "message");
        let found: Vec<u32> = found.iter().filter_map(number).collect();
        let expected: Vec<u32> = (confirmed + 1..ALL).collect();
        assert_eq!(found, expected, "before the last");
        next.expect_none("a second copy", |stanza| stanza.name == "message")
            .await;
    }
}

fn number(stanza: &Element) -> Option<u32> {
    stanza.child(CLIENT, "body")?.text().parse().ok()
}

fn numbers(answer: &Element) -> Vec<u32> {
    answer.children().filter_map(number).collect()
}

/// A browser that has got its last answer and never asks again.
async fn vanishes_between_requests(home: Home, first: u32) {
    let mut scene = Scene::new(home).await;
    scene.write(1..=first);
    scene.read_up_to(37).await;
    let confirmed = scene.confirmed(scene.web.rid);
    finish(scene, first, confirmed).await;
}

/// One whose connections are cut while the gateway holds a request.
async fn vanishes_while_a_request_is_held(home: Home, first: u32) {
    let mut scene = Scene::new(home).await;
    let hello = message(&scene.desk.jid, "hello");
    let held = scene.web.send("", &hello).await;
    scene.desk.expect_message("hello").await;
    held.abort();
    scene.write(1..=first);
    finish(scene, first, 0).await;
}

/// One that is cut off before it has read the answer.
async fn vanishes_before_it_reads_the_answer(home: Home, first: u32) {
    let mut scene = Scene::new(home).await;
    let hello = message(&scene.desk.jid, "hello");
    let held = scene.web.send("", &hello).await;
    scene.desk.expect_message("hello").await;
    scene.write(1..=first);
    held.answered().await;
    held.abort();
    finish(scene, first, 0).await;
}

/// One that acknowledges, and some of what it has got only.
async fn vanishes_after_a_partial_ack(home: Home, first: u32) {
    let mut scene = Scene::with(home, "", &[("ack", "1")]).await;
    scene.write(1..=10);
    scene.read_up_to(10).await;
    let (rid, last) = (scene.web.rid, 10);
    scene.write(11..=20);
    for _ in 0..3 {
        let ack = format!("ack='{rid}'");
        let hello = message(&scene.desk.jid, "hello");
        let pending = scene.web.send(&ack, &hello).await;
        // Answered by what comes, or by the next request.
        scene.desk.expect_message("hello").await;
        drop(pending);
    }
    scene.write(21..=first);
    finish(scene, first, last).await;
}

/// The rest is sent when the server can store it; all that was not confirmed reaches the next login.
async fn finish(mut scene: Scene, first: u32, confirmed: u32) {
    scene.gone().await;
    scene.write(first + 1..=ALL);
    scene.sent().await;
    if let Home::Ejabberd(ejabberd) = &scene.home {
        // It tells of the end before it has stored what the session left. Should it never have it all,
        // the next login shows what is missing.
        ejabberd.stores(&scene.account, ALL - confirmed).await;
    }
    scene.assert_rest_comes(confirmed).await;
}

fn ping() -> String {
    format!("<ping xmlns='{PING}'/>")
}

macro_rules! for_each_server {
    ($($case:ident)*) => { $(
        mod $case {
            use super::*;

            /// As installed, it keeps 500 stanzas; the gateway ends the session before that, if it gets
            /// the time.
            #[tokio::test]
            async fn prosody_as_installed() {
                super::$case(Home::prosody(500), 450).await;
            }

            #[tokio::test]
            async fn prosody_with_a_larger_queue() {
                super::$case(Home::prosody(5000), ALL).await;
            }

            #[tokio::test]
            async fn ejabberd() {
                super::$case(Home::Ejabberd(Ejabberd::shared()), ALL).await;
            }
        }
    )* };
}

for_each_server! {
    vanishes_between_requests
    vanishes_while_a_request_is_held
    vanishes_before_it_reads_the_answer
    vanishes_after_a_partial_ack
}

#[tokio::test]
async fn a_killed_gateway_takes_nothing_along() {
    for home in [Home::prosody(5000), Home::Ejabberd(Ejabberd::shared())] {
        let mut scene = Scene::new(home).await;
        scene.write(1..=ALL);
        scene.read_up_to(20).await;
        let confirmed = scene.confirmed(scene.web.rid);
        scene.sent().await;
        scene.gateway.signal("KILL");
        finish(scene, ALL, confirmed).await;
    }
}

#[tokio::test]
async fn few_messages_wait_for_the_end_of_the_session() {
    let mut scene = Scene::with(Home::prosody(500), "inactivity = \"5s\"", &[]).await;
    scene.write(1..=60);
    scene.read_up_to(20).await;
    let confirmed = scene.confirmed(scene.web.rid);
    finish(scene, 60, confirmed).await;
}

/// A client that is busy with what it has got is not gone, however much is waiting for it.
#[tokio::test]
async fn a_client_that_listens_gets_any_number() {
    let mut scene = Scene::new(Home::prosody(500)).await;
    scene.write(1..=3 * ALL);
    scene.read_up_to(3 * ALL).await;
}

/// Where no server keeps it, whoever sent it hears: at the latest when there is too much.
#[tokio::test]
async fn without_stream_management_senders_hear() {
    let ejabberd = Ejabberd::builder().without("mod_stream_mgmt").start();
    let gateway = Gateway::builder(&ejabberd).bosh("inactivity = \"1h\"");
    let gateway = gateway.start();
    let account = ejabberd.account("web").await;
    let mut web = Bosh::log_in(&gateway.bosh(), &account, "tab").await;
    let mut desk = ejabberd.contact("desk").await;
    let hello = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
    let held = web.send("", &hello).await;
    let jid = format!("{}/tab", account.jid());
    desk.expect_presence(&jid, "").await;
    let text = "x".repeat(16 << 10);
    for _ in 0..300 {
        desk.send_message(&jid, &text);
    }
    // Its last answer; it never asks again.
    held.body().await;
    let limit = Duration::from_secs(30);
    let is_error = |stanza: &Element| stanza.attr("type") == Some("error");
    let error = desk.expect_within(limit, "an error", is_error).await;
    assert_eq!(error.name, "message", "{error}");
    desk.expect_presence(&jid, "unavailable").await;
    let end = web.exchange("").await;
    assert_eq!(end.attr("condition"), Some("remote-stream-error"), "{end}");
}

#[tokio::test]
async fn what_the_server_has_not_taken_comes_back() {
    let mut prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let account = prosody.account("web");
    let mut web = Bosh::log_in(&gateway.bosh(), &account, "tab").await;
    let desk = prosody.contact("desk").await;
    let stanza = |name: &str, kind: &str, id: &str| {
        let to = &desk.jid;
        format!(
            "<{name} xmlns='{CLIENT}' type='{kind}' id='{id}' to='{to}'>{}</{name}>",
            ping()
        )
    };
    // The server acknowledges in order: with the reply to a ping, what came before is off the books.
    let ask = format!(
        "<iq xmlns='{CLIENT}' type='get' id='answered'>{}</iq>",
        ping()
    );
    let taken = stanza("message", "chat", "taken") + &ask;
    let is_reply = |child: &Element| child.is_reply_to("answered");
    web.exchange_until(&taken, is_reply).await;

    prosody.signal("STOP");
    let lost = stanza("message", "chat", "lost") + &stanza("message", "error", "an-error-itself");
    let first = web.send("", &lost).await;
    let held = web.send("", &stanza("iq", "get", "lost-too")).await;
    // Answered because the next one is there: it has been passed on.
    within("an answer", first.body()).await;
    prosody.kill();

    let end = held.body().await;
    assert_eq!(end.attr("condition"), Some("remote-stream-error"), "{end}");
    let told = |child: &Element| child.attr("id").map(|id| (id.to_owned(), child.clone()));
    let told: Vec<_> = end.children().filter_map(told).collect();
    let ids: Vec<_> = told.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["lost", "lost-too"]);
    for (_, error) in told {
        assert_eq!(error.attr("type"), Some("error"), "{error}");
        assert_eq!(error.attr("from"), Some(desk.jid.as_str()), "{error}");
    }
}
