//! Logging in where the server offers more than the shared one does.

use crate::server_ends::{self, Ending, Last};
use support::backend::Backend;
use support::bosh::{Bosh, creation};
use support::client::Client;
use support::gateway::Gateway;
use support::prosody::{DOMAIN, Prosody};
use support::sasl::Mechanism;
use support::xml::{Element, SASL, STREAMS};

/// A server that offers -PLUS mechanisms, as Prosody 0.12 does up to TLS 1.2.
fn binding_to_channels() -> Prosody {
    let tls = Prosody::builder().tls();
    tls.option("c2s_ssl = { protocol = \"tlsv1_2\" }").start()
}

#[tokio::test]
async fn takes_out_features_that_do_not_pass() {
    let prosody = binding_to_channels();
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

/// What a client with downgrade protection (XEP-0474) compares.
#[tokio::test]
async fn mechanisms_arrive_as_the_server_wrote_them() {
    let mechanisms = "<mechanisms  xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\" >\n\
         <mechanism >SCRAM-SHA-256</mechanism> <mechanism>PLAIN</mechanism>\
         <h:hostname xmlns:h='urn:xmpp:domain-based-name:1'>a</h:hostname></mechanisms >";
    let limits = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes>\
         <idle-seconds>60</idle-seconds></limits>";
    let features = format!("<stream:features>{limits}{mechanisms}</stream:features>");
    let hello = server_ends::HELLO.replace("<stream:features/>", &features);
    let server = Ending::start(&hello, Last::Reset).await;
    let upstream = format!("xmpp://{}", server.address);
    let gateway = Gateway::builder(&server).upstream(&upstream).start();
    let answer = gateway
        .bosh()
        .post(&creation(server_ends::DOMAIN, &[]))
        .await;
    assert!(answer.text().contains(mechanisms), "{}", answer.text());
    // What holds between server and gateway says nothing of the client's own connection.
    assert!(!answer.text().contains("limits"), "{}", answer.text());
    assert!(!gateway.log().contains("mechanisms of the server"));
}

#[tokio::test]
async fn the_log_names_withheld_mechanisms_once() {
    let prosody = binding_to_channels();
    let gateway = Gateway::builder(&prosody)
        .host("upstream_tls = \"insecure\"")
        .start();
    for _ in 0..3 {
        let mut client = gateway.login(&prosody.account("john"), "web").await;
        client.fence().await;
    }
    let log = gateway.log();
    let said: Vec<_> = log
        .lines()
        .filter(|line| line.contains("mechanisms of the server end at the gateway"))
        .collect();
    let [line] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(
        line.contains(" WARN ") && line.contains("SCRAM-SHA-1-PLUS"),
        "{line}"
    );
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
