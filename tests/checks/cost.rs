//! Cost of reading: memory in proportion to the length of what is read, with a small factor.
//!
//! The callers have an allocator that counts: the fuzz target `cost`, and `tests/fuzz_corpus.rs`. Instructions are
//! counted by `benches/instructions.rs`, for the worst inputs known.

use bytes::Bytes;
use jid::BareJid;
use rostergate::{
    backend::decode,
    pipe::{Rules, features},
    proto::{
        bosh::body::Message,
        stanza::{Child, Stanza},
        stream::initiator::{Event, Stream},
        xml::Limits,
    },
    roster::Roster,
};

/// Most bytes allocated for each byte that is read. The shortest stanza has four bytes, and takes a `Stanza` and memory
/// of its own.
const PER_BYTE: usize = 128;
/// Bytes that even a short input may take: for tables that grow by doubling, and for 64 features of a server, to each
/// of which 1 KiB of declarations may be added.
const AT_LEAST: usize = 96 << 10;

/// Reads `bytes` as what their first byte says: a client's request, a server's stream, a stanza and all in it, or a
/// contact list. `allocated` tells how many bytes have been allocated so far.
pub(crate) fn read(bytes: &[u8], allocated: impl Fn() -> usize) -> bool {
    let Some((&how, input)) = bytes.split_first() else {
        return false;
    };
    let read = [request, stream, stanza, contacts][usize::from(how) % 4];
    let before = allocated();
    let accepted = read(input);
    let took = allocated() - before;
    let allowed = AT_LEAST + PER_BYTE * input.len();
    assert!(took <= allowed, "{took} bytes for {}", input.len());
    accepted
}

fn request(input: &[u8]) -> bool {
    Message::parse(Bytes::copy_from_slice(input), &Limits::default()).is_ok()
}

const RULES: Rules = Rules {
    rosters: true,
    directed: true,
    manages_streams: true,
    contacts_only: false,
};

/// Reads the stream as far as the gateway itself looks into it.
fn stream(input: &[u8]) -> bool {
    let mut stream = Stream::new();
    let mut events = 0;
    for portion in input.chunks(1024) {
        stream.handle_bytes(portion);
        loop {
            match stream.poll_event() {
                Ok(Some(Event::Features(stanza))) => {
                    features::offer(&stanza, RULES);
                }
                Ok(Some(
                    Event::Stanza(stanza) | Event::Error(stanza) | Event::Unreadable(stanza),
                )) => {
                    stanza.chunks().for_each(drop);
                }
                Ok(Some(Event::Header(_) | Event::Closed)) => {}
                Ok(None) => break,
                Err(_) => return false,
            }
            events += 1;
        }
    }
    events > 0
}

fn stanza(input: &[u8]) -> bool {
    let Ok(stanza) = Stanza::parse(Bytes::copy_from_slice(input)) else {
        return false;
    };
    let look = |child: Child| {
        child.attribute("jid");
        child
            .children()
            .map(|inner| inner.text().len())
            .sum::<usize>()
    };
    stanza.children().map(look).sum::<usize>() < usize::MAX
}

fn contacts(input: &[u8]) -> bool {
    let owner = BareJid::new("john@example.org").expect("a bare JID");
    decode::contacts(&mut input.to_vec(), &owner)
        .map(|found| Roster::new(found.contacts))
        .is_ok()
}
