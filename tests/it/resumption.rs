//! Sessions over WebSocket go on when their connection breaks (XEP-0198 §5), and nothing is lost or comes twice.

use std::time::Duration;

use support::{
    client::{Account, Client},
    gateway::Gateway,
    home::Home,
    http::Endpoint,
    prosody::Prosody,
    stall::Stall,
    webstream::{Management, WebStream},
    within, within_limit,
    xml::{CLIENT, Element, SM},
};

/// Somebody in a browser, and somebody at a desk.
struct Scene {
    home: Home,
    gateway: Gateway,
    account: Account,
    /// `None` while the browser is not connected.
    web: Option<WebStream>,
    desk: Client,
    /// Messages that the browser, and the desk, have got so far, by number.
    got: (u32, u32),
}

impl Scene {
    async fn new(home: Home) -> Self {
        Self::with(home, &[]).await
    }

    /// With these lines in `[websocket]`.
    async fn with(home: Home, lines: &[&str]) -> Self {
        let mut builder = home.gateway();
        for line in lines {
            builder = builder.websocket(line);
        }
        let gateway = builder.start();
        let account = home.account("web").await;
        let mut web = WebStream::log_in_managed(&gateway.websocket(), &account, "tab").await;
        let mut desk = home.contact("desk").await;
        web.send_presence().await;
        web.send_stanza(&format!("<presence xmlns='{CLIENT}' to='{}'/>", desk.jid))
            .await;
        desk.expect_presence(&web.jid, "").await;
        Self {
            home,
            gateway,
            account,
            web: Some(web),
            desk,
            got: (0, 0),
        }
    }

    fn endpoint(&self) -> Endpoint {
        self.gateway.websocket()
    }

    fn web(&mut self) -> &mut WebStream {
        self.web.as_mut().expect("the browser is connected")
    }

    fn jid(&mut self) -> String {
        self.web().jid.clone()
    }

    /// Breaks the connection; what can be resumed is left.
    fn vanish(&mut self) -> Management {
        self.leave().vanish()
    }

    /// The browser knows nothing of its connection any more.
    fn leave(&mut self) -> WebStream {
        self.web.take().expect("the browser is connected")
    }

    async fn come_back(&mut self, session: Management) {
        self.web = Some(WebStream::resumed(&self.endpoint(), &self.account, session).await);
    }

    /// The desk writes the messages of these numbers.
    fn write(&mut self, numbers: std::ops::RangeInclusive<u32>) {
        let jid = self.jid();
        for number in numbers {
            self.desk.send_message(&jid, &number.to_string());
        }
    }

    /// Whatever the desk has sent is with the server when it answers this.
    async fn sent(&mut self) {
        let ping = "<ping xmlns='urn:xmpp:ping'/>";
        self.desk.iq("get", &self.account.domain, ping).await;
    }

    /// The browser gets everything up to this number, in order, and nothing else.
    async fn read_up_to(&mut self, last: u32) {
        while self.got.0 < last {
            let stanza = self.web().expect("a message", is_numbered).await;
            self.got.0 += 1;
            assert_eq!(number(&stanza), Some(self.got.0), "{stanza}");
        }
    }

    /// The same of the desk.
    async fn desk_reads_up_to(&mut self, last: u32) {
        while self.got.1 < last {
            let stanza = self.desk.expect("a message", is_numbered).await;
            self.got.1 += 1;
            assert_eq!(number(&stanza), Some(self.got.1), "{stanza}");
        }
    }

    /// Nothing more comes to either.
    async fn expect_nothing_more(&mut self) {
        let left = self.web().fence().await;
        assert!(!left.iter().any(is_numbered), "twice: {left:?}");
        self.desk.expect_none("a second copy", is_numbered).await;
    }
}

fn number(stanza: &Element) -> Option<u32> {
    stanza.child(CLIENT, "body")?.text().parse().ok()
}

fn is_numbered(stanza: &Element) -> bool {
    stanza.name == "message" && stanza.attr("type") != Some("error") && number(stanza).is_some()
}

