//! The server of the model: it keeps what is not acknowledged, and sends it again to the next login.

use std::collections::VecDeque;

use super::{
    items::{Item, parse},
    wire::Wire,
};
use crate::proto::stanza::Stanza;

pub(super) struct Server {
    /// Where its counters begin on each stream, `h` and its own.
    start: (u32, u32),
    /// Messages that have no stream to go by.
    stored: VecDeque<u32>,
    /// Those that are sent and not acknowledged.
    unacknowledged: VecDeque<u32>,
    acknowledged: u32,
    h: u32,
    is_enabled: bool,
    sent: u32,
}

/// What an element of the gateway was.
pub(super) enum Heard {
    /// A new stream has begun.
    Enable,
    /// It acknowledges these messages.
    Acknowledged(Vec<u32>),
    /// It is a message of the client.
    Item(Item),
    Other,
}

impl Server {
    pub(super) fn new(start: (u32, u32)) -> Self {
        Self {
            start,
            stored: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
            h: 0,
            is_enabled: false,
            sent: 0,
        }
    }

    /// How many messages there have been.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Nothing is left to be delivered.
    pub(super) fn is_done(&self) -> bool {
        self.stored.is_empty() && self.unacknowledged.is_empty()
    }

    /// Somebody writes to the user.
    pub(super) fn send(&mut self, back: &mut Wire) {
        self.sent += 1;
        self.stored.push_back(self.sent);
        self.flush(back);
    }

    /// Acknowledges without being asked.
    pub(super) fn acknowledge(&self, back: &mut Wire) {
        if self.is_enabled {
            back.write_down(format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.h));
        }
    }

    pub(super) fn ask(&self, back: &mut Wire) {
        if self.is_enabled {
            back.write_down("<r xmlns='urn:xmpp:sm:3'/>".into());
        }
    }

    /// There is another stream, so the one before is over: what was not acknowledged is kept.
    pub(super) fn lose_stream(&mut self) {
        let mut stored = std::mem::take(&mut self.unacknowledged);
        stored.append(&mut self.stored);
        self.stored = stored;
        self.is_enabled = false;
    }

    pub(super) fn hear(&mut self, text: &str, back: &mut Wire) -> Heard {
        let element = Stanza::parse(text.to_owned()).unwrap();
        match element.local() {
            "enable" => {
                (self.h, self.acknowledged) = self.start;
                self.is_enabled = true;
                back.write_down("<enabled xmlns='urn:xmpp:sm:3'/>".into());
                self.flush(back);
                return Heard::Enable;
            }
            "r" => self.acknowledge(back),
            "a" => {
                let h: u32 = element.attribute("h").unwrap().parse().unwrap();
                let count = usize::try_from(h.wrapping_sub(self.acknowledged)).unwrap();
                assert!(
                    count <= self.unacknowledged.len(),
                    "the server has sent what it is acknowledged"
                );
                self.acknowledged = h;
                return Heard::Acknowledged(self.unacknowledged.drain(..count).collect());
            }
            "message" => {
                self.h = self.h.wrapping_add(1);
                return Heard::Item(parse(&element.id().unwrap()));
            }
            _ => self.h = self.h.wrapping_add(1),
        }
        Heard::Other
    }

    fn flush(&mut self, back: &mut Wire) {
        if !self.is_enabled {
            return;
        }
        for number in self.stored.drain(..) {
            self.unacknowledged.push_back(number);
            back.write_down(format!("<message id='{number}'/>"));
        }
    }
}
