//! 3.3: XMPP Framing: one element in each message.

use support::{
    client::Client,
    gateway::Gateway,
    site::{Site, only_rostergate},
    webstream::WebStream,
    xml::{CLIENT, message},
};

struct Pair {
    gateway: Gateway,
    web: WebStream,
    desk: Client,
}

impl Pair {
    async fn new() -> Self {
        let site = Site::shared();
        let gateway = Gateway::start(site);
        let web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
        let desk = site.contact("marie").await;
        Self { gateway, web, desk }
    }

    /// Another session of a new user.
    async fn another(&mut self) {
        let account = Site::shared().account("john");
        self.web = WebStream::log_in(&self.gateway.websocket(), &account, "web").await;
    }

    /// Sends a text and asserts that the stream ends for it, with one of these errors.
    async fn assert_ends(&mut self, text: &str, conditions: &[&str]) {
        self.another().await;
        self.web.send(text).await;
        let account = Site::shared().account("john");
        let next = WebStream::log_in(&self.gateway.websocket(), &account, "web").await;
        let steps = std::mem::replace(&mut self.web, next).end().await.steps;
        let condition = steps.first().map_or("nothing", String::as_str);
        assert!(conditions.contains(&condition), "{text}: {steps:?}");
        assert_eq!(steps[1..], ["<close/>", "1000"], "{text}");
    }
}

#[tokio::test]
async fn refuses_what_is_not_one_element() {
    let mut pair = Pair::new().await;
    let stanza = message(&pair.desk.jid, "refused");
    for text in [
        format!("{stanza}{stanza}"),
        format!("text{stanza}"),
        format!("{stanza}text"),
        "<presence xmlns='jabber:client'".to_owned(),
        "<presence xmlns='jabber:client'>".to_owned(),
        "</presence>".to_owned(),
        "<presence xmlns='jabber:client'><a></presence></a>".to_owned(),
        "<presence xmlns='jabber:client' a='1' a='2'/>".to_owned(),
        "<presence xmlns='jabber:client'>&unknown;</presence>".to_owned(),
        "<presence xmlns='jabber:client'><x:y/></presence>".to_owned(),
        "text".to_owned(),
        "<".to_owned(),
    ] {
        let conditions = [
            "not-well-formed",
            "bad-format",
            "restricted-xml",
            "bad-namespace-prefix",
        ];
        pair.assert_ends(&text, &conditions).await;
    }
    assert_eq!(pair.desk.fence().await, [], "nothing of it was delivered");
}

#[tokio::test]
async fn refuses_what_xmpp_forbids_in_xml() {
    let mut pair = Pair::new().await;
    for text in [
        "<!-- comment --><presence xmlns='jabber:client'/>",
        "<presence xmlns='jabber:client'><!-- comment --></presence>",
        "<?target data?><presence xmlns='jabber:client'/>",
        "<presence xmlns='jabber:client'><?target data?></presence>",
        "<!DOCTYPE presence><presence xmlns='jabber:client'/>",
    ] {
        let conditions = ["restricted-xml", "not-well-formed"];
        pair.assert_ends(text, &conditions).await;
    }
}

#[tokio::test]
async fn refuses_what_is_too_deep_or_has_too_many_attributes() {
    only_rostergate("every service has bounds of its own");
    let mut pair = Pair::new().await;
    let deep = format!(
        "<presence xmlns='{CLIENT}'>{}{}</presence>",
        "<x>".repeat(10_000),
        "</x>".repeat(10_000)
    );
    let attributes = (0..10_000).map(|number| format!(" a{number}=''"));
    let wide = format!(
        "<presence xmlns='{CLIENT}'{}/>",
        attributes.collect::<String>()
    );
    for text in [deep, wide] {
        pair.assert_ends(&text, &["policy-violation"]).await;
    }
}

/// RFC 7395 only discourages it.
#[tokio::test]
async fn tolerates_an_xml_declaration() {
    let mut pair = Pair::new().await;
    for declaration in [
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    ] {
        let stanza = message(&pair.desk.jid, declaration);
        pair.web.send(&format!("{declaration}{stanza}")).await;
        pair.desk.expect_message(declaration).await;
    }
}

/// Old clients keep their connection alive by it.
#[tokio::test]
async fn tolerates_white_space() {
    only_rostergate("RFC 7395 forbids it, and does not say what to do");
    let mut pair = Pair::new().await;
    for text in ["", " ", "\n", "\r\n\t "] {
        pair.web.send(text).await;
    }
    let jid = pair.desk.jid.clone();
    pair.web.send_message(&jid, "still there").await;
    pair.desk.expect_message("still there").await;
}

#[tokio::test]
async fn tolerates_white_space_around_an_element() {
    let mut pair = Pair::new().await;
    let stanza = message(&pair.desk.jid, "with a line end");
    pair.web.send(&format!("{stanza}\n")).await;
    pair.desk.expect_message("with a line end").await;
}

/// Some clients forget it.
#[tokio::test]
async fn takes_stanzas_without_a_namespace_for_those_of_clients() {
    let mut pair = Pair::new().await;
    let to = pair.desk.jid.clone();
    let stanza =
        format!("<message to='{to}'><body>no namespace</body><x xmlns='urn:x'><y/></x></message>");
    pair.web.send(&stanza).await;
    let arrived = pair.desk.expect_message("no namespace").await;
    assert!(arrived.child("urn:x", "x").is_some(), "{arrived}");
    pair.web
        .send("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    let reply = pair
        .web
        .expect("the reply", |element| element.is_reply_to("1"))
        .await;
    assert_eq!(reply.attr("type"), Some("result"));
}

#[tokio::test]
async fn refuses_other_elements_without_a_namespace() {
    let mut pair = Pair::new().await;
    let conditions = ["invalid-namespace", "unsupported-stanza-type"];
    for text in ["<hello/>", "<a h='1'/>", "<query xmlns=''/>"] {
        pair.assert_ends(text, &conditions).await;
    }
}

#[tokio::test]
async fn takes_every_way_to_write_the_same_xml() {
    let mut pair = Pair::new().await;
    let to = pair.desk.jid.clone();
    for stanza in [
        format!("<c:message xmlns:c='{CLIENT}' to='{to}'><c:body>same</c:body></c:message>"),
        format!("<message\n xmlns=\"{CLIENT}\"\tto = '{to}'\r\n><body >same</body ></message >"),
        format!("<message xmlns='{CLIENT}' to='{to}'><body>&#x73;ame</body></message>"),
        format!("<message xmlns='{CLIENT}' to='{to}'><body><![CDATA[same]]></body></message>"),
    ] {
        pair.web.send(&stanza).await;
        let arrived = pair.desk.expect_message("same").await;
        assert_eq!(arrived.attr("to"), Some(&*to), "{stanza}");
    }
}

/// Openfire cut them off.
#[tokio::test]
async fn takes_large_stanzas() {
    let mut pair = Pair::new().await;
    let text = "0123456789".repeat(20_000);
    let jid = pair.desk.jid.clone();
    pair.web.send_message(&jid, &text).await;
    pair.desk.expect_message(&text).await;
    let jid = pair.web.jid.clone();
    pair.desk.send_message(&jid, &text);
    pair.web.expect_message(&text).await;
}
