//! Encoding of what gateways tell each other, version 1.
//!
//! ```text
//! head     version (1)  kind (1)  id (8)  length of the name (1)  name of the sender (1-16)
//! hello    number (8)  began (8)  sessions (4)  joining (1)  length (1)  version of the program
//!          count (2)  names of the others, each after its length (1)
//! goodbye
//! question what (1)  hello of the member that was heard last (8)  patience in ms (4)  part
//! receipt
//! answer   outcome (1)  part
//! cancel
//! unknown
//! part     index (2)  count (2)  bytes up to the end
//! ```
//!
//! Numbers are big-endian. The head is the same in every version, and so are the kinds of `hello`, `goodbye` and
//! `unknown`, which need nothing but the head to be understood: a gateway that speaks another version counts as a
//! member, and is told that it is not understood. The id is that of a question, in all that concerns it; in `hello` and
//! `goodbye`, it is the number that the sender has drawn at its start.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::config::NodeName;

/// The version spoken here.
pub const VERSION: u8 = 1;

/// Longest part of a body, bytes. NATS takes messages of 1 MiB where nobody has configured it otherwise.
pub const PART: usize = 512 << 10;

/// Most that is in a message beside the part of a body, bytes.
pub const OVERHEAD: usize = 64;

/// Longest body of a question or an answer: that of the largest request which `admin.max_body` may allow, and a little
/// that is said about it.
pub const LONGEST: usize = (64 << 20) + (64 << 10);

/// Most parts of a body.
const MOST_PARTS: usize = 4096;

/// Most gateways that a hello names.
const MOST_NAMED: usize = 256;

/// Longest version of a program, bytes.
const LONGEST_VERSION: usize = 32;

/// What one gateway may ask another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Question {
    /// To answer a BOSH request for one of its sessions.
    Bosh,
    /// To end a session that sleeps, as its client has come to another gateway.
    EndSleeping,
    /// To refresh the lists of its users.
    Refresh,
    /// To take a list.
    Put,
    /// To end sessions.
    EndSessions,
    /// Who is available.
    Presence,
    /// Which sessions there are.
    Sessions,
    /// What is known of a user's list.
    Roster,
    /// How it is doing.
    Status,
    /// To use up a token that it has made.
    Spend,
    /// To let a user log in again whom it has shut out.
    LetIn,
}

/// All of them, by their byte.
const QUESTIONS: [(u8, Question, &str); 11] = [
    (1, Question::Bosh, "bosh"),
    (2, Question::EndSleeping, "end_sleeping"),
    (3, Question::Refresh, "refresh"),
    (4, Question::Put, "put"),
    (5, Question::EndSessions, "end_sessions"),
    (6, Question::Presence, "presence"),
    (7, Question::Sessions, "sessions"),
    (8, Question::Roster, "roster"),
    (9, Question::Status, "status"),
    (10, Question::Spend, "spend"),
    (11, Question::LetIn, "let_in"),
];

impl Question {
    /// The question, in one word.
    pub fn as_str(self) -> &'static str {
        let entry = QUESTIONS.iter().find(|(_, it, _)| *it == self);
        entry.map_or("", |(.., word)| word)
    }

    fn byte(self) -> u8 {
        let entry = QUESTIONS.iter().find(|(_, it, _)| *it == self);
        entry.map_or(0, |(byte, ..)| *byte)
    }

    fn of_byte(byte: u8) -> Option<Self> {
        let entry = QUESTIONS.iter().find(|(it, ..)| *it == byte);
        entry.map(|(_, question, _)| *question)
    }
}

/// What a gateway says of itself again and again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Counts those of this gateway.
    pub number: u64,
    /// When it was started, since 1970, milliseconds.
    pub began: u64,
    /// How many sessions it has.
    pub sessions: u32,
    /// Whether it still waits to hear that its name is free. It is no member yet.
    pub joining: bool,
    /// The version of its program; at most 32 bytes are sent.
    pub version: String,
    /// Which others it hears of, if it is a member; at most 256.
    pub others: Vec<NodeName>,
}

/// A part of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// Its place, from 0.
    pub index: u16,
    /// How many there are, 1 or more.
    pub count: u16,
    /// What it brings.
    pub bytes: Bytes,
}

