//! 5.4: Fragmentation.

use support::{
    client::Client,
    gateway::Gateway,
    site::Site,
    websocket::{CONTINUATION, FIN, PING, TEXT},
    webstream::WebStream,
    xml::message,
};

async fn pair() -> (Gateway, WebStream, Client) {
    let site = Site::shared();
    let gateway = Gateway::start(site);
    let account = site.account("john");
    let web = WebStream::log_in(&gateway.websocket(), &account, "web").await;
    (gateway, web, site.contact("marie").await)
}

/// Sends a message in parts that end at these places.
async fn send_parts(web: &mut WebStream, bytes: &[u8], ends: &[usize]) {
    let mut first = TEXT;
    let mut start = 0;
    for end in ends {
        web.send_frame(first, &bytes[start..*end]).await;
        (first, start) = (CONTINUATION, *end);
    }
    web.send_frame(FIN | first, &bytes[start..]).await;
}

#[tokio::test]
async fn puts_messages_together() {
    let (_gateway, mut web, mut desk) = pair().await;
    for ends in [
        &[1][..],
        &[3, 5, 20],
        &[0, 0, 10, 10],
        &[1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        let text = format!("{ends:?}");
        let stanza = message(&desk.jid, &text);
        send_parts(&mut web, stanza.as_bytes(), ends).await;
        desk.expect_message(&text).await;
    }
}

#[tokio::test]
async fn takes_an_empty_last_fragment() {
    let (_gateway, mut web, mut desk) = pair().await;
    let stanza = message(&desk.jid, "all is said");
    send_parts(&mut web, stanza.as_bytes(), &[stanza.len()]).await;
    desk.expect_message("all is said").await;
}

#[tokio::test]
async fn takes_a_character_that_is_split() {
    let (_gateway, mut web, mut desk) = pair().await;
    let text = "a☎😀";
    let stanza = message(&desk.jid, text);
    let at = stanza.find('☎').expect("it is there");
    for ends in [[at + 1, at + 2], [at + 4, at + 5], [at + 2, at + 6]] {
        send_parts(&mut web, stanza.as_bytes(), &ends).await;
        desk.expect_message(text).await;
    }
}

#[tokio::test]
async fn fails_for_text_of_fragments_that_is_not_utf_8() {
    let (_gateway, mut web, _desk) = pair().await;
    send_parts(&mut web, b"<presence>\xe2\x98</presence>", &[11]).await;
    assert_eq!(web.end().await.steps, ["1007"]);
}

#[tokio::test]
async fn answers_a_ping_between_fragments() {
    let (_gateway, mut web, mut desk) = pair().await;
    let stanza = message(&desk.jid, "late");
    let (start, rest) = stanza.as_bytes().split_at(10);
    web.send_frame(TEXT, start).await;
    web.send_frame(FIN | PING, b"are you there?").await;
    while web.pongs.is_empty() {
        let frame = support::within("a pong", web.frame()).await;
        let frame = frame.expect("the connection is open");
        web.handle_control(frame).await;
    }
    assert_eq!(web.pongs, [b"are you there?"]);
    web.send_frame(FIN | CONTINUATION, rest).await;
    desk.expect_message("late").await;
}
