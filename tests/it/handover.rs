//! Whoever vanishes and comes back before the server has noticed gets what was on its way: an ended session leaves
//! what its client had not confirmed to another one of the account.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::OnceLock, time::Duration};

use support::{
    bosh::Bosh,
    client::{Account, Client},
    ejabberd::Ejabberd,
    gateway::Gateway,
    prosody::Prosody,
    within_limit,
    xml::{CLIENT, Element, PING},
};

const CARBONS: &str = "urn:xmpp:carbons:2";
const DELAY: &str = "urn:xmpp:delay";
const RECEIPTS: &str = "urn:xmpp:receipts";
const FORWARD: &str = "urn:xmpp:forward:0";
/// How long a vanished client may be away, and what may take that long.
const INACTIVITY: &str = "inactivity = \"3s\"";
const AWAY: Duration = Duration::from_secs(30);

/// A server, shared by the tests of this file.
#[derive(Clone, Copy)]
enum Home {
    Prosody(&'static Prosody),
    Ejabberd(&'static Ejabberd),
}

/// How a session ends.
#[derive(Clone, Copy)]
enum End {
    Inactive,
    Terminated,
}

impl Home {
    fn prosody() -> Self {
        static PROSODY: OnceLock<Prosody> = OnceLock::new();
        Self::Prosody(PROSODY.get_or_init(|| Prosody::builder().start()))
    }

    fn ejabberd() -> Self {
        static EJABBERD: OnceLock<Ejabberd> = OnceLock::new();
        let builder = || Ejabberd::builder().module("mod_carboncopy: {}").start();
        Self::Ejabberd(EJABBERD.get_or_init(builder))
    }

    /// It drops what a session leaves.
    fn forgetful_ejabberd() -> Self {
        static EJABBERD: OnceLock<Ejabberd> = OnceLock::new();
        let builder = || {
            Ejabberd::builder()
                .without("mod_stream_mgmt")
                .module("mod_stream_mgmt: {}")
                .module("mod_carboncopy: {}")
                .start()
        };
        Self::Ejabberd(EJABBERD.get_or_init(builder))
    }

    async fn account(self, name: &str) -> Account {
        match self {
            Self::Prosody(prosody) => prosody.account(name),
            Self::Ejabberd(ejabberd) => ejabberd.account(name).await,
        }
    }

    async fn contact(self, name: &str) -> Client {
        match self {
            Self::Prosody(prosody) => prosody.contact(name).await,
            Self::Ejabberd(ejabberd) => ejabberd.contact(name).await,
        }
    }

    /// Logs in past the gateway.
    async fn login(self, account: &Account) -> Client {
        match self {
            Self::Prosody(prosody) => prosody.login(account, "direct").await,
            Self::Ejabberd(ejabberd) => ejabberd.login(account, "direct").await,
        }
    }

    fn gateway(self) -> Gateway {
        let builder = match self {
            Self::Prosody(prosody) => Gateway::builder(prosody),
            Self::Ejabberd(ejabberd) => Gateway::builder(ejabberd),
        };
        builder.bosh(INACTIVITY).start()
    }
}

/// Somebody whose browser is gone, and somebody at a desk, who goes on writing.
struct Scene {
    home: Home,
    gateway: Gateway,
    account: Account,
    web: Bosh,
    jid: String,
    desk: Client,
}

impl Scene {
    async fn new(home: Home) -> Self {
        let gateway = home.gateway();
        let account = home.account("web").await;
        let mut desk = home.contact("desk").await;
        let (web, jid) = appear(&gateway, &account, "old", &mut desk).await;
        Self {
            home,
            gateway,
            account,
            web,
            jid,
            desk,
        }
    }

    /// The desk writes these messages: the odd ones to the session that is gone, the even ones to the account.
    async fn write(&mut self, numbers: RangeInclusive<u32>) {
        let account = self.account.jid();
        for number in numbers {
            let to = if number % 2 == 1 { &self.jid } else { &account };
            self.send(number, to);
        }
        self.sent().await;
    }

    async fn write_to_session(&mut self, numbers: RangeInclusive<u32>) {
        for number in numbers {
            self.send(number, &self.jid);
        }
        self.sent().await;
    }

    async fn write_to_account(&mut self, numbers: RangeInclusive<u32>) {
        for number in numbers {
            self.send(number, &self.account.jid());
        }
        self.sent().await;
    }

    fn send(&self, number: u32, to: &str) {
        self.desk.send(&format!(
            "<message xmlns='{CLIENT}' to='{to}' type='chat' id='n{number}'><body>{number}</body></message>"
        ));
    }

    /// Whatever the desk has sent is with the server when it answers this.
    async fn sent(&mut self) {
        let ping = format!("<ping xmlns='{PING}'/>");
        self.desk.iq("get", &self.account.domain, &ping).await;
    }

    /// The end of a session shows at the desk.
    async fn gone(&mut self, jid: &str) {
        let gone = |stanza: &Element| stanza.is_presence(jid, "unavailable");
        self.desk.expect_within(AWAY, "the end", gone).await;
    }

    /// All streams of ended sessions have been closed, so often.
    async fn handed_over(&self, times: usize) {
        let said = async {
            while self.gateway.log().matches("messages handed over").count() < times {
                self.gateway.bosh().request("GET", &[], "").await;
            }
        };
        within_limit(AWAY, "the end of the handover", said).await;
    }

    async fn assert_no_errors(&mut self) {
        let is_error = |stanza: &Element| stanza.attr("type") == Some("error");
        self.desk.expect_none("error", is_error).await;
    }

    /// Nothing is left with the server for the next login.
    async fn assert_nothing_stored(&self, client: Client) {
        client.logout().await;
        let mut next = self.home.login(&self.account).await;
        next.send_presence("");
        next.expect_none("message", |stanza| stanza.name == "message")
            .await;
    }
}

/// Logs in by hand and becomes available, which the desk sees; no request is open then.
async fn appear(
    gateway: &Gateway,
    account: &Account,
    resource: &str,
    desk: &mut Client,
) -> (Bosh, String) {
    let mut web = Bosh::open(&gateway.bosh(), &account.domain).await;
    web.authenticate(account).await;
    let jid = web.bind(resource).await;
    let presence = format!(
        "<presence xmlns='{CLIENT}'/><presence xmlns='{CLIENT}' to='{}'/>",
        desk.jid
    );
    web.exchange(&presence).await;
    desk.expect_presence(&jid, "").await;
    (web, jid)
}

/// The number in a message, or in the copy of one.
fn number(stanza: &Element) -> Option<u32> {
    if let Some(text) = stanza.body() {
        return text.parse().ok();
    }
    let copy = stanza.child(CARBONS, "received")?;
    number(copy.child(FORWARD, "forwarded")?.child(CLIENT, "message")?)
}

fn is_late(stanza: &Element, domain: &str) -> bool {
    let mut delays = stanza.children().filter(|child| child.is(DELAY, "delay"));
    let delay = delays.find(|delay| delay.attr("from") == Some(domain));
    delay.is_some_and(|delay| {
        let stamp = delay.attr("stamp").expect("a delay has a stamp");
        humantime::parse_rfc3339(stamp).expect("a stamp is a time");
        true
    })
}

/// Takes the messages of these numbers from a client, and asserts that each comes once.
async fn take(client: &mut Client, numbers: RangeInclusive<u32>) -> Vec<Element> {
    let mut found = BTreeMap::new();
    let mut in_order = Vec::new();
    for _ in numbers.clone() {
        let next = client
            .expect_within(AWAY, "a message", |stanza| number(stanza).is_some())
            .await;
        let number = number(&next).expect("looked for");
        assert!(numbers.contains(&number), "{next}");
        let twice = found.insert(number, next.clone());
        assert_eq!(twice, None, "twice: {next}");
        in_order.push(next);
    }
    in_order
}

async fn assert_no_more(client: &mut Client) {
    client
        .expect_none("a second copy", |stanza| number(stanza).is_some())
        .await;
}

/// Thirty messages, before another session is there, while both are, and when the first is gone.
async fn goes_to_another_session(home: Home, end: End, has_carbons: bool) {
    let mut scene = Scene::new(home).await;
    scene.write(1..=10).await;
    let mut new = scene.gateway.login(&scene.account, "new").await;
    if has_carbons {
        let enable = format!("<enable xmlns='{CARBONS}'/>");
        let reply = new.iq("set", "", &enable).await;
        assert_eq!(reply.attr("type"), Some("result"), "{reply}");
    }
    new.send_presence("");
    new.expect_presence(&new.jid.clone(), "").await;
    scene.write(11..=20).await;
    if matches!(end, End::Terminated) {
        let bye = format!("<presence xmlns='{CLIENT}' type='unavailable'/>");
        let last = scene.web.send("type='terminate'", &bye).await;
        last.body().await;
    }
    scene.gone(&scene.jid.clone()).await;
    scene.write(21..=30).await;

    let all = take(&mut new, 1..=30).await;
    scene.handed_over(1).await;
    assert_no_more(&mut new).await;
    let domain = &scene.account.domain;
    let (late, in_time): (Vec<_>, Vec<_>) = all.iter().partition(|stanza| is_late(stanza, domain));
    // What one server sends in two ways may overtake each other.
    let is_copy = |stanza: &&&Element| stanza.child(CARBONS, "received").is_some();
    let (copies, originals): (Vec<_>, Vec<_>) = in_time.iter().partition(is_copy);
    for stanzas in [&late, &copies, &originals] {
        let numbers: Vec<_> = stanzas.iter().filter_map(|stanza| number(stanza)).collect();
        assert!(numbers.is_sorted(), "in order: {numbers:?}");
    }
    let late: Vec<_> = late.into_iter().filter_map(number).collect();
    assert!(late.starts_with(&(1..=10).collect::<Vec<_>>()), "{late:?}");
    let is_own = |number: &&u32| {
        **number > 10 && (number.is_multiple_of(2) || has_carbons && **number <= 20)
    };
    let twins: Vec<_> = late.iter().filter(is_own).collect();
    assert!(twins.is_empty(), "its own came in time: {twins:?}");
    scene.assert_no_errors().await;
    scene.assert_nothing_stored(new).await;
}

/// The second has been given it all and vanishes, too; a third is there.
async fn goes_on_to_a_third(home: Home) {
    let mut scene = Scene::new(home).await;
    scene.write_to_session(1..=10).await;
    let (mut second, jid) = appear(&scene.gateway, &scene.account, "second", &mut scene.desk).await;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        // Its last answer; it never asks again.
        let answer = second.exchange("").await;
        seen.extend(answer.children().filter_map(number));
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    let mut third = scene.gateway.login(&scene.account, "third").await;
    third.send_presence("");
    scene.gone(&jid).await;
    let all = take(&mut third, 1..=10).await;
    assert!(all.iter().filter_map(number).eq(1..=10), "in order");
    scene.handed_over(1).await;
    assert_no_more(&mut third).await;
    scene.assert_no_errors().await;
    scene.assert_nothing_stored(third).await;
}

/// The second has been given it all and vanishes, too; nobody else is there.
async fn goes_back_to_the_server(home: Home) {
    let mut scene = Scene::new(home).await;
    scene.write_to_session(1..=10).await;
    let (mut second, jid) = appear(&scene.gateway, &scene.account, "second", &mut scene.desk).await;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let answer = second.exchange("").await;
        seen.extend(answer.children().filter_map(number));
    }
    scene.gone(&jid).await;
    scene.handed_over(1).await;
    assert_stored(&mut scene, 1..=10).await;
}

/// Both have the same and vanish.
async fn is_stored_once_when_two_vanish(home: Home) {
    let mut scene = Scene::new(home).await;
    let (second, jid) = appear(&scene.gateway, &scene.account, "second", &mut scene.desk).await;
    scene.write_to_account(1..=10).await;
    scene.gone(&jid).await;
    drop(second);
    scene.handed_over(1).await;
    assert_stored(&mut scene, 1..=10).await;
}

/// A browser with two tabs crashes; its owner comes back, and has both tabs' messages, what both had once.
async fn two_vanish_and_one_comes_back(home: Home) {
    let mut scene = Scene::new(home).await;
    scene.write(1..=10).await;
    let (_second, jid) = appear(&scene.gateway, &scene.account, "second", &mut scene.desk).await;
    scene.write_to_account(11..=20).await;
    let mut third = scene.gateway.login(&scene.account, "third").await;
    third.send_presence("");
    scene.gone(&scene.jid.clone()).await;
    scene.gone(&jid).await;
    take(&mut third, 1..=20).await;
    scene.handed_over(2).await;
    assert_no_more(&mut third).await;
    scene.assert_no_errors().await;
    scene.assert_nothing_stored(third).await;
}

/// A client that is still logging in is not given messages; they wait for it.
async fn waits_for_a_client_that_is_logging_in(home: Home) {
    let mut scene = Scene::new(home).await;
    scene.write_to_session(1..=10).await;
    let mut new = scene.gateway.login(&scene.account, "new").await;
    scene.gone(&scene.jid.clone()).await;
    scene.write_to_session(11..=20).await;
    assert_no_more(&mut new).await;
    new.send_presence("");
    let all = take(&mut new, 1..=20).await;
    assert!(all.iter().filter_map(number).eq(1..=20), "in order");
    scene.assert_no_errors().await;
}

/// What the sender gives no ids, and what has no body, is told apart all the same.
async fn what_only_looks_the_same_is_no_copy(home: Home) {
    let mut scene = Scene::new(home).await;
    let mut new = scene.gateway.login(&scene.account, "new").await;
    new.send_presence("");
    new.expect_presence(&new.jid.clone(), "").await;
    for (to, id) in [(&scene.jid, "old"), (&new.jid, "new")] {
        scene.desk.send(&format!(
            "<message xmlns='{CLIENT}' to='{to}' type='chat'><received xmlns='{RECEIPTS}' id='{id}'/></message>\
             <message xmlns='{CLIENT}' to='{to}' type='chat'><body>alert</body></message>"
        ));
    }
    for id in ["new", "old"] {
        let is_receipt = |stanza: &Element| {
            let receipt = stanza.child(RECEIPTS, "received");
            receipt.is_some_and(|receipt| receipt.attr("id") == Some(id))
        };
        new.expect_within(AWAY, id, is_receipt).await;
        let is_alert = |stanza: &Element| stanza.is_message("alert");
        new.expect_within(AWAY, "an alert", is_alert).await;
    }
    new.expect_none("more", |stanza| stanza.name == "message")
        .await;
    scene.assert_no_errors().await;
}

/// Its own messages do not come back to a client, as copies for the session that is gone.
async fn what_the_other_sent_itself_is_left_out(home: Home) {
    let mut scene = Scene::new(home).await;
    let enable =
        format!("<iq xmlns='{CLIENT}' type='set' id='copies'><enable xmlns='{CARBONS}'/></iq>");
    let is_reply = |stanza: &Element| stanza.is_reply_to("copies");
    scene.web.exchange_until(&enable, is_reply).await;
    let mut new = scene.gateway.login(&scene.account, "new").await;
    new.send_presence("");
    new.expect_presence(&new.jid.clone(), "").await;
    for number in 1..=5 {
        new.send_message(&scene.desk.jid, &format!("mine {number}"));
        scene.desk.expect_message(&format!("mine {number}")).await;
    }
    scene.write_to_session(1..=1).await;
    take(&mut new, 1..=1).await;
    scene.handed_over(1).await;
    new.expect_none("its own", |stanza| stanza.child(CARBONS, "sent").is_some())
        .await;
}

/// One that asks not to be given messages (RFC 6121 §8.5.2) is not; one that is there is.
async fn goes_to_nobody_with_a_negative_priority(home: Home) {
    let mut scene = Scene::new(home).await;
    scene.write_to_session(1..=10).await;
    let mut aside = scene.gateway.login(&scene.account, "aside").await;
    let roster = "<query xmlns='jabber:iq:roster'/>";
    aside.iq("get", "", roster).await;
    aside.send_presence("<priority>-1</priority>");
    aside.expect_presence(&aside.jid.clone(), "").await;
    scene.gone(&scene.jid.clone()).await;
    assert_no_more(&mut aside).await;
    let mut new = scene.gateway.login(&scene.account, "new").await;
    new.send_presence("");
    take(&mut new, 1..=10).await;
    scene.handed_over(1).await;
    assert_no_more(&mut aside).await;
    scene.assert_no_errors().await;
}

/// More than the server keeps, and than a client may leave unconfirmed.
async fn any_number_is_handed_over(home: Home) {
    let mut scene = Scene::new(home).await;
    let mut new = scene.gateway.login(&scene.account, "new").await;
    new.send_presence("");
    new.expect_presence(&new.jid.clone(), "").await;
    scene.write_to_session(1..=1500).await;
    let all = take(&mut new, 1..=1500).await;
    assert!(all.iter().filter_map(number).eq(1..=1500), "in order");
    scene.handed_over(1).await;
    assert_no_more(&mut new).await;
    scene.assert_no_errors().await;
}

/// The gateway stops before anybody has taken what was left.
async fn goes_back_to_the_server_when_the_gateway_stops(home: Home) {
    let mut scene = Scene::new(home).await;
    scene.write_to_session(1..=10).await;
    let mut new = scene.gateway.login(&scene.account, "new").await;
    scene.gone(&scene.jid.clone()).await;
    scene.gateway.signal("TERM");
    new.expect_end().await;
    assert!(scene.gateway.wait().success());
    assert_stored(&mut scene, 1..=10).await;
}

/// The next login finds these messages, each once.
async fn assert_stored(scene: &mut Scene, numbers: RangeInclusive<u32>) {
    // Not all that ends a session has stored by then what it left.
    let count = numbers.clone().count();
    match scene.home {
        Home::Prosody(prosody) => prosody.stores(&scene.account, count).await,
        Home::Ejabberd(ejabberd) => {
            let count = u32::try_from(count).expect("few");
            assert!(ejabberd.stores(&scene.account, count).await, "it is stored");
        }
    }
    let mut next = scene.home.login(&scene.account).await;
    next.send_presence("");
    let all = take(&mut next, numbers.clone()).await;
    assert!(all.iter().filter_map(number).eq(numbers), "in order");
    assert_no_more(&mut next).await;
    scene.assert_no_errors().await;
}

macro_rules! for_each_server {
    ($($server:ident: $home:ident)*) => { $(
        mod $server {
            use super::*;

            #[tokio::test]
            async fn what_a_vanished_client_had_not_confirmed_goes_to_another() {
                goes_to_another_session(Home::$home(), End::Inactive, false).await;
            }

            #[tokio::test]
            async fn so_it_does_with_carbons() {
                goes_to_another_session(Home::$home(), End::Inactive, true).await;
            }

            #[tokio::test]
            async fn so_it_does_when_the_session_is_terminated() {
                goes_to_another_session(Home::$home(), End::Terminated, false).await;
            }

            #[tokio::test]
            async fn so_it_does_when_the_session_is_terminated_with_carbons() {
                goes_to_another_session(Home::$home(), End::Terminated, true).await;
            }

            #[tokio::test]
            async fn it_goes_on_to_a_third_when_the_second_vanishes_too() {
                goes_on_to_a_third(Home::$home()).await;
            }

            #[tokio::test]
            async fn two_tabs_that_vanish_leave_what_both_had_once() {
                two_vanish_and_one_comes_back(Home::$home()).await;
            }

            #[tokio::test]
            async fn it_waits_for_a_client_that_is_logging_in() {
                waits_for_a_client_that_is_logging_in(Home::$home()).await;
            }

            #[tokio::test]
            async fn what_only_looks_the_same_is_no_copy() {
                super::what_only_looks_the_same_is_no_copy(Home::$home()).await;
            }

            #[tokio::test]
            async fn what_the_other_sent_itself_is_left_out() {
                super::what_the_other_sent_itself_is_left_out(Home::$home()).await;
            }

            #[tokio::test]
            async fn it_goes_to_nobody_with_a_negative_priority() {
                goes_to_nobody_with_a_negative_priority(Home::$home()).await;
            }

            #[tokio::test]
            async fn there_may_be_any_number_of_messages() {
                any_number_is_handed_over(Home::$home()).await;
            }
        }
    )* };
}

for_each_server! {
    on_prosody: prosody
    on_ejabberd_that_resends: ejabberd
    on_ejabberd_as_it_comes: forgetful_ejabberd
}

#[tokio::test]
async fn prosody_stores_what_no_session_could_be_given() {
    goes_back_to_the_server(Home::prosody()).await;
}

#[tokio::test]
async fn ejabberd_stores_what_no_session_could_be_given() {
    goes_back_to_the_server(Home::ejabberd()).await;
}

#[tokio::test]
async fn prosody_stores_what_two_sessions_left_once() {
    is_stored_once_when_two_vanish(Home::prosody()).await;
}

#[tokio::test]
async fn prosody_stores_what_a_gateway_that_stops_has_left() {
    goes_back_to_the_server_when_the_gateway_stops(Home::prosody()).await;
}

#[tokio::test]
async fn ejabberd_stores_what_a_gateway_that_stops_has_left() {
    goes_back_to_the_server_when_the_gateway_stops(Home::ejabberd()).await;
}
