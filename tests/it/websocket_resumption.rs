//! Resumption over WebSocket (XEP-0198 §5): what becomes of lists, presence, limits and secrets.

use serde_json::json;

use support::{
    gateway::Gateway,
    prosody::Prosody,
    webstream::{Management, WebStream},
    xml::{CLIENT, Element, ROSTER, SM, STREAMS},
};

use crate::site::Site;

fn item(push: &Element) -> Option<&str> {
    push.child(ROSTER, "query")?.children().next()?.attr("jid")
}

/// Asks for the list, and becomes available.
async fn show_up(web: &mut WebStream) {
    let get = format!("<iq xmlns='{CLIENT}' type='get' id='list'><query xmlns='{ROSTER}'/></iq>");
    web.send_stanza(&get).await;
    web.expect("the list", |it| it.is_reply_to("list")).await;
    web.send_presence().await;
}

/// The list's changes are among what waits, in their place, and nothing is asked for or announced anew.
#[tokio::test]
async fn changes_of_the_list_wait_with_everything_else() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let endpoint = site.gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &john, "web").await;
    show_up(&mut web).await;
    let mut marie_client = site.online(&marie, "web").await;
    let fetches = site.backend.fetches(&john.local);
    let session = web.vanish();
    marie_client.send_message(&session.jid, "before");
    marie_client.fence().await;
    site.befriend(&john, &marie);
    site.refresh(&[&john, &marie]).await;
    marie_client.expect_presence(&session.jid, "").await;
    marie_client.send_message(&session.jid, "after");
    marie_client.fence().await;
    let mut web = WebStream::resumed(&endpoint, &john, session).await;
    let mut seen = web.fence().await;
    assert_eq!(seen.remove(0).body().as_deref(), Some("before"));
    let push = seen.iter().position(|it| item(it) == Some(&*marie.jid()));
    let push = push.expect("a push");
    let last = seen
        .iter()
        .position(|it| it.body().as_deref() == Some("after"));
    assert!(last.is_some_and(|last| push < last), "{seen:?}");
    let pushes = seen.iter().filter(|it| item(it).is_some());
    assert_eq!(pushes.count(), 1);
    let presences: Vec<_> = seen.iter().filter(|it| it.name == "presence").collect();
    assert_eq!(presences.len(), 1, "seen once: {presences:?}");
    // One fetch for the refresh, none for the resumption.
    assert_eq!(site.backend.fetches(&john.local), fetches + 1);
    // Contacts see nothing of the resumption.
    marie_client
        .expect_none("presence", |it| it.name == "presence")
        .await;
}

/// What waits has been rewritten once, and is not rewritten again.
#[tokio::test]
async fn a_push_that_was_not_acknowledged_comes_again_as_it_was() {
    let site = Site::new();
    let john = site.member("john");
    let endpoint = site.gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &john, "web").await;
    show_up(&mut web).await;
    web.acknowledge().await;
    site.backend.set(
        &john.local,
        json!({ "marie@example.org": { "name": "Marie" } }),
    );
    site.refresh(&[&john]).await;
    let first = web.expect("a push", |it| item(it).is_some()).await;
    let mut session = web.vanish();
    session.received -= 1;
    let mut web = WebStream::resumed(&endpoint, &john, session).await;
    let again = web.expect("the push", |it| item(it).is_some()).await;
    assert_eq!(again, first);
}

#[tokio::test]
async fn a_new_login_with_the_same_resource_ends_the_session_that_sleeps() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let endpoint = gateway.websocket();
    let account = prosody.account("john");
    let session = WebStream::log_in_managed(&endpoint, &account, "web")
        .await
        .vanish();
    let mut web = WebStream::log_in(&endpoint, &account, "web").await;
    web.fence().await;
    let mut late = WebStream::authenticated(&endpoint, &account).await;
    // The server ends the old session by its own time.
    let failed = support::within("the end of the old session", async {
        loop {
            let answer = late.try_resume(&session).await;
            if answer.is(SM, "failed") {
                return answer;
            }
            late = WebStream::authenticated(&endpoint, &account).await;
        }
    });
    failed.await;
    web.fence().await;
}

