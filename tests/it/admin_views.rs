//! What people who look into things are shown of sessions and rosters.

use serde_json::{Value, json};

use support::{
    backend::Fault, client::Account, gateway::Gateway, prosody::Prosody, webstream::WebStream,
    within, xml::ROSTER,
};

use crate::site::Site;

/// What the admin API says to a `GET` below its path.
async fn get(site: &Site, path: &str) -> (u16, Value) {
    let endpoint = site.gateway.admin().at(&format!("/roster_admin{path}"));
    let answer = endpoint.request("GET", &[], "").await;
    let body = serde_json::from_str(answer.text()).expect("JSON");
    (answer.status(), body)
}

async fn sessions(site: &Site, query: &str) -> Value {
    let (status, body) = get(site, &format!("/sessions{query}")).await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")), "{body}");
    body
}

async fn roster(site: &Site, user: &Account) -> Value {
    let (status, body) = get(site, &format!("/rosters/{}", user.local)).await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")), "{body}");
    body
}

#[tokio::test]
async fn sessions_are_counted_and_shown() {
    let site = Site::new();
    let nobody = sessions(&site, "").await;
    assert_eq!(nobody["counts"]["total"], 0);
    assert_eq!(nobody["sessions"], json!([]));

    let (john, marie) = (site.member("john"), site.member("marie"));
    let web = site.online(&john, "web").await;
    let shy = site.gateway.login(&marie, "shy").await;
    let all = sessions(&site, "").await;
    let counts = json!({
        "total": 2, "connecting": 0, "negotiating": 0, "bound": 2, "asleep": 0, "ending": 0,
        "bosh": 2, "websocket": 0, "interested": 1,
    });
    assert_eq!(all["counts"], counts);
    assert_eq!(all["next"], Value::Null);
    let mut shown = all["sessions"].clone();
    for session in shown.as_array_mut().expect("a list") {
        let session = session.as_object_mut().expect("an object");
        let age = session.remove("age").expect("seconds");
        assert!(age.as_u64().expect("a number") < 120, "{age}");
        assert!(session.remove("number").expect("its name").is_u64());
    }
    let session = |jid: &str, interested| {
        json!({
            "jid": jid, "domain": site.prosody.domain(), "address": "127.0.0.1",
            "front": "bosh", "protocol": "http/1.1", "tls": false, "state": "bound",
            "asleep": null, "interested": interested,
        })
    };
    assert_eq!(
        shown,
        json!([session(&web.jid, true), session(&shy.jid, false)])
    );
}

