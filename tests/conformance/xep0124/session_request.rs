//! Session Creation Request: terms, clamping, refusals.

use support::{
    bosh::{Bosh, creation},
    gateway::Gateway,
    http::{Endpoint, Response},
    site::{Site, domain, only_rostergate},
    xml::Element,
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

async fn create(bosh: &Endpoint, changes: &[(&str, &str)]) -> Element {
    Bosh::open_with(bosh, domain(), changes).await.creation
}

#[tokio::test]
async fn clamps_what_the_client_asks_for() {
    only_rostergate("what it grants is for each service to say");
    let gateway = gateway();
    let bosh = gateway.bosh();
    for (changes, name, expected) in [
        (&[("wait", "600")][..], "wait", "60"),
        (&[("wait", "10")], "wait", "10"),
        (&[("wait", "")], "wait", "60"),
        (&[("wait", "0")], "wait", "0"),
        (&[("hold", "5")], "hold", "1"),
        (&[("hold", "5")], "requests", "2"),
        (&[("hold", "")], "hold", "1"),
        (&[("hold", "0")], "hold", "0"),
        (&[("hold", "0")], "requests", "1"),
        (&[("ver", "1.10")], "ver", "1.10"),
        (&[("ver", "1.20")], "ver", "1.11"),
        (&[("ver", "2.0")], "ver", "1.11"),
        (&[("to", "EXAMPLE.org")], "from", domain()),
        (&[("rid", "1")], "wait", "60"),
        (&[("rid", "9007199254740000")], "wait", "60"),
    ] {
        let answer = create(&bosh, changes).await;
        assert_eq!(answer.attr(name), Some(expected), "{changes:?}: {answer}");
    }
}

#[tokio::test]
async fn never_connects_where_the_client_says() {
    let gateway = gateway();
    for route in ["xmpp:192.0.2.1:5222", "xmpp:evil.example:5269", "nonsense"] {
        create(&gateway.bosh(), &[("route", route)]).await;
    }
}

#[track_caller]
fn assert_refused(response: &Response, condition: &str, why: &str) {
    assert_eq!(response.condition().as_deref(), Some(condition), "{why}");
    assert_eq!(response.xml().attr("sid"), None, "{why}");
}

#[tokio::test]
async fn refuses_terms_that_make_no_sense() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    for (changes, condition) in [
        (&[("rid", "")][..], "bad-request"),
        (&[("rid", "abc")], "bad-request"),
        (&[("rid", "-1")], "bad-request"),
        (&[("rid", "0")], "bad-request"),
        (&[("rid", "9007199254740992")], "bad-request"),
        (&[("rid", "99999999999999999999999")], "bad-request"),
        (&[("wait", "-1")], "bad-request"),
        (&[("wait", "long")], "bad-request"),
        (&[("hold", "x")], "bad-request"),
        (&[("to", "")], "improper-addressing"),
        (&[("to", "not a domain")], "improper-addressing"),
        (&[("to", "elsewhere.example")], "host-unknown"),
        (&[("sid", "unknown")], "item-not-found"),
        (&[("type", "terminate")], "bad-request"),
        (&[("pause", "60")], "bad-request"),
        (&[("xmpp:restart", "true")], "bad-request"),
    ] {
        let response = bosh.post(&creation(domain(), changes)).await;
        assert_refused(&response, condition, &format!("{changes:?}"));
    }
    let empty_sid = creation(domain(), &[]).replacen("<body", "<body sid=''", 1);
    assert_refused(
        &bosh.post(&empty_sid).await,
        "item-not-found",
        "an empty sid",
    );
}

/// A client that has lost its sid, not one that wants a session.
#[tokio::test]
async fn creates_no_session_for_stanzas_of_another() {
    only_rostergate("others may create one");
    let gateway = gateway();
    let stanzas = |changes: &[(&str, &str)]| {
        let request = creation(domain(), changes);
        request.replace("/>", "><presence xmlns='jabber:client'/></body>")
    };
    let response = gateway.bosh().post(&stanzas(&[("to", "")])).await;
    assert_refused(&response, "bad-request", "no `to`");
    // What comes too early is left out.
    let response = gateway.bosh().post(&stanzas(&[])).await;
    assert!(response.xml().attr("sid").is_some(), "{response:?}");
}
