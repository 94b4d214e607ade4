//! Signals, reloads, logs: the gateway as its administrator meets it.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rostergate::net::tls::{Trust, client_config};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use support::{
    bosh::{Bosh, creation},
    gateway::Gateway,
    http::{Connection, Endpoint},
    prosody::{DOMAIN, Prosody},
    xml::{ROSTER, message},
};

use crate::site::Site;

#[tokio::test]
async fn a_stop_ends_sessions_in_good_order() {
    let prosody = Prosody::shared();
    let mut gateway = Gateway::start(prosody);
    let mut contact = prosody.contact("marie").await;
    let mut client = gateway.login(&prosody.account("john"), "web").await;
    client.send(&format!(
        "<presence xmlns='jabber:client' to='{}'/>",
        contact.jid
    ));
    contact.expect_presence(&client.jid.clone(), "").await;
    gateway.signal("TERM");
    let end = client.expect_end().await;
    assert_eq!(end.reason(), Some("system-shutdown"));
    contact
        .expect_presence(&client.jid.clone(), "unavailable")
        .await;
    assert!(gateway.wait().success());
}

/// A gateway with two sessions, of which one will hear of a SIGTERM at once, and the other one minutes later.
async fn stopping_slowly() -> (Gateway, [Bosh; 2]) {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .server("drain_timeout = \"10m\"")
        .server("drain_spread = \"10m\"")
        .start();
    let sessions = [
        Bosh::log_in(&gateway.bosh(), &prosody.account("john"), "web").await,
        Bosh::log_in(&gateway.bosh(), &prosody.account("marie"), "web").await,
    ];
    (gateway, sessions)
}

