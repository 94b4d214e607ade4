//! What SIGHUP changes, and what only a restart does; `operation.rs` and `tls.rs` have more of it.

use std::fs;

use serde_json::json;

use support::{
    backend::Backend,
    bosh::{Bosh, creation},
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
    within,
};

use crate::site::Site;

/// Changes the configuration, and waits until it is in use.
async fn reload(gateway: &Gateway, from: &str, to: &str) {
    let old = fs::read_to_string(gateway.config_path()).expect("a file");
    assert!(old.contains(from), "{from} in {old}");
    reload_as(gateway, &old.replace(from, to)).await;
}

/// Writes the configuration, and waits until it is in use.
async fn reload_as(gateway: &Gateway, config: &str) {
    const DONE: &str = "configuration reloaded";
    fs::write(gateway.config_path(), config).expect("written");
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
        .session("max_sessions = 1")
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
async fn a_reload_does_not_reset_the_count_of_sessions_created() {
    let gateway = Gateway::builder(Prosody::shared())
        .session("max_sessions = 10")
        .session("creations_per_address = 1")
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
async fn settings_that_need_a_restart_are_named_and_the_others_take_effect() {
    let gateway = Gateway::builder(Prosody::shared())
        .session("max_sessions = 1")
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
async fn an_unreadable_configuration_changes_nothing_and_names_the_place() {
    let gateway = Gateway::builder(Prosody::shared())
        .session("max_sessions = 1")
        .start();
    let path = gateway.config_path();
    let text = fs::read_to_string(&path).expect("a file");
    let broken = text.replace("max_sessions = 1", "max_sessions = \"many\"");
    let line = text.lines().position(|line| line == "max_sessions = 1");
    let place = format!(
        "rostergate.toml:{}:16: session.max_sessions",
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

/// Changes the configuration and back again, with a session that began before, and finds that a refresh
/// still reaches it.
async fn assert_rosters_outlive(change: impl FnOnce(&Site, &str) -> String) {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut client = site.online(&john, "web").await;
    let before = fs::read_to_string(site.gateway.config_path()).expect("a file");
    let meanwhile = change(&site, &before);
    assert_ne!(before, meanwhile);
    reload_as(&site.gateway, &meanwhile).await;
    let unknown = site.post(&format!("[\"{}\"]", john.jid())).await;
    assert_ne!(unknown.status(), 200, "nothing to refresh: {unknown:?}");
    // As often as the operator likes.
    reload_as(&site.gateway, &meanwhile).await;
    reload_as(&site.gateway, &before).await;
    site.list(&john, &[&marie]);
    site.refresh(&[&john]).await;
    assert_eq!(client.expect_push().await.jid, marie.jid());
    // Who comes now shares it.
    let fetches = site.backend.fetches(&john.local);
    let mut later = site.gateway.login(&john, "later").await;
    assert!(later.roster().await.contains_key(&marie.jid()));
    assert_eq!(site.backend.fetches(&john.local), fetches);
}

#[tokio::test]
async fn rosters_outlive_the_lack_of_their_backend() {
    assert_rosters_outlive(|site, config| {
        let line = format!("http_roster_url = \"{}\"\n", site.backend.url());
        config.replace(&line, "")
    })
    .await;
}

#[tokio::test]
async fn rosters_outlive_the_lack_of_their_host() {
    assert_rosters_outlive(|_, config| {
        let domain = format!("domain = \"{DOMAIN}\"");
        config.replace(&domain, "domain = \"other.example\"")
    })
    .await;
}

#[tokio::test]
async fn what_is_not_taken_over_changes_no_backend() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut client = site.online(&john, "web").await;
    let path = site.gateway.config_path();
    let before = fs::read_to_string(&path).expect("a file");
    // The second host cannot be used, which shows when the first has been looked at.
    let broken = before.replace(&site.backend.url(), "http://127.0.0.1:9/%s")
        + "\n[[host]]\ndomain = \"other.example\"\nupstream = \"xmpps://192.0.2.1:5223\"\n\
           upstream_tls = \"verify\"\nupstream_ca = \"/dev/null\"\n";
    fs::write(&path, broken).expect("written");
    site.gateway.signal("HUP");
    let refused = async {
        while !site.gateway.log().contains("configuration not reloaded") {
            site.gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("the refusal", refused).await;
    site.list(&john, &[&marie]);
    site.refresh(&[&john]).await;
    assert_eq!(client.expect_push().await.jid, marie.jid());
}

/// Another backend may give the same name to another version: many count them.
#[tokio::test]
async fn another_backend_is_not_asked_for_what_the_last_one_had() {
    let site = Site::new();
    let (john, marie, aaron) = (
        site.member("john"),
        site.member("marie"),
        site.member("aaron"),
    );
    let other = Backend::start();
    for backend in [&site.backend, &other] {
        backend.send_etag("\"1\"");
    }
    site.list(&john, &[&marie]);
    other.set(&john.local, json!({ aaron.jid(): {} }));
    let mut client = site.online(&john, "web").await;
    reload(&site.gateway, &site.backend.url(), &other.url()).await;
    site.refresh(&[&john]).await;
    let pushes = [client.expect_push().await, client.expect_push().await];
    let jids = pushes.map(|item| item.jid);
    assert!(
        jids.contains(&aaron.jid()) && jids.contains(&marie.jid()),
        "{jids:?}"
    );
}
