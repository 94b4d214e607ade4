//! Session creation: terms, clamping, refusals (requirements B-NEW, B-XML).

use crate::support::{
    backend::Backend,
    bosh::{Bosh, FIRST_RID, creation},
    gateway::Gateway,
    http::{Connection, Endpoint, Response},
    prosody::{DOMAIN, Prosody},
    xml::{Element, HTTPBIND, SASL, STREAMS, XBOSH},
};

fn gateway() -> Gateway {
    Gateway::start(Prosody::shared())
}

async fn create(bosh: &Endpoint, changes: &[(&str, &str)]) -> Element {
    Bosh::open_with(bosh, DOMAIN, changes).await.creation
}

#[tokio::test]
async fn answers_with_the_terms_of_the_session() {
    let gateway = gateway();
    let response = gateway.bosh().post(&creation(DOMAIN, &[])).await;
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
        ("from", DOMAIN),
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
async fn brings_the_features_in_the_first_answer() {
    let gateway = gateway();
    let response = gateway.bosh().post(&creation(DOMAIN, &[])).await;
    let body = response.xml();
    let features = body
        .child(STREAMS, "features")
        .unwrap_or_else(|| panic!("none in {body}"));
    let mechanisms = features.child(SASL, "mechanisms").expect("ways to log in");
    assert!(
        mechanisms
            .children()
            .any(|mechanism| mechanism.text() == "PLAIN")
    );
    let text = response.text();
    assert!(
        text.contains("<stream:features"),
        "Strophe looks for the prefix: {text}"
    );
    let start = text.split('>').next().expect("a start tag");
    assert!(
        start.contains("xmlns:stream="),
        "XEP-0206: declared on the body: {start}"
    );
    for prefixed in [":mechanisms", ":mechanism"] {
        assert!(
            !text.contains(prefixed),
            "Strophe looks for unprefixed names: {text}"
        );
    }
}

#[tokio::test]
async fn takes_out_features_that_do_not_pass() {
    let prosody = Prosody::builder().tls().start();
    let backend = Backend::start();
    let gateway = Gateway::builder(&prosody)
        .backend(&backend)
        .host("upstream_tls = \"insecure\"")
        .start();
    let mut bosh = Bosh::open(&gateway.bosh(), DOMAIN).await;
    let first = bosh
        .creation
        .child(STREAMS, "features")
        .expect("features")
        .clone();
    let later = bosh.authenticate(&prosody.account("john")).await;
    for features in [&first, &later] {
        for child in features.children() {
            let gone = matches!(
                child.ns.as_str(),
                "urn:ietf:params:xml:ns:xmpp-tls"
                    | "http://jabber.org/features/compress"
                    | "urn:xmpp:sm:2"
                    | "urn:xmpp:sm:3"
                    | "urn:xmpp:features:rosterver"
                    | "urn:xmpp:features:pre-approval"
                    | "urn:xmpp:sasl:2"
            );
            assert!(!gone, "{features}");
        }
    }
    let mechanisms = first.child(SASL, "mechanisms").expect("mechanisms");
    let names: Vec<_> = mechanisms.children().map(Element::text).collect();
    assert!(
        !names.iter().any(|name| name.ends_with("-PLUS")),
        "{names:?}"
    );
    assert!(names.iter().any(|name| name == "SCRAM-SHA-1"), "{names:?}");
}

#[tokio::test]
async fn says_the_sid_only_once() {
    let prosody = Prosody::shared();
    let gateway = gateway();
    let account = prosody.account("john");
    let mut bosh = Bosh::open_with(&gateway.bosh(), DOMAIN, &[("wait", "1")]).await;
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
async fn gives_every_session_another_sid() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let one = create(&bosh, &[]).await;
    let two = create(&bosh, &[]).await;
    assert_ne!(one.attr("sid"), two.attr("sid"));
}

#[tokio::test]
async fn clamps_what_the_client_asks_for() {
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
        (&[("to", "EXAMPLE.org")], "from", DOMAIN),
        (&[("rid", "1")], "wait", "60"),
        (&[("rid", "9007199254740000")], "wait", "60"),
    ] {
        let answer = create(&bosh, changes).await;
        assert_eq!(answer.attr(name), Some(expected), "{changes:?}: {answer}");
    }
}