#[tokio::test]
async fn a_stop_tells_whoever_asks_and_takes_nobody_new() {
    let (mut gateway, [mut one, mut other]) = stopping_slowly().await;
    gateway.signal("TERM");
    let (one, other) = (one.send("", "").await, other.send("", "").await);
    let told = tokio::select! {
        told = one.response() => told,
        told = other.response() => told,
    };
    assert_eq!(told.condition().as_deref(), Some("system-shutdown"));
    logged(&gateway, "draining").await;
    let refused = gateway.bosh().post(&creation(DOMAIN, &[])).await;
    let expected = ("system-shutdown".to_owned(), "going down".to_owned());
    assert_eq!(refused.not_now(), expected, "clients come again");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_stop_refuses_sessions_whose_request_began_before() {
    let (mut gateway, _sessions) = stopping_slowly().await;
    let body = creation(DOMAIN, &[]);
    let (length, (one, two)) = (body.len(), body.split_at(30));
    let mut slow = Connection::open(&gateway.bosh()).await;
    let head = format!(
        "POST /http-bind HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    slow.write(head.as_bytes()).await;
    // The gateway says so once it waits for the body.
    assert_eq!(slow.interim().await, 100);
    slow.write(one.as_bytes()).await;
    gateway.signal("TERM");
    logged(&gateway, "draining").await;
    slow.write(two.as_bytes()).await;
    assert_eq!(slow.response().await.status(), 503);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_configured() {
    let prosody = Prosody::builder().start();
    let mut gateway = Gateway::builder(&prosody)
        .server("drain_timeout = \"1s\"")
        .server("drain_spread = \"0s\"")
        .start();
    let _bosh = Bosh::log_in(&gateway.bosh(), &prosody.account("john"), "web").await;
    // It will not close its side of the stream, for which sessions wait longer.
    prosody.signal("STOP");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(gateway.log().contains("sessions left behind"));
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let (mut gateway, _sessions) = stopping_slowly().await;
    gateway.signal("TERM");
    logged(&gateway, "draining").await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(gateway.log().contains("second signal"));
}

#[tokio::test]
async fn a_reload_takes_over_hosts_and_origins_and_keeps_sessions() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut client = site.online(&john, "web").await;
    let path = site.gateway.config_path();
    let old = fs::read_to_string(&path).expect("a file");

    let bosh = site.gateway.bosh();
    // The server does not know the new domain, which it says itself.
    let is_known = async || {
        let answer = bosh.post(&creation("chat.example.net", &[])).await;
        answer.status() != 200 || answer.condition().as_deref() != Some("host-unknown")
    };
    let may_read = async |origin: &str| {
        let answer = bosh.request("OPTIONS", &[("Origin", origin)], "").await;
        let allowed = answer.header("access-control-allow-origin");
        allowed.is_some_and(|allowed| allowed == "*" || allowed == origin)
    };
    let (mine, foreign) = ("https://a.example", "https://b.example");
    assert!(!is_known().await);
    assert!(may_read(mine).await && may_read(foreign).await);
    let more = format!(
        "\n[[host]]\ndomain = \"chat.example.net\"\nupstream = \"xmpp://{}\"\n",
        site.prosody.c2s()
    );
    let new = old.replace("[web]", "[web]\norigins = [\"https://a.example\"]") + &more;
    fs::write(&path, new).expect("written");
    site.gateway.signal("HUP");
    logged(&site.gateway, "configuration reloaded").await;
    assert!(is_known().await);
    assert!(may_read(mine).await && !may_read(foreign).await);

    let lines = old.lines().count();
    fs::write(&path, format!("{old}\nnonsense = 1\n")).expect("written");
    site.gateway.signal("HUP");
    logged(&site.gateway, "configuration not reloaded").await;
    let log = site.gateway.log();
    let place = format!("rostergate.toml:{}", lines + 2);
    assert!(log.contains(&place), "{place} in {log}");
    assert!(is_known().await, "what was before stays");
    assert!(may_read(mine).await && !may_read(foreign).await);

    client.fence().await;
    site.list(&john, &[&marie]);
    site.refresh(&[&john]).await;
    assert_eq!(
        client.expect_push().await.jid,
        marie.jid(),
        "rosters outlive a reload"
    );
}

/// Waits until the gateway has logged this.
async fn logged(gateway: &Gateway, text: &str) {
    let what = format!("{text:?} in the log");
    let appears = async {
        while !gateway.log().contains(text) {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    support::within(&what, appears).await;
}

#[tokio::test]
async fn the_log_tells_the_story_and_no_secrets() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut web = Bosh::log_in(&site.gateway.bosh(), &john, "web").await;
    let mut other = site.online(&marie, "web").await;
    web.exchange_until(
        &format!("<iq type='get' id='1'><query xmlns='{ROSTER}'/></iq>"),
        |child| child.is_reply_to("1"),
    )
    .await;
    let held = web.send("", &message(&other.jid, "between us")).await;
    other.expect_message("between us").await;
    other.send_message(&format!("{}/web", john.jid()), "yes, us");
    held.response().await;
    site.refresh(&[&john]).await;
    let nonsense = format!("{}<oops>", message(&other.jid, "half said"));
    web.send_as(web.rid + 1, "", &nonsense)
        .await
        .response()
        .await;
    web.send("type='terminate'", "").await.response().await;
    logged(&site.gateway, "session ended").await;
    let log = site.gateway.log();
    let sid = web.sid.get(..8).expect("a sid is long");
    for part in [
        "session created",
        "session bound",
        "DEBUG",
        sid,
        &john.jid(),
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    let login = STANDARD.encode(format!("\0{}\0{}", john.local, john.password));
    let secrets = [
        &*john.password,
        &marie.password,
        &login,
        &web.sid,
        "between us",
        "yes, us",
        "half said",
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn the_admin_api_can_have_a_listener_and_a_token_of_its_own() {
    let prosody = Prosody::shared();
    let site = Site::with(prosody, |gateway| {
        gateway
            .admin("listen = \"127.0.0.1:0\"")
            .admin("token = \"s3cret\"")
    });
    let admin = site.gateway.admin().at("/roster_admin/refresh");
    let answer = admin.request("POST", &[], "[]").await;
    assert_eq!(answer.status(), 401);
    let token = [("Authorization", "Bearer s3cret")];
    let answer = admin.request("POST", &token, "[]").await;
    assert_eq!(answer.status(), 200);
    let elsewhere = Endpoint::new(site.gateway.bosh().address, "/roster_admin/refresh");
    assert_eq!(elsewhere.request("POST", &token, "[]").await.status(), 404);
    let bosh = Endpoint::new(site.gateway.admin().address, "/http-bind");
    assert_eq!(bosh.post(&creation(DOMAIN, &[])).await.status(), 404);
}

#[tokio::test]
async fn without_a_token_only_programs_of_this_machine_may_call() {
    let site = Site::new();
    let admin = site.gateway.admin().at("/roster_admin/refresh");
    for header in ["Origin", "X-Forwarded-For", "Forwarded", "Via"] {
        let answer = admin.request("POST", &[(header, "x")], "[]").await;
        assert_eq!(answer.status(), 403, "{header}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(admin.request("POST", &[], "[]").await.status(), 200);
    let get = site.gateway.admin().at("/roster_admin/refresh/nobody");
    let answer = get.request("GET", &[], "").await;
    let body: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!(
        body,
        json!({ "status": "ok", "message": "roster update complete" })
    );
}

#[tokio::test]
async fn https_is_served_and_its_certificate_checked() {
    let certs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let gateway = Gateway::builder(Prosody::shared())
        .server("listen_tls = [\"127.0.0.1:0\"]")
        .server(&format!("certificate = {:?}", certs.join("localhost.crt")))
        .server(&format!("private_key = {:?}", certs.join("localhost.key")))
        .start();
    let ca = certs.join("ca.crt");
    let trust = Trust::authorities(Some(&ca)).expect("authorities");
    let tls = client_config(trust, None).expect("settings");
    let stream = TcpStream::connect(gateway.https())
        .await
        .expect("a connection");
    let name = "localhost".try_into().expect("a name");
    let mut stream = TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .expect("TLS");
    let request = "GET /http-bind HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
