//! What mod_http_roster_admin gets wrong, by the numbers of the list that was made of it: here it has to
//! go right.

use serde_json::{Value, json};

use support::{
    backend::Fault,
    client::{Account, is_push},
    http::Response,
    prosody::Prosody,
    xml::{CLIENT, ROSTER},
};

use crate::site::{Site, item};

fn summary(response: &Response) -> Value {
    serde_json::from_str(response.text()).expect("JSON")
}

async fn post(site: &Site, accounts: &[&Account]) -> (u16, Value) {
    let users: Vec<&str> = accounts.iter().map(|account| &*account.local).collect();
    let response = site.post(&json!(users).to_string()).await;
    (response.status(), summary(&response))
}

fn garbage() -> Fault {
    Fault::Answer {
        content_type: "application/json",
        body: "{\"a@b\": oops".into(),
    }
}

#[tokio::test]
async fn bug_01_pushes_have_an_id() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    site.backend
        .set(&john.local, json!({ "a@example.org": {} }));
    site.refresh(&[&john]).await;
    let push = client.expect("the push", is_push).await;
    assert!(push.attr("id").is_some_and(|id| !id.is_empty()));
    assert_eq!(push.attr("from"), None);
}

#[tokio::test]
async fn bugs_02_and_03_bad_bodies_are_answered_with_400() {
    let site = Site::new();
    let empty = site.post("[]").await;
    let expected = json!({
        "status": "ok", "message": "roster update complete", "updated": 0, "errors": 0,
    });
    assert_eq!((empty.status(), summary(&empty)), (200, expected));
    for body in [
        "{}",
        "{\"john\":true}",
        "\"john\"",
        "",
        "not json",
        "[\"john\"",
        "[1]",
        "null",
        "false",
    ] {
        let response = site.post(body).await;
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(summary(&response)["status"], "error", "{body}");
    }
}

#[tokio::test]
async fn bug_04_one_bad_user_does_not_spoil_the_answer() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut one = site.online(&john, "web").await;
    let mut other = site.online(&marie, "web").await;
    site.backend
        .set(&john.local, json!({ "a@example.org": {} }));
    site.backend.fail(&marie.local, garbage());
    let (status, summary) = post(&site, &[&john, &marie]).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&summary["updated"], &summary["errors"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(summary["failed"][0]["username"], json!(marie.local));
    assert_eq!(one.expect_push().await.jid, "a@example.org");
    other.expect_none("push", is_push).await;
}

#[tokio::test]
async fn bug_05_a_backend_that_is_silent_or_gone_is_answered_for() {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.host("backend_timeout = \"500ms\"")
    });
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    for fault in [Fault::Drop, Fault::Hang, Fault::HangMidway] {
        site.backend.fail(&john.local, fault);
        assert_eq!(post(&site, &[&john]).await.0, 500);
        let refresh = format!("/roster_admin/refresh/{}", john.local);
        let get = site
            .gateway
            .admin()
            .at(&refresh)
            .request("GET", &[], "")
            .await;
        assert_eq!(get.status(), 502);
    }
    client.fence().await;
    let mut fresh = site.gateway.login(&site.member("marie"), "web").await;
    site.backend
        .fail(fresh.jid.split_once('@').expect("a JID").0, Fault::Hang);
    let answer = fresh.refused_roster().await;
    assert_eq!(answer.error(), Some("internal-server-error"));
}

#[tokio::test]
async fn bugs_06_and_07_failures_are_called_so() {
    let site = Site::new();
    let john = site.member("john");
    let _client = site.online(&john, "web").await;
    site.backend.fail(&john.local, Fault::Status(404));
    let (status, summary) = post(&site, &[&john]).await;
    assert_eq!((status, &summary["status"]), (500, &json!("error")));
    assert_eq!(summary["failed"][0]["reason"], "backend answered 404");
}

#[tokio::test]
async fn bug_08_an_array_of_contacts_is_a_failed_fetch_and_changes_nothing() {
    let site = Site::new();
    let john = site.member("john");
    site.backend
        .set(&john.local, json!({ "a@example.org": {} }));
    let mut client = site.online(&john, "web").await;
    site.backend.set(&john.local, json!(["a@example.org"]));
    assert_eq!(post(&site, &[&john]).await.0, 500);
    assert!(client.roster().await.contains_key("a@example.org"));
}

