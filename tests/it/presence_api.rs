//! What the site is shown of who is available: `GET /roster_admin/presence`.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::{Value, json};

use support::{
    bosh::Bosh, client::Account, prosody::Prosody, webstream::WebStream, within, xml::CLIENT,
};

use crate::site::Site;

fn site() -> Site {
    Site::with(Prosody::shared(), |gateway| {
        gateway.host("offline_after = \"1s\"")
    })
}

async fn get(site: &Site, path: &str) -> (u16, Value) {
    let endpoint = site.gateway.admin().at(&format!("/roster_admin{path}"));
    let answer = endpoint.request("GET", &[], "").await;
    let body = serde_json::from_str(answer.text()).expect("JSON");
    (answer.status(), body)
}

/// What is said of one user.
async fn of(site: &Site, user: &str) -> Value {
    let (status, body) = get(site, &format!("/presence?user={user}")).await;
    assert_eq!(status, 200, "{body}");
    let users = body.as_object().expect("an object");
    assert_eq!(users.len(), 1, "{body}");
    body[user].clone()
}

/// Waits until what is said of a user, without the times, is this.
async fn becomes(site: &Site, user: &str, expected: Value) -> Value {
    within(&expected.to_string(), async {
        loop {
            let shown = of(site, user).await;
            let mut timeless = shown.clone();
            for time in ["since", "changed", "last_seen"] {
                timeless.as_object_mut().expect("an object").remove(time);
            }
            if timeless == expected {
                return shown;
            }
        }
    })
    .await
}

fn time(shown: &Value, key: &str) -> std::time::SystemTime {
    let text = shown[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} of {shown}"));
    humantime::parse_rfc3339(text).expect("RFC 3339")
}

async fn say(bosh: &mut Bosh, content: &str) {
    let presence = format!("<presence xmlns='{CLIENT}'>{content}</presence>");
    bosh.exchange(&presence).await;
}

fn online(site: &Site) -> (Account, Account) {
    (site.member("john"), site.member("marie"))
}

#[tokio::test]
async fn the_log_can_tell_who_was_shown_whom() {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.env("ROSTERGATE_LOG", "debug")
    });
    let mut query = String::from("?user=john%0A127.0.0.2");
    for number in 0..20 {
        write!(query, "&user=m{number}").expect("a string");
    }
    let (status, _) = get(&site, &format!("/presence{query}")).await;
    assert_eq!(status, 200);
    let logged = async {
        loop {
            let log = site.gateway.log();
            if let Some(line) = log.lines().find(|line| line.contains("presence shown")) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    };
    let line = within("the line", logged).await;
    let told = [
        "caller=127.0.0.1",
        "count=21",
        r#"["john\n127.0.0.2", "m0", "#,
    ];
    for told in told {
        assert!(line.contains(told), "{told}: {line}");
    }
    assert!(!line.contains("m9"), "a line has its bounds: {line}");
}

#[tokio::test]
async fn whoever_is_available_on_any_front_is_shown_with_what_they_say() {
    let site = site();
    let (john, marie) = online(&site);
    let nobody = json!({ "available": false });
    assert_eq!(of(&site, &john.local).await, nobody);

    let mut bosh = Bosh::log_in(&site.gateway.bosh(), &john, "web").await;
    assert_eq!(of(&site, &john.local).await, nobody, "it has said nothing");
    say(&mut bosh, "<show>away</show><status>at lunch</status>").await;
    let away = json!({
        "available": true, "show": "away", "status": "at lunch", "resources": 1, "asleep": 0,
    });
    let first = becomes(&site, &john.local, away).await;
    assert!(time(&first, "since") <= time(&first, "changed"));

    // The one who is there speaks for the user.
    let endpoint = site.gateway.websocket();
    let mut stream = WebStream::log_in_managed(&endpoint, &john, "phone").await;
    stream.send_presence().await;
    let there = json!({ "available": true, "resources": 2, "asleep": 0 });
    let both = becomes(&site, &john.local, there.clone()).await;
    assert_eq!(both["since"], first["since"]);

    let session = stream.vanish();
    let asleep = json!({ "available": true, "resources": 2, "asleep": 1 });
    becomes(&site, &john.local, asleep).await;
    let stream = WebStream::resumed(&endpoint, &john, session).await;
    becomes(&site, &john.local, there).await;
    stream.log_out().await;
    let alone = json!({
        "available": true, "show": "away", "status": "at lunch", "resources": 1, "asleep": 0,
    });
    becomes(&site, &john.local, alone).await;

    // Several at once, however they are named.
    let upper = john.local.to_uppercase();
    let users = format!("?user={upper}&user={}&user={}", john.jid(), marie.local);
    let (status, body) = get(&site, &format!("/presence{users}")).await;
    assert_eq!(status, 200, "{body}");
    for name in [&upper, &john.jid()] {
        assert_eq!(body[name]["show"], "away", "{body}");
    }
    assert_eq!(body[&marie.local], nobody);
    let domain = site.prosody.domain();
    let path = format!("/{domain}/presence?user={}", john.local);
    assert_eq!(get(&site, &path).await.1[&john.local]["show"], "away");
    let host = format!("/presence?host={domain}&user={}", john.local);
    assert_eq!(get(&site, &host).await, get(&site, &path).await);
}

