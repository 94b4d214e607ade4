//! `<body/>` Wrapper Element: stanzas mean the same on both sides.

use support::{
    bosh::Bosh,
    client::{Account, Client},
    gateway::Gateway,
    site::Site,
    xml::{CLIENT, Element, HTTPBIND, escape},
};

/// Somebody behind the gateway and somebody who is not.
struct Pair {
    _gateway: Gateway,
    account: Account,
    web: Bosh,
    desk: Client,
}

impl Pair {
    async fn new() -> Self {
        let prosody = Site::shared();
        let gateway = Gateway::start(prosody);
        let account = prosody.account("john");
        // A short wait: a lone request is answered then, and no test here is about holding.
        let terms = [("wait", "1")];
        let web = Bosh::log_in_with(&gateway.bosh(), &account, "web", &terms).await;
        let desk = prosody.contact("marie").await;
        Self {
            _gateway: gateway,
            account,
            web,
            desk,
        }
    }

    fn web_jid(&self) -> String {
        format!("{}/web", self.account.jid())
    }

    /// Sends a payload in a body with these attributes; the contact must get what `meaning`, a
    /// stanza in `jabber:client`, says. `TO` in both is the contact.
    async fn assert_arrives(&mut self, attributes: &str, payload: &str, meaning: &str) {
        let (payload, meaning) = (
            payload.replace("TO", &self.desk.jid),
            meaning.replace("TO", &self.desk.jid),
        );
        let answer = self.web.send(attributes, &payload).await.body().await;
        assert_eq!(answer.attr("type"), None, "{payload}");
        let mut expected = Element::stanza(&meaning);
        set(&mut expected, "from", &self.web_jid());
        let mut arrived = self.desk.next().await;
        drop_stream_lang(&mut arrived, &expected);
        assert_eq!(arrived, expected, "\n{arrived}\n{expected}\nof {payload}");
    }
}

fn set(element: &mut Element, name: &str, value: &str) {
    element
        .attrs
        .insert((String::new(), name.to_owned()), value.to_owned());
}

/// Servers stamp the language of the stream on stanzas that have none.
fn drop_stream_lang(arrived: &mut Element, expected: &Element) {
    let lang = (
        "http://www.w3.org/XML/1998/namespace".to_owned(),
        "lang".to_owned(),
    );
    if !expected.attrs.contains_key(&lang) {
        arrived.attrs.remove(&lang);
    }
}

/// Whatever a sloppy writer could break.
const HARD_TEXT: &str = "a & b < c > d ' e \" f ]] > é ☎ 😀 \u{301}x \t tab \n line";

#[tokio::test]
async fn keeps_text() {
    let mut pair = Pair::new().await;
    let text = HARD_TEXT.replace('&', "&amp;").replace('<', "&lt;");
    let message = format!("<message xmlns='{CLIENT}' to='TO'><body>{text}</body></message>");
    let meaning = format!(
        "<message to='TO'><body>{}</body></message>",
        escape(HARD_TEXT)
    );
    pair.assert_arrives("", &message, &meaning).await;
}

#[tokio::test]
async fn keeps_cdata_and_references() {
    let mut pair = Pair::new().await;
    for (written, meant) in [
        ("<![CDATA[a < b && c]]>", "a &lt; b &amp;&amp; c"),
        (
            "x<![CDATA[</body></message>]]>y",
            "x&lt;/body&gt;&lt;/message&gt;y",
        ),
        ("<![CDATA[]]>", ""),
        (
            "&#60;&#x26;&#x1F600;&lt;&gt;&amp;&apos;&quot;",
            "&lt;&amp;😀&lt;&gt;&amp;'\"",
        ),
        ("&amp;lt;", "&amp;lt;"),
    ] {
        let message =
            |text| format!("<message xmlns='{CLIENT}' to='TO'><body>{text}</body></message>");
        pair.assert_arrives("", &message(written), &message(meant))
            .await;
    }
}

#[tokio::test]
async fn keeps_attributes() {
    let mut pair = Pair::new().await;
    // No tabs and line ends: Prosody itself does not keep those in attributes.
    let value = escape("a & b < c > d ' e \" é 😀 ]]>");
    let message = format!(
        "<message xmlns='{CLIENT}' to='TO' id='{value}'><x xmlns='y' z='{value}'/></message>"
    );
    pair.assert_arrives("", &message, &message).await;
}

#[tokio::test]
async fn takes_children_without_a_namespace_for_stanzas() {
    let mut pair = Pair::new().await;
    let message =
        "<message to='TO'><subject>s</subject><body>b</body><x xmlns='y'><z/></x></message>";
    pair.assert_arrives("", message, message).await;
    let redeclared =
        format!("<message to='TO'><x xmlns='y'><body xmlns='{HTTPBIND}'>deep</body></x></message>");
    let arrived =
        format!("<message to='TO'><x xmlns='y'><body xmlns='{HTTPBIND}'>deep</body></x></message>");
    pair.assert_arrives("", &redeclared, &arrived).await;
}

