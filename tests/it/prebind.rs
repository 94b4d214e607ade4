//! Sessions that the gateway begins for pages (prebind), as the site's program asks for them and the page goes on.

use std::net::TcpListener;

use serde_json::{Value, json};

use support::{
    backend::Backend,
    bosh::Bosh,
    client::Account,
    gateway::Gateway,
    http::{Connection, Response},
    prosody::{DOMAIN, Prosody},
    within, within_limit,
    xml::{CLIENT, Element, ROSTER, message},
};

use crate::tokens::{HTTP, asked, member, parsed};

async fn prebind(gateway: &Gateway, body: &Value) -> Response {
    let prebind = gateway.admin().at("/roster_admin/prebind");
    prebind.request("POST", &[], &body.to_string()).await
}

/// A page that goes on with a session that was begun for it; its next request has the rid that the gateway has said.
async fn page(gateway: &Gateway, body: &Value) -> (Bosh, String) {
    let response = prebind(gateway, body).await;
    assert_eq!(response.status(), 200, "{response:?}");
    let answer = parsed(&response);
    let page = Bosh {
        endpoint: gateway.bosh(),
        domain: DOMAIN.to_owned(),
        sid: answer["sid"].as_str().expect("a text").to_owned(),
        rid: answer["rid"].as_u64().expect("a number") - 1,
        creation: Element::default(),
    };
    (page, answer["jid"].as_str().expect("a text").to_owned())
}

fn with_password(account: &Account) -> Value {
    json!({ "username": account.local, "password": account.password })
}

#[tokio::test]
async fn a_page_goes_on_with_the_session_and_has_no_password() {
    let backend = Backend::start();
    let (prosody, gateway) = asked(|it| it.host(HTTP).backend(&backend));
    let john = member(prosody, &gateway, "john");
    backend.set(&john.local, json!({ "marie@example.org": {} }));
    let (mut page, jid) = page(&gateway, &json!({ "username": john.local })).await;
    assert!(jid.starts_with(&format!("{}/", john.jid())), "{jid}");
    let get = format!("<iq xmlns='{CLIENT}' type='get' id='r'><query xmlns='{ROSTER}'/></iq>");
    let roster = page.exchange_until(&get, |it| it.is_reply_to("r")).await;
    let query = roster.child(ROSTER, "query").expect("a list");
    assert_eq!(query.children().count(), 1, "{roster}");
    let own = message(&jid, "to myself");
    let heard = page.exchange_until(&own, |it| it.name == "message").await;
    assert_eq!(
        heard.child(CLIENT, "body").map(Element::text).as_deref(),
        Some("to myself")
    );
    let log = gateway.log();
    assert!(
        log.contains("session begun for a page") && log.contains(&jid),
        "{log}"
    );
    assert!(!log.contains(&page.sid), "a whole sid in {log}");
}

/// Some pages count the rid up before they use it.
#[tokio::test]
async fn the_rid_after_the_next_will_do_as_well() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let john = prosody.account("john");
    let (mut page, jid) = page(&gateway, &with_password(&john)).await;
    page.rid += 1;
    let own = message(&jid, "to myself");
    // A page that was loaded again is waited for much longer.
    let heard = page.exchange_until(&own, |it| it.name == "message");
    let limit = std::time::Duration::from_secs(5);
    within_limit(limit, "the answer", heard).await;
    page.exchange_until(&message(&jid, "again"), |it| it.name == "message")
        .await;
}

#[tokio::test]
async fn a_password_is_proved_by_scram_where_the_server_offers_it() {
    for prosody in [Prosody::shared(), Prosody::shared_hashed()] {
        let gateway = Gateway::start(prosody);
        let john = prosody.account("john");
        let mut body = with_password(&john);
        body["resource"] = json!("the page");
        let (_page, jid) = page(&gateway, &body).await;
        assert_eq!(jid, format!("{}/the page", john.jid()));
        body["password"] = json!("wrong");
        let answer = prebind(&gateway, &body).await;
        assert_eq!(answer.status(), 403, "{answer:?}");
        let expected = "the XMPP server refused the login: not-authorized";
        assert_eq!(parsed(&answer)["message"], json!(expected));
        let log = gateway.log();
        assert!(
            !log.contains(&john.password) && !log.contains("wrong"),
            "{log}"
        );
    }
}

