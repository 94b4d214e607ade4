//! What a client may say over a WebSocket (RFC 7395), in any order: whatever is accepted is one element for a strict
//! parser too, and means the same when passed on.

use bytes::Bytes;
use rostergate::proto::{
    stanza::Stanza,
    stream::framing::{Event, Framing, is_close},
    xml::Limits,
};

use super::agreement::Node;

/// Separates messages. No UTF-8 has it.
const END: u8 = 0xff;
const SUCCESS: &[u8] = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

/// Takes the messages of one connection. One that is empty stands for the server's `<success/>`. True if all were
/// accepted.
pub fn converse(input: &[u8]) -> bool {
    let limits = Limits::default();
    let mut messages = input.split(|byte| *byte == END).map(Bytes::copy_from_slice);
    let first = messages.next().unwrap_or_default();
    let mut framing = match Framing::begin(&first, &limits) {
        Ok((framing, _)) => {
            read(&first);
            framing
        }
        Err(fault) => {
            Node::read(&fault.error().to_bytes()).expect("our own error");
            return false;
        }
    };
    let mut is_closed = false;
    for message in messages {
        if message.is_empty() {
            assert!(framing.sent(&Stanza::ours(SUCCESS)));
            continue;
        }
        match framing.handle_message(&message, &limits) {
            Ok(None) => assert!(message.iter().all(u8::is_ascii_whitespace)),
            Ok(Some(Event::Restart(_))) => drop(read(&message)),
            Ok(Some(Event::Closed)) => {
                assert!(is_close(&message));
                is_closed = true;
            }
            Ok(Some(Event::Element(element))) => {
                let said = read(&message).unwrapped();
                let passed_on = element.to_bytes();
                let passed_on = Node::read(&passed_on).expect("one element, closed");
                assert_eq!(said, passed_on);
                assert!(!is_close(&message));
            }
            Err(fault) => {
                Node::read(&fault.error().to_bytes()).expect("our own error");
                return false;
            }
        }
    }
    is_closed
}

/// The element of a message, for the strict parser, which does not know that white space may come before it.
fn read(message: &[u8]) -> Node {
    let start = message.iter().position(|byte| !b" \t\r\n".contains(byte));
    let document = &message[start.unwrap_or_default()..];
    let is_declared = document.starts_with(b"<?xml");
    assert!(
        start == Some(0) || !is_declared,
        "a declaration comes first"
    );
    Node::read(document).expect("one element")
}
