//! A client of a WebSocket that wants to go on with its session at another gateway: it cannot, and the server gives what
//! it had not got to its new session.

use support::{
    client::{Account, Client},
    gateway::Builder,
    home::Home,
    nats::Nats,
    several::Gateways,
    webstream::{Management, WebStream, h},
    xml::{CLIENT, Element, SM},
};

const ALL: usize = 20;

/// A session of the gateway `a` whose client has vanished, and messages that came meanwhile.
struct Scene {
    gateways: Gateways,
    home: Home,
    account: Account,
    asleep: Management,
    desk: Client,
}

impl Scene {
    async fn new(home: Home, change: impl Fn(Builder) -> Builder) -> Self {
        Self::by(Nats::shared(), home, change).await
    }

    async fn by(nats: &Nats, home: Home, change: impl Fn(Builder) -> Builder) -> Self {
        let gateways = Gateways::three(nats, &change(home.gateway()));
        let account = home.account("john").await;
        let mut desk = home.contact("marie").await;
        let endpoint = gateways.all[0].websocket();
        let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
        assert!(web.managed().id.starts_with("a-"), "a's session");
        web.send_presence().await;
        let hello = format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid);
        web.send_stanza(&hello).await;
        desk.expect_presence(&web.jid, "").await;
        for number in 0..ALL / 2 {
            desk.send_message(&web.jid, &number.to_string());
        }
        let last = (ALL / 2 - 1).to_string();
        // It has got ten and confirmed none.
        while !web.receive().await.is_some_and(|it| it.is_message(&last)) {}
        let jid = web.jid.clone();
        let asleep = web.vanish();
        for number in ALL / 2..ALL {
            desk.send_message(&jid, &number.to_string());
        }
        desk.fence().await;
        Self {
            gateways,
            home,
            account,
            asleep,
            desk,
        }
    }

    async fn at(&self, gateway: usize, account: &Account) -> WebStream {
        let endpoint = self.gateways.all[gateway].websocket();
        WebStream::authenticated(&endpoint, account).await
    }

    /// The old session is gone, and the new one gets all that was sent to it.
    async fn all_comes(mut self, mut next: WebStream) {
        // Nobody can see the old session any longer.
        let jid = self.asleep.jid.clone();
        self.desk.expect_presence(&jid, "unavailable").await;
        next.bind("new").await;
        next.send_presence().await;
        for number in 0..ALL {
            next.expect_message(&number.to_string()).await;
        }
        let more = next.fence().await;
        let more = more.iter().filter(|it| it.name == "message");
        assert_eq!(more.count(), 0, "once");
        // Nobody had to be told that a message has not arrived.
        let bounced = |it: &Element| it.attr("type") == Some("error");
        self.desk.expect_none("error", bounced).await;
    }
}

#[track_caller]
fn assert_unknown(answer: &Element) {
    assert!(answer.is(SM, "failed"), "{answer}");
    let condition = answer.children().next().map(|it| it.name.as_str());
    assert_eq!(condition, Some("item-not-found"), "{answer}");
}

async fn nothing_is_lost(home: Home) {
    let scene = Scene::new(home, |it| it).await;
    let mut next = scene.at(1, &scene.account).await;
    let failed = next.try_resume(&scene.asleep).await;
    assert!(failed.is(SM, "failed"), "{failed}");
    // What it need not send again: both presences.
    assert_eq!(h(&failed), scene.asleep.sent, "{failed}");
    scene.all_comes(next).await;
}

/// The gateway dies as its client comes to another one.
async fn nothing_is_lost_with_the_gateway(home: Home) {
    let scene = Scene::new(home, |it| it).await;
    let mut next = scene.at(1, &scene.account).await;
    scene.gateways.all[0].signal("KILL");
    assert_unknown(&next.try_resume(&scene.asleep).await);
    scene.all_comes(next).await;
}

#[tokio::test]
async fn prosody_gives_the_new_session_all_that_was_not_confirmed() {
    nothing_is_lost(Home::prosody(5000)).await;
}

#[tokio::test]
async fn ejabberd_gives_the_new_session_all_that_was_not_confirmed() {
    nothing_is_lost(Home::ejabberd()).await;
}

#[tokio::test]
async fn prosody_gives_it_all_if_the_gateway_has_died() {
    nothing_is_lost_with_the_gateway(Home::prosody(5000)).await;
}

#[tokio::test]
async fn ejabberd_gives_it_all_if_the_gateway_has_died() {
    nothing_is_lost_with_the_gateway(Home::ejabberd()).await;
}

/// The old session cannot be told, and sleeps as long as it may.
#[tokio::test]
async fn without_nats_all_comes_when_the_old_session_has_slept() {
    let mut nats = Nats::start();
    let brief = |it: Builder| it.websocket("resume = \"5s\"");
    let scene = Scene::by(&nats, Home::prosody(5000), brief).await;
    let mut next = scene.at(1, &scene.account).await;
    nats.kill();
    assert_unknown(&next.try_resume(&scene.asleep).await);
    scene.all_comes(next).await;
}

#[tokio::test]
async fn a_stranger_who_has_the_sm_id_does_no_harm() {
    let scene = Scene::new(Home::prosody(5000), |it| it).await;
    let stranger = scene.home.account("mallory").await;
    let mut other = scene.at(1, &stranger).await;
    assert_unknown(&other.try_resume(&scene.asleep).await);
    let mut web = scene.at(0, &scene.account).await;
    let resumed = web.resume(scene.asleep.clone()).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    for number in ALL / 2..ALL {
        web.expect_message(&number.to_string()).await;
    }
}

#[tokio::test]
async fn an_sm_id_of_no_session_and_of_no_gateway_is_unknown() {
    let scene = Scene::new(Home::prosody(5000), |it| it).await;
    for id in [
        "b-0123456789012345678901",
        "c-0123456789012345678901",
        "z-0123456789012345678901",
        "0123456789012345678901",
    ] {
        let mut asleep = scene.asleep.clone();
        id.clone_into(&mut asleep.id);
        let mut web = scene.at(1, &scene.account).await;
        assert_unknown(&web.try_resume(&asleep).await);
        web.bind("free").await;
        assert!(web.jid.ends_with("/free"), "{}", web.jid);
    }
}
