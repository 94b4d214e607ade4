//! 3.4: Stream Initiation.

use support::{
    gateway::Gateway,
    site::{Site, domain, only_rostergate},
    websocket::Received,
    webstream::{CLOSE_ELEMENT, WebStream, open},
    xml::{FRAMING, SASL},
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

/// How a stream ends that begins with this message.
async fn end_of(gateway: &Gateway, first: &str) -> Vec<String> {
    let mut stream = WebStream::connect(&gateway.websocket(), domain()).await;
    stream.send(first).await;
    stream.end().await.steps
}

#[tokio::test]
async fn answers_open_with_open() {
    let gateway = gateway();
    let stream = WebStream::open(&gateway.websocket(), domain()).await;
    let opening = &stream.opening;
    assert!(opening.is(FRAMING, "open"));
    assert_eq!(opening.attr("from"), Some(domain()));
    assert_eq!(opening.attr("version"), Some("1.0"));
    assert!(opening.attr("id").is_some_and(|id| !id.is_empty()));
    let lang = opening.attr_ns("http://www.w3.org/XML/1998/namespace", "lang");
    assert!(lang.is_some_and(|lang| !lang.is_empty()), "{opening}");
}

/// Strophe looks for the start, Smack for the form.
#[tokio::test]
async fn writes_open_as_clients_look_for_it() {
    let gateway = gateway();
    let mut stream = WebStream::connect(&gateway.websocket(), domain()).await;
    stream.send(&open(domain(), &[])).await;
    let Received::Text(text) = stream.socket.next().await else {
        panic!("no <open/>")
    };
    assert!(text.starts_with("<open "), "{text}");
    assert!(text.ends_with("/>"), "{text}");
    assert_eq!(text.matches('<').count(), 1, "{text}");
    assert!(text.contains(FRAMING), "{text}");
}

#[tokio::test]
async fn gives_every_stream_an_id_of_its_own() {
    let gateway = gateway();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
        ids.push(stream.opening.attr("id").map(str::to_owned));
        stream.authenticate(&Site::shared().account("john")).await;
        ids.push(stream.opening.attr("id").map(str::to_owned));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "{ids:?}");
    for id in ids.iter().flatten() {
        assert!(id.len() >= 8, "not to be guessed: {id}");
    }
}

#[tokio::test]
async fn takes_every_way_to_write_open() {
    let gateway = gateway();
    let to = domain();
    for first in [
        format!("<open xmlns=\"{FRAMING}\" to=\"{to}\" version=\"1.0\"/>"),
        format!("<open xmlns='{FRAMING}' to='{to}' version='1.0'></open>"),
        format!("<f:open xmlns:f='{FRAMING}' to='{to}' version='1.0'/>"),
        format!("<?xml version='1.0'?><open xmlns='{FRAMING}' to='{to}' version='1.0'/>"),
        format!(
            "<open version='1.0' to='{to}' from='john@{to}' xml:lang='de' xmlns='{FRAMING}' />"
        ),
        open(to, &[("to", &to.to_uppercase())]),
    ] {
        let mut stream = WebStream::connect(&gateway.websocket(), to).await;
        stream.send(&first).await;
        stream.read_opening().await;
        let features = |element: &support::xml::Element| element.name == "features";
        stream.expect("features", features).await;
    }
}

#[tokio::test]
async fn answers_versions_from_1_on_with_1_0() {
    let gateway = gateway();
    for version in ["1.0", "1.1", "1.23456", "1"] {
        let mut stream = WebStream::connect(&gateway.websocket(), domain()).await;
        stream.send(&open(domain(), &[("version", version)])).await;
        stream.read_opening().await;
        assert_eq!(stream.opening.attr("version"), Some("1.0"), "{version}");
    }
}

#[tokio::test]
async fn refuses_earlier_versions() {
    let gateway = gateway();
    for version in ["", "0.9", "0.0"] {
        let steps = end_of(&gateway, &open(domain(), &[("version", version)])).await;
        let expected = ["<open/>", "unsupported-version", "<close/>", "1000"];
        assert_eq!(steps, expected, "{version}");
    }
}

#[tokio::test]
async fn refuses_domains_that_it_does_not_serve() {
    let gateway = gateway();
    let steps = end_of(&gateway, &open("unknown.example", &[])).await;
    assert_eq!(steps, ["<open/>", "host-unknown", "<close/>", "1000"]);
    let steps = end_of(&gateway, &open(domain(), &[("to", "")])).await;
    let condition = steps.get(1).map(String::as_str);
    let known = ["host-unknown", "improper-addressing"];
    assert!(condition.is_some_and(|it| known.contains(&it)), "{steps:?}");
}

#[tokio::test]
async fn refuses_open_in_another_namespace() {
    let gateway = gateway();
    for namespace in ["urn:ietf:params:xml:ns:xmpp-frames", "jabber:client", ""] {
        let first = format!(
            "<open xmlns='{namespace}' to='{}' version='1.0'/>",
            domain()
        );
        let steps = end_of(&gateway, &first).await;
        let expected = ["<open/>", "invalid-namespace", "<close/>", "1000"];
        assert_eq!(steps, expected, "{namespace}");
    }
}

#[tokio::test]
async fn refuses_the_stream_of_the_old_draft() {
    let gateway = gateway();
    let to = domain();
    let first = format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         to='{to}' version='1.0'>"
    );
    let mut stream = WebStream::connect(&gateway.websocket(), to).await;
    stream.send(&first).await;
    let ended = stream.end().await;
    let expected = ["<open/>", "invalid-namespace", "<close/>", "1000"];
    assert_eq!(ended.steps, expected);
    only_rostergate("what it says");
    let error = ended.error.expect("an error").to_string();
    assert!(
        error.contains("RFC 7395"),
        "which version is spoken: {error}"
    );
}

#[tokio::test]
async fn refuses_any_other_beginning() {
    let gateway = gateway();
    for first in [
        "<presence xmlns='jabber:client'/>".to_owned(),
        format!("<auth xmlns='{SASL}' mechanism='PLAIN'>AGEAYg==</auth>"),
        CLOSE_ELEMENT.to_owned(),
    ] {
        let steps = end_of(&gateway, &first).await;
        assert_eq!(
            steps,
            ["<open/>", "bad-format", "<close/>", "1000"],
            "{first}"
        );
    }
}

#[tokio::test]
async fn refuses_a_second_open() {
    let gateway = gateway();
    let endpoint = gateway.websocket();
    let account = Site::shared().account("john");
    let again = open(domain(), &[]);
    let mut before = WebStream::open(&endpoint, domain()).await;
    before.send(&again).await;
    let steps = before.end().await.steps;
    assert_eq!(steps, ["bad-format", "<close/>", "1000"]);
    let mut after = WebStream::log_in(&endpoint, &account, "web").await;
    after.send(&again).await;
    let steps = after.end().await.steps;
    assert_eq!(steps, ["bad-format", "<close/>", "1000"]);
}

#[tokio::test]
async fn closes_a_stream_that_was_only_opened() {
    let gateway = gateway();
    let stream = WebStream::open(&gateway.websocket(), domain()).await;
    stream.log_out().await;
}