/// Whether a question was answered, or why not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The body is the answer.
    Answered,
    /// The body says why there is none, in UTF-8.
    Refused,
}

/// What a message says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// The sender is there.
    Hello(Hello),
    /// The sender goes.
    Goodbye,
    /// A part of a question.
    Question {
        /// What is asked.
        question: Question,
        /// The number of the latest hello that was heard of the member which is asked: it tells how old the question is.
        heard: u64,
        /// How long the answer is waited for.
        patience: Duration,
        /// A part of the body.
        part: Part,
    },
    /// The whole question has arrived, and its answer takes a while.
    Receipt,
    /// A part of an answer.
    Answer {
        /// What the whole is.
        outcome: Outcome,
        /// A part of the body.
        part: Part,
    },
    /// Nobody waits for the answer any longer.
    Cancel,
    /// What the sender has got with this id, it does not understand.
    Unknown,
}

/// A message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Of a question; or what the sender has drawn at its start.
    pub id: u64,
    /// Who sends it.
    pub from: NodeName,
    /// What it says.
    pub said: Said,
}

/// Why a message cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unreadable {
    /// It is none.
    Garbage,
    /// It is a greeting in another version.
    Foreign {
        /// What the sender has drawn at its start.
        id: u64,
        /// Who sends it.
        from: NodeName,
    },
    /// It is something that is not known in this version. The sender is to be told.
    Unknown {
        /// The id of the question.
        id: u64,
        /// Who sends it.
        from: NodeName,
    },
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const GOODBYE: u8 = 2;
    pub(super) const UNKNOWN: u8 = 3;
    pub(super) const QUESTION: u8 = 4;
    pub(super) const RECEIPT: u8 = 5;
    pub(super) const ANSWER: u8 = 6;
    pub(super) const CANCEL: u8 = 7;
}

impl Message {
    /// The bytes of the message.
    pub fn encode(&self) -> Bytes {
        let length = match &self.said {
            Said::Question { part, .. } | Said::Answer { part, .. } => part.bytes.len(),
            _ => 0,
        };
        let mut out = BytesMut::with_capacity(OVERHEAD + LONGEST_VERSION + length);
        out.put_u8(VERSION);
        out.put_u8(self.said.kind());
        out.put_u64(self.id);
        put_text(&mut out, self.from.as_str());
        match &self.said {
            Said::Hello(hello) => hello.encode(&mut out),
            Said::Question {
                question,
                heard,
                patience,
                part,
            } => {
                out.put_u8(question.byte());
                out.put_u64(*heard);
                out.put_u32(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX));
                part.encode(&mut out);
            }
            Said::Answer { outcome, part } => {
                out.put_u8(match outcome {
                    Outcome::Answered => 0,
                    Outcome::Refused => 1,
                });
                part.encode(&mut out);
            }
            Said::Goodbye | Said::Receipt | Said::Cancel | Said::Unknown => {}
        }
        out.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// When it is none, or none of this version.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Unreadable> {
        const GARBAGE: Unreadable = Unreadable::Garbage;
        let head = Head::decode(&mut bytes).ok_or(GARBAGE)?;
        let Head {
            version,
            kind,
            id,
            from,
        } = head;
        let said = match kind {
            kind::GOODBYE => Said::Goodbye,
            kind::UNKNOWN => Said::Unknown,
            kind::HELLO if version != VERSION => return Err(Unreadable::Foreign { id, from }),
            _ if version != VERSION => return Err(Unreadable::Unknown { id, from }),
            kind::HELLO => Said::Hello(Hello::decode(&mut bytes).ok_or(GARBAGE)?),
            kind::QUESTION => {
                let what = byte(&mut bytes).ok_or(GARBAGE)?;
                let Some(question) = Question::of_byte(what) else {
                    return Err(Unreadable::Unknown { id, from });
                };
                let heard = bytes.try_get_u64().map_err(|_| GARBAGE)?;
                let patience = bytes.try_get_u32().map_err(|_| GARBAGE)?;
                Said::Question {
                    question,
                    heard,
                    patience: Duration::from_millis(patience.into()),
                    part: Part::decode(bytes).ok_or(GARBAGE)?,
                }
            }
            kind::RECEIPT => Said::Receipt,
            kind::ANSWER => {
                let outcome = match byte(&mut bytes).ok_or(GARBAGE)? {
                    0 => Outcome::Answered,
                    1 => Outcome::Refused,
                    _ => return Err(Unreadable::Unknown { id, from }),
                };
                let part = Part::decode(bytes).ok_or(GARBAGE)?;
                Said::Answer { outcome, part }
            }
            kind::CANCEL => Said::Cancel,
            _ => return Err(Unreadable::Unknown { id, from }),
        };
        Ok(Self { id, from, said })
    }
}

