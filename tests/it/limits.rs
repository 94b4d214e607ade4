//! How much one address and one user may have; `bounds.rs` has what a request may be.

use std::{ffi::OsStr, fs, path::Path, time::Duration};

use tempfile::TempDir;

use support::{
    bosh::{Bosh, bind_request, creation},
    gateway::Gateway,
    http::{Connection, Endpoint},
    process::Process,
    prosody::{DOMAIN, Prosody},
    within,
    xml::STREAMS,
};

#[tokio::test]
async fn an_address_has_so_many_sessions_at_once() {
    let gateway = Gateway::builder(Prosody::shared())
        .session("sessions_per_address = 2")
        .start();
    let create = async |address: &str| {
        let headers = [("X-Forwarded-For", address)];
        let creation = creation(DOMAIN, &[]);
        gateway.bosh().request("POST", &headers, &creation).await
    };
    let mut sids = Vec::new();
    for _ in 0..2 {
        let created = create("192.0.2.1").await;
        sids.push(created.xml().attr("sid").expect("a session").to_owned());
    }
    let refused = create("192.0.2.1").await;
    assert_eq!(refused.not_now().1, "too many sessions of this address");
    assert_eq!(create("192.0.2.2").await.status(), 200, "another's");
    for _ in 0..20 {
        assert_eq!(create("192.0.2.1").await.status(), 503);
    }
    // With this one's line in the log, all those before are there.
    assert_eq!(create("192.0.2.3").await.status(), 200);
    let logged = async {
        while !gateway.log().contains("client=192.0.2.3") {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("a line in the log", logged).await;
    let log = gateway.log();
    let told = log.matches("too many sessions of this address").count();
    assert!((1..20).contains(&told), "{told} lines of 21 refusals");
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_the_newest_ends() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .session("sessions_per_user = 2")
        .start();
    let john = prosody.account("john");
    let mut one = Bosh::log_in(&gateway.bosh(), &john, "one").await;
    let mut two = gateway.login(&john, "two").await;
    let _marie = gateway.login(&prosody.account("marie"), "web").await;
    let mut three = Bosh::open(&gateway.bosh(), DOMAIN).await;
    three.authenticate(&john).await;
    let bind = bind_request("three");
    let answer = three.send("", &bind).await.body().await;
    assert_eq!(answer.attr("type"), Some("terminate"), "{answer}");
    assert_eq!(answer.attr("condition"), Some("policy-violation"));
    let error = answer.child(STREAMS, "error").expect("a reason");
    assert!(error.to_string().contains("too many sessions of this user"));
    two.fence().await;
    let end = one.send("type='terminate'", "").await.body().await;
    assert_eq!(end.attr("condition"), None, "it was still there");
    // Now there is room.
    let mut three = gateway.login(&john, "three").await;
    three.fence().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_proxy_more() {
    let gateway = Gateway::builder(Prosody::shared())
        .server("trusted_proxies = []")
        .server("connections_per_address = 2")
        .start();
    let bosh = gateway.bosh();
    let mut first = Connection::open(&bosh).await;
    first.send("GET", &bosh.path, &[], "").await;
    assert_eq!(first.response().await.status(), 200);
    let second = Connection::open(&bosh).await;
    let refused = bosh.request("GET", &[], "").await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(refused.text(), "too many connections of this address\n");
    drop(second);
    let admitted = async { while bosh.request("GET", &[], "").await.status() != 200 {} };
    within("a place that is free again", admitted).await;

    let gateway = Gateway::builder(Prosody::shared())
        .server("connections_per_address = 1")
        .start();
    let _held = Connection::open(&gateway.bosh()).await;
    let answer = gateway.bosh().request("GET", &[], "").await;
    assert_eq!(answer.status(), 200, "loopback is trusted");
}

#[tokio::test]
async fn there_is_an_end_of_connections() {
    let gateway = Gateway::builder(Prosody::shared())
        .server("max_connections = 1")
        .start();
    let bosh = gateway.bosh();
    let mut only = Connection::open(&bosh).await;
    only.send("GET", &bosh.path, &[], "").await;
    assert_eq!(only.response().await.status(), 200);
    let refused = bosh.request("GET", &[], "").await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(refused.text(), "too many connections in all\n");
}

/// What shells start programs with is far less than what is configured.
#[tokio::test]
async fn as_many_files_may_be_open_as_the_system_allows() {
    const LIMITED: &str = "ulimit -S -n 64; exec \"$0\" serve --config \"$1\"";
    let scratch = TempDir::new().expect("a directory");
    let config = scratch.path().join("rostergate.toml");
    let text = Gateway::builder(Prosody::shared()).config();
    fs::write(&config, text).expect("written");
    let program = OsStr::new(env!("CARGO_BIN_EXE_rostergate"));
    let args = ["-c".as_ref(), LIMITED.as_ref(), program, config.as_os_str()];
    let log = scratch.path().join("log");
    let mut gateway = Process::start(Path::new("/bin/sh"), args, &[], log);
    let line = gateway.line(Duration::from_secs(20)).expect("an address");
    let address = line.strip_prefix("listening on http://").expect("HTTP");
    let bosh = Endpoint::new(address.parse().expect("an address"), "/http-bind");
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(Connection::open(&bosh).await);
    }
    let answer = within("an answer", bosh.request("GET", &[], "")).await;
    assert_eq!(answer.status(), 200);
}