async fn sessions(gateway: &Gateway) -> Vec<Value> {
    let sessions = gateway.admin().at("/roster_admin/sessions");
    let answer = parsed(&sessions.request("GET", &[], "").await);
    answer["sessions"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn the_session_waits_for_its_page_and_no_longer() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .bosh("inactivity = \"5s\"")
        .start();
    let john = prosody.account("john");
    let mut body = with_password(&john);
    body["address"] = json!("192.0.2.7");
    let answer = parsed(&prebind(&gateway, &body).await);
    assert_eq!(answer["inactivity"], json!(5));
    let there = sessions(&gateway).await;
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!(there[0]["jid"], answer["jid"]);
    assert_eq!(there[0]["address"], json!("192.0.2.7"));
    let ending = async {
        while !sessions(&gateway).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within("the end of the session", ending).await;
    assert!(gateway.log().contains("inactive"), "{}", gateway.log());
}

#[tokio::test]
async fn a_failed_login_leaves_no_session() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .session("sessions_per_user = 2")
        .start();
    let john = prosody.account("john");
    let wrong = json!({ "username": john.local, "password": "wrong" });
    assert_eq!(prebind(&gateway, &wrong).await.status(), 403);
    for _ in 0..2 {
        assert_eq!(prebind(&gateway, &with_password(&john)).await.status(), 200);
    }
    let answer = prebind(&gateway, &with_password(&john)).await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    let message = json!("the session ended: policy-violation");
    assert_eq!(parsed(&answer)["message"], message);
    let ending = async {
        while sessions(&gateway).await.len() != 2 {
            tokio::task::yield_now().await;
        }
    };
    within("the end of the sessions that nobody has", ending).await;
}

#[tokio::test]
async fn what_keeps_a_session_from_being_begun_is_told() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .upstream("xmpp://127.0.0.1:9")
        .start();
    let john = prosody.account("john");
    let answer = prebind(&gateway, &with_password(&john)).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(
        parsed(&answer)["message"],
        json!("the XMPP server cannot be reached")
    );

    let gateway = Gateway::builder(prosody)
        .session("max_sessions = 1")
        .start();
    let (_page, _) = page(&gateway, &with_password(&john)).await;
    let answer = prebind(&gateway, &with_password(&john)).await;
    assert_eq!(
        (answer.status(), parsed(&answer)["message"].clone()),
        (503, json!("too many sessions in all"))
    );

    for (body, status) in [
        (json!([]), 400),
        (json!({ "username": "john" }), 400),
        (
            json!({ "username": "john", "password": "x", "resource": "" }),
            400,
        ),
        (
            json!({ "username": "john", "password": "x", "address": "here" }),
            400,
        ),
        (
            json!({ "username": "john", "password": "x", "sid": "x" }),
            400,
        ),
        (
            json!({ "username": "john@example.com", "password": "x" }),
            400,
        ),
        (json!({ "username": "a/b", "password": "x" }), 400),
    ] {
        let answer = prebind(&gateway, &body).await;
        assert_eq!(answer.status(), status, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn so_many_logins_are_under_way_at_once_and_no_more() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let upstream = format!("xmpp://{}", silent.local_addr().expect("it is bound"));
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody).upstream(&upstream).start();
    let body = json!({ "username": "john", "password": "x" }).to_string();
    let endpoint = gateway.admin().at("/roster_admin/prebind");
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut connection = Connection::open(&endpoint).await;
        connection.send("POST", &endpoint.path, &[], &body).await;
        waiting.push(connection);
    }
    let beginning = async {
        while sessions(&gateway).await.len() < 64 {
            tokio::task::yield_now().await;
        }
    };
    within("all of them", beginning).await;
    let answer = endpoint.request("POST", &[], &body).await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    let message = "too many sessions are begun at once: come again later";
    assert_eq!(parsed(&answer)["message"], json!(message));
    // Whoever does not wait any more takes no place and leaves no session.
    drop(waiting);
    let ending = async {
        while !sessions(&gateway).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within("the end of all of them", ending).await;
}

#[tokio::test]
async fn a_session_that_the_site_begins_is_let_in_after_it_has_ended_others() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let john = prosody.account("john");
    let path = format!("/roster_admin/sessions?user={}", john.local);
    let answer = gateway.admin().at(&path).request("DELETE", &[], "").await;
    assert_eq!(answer.status(), 200);
    let (_, jid) = page(&gateway, &with_password(&john)).await;
    assert!(jid.starts_with(&format!("{}/", john.jid())), "{jid}");
}
