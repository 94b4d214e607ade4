//! The site brings a contact list itself: it counts as the backend's latest answer.

use serde_json::{Map, Value, json};

use support::{
    backend::Fault,
    client::{Account, Client, is_push},
    http::Response,
};

use crate::site::{Site, item};

/// Puts a list, and gives what the gateway says to it.
pub(crate) async fn put(site: &Site, user: &str, list: &str) -> (u16, Value) {
    let answer = request(site, user, list).await;
    let body = serde_json::from_str(answer.text()).expect("JSON");
    (answer.status(), body)
}

async fn request(site: &Site, user: &str, list: &str) -> Response {
    let path = format!("/roster_admin/rosters/{user}");
    let endpoint = site.gateway.admin().at(&path);
    endpoint.request("PUT", &[], list).await
}

/// Puts a list, which must go well.
pub(crate) async fn puts(site: &Site, owner: &Account, friends: &[(&str, Value)]) {
    let list: Map<String, Value> = friends
        .iter()
        .map(|(jid, data)| ((*jid).to_owned(), data.clone()))
        .collect();
    let list = Value::from(list).to_string();
    let expected = json!({
        "status": "ok", "message": "roster update complete", "updated": 1, "errors": 0,
    });
    assert_eq!(put(site, &owner.local, &list).await, (200, expected));
}

/// Who is on the list that a client gets.
async fn jids(client: &mut Client) -> Vec<String> {
    client.roster().await.into_keys().collect()
}

#[tokio::test]
async fn a_list_that_is_put_is_pushed_without_a_fetch() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut web = site.online(&john, "web").await;
    let mut friend = site.online(&marie, "web").await;
    let mut other = site.gateway.login(&john, "other").await;
    friend.expect_presence(&web.jid, "").await;
    let fetches = site.backend.fetches(&john.local);

    puts(
        &site,
        &john,
        &[("ann@example.org", json!({ "name": "Ann" }))],
    )
    .await;
    let mut pushed = [web.expect_push().await, web.expect_push().await];
    pushed.sort_by(|a, b| a.jid.cmp(&b.jid));
    assert_eq!(pushed[0], item("ann@example.org", Some("Ann"), &[], "both"));
    assert_eq!(pushed[1].jid, marie.jid());
    assert_eq!(pushed[1].subscription.as_deref(), Some("remove"));
    // Presence follows the list.
    friend.expect_presence(&web.jid, "unavailable").await;
    // It is the list of whoever asks now, too.
    assert_eq!(jids(&mut other).await, ["ann@example.org"]);
    // The same once more is no news.
    puts(
        &site,
        &john,
        &[("ann@example.org", json!({ "name": "Ann" }))],
    )
    .await;
    web.expect_none("a push", is_push).await;
    assert_eq!(site.backend.fetches(&john.local), fetches);
    // What the backend says later counts again.
    site.refresh(&[&john]).await;
    let pushed = [web.expect_push().await.jid, web.expect_push().await.jid];
    assert!(pushed.contains(&marie.jid()), "{pushed:?}");
}

#[tokio::test]
async fn a_fetch_that_began_before_does_not_overwrite_what_is_put() {
    let site = Site::new();
    let john = site.member("john");
    let mut web = site.online(&john, "web").await;
    site.backend
        .set(&john.local, json!({ "old@example.org": {} }));
    let mut gate = site.backend.gate(&john.local);
    let refreshing = tokio::spawn({
        let refresh = site.gateway.admin().at("/roster_admin/refresh");
        let body = json!([john.local]).to_string();
        async move { refresh.request("POST", &[], &body).await.status() }
    });
    gate.reached_by(1).await;
    puts(&site, &john, &[("new@example.org", json!({}))]).await;
    assert_eq!(web.expect_push().await.jid, "new@example.org");
    gate.open();
    assert_eq!(refreshing.await.expect("no panic"), 200);
    web.expect_none("the old list", is_push).await;
    assert_eq!(jids(&mut web).await, ["new@example.org"]);
}

#[tokio::test]
async fn what_is_put_for_somebody_offline_is_the_fallback_of_the_next_login() {
    let site = Site::new();
    let john = site.member("john");
    site.backend.fail(&john.local, Fault::Status(503));
    puts(&site, &john, &[("ann@example.org", json!({}))]).await;
    let mut web = site.gateway.login(&john, "web").await;
    assert_eq!(jids(&mut web).await, ["ann@example.org"]);
    assert!(
        site.backend.fetches(&john.local) > 0,
        "the backend comes first"
    );
}

#[tokio::test]
async fn what_is_no_list_is_refused_and_changes_nothing() {
    let site = Site::with(support::prosody::Prosody::shared(), |gateway| {
        gateway.admin("max_body = \"4KiB\"")
    });
    let john = site.member("john");
    let mut web = site.online(&john, "web").await;
    puts(&site, &john, &[("ann@example.org", json!({}))]).await;
    web.expect_push().await;
    let long = format!("{{\"a@b\":\"{}\"}}", "x".repeat(4096));
    for (body, status, reason) in [
        ("", 400, "body is no contact list: "),
        ("[\"ann@example.org\"]", 400, "body is no contact list: "),
        ("{\"ann@example.org\": {}", 400, "body is no contact list: "),
        (
            "{\"error\": \"down\"}",
            400,
            "none of the entries is a contact",
        ),
        (&long, 413, "larger than 4096 bytes"),
    ] {
        let (answered, said) = put(&site, &john.local, body).await;
        let message = said["message"].as_str().unwrap_or_default();
        assert_eq!(
            (answered, &said["status"]),
            (status, &json!("error")),
            "{body}: {said}"
        );
        assert!(message.contains(reason), "{body}: {said}");
    }
    for (user, status) in [("a%20b", 400), ("a@elsewhere.example", 404)] {
        assert_eq!(put(&site, user, "{}").await.0, status, "{user}");
    }
    web.expect_none("a push", is_push).await;

    // A part of it may be unusable; that is said, and shown.
    let (status, said) = put(&site, &john.local, "{\"a b\": {}, \"bob@example.org\": {}}").await;
    assert_eq!((status, &said["updated"]), (200, &json!(1)), "{said}");
    assert_eq!(said["left_out"][0]["jid"], "a b", "{said}");
    assert_eq!(
        site.gateway
            .admin()
            .at("/roster_admin/status")
            .request("GET", &[], "")
            .await
            .text()
            .matches("incomplete_rosters\":[{")
            .count(),
        1
    );
    let log = site.gateway.log();
    assert!(
        log.contains("contact list put") && !log.contains("bob@example.org"),
        "{log}"
    );
}