#[tokio::test]
async fn acknowledges_when_asked_to() {
    let gateway = gateway();
    let answer = create(&gateway.bosh(), &[("ack", "1")]).await;
    assert_eq!(answer.attr("ack"), Some(FIRST_RID.to_string().as_str()));
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
        let response = bosh.post(&creation(DOMAIN, &[("content", asked)])).await;
        assert_eq!(response.header("content-type"), Some(given));
        assert_eq!(response.header("set-cookie"), None);
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
        let response = bosh.post(&creation(DOMAIN, changes)).await;
        assert_refused(&response, condition, &format!("{changes:?}"));
    }
    let empty_sid = creation(DOMAIN, &[]).replacen("<body", "<body sid=''", 1);
    assert_refused(
        &bosh.post(&empty_sid).await,
        "item-not-found",
        "an empty sid",
    );
}

#[tokio::test]
async fn refuses_what_is_not_restricted_xml() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let good = creation(DOMAIN, &[]);
    let body = |content: &str| good.replace("/>", &format!(">{content}</body>"));
    for (why, document) in [
        ("no XML", "rid=1&to=example.org".to_owned()),
        ("unfinished", good.replace("/>", ">")),
        ("wrong root", good.replacen("<body", "<head", 1)),
        (
            "wrong namespace",
            good.replace(HTTPBIND, "http://jabber.org/protocol/other"),
        ),
        ("no namespace", good.replacen("xmlns=", "xml:id=", 1)),
        ("two roots", format!("{good}{good}")),
        ("text after the root", format!("{good}x")),
        ("text in the body", body("x")),
        ("a comment", body("<!-- x -->")),
        ("a comment before", format!("<!-- x -->{good}")),
        ("an instruction", body("<?x y?>")),
        ("a DTD", format!("<!DOCTYPE body>{good}")),
        (
            "an entity",
            format!("<!DOCTYPE b [<!ENTITY e 'x'>]>{}", body("<a>&e;</a>")),
        ),
        (
            "an undeclared entity",
            body("<message><body>&nbsp;</body></message>"),
        ),
        ("an unbound prefix", body("<x:message/>")),
        (
            "a control character",
            body("<message><body>\u{1}</body></message>"),
        ),
        (
            "a control character by number",
            body("<message><body>&#1;</body></message>"),
        ),
        (
            "an attribute twice",
            good.replacen("<body", "<body rid='1'", 1),
        ),
        (
            "an attribute without quotes",
            good.replacen("<body", "<body a=b", 1),
        ),
        ("mismatched tags", body("<a></b>")),
        ("XML 1.1", format!("<?xml version='1.1'?>{good}")),
        (
            "Latin-1",
            format!("<?xml version='1.0' encoding='ISO-8859-1'?>{good}"),
        ),
    ] {
        assert_refused(&bosh.post(&document).await, "bad-request", why);
    }

    let mut connection = Connection::open(&bosh).await;
    let bytes = [body("<a>").as_bytes(), b"\xff\xfe</a></body>"].concat();
    let head = format!(
        "POST /http-bind HTTP/1.1\r\nHost: x\r\nContent-Length: {}",
        bytes.len()
    );
    connection.write(head.as_bytes()).await;
    connection.write(b"\r\n\r\n").await;
    connection.write(&bytes).await;
    assert_refused(&connection.response().await, "bad-request", "not UTF-8");
}

#[tokio::test]
async fn takes_every_way_to_write_the_same_xml() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let good = creation(DOMAIN, &[]);
    for (why, document) in [
        ("a declaration", format!("<?xml version='1.0'?>{good}")),
        (
            "an encoding",
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{good}"),
        ),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("double quotes", good.replace('\'', "\"")),
        (
            "white space",
            format!(" \r\n\t{} \n", good.replace("/>", " >\n</body >")),
        ),
        (
            "a prefix",
            good.replace("<body", "<b:body")
                .replacen("xmlns=", "xmlns:b=", 1),
        ),
        (
            "references",
            good.replace("example.org", "&#101;xample&#x2e;org"),
        ),
        (
            "unknown attributes",
            good.replacen("<body", "<body secure='true' window='5'", 1),
        ),
    ] {
        // White space and marks before a declaration are fine; it has none here.
        let answer = bosh.post(&document).await.xml();
        assert!(answer.attr("sid").is_some(), "{why}: {answer}");
    }
}