/// The log says this so many times.
async fn logs(gateway: &Gateway, phrase: &str, times: usize) {
    within(phrase, async {
        while gateway.log().matches(phrase).count() < times {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn homes() -> [Home; 2] {
    [Home::prosody(5000), Home::ejabberd()]
}

#[tokio::test]
async fn what_came_meanwhile_arrives_once_and_in_order() {
    for home in homes() {
        let mut scene = Scene::new(home).await;
        scene.write(1..=3);
        scene.read_up_to(3).await;
        let session = scene.vanish();
        let jid = session.jid.clone();
        for number in 4..=40 {
            scene.desk.send_message(&jid, &number.to_string());
        }
        scene.sent().await;
        scene.come_back(session).await;
        scene.read_up_to(40).await;
        // The id stays good, as often as needed.
        for round in 0..3 {
            let session = scene.vanish();
            scene.desk.send_message(&jid, &(41 + round).to_string());
            scene.sent().await;
            scene.come_back(session).await;
            scene.read_up_to(41 + round).await;
        }
        scene.expect_nothing_more().await;
        scene
            .desk
            .expect_none("a sign of it", |it| it.name == "presence")
            .await;
    }
}

#[tokio::test]
async fn messages_that_waited_say_since_when() {
    let mut scene = Scene::new(Home::prosody(5000)).await;
    let session = scene.vanish();
    let jid = session.jid.clone();
    scene.desk.send_message(&jid, "1");
    scene.sent().await;
    scene.come_back(session).await;
    let late = scene.web().expect("a message", is_numbered).await;
    let delay = late.child("urn:xmpp:delay", "delay");
    let delay = delay.unwrap_or_else(|| panic!("no delay: {late}"));
    assert_eq!(delay.attr("from"), Some(&*scene.account.domain), "{late}");
    scene.desk.send_message(&jid, "2");
    let live = scene.web().expect("a message", is_numbered).await;
    assert!(live.child("urn:xmpp:delay", "delay").is_none(), "{live}");
}

/// The client cannot know whether what it sent last has arrived.
#[tokio::test]
async fn what_the_client_had_sent_arrives_once_and_in_order() {
    for home in homes() {
        let mut scene = Scene::new(home).await;
        let desk = scene.desk.jid.clone();
        let mut sent = 0;
        for round in 1..=20 {
            for _ in 0..round % 5 {
                sent += 1;
                scene.web().send_message(&desk, &sent.to_string()).await;
            }
            let session = scene.vanish();
            scene.come_back(session).await;
        }
        scene.desk_reads_up_to(sent).await;
        scene.expect_nothing_more().await;
        scene.web().expect_acknowledged().await;
    }
}

#[tokio::test]
async fn a_new_connection_wins_while_the_old_one_is_open() {
    let mut scene = Scene::new(Home::prosody(5000)).await;
    let old = scene.web().managed().clone();
    let first = scene.leave();
    scene.come_back(old).await;
    let end = first.end().await;
    assert_eq!(end.steps, ["conflict", "<close/>", "1000"]);
    scene.write(1..=5);
    scene.read_up_to(5).await;
    scene.expect_nothing_more().await;
}

#[tokio::test]
async fn a_stranger_cannot_resume_and_does_no_harm() {
    for home in homes() {
        let mut scene = Scene::new(home).await;
        let session = scene.web().managed().clone();
        let stranger = scene.home.account("stranger").await;
        let mut other = WebStream::authenticated(&scene.endpoint(), &stranger).await;
        let answer = other.try_resume(&session).await;
        assert!(answer.is(SM, "failed"), "{answer}");
        assert_eq!(answer.attr("h"), None, "{answer}");
        // The stranger may go on with a session of its own.
        other.bind("own").await;
        assert!(other.jid.starts_with(&stranger.jid()), "{}", other.jid);
        assert!(other.enable().await.is(SM, "enabled"));
        other.send_presence().await;
        scene.desk.send_message(&other.jid, "for the stranger");
        other.expect_message("for the stranger").await;
        scene.write(1..=3);
        scene.read_up_to(3).await;
        // Asleep, too.
        let session = scene.vanish();
        let mut other = WebStream::authenticated(&scene.endpoint(), &stranger).await;
        assert!(other.try_resume(&session).await.is(SM, "failed"));
        scene.come_back(session).await;
        scene.write(4..=6);
        scene.read_up_to(6).await;
        scene.expect_nothing_more().await;
    }
}

/// Somebody who has not authenticated is told nothing.
#[tokio::test]
async fn nobody_resumes_before_authentication_or_after_binding() {
    let mut scene = Scene::new(Home::prosody(5000)).await;
    let session = scene.web().managed().clone();
    let mut early = WebStream::open(&scene.endpoint(), &scene.account.domain).await;
    let answer = early.try_resume(&session).await;
    assert!(answer.is(SM, "failed"), "{answer}");
    early.authenticate(&scene.account).await;
    early.bind("other").await;
    let answer = early.try_resume(&session).await;
    assert!(answer.is(SM, "failed"), "{answer}");
    let unexpected = answer.child("urn:ietf:params:xml:ns:xmpp-stanzas", "unexpected-request");
    assert!(unexpected.is_some(), "{answer}");
    scene.write(1..=2);
    scene.read_up_to(2).await;
}

#[tokio::test]
async fn when_the_time_is_over_the_server_has_it_all() {
    for home in homes() {
        let mut scene = Scene::with(home, &["resume = \"3s\""]).await;
        assert_eq!(scene.web().managed().max, Some(3));
        let desk = scene.desk.jid.clone();
        scene.web().send_message(&desk, "1").await;
        scene.web().expect_acknowledged().await;
        let sent = scene.web().managed().sent;
        scene.desk_reads_up_to(1).await;
        let session = scene.vanish();
        let jid = session.jid.clone();
        for number in 1..=60 {
            scene.desk.send_message(&jid, &number.to_string());
        }
        scene.desk.expect_presence(&jid, "unavailable").await;
        let mut late = WebStream::authenticated(&scene.endpoint(), &scene.account).await;
        let answer = late.try_resume(&session).await;
        assert!(answer.is(SM, "failed"), "{answer}");
        assert_eq!(answer.attr("h"), Some(&*sent.to_string()), "{answer}");
        if let Home::Ejabberd(ejabberd) = &scene.home {
            ejabberd.stores(&scene.account, 60).await;
        }
        late.bind("tab").await;
        late.enable().await;
        late.send_presence().await;
        scene.web = Some(late);
        scene.read_up_to(60).await;
        scene.expect_nothing_more().await;
    }
}

#[tokio::test]
async fn without_resumption_a_lost_connection_is_the_end() {
    let mut scene = Scene::with(Home::prosody(5000), &["resume = \"0s\""]).await;
    assert_eq!(scene.web().managed().id, "");
    let session = scene.vanish();
    scene
        .desk
        .expect_presence(&session.jid, "unavailable")
        .await;
}

#[tokio::test]
async fn a_stream_that_is_closed_cannot_be_resumed() {
    let mut scene = Scene::new(Home::prosody(5000)).await;
    let session = scene.web().managed().clone();
    scene.leave().log_out().await;
    scene
        .desk
        .expect_presence(&session.jid, "unavailable")
        .await;
    let mut late = WebStream::authenticated(&scene.endpoint(), &scene.account).await;
    let answer = late.try_resume(&session).await;
    assert!(answer.is(SM, "failed"), "{answer}");
}

#[tokio::test]
async fn an_h_that_is_too_high_ends_the_new_stream_and_not_the_session() {
    let mut scene = Scene::new(Home::prosody(5000)).await;
    let session = scene.vanish();
    let mut wrong = session.clone();
    wrong.received += 1;
    let mut buggy = WebStream::authenticated(&scene.endpoint(), &scene.account).await;
    buggy
        .send(&format!(
            "<resume xmlns='{SM}' previd='{}' h='{}'/>",
            wrong.id, wrong.received
        ))
        .await;
    let end = buggy.end().await;
    assert_eq!(end.steps, ["undefined-condition", "<close/>", "1000"]);
    let error = end.error.expect("a stream error");
    let too_high = error
        .child(SM, "handled-count-too-high")
        .expect("its cause");
    assert_eq!(too_high.attr("h"), Some(&*wrong.received.to_string()));
    assert_eq!(
        too_high.attr("send-count"),
        Some(&*session.received.to_string())
    );
    scene.come_back(session).await;
    scene.write(1..=2);
    scene.read_up_to(2).await;
}

/// With more than the gateway keeps, the session ends while the server can still keep it all.
#[tokio::test]
async fn a_session_that_sleeps_through_too_much_leaves_it_to_the_server() {
    let mut scene = Scene::new(Home::prosody(500)).await;
    let session = scene.vanish();
    let jid = session.jid.clone();
    // Prosody as installed keeps 500.
    for number in 1..=450 {
        scene.desk.send_message(&jid, &number.to_string());
    }
    scene.desk.expect_presence(&jid, "unavailable").await;
    for number in 451..=1000 {
        scene.desk.send_message(&jid, &number.to_string());
    }
    scene.sent().await;
    let mut late = WebStream::authenticated(&scene.endpoint(), &scene.account).await;
    assert!(late.try_resume(&session).await.is(SM, "failed"));
    late.bind("tab").await;
    late.enable().await;
    late.send_presence().await;
    scene.web = Some(late);
    scene.read_up_to(1000).await;
    scene.expect_nothing_more().await;
}

#[tokio::test]
async fn of_many_sleeping_sessions_of_a_user_the_first_end() {
    let mut scene = Scene::new(Home::prosody(5000)).await;
    let mut sleeping = vec![scene.vanish()];
    for number in 2..=7 {
        let resource = format!("tab-{number}");
        let mut tab = WebStream::log_in_managed(&scene.endpoint(), &scene.account, &resource).await;
        tab.send_stanza(&format!(
            "<presence xmlns='{CLIENT}' to='{}'/>",
            scene.desk.jid
        ))
        .await;
        let jid = tab.jid.clone();
        scene.desk.expect_presence(&jid, "").await;
        sleeping.push(tab.vanish());
    }
    for session in &sleeping[..2] {
        scene
            .desk
            .expect_presence(&session.jid, "unavailable")
            .await;
    }
    let last = sleeping.pop().expect("the last");
    let jid = last.jid.clone();
    let mut web = WebStream::resumed(&scene.endpoint(), &scene.account, last).await;
    scene.desk.send_message(&jid, "1");
    web.expect("a message", is_numbered).await;
}

/// The gateway is killed: the server still has what the client has not acknowledged, and the client what the server
/// has not.
#[tokio::test]
async fn a_killed_gateway_takes_nothing_along() {
    for home in homes() {
        let mut scene = Scene::new(home).await;
        scene.web().fence().await;
        let before = scene.web().managed().received;
        scene.write(1..=300);
        scene.read_up_to(100).await;
        let desk = scene.desk.jid.clone();
        for number in 1..=50 {
            scene.web().send_message(&desk, &number.to_string()).await;
        }
        scene.web().ask().await;
        // What the client acknowledges now need not be with the server when the gateway dies.
        scene.sent().await;
        let session = scene.web().managed().clone();
        let got = session.received - before;
        scene.gateway.signal("KILL");
        scene.gateway.wait();
        scene.gateway = scene.home.gateway().start();
        let jid = session.jid.clone();
        scene.desk.expect_presence(&jid, "unavailable").await;
        if let Home::Ejabberd(ejabberd) = &scene.home {
            ejabberd.stores(&scene.account, 200).await;
        }
        let mut next = WebStream::authenticated(&scene.endpoint(), &scene.account).await;
        let answer = next.try_resume(&session).await;
        assert!(answer.is(SM, "failed"), "{answer}");
        assert_eq!(answer.attr("h"), None, "{answer}");
        next.bind("tab").await;
        next.enable().await;
        next.send_presence().await;
        // As clients do: what was not acknowledged is sent again.
        for stanza in &session.unacknowledged {
            next.send_stanza(stanza).await;
        }
        let mut last = got;
        while last < 300 {
            let stanza = next.expect("a message", is_numbered).await;
            let number = number(&stanza).expect("a number");
            assert!(number <= last + 1, "{number} after {last}");
            last = last.max(number);
        }
        let mut last = 0;
        while last < 50 {
            let stanza = scene.desk.expect("a message", is_numbered).await;
            let number = number(&stanza).expect("a number");
            assert!(number <= last + 1, "{number} after {last}");
            last = last.max(number);
        }
    }
}

/// A server that goes away while nobody is there: nothing is returned, and the client hears what has to be sent again.
#[tokio::test]
async fn a_server_lost_while_the_client_sleeps_is_told_by_its_h() {
    let mut prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let account = prosody.account("web");
    let desk = prosody.contact("desk").await;
    let mut web = WebStream::log_in_managed(&gateway.websocket(), &account, "tab").await;
    web.send_message(&desk.jid, "1").await;
    web.expect_acknowledged().await;
    let settled = web.managed().sent;
    prosody.signal("STOP");
    for number in 2..=4 {
        web.send_message(&desk.jid, &number.to_string()).await;
    }
    let acknowledged = web.ask().await;
    assert_eq!(acknowledged, settled, "the server has no more");
    let session = web.vanish();
    prosody.kill();
    drop(desk);
    logs(&gateway, "session ended", 1).await;
    prosody.start_again();
    let mut late = WebStream::authenticated(&gateway.websocket(), &account).await;
    let answer = late.try_resume(&session).await;
    assert!(answer.is(SM, "failed"), "{answer}");
    assert_eq!(answer.attr("h"), Some(&*settled.to_string()), "{answer}");
}

/// What a lost server never got comes back as errors. A client that has not read them has to send it again; one that has
/// must not.
#[tokio::test]
async fn what_was_returned_is_sent_again_only_by_who_has_not_read_that() {
    for has_read in [false, true] {
        let mut prosody = Prosody::builder().start();
        let gateway = Gateway::start(&prosody);
        let account = prosody.account("web");
        let mut web = WebStream::log_in_managed(&gateway.websocket(), &account, "tab").await;
        web.expect_acknowledged().await;
        let settled = web.managed().sent;
        prosody.signal("STOP");
        for number in 1..=3 {
            web.send_message(&account.jid(), &number.to_string()).await;
        }
        assert_eq!(web.ask().await, settled, "the server has no more");
        prosody.kill();
        logs(&gateway, "session ended", 1).await;
        if has_read {
            for _ in 1..=3 {
                let error = |stanza: &Element| stanza.attr("type") == Some("error");
                web.expect("an error", error).await;
            }
        }
        let session = web.vanish();
        prosody.start_again();
        let mut late = WebStream::authenticated(&gateway.websocket(), &account).await;
        let answer = late.try_resume(&session).await;
        assert!(answer.is(SM, "failed"), "{answer}");
        let taken = if has_read { settled + 3 } else { settled };
        assert_eq!(answer.attr("h"), Some(&*taken.to_string()), "{answer}");
    }
}

/// A gateway before Prosody that reaches it by a line that can stall, and a client.
async fn stalling(session: &str) -> (Prosody, Stall, Gateway, Account, Client, WebStream) {
    let prosody = Prosody::builder()
        .option("smacks_max_queue_size = 5000")
        .start();
    let line = Stall::start(prosody.c2s()).await;
    let gateway = Gateway::builder(&prosody)
        .upstream(&format!("xmpp://{}", line.address))
        .session(session)
        .start();
    let account = prosody.account("web");
    let desk = prosody.contact("desk").await;
    let mut web = WebStream::log_in_managed(&gateway.websocket(), &account, "tab").await;
    web.send_presence().await;
    web.expect_acknowledged().await;
    (prosody, line, gateway, account, desk, web)
}

/// What a client has once been told is safe it does not send again, so that it must not be lost.
#[tokio::test]
async fn a_client_is_not_told_that_it_goes_on_before_the_server_has_what_it_sent() {
    let (_prosody, line, gateway, account, mut desk, mut web) = stalling("").await;
    line.stall();
    web.send_message(&desk.jid, "1").await;
    let session = web.vanish();
    let mut web = WebStream::authenticated(&gateway.websocket(), &account).await;
    let resume = format!(
        "<resume xmlns='{SM}' previd='{}' h='{}'/>",
        session.id, session.received
    );
    web.send(&resume).await;
    logs(&gateway, "session resumed", 1).await;
    line.cut();
    let end = web.end().await;
    assert_eq!(end.steps, ["system-shutdown", "<close/>", "1000"]);
    let mut web = WebStream::authenticated(&gateway.websocket(), &account).await;
    let answer = web.try_resume(&session).await;
    assert!(answer.is(SM, "failed"), "{answer}");
    let h = session.sent - 1;
    assert_eq!(answer.attr("h"), Some(&*h.to_string()), "{answer}");
    web.bind("tab").await;
    for stanza in &session.unacknowledged {
        web.send_stanza(stanza).await;
    }
    desk.expect_message("1").await;
    desk.expect_none("a second copy", is_numbered).await;

    let (_prosody, line, gateway, account, mut desk, mut web) = stalling("").await;
    line.stall();
    web.send_message(&desk.jid, "1").await;
    let session = web.vanish();
    let mut web = WebStream::authenticated(&gateway.websocket(), &account).await;
    let (resumed, ()) = tokio::join!(web.resume(session), async {
        desk.iq("get", &account.domain, "<ping xmlns='urn:xmpp:ping'/>")
            .await;
        line.go_on();
    });
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    assert!(web.managed().unacknowledged.is_empty());
    desk.expect_message("1").await;
    desk.expect_none("a second copy", is_numbered).await;
}

/// The gateway notices the end of a connection while it does not listen to the client, as the server takes no more.
#[tokio::test]
async fn a_session_that_is_resumed_at_once_does_not_count_as_asleep() {
    let (_prosody, line, gateway, account, desk, mut web) =
        stalling("max_request_rate = 10000").await;
    line.stall();
    for number in 0..512 {
        web.send_message(&desk.jid, &number.to_string()).await;
    }
    web.ask().await;
    let session = web.vanish();
    let mut web = WebStream::authenticated(&gateway.websocket(), &account).await;
    let (resumed, ()) = tokio::join!(web.resume(session), async {
        logs(&gateway, "session resumed", 1).await;
        line.go_on();
    });
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    web.fence().await;
    let mut others = Vec::new();
    for number in 0..5 {
        let resource = format!("tab-{number}");
        let tab = WebStream::log_in_managed(&gateway.websocket(), &account, &resource).await;
        others.push(tab.vanish());
    }
    logs(&gateway, "session asleep", 5).await;
    web.fence().await;
    let sessions = gateway.admin().at("/roster_admin/sessions");
    let answer = sessions.request("GET", &[], "").await;
    let sessions = answer.text();
    assert_eq!(
        sessions.matches(r#""state":"asleep""#).count(),
        5,
        "{sessions}"
    );
}

/// A client that has tried another session first may still resume its own, by the same stream.
#[tokio::test]
async fn a_second_resumption_on_one_stream_works() {
    let mut scene = Scene::new(Home::prosody(5000)).await;
    let stranger = scene.home.account("stranger").await;
    let other = WebStream::log_in_managed(&scene.endpoint(), &stranger, "tab").await;
    let foreign = other.management.clone().expect("stream management is on");
    let session = scene.vanish();
    let mut web = WebStream::authenticated(&scene.endpoint(), &scene.account).await;
    let answer = web.try_resume(&foreign).await;
    assert!(answer.is(SM, "failed"), "{answer}");
    let answer = web.resume(session).await;
    assert!(answer.is(SM, "resumed"), "{answer}");
    scene.web = Some(web);
    scene.write(1..=2);
    scene.read_up_to(2).await;
}

/// What a client answers waits behind what it has sent, while it is ahead of its pace.
#[tokio::test]
async fn a_busy_client_is_not_taken_for_a_frozen_one() {
    let (_prosody, _line, _gateway, _account, desk, mut web) =
        stalling("max_request_rate = 10").await;
    web.fence().await;
    web.acknowledge().await;
    for number in 0..800 {
        web.send_message(&desk.jid, &number.to_string()).await;
    }
    desk.send_message(&web.jid, "hello");
    web.send(&format!("<r xmlns='{SM}'/>")).await;
    let limit = Duration::from_secs(120);
    within_limit(limit, "all to be acknowledged", async {
        while !web.managed().unacknowledged.is_empty() {
            let element = web.late_receive().await;
            if element.expect("the connection lives").is(SM, "r") {
                web.acknowledge().await;
            }
        }
    })
    .await;
}

/// Connections break at any instant, in both directions: a thousand times, and every message arrives once.
#[tokio::test]
async fn nothing_is_lost_in_a_thousand_breaks() {
    let (prosody, ejabberd) = homes().into();
    tokio::join!(breaks(prosody, 500), breaks(ejabberd, 500));
}

async fn breaks(home: Home, rounds: u32) {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut scene = Scene::new(home).await;
    let desk = scene.desk.jid.clone();
    let jid = scene.jid();
    let (mut written, mut sent) = (0, 0);
    for _ in 0..rounds {
        for _ in 0..random.u32(0..4) {
            match random.u8(0..3) {
                0 => {
                    written += 1;
                    scene.desk.send_message(&jid, &written.to_string());
                }
                1 => {
                    sent += 1;
                    scene.web().send_message(&desk, &sent.to_string()).await;
                }
                _ => {
                    let half = scene.got.0 + (written - scene.got.0) / 2;
                    scene.read_up_to(half).await;
                }
            }
        }
        let old = scene.web().managed().clone();
        let connection = scene.leave();
        if random.bool() {
            drop(connection);
        } else {
            // The client has lost it, and the gateway does not know yet.
            tokio::spawn(connection.end());
        }
        scene.come_back(old).await;
    }
    scene.read_up_to(written).await;
    scene.desk_reads_up_to(sent).await;
    scene.expect_nothing_more().await;
}
