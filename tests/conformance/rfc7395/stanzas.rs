//! What passes means the same on both sides.

use support::{
    client::Client,
    gateway::Gateway,
    site::Site,
    websocket::Received,
    webstream::WebStream,
    xml::{CLIENT, Element, escape},
};

async fn pair() -> (Gateway, WebStream, Client) {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let web = WebStream::log_in(&gateway.websocket(), &site.account("john"), "web").await;
    (gateway, web, site.contact("marie").await)
}

/// Servers stamp the language of the stream on stanzas that have none.
fn without_lang(mut element: Element) -> Element {
    let lang = "http://www.w3.org/XML/1998/namespace".to_owned();
    element.attrs.remove(&(lang, "lang".to_owned()));
    element
}

/// Whatever a sloppy writer could break.
const HARD_TEXT: &str = "a & b < c > d ' e \" f ]] > é ☎ 😀 \u{301}x \t tab \n line";

fn hard_message(to: &str) -> String {
    let text = escape(HARD_TEXT);
    format!(
        "<message xmlns='{CLIENT}' to='{to}' id='&lt;1&gt;' type='chat'><body>{text}</body>\
         <q:x xmlns:q='urn:example:q' q:a='1'><q:y/></q:x><z xmlns='urn:example:z'>  <a/> </z></message>"
    )
}

#[tokio::test]
async fn keeps_what_the_client_sends() {
    let (_gateway, mut web, mut desk) = pair().await;
    let message = hard_message(&desk.jid);
    web.send_stanza(&message).await;
    let mut expected = Element::parse(&message);
    let from = (String::new(), "from".to_owned());
    expected.attrs.insert(from, web.jid.clone());
    let arrived = without_lang(desk.next().await);
    assert_eq!(arrived, expected, "\n{arrived}\n{expected}");
}

#[tokio::test]
async fn keeps_what_the_client_gets() {
    let (_gateway, mut web, desk) = pair().await;
    let message = hard_message(&web.jid);
    desk.send(&message);
    let mut expected = Element::parse(&message);
    let from = (String::new(), "from".to_owned());
    expected.attrs.insert(from, desk.jid.clone());
    let arrived = without_lang(web.next().await);
    assert_eq!(arrived, expected, "\n{arrived}\n{expected}");
}

#[tokio::test]
async fn keeps_the_order_both_ways() {
    let (_gateway, mut web, mut desk) = pair().await;
    let to = desk.jid.clone();
    for number in 0..500 {
        web.send_message(&to, &number.to_string()).await;
        desk.send_message(&web.jid, &number.to_string());
    }
    for number in 0..500 {
        assert_eq!(desk.next().await.body(), Some(number.to_string()));
        assert_eq!(web.next().await.body(), Some(number.to_string()));
    }
}

/// Clients look for the attribute.
#[tokio::test]
async fn says_the_namespace_of_each_stanza() {
    let (_gateway, mut web, desk) = pair().await;
    let to = web.jid.clone();
    desk.send(&format!("<message to='{to}'><body>x</body></message>"));
    desk.send(&format!("<presence to='{to}'/>"));
    desk.send(&format!(
        "<iq type='get' id='1' to='{to}'><query xmlns='urn:x'/></iq>"
    ));
    for name in ["message", "presence", "iq"] {
        let Received::Text(text) = web.socket.next().await else {
            panic!("no {name}")
        };
        assert!(text.starts_with(&format!("<{name}")), "{text}");
        let tag = text.split('>').next().expect("a tag");
        let says = |quote| tag.contains(&format!("xmlns={quote}jabber:client{quote}"));
        assert!(says('\'') || says('"'), "{text}");
    }
}

#[tokio::test]
async fn keeps_two_resources_of_a_user_apart() {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let account = site.account("john");
    let endpoint = gateway.websocket();
    let mut one = WebStream::log_in(&endpoint, &account, "one").await;
    let mut two = WebStream::log_in(&endpoint, &account, "two").await;
    let (to_one, to_two) = (one.jid.clone(), two.jid.clone());
    one.send_message(&to_two, "to two").await;
    two.send_message(&to_one, "to one").await;
    one.expect_message("to one").await;
    two.expect_message("to two").await;
    assert_eq!((one.fence().await, two.fence().await), (vec![], vec![]));
}
