//! The site ends sessions: a user has logged out there, or is banned.

use serde_json::{Value, json};

use support::{
    bosh::Bosh,
    client::Account,
    prosody::Prosody,
    webstream::{WebStream, auth_plain},
    within,
    xml::{CLIENT, Element, SASL, SM},
};

use crate::site::Site;

/// What the admin API says to this query.
async fn end(site: &Site, query: &str) -> (u16, Value) {
    let path = format!("/roster_admin/sessions?{query}");
    let endpoint = site.gateway.admin().at(&path);
    let answer = endpoint.request("DELETE", &[], "").await;
    let body = serde_json::from_str(answer.text()).expect("JSON");
    (answer.status(), body)
}

async fn ends(site: &Site, query: &str, ended: usize) {
    let message = format!("sessions ended: {ended}");
    let expected = json!({ "status": "ok", "message": message, "ended": ended });
    assert_eq!(end(site, query).await, (200, expected), "{query}");
}

/// Waits until so many of the user's sessions sleep.
async fn asleep(site: &Site, account: &Account, count: usize) {
    let path = format!("/roster_admin/sessions?user={}", account.local);
    let endpoint = site.gateway.admin().at(&path);
    within("sleep", async {
        loop {
            let answer = endpoint.request("GET", &[], "").await;
            if answer.text().matches(r#""state":"asleep""#).count() == count {
                return;
            }
        }
    })
    .await;
}

/// What comes of a login by BOSH.
async fn try_bosh(site: &Site, account: &Account) -> Element {
    let mut bosh = Bosh::open(&site.gateway.bosh(), &account.domain).await;
    bosh.exchange_until(&auth_plain(account), |child| child.ns == SASL)
        .await
}

#[tokio::test]
async fn the_sessions_of_a_user_end_on_every_front_and_nobody_elses() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let websocket = site.gateway.websocket();
    let mut bosh = Bosh::log_in(&site.gateway.bosh(), &john, "bosh").await;
    let waiting = bosh.send("", "").await;
    let awake = WebStream::log_in_managed(&websocket, &john, "awake").await;
    let nap = WebStream::log_in_managed(&websocket, &john, "nap").await;
    let nap = nap.vanish();
    asleep(&site, &john, 1).await;
    let mut marie = site.gateway.login(&marie, "web").await;
    // It is logging in.
    let mut late = WebStream::authenticated(&websocket, &john).await;

    ends(&site, &format!("user={}", john.local), 3).await;
    let body = waiting.body().await;
    let end = support::client::End::of(&body);
    assert_eq!(
        end.condition.as_deref(),
        Some("remote-stream-error"),
        "{body}"
    );
    assert_eq!(end.stream_error(), Some("not-authorized"), "{body}");
    let end = awake.end().await;
    assert_eq!(
        end.steps[1..],
        ["not-authorized", "<close/>", "1000"],
        "{end:?}"
    );
    let text = "the site has ended this session";
    assert!(end.error.expect("an error").to_string().contains(text));
    late.send_stanza(&format!(
        "<iq xmlns='{CLIENT}' type='set' id='bind'>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
    ))
    .await;
    let end = late.end().await;
    assert!(end.steps.contains(&"not-authorized".into()), "{end:?}");
    marie.fence().await;

    // Clients come again by themselves. They are told what makes them stop.
    let mut again = WebStream::open(&websocket, &john.domain).await;
    let failure = again.try_authenticate(&john).await;
    assert!(failure.is(SASL, "failure"), "{failure}");
    assert!(failure.child(SASL, "not-authorized").is_some(), "{failure}");
    let failure = try_bosh(&site, &john).await;
    assert!(failure.to_string().contains("not-authorized"), "{failure}");
    ends(&site, &format!("user={}", john.jid()), 0).await;
    drop(nap);
}