impl Said {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Goodbye => kind::GOODBYE,
            Self::Unknown => kind::UNKNOWN,
            Self::Question { .. } => kind::QUESTION,
            Self::Receipt => kind::RECEIPT,
            Self::Answer { .. } => kind::ANSWER,
            Self::Cancel => kind::CANCEL,
        }
    }
}

struct Head {
    version: u8,
    kind: u8,
    id: u64,
    from: NodeName,
}

impl Head {
    fn decode(bytes: &mut Bytes) -> Option<Self> {
        Some(Self {
            version: byte(bytes)?,
            kind: byte(bytes)?,
            id: bytes.try_get_u64().ok()?,
            from: NodeName::new(&text(bytes)?)?,
        })
    }
}

impl Hello {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.number);
        out.put_u64(self.began);
        out.put_u32(self.sessions);
        out.put_u8(self.joining.into());
        let mut end = self.version.len().min(LONGEST_VERSION);
        while !self.version.is_char_boundary(end) {
            end -= 1;
        }
        put_text(out, self.version.get(..end).unwrap_or_default());
        let others = self.others.iter().take(MOST_NAMED);
        out.put_u16(u16::try_from(others.len()).unwrap_or_default());
        others.for_each(|node| put_text(out, node.as_str()));
    }

    fn decode(bytes: &mut Bytes) -> Option<Self> {
        Some(Self {
            number: bytes.try_get_u64().ok()?,
            began: bytes.try_get_u64().ok()?,
            sessions: bytes.try_get_u32().ok()?,
            joining: match byte(bytes)? {
                0 => false,
                1 => true,
                _ => return None,
            },
            version: text(bytes).filter(|text| text.len() <= LONGEST_VERSION)?,
            others: {
                let count = bytes.try_get_u16().ok()?.into();
                let names = (0..count).map(|_| NodeName::new(&text(bytes)?));
                if count > MOST_NAMED {
                    return None;
                }
                names.collect::<Option<_>>()?
            },
        })
    }
}

impl Part {
    /// The parts of a body, each of at most `size` bytes; at least one. `None` if the body is longer than any may be.
    pub fn of(body: Bytes, size: usize) -> Option<impl Iterator<Item = Self>> {
        let size = size.clamp(1, PART);
        let count = body.len().div_ceil(size).max(1);
        if body.len() > LONGEST || count > MOST_PARTS {
            return None;
        }
        let count = u16::try_from(count).ok()?;
        let mut rest = body;
        Some((0..count).map(move |index| Self {
            index,
            count,
            bytes: rest.split_to(rest.len().min(size)),
        }))
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.index);
        out.put_u16(self.count);
        out.put_slice(&self.bytes);
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let index = bytes.try_get_u16().ok()?;
        let count = bytes.try_get_u16().ok()?;
        let is_one = index < count && bytes.len() <= PART;
        is_one.then_some(Self {
            index,
            count,
            bytes,
        })
    }
}

/// Of at most 255 bytes.
fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u8(u8::try_from(text.len()).unwrap_or_default());
    out.put_slice(text.as_bytes());
}

fn byte(bytes: &mut Bytes) -> Option<u8> {
    bytes.try_get_u8().ok()
}

