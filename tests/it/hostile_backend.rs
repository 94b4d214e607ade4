//! Backends that answer oddly, or very much: nobody loses a contact for it, and nobody else notices.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use support::{
    backend::Fault,
    client::{Account, Client},
    prosody::Prosody,
    within_limit,
    xml::{Element, ROSTER},
};

use crate::site::{Site, item};

fn answer(body: impl Into<Bytes>) -> Fault {
    Fault::Answer {
        content_type: "application/json",
        body: body.into(),
    }
}

async fn shown(site: &Site, user: &Account) -> Value {
    let path = format!("/roster_admin/rosters/{}", user.local);
    let answer = site.gateway.admin().at(&path).request("GET", &[], "").await;
    serde_json::from_str(answer.text()).expect("JSON")
}

/// What PHP makes of lists and maps, and databases of names.
#[tokio::test]
async fn no_shape_and_no_name_costs_a_contact() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    let body = b"\xef\xbb\xbf{\
        \"a@example.org\": [], \
        \"b@example.org\": {\"name\": \"Ren\xe9e\", \"groups\": false, \"subscription\": \"\"}, \
        \"c@example.org\": {\"name\": 5, \"groups\": {\"0\": \"Friends\", \"2\": \"Work\"}}, \
        \"d@example.org\": {\"name\": \"bell\\u0007 \", \"groups\": \"Friends\", \"subscription\": \"FROM\"}, \
        \"e@example.org\": {\"name\": \"half\\ud83d\", \"groups\": [\"a\\nb\", null, 7, \" \"]}, \
        \"f@example.org\": \"Fritz\", \
        \"g@example.org\": {\"name\": [\"G\"], \"groups\": {\"Work\": true}, \"subscription\": \"remove\"}, \
        \"h@example.org\": {\"name\": 1e999, \"groups\": [12345678901234567890123, 1e-999]}, \
        \"i@example.org\": {\"name\": \"Ma\trie\r\n\", \"groups\": -1e400}, \
        \"j@example.org\": {\"name\": \"Pat O\\u0092Brien\", \"other\": 1e999}, \
        \"k@example.org\": 1e999\
        }";
    site.backend.fail(&john.local, answer(&body[..]));
    site.refresh(&[&john]).await;
    let list: Vec<_> = client.roster().await.into_values().collect();
    assert_eq!(
        list,
        [
            item("a@example.org", None, &[], "both"),
            item("b@example.org", Some("Ren e"), &[], "both"),
            item("c@example.org", Some("5"), &["Friends", "Work"], "both"),
            item("d@example.org", Some("bell"), &["Friends"], "from"),
            item("e@example.org", Some("half\u{fffd}"), &["7", "a b"], "both"),
            item("f@example.org", None, &[], "both"),
            item("g@example.org", None, &["Work"], "both"),
            item(
                "h@example.org",
                Some("1e999"),
                &["12345678901234567890123", "1e-999"],
                "both"
            ),
            item("i@example.org", Some("Ma rie"), &["-1e400"], "both"),
            item("j@example.org", Some("Pat O Brien"), &[], "both"),
            item("k@example.org", None, &[], "both"),
        ]
    );
    assert_eq!(shown(&site, &john).await["roster"]["left_out"], json!([]));
}