#[tokio::test]
async fn nothing_of_a_session_that_ends_can_be_resumed_or_is_lost() {
    let prosody = Prosody::shared();
    let site = Site::on(prosody);
    let john = site.member("john");
    let websocket = site.gateway.websocket();
    let mut web = WebStream::log_in_managed(&websocket, &john, "web").await;
    web.send_presence().await;
    web.fence().await;
    let session = web.vanish();
    asleep(&site, &john, 1).await;
    let mut desk = prosody.contact("desk").await;
    for body in ["one", "two"] {
        desk.send_message(&john.jid(), body);
    }
    desk.fence().await;

    ends(&site, &format!("user={}&again=true", john.local), 1).await;
    prosody.stores(&john, 2).await;
    let mut web = WebStream::authenticated(&websocket, &john).await;
    let answer = web.try_resume(&session).await;
    assert!(answer.is(SM, "failed"), "{answer}");
    web.bind("again").await;
    web.send_presence().await;
    for body in ["one", "two"] {
        web.expect_message(body).await;
    }
}

#[tokio::test]
async fn one_session_can_be_named_and_is_asked_to_come_again() {
    let site = Site::new();
    let john = site.member("john");
    let websocket = site.gateway.websocket();
    let a = WebStream::log_in_managed(&websocket, &john, "a").await;
    let mut b = WebStream::log_in_managed(&websocket, &john, "b").await;
    let user = john.local.to_uppercase();
    ends(&site, &format!("user={user}&resource=a&again=true"), 1).await;
    assert_eq!(a.end().await.steps[1], "reset");
    b.fence().await;
    ends(&site, &format!("user={user}&resource=b"), 1).await;
    assert_eq!(b.end().await.steps[1], "not-authorized");
    // It was one session, not the user.
    WebStream::log_in(&websocket, &john, "c")
        .await
        .fence()
        .await;
}

/// `ᵃ` is an `a` to some programs and a letter of its own to others. Nobody ends another's sessions by it.
#[tokio::test]
async fn a_name_that_looks_like_another_is_not_the_other() {
    let site = Site::new();
    let aaron = site.member("aaron");
    let mut web = WebStream::log_in_managed(&site.gateway.websocket(), &aaron, "web").await;
    let likeness = aaron.local.replacen('a', "%E1%B5%83", 1);
    ends(&site, &format!("user={likeness}"), 0).await;
    web.fence().await;
    let again = WebStream::authenticated(&site.gateway.websocket(), &aaron).await;
    drop((web, again));
}

#[tokio::test]
async fn who_is_to_be_ended_must_be_clear() {
    let site = Site::new();
    let endless = format!("user={}", "%E1%B5%83".repeat(400));
    let (answered, body) = end(&site, &endless).await;
    assert_eq!(answered, 400, "it would be remembered: {body}");
    for (query, status, reason) in [
        ("", 400, "parameter user: it is missing"),
        ("user=", 400, "not a valid username"),
        ("user=a/b", 400, "not a valid username"),
        ("user=a%20b", 400, "not a valid username"),
        ("user=a@b/c", 400, "not a valid username"),
        (
            "user=a@example.org@example.org",
            400,
            "not a valid username",
        ),
        ("user=%E1%B5%83@b@example.org", 400, "not a valid username"),
        ("user=a&user=b", 400, "more than once"),
        ("user=a&again=perhaps", 400, "true or false"),
        ("user=a&resource=", 400, "not a resource"),
        ("user=a&resource=b&resource=c", 400, "more than once"),
        ("user=a&limit=1", 400, "no such parameter"),
        ("user=a@elsewhere.example", 404, "not a configured domain"),
    ] {
        let (answered, body) = end(&site, query).await;
        let message = body["message"].as_str().unwrap_or_default();
        assert_eq!(
            (answered, &body["status"]),
            (status, &json!("error")),
            "{query}: {body}"
        );
        assert!(message.contains(reason), "{query}: {body}");
    }
    let endpoint = site.gateway.admin().at("/roster_admin/sessions?user=a");
    let answer = endpoint.request("PATCH", &[], "").await;
    assert_eq!(
        (answer.status(), answer.header("allow")),
        (405, Some("GET, DELETE"))
    );
}