/// Waits until the only session is in this state, and gives what is said of it and of all.
async fn becomes(site: &Site, state: &str) -> (Value, Value) {
    within(state, async {
        loop {
            let all = sessions(site, "").await;
            if all["counts"]["total"] == 1 && all["sessions"][0]["state"] == state {
                return (all["sessions"][0].clone(), all["counts"].clone());
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_session_by_websocket_is_shown_awake_and_asleep() {
    let site = Site::new();
    let john = site.member("john");
    let endpoint = site.gateway.websocket();
    let stream = WebStream::log_in_managed(&endpoint, &john, "web").await;
    let (awake, counts) = becomes(&site, "bound").await;
    assert_eq!(awake["front"], "websocket", "{awake}");
    assert_eq!(awake["protocol"], "http/1.1", "{awake}");
    assert_eq!(awake["asleep"], Value::Null, "{awake}");
    assert_eq!(counts["websocket"], 1, "{counts}");

    let session = stream.vanish();
    let (asleep, counts) = becomes(&site, "asleep").await;
    assert_eq!(asleep["number"], awake["number"], "{asleep}");
    let seconds = asleep["asleep"].as_u64().expect("seconds");
    assert!(seconds < 60, "{asleep}");
    assert_eq!(counts["asleep"], 1, "{counts}");
    assert_eq!(counts["bound"], 0, "{counts}");

    let _stream = WebStream::resumed(&endpoint, &john, session).await;
    // The session that the new connection began with ends.
    let (resumed, counts) = becomes(&site, "bound").await;
    assert_eq!(resumed["number"], awake["number"], "{resumed}");
    assert_eq!(resumed["asleep"], Value::Null, "{resumed}");
    assert_eq!(counts["asleep"], 0, "{counts}");
}

#[tokio::test]
async fn sessions_are_found_by_user_and_page_by_page() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut clients = Vec::new();
    for (member, resource) in [(&john, "a"), (&marie, "b"), (&john, "c")] {
        clients.push(site.gateway.login(member, resource).await);
    }
    let jids = |answer: &Value| -> Vec<String> {
        let sessions = answer["sessions"].as_array().expect("a list");
        let jids = sessions.iter().map(|it| it["jid"].as_str());
        jids.map(|it| it.expect("bound").to_owned()).collect()
    };
    for user in [john.local.clone(), john.jid().to_uppercase()] {
        let answer = sessions(&site, &format!("?user={user}")).await;
        assert_eq!(jids(&answer), [&*clients[0].jid, &*clients[2].jid]);
        assert_eq!(answer["counts"]["total"], 3);
    }
    let mut seen = Vec::new();
    let mut after = json!(0);
    for _ in 0..3 {
        let page = sessions(&site, &format!("?limit=1&after={after}")).await;
        let found = jids(&page);
        assert_eq!(found.len(), 1);
        seen.extend(found);
        after = page["next"].clone();
    }
    assert_eq!(after, Value::Null, "that was the last page");
    let all: Vec<_> = clients.iter().map(|client| client.jid.clone()).collect();
    assert_eq!(seen, all);
    for query in [
        "?limit=0",
        "?limit=1001",
        "?after=x",
        "?user=%40",
        "?sort=age",
    ] {
        let (status, body) = get(&site, &format!("/sessions{query}")).await;
        assert_eq!((status, &body["status"]), (400, &json!("error")), "{query}");
    }
}

#[tokio::test]
async fn a_roster_in_memory_is_shown() {
    let site = Site::new();
    site.backend.send_etags();
    let john = site.member("john");
    let marie = json!({ "marie@example.org": { "name": "Marie", "groups": ["Friends"] } });
    site.backend.set(&john.local, marie);
    let (status, body) = get(&site, &format!("/rosters/{}", john.local)).await;
    assert_eq!((status, &body["status"]), (404, &json!("error")), "{body}");

    let client = site.online(&john, "web").await;
    let shown = roster(&site, &john).await;
    assert_eq!(shown["jid"], john.jid());
    assert_eq!(shown["url"], site.backend.url().replace("%s", &john.local));
    assert_eq!(shown["last_failure"], Value::Null);
    let in_memory = &shown["roster"];
    let contacts = json!([{
        "jid": "marie@example.org", "name": "Marie", "groups": ["Friends"], "subscription": "both",
    }]);
    assert_eq!(in_memory["contacts"], contacts);
    assert_eq!(in_memory["fresh"], true);
    assert!(in_memory["etag"].is_string(), "{in_memory}");
    let fetched = in_memory["fetched"].as_str().expect("a date");
    let fetched = humantime::parse_rfc3339(fetched).expect("RFC 3339");
    let age = fetched.elapsed().expect("in the past");
    assert!(age.as_secs() < 120, "{age:?}");

    let host = format!("/rosters/{}?host={}", john.local, site.prosody.domain());
    assert_eq!(get(&site, &host).await, (200, shown.clone()));
    assert_eq!(get(&site, "/rosters/x?host=other.example").await.0, 404);
    assert_eq!(
        site.backend.fetches(&john.local),
        1,
        "looking fetches nothing"
    );
    drop(client);
}

#[tokio::test]
async fn a_failed_fetch_is_shown_beside_the_roster() {
    let site = Site::new();
    let john = site.member("john");
    let _client = site.online(&john, "web").await;
    site.backend.fail(&john.local, Fault::Status(503));
    let answer = site.post(&json!([john.local]).to_string()).await;
    assert_eq!(answer.status(), 500);
    let shown = roster(&site, &john).await;
    assert_eq!(shown["last_failure"]["reason"], "backend answered 503");
    assert_eq!(shown["roster"]["fresh"], true);

    let aaron = site.member("aaron");
    site.backend.fail(&aaron.local, Fault::Status(404));
    let mut client = site.gateway.login(&aaron, "web").await;
    let query = format!("<query xmlns='{ROSTER}'/>");
    let answer = client.iq("get", &aaron.jid(), &query).await;
    assert_eq!(answer.attr("type"), Some("error"));
    let shown = roster(&site, &aaron).await;
    assert_eq!(shown["roster"], Value::Null);
    assert_eq!(shown["last_failure"]["reason"], "backend answered 404");
}

#[tokio::test]
async fn secrets_of_the_roster_url_are_not_shown() {
    let prosody = Prosody::shared();
    // Nobody listens there: the fetch fails, and is known of.
    let url = "http://127.0.0.1:1/of/%s?key=secret";
    let gateway = Gateway::builder(prosody).host(&format!("http_roster_url = \"{url}\""));
    let gateway = gateway.start();
    let john = prosody.account("john");
    let mut client = gateway.login(&john, "web").await;
    let query = format!("<query xmlns='{ROSTER}'/>");
    client.iq("get", &john.jid(), &query).await;
    let path = format!("/roster_admin/rosters/{}", john.local);
    let answer = gateway.admin().at(&path).request("GET", &[], "").await;
    let shown: Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!(
        shown["url"],
        format!("http://127.0.0.1:1/of/{}", john.local)
    );
    assert!(!answer.text().contains("secret"), "{shown}");
}

#[tokio::test]
async fn equal_failures_are_told_once_with_their_number() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let _clients = [
        site.online(&john, "web").await,
        site.online(&marie, "web").await,
    ];
    for member in [&john, &marie] {
        site.backend.fail(&member.local, Fault::Status(503));
    }
    for users in [json!([marie.local]), json!([john.local])] {
        for _ in 0..2 {
            site.post(&users.to_string()).await;
        }
    }
    let (_, status) = get(&site, "/status").await;
    let failures = status["failures"].as_array().expect("a list");
    assert_eq!(failures.len(), 1, "{status}");
    let failure = &failures[0];
    assert_eq!(failure["count"], 4, "{failure}");
    assert_eq!(failure["error"], "backend answered 503", "{failure}");
    assert_eq!(failure["users"], json!([john.local, marie.local]));
    let host = &status["hosts"][0];
    assert_eq!(host["backend"]["works"], false, "{host}");
    assert!(host["backend"]["last_worked"].is_string(), "{host}");

    let of_the_hour = |what: &str| -> u64 {
        let minutes = status["last_hour"][what].as_array().expect("a list");
        minutes.iter().filter_map(Value::as_u64).sum()
    };
    assert_eq!(of_the_hour("failures"), 4, "{status}");
    assert_eq!(of_the_hour("refreshed"), 4, "{status}");
    let sessions = status["last_hour"]["sessions"].as_array().expect("a list");
    assert_eq!(sessions.last(), Some(&json!(2)), "{status}");
    let answers = status["last_hour"]["answer"].as_array().expect("a list");
    assert!(answers.iter().any(Value::is_f64), "{status}");
}

#[tokio::test]
async fn what_has_never_worked_is_told() {
    let prosody = Prosody::shared();
    // Nobody listens there.
    let gateway = Gateway::builder(prosody).host("http_roster_url = \"http://127.0.0.1:1/%s\"");
    let gateway = gateway.start();
    let john = prosody.account("john");
    let mut client = gateway.login(&john, "web").await;
    let query = format!("<query xmlns='{ROSTER}'/>");
    client.iq("get", &john.jid(), &query).await;
    let endpoint = gateway.admin().at("/roster_admin/status");
    let answer = endpoint.request("GET", &[], "").await;
    let status: Value = serde_json::from_str(answer.text()).expect("JSON");
    let host = &status["hosts"][0];
    let never = json!({ "works": false, "last_worked": null });
    assert_eq!(host["backend"], never, "{host}");
    assert_eq!(host["upstream"]["works"], true, "{host}");
    let not_tried = json!({ "works": null, "last_worked": null });
    assert_eq!(host["events"], not_tried, "{host}");
}
