//! Contact lists from the backend, as clients see them (RFC 6121 §2).

use serde_json::json;

use support::{
    backend::Fault,
    bosh::Bosh,
    client::is_push,
    prosody::Prosody,
    xml::{CLIENT, Element, ROSTER},
};

use crate::site::{Site, item};

#[tokio::test]
async fn a_roster_is_what_the_backend_says() {
    let site = Site::new();
    let john = site.member("john");
    site.backend.set(
        &john.local,
        json!({
            "Marie@Example.ORG": { "name": "Marie", "groups": ["Friends", "Work"] },
            "from@example.org": { "subscription": "from", "groups": { "G": true } },
            "null@example.org": { "name": null, "groups": null, "subscription": null },
            "bad name@example.org": {},
        }),
    );
    let mut client = site.gateway.login(&john, "web").await;
    let roster: Vec<_> = client.roster().await.into_values().collect();
    assert_eq!(
        roster,
        [
            item("from@example.org", None, &["G"], "from"),
            item(
                "marie@example.org",
                Some("Marie"),
                &["Friends", "Work"],
                "both"
            ),
            item("null@example.org", None, &[], "both"),
        ]
    );
    assert_eq!(
        site.backend.requests()[0].header("accept"),
        Some("application/json")
    );
}

#[tokio::test]
async fn a_roster_get_is_answered_from_memory_for_a_second_resource() {
    let site = Site::new();
    site.backend.send_etags();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut one = site.online(&john, "one").await;
    let mut two = site.gateway.login(&john, "two").await;
    let query = format!("<query xmlns='{ROSTER}' ver='old'/>");
    let answer = two.iq("get", &john.jid(), &query).await;
    assert_eq!(answer.attr("type"), Some("result"));
    assert_eq!(
        answer
            .child(ROSTER, "query")
            .and_then(|query| query.attr("ver")),
        None
    );
    assert_eq!(site.backend.fetches(&john.local), 1);
    one.fence().await;
    one.logout().await;
    two.logout().await;
    let mut again = site.gateway.login(&john, "web").await;
    assert!(again.roster().await.contains_key(&marie.jid()));
    let last = site.backend.requests().pop().expect("a request");
    assert!(
        last.header("if-none-match").is_some(),
        "asked conditionally"
    );
}

#[tokio::test]
async fn changes_are_pushed_one_by_one_to_those_who_asked() {
    let site = Site::new();
    let john = site.member("john");
    site.backend.set(
        &john.local,
        json!({ "a@example.org": {}, "b@example.org": {} }),
    );
    let mut asked = site.online(&john, "asked").await;
    let mut never = site.gateway.login(&john, "never").await;
    site.backend.set(
        &john.local,
        json!({ "b@example.org": { "name": "B", "groups": ["G"] }, "c@example.org": {} }),
    );
    site.refresh(&[&john]).await;
    assert_eq!(
        asked.expect_push().await,
        item("a@example.org", None, &[], "remove")
    );
    assert_eq!(
        asked.expect_push().await,
        item("b@example.org", Some("B"), &["G"], "both")
    );
    assert_eq!(
        asked.expect_push().await,
        item("c@example.org", None, &[], "both")
    );
    asked.expect_none("another push", is_push).await;
    never.expect_none("push", is_push).await;
    site.refresh(&[&john]).await;
    asked.expect_none("push without a change", is_push).await;
}

#[tokio::test]
async fn a_roster_set_is_refused_and_undone() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut client = site.online(&john, "web").await;
    for (jid, truth) in [
        (marie.jid(), "both"),
        ("new@example.org".to_owned(), "remove"),
    ] {
        let set = format!("<query xmlns='{ROSTER}'><item jid='{jid}' name='Mine'/></query>");
        assert_eq!(
            client.iq("set", "", &set).await.error(),
            Some("not-allowed")
        );
        assert_eq!(client.expect_push().await, item(&jid, None, &[], truth));
    }
    let mut direct = site.prosody.login(&john, "direct").await;
    assert!(
        direct.roster().await.is_empty(),
        "the server has heard nothing of it"
    );
}

