//! Session Creation Request: what is for the XMPP stream.

use support::{
    bosh::Bosh,
    gateway::Gateway,
    site::{Site, domain, only_rostergate},
    xml::{CLIENT, SASL, STREAMS, message},
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

/// A server would take a new stream on a bound one for an attack.
#[tokio::test]
async fn a_restart_out_of_place_does_no_harm() {
    only_rostergate("what others make of it is theirs to say");
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let mut desk = site.contact("marie").await;
    let account = site.account("john");
    let mut web = Bosh::log_in(&gateway.bosh(), &account, "web").await;
    let restart = web.restart_attributes();
    let held = web.send(&restart, "").await;
    let message = message(&desk.jid, "still here");
    let _next = web.send("", &message).await;
    assert_eq!(held.body().await.attr("type"), None, "the session goes on");
    desk.expect_message("still here").await;
}
