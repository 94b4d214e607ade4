//! 3.3.3, 3.9: the features, and what may not be negotiated.

use support::{
    gateway::Gateway,
    site::{Site, domain},
    websocket::Received,
    webstream::{WebStream, open},
    xml::{BIND, Element, FRAMING, SASL, SM, STREAMS},
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

/// Strophe looks for the prefix, stanza.js for its declaration.
#[tokio::test]
async fn declares_the_prefix_of_the_features() {
    let gateway = gateway();
    let mut stream = WebStream::connect(&gateway.websocket(), domain()).await;
    stream.send(&open(domain(), &[])).await;
    stream.read_opening().await;
    let Received::Text(text) = stream.socket.next().await else {
        panic!("no features")
    };
    let tag = text.split('>').next().expect("a tag");
    assert!(tag.starts_with("<stream:features"), "{text}");
    assert!(tag.contains("xmlns:stream="), "{text}");
    for prefixed in [":mechanisms", ":mechanism"] {
        assert!(
            !text.contains(prefixed),
            "Strophe looks for plain names: {text}"
        );
    }
}

#[tokio::test]
async fn offers_ways_to_log_in_and_then_what_a_session_has() {
    let gateway = gateway();
    let account = Site::shared().account("john");
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    let mechanisms = stream.features.child(SASL, "mechanisms");
    let mechanisms = mechanisms.expect("ways to log in");
    let names: Vec<_> = mechanisms.children().map(Element::text).collect();
    assert!(names.contains(&"PLAIN".to_owned()), "{names:?}");
    stream.authenticate(&account).await;
    let features = &stream.features;
    assert!(features.child(BIND, "bind").is_some(), "{features}");
    assert!(features.child(SM, "sm").is_some(), "{features}");
}

#[tokio::test]
async fn offers_nothing_of_the_channel() {
    let gateway = gateway();
    let account = Site::shared().account("john");
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    for _ in 0..2 {
        let features = stream.features.to_string();
        for foreign in ["starttls", "compression", "-PLUS"] {
            assert!(!features.contains(foreign), "{features}");
        }
        if stream.features.child(SASL, "mechanisms").is_some() {
            stream.authenticate(&account).await;
        }
    }
}

#[tokio::test]
async fn does_not_begin_tls_when_asked() {
    let gateway = gateway();
    let mut stream = WebStream::open(&gateway.websocket(), domain()).await;
    stream
        .send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .await;
    stream.send(&format!("<close xmlns='{FRAMING}'/>")).await;
    let steps = stream.end().await.steps;
    assert!(!steps.contains(&"<proceed/>".to_owned()), "{steps:?}");
}

#[tokio::test]
async fn writes_features_as_an_element_of_the_stream() {
    let gateway = gateway();
    let stream = WebStream::open(&gateway.websocket(), domain()).await;
    assert!(stream.features.is(STREAMS, "features"));
}