#[tokio::test]
async fn subscriptions_never_pass() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    let marie = site.prosody.contact("marie").await;
    let bare = marie.jid.split_once('/').expect("full").0.to_owned();
    let mut marie = marie;
    for to in [&bare, &marie.jid] {
        for kind in [
            "subscribe",
            "subscribed",
            "unsubscribe",
            "unsubscribed",
            "probe",
        ] {
            client.send(&format!(
                "<presence xmlns='{CLIENT}' type='{kind}' to='{to}'/>"
            ));
        }
        client.expect_presence(&bare, "unsubscribed").await;
        assert_eq!(client.expect_push().await, item(&bare, None, &[], "remove"));
    }
    client.fence().await;
    marie
        .expect_none("presence", |stanza| stanza.name == "presence")
        .await;
    marie.send(&format!("<presence type='subscribe' to='{}'/>", john.jid()));
    marie.fence().await;
    client
        .expect_none("subscription", |stanza| {
            stanza.attr("type") == Some("subscribe")
        })
        .await;
}

#[tokio::test]
async fn pushes_of_the_server_are_hidden() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    let mut direct = site.prosody.login(&john, "direct").await;
    direct.roster().await;
    let set = format!("<query xmlns='{ROSTER}'><item jid='x@example.org'/></query>");
    assert_eq!(
        direct.iq("set", "", &set).await.attr("type"),
        Some("result")
    );
    direct.expect_push().await;
    client.expect_none("push", is_push).await;
}

#[tokio::test]
async fn a_backend_that_fails_at_login_fails_nothing_else() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    site.backend.fail(&john.local, Fault::Status(503));
    let mut client = site.gateway.login(&john, "web").await;
    let answer = client.refused_roster().await;
    assert_eq!(answer.error(), Some("internal-server-error"));
    client.fence().await;
    site.backend.heal(&john.local);
    assert!(client.roster().await.contains_key(&marie.jid()));
    client.logout().await;
    site.backend.fail(&john.local, Fault::Drop);
    let mut again = site.gateway.login(&john, "web").await;
    assert!(
        again.roster().await.contains_key(&marie.jid()),
        "the last good answer"
    );
}

#[tokio::test]
async fn a_refresh_before_anything_was_asked_says_nothing() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut bound = site.gateway.login(&john, "bound").await;
    site.list(&john, &[&marie]);
    site.refresh(&[&john]).await;
    let said = bound.fence().await;
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(site.backend.fetches(&john.local), 0, "nobody needs it yet");
    assert!(bound.roster().await.contains_key(&marie.jid()));
}

#[tokio::test]
async fn a_client_that_leaves_before_its_roster_comes_is_forgotten() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut gate = site.backend.gate(&john.local);
    let client = site.gateway.login(&john, "web").await;
    client.send_iq("get", "", &format!("<query xmlns='{ROSTER}'/>"));
    gate.reached_by(1).await;
    client.logout().await;
    site.list(&john, &[&marie]);
    gate.open();
    // As nobody was there to hear of changes, the next login asks again.
    let mut again = site.gateway.login(&john, "web").await;
    assert!(again.roster().await.contains_key(&marie.jid()));
}

#[tokio::test]
async fn two_first_gets_share_one_fetch() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.list(&john, &[&marie]);
    let mut gate = site.backend.gate(&john.local);
    let mut clients = Vec::new();
    for resource in ["one", "two"] {
        let mut client = site.gateway.login(&john, resource).await;
        let get = client.send_iq("get", "", &format!("<query xmlns='{ROSTER}'/>"));
        client.fence().await;
        clients.push((client, get));
    }
    gate.reached_by(1).await;
    gate.open();
    for (client, get) in &mut clients {
        let answer = client
            .expect("the roster", |stanza| stanza.is_reply_to(get))
            .await;
        assert!(answer.to_string().contains(&marie.jid()), "{answer}");
    }
    assert_eq!(site.backend.fetches(&john.local), 1);
}

