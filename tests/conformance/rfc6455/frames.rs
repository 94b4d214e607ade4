//! 5.1, 5.2, 5.6: Overview, Base Framing Protocol, Data Frames.

use support::{
    gateway::Gateway,
    site::{Site, domain},
    websocket::{BINARY, CONTINUATION, FIN, PING, RSV, TEXT, frame, head, mask},
    webstream::{WebStream, open},
};

async fn connect() -> (Gateway, WebStream) {
    let gateway = Gateway::start(Site::shared());
    let stream = WebStream::connect(&gateway.websocket(), domain()).await;
    (gateway, stream)
}

/// Sends bytes after a login's beginning, and asserts that the server fails the connection with this code alone.
async fn assert_fails(what: &str, bytes: &[u8], code: &str) {
    let (_gateway, mut stream) = connect().await;
    stream.start().await;
    stream.write(bytes).await;
    assert_eq!(stream.end().await.steps, [code], "{what}");
}

/// The server's frame of the same bytes.
fn unmasked(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | TEXT, u8::try_from(bytes.len()).expect("short")];
    frame.extend(bytes);
    frame
}

const STANZA: &[u8] = b"<presence xmlns='jabber:client'/>";

#[tokio::test]
async fn fails_for_a_frame_without_a_mask() {
    assert_fails("no mask", &unmasked(STANZA), "1002").await;
}

#[tokio::test]
async fn fails_for_a_reserved_opcode() {
    for opcode in [3, 7, 11, 15] {
        let what = format!("opcode {opcode}");
        assert_fails(&what, &frame(FIN | opcode, b""), "1002").await;
    }
}

#[tokio::test]
async fn fails_for_the_bits_of_extensions() {
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(bit & RSV, bit);
        let what = format!("bit {bit:#x}");
        assert_fails(&what, &frame(FIN | TEXT | bit, STANZA), "1002").await;
    }
}

#[tokio::test]
async fn fails_for_a_continuation_of_nothing() {
    assert_fails("continued", &frame(FIN | CONTINUATION, STANZA), "1002").await;
    assert_fails("begun", &frame(CONTINUATION, STANZA), "1002").await;
}

#[tokio::test]
async fn fails_for_a_message_inside_a_message() {
    let mut bytes = frame(TEXT, b"<presence ");
    bytes.extend(frame(FIN | TEXT, STANZA));
    assert_fails("text in text", &bytes, "1002").await;
}

#[tokio::test]
async fn fails_for_a_length_of_more_than_63_bits() {
    let mut bytes = vec![FIN | TEXT, 0x80 | 127];
    bytes.extend(u64::MAX.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    let (_gateway, mut stream) = connect().await;
    stream.start().await;
    stream.write(&bytes).await;
    let steps = stream.end().await.steps;
    let code = steps.last().map(String::as_str);
    assert!(matches!(code, Some("1002" | "1009")), "{steps:?}");
}

#[tokio::test]
async fn fails_for_a_length_that_could_be_written_shorter() {
    let long = |form: u8, length: &[u8]| {
        let mut bytes = vec![FIN | TEXT, 0x80 | form];
        bytes.extend(length);
        bytes.extend(&head(FIN | TEXT, 0)[2..]);
        bytes.extend(mask(STANZA));
        bytes
    };
    let length = STANZA.len() as u16;
    assert_fails("16 bits", &long(126, &length.to_be_bytes()), "1002").await;
    let length = u64::from(length);
    assert_fails("64 bits", &long(127, &length.to_be_bytes()), "1002").await;
}

/// RFC 7395, 3.2.
#[tokio::test]
async fn fails_for_binary_messages() {
    let open = open(domain(), &[]);
    assert_fails("a stanza", &frame(FIN | BINARY, STANZA), "1003").await;
    let (_gateway, mut stream) = connect().await;
    stream.write(&frame(FIN | BINARY, open.as_bytes())).await;
    assert_eq!(stream.end().await.steps, ["1003"], "from the beginning");
}

#[tokio::test]
async fn fails_for_text_that_is_not_utf_8() {
    for (what, bytes) in [
        (
            "a lone byte",
            &b"<presence xmlns='jabber:client'>\xff</presence>"[..],
        ),
        (
            "half a character",
            b"<presence xmlns='jabber:client'>\xc3</presence>",
        ),
        (
            "a surrogate",
            b"<presence xmlns='jabber:client'>\xed\xa0\x80</presence>",
        ),
        (
            "too long a form",
            b"<presence xmlns='jabber:client'>\xc0\xaf</presence>",
        ),
        (
            "an end in a character",
            b"<presence xmlns='jabber:client'/>\xe2\x98",
        ),
    ] {
        assert_fails(what, &frame(FIN | TEXT, bytes), "1007").await;
    }
}

#[tokio::test]
async fn takes_every_form_of_the_length() {
    let (_gateway, mut stream) = connect().await;
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
        let mut open = open(domain(), &[]);
        if length < open.len() {
            continue;
        }
        // White space inside of a tag means nothing.
        let space = " ".repeat(length - open.len());
        open.insert_str("<open".len(), &space);
        stream = WebStream::connect(&_gateway.websocket(), domain()).await;
        stream.send(&open).await;
        stream.read_opening().await;
    }
    drop(stream);
}

#[tokio::test]
async fn takes_bytes_that_come_one_by_one() {
    let (_gateway, mut stream) = connect().await;
    for byte in frame(FIN | TEXT, open(domain(), &[]).as_bytes()) {
        stream.write(&[byte]).await;
    }
    stream.read_opening().await;
}

#[tokio::test]
async fn takes_many_messages_that_come_at_once() {
    let gateway = Gateway::start(Site::shared());
    let site = Site::shared();
    let mut desk = site.contact("marie").await;
    let endpoint = gateway.websocket();
    let mut web = WebStream::log_in(&endpoint, &site.account("john"), "web").await;
    let mut bytes = Vec::new();
    for number in 0..100 {
        let stanza = support::xml::message(&desk.jid, &number.to_string());
        bytes.extend(frame(FIN | TEXT, stanza.as_bytes()));
    }
    web.write(&bytes).await;
    for number in 0..100 {
        assert_eq!(desk.next().await.body(), Some(number.to_string()));
    }
}

/// Every message of the server's is one frame, not masked ([`WebSocket::frame`] sees to that).
///
/// [`WebSocket::frame`]: support::websocket::WebSocket::frame
#[tokio::test]
async fn sends_each_element_in_one_frame() {
    let (_gateway, mut stream) = connect().await;
    stream.send(&open(domain(), &[])).await;
    let mut names = ["<open", "<stream:features"].iter();
    let mut name = names.next();
    while let Some(start) = name {
        let frame = support::within("a frame", stream.frame()).await;
        let frame = frame.expect("the connection is open");
        if frame.first == FIN | PING {
            continue;
        }
        assert_eq!(frame.first, FIN | TEXT, "{start}");
        let text = String::from_utf8(frame.payload).expect("text");
        assert!(text.starts_with(start), "{text}");
        name = names.next();
    }
}
