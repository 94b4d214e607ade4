//! The two accounts that the gateway keeps (XEP-0198 on both sides): a client's `h` is the server's word, and the server
//! is acknowledged what the client has acknowledged.

use support::{
    client::{Account, Client},
    gateway::Gateway,
    prosody::Prosody,
    websocket::{FIN, TEXT},
    webstream::WebStream,
    within,
    xml::{CLIENT, SM},
};

/// A server of its own that stores messages, and a session in front of it.
struct Scene {
    // Before the server, which it would miss.
    gateway: Gateway,
    prosody: Prosody,
    account: Account,
    web: WebStream,
    desk: Client,
}

impl Scene {
    /// With a session that sleeps for a second at most.
    async fn new() -> Self {
        Self::with("resume = \"1s\"\nresume_after_close = \"1s\"").await
    }

    async fn with(lines: &str) -> Self {
        let prosody = Prosody::builder().modules(["csi", "offline"]).start();
        let gateway = Gateway::builder(&prosody).websocket(lines).start();
        let account = prosody.account("john");
        let web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
        let desk = prosody.contact("marie").await;
        let mut scene = Self {
            gateway,
            prosody,
            account,
            web,
            desk,
        };
        scene.web.send_presence().await;
        scene
    }

    /// The same, with stream management on.
    async fn managed(lines: &str) -> Self {
        let mut scene = Self::with(lines).await;
        let enabled = scene.web.enable().await;
        assert!(enabled.is(SM, "enabled"), "{enabled}");
        scene
    }

    async fn write(&mut self, count: u32) {
        for number in 0..count {
            self.desk
                .send_message(&self.account.jid(), &number.to_string());
        }
        self.desk.fence().await;
    }

    async fn read(&mut self, count: u32) {
        for number in 0..count {
            self.web.expect_message(&number.to_string()).await;
        }
    }

    /// Reads so many messages, and answers no request to acknowledge them.
    async fn hear(&mut self, count: u32) {
        let mut seen = 0;
        while seen < count {
            let element = self.web.receive().await.expect("a message");
            seen += u32::from(element.body().is_some());
        }
    }

    async fn say(&mut self, body: &str) {
        let to = self.desk.jid.clone();
        self.web.send_message(&to, body).await;
    }

    /// Whether the server's log has this.
    fn server_has_seen(&self, text: &str) -> bool {
        self.prosody.log_tail().contains(text)
    }

    /// Drops the connection. When the session has ended, the server has stored so many messages and no more: those
    /// that come at the next login.
    async fn assert_left(&mut self, session: WebStream, messages: std::ops::Range<u32>) {
        let jid = session.jid.clone();
        let presence = format!("<presence xmlns='{CLIENT}' to='{}'/>", self.desk.jid);
        let mut session = session;
        session.send_stanza(&presence).await;
        self.desk.expect_presence(&jid, "").await;
        drop(session);
        self.desk.expect_presence(&jid, "unavailable").await;
        let endpoint = self.gateway.websocket();
        let mut web = WebStream::log_in(&endpoint, &self.account, "web").await;
        web.send_presence().await;
        let seen = web.fence().await;
        let bodies: Vec<_> = seen.iter().filter_map(|stanza| stanza.body()).collect();
        let expected: Vec<_> = messages.map(|number| number.to_string()).collect();
        assert_eq!(bodies, expected);
    }
}

/// Puts another stream in the scene's place for its session.
async fn take(scene: &mut Scene) -> WebStream {
    let another = WebStream::open(&scene.gateway.websocket(), &scene.account.domain).await;
    std::mem::replace(&mut scene.web, another)
}

#[tokio::test]
async fn the_server_keeps_what_the_client_has_not_acknowledged() {
    let mut scene = Scene::managed("resume = \"1s\"").await;
    scene.write(20).await;
    scene.hear(20).await;
    scene.web.send(&format!("<a xmlns='{SM}' h='12'/>")).await;
    scene.web.ask().await;
    let session = take(&mut scene).await;
    scene.assert_left(session, 12..20).await;
}

