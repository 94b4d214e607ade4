//! `<body/>` Wrapper Element: restricted XML, and nothing but it.

use support::scene::Scene;
use support::{
    bosh::creation,
    gateway::Gateway,
    http::{Connection, Response},
    site::{Site, domain},
    xml::HTTPBIND,
};

#[track_caller]
fn assert_refused(response: &Response, condition: &str, why: &str) {
    assert_eq!(response.condition().as_deref(), Some(condition), "{why}");
    assert_eq!(response.xml().attr("sid"), None, "{why}");
}

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

#[tokio::test]
async fn refuses_what_is_not_restricted_xml() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let good = creation(domain(), &[]);
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
    let good = creation(domain(), &[]);
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

#[tokio::test]
async fn survives_malformed_xml() {
    let mut scene = Scene::new().await;
    for payload in [
        "<message xmlns:p='urn:&#97;'/>",
        "<message>",
        "</body>",
        "<message/>&bad;",
        "<!-- x -->",
        "text",
        "<a b=c/>",
    ] {
        let rid = scene.web.rid + 1;
        let response = scene.web.send_as(rid, "", payload).await.response().await;
        assert_eq!(
            response.condition().as_deref(),
            Some("bad-request"),
            "{payload}"
        );
    }
    let _held = scene.web.send("", &scene.to_desk("not hurt")).await;
    scene.desk.expect_message("not hurt").await;
}

#[tokio::test]
async fn forwards_nothing_of_a_malformed_request() {
    let mut scene = Scene::new().await;
    let rid = scene.web.rid + 1;
    let payload = format!("{}<oops>", scene.to_desk("half"));
    scene.web.send_as(rid, "", &payload).await.response().await;
    let _held = scene.web.send("", &scene.to_desk("whole")).await;
    let seen = scene
        .desk
        .until("the whole", |stanza| stanza.is_message("whole"))
        .await;
    assert_eq!(seen, []);
}
