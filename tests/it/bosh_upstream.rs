//! The gateway in front of a server's own BOSH. That everything else works there as well is tested by
//! running the other tests with `UPSTREAM_UNDER_TEST=bosh`.

use support::{
    bosh::Bosh,
    client::Client,
    ejabberd::Ejabberd,
    gateway::{Gateway, Server},
    prosody::Prosody,
    relay::{Fault, Relay},
    xml::CLIENT,
};

/// The bodies of as many messages, as they come.
async fn messages(client: &mut Client, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let message = client
            .expect("a message", |it| it.is(CLIENT, "message"))
            .await;
        bodies.push(message.body().expect("a body"));
    }
    bodies
}

#[tokio::test]
async fn loses_nothing_on_a_bad_line() {
    const COUNT: usize = 300;
    let prosody = Prosody::shared();
    let server = prosody.bosh();
    let relay = Relay::start(server.address, &Fault::ALL, fastrand::u64(..)).await;
    let url = format!("http://{}{}", relay.address, server.path);
    let gateway = Gateway::builder(prosody).upstream(&url).start();
    let mut client = gateway.login(&prosody.account("john"), "web").await;
    let mut contact = prosody.contact("marie").await;
    relay.set_bad(4);
    let (mut sent, mut answers) = (Vec::new(), Vec::new());
    for round in 0..COUNT / 10 {
        for number in 0..10 {
            let text = format!("{round}.{number}");
            client.send_message(&contact.jid, &text);
            sent.push(text);
        }
        let heard = messages(&mut contact, 10).await;
        for text in &heard {
            contact.send_message(&client.jid, text);
        }
        answers.extend(messages(&mut client, 10).await);
    }
    assert_eq!(answers, sent);
    for fault in Fault::ALL {
        assert!(relay.count(fault) > 0, "{fault:?} happened");
    }
    relay.set_bad(0);
    assert_eq!(client.fence().await, [], "nothing came twice");
    assert_eq!(contact.fence().await, [], "nothing came twice");
    client.logout().await;
}

/// ejabberd answers neither of two requests when the later one arrives first, as may happen to an empty
/// one that is still on its way when the client asks for its resource.
#[tokio::test]
async fn a_login_survives_whatever_overtakes_an_empty_request() {
    let ejabberd = Ejabberd::shared();
    let server = ejabberd.bosh();
    let is_empty = |request: &[u8]| request.ends_with(b"'/>") && !request.ends_with(b":xbosh'/>");
    let relay = Relay::holding_back(server.address, is_empty).await;
    let url = format!("http://{}{}", relay.address, server.path);
    let gateway = Gateway::builder(ejabberd).upstream(&url).start();
    let account = ejabberd.account("john").await;
    Bosh::log_in(&gateway.bosh(), &account, "web").await;
}

#[tokio::test]
async fn keeps_requests_small_enough_for_the_server() {
    large_messages(Prosody::shared(), Prosody::shared().contact("marie").await).await;
    large_messages(
        Ejabberd::shared(),
        Ejabberd::shared().contact("marie").await,
    )
    .await;
}

async fn large_messages(server: &impl Account, mut contact: Client) {
    // All of it may come in one request; the server takes much less.
    let url = server.place().bosh_url();
    let builder = Gateway::builder(server).upstream(&url);
    let gateway = builder.bosh("max_body = \"4MiB\"").start();
    let mut client = gateway.login(&server.somebody().await, "web").await;
    let texts: Vec<_> = (0..12).map(|n| n.to_string().repeat(50_000)).collect();
    for text in &texts {
        client.send_message(&contact.jid, text);
    }
    assert!(
        messages(&mut contact, texts.len()).await == texts,
        "all, in order"
    );
    assert_eq!(client.fence().await, []);
}

/// Either server, when all that is needed is a user.
trait Account: Server {
    async fn somebody(&self) -> support::client::Account;
}

impl Account for Prosody {
    async fn somebody(&self) -> support::client::Account {
        self.account("john")
    }
}

impl Account for Ejabberd {
    async fn somebody(&self) -> support::client::Account {
        self.account("john").await
    }
}

#[tokio::test]
async fn passes_the_end_on() {
    // It stops without a word to the clients of its BOSH, who are to hear in time.
    let mut prosody = Prosody::builder().bosh_inactivity(5).start();
    let url = prosody.place().bosh_url();
    let gateway = Gateway::builder(&prosody).upstream(&url).start();
    let account = prosody.account("john");
    let mut first = gateway.login(&account, "web").await;
    let mut second = gateway.login(&account, "web").await;
    let end = first.expect_end().await;
    assert_eq!(end.stream_error(), Some("conflict"));
    assert_eq!(second.fence().await, []);
    prosody.stop().await;
    let end = second.expect_end().await;
    assert_eq!(end.condition.as_deref(), Some("remote-stream-error"));
    assert_eq!(end.stream_error(), Some("system-shutdown"));
}