#[tokio::test]
async fn a_session_begun_over_tls_is_not_resumed_in_clear() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    let over = |scheme: &str| {
        let endpoint = gateway.websocket().adding("X-Forwarded-For", "192.0.2.1");
        endpoint.adding("X-Forwarded-Proto", scheme)
    };
    let (secure, clear) = (over("https"), over("http"));
    let session = WebStream::log_in_managed(&secure, &account, "web")
        .await
        .vanish();
    let mut web = WebStream::authenticated(&clear, &account).await;
    let failed = web.try_resume(&session).await;
    assert!(failed.is(SM, "failed"), "{failed}");
    WebStream::resumed(&secure, &account, session).await;
}

#[tokio::test]
async fn the_log_shows_no_id_that_resumes() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let endpoint = gateway.websocket();
    let account = prosody.account("john");
    let session = WebStream::log_in_managed(&endpoint, &account, "web")
        .await
        .vanish();
    let id = session.id.clone();
    let web = WebStream::resumed(&endpoint, &account, session).await;
    web.log_out().await;
    let log = gateway.log();
    assert!(!log.contains(&id), "the SM-ID is a secret");
    assert!(!log.contains(&account.password));
}

/// A client that resumes may have asked for a roster in the old session only: it stays interested.
#[tokio::test]
async fn a_resumed_session_still_gets_changes() {
    let site = Site::new();
    let john = site.member("john");
    let endpoint = site.gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &john, "web").await;
    show_up(&mut web).await;
    let session = web.vanish();
    let mut web = WebStream::resumed(&endpoint, &john, session).await;
    site.backend
        .set(&john.local, json!({ "marie@example.org": {} }));
    site.refresh(&[&john]).await;
    let push = web.expect("a push", |it| item(it).is_some()).await;
    assert_eq!(item(&push), Some("marie@example.org"));
}

/// Two tabs that were copied from one, at the same instant.
#[tokio::test]
async fn of_two_that_resume_the_same_session_the_later_has_it() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let endpoint = gateway.websocket();
    let account = prosody.account("john");
    let session = WebStream::log_in_managed(&endpoint, &account, "web")
        .await
        .vanish();
    let desk = prosody.contact("marie").await;
    let mut one = WebStream::authenticated(&endpoint, &account).await;
    let mut two = WebStream::authenticated(&endpoint, &account).await;
    for stream in [&mut one, &mut two] {
        let (id, h) = (&session.id, session.received);
        let resume = format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>");
        stream.send(&resume).await;
    }
    // Whichever came later has it, and the other is told.
    let ends = async |stream: &mut WebStream| {
        loop {
            match stream.receive().await {
                Some(it) if it.is(STREAMS, "error") => return it.to_string().contains("conflict"),
                Some(_) => {}
                None => panic!("ended without a word"),
            }
        }
    };
    let other = tokio::select! {
        is_told = ends(&mut one) => { assert!(is_told); &mut two }
        is_told = ends(&mut two) => { assert!(is_told); &mut one }
    };
    desk.send_message(&session.jid, "for one of them");
    other.expect_message("for one of them").await;
}

/// Browsers throw tabs away, and each leaves a session.
#[tokio::test]
async fn of_a_hundred_tabs_that_were_thrown_away_five_sessions_sleep() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .session("sessions_per_user = 200")
        .start();
    let endpoint = gateway.websocket();
    let account = prosody.account("john");
    let mut sessions: Vec<Management> = Vec::new();
    for number in 0..100 {
        let tab = format!("tab {number}");
        let web = WebStream::log_in_managed(&endpoint, &account, &tab).await;
        sessions.push(web.vanish());
    }
    let mut resumed = Vec::new();
    for (number, session) in sessions.iter().enumerate() {
        let mut web = WebStream::authenticated(&endpoint, &account).await;
        let answer = web.try_resume(session).await;
        if answer.is(SM, "resumed") {
            resumed.push(number);
            // Awake, so that it is not one too many.
            std::mem::forget(web);
        }
    }
    assert_eq!(resumed, [95, 96, 97, 98, 99]);
}
