//! Session Creation Response: the terms, once.

use support::{
    bosh::{Bosh, creation},
    gateway::Gateway,
    site::{Site, domain, only_rostergate},
    xml::{HTTPBIND, XBOSH},
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

#[tokio::test]
async fn answers_with_the_terms_of_the_session() {
    only_rostergate("what it grants is for each service to say");
    let gateway = gateway();
    let response = gateway.bosh().post(&creation(domain(), &[])).await;
    response.assert_usual_headers();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.header("content-type"),
        Some("text/xml; charset=utf-8")
    );
    let body = response.xml();
    assert!(body.is(HTTPBIND, "body"));
    for (name, value) in [
        ("wait", "60"),
        ("hold", "1"),
        ("requests", "2"),
        ("inactivity", "120"),
        ("maxpause", "120"),
        ("polling", "5"),
        ("ver", "1.6"),
        ("from", domain()),
    ] {
        assert_eq!(body.attr(name), Some(value), "{name} in {body}");
    }
    assert_eq!(body.attr("ack"), None, "the client did not ask for it");
    assert_ne!(body.attr("authid").unwrap_or_default(), "");
    let sid = body.attr("sid").expect("a sid");
    assert!(sid.len() >= 22, "128 random bits: {sid}");
    assert_eq!(body.attr_ns(XBOSH, "version"), Some("1.0"));
    assert_eq!(body.attr_ns(XBOSH, "restartlogic"), Some("true"));
    // Old clients know these prefixes, not the namespaces.
    assert!(response.text().contains(" xmpp:version="), "{body}");
}

#[tokio::test]
async fn says_the_sid_only_once() {
    let prosody = Site::shared();
    let gateway = gateway();
    let account = prosody.account("john");
    let mut bosh = Bosh::open_with(&gateway.bosh(), domain(), &[("wait", "1")]).await;
    bosh.authenticate(&account).await;
    let answer = bosh.exchange("").await;
    for name in [
        "sid",
        "wait",
        "requests",
        "hold",
        "ver",
        "inactivity",
        "authid",
        "from",
    ] {
        assert_eq!(
            answer.attr(name),
            None,
            "gloox takes that for a new session: {answer}"
        );
    }
}

#[tokio::test]
async fn answers_in_the_content_type_asked_for() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    for (asked, given) in [
        (
            "application/xml; charset=utf-8",
            "application/xml; charset=utf-8",
        ),
        ("", "text/xml; charset=utf-8"),
        ("text/html\r\nSet-Cookie: a=b", "text/xml; charset=utf-8"),
    ] {
        let response = bosh.post(&creation(domain(), &[("content", asked)])).await;
        assert_eq!(response.header("content-type"), Some(given));
        assert_eq!(response.header("set-cookie"), None);
    }
}
