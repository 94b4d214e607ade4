//! Resumption in other surroundings: in a room, with another gateway, with servers that offer less.

use support::{
    ejabberd::Ejabberd,
    gateway::{Gateway, Server as _},
    prosody::Prosody,
    webstream::WebStream,
    xml::{CLIENT, Element, SM},
};

const ROOM: &str = "room@conference.example.org";

fn join(nick: &str) -> String {
    format!(
        "<presence xmlns='{CLIENT}' to='{ROOM}/{nick}'><x xmlns='http://jabber.org/protocol/muc'>\
         <history maxstanzas='0'/></x></presence>"
    )
}

fn to_room(body: &str) -> String {
    format!("<message xmlns='{CLIENT}' type='groupchat' to='{ROOM}'><body>{body}</body></message>")
}

fn is_from(nick: &str) -> impl Fn(&Element) -> bool {
    let from = format!("{ROOM}/{nick}");
    move |it| it.attr("from") == Some(&*from)
}

#[tokio::test]
async fn who_resumes_is_still_in_the_room() {
    let prosody = Prosody::builder()
        .component("Component \"conference.example.org\" \"muc\"\n muc_room_locking = false")
        .start();
    let gateway = Gateway::start(&prosody);
    let account = prosody.account("john");
    let endpoint = gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    web.send_presence().await;
    web.send_stanza(&join("john")).await;
    web.expect("the own presence", is_from("john")).await;
    let mut desk = prosody.contact("marie").await;
    desk.send(&join("marie"));
    desk.expect("the own presence", is_from("marie")).await;
    web.expect("her presence", is_from("marie")).await;
    web.fence().await;
    desk.fence().await;
    let session = web.vanish();
    let mut late = prosody.contact("paul").await;
    late.send(&join("paul"));
    late.expect("the own presence", is_from("paul")).await;
    desk.send(&to_room("meanwhile"));
    desk.expect("the echo", |it| it.is_message("meanwhile"))
        .await;
    let mut web = WebStream::resumed(&endpoint, &account, session).await;
    let seen = web.fence().await;
    let of = |nick| {
        seen.iter()
            .filter(|it| it.name == "presence" && is_from(nick)(it))
            .count()
    };
    assert_eq!((of("paul"), of("john"), of("marie")), (1, 0, 0), "{seen:?}");
    let said = seen.iter().filter(|it| it.is_message("meanwhile")).count();
    assert_eq!(said, 1, "{seen:?}");
    web.send_stanza(&to_room("back")).await;
    desk.expect("what he says", |it| it.is_message("back"))
        .await;
    desk.expect_none("his presence", |it| {
        it.name == "presence" && is_from("john")(it)
    })
    .await;
}

#[tokio::test]
async fn who_resumes_at_another_gateway_gets_a_new_session_and_loses_nothing() {
    let prosody = Prosody::builder().modules(["offline"]).start();
    let (one, other) = (Gateway::start(&prosody), Gateway::start(&prosody));
    let account = prosody.account("john");
    let mut web = WebStream::log_in_managed(&one.websocket(), &account, "web").await;
    web.send_presence().await;
    web.fence().await;
    let mut desk = prosody.contact("marie").await;
    let session = web.vanish();
    desk.send_message(&session.jid, "to the session");
    desk.send_message(&account.jid(), "to the account");
    desk.fence().await;
    let mut web = WebStream::authenticated(&other.websocket(), &account).await;
    let failed = web.try_resume(&session).await;
    assert!(failed.is(SM, "failed"), "{failed}");
    web.bind("web").await;
    web.enable().await;
    web.send_presence().await;
    web.expect_message("to the session").await;
    web.expect_message("to the account").await;
}

#[tokio::test]
async fn resumption_works_over_a_servers_bosh() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .upstream(&prosody.place().bosh_url())
        .start();
    let account = prosody.account("john");
    let endpoint = gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    web.send_presence().await;
    web.fence().await;
    let mut desk = prosody.contact("marie").await;
    for round in 0..3 {
        let session = web.vanish();
        let text = format!("meanwhile {round}");
        desk.send_message(&session.jid, &text);
        desk.fence().await;
        web = WebStream::resumed(&endpoint, &account, session).await;
        web.expect_message(&text).await;
        web.send_message(&desk.jid, &text).await;
        desk.expect_message(&text).await;
    }
}

#[tokio::test]
async fn resumption_works_without_stream_management_at_the_server() {
    let ejabberd = Ejabberd::builder().without("mod_stream_mgmt").start();
    let gateway = Gateway::start(&ejabberd);
    let account = ejabberd.account("john").await;
    let endpoint = gateway.websocket();
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    web.send_presence().await;
    web.fence().await;
    let mut desk = ejabberd.contact("marie").await;
    let session = web.vanish();
    desk.send_message(&session.jid, "meanwhile");
    desk.fence().await;
    web = WebStream::resumed(&endpoint, &account, session).await;
    web.expect_message("meanwhile").await;
    web.send_message(&desk.jid, "back").await;
    desk.expect_message("back").await;
}
