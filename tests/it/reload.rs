//! What SIGHUP changes, and what only a restart does; `operation.rs` and `tls.rs` have more of it.

use std::fs;

use crate::support::{
    bosh::{Bosh, creation},
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
    within,
};

/// Changes the configuration, and waits until it is in use.
async fn reload(gateway: &Gateway, from: &str, to: &str) {
    const DONE: &str = "configuration reloaded";
    let path = gateway.config_path();
    let old = fs::read_to_string(&path).expect("a file");
    assert!(old.contains(from), "{from} in {old}");
    fs::write(&path, old.replace(from, to)).expect("written");
    let before = gateway.log().matches(DONE).count();
    gateway.signal("HUP");
    let done = async {
        while gateway.log().matches(DONE).count() == before {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("a reload", done).await;
}

#[tokio::test]
async fn limits_and_tokens_change_and_sessions_stay() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .bosh("max_sessions = 1")
        .admin("token = \"old-token\"")
        .start();
    let mut session = Bosh::log_in(&gateway.bosh(), &prosody.account("john"), "web").await;
    let create = async || gateway.bosh().post(&creation(DOMAIN, &[])).await;
    let admin = gateway.admin().at("/roster_admin/refresh");
    let status = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        admin.request("POST", &headers, "[]").await.status()
    };
    assert_eq!(create().await.status(), 503);
    assert_eq!(status("old-token").await, 200);
    reload(&gateway, "max_sessions = 1", "max_sessions = 2").await;
    reload(&gateway, "old-token", "new-token").await;
    assert_eq!(create().await.status(), 200);
    assert_eq!(create().await.status(), 503, "two, and no more");
    assert_eq!(status("old-token").await, 401);
    assert_eq!(status("new-token").await, 200);
    let end = session.send("type='terminate'", "").await.body().await;
    assert_eq!(end.attr("condition"), None, "it was still there");
}

#[tokio::test]
async fn who_has_created_too_many_sessions_gains_nothing_by_a_reload() {
    let gateway = Gateway::builder(Prosody::shared())
        .bosh("max_sessions = 10")
        .bosh("creations_per_address = 1")
        .start();
    let from = [("X-Forwarded-For", "192.0.2.1")];
    let create = async || {
        let creation = creation(DOMAIN, &[]);
        gateway.bosh().request("POST", &from, &creation).await
    };
    assert_eq!(create().await.status(), 200);
    reload(&gateway, "max_sessions = 10", "max_sessions = 20").await;
    let (_, reason) = create().await.not_now();
    assert_eq!(reason, "too many new sessions of this address");
    reload(&gateway, "per_address = 1", "per_address = 2").await;
    assert_eq!(create().await.status(), 200, "a new bound");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_taken_over() {
    let gateway = Gateway::builder(Prosody::shared())
        .bosh("max_sessions = 1")
        .start();
    let said = |key: &str| {
        let log = gateway.log();
        let mut lines = log.lines();
        lines.any(|line| line.contains("not before a restart") && line.contains(key))
    };
    reload(&gateway, "max_sessions = 1", "max_sessions = 2").await;
    assert!(!said("server.listen"));
    reload(&gateway, "[\"127.0.0.1:0\"]", "[\"127.0.0.1:1\"]").await;
    assert!(said("server.listen"), "{}", gateway.log());
    reload(&gateway, "threads = 1", "threads = 2").await;
    assert!(said("server.threads"), "{}", gateway.log());
    let answer = gateway.bosh().request("GET", &[], "").await;
    assert_eq!(answer.status(), 200, "still where it was");
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing_and_says_where() {
    let gateway = Gateway::builder(Prosody::shared())
        .bosh("max_sessions = 1")
        .start();
    let path = gateway.config_path();
    let text = fs::read_to_string(&path).expect("a file");
    let broken = text.replace("max_sessions = 1", "max_sessions = \"many\"");
    let line = text.lines().position(|line| line == "max_sessions = 1");
    let place = format!(
        "rostergate.toml:{}:16: bosh.max_sessions",
        line.expect("there") + 1
    );
    fs::write(&path, broken).expect("written");
    gateway.signal("HUP");
    let refused = async {
        while !gateway.log().contains(&place) {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within(&place, refused).await;
    let create = async || gateway.bosh().post(&creation(DOMAIN, &[])).await;
    assert_eq!(create().await.status(), 200);
    assert_eq!(create().await.status(), 503, "as before");
}
