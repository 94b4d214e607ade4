//! The client of the model: it keeps what it has not been told is safe, and resumes if it can.

use std::collections::{BTreeSet, VecDeque};

use super::{
    items::{Order, parse},
    wire::Wire,
};
use crate::proto::stanza::Stanza;

/// How much of its past a page may be thrown back by.
const PAST: usize = 16;

pub(super) struct Client {
    /// Whether it has stream management.
    is_managed: bool,
    /// Where its counters begin in each session, its own and `h`.
    start: (u32, u32),
    /// The SM-ID, while it may resume.
    previd: Option<String>,
    phase: Phase,
    /// Messages that it has not been told are safe.
    unacknowledged: VecDeque<u32>,
    acknowledged: u32,
    page: Page,
    past: VecDeque<Page>,
    spoken: u32,
    /// Messages that the user knows are lost.
    pub(super) returned: BTreeSet<u32>,
    /// The page has been thrown back since it was last in order.
    is_stale: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// It has no connection that it knows of.
    Away,
    /// It has asked to resume, or to bind a resource.
    Asked,
    /// Its stanzas count.
    Ready,
}

/// What a page knows.
#[derive(Clone, Debug)]
struct Page {
    h: u32,
    order: Order,
    /// The latest that the gateway has said by itself: the session, and which.
    notice: (u32, u32),
}

/// What the client drops because it is told that it is safe.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pub(super) messages: Vec<u32>,
    /// How it was told.
    pub(super) told: Told,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Told {
    /// It is settled.
    #[default]
    Settled,
    /// The session is over; it is settled, or was returned.
    Over,
}

impl Client {
    pub(super) fn new(is_managed: bool, start: (u32, u32)) -> Self {
        Self {
            is_managed,
            start,
            previd: None,
            phase: Phase::Away,
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
            page: Page {
                h: 0,
                order: Order::new(),
                notice: (0, 0),
            },
            past: VecDeque::new(),
            spoken: 0,
            returned: BTreeSet::new(),
            is_stale: false,
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.phase == Phase::Away
    }

    pub(super) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// How many messages it has sent.
    pub(super) fn spoken(&self) -> u32 {
        self.spoken
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.page.order.has(number)
    }

    /// Nothing is left that it would send again.
    pub(super) fn is_done(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// It notices that its connection is gone.
    pub(super) fn lose_connection(&mut self) {
        self.phase = Phase::Away;
    }

    /// The page is loaded anew, from a copy that is `count` stanzas old.
    pub(super) fn go_back(&mut self, count: u8) {
        let Some(index) = self.past.len().checked_sub(1 + usize::from(count)) else {
            return;
        };
        let earlier = self.past[index].clone();
        self.past.truncate(index);
        self.page.h = earlier.h;
        self.page.notice = earlier.notice;
        self.page.order.go_back(&earlier.order);
        self.is_stale = true;
    }

    pub(super) fn connect(&mut self, front: &mut Wire) {
        self.phase = Phase::Asked;
        match &self.previd {
            Some(previd) => front.write_up(format!(
                "<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{}'/>",
                self.page.h
            )),
            None => bind(front),
        }
    }

    /// The user writes something.
    pub(super) fn speak(&mut self, front: &mut Wire) {
        self.spoken += 1;
        self.unacknowledged.push_back(self.spoken);
        if self.phase == Phase::Ready {
            front.write_up(message(self.spoken));
        }
        if !self.is_managed {
            self.unacknowledged.clear();
        }
    }

    pub(super) fn ask(&self, front: &mut Wire) {
        if self.phase == Phase::Ready {
            front.write_up("<r xmlns='urn:xmpp:sm:3'/>".into());
        }
    }

    /// Acknowledges without being asked.
    pub(super) fn acknowledge(&self, front: &mut Wire) {
        if self.phase == Phase::Ready && self.previd.is_some() {
            front.write_up(format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.page.h));
        }
    }

    pub(super) fn hear(&mut self, text: &str, front: &mut Wire) -> Dropped {
        if text.starts_with("ping ") {
            front.write_up(text.replace("ping", "pong"));
            return Dropped::default();
        }
        let element = Stanza::parse(text.to_owned()).unwrap();
        let h = || element.attribute("h").map(|h| h.parse::<u32>().unwrap());
        match element.local() {
            "iq" => self.bound(front),
            "enabled" => {
                self.previd = Some(element.id().unwrap().into_owned());
                self.page.h = self.start.1;
                self.past.clear();
            }
            "resumed" => {
                self.phase = Phase::Ready;
                self.is_stale = false;
                let dropped = self.drop_to(h().unwrap(), Told::Settled);
                self.send_all(front);
                return dropped;
            }
            "failed" => {
                self.previd = None;
                bind(front);
                return h().map_or_else(Dropped::default, |h| self.drop_to(h, Told::Over));
            }
            "a" => return self.drop_to(h().unwrap(), Told::Settled),
            "r" => self.acknowledge(front),
            "message" | "presence" => self.take(&element),
            "error" => {}
            other => panic!("{other}: {text}"),
        }
        Dropped::default()
    }

    fn bound(&mut self, front: &mut Wire) {
        self.phase = Phase::Ready;
        self.is_stale = false;
        self.page.order.begin();
        if self.is_managed {
            front.write_up("<enable xmlns='urn:xmpp:sm:3' resume='true'/>".into());
            self.acknowledged = self.start.0;
        }
        self.send_all(front);
    }

    fn send_all(&self, front: &mut Wire) {
        for number in &self.unacknowledged {
            front.write_up(message(*number));
        }
    }

    fn take(&mut self, stanza: &Stanza) {
        self.past.push_back(self.page.clone());
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        self.page.h = self.page.h.wrapping_add(1);
        let id = stanza.id().unwrap();
        if let Some(number) = id.strip_prefix("lost.") {
            self.returned.insert(number.parse().unwrap());
        } else if stanza.local() == "presence" {
            let notice = parse_notice(&id);
            let (session, latest) = self.page.notice;
            let expected = if notice.0 == session { latest + 1 } else { 1 };
            assert_eq!(notice.1, expected, "a notice of the gateway, in order");
            self.page.notice = notice;
        } else {
            let item = parse(&id);
            self.page.order.take(item, &BTreeSet::new(), "client");
        }
    }

    fn drop_to(&mut self, h: u32, told: Told) -> Dropped {
        let count = h.wrapping_sub(self.acknowledged);
        if count > u32::MAX / 2 {
            // What is remembered of a session may be less than what it has told.
            assert_eq!(told, Told::Over, "the client hears of less than before");
            return Dropped::default();
        }
        let count = usize::try_from(count).unwrap();
        assert!(
            count <= self.unacknowledged.len(),
            "the client has sent what it is acknowledged"
        );
        self.acknowledged = h;
        Dropped {
            messages: self.unacknowledged.drain(..count).collect(),
            told,
        }
    }
}

fn bind(front: &mut Wire) {
    front.write_up("<iq type='set' id='bind'/>".into());
}

fn message(number: u32) -> String {
    format!("<message id='{number}'/>")
}

fn parse_notice(id: &str) -> (u32, u32) {
    let (session, number) = id.split_once('.').unwrap();
    (session.parse().unwrap(), number.parse().unwrap())
}