#[tokio::test]
async fn notifications_at_any_time_end_in_the_last_state() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    let mut gate = site.backend.gate(&john.local);
    let body = json!([john.local]).to_string();
    let refresh = site.gateway.admin().at("/roster_admin/refresh");
    let post = || {
        let (refresh, body) = (refresh.clone(), body.clone());
        tokio::spawn(async move { refresh.request("POST", &[], &body).await.status() })
    };
    site.backend
        .set(&john.local, json!({ "old@example.org": {} }));
    let mut posts = vec![post()];
    gate.reached_by(1).await;
    // The fetch under way bears the old list; these have to cause one more.
    site.backend
        .set(&john.local, json!({ "new@example.org": {} }));
    posts.extend([post(), post(), post()]);
    let mut marker = site.gateway.login(&site.member("marker"), "web").await;
    marker.fence().await;
    gate.open();
    for post in posts {
        assert_eq!(post.await.expect("answered"), 200);
    }
    let mut roster = std::collections::BTreeSet::new();
    while !roster.contains("new@example.org") || roster.contains("old@example.org") {
        let push = client.expect_push().await;
        match push.subscription.as_deref() {
            Some("remove") => assert!(roster.remove(&push.jid), "removed what was there"),
            _ => assert!(roster.insert(push.jid), "added what was not there"),
        }
    }
    client.expect_none("push too many", is_push).await;
    assert!(
        site.backend.fetches(&john.local) <= 5,
        "notifications share fetches"
    );
}

/// So that they keep nobody else waiting.
#[tokio::test]
async fn very_many_changes_come_in_parts() {
    let site = Site::new();
    let john = site.member("john");
    let mut bosh = site.crowded(&john, 5_000).await;
    let earlier = bosh.send("", "").await;
    let held = bosh.send("", "").await;
    // It has been answered for the sake of the other, which is there by now.
    earlier.body().await;
    site.list(&john, &[]);
    site.refresh(&[&john]).await;
    let count = |answer: &Element| answer.children().filter(|stanza| is_push(stanza)).count();
    let mut pushes = count(&held.body().await);
    // An answer has room for a thousand.
    assert!((1..1_000).contains(&pushes), "{pushes} at once");
    while pushes < 5_000 {
        pushes += count(&bosh.exchange("").await);
    }
    assert_eq!(pushes, 5_000);
}

#[tokio::test]
async fn a_host_without_a_roster_url_is_left_alone() {
    let prosody = Prosody::shared();
    let gateway = support::gateway::Gateway::start(prosody);
    let john = prosody.account("john");
    let mut client = gateway.login(&john, "web").await;
    assert!(client.roster().await.is_empty());
    let set = format!("<query xmlns='{ROSTER}'><item jid='x@example.org'/></query>");
    assert_eq!(
        client.iq("set", "", &set).await.attr("type"),
        Some("result")
    );
    assert_eq!(client.expect_push().await.jid, "x@example.org");
}

/// A page that opens many views asks once for each.
#[tokio::test]
async fn many_gets_that_wait_are_all_answered() {
    const GETS: usize = 20;
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut web = Bosh::log_in(&site.gateway.bosh(), &john, "web").await;
    let get = |number: usize| {
        format!("<iq xmlns='{CLIENT}' type='get' id='g{number}'><query xmlns='{ROSTER}'/></iq>")
    };
    let mut gate = site.backend.gate(&john.local);
    // As many in one request, and one in each of as many.
    let in_one: String = (0..GETS).map(get).collect();
    let mut open = web.send("", &in_one).await;
    for number in GETS..2 * GETS {
        let next = web.send("", &get(number)).await;
        let answer = std::mem::replace(&mut open, next).body().await;
        assert_eq!(answer.children().count(), 0, "{answer}");
    }
    gate.reached_by(1).await;
    gate.open();
    let mut answer = open.body().await;
    let mut answered = Vec::new();
    while answered.len() < 2 * GETS {
        for iq in answer.children() {
            let list = iq.child(ROSTER, "query").expect("a list, not an error");
            assert_eq!(list.children().count(), 1, "{iq}");
            answered.push(iq.attr("id").expect("an id").to_owned());
        }
        answer = if answered.len() < 2 * GETS {
            web.exchange("").await
        } else {
            break;
        };
    }
    let asked: Vec<_> = (0..2 * GETS).map(|number| format!("g{number}")).collect();
    assert_eq!(answered, asked);
    assert_eq!(site.backend.fetches(&john.local), 1);
}
