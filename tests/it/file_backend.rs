//! A backend that is a real Nginx with files. What its answers say of their versions counts in seconds, and it
//! closes idle connections when it likes.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::sleep;

use support::{
    client::{Account, Client},
    files::Files,
    gateway::Gateway,
    prosody::Prosody,
};

struct Site {
    files: Files,
    gateway: Gateway,
}

impl Site {
    fn new() -> Self {
        let files = Files::start();
        let gateway = Gateway::builder(Prosody::shared());
        let gateway = gateway.host(&format!("http_roster_url = \"{}\"", files.url()));
        let gateway = gateway.start();
        Self { files, gateway }
    }

    /// A member with this list who is online.
    async fn online(&self, list: &Value) -> (Account, Client) {
        let account = Prosody::shared().account("john");
        self.files.set(&account.local, list);
        let mut client = self.gateway.login(&account, "web").await;
        client.roster().await;
        (account, client)
    }

    /// Tells of changes, which must go well.
    async fn refresh(&self, users: &[&str]) {
        let refresh = self.gateway.admin().at("/roster_admin/refresh");
        let answer = refresh
            .request("POST", &[], &json!(users).to_string())
            .await;
        let summary: Value = serde_json::from_str(answer.text()).expect("JSON");
        assert_eq!(summary["updated"], users.len(), "{summary}");
    }
}

fn named(name: &str) -> Value {
    json!({ "marie@example.org": { "name": name } })
}

/// Two lists of one length within a second have the same `ETag` and the same `Last-Modified`.
#[tokio::test]
async fn two_changes_within_a_second_are_both_seen() {
    let site = Site::new();
    let (john, mut client) = site.online(&named("Marie")).await;
    let user = &*john.local;
    let second = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.expect("a time after 1970").as_secs()
    };
    // A slow machine may need several seconds to have two changes in one of them.
    for _ in 0..100 {
        site.files.set(user, &named("Maria"));
        site.refresh(&[user]).await;
        let first = site.files.modified(user);
        site.files.set(user, &named("Marla"));
        if second(first) != second(site.files.modified(user)) {
            continue;
        }
        site.refresh(&[user]).await;
        let list = client.roster().await;
        let name = list["marie@example.org"].name.as_deref();
        assert_eq!(name, Some("Marla"), "{:?}", site.files.statuses(user));
        return;
    }
    panic!("no two changes came within a second");
}

#[tokio::test]
async fn a_list_that_has_been_so_for_long_is_not_sent_again() {
    let site = Site::new();
    let (john, mut client) = site.online(&named("Marie")).await;
    let user = &*john.local;
    let an_hour_ago = site.files.modified(user) - Duration::from_secs(3600);
    site.files.set_modified(user, an_hour_ago);
    site.refresh(&[user]).await;
    site.refresh(&[user]).await;
    let statuses = site.files.statuses(user);
    assert_eq!(
        statuses.last().map(String::as_str),
        Some("304"),
        "{statuses:?}"
    );
    assert_eq!(client.roster().await.len(), 1);
}

/// Requests that meet the moment at which Nginx closes their connections.
#[tokio::test]
async fn a_connection_that_closes_costs_no_notification() {
    let site = Site::new();
    let mut online = Vec::new();
    for _ in 0..16 {
        online.push(site.online(&named("Marie")).await);
    }
    let users: Vec<_> = online.iter().map(|(account, _)| &*account.local).collect();
    for round in 0..40 {
        site.refresh(&users).await;
        if site
            .gateway
            .log()
            .contains("backend closed an idle connection")
        {
            return;
        }
        // Not to wait for anything: this is the pace that meets the second of Nginx's `keepalive_timeout`.
        sleep(Duration::from_millis(990 + round % 20)).await;
    }
}