#[tokio::test]
async fn bug_09_arrays_and_nulls_are_understood() {
    let site = Site::new();
    let john = site.member("john");
    site.backend.set(
        &john.local,
        json!({ "a@example.org": { "groups": ["G"], "name": null }, "b@example.org": null }),
    );
    let mut client = site.online(&john, "web").await;
    let roster: Vec<_> = client.roster().await.into_values().collect();
    let (a, b) = ("a@example.org", "b@example.org");
    assert_eq!(
        roster,
        [item(a, None, &["G"], "both"), item(b, None, &[], "both")]
    );
}

#[tokio::test]
async fn bug_10_a_new_name_or_group_is_pushed_and_served() {
    let site = Site::new();
    let john = site.member("john");
    site.backend.set(
        &john.local,
        json!({ "a@example.org": { "name": "Old", "groups": ["X"] } }),
    );
    let mut client = site.online(&john, "web").await;
    site.backend.set(
        &john.local,
        json!({ "a@example.org": { "name": "New", "groups": ["Y"] } }),
    );
    site.refresh(&[&john]).await;
    let new = item("a@example.org", Some("New"), &["Y"], "both");
    assert_eq!(client.expect_push().await, new);
    assert_eq!(client.roster().await["a@example.org"], new);
}

#[tokio::test]
async fn bug_11_the_username_is_encoded_in_the_url() {
    let site = Site::new();
    let account = site.prosody.account_named("x#y?z");
    site.backend.set("x#y?z", json!({}));
    site.online(&account, "web").await;
    assert_eq!(site.backend.requests()[0].target, "/contacts/x%23y%3Fz");
}

#[tokio::test]
async fn bug_12_presence_before_the_roster_reaches_contacts() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut marie = site.online(&marie, "web").await;
    let mut gate = site.backend.gate(&john.local);
    let mut client = site.gateway.login(&john, "web").await;
    client.send_presence("");
    let get = client.send_iq("get", "", &format!("<query xmlns='{ROSTER}'/>"));
    gate.reached_by(1).await;
    gate.open();
    client
        .expect("the roster", |stanza| stanza.is_reply_to(&get))
        .await;
    marie.expect_presence(&client.jid.clone(), "").await;
    client.expect_presence(&marie.jid.clone(), "").await;
}

#[tokio::test]
async fn bug_13_a_resource_without_presence_disturbs_nobody() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let zoe = site.member("zoe");
    let mut bound = site.gateway.login(&john, "bound").await;
    bound.roster().await;
    let mut marie_client = site.online(&marie, "web").await;
    for (friends, kind) in [(vec![&marie, &zoe], "both"), (vec![], "remove")] {
        site.list(&john, &friends);
        site.refresh(&[&john]).await;
        for friend in [&marie, &zoe] {
            let pushed = item(&friend.jid(), None, &[], kind);
            assert_eq!(bound.expect_push().await, pushed);
        }
    }
    let from_bound = |stanza: &support::xml::Element| stanza.attr("from") == Some(&bound.jid);
    marie_client
        .expect_none("presence of a resource that has none", from_bound)
        .await;
}

#[tokio::test]
async fn bug_14_one_refresh_shows_and_hides_both() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.list(&marie, &[&john]);
    let mut one = site.online(&john, "web").await;
    let other = site.online(&marie, "web").await;
    one.fence().await;
    site.list(&john, &[&marie]);
    site.refresh(&[&john]).await;
    one.expect_push().await;
    one.expect_presence(&other.jid, "").await;
    site.list(&john, &[]);
    site.refresh(&[&john]).await;
    one.expect_presence(&other.jid, "unavailable").await;
}

#[tokio::test]
async fn bug_15_subscribing_to_a_full_jid_leaves_no_trace() {
    let site = Site::new();
    let john = site.member("john");
    site.backend
        .set(&john.local, json!({ "a@example.org": {} }));
    let mut client = site.online(&john, "web").await;
    client.send(&format!(
        "<presence xmlns='{CLIENT}' type='subscribe' to='new@example.org/x'/>"
    ));
    client
        .expect_presence("new@example.org", "unsubscribed")
        .await;
    client.logout().await;
    let mut again = site.online(&john, "web").await;
    let jids: Vec<_> = again.roster().await.into_keys().collect();
    assert_eq!(jids, ["a@example.org"]);
    assert_eq!(site.backend.fetches(&john.local), 2);
}

