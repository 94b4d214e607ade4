//! What the other tests stand on, against Prosody alone.

use serde_json::json;

use support::{
    backend::{Backend, Fault},
    bosh::Bosh,
    client::{Client, Transport, is_push},
    ejabberd::Ejabberd,
    http::Endpoint,
    prosody::Prosody,
    sasl::Mechanism,
    webstream::WebStream,
    xml::{Element, ROSTER},
};

#[tokio::test]
async fn logs_in_over_tcp_bosh_and_websocket() {
    let prosody = Prosody::shared();
    let bosh = Transport::Bosh(prosody.bosh());
    let websocket = Transport::WebSocket(prosody.websocket());
    for transport in [Transport::Tcp(prosody.c2s()), bosh, websocket] {
        let account = prosody.account("john");
        let client = Client::login(&transport, &account, "here").await;
        assert_eq!(client.jid, format!("{}/here", account.jid()));
        assert!(!client.logout().await.lost);
    }
}

#[tokio::test]
async fn logs_in_by_scram() {
    let (plain, hashed) = (Prosody::shared(), Prosody::shared_hashed());
    for (prosody, mechanism) in [
        (plain, Mechanism::ScramSha1),
        (hashed, Mechanism::Plain),
        (hashed, Mechanism::ScramSha256),
    ] {
        for transport in [
            Transport::Tcp(prosody.c2s()),
            Transport::Bosh(prosody.bosh()),
        ] {
            let account = prosody.account("john");
            let client = Client::login_by(mechanism, &transport, &account, "here").await;
            assert_eq!(
                client.jid,
                format!("{}/here", account.jid()),
                "{mechanism:?}"
            );
        }
    }
}

#[tokio::test]
async fn sees_a_wrong_password_refused() {
    let prosody = Prosody::shared();
    let mut account = prosody.account("john");
    account.password.push('x');
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha1] {
        let mut client = Client::connect(&Transport::Bosh(prosody.bosh()), &account.domain).await;
        let failure = client.try_authenticate(mechanism, &account).await;
        assert!(failure.is_err_and(|failure| failure.name == "failure"));
    }
}

#[tokio::test]
async fn keeps_messages_in_order() {
    let prosody = Prosody::shared();
    let mut desk = prosody.contact("marie").await;
    let account = prosody.account("john");
    let mut web = Client::login(&Transport::Bosh(prosody.bosh()), &account, "web").await;
    web.send_presence("");
    web.expect_presence(&web.jid.clone(), "").await;
    for number in 0..50 {
        web.send_message(&desk.jid, &number.to_string());
        desk.send_message(&web.jid, &number.to_string());
    }
    for number in 0..50 {
        let number = Some(number.to_string());
        assert_eq!(desk.next().await.body(), number);
        assert_eq!(web.next().await.body(), number);
    }
    assert_eq!(desk.fence().await, []);
    assert_eq!(web.fence().await, []);
}

#[tokio::test]
async fn sees_rosters_and_pushes() {
    let prosody = Prosody::shared();
    let account = prosody.account("john");
    let mut one = prosody.login(&account, "one").await;
    let mut two = Client::login(&Transport::Bosh(prosody.bosh()), &account, "two").await;
    assert!(one.roster().await.is_empty());
    let item = "<item jid='marie@example.org' name='Marie'><group>Friends</group></item>";
    let set = format!("<query xmlns='{ROSTER}'>{item}</query>");
    assert_eq!(one.iq("set", "", &set).await.attr("type"), Some("result"));
    let marie = one.expect_push().await;
    assert_eq!(
        (marie.jid.as_str(), marie.name.as_deref()),
        ("marie@example.org", Some("Marie"))
    );
    assert_eq!(
        (marie.subscription.as_deref(), &marie.groups[..]),
        (Some("none"), &["Friends".to_owned()][..])
    );
    two.expect_none("push to those who never asked", is_push)
        .await;
    assert_eq!(two.roster().await["marie@example.org"], marie);
    assert_eq!(
        one.iq("set", "", "<query xmlns='jabber:iq:roster'/>")
            .await
            .error(),
        Some("bad-request")
    );
}

#[tokio::test]
async fn lets_clients_vanish() {
    let prosody = Prosody::shared();
    let mut contact = prosody.contact("marie").await;
    let client = prosody.login(&prosody.account("john"), "desk").await;
    assert_ne!(client.opening.attr("id"), None);
    let jid = client.jid.clone();
    client.send(&format!("<presence to='{}'/>", contact.jid));
    contact.expect_presence(&jid, "").await;
    client.vanish();
    contact.expect_presence(&jid, "unavailable").await;
}