#[tokio::test]
async fn whoever_has_gone_is_shown_with_the_time() {
    let site = site();
    let (john, _) = online(&site);
    let mut bosh = Bosh::log_in(&site.gateway.bosh(), &john, "web").await;
    say(&mut bosh, "").await;
    let there = json!({ "available": true, "resources": 1, "asleep": 0 });
    let shown = becomes(&site, &john.local, there.clone()).await;
    let unavailable = format!("<presence xmlns='{CLIENT}' type='unavailable'/>");
    let _held = bosh.send("", &unavailable).await;
    let gone = becomes(&site, &john.local, json!({ "available": false })).await;
    assert!(time(&gone, "last_seen") >= time(&shown, "since"));

    say(&mut bosh, "").await;
    let back = becomes(&site, &john.local, there).await;
    assert_eq!(back["last_seen"], Value::Null);
    let loaded_again = time(&back, "since");
    bosh.terminate().await;
    // Whoever loads a page again has not gone.
    let just_gone = json!({ "available": true, "resources": 0, "asleep": 0 });
    let gone = becomes(&site, &john.local, just_gone).await;
    assert!(time(&gone, "last_seen") >= loaded_again);
    becomes(&site, &john.local, json!({ "available": false })).await;
}

#[tokio::test]
async fn all_who_are_available_are_listed_page_by_page() {
    let site = Site::new();
    let mut clients = Vec::new();
    let mut names = BTreeSet::new();
    for name in ["john", "marie", "aaron"] {
        let account = site.member(name);
        clients.push(site.online(&account, "web").await);
        names.insert(account.local);
    }
    let mut listed = Vec::new();
    let mut query = "?limit=2".to_owned();
    for _ in 0..2 {
        let (status, page) = get(&site, &format!("/presence{query}")).await;
        assert_eq!((status, &page["status"]), (200, &json!("ok")), "{page}");
        assert_eq!(page["message"], "available: 3");
        assert_eq!(page["event"], Value::Null, "it wants no events");
        for (name, shown) in page["users"].as_object().expect("an object") {
            assert_eq!(shown["resources"], 1);
            listed.push(name.clone());
        }
        let Some(next) = page["next"].as_str() else {
            query.clear();
            break;
        };
        assert_eq!(Some(next), listed.last().map(String::as_str));
        query = format!("?limit=2&after={next}");
    }
    assert!(query.is_empty(), "that was the last page");
    assert_eq!(listed, names.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_told_why() {
    let site = Site::new();
    let many = "&user=a".repeat(1000);
    for (query, status, message) in [
        ("?user=", 400, "not a valid username"),
        ("?user=a%20b&user=%40", 400, "not a valid username"),
        ("?user=a%40other.example", 404, "not a configured domain"),
        ("?host=other.example&user=a", 404, "not a configured domain"),
        ("?limit=0", 400, "parameter limit: 1 to 1000"),
        ("?limit=1001", 400, "parameter limit: 1 to 1000"),
        ("?after=a%20b", 400, "parameter after: a username"),
        ("?user=a&limit=5", 400, "parameter limit: only without user"),
        ("?user=a&after=b", 400, "parameter after: only without user"),
        (
            "?users=a",
            400,
            "parameter users: no such parameter: user, after, limit or host",
        ),
        (
            &*format!("?user=a{many}"),
            400,
            "parameter user: at most 1000 of them",
        ),
    ] {
        let (got, body) = get(&site, &format!("/presence{query}")).await;
        let expected = json!({ "status": "error", "message": message });
        assert_eq!((got, body), (status, expected), "{query}");
    }
    let (status, _) = get(&site, "/other.example/presence").await;
    assert_eq!(status, 404);
    // One name that nobody can have does not hide the others.
    let (status, body) = get(&site, "/presence?user=a%20b&user=c").await;
    assert_eq!(status, 200);
    let expected = json!({
        "a b": { "available": false, "reason": "not a valid username" },
        "c": { "available": false },
    });
    assert_eq!(body, expected);
    let presence = site.gateway.admin().at("/roster_admin/presence");
    let posted = presence.request("POST", &[], "[]").await;
    assert_eq!(
        (posted.status(), posted.header("allow")),
        (405, Some("GET"))
    );
}

/// The page is about people; whoever may not call may not look.
#[tokio::test]
async fn strangers_do_not_see_who_is_available() {
    let site = Site::new();
    let presence = site.gateway.admin().at("/roster_admin/presence");
    let proxied = presence.request("GET", &[("X-Forwarded-For", "192.0.2.1")], "");
    assert_eq!(proxied.await.status(), 403);
}