#[tokio::test]
async fn keeps_prefixes_declared_on_the_body() {
    let mut pair = Pair::new().await;
    for (attributes, payload, meaning) in [
        (
            "xmlns:c='jabber:client'",
            "<c:message to='TO'><c:body>x</c:body></c:message>",
            "<message to='TO'><body>x</body></message>",
        ),
        (
            "xmlns:p='urn:example:p'",
            "<message xmlns='jabber:client' to='TO'><p:x p:a='1' b='2'><p:y/></p:x></message>",
            "<message to='TO'>\
             <x xmlns='urn:example:p' xmlns:q='urn:example:p' q:a='1' b='2'><y/></x></message>",
        ),
        (
            "xmlns:p='urn:example:outer'",
            "<message xmlns='jabber:client' to='TO' xmlns:p='urn:example:inner'><p:x/></message>",
            "<message to='TO'><x xmlns='urn:example:inner'/></message>",
        ),
    ] {
        pair.assert_arrives(attributes, payload, meaning).await;
    }
}

#[tokio::test]
async fn keeps_unknown_extensions_and_languages() {
    let mut pair = Pair::new().await;
    let message = format!(
        "<message xmlns='{CLIENT}' to='TO' type='headline' xml:lang='de' id='1'>\
         <body>eins</body><body xml:lang='en'>one</body>\
         <html xmlns='http://jabber.org/protocol/xhtml-im'>\
         <body xmlns='http://www.w3.org/1999/xhtml'><p style='x'>a<br/>b <em>c</em> d</p>\
         </body></html>\
         <unknown xmlns='urn:example:unknown' xml:space='preserve'>  <a/>  </unknown></message>"
    );
    pair.assert_arrives("", &message, &message).await;
}

#[tokio::test]
async fn keeps_large_stanzas() {
    let mut pair = Pair::new().await;
    let text = "0123456789".repeat(20_000);
    let message = format!("<message xmlns='{CLIENT}' to='TO'><body>{text}</body></message>");
    pair.assert_arrives("", &message, &message).await;
    let to = pair.web_jid();
    pair.desk.send_message(&to, &text);
    pair.web
        .exchange_until("", |child| child.is_message(&text))
        .await;
}

#[tokio::test]
async fn keeps_five_hundred_stanzas_of_one_body_in_order() {
    let mut pair = Pair::new().await;
    let to = pair.desk.jid.clone();
    let stanza = |number| {
        format!("<message xmlns='{CLIENT}' to='{to}' id='{number}'><body>b</body></message>")
    };
    let payload: String = (0..500).map(stanza).collect();
    pair.web.exchange(&payload).await;
    for number in 0..500 {
        let arrived = pair.desk.next().await;
        assert_eq!(
            arrived.attr("id"),
            Some(number.to_string().as_str()),
            "{arrived}"
        );
    }
    assert_eq!(pair.desk.fence().await, []);
}

#[tokio::test]
async fn brings_stanzas_to_the_client_as_they_are() {
    let mut pair = Pair::new().await;
    let to = pair.web_jid();
    let text = escape(HARD_TEXT);
    let stanza = format!(
        "<message to='{to}' id='&lt;1&gt;' type='chat'><body>{text}</body>\
         <q:x xmlns:q='urn:example:q' q:a='1'><q:y/></q:x><z xmlns='urn:example:z'/></message>"
    );
    pair.desk.send(&stanza);
    let mut expected = Element::stanza(&stanza);
    set(&mut expected, "from", &pair.desk.jid);
    let mut arrived = pair
        .web
        .exchange_until("", |child| child.is(CLIENT, "message"))
        .await;
    drop_stream_lang(&mut arrived, &expected);
    assert_eq!(arrived, expected, "\n{arrived}\n{expected}");
}

#[tokio::test]
async fn brings_many_stanzas_to_the_client_in_order() {
    let prosody = Site::shared();
    let gateway = Gateway::start(prosody);
    let mut web = gateway.login(&prosody.account("john"), "web").await;
    let desk = prosody.contact("marie").await;
    for number in 0..500 {
        desk.send_message(&web.jid, &number.to_string());
    }
    for number in 0..500 {
        assert_eq!(web.next().await.body(), Some(number.to_string()));
    }
}

#[tokio::test]
async fn writes_the_namespace_that_old_clients_look_for() {
    let mut pair = Pair::new().await;
    let to = pair.web_jid();
    pair.desk.send(&format!(
        "<message to='{to}'><body>x</body></message><presence to='{to}'/>"
    ));
    pair.desk.send(&format!(
        "<iq type='get' id='1' to='{to}'><query xmlns='urn:x'/></iq>"
    ));
    let mut texts = String::new();
    while !texts.contains("<iq") {
        let response = pair.web.send("", "").await.response().await;
        texts.push_str(response.text());
    }
    for name in ["message", "presence", "iq"] {
        let (_, tag) = texts
            .split_once(&format!("<{name} "))
            .unwrap_or_else(|| panic!("{texts}"));
        let tag = tag
            .split('>')
            .next()
            .expect("a start tag")
            .replace('"', "'");
        assert!(
            tag.contains("xmlns='jabber:client'"),
            "Strophe looks at the attribute: {tag}"
        );
    }
}