#[tokio::test]
async fn bug_16_jids_are_prepared_and_bad_ones_left_out() {
    let site = Site::new();
    let john = site.member("john");
    site.backend.set(
        &john.local,
        json!({
            "Aaron@Example.ORG": {}, "": {}, "pending": {}, "a@b@c": {}, "x@example.org/phone": {},
            (john.jid()): {},
        }),
    );
    let mut client = site.online(&john, "web").await;
    let jids: Vec<_> = client.roster().await.into_keys().collect();
    assert_eq!(jids, ["aaron@example.org"]);
}

#[tokio::test]
async fn bug_17_a_logout_during_a_refresh_is_no_error() {
    let site = Site::new();
    let john = site.member("john");
    let client = site.online(&john, "web").await;
    let mut gate = site.backend.gate(&john.local);
    let refresh = site.gateway.admin().at("/roster_admin/refresh");
    let body = json!([john.local]).to_string();
    let post = tokio::spawn(async move { refresh.request("POST", &[], &body).await });
    gate.reached_by(1).await;
    client.logout().await;
    gate.open();
    let response = post.await.expect("answered");
    assert_eq!(
        (response.status(), &summary(&response)["updated"]),
        (200, &json!(1))
    );
}

#[tokio::test]
async fn bug_18_a_web_page_cannot_call() {
    let site = Site::new();
    let refresh = site.gateway.admin().at("/roster_admin/refresh");
    let headers = [
        ("Origin", "https://evil.example"),
        ("Content-Type", "text/plain"),
    ];
    let answer = refresh.request("POST", &headers, "[]").await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn bug_19_the_host_header_matters_little() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    for (number, host) in ["EXAMPLE.org", "example.org:5290", "127.0.0.1", "localhost"]
        .iter()
        .enumerate()
    {
        let jid = format!("c{number}@example.org");
        site.backend.set(&john.local, json!({ (jid.clone()): {} }));
        let refresh = site.gateway.admin().at("/roster_admin/refresh");
        let body = json!([john.local]).to_string();
        assert_eq!(
            refresh
                .request("POST", &[("Host", host)], &body)
                .await
                .status(),
            200,
            "{host}"
        );
        let added = |push: &support::xml::Element| push.to_string().contains(&jid);
        client.expect("the push", added).await;
    }
}

#[tokio::test]
async fn bug_20_a_failing_backend_does_not_end_sessions() {
    let site = Site::new();
    let john = site.member("john");
    let elsewhere = format!("http://{}/contacts/marie", site.backend.address());
    for fault in [
        Fault::Status(404),
        Fault::Status(500),
        Fault::Status(204),
        Fault::Redirect(elsewhere),
    ] {
        site.backend.fail(&john.local, fault.clone());
        let mut client = site.gateway.login(&john, "web").await;
        let answer = client.refused_roster().await;
        assert_eq!(answer.error(), Some("internal-server-error"), "{fault:?}");
        client.fence().await;
    }
}

#[tokio::test]
async fn bug_21_a_name_given_often_is_fetched_once() {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.host("backend_concurrency = 2")
    });
    let members: Vec<Account> = (0..6)
        .map(|number| site.member(&format!("m{number}")))
        .collect();
    let mut clients = Vec::new();
    for member in &members {
        clients.push(site.online(member, "web").await);
    }
    let users: Vec<&str> = members
        .iter()
        .flat_map(|member| [&*member.local; 50])
        .collect();
    let response = site.post(&json!(users).to_string()).await;
    assert_eq!(summary(&response)["updated"], json!(300));
    for member in &members {
        assert_eq!(site.backend.fetches(&member.local), 2, "at login and now");
    }
    assert!(site.backend.most_in_flight() <= 2);
}

#[tokio::test]
async fn bug_22_pre_approval_is_not_offered() {
    let site = Site::new();
    let client = site.gateway.login(&site.member("john"), "web").await;
    assert!(
        client
            .features
            .child("urn:ietf:params:xml:ns:xmpp-bind", "bind")
            .is_some()
    );
    assert!(
        client
            .features
            .child("urn:xmpp:features:pre-approval", "sub")
            .is_none()
    );
}
