//! Session Creation Response: the stream features.

use support::{
    bosh::creation,
    gateway::Gateway,
    site::{Site, domain},
    xml::{SASL, STREAMS},
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

#[tokio::test]
async fn brings_the_features_in_the_first_answer() {
    let gateway = gateway();
    let response = gateway.bosh().post(&creation(domain(), &[])).await;
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
