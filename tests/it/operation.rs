//! Signals, reloads, logs: the gateway as its administrator meets it.

use std::fs;

use rostergate::{config::UpstreamTls, net::tls::upstream_client_config};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    site::Site,
    support::{
        bosh::creation,
        gateway::Gateway,
        http::Endpoint,
        prosody::{DOMAIN, Prosody},
    },
};

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
    assert_eq!(end.condition.as_deref(), Some("system-shutdown"));
    contact
        .expect_presence(&client.jid.clone(), "unavailable")
        .await;
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let mut prosody = Prosody::builder().start();
    let mut gateway = Gateway::builder(&prosody)
        .server("drain_timeout = \"10m\"")
        .start();
    let client = gateway.login(&prosody.account("john"), "web").await;
    // A server that does not answer any more keeps the session from ending.
    prosody.signal("STOP");
    client.send("<message xmlns='jabber:client' to='example.org'/>");
    gateway.signal("TERM");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    prosody.signal("CONT");
    prosody.kill();
}

#[tokio::test]
async fn a_reload_takes_over_hosts_and_origins_and_keeps_sessions() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut client = site.online(&john, "web").await;
    let path = site.gateway.config_path();
    let old = fs::read_to_string(&path).expect("a file");

    let bosh = site.gateway.bosh();
    let served = |domain: &'static str| {
        let bosh = bosh.clone();
        async move {
            bosh.post(&creation(domain, &[]))
                .await
                .xml()
                .attr("condition")
                .is_none()
        }
    };
    assert!(!served("chat.example.net").await);
    let more = format!(
        "\n[[host]]\ndomain = \"chat.example.net\"\nupstream = \"xmpp://{}\"\n",
        site.prosody.c2s()
    );
    let new = old.replace("[bosh]", "[bosh]\ncors_origins = [\"https://a.example\"]") + &more;
    fs::write(&path, new).expect("written");
    site.gateway.signal("HUP");
    logged(&site.gateway, "configuration reloaded").await;
    // The server does not know the domain, which it says itself.
    let answer = bosh.post(&creation("chat.example.net", &[])).await;
    assert_ne!(answer.xml().attr("condition"), Some("host-unknown"));
    let options = bosh
        .request("OPTIONS", &[("Origin", "https://a.example")], "")
        .await;
    assert_eq!(
        options.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    let options = bosh
        .request("OPTIONS", &[("Origin", "https://b.example")], "")
        .await;
    assert_eq!(options.header("access-control-allow-origin"), None);

    fs::write(&path, format!("{old}\nnonsense = 1\n")).expect("written");
    site.gateway.signal("HUP");
    logged(&site.gateway, "configuration not reloaded").await;
    assert!(
        site.gateway.log().contains("rostergate.toml:"),
        "{}",
        site.gateway.log()
    );
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
    crate::support::within(&what, appears).await;
}

#[tokio::test]
async fn the_log_tells_the_story_and_no_secrets() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let client = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    client.send_message(&other.jid, "between us");
    other.expect_message("between us").await;
    site.refresh(&[&john]).await;
    client.logout().await;
    let log = site.gateway.log();
    for part in [
        "session created",
        "session bound",
        "session ended",
        &john.jid(),
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    for secret in [&*john.password, "between us", "c2VjcmV0", "<auth", "sid='"] {
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
    let tls = upstream_client_config(UpstreamTls::Verify, Some(&ca), None).expect("a policy");
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
