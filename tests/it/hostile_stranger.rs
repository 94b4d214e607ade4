//! Stanzas of strangers: whatever their server lets them send, nobody's session ends by it, now or at the next
//! login.

use support::{
    client::{Account, Client},
    ejabberd::Ejabberd,
    gateway::{Gateway, Server},
    prosody::Prosody,
    xml::{CLIENT, Element},
};

/// Legal content of a message, and whether it arrives; else its sender hears of it.
fn contents() -> Vec<(&'static str, String, bool)> {
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let attributes = |count: usize| {
        let attributes = (0..count).map(|number| format!(" a{number}=''"));
        format!("<a xmlns='urn:x'{}/>", attributes.collect::<String>())
    };
    let uri = |length: usize| format!("<a xmlns='urn:{}'/>", "u".repeat(length));
    vec![
        (
            "a name with an ampersand",
            "<a xmlns='http://a.example/?b&amp;c'/>".into(),
            true,
        ),
        (
            "a name with a quote",
            "<a xmlns=\"urn:o'neil\"/>".into(),
            true,
        ),
        ("a longer name", uri(300), true),
        ("a very long name", uri(2000), false),
        ("many attributes", attributes(200), true),
        ("very many attributes", attributes(300), false),
        ("depth", deep(100), true),
        ("much depth", deep(300), false),
        ("very much depth", deep(900), false),
    ]
}

async fn nobody_ends_by_it(server: &impl Server, account: &Account, mut stranger: Client) {
    let gateway = Gateway::start(server);
    let mut client = gateway.login(account, "web").await;
    client.send_presence("");
    client.expect_presence(&client.jid.clone(), "").await;
    for (number, (what, content, arrives)) in contents().into_iter().enumerate() {
        let to = account.jid();
        stranger.send(&format!(
            "<message xmlns='{CLIENT}' type='chat' id='{number}' to='{to}'><body>{what}</body>{content}</message>"
        ));
        let after = format!("after {what}");
        stranger.send_message(&to, &after);
        if arrives {
            client.expect_message(what).await;
        } else {
            let hears = |stanza: &Element| {
                stanza.attr("id") == Some(&*number.to_string())
                    && stanza.error() == Some("not-acceptable")
            };
            stranger.expect(what, hears).await;
        }
        client.expect_message(&after).await;
    }
    client.fence().await;
}

#[tokio::test]
async fn nobody_ends_the_session_of_another_over_prosody() {
    let prosody = Prosody::shared();
    let stranger = prosody.contact("stranger").await;
    nobody_ends_by_it(prosody, &prosody.account("victim"), stranger).await;
}

#[tokio::test]
async fn nobody_ends_the_session_of_another_over_ejabberd() {
    let ejabberd = Ejabberd::shared();
    let victim = ejabberd.account("victim").await;
    let stranger = ejabberd.account("stranger").await;
    let stranger = ejabberd.login(&stranger, "native").await;
    nobody_ends_by_it(ejabberd, &victim, stranger).await;
}