#[tokio::test]
async fn the_server_keeps_nothing_that_the_client_has_acknowledged() {
    let mut scene = Scene::managed("resume = \"1s\"").await;
    scene.write(20).await;
    scene.read(20).await;
    scene.web.acknowledge().await;
    scene.web.ask().await;
    let session = take(&mut scene).await;
    scene.assert_left(session, 0..0).await;
}

/// It says that the browser has read them, not that the page has.
#[tokio::test]
async fn pongs_confirm_nothing_for_a_client_with_stream_management() {
    let mut scene = Scene::managed("ping = \"1s\"\nresume = \"1s\"").await;
    scene.write(20).await;
    scene.hear(20).await;
    while scene.web.pings.len() < 2 {
        let frame = within("a ping", scene.web.frame()).await;
        let frame = frame.expect("the connection is open");
        if frame.first != FIN | TEXT {
            scene.web.handle_control(frame).await;
        }
    }
    let session = take(&mut scene).await;
    scene.assert_left(session, 0..20).await;
}

/// Strophe before 5.0, and clients without a cache of their own.
#[tokio::test]
async fn pongs_confirm_for_a_client_without_stream_management() {
    let mut scene = Scene::new().await;
    scene.write(20).await;
    scene.read(20).await;
    // A ping that comes after all of them.
    let seen = scene.web.pings.len();
    scene.web.fence().await;
    while scene.web.pings.len() == seen {
        let frame = within("a ping", scene.web.frame()).await;
        let frame = frame.expect("the connection is open");
        scene.web.handle_control(frame).await;
    }
    scene.web.fence().await;
    let session = take(&mut scene).await;
    scene.assert_left(session, 0..0).await;
}

#[tokio::test]
async fn the_server_keeps_what_no_pong_has_confirmed() {
    let mut scene = Scene::new().await;
    scene.web.answers_pings = false;
    scene.write(20).await;
    scene.read(20).await;
    let session = take(&mut scene).await;
    scene.assert_left(session, 0..20).await;
}

/// A client need not send again what the server has, and must be able to send again what it has not.
#[tokio::test]
async fn a_client_is_acknowledged_what_the_server_has_and_no_more() {
    let mut scene = Scene::managed("").await;
    scene.say("one").await;
    scene.desk.expect_message("one").await;
    scene.web.expect_acknowledged().await;
    scene.prosody.signal("STOP");
    scene.say("two").await;
    assert_eq!(scene.web.ask().await, 1, "at once, and of the first only");
    scene.prosody.signal("CONT");
    while scene.web.next_h().await < 2 {}
    scene.desk.expect_message("two").await;
}

/// Those that the gateway answers itself need no server.
#[tokio::test]
async fn a_server_without_stream_management_has_what_was_written_to_it() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .upstream(&support::gateway::Server::place(prosody).bosh_url())
        .start();
    let endpoint = gateway.websocket();
    let account = prosody.account("john");
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    let mut desk = prosody.contact("marie").await;
    let to = desk.jid.clone();
    for number in 0..10 {
        web.send_message(&to, &number.to_string()).await;
    }
    for number in 0..10 {
        desk.expect_message(&number.to_string()).await;
    }
    web.expect_acknowledged().await;
    let session = web.vanish();
    desk.send_message(&session.jid, "meanwhile");
    desk.fence().await;
    let mut web = WebStream::resumed(&endpoint, &account, session).await;
    web.expect_message("meanwhile").await;
    assert_eq!(web.fence().await, []);
}

/// The server has not seen that anything was resumed.
#[tokio::test]
async fn a_resumed_client_is_active() {
    let mut scene = Scene::managed("").await;
    scene.web.send("<inactive xmlns='urn:xmpp:csi:0'/>").await;
    assert!(!scene.server_has_seen("<active "));
    let another = take(&mut scene).await;
    scene.web = WebStream::authenticated(&scene.gateway.websocket(), &scene.account).await;
    let resumed = scene.web.resume(another.vanish()).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    // What comes after it has arrived.
    scene.web.fence().await;
    assert!(scene.server_has_seen("<active "));
}
