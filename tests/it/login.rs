//! Logging in where the server offers more than the shared one does.

use crate::support::backend::Backend;
use crate::support::bosh::Bosh;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::prosody::{DOMAIN, Prosody};
use crate::support::sasl::Mechanism;
use crate::support::xml::{Element, SASL, STREAMS};

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
async fn logs_in_by_every_mechanism() {
    let (plain, hashed) = (Prosody::shared(), Prosody::shared_hashed());
    for (prosody, mechanism) in [
        (plain, Mechanism::Plain),
        (plain, Mechanism::ScramSha1),
        (hashed, Mechanism::Plain),
        (hashed, Mechanism::ScramSha256),
    ] {
        let gateway = Gateway::start(prosody);
        let account = prosody.account("john");
        let mut client = Client::login_by(mechanism, &gateway.transport(), &account, "web").await;
        assert_eq!(
            client.jid,
            format!("{}/web", account.jid()),
            "{mechanism:?}"
        );
        let mut contact = prosody.contact("marie").await;
        client.send_message(&contact.jid, "hello");
        contact.expect_message("hello").await;
        contact.send_message(&client.jid, "hi");
        client.expect_message("hi").await;
        assert_eq!(client.logout().await.condition, None);
    }
}

#[tokio::test]
async fn logs_in_over_tls_to_the_server() {
    let prosody = Prosody::builder()
        .tls()
        .option("c2s_require_encryption = true")
        .start();
    let certificate = prosody.certificate();
    let verify = format!(
        "upstream_tls = \"verify\"\nupstream_ca = \"{}\"",
        certificate.display()
    );
    for line in [
        "upstream_tls = \"auto\"",
        "upstream_tls = \"insecure\"",
        &verify,
    ] {
        let gateway = Gateway::builder(&prosody).host(line).start();
        let account = prosody.account("john");
        let client = gateway.login(&account, "web").await;
        assert_eq!(client.jid, format!("{}/web", account.jid()), "{line}");
    }
}
