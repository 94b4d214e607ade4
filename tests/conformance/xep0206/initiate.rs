//! Session Creation Request: what is for the XMPP stream.

use crate::support::{
    bosh::Bosh,
    gateway::Gateway,
    site::{Site, domain},
    xml::{CLIENT, SASL, STREAMS},
};

#[tokio::test]
async fn offers_features_to_clients_that_state_no_version() {
    let gateway = Gateway::start(Site::shared());
    let changes = [("xmpp:version", ""), ("xmlns:xmpp", "")];
    let bosh = Bosh::open_with(&gateway.bosh(), domain(), &changes).await;
    let features = bosh.creation.child(STREAMS, "features");
    let features = features.unwrap_or_else(|| panic!("none in {}", bosh.creation));
    assert!(features.child(SASL, "mechanisms").is_some(), "{features}");
}

/// Servers stamp the language of the stream on stanzas that have none.
#[tokio::test]
async fn passes_the_language_on() {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let mut desk = site.contact("marie").await;
    let account = site.account("john");
    let terms = [("xml:lang", "de"), ("wait", "1")];
    let mut web = Bosh::log_in_with(&gateway.bosh(), &account, "web", &terms).await;
    let message = format!("<message xmlns='{CLIENT}' to='{}'/>", desk.jid);
    web.exchange(&message).await;
    let arrived = desk.next().await;
    let lang = arrived.attr_ns("http://www.w3.org/XML/1998/namespace", "lang");
    assert_eq!(lang, Some("de"), "{arrived}");
}