#[tokio::test]
async fn drives_a_session_by_hand() {
    let prosody = Prosody::shared();
    let account = prosody.account("john");
    let mut bosh = Bosh::log_in(&prosody.bosh(), &account, "hand").await;
    let to = format!("{}/hand", account.jid());
    let message = format!("<message xmlns='jabber:client' to='{to}'><body>me</body></message>");
    bosh.exchange_until(&message, |child| child.is_message("me"))
        .await;
}

#[tokio::test]
async fn sees_a_server_end_and_come_back() {
    let mut prosody = Prosody::builder().start();
    let account = prosody.account("john");
    let mut client = prosody.login(&account, "desk").await;
    prosody.stop().await;
    let end = client.expect_end().await;
    // Under load Prosody exits before it has written its last words.
    assert!(
        end.lost || end.stream_error() == Some("system-shutdown"),
        "{end:?}"
    );
    prosody.start_again();
    let mut client = prosody.login(&account, "desk").await;
    prosody.kill();
    assert!(client.expect_end().await.lost);
}

#[tokio::test]
async fn knows_ejabberd_too() {
    let mut ejabberd = Ejabberd::builder().start();
    let account = ejabberd.account("john").await;
    let mut contact = ejabberd.contact("marie").await;
    for mechanism in [
        Mechanism::Plain,
        Mechanism::ScramSha1,
        Mechanism::ScramSha256,
    ] {
        // Its own BOSH loses answers when requests overtake each other.
        let tcp = Transport::Tcp(ejabberd.c2s());
        let mut client = Client::login_by(mechanism, &tcp, &account, "web").await;
        assert_eq!(client.jid, format!("{}/web", account.jid()));
        contact.send_message(&client.jid, "hello");
        client.expect_message("hello").await;
        client.logout().await;
    }
    ejabberd.stop().await;
    contact.expect_end().await;
    ejabberd.start_again();
    let mut contact = ejabberd.contact("marie").await;
    ejabberd.kill();
    assert!(contact.expect_end().await.lost);
}

#[tokio::test]
async fn plays_a_backend() {
    let backend = Backend::start();
    let at = |user: &str| Endpoint::new(backend.address(), &format!("/contacts/{user}"));
    assert_eq!(at("john").request("GET", &[], "").await.status(), 404);
    backend.set("john", json!({ "marie@example.org": {} }));
    backend.fail_next("john", [Fault::Status(503)]);
    assert_eq!(at("john").request("GET", &[], "").await.status(), 503);
    assert_eq!(
        at("john").request("GET", &[], "").await.text(),
        r#"{"marie@example.org":{}}"#
    );

    let mut gate = backend.gate("j ohn");
    backend.set("j ohn", json!({ "a@example.org": {} }));
    let endpoint = at("j%20ohn");
    let request = tokio::spawn(async move { endpoint.request("GET", &[], "").await });
    gate.reached_by(1).await;
    backend.set("j ohn", json!({}));
    gate.open();
    assert_eq!(
        request.await.expect("answered").text(),
        r#"{"a@example.org":{}}"#
    );

    backend.send_etags();
    let first = at("john").request("GET", &[], "").await;
    let etag = first.header("etag").expect("an ETag");
    let again = at("john")
        .request("GET", &[("If-None-Match", etag)], "")
        .await;
    assert_eq!(again.status(), 304);
    assert_eq!((backend.fetches("john"), backend.fetches("j ohn")), (5, 1));
    assert_eq!(backend.requests()[0].target, "/contacts/john");
}

#[test]
fn compares_xml_by_its_meaning() {
    let one = Element::parse("<a xmlns='x' b='1&amp;2'><p:c xmlns:p='y'>t<![CDATA[&]]></p:c></a>");
    let other = Element::parse("<q:a b=\"1&#38;2\" xmlns:q='x'><c xmlns='y'>t&amp;</c></q:a>");
    assert_eq!(one, other);
    assert_eq!(one, Element::parse(one.to_string()));
    assert_ne!(
        one,
        Element::parse("<a xmlns='x' b='1&amp;2'><c>t&amp;</c></a>")
    );
    assert!(Element::try_parse(b"<a><!-- no --></a>").is_err());
}

#[tokio::test]
async fn resumes_over_websocket() {
    // On a busy machine ejabberd's own front refuses resumptions: copying the state of a session times out.
    let prosody = Prosody::shared();
    let (endpoint, account) = (prosody.websocket(), prosody.account("john"));
    let mut desk = prosody.contact("marie").await;
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    web.send_message(&desk.jid, "one").await;
    desk.expect_message("one").await;
    desk.send_message(&web.jid, "two");
    web.expect_message("two").await;
    web.expect_acknowledged().await;
    desk.send_message(&web.jid, "three");
    let session = web.vanish();
    let mut web = WebStream::resumed(&endpoint, &account, session).await;
    web.expect_message("three").await;
    web.send_message(&desk.jid, "four").await;
    desk.expect_message("four").await;
    assert_eq!(web.fence().await, []);
    web.log_out().await;
}
