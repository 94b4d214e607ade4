//! Names that are hard on URLs, on XML, and on assumptions.

use serde_json::{Map, Value, json};

use support::{
    client::is_push,
    prosody::Prosody,
    xml::{CLIENT, ROSTER},
};

use crate::site::{Site, item};

#[tokio::test]
async fn usernames_reach_the_backend_as_they_are() {
    let site = Site::on(Prosody::shared_without_roster());
    for (user, target) in [
        ("a%b", "/contacts/a%25b"),
        ("a+b", "/contacts/a%2Bb"),
        ("a?b", "/contacts/a%3Fb"),
        ("a#b", "/contacts/a%23b"),
        ("a=b;c", "/contacts/a%3Db%3Bc"),
        ("a\\20b", "/contacts/a%5C20b"),
        ("a%sb", "/contacts/a%25sb"),
        ("..", "/contacts/%2E%2E"),
        ("ü", "/contacts/%C3%BC"),
        ("日本", "/contacts/%E6%97%A5%E6%9C%AC"),
    ] {
        let account = site.prosody.account_named(user);
        site.backend
            .set(user, json!({ "marie@example.org": { "name": user } }));
        let mut client = site.gateway.login(&account, "web").await;
        let roster: Vec<_> = client.roster().await.into_values().collect();
        assert_eq!(roster, [item("marie@example.org", Some(user), &[], "both")]);
        assert_eq!(
            site.backend.requests().pop().expect("a request").target,
            target
        );
        site.backend.set(user, json!({}));
        site.refresh(&[&account]).await;
        assert_eq!(
            client.expect_push().await,
            item("marie@example.org", None, &[], "remove")
        );
    }
}

#[tokio::test]
async fn names_and_groups_arrive_as_they_are() {
    let site = Site::new();
    let john = site.member("john");
    let texts = [
        "<&>\"' ]]>",
        "🙂 👩‍👩‍👧",
        "مرحبا \u{202b}אב\u{202c}",
        " spaced  out ",
        "日本",
    ];
    let mut client = site.online(&john, "web").await;
    let contacts = texts.iter().enumerate().map(|(number, text)| {
        (
            format!("c{number}@example.org"),
            json!({ "name": text, "groups": [text] }),
        )
    });
    let contacts: Map<String, Value> = contacts.collect();
    site.backend.set(&john.local, contacts.into());
    site.refresh(&[&john]).await;
    for (number, text) in texts.iter().enumerate() {
        // But for what is around them.
        let text = text.trim();
        let expected = item(
            &format!("c{number}@example.org"),
            Some(text),
            &[text],
            "both",
        );
        assert_eq!(client.expect_push().await, expected);
        assert_eq!(client.roster().await[&expected.jid], expected);
    }
}

#[tokio::test]
async fn ten_thousand_contacts_are_no_trouble() {
    let site = Site::on(Prosody::shared_without_roster());
    let (john, marie) = (site.member("john"), site.member("marie"));
    let contacts = |name: &str| {
        let mut contacts: Map<String, Value> = (0..10_000)
            .map(|number| (format!("c{number}@example.org"), json!({})))
            .collect();
        contacts.insert(marie.jid(), json!({ "name": name }));
        Value::from(contacts)
    };
    site.backend.set(&john.local, contacts("Marie"));
    site.list(&marie, &[&john]);
    let mut other = site.online(&marie, "web").await;
    let mut client = site.gateway.login(&john, "web").await;
    assert_eq!(client.roster().await.len(), 10_001);
    client.send_presence("");
    other.expect_presence(&client.jid.clone(), "").await;
    client.expect_presence(&other.jid.clone(), "").await;
    site.backend.set(&john.local, contacts("Maria"));
    site.refresh(&[&john]).await;
    assert_eq!(
        client.expect_push().await,
        item(&marie.jid(), Some("Maria"), &[], "both")
    );
    client.expect_none("another push", is_push).await;
}

/// Strophe confirms all that an answer brings in the next request.
#[tokio::test]
async fn ten_thousand_pushes_can_be_confirmed() {
    let site = Site::on(Prosody::shared_without_roster());
    let john = site.member("john");
    let mut bosh = site.crowded(&john, 10_000).await;
    let get = format!("<iq xmlns='{CLIENT}' type='get' id='r'><query xmlns='{ROSTER}'/></iq>");
    site.list(&john, &[]);
    site.refresh(&[&john]).await;
    let (mut pushes, mut confirmations) = (0, String::new());
    while pushes < 10_000 {
        let answer = bosh.exchange(&confirmations).await;
        assert_eq!(answer.attr("type"), None, "after {pushes}: {answer}");
        confirmations.clear();
        for push in answer.children().filter(|stanza| is_push(stanza)) {
            let (id, from) = (push.attr("id").expect("an id"), john.jid());
            let iq = format!("<iq xmlns='{CLIENT}' type='result' id='{id}' from='{from}/web'/>");
            confirmations.push_str(&iq);
            pushes += 1;
        }
    }
    bosh.exchange_until(&(confirmations + &get), |stanza| stanza.is_reply_to("r"))
        .await;
}

#[tokio::test]
async fn one_contact_and_none_are_rosters_too() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    assert!(client.roster().await.is_empty());
    site.backend
        .set(&john.local, json!({ "only@example.org": {} }));
    site.refresh(&[&john]).await;
    assert_eq!(client.expect_push().await.jid, "only@example.org");
    site.backend.set(&john.local, json!([]));
    site.refresh(&[&john]).await;
    assert_eq!(
        client.expect_push().await.subscription.as_deref(),
        Some("remove")
    );
    assert!(client.roster().await.is_empty());
}
