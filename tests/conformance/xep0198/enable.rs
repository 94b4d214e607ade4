//! 3: Enabling Stream Management.

use super::Managed;
use support::{
    gateway::Gateway,
    site::{Site, only_rostergate},
    websocket::{FIN, TEXT, frame},
    webstream::{WebStream, h},
    xml::{Element, SM, STANZA_ERRORS, message},
};

async fn unmanaged() -> (Gateway, WebStream) {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let account = site.account("john");
    let web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
    (gateway, web)
}

fn is_unexpected(failed: &Element) -> bool {
    failed.is(SM, "failed") && failed.child(STANZA_ERRORS, "unexpected-request").is_some()
}

/// `1` would mean the same, but not to every client.
#[tokio::test]
async fn grants_resumption_to_those_who_ask_for_it() {
    let (_gateway, mut web) = unmanaged().await;
    let enabled = web.enable().await;
    assert!(enabled.is(SM, "enabled"), "{enabled}");
    assert_eq!(enabled.attr("resume"), Some("true"), "{enabled}");
    let id = enabled.attr("id").expect("an id");
    assert!((8..4000).contains(&id.len()), "{enabled}");
    let max = enabled.attr("max").and_then(|max| max.parse::<u32>().ok());
    assert!(max.is_none_or(|max| max > 0), "{enabled}");
}

#[tokio::test]
async fn says_for_how_long_and_nothing_of_where() {
    only_rostergate("both are optional");
    let gateway = Gateway::builder(Site::shared())
        .websocket("resume = \"90s\"")
        .start();
    let account = Site::shared().account("john");
    let mut web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
    let enabled = web.enable().await;
    assert_eq!(enabled.attr("max"), Some("90"), "{enabled}");
    assert_eq!(enabled.attr("location"), None, "{enabled}");
}

#[tokio::test]
async fn takes_one_for_true() {
    let (_gateway, mut web) = unmanaged().await;
    let enabled = web.enable_with("resume='1'").await;
    assert_eq!(enabled.attr("resume"), Some("true"), "{enabled}");
}

#[tokio::test]
async fn grants_acknowledgement_alone_to_those_who_ask_for_no_more() {
    for attributes in ["", "resume='false'", "resume='0'"] {
        let (_gateway, mut web) = unmanaged().await;
        let enabled = web.enable_with(attributes).await;
        assert!(enabled.is(SM, "enabled"), "{enabled}");
        let resume = enabled.attr("resume");
        assert!(matches!(resume, None | Some("false" | "0")), "{enabled}");
        web.fence().await;
        web.expect_acknowledged().await;
    }
}

#[tokio::test]
async fn grants_no_resumption_where_it_is_switched_off() {
    let gateway = Gateway::builder(Site::shared())
        .websocket("resume = \"0s\"")
        .start();
    let account = Site::shared().account("john");
    let mut web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
    let enabled = web.enable().await;
    assert!(enabled.is(SM, "enabled"), "{enabled}");
    assert_eq!((enabled.attr("resume"), enabled.attr("id")), (None, None));
    web.fence().await;
    web.expect_acknowledged().await;
}

#[tokio::test]
async fn refuses_before_a_resource_is_bound() {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let account = site.account("john");
    let mut web = WebStream::authenticated(&gateway.websocket(), &account).await;
    let failed = web.enable().await;
    assert!(is_unexpected(&failed), "{failed}");
    web.bind("web").await;
    let enabled = web.enable().await;
    assert!(enabled.is(SM, "enabled"), "{enabled}");
}

/// XEP-0198 would end the stream, which helps nobody.
#[tokio::test]
async fn refuses_a_second_time_and_goes_on() {
    only_rostergate("XEP-0198 wants a stream error");
    let mut session = Managed::new().await;
    session.web.fence().await;
    let failed = session.web.enable().await;
    assert!(is_unexpected(&failed), "{failed}");
    session.web.fence().await;
    session.web.expect_acknowledged().await;
    assert_eq!(session.web.ask().await, 2);
}

/// Servers and clients have got this wrong by one, both ways.
#[tokio::test]
async fn counts_what_the_client_sends_after_enable_and_nothing_before() {
    let (_gateway, mut web) = unmanaged().await;
    let mut desk = Site::shared().contact("marie").await;
    let mut bytes = Vec::new();
    let enable = format!("<enable xmlns='{SM}' resume='true'/>");
    for text in [
        message(&desk.jid, "before 1"),
        message(&desk.jid, "before 2"),
        enable,
        message(&desk.jid, "after 1"),
        format!("<r xmlns='{SM}'/>"),
        message(&desk.jid, "after 2"),
        message(&desk.jid, "after 3"),
    ] {
        bytes.extend(frame(FIN | TEXT, text.as_bytes()));
    }
    web.write(&bytes).await;
    let enabled = |element: &Element| element.is(SM, "enabled");
    web.expect("<enabled/>", enabled).await;
    desk.expect_message("after 3").await;
    let mut last = 0;
    while last < 3 {
        web.send(&format!("<r xmlns='{SM}'/>")).await;
        let answer = loop {
            let element = web.receive().await.expect("an answer");
            if element.is(SM, "a") {
                break h(&element);
            }
        };
        assert!((last..=3).contains(&answer), "{answer} after {last}");
        last = answer;
    }
}

/// What was on its way when it was enabled is not counted, and what is written after `<enabled/>` is.
#[tokio::test]
async fn counts_what_it_sends_after_enabled_and_nothing_before() {
    let (_gateway, mut web) = unmanaged().await;
    let desk = Site::shared().contact("marie").await;
    for number in 0..200 {
        desk.send_message(&web.jid, &number.to_string());
    }
    let (mut before, mut after) = (0, 0);
    let (mut is_asked, mut is_on) = (false, false);
    while before + after < 200 {
        let element = web.receive().await.expect("a message");
        match &*element.name {
            "enabled" => is_on = true,
            "message" if is_on => after += 1,
            "message" => before += 1,
            _ => {}
        }
        if before == 1 && !is_on && !is_asked {
            web.send(&format!("<enable xmlns='{SM}' resume='true'/>"))
                .await;
            is_asked = true;
        }
    }
    assert!(is_on);
    // One too many, and the server has to say how many it has sent.
    web.send(&format!("<a xmlns='{SM}' h='{}'/>", after + 1))
        .await;
    let error = web.end().await.error.expect("an error").to_string();
    let count = format!("send-count='{after}'");
    assert!(error.contains(&count), "{before} and {after}: {error}");
}