#[tokio::test]
async fn contacts_left_out_are_named_with_the_reason() {
    let site = Site::new();
    let john = site.member("john");
    site.backend.set(
        &john.local,
        json!({ "marie@example.org": {}, "pending": {}, "a b@example.org": {}, (john.jid()): {} }),
    );
    let mut client = site.online(&john, "web").await;
    assert_eq!(client.roster().await.len(), 1);
    let left_out = json!([
        { "jid": "a b@example.org", "reason": "not a JID" },
        { "jid": john.jid(), "reason": "the user's own JID" },
        { "jid": "pending", "reason": "neither user@domain nor a domain name" },
    ]);
    assert_eq!(shown(&site, &john).await["roster"]["left_out"], left_out);
    let log = site.gateway.log();
    let mut lines = log.lines().filter(|line| line.contains("left out"));
    let line = lines.next().expect("a line about them");
    assert_eq!(lines.next(), None, "one line a list");
    assert!(line.contains("WARN") && line.contains("count=3"), "{line}");
    assert!(line.contains("\"a b@example.org\" (not a JID)"), "{line}");

    let status = site.gateway.admin().at("/roster_admin/status");
    let status: Value =
        serde_json::from_str(status.request("GET", &[], "").await.text()).expect("JSON");
    let list = &status["incomplete_rosters"][0];
    assert_eq!(
        (&list["jid"], &list["left_out"]),
        (&json!(john.jid()), &json!(3))
    );
    let contacts = list["contacts"].as_str().expect("a text");
    assert!(
        contacts.contains("\"pending\" (neither user@domain nor a domain name)"),
        "{contacts}"
    );

    let metrics = site.gateway.monitoring().request("GET", &[], "").await;
    let counted = "rostergate_contacts_left_out_total{domain=\"example.org\"} 3\n";
    assert!(metrics.text().contains(counted), "{}", metrics.text());

    // What is the same as before has left out the same.
    site.refresh(&[&john]).await;
    assert_eq!(shown(&site, &john).await["roster"]["left_out"], left_out);
    let many = (0..1000).map(|number| (format!("{number} is none"), json!({})));
    let mut many: serde_json::Map<_, _> = many.collect();
    many.insert("marie@example.org".to_owned(), json!({}));
    site.backend.set(&john.local, many.into());
    site.refresh(&[&john]).await;
    let roster = &shown(&site, &john).await["roster"];
    assert_eq!(roster["left_out"].as_array().map(Vec::len), Some(100));
    assert_eq!(roster["left_out_omitted"], 900);
}

/// How long an answer is, bytes.
const LENGTH: usize = 15 << 20;
/// What one host's large answers may have under way (`ARCHITECTURE.md` §10), bytes.
const UNDER_WAY: usize = 32 << 20;
/// How long the slow program of the tests may take for all that.
const LONG: Duration = Duration::from_secs(180);

/// An answer of that length, a list of one contact, most of which is `filling`, over and over.
fn long(before: &str, filling: &str, after: &str) -> Bytes {
    let times = (LENGTH - before.len() - after.len()) / filling.len();
    [before, &filling.repeat(times), after].concat().into()
}

fn patient_site() -> Site {
    Site::with(Prosody::shared(), |gateway| {
        gateway.host(&format!("backend_timeout = \"{}s\"", LONG.as_secs()))
    })
}

/// So many users ask for their lists at once; gives the bytes of memory that this takes.
async fn cost(site: &Site, users: usize, body: &Bytes) -> usize {
    let before = site.gateway.peak_memory();
    let mut clients = JoinSet::new();
    for _ in 0..users {
        let account = site.member("crowd");
        site.backend.fail(&account.local, answer(body.clone()));
        let transport = site.gateway.transport();
        clients.spawn(async move {
            let mut client = Client::login(&transport, &account, "web").await;
            let id = client.send_iq("get", "", &format!("<query xmlns='{ROSTER}'/>"));
            let is_reply = |stanza: &Element| stanza.is_reply_to(&id);
            client
                .expect_within(LONG, "a list that waits", is_reply)
                .await
        });
    }
    let mut bystander = site.gateway.login(&site.member("bystander"), "web").await;
    bystander.roster().await;
    let all = within_limit(LONG, "all lists", clients.join_all());
    for reply in all.await {
        let reply = reply.to_string();
        assert!(reply.contains("marie@example.org"), "{reply:.200}");
    }
    // What the system counts is a little out of step.
    site.gateway.peak_memory().saturating_sub(before)
}

#[tokio::test]
async fn large_answers_wait_for_each_other() {
    let site = patient_site();
    let users = 24;
    let body = long("{\"marie@example.org\": {\"name\": \"", "x", "\"}}");
    let grown = cost(&site, users, &body).await;
    let offered = users * body.len();
    assert!(grown < 2 * UNDER_WAY, "{grown} bytes more for {offered}");
}

/// What is kept of an answer is what counts, whatever else there is in it.
#[tokio::test]
async fn what_does_not_count_takes_no_memory() {
    for (before, filling, after) in [
        ("{\"marie@example.org\": {\"name\": [", "1,", "1]}}"),
        (
            "{\"marie@example.org\": {\"groups\": {",
            "\"a\":1,",
            "\"b\":1}}}",
        ),
        ("{\"marie@example.org\": {}", ",\"\":0", "}"),
    ] {
        let body = long(before, filling, after);
        let grown = cost(&patient_site(), 1, &body).await;
        let most = 2 * body.len();
        assert!(
            grown < most,
            "{grown} bytes more for {}: {filling}",
            body.len()
        );
    }
}