fn text(bytes: &mut Bytes) -> Option<String> {
    let length = usize::from(byte(bytes)?);
    if bytes.len() < length {
        return None;
    }
    let text = bytes.split_to(length);
    std::str::from_utf8(&text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeName {
        NodeName::new("a").unwrap()
    }

    fn messages() -> Vec<Message> {
        let part = Part {
            index: 1,
            count: 3,
            bytes: Bytes::from_static(b"john"),
        };
        let of = |said| Message {
            id: 7,
            from: node(),
            said,
        };
        let mut all = vec![
            of(Said::Hello(Hello {
                number: 1,
                began: 2,
                sessions: 3,
                joining: true,
                version: "0.1.0".to_owned(),
                others: vec![node(), NodeName::new("b").unwrap()],
            })),
            of(Said::Goodbye),
            of(Said::Receipt),
            of(Said::Cancel),
            of(Said::Unknown),
        ];
        all.extend(QUESTIONS.map(|(_, question, _)| {
            of(Said::Question {
                question,
                heard: 7,
                patience: Duration::from_secs(5),
                part: part.clone(),
            })
        }));
        all.extend([Outcome::Answered, Outcome::Refused].map(|outcome| {
            let part = part.clone();
            of(Said::Answer { outcome, part })
        }));
        all
    }

    #[test]
    fn what_is_said_is_understood() {
        for message in messages() {
            assert_eq!(Message::decode(message.encode()), Ok(message));
        }
    }

    #[test]
    fn whatever_is_cut_off_is_no_message() {
        for message in messages() {
            let bytes = message.encode();
            for end in 0..bytes.len() {
                let read = Message::decode(bytes.slice(..end));
                // The last part of a body may be shorter.
                let is_part = read
                    .as_ref()
                    .is_ok_and(|it| it.encode() == bytes.slice(..end));
                assert!(
                    is_part || read == Err(Unreadable::Garbage),
                    "{message:?} {end}"
                );
            }
        }
    }

    #[test]
    fn another_version_is_told_so_and_counts_as_a_member() {
        let (id, from) = (7, node());
        for message in messages() {
            let mut bytes = message.encode().to_vec();
            bytes[0] = 2;
            let read = Message::decode(bytes.into());
            let from = from.clone();
            match message.said {
                Said::Hello(_) => assert_eq!(read, Err(Unreadable::Foreign { id, from })),
                Said::Goodbye | Said::Unknown => assert_eq!(read, Ok(message)),
                _ => assert_eq!(read, Err(Unreadable::Unknown { id, from })),
            }
        }
    }

    #[test]
    fn an_unknown_kind_question_or_outcome_is_told_so() {
        let unknown = |bytes: Vec<u8>| {
            let (id, from) = (7, node());
            assert_eq!(
                Message::decode(bytes.into()),
                Err(Unreadable::Unknown { id, from })
            );
        };
        for message in messages() {
            let mut bytes = message.encode().to_vec();
            let after_head = 12;
            if matches!(message.said, Said::Question { .. } | Said::Answer { .. }) {
                bytes[after_head] = 99;
                unknown(bytes.clone());
            }
            bytes[1] = 99;
            unknown(bytes);
        }
    }

    #[test]
    fn a_body_comes_in_parts_and_one_that_is_empty_in_one() {
        let parts = |length: usize| {
            let parts = Part::of(Bytes::from(vec![0; length]), PART);
            parts.map(|parts| parts.map(|it| it.bytes.len()).collect::<Vec<_>>())
        };
        assert_eq!(parts(0), Some(vec![0]));
        assert_eq!(parts(PART), Some(vec![PART]));
        assert_eq!(parts(PART + 1), Some(vec![PART, 1]));
        assert_eq!(parts(LONGEST).map(|it| it.len()), Some(129));
        assert_eq!(parts(LONGEST + 1), None);
        assert!(Part::of(Bytes::from_static(&[0; 70_000]), 1).is_none());
    }

    #[test]
    fn the_version_of_a_program_is_cut() {
        let hello = Hello {
            number: 0,
            began: 0,
            sessions: 0,
            joining: false,
            version: "ä".repeat(40),
            others: Vec::new(),
        };
        let message = Message {
            id: 0,
            from: node(),
            said: Said::Hello(hello),
        };
        let read = Message::decode(message.encode()).unwrap();
        let Said::Hello(hello) = read.said else {
            panic!()
        };
        assert_eq!(hello.version, "ä".repeat(16));
    }
}
