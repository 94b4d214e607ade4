//! What may come over NATS, in any order: whatever is read means the same when it is written again, and what is kept of
//! it stays within its bounds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rostergate::cluster::{
    NodeName,
    answering::{self, Answering, Begun},
    assembly::{self, Assembly, Joined},
    members::Members,
    wire::{Message, Said, Unreadable},
};

const BOUNDS: assembly::Bounds = assembly::Bounds {
    number: 8,
    bytes: 4096,
    time: Duration::from_secs(5),
};

/// Takes messages, each after its length (two bytes) and the time since the one before (one byte, tenths of a second).
/// True if all were understood.
pub fn listen(input: &[u8]) -> bool {
    let mut now = Instant::now();
    let own = NodeName::new("a").expect("a name");
    let mut members = Members::new(own, 1, 1, now);
    let mut questions = Assembly::new(BOUNDS);
    let mut answering = Answering::<()>::new(answering::Bounds {
        number: 8,
        bytes: 4096,
        remembered: 16,
    });
    let (mut rest, mut is_understood) = (input, !input.is_empty());
    while let Some((&[high, low, time], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        now += Duration::from_millis(100) * time.into();
        members.handle_tick(now);
        questions.expire(now);
        let message = match Message::decode(Bytes::copy_from_slice(message)) {
            Ok(message) => message,
            Err(unreadable) => {
                is_understood = false;
                if let Unreadable::Foreign { id, from } = unreadable {
                    members.handle_foreign(&from, id, now);
                }
                continue;
            }
        };
        let again = Message::decode(message.encode());
        assert_eq!(again.as_ref(), Ok(&message));
        let Message { id, from, said } = message;
        match said {
            Said::Hello(hello) => drop(members.handle_hello(&from, id, &hello, now)),
            Said::Goodbye => drop(members.handle_goodbye(&from, id, now)),
            Said::Question { part, .. } => {
                if let Joined::Whole(body) = questions.join(&from, id, part, now)
                    && answering.begin(&(from.clone(), id), body.len()) == Begun::Yes
                {
                    answering.started(&(from, id), ());
                }
            }
            Said::Answer { part, .. } => drop(questions.join(&from, id, part, now)),
            Said::Cancel => drop(answering.end(&(from, id))),
            Said::Receipt | Said::Unknown => {}
        }
        assert!(members.others().count() <= 256);
        assert!(questions.number() <= BOUNDS.number && questions.bytes() <= BOUNDS.bytes);
    }
    is_understood && rest.is_empty()
}
