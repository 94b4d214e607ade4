//! Stream management towards a client, whatever it says: stanzas are written in order and once for each connection,
//! nothing counts as confirmed that was not written, the client is told of nothing that it has not sent, and no more is
//! kept than it has not confirmed.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rostergate::proto::{
    sm::acceptor::{Acceptor, Transmit, Verdict},
    stanza::Stanza,
};

const MAX_ASLEEP: Duration = Duration::from_secs(300);

/// Every pair of bytes is one event. True if the client broke no rule.
pub fn operate(bytes: &[u8]) -> bool {
    let mut world = World::new();
    for pair in bytes.chunks_exact(2) {
        let (kind, how) = (pair[0] % 16, pair[1]);
        match kind {
            0 | 1 => world.give_stanza(how),
            2 => world.give(element(
                "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            )),
            3 => world.hear("<message/>"),
            4 => world.deal_with(how),
            5 => world
                .acceptor
                .settle(world.sent.saturating_sub(u64::from(how % 4))),
            6 => world.hear("<r xmlns='urn:xmpp:sm:3'/>"),
            7 => world.acknowledge(how),
            8 => world.hear("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
            9 if how.is_multiple_of(2) => world.acceptor.sleep(world.now),
            9 => world.resume(how),
            10 => world.now += Duration::from_millis(100) * u32::from(how),
            11 => world.acceptor.handle_pong(u64::from(how)),
            12 => world.acceptor.ask(),
            13 => world.acceptor.farewell(),
            14 => world.acceptor.refuse((how > 0).then_some(how.into())),
            _ => world.hear(&format!(
                "<resume xmlns='urn:xmpp:sm:3' previd='a' h='{how}'/>"
            )),
        }
        // What waits for a connection that takes nothing waits.
        if pair[0] < 128 {
            world.drain();
        }
        world.assert_bounds();
        if world.is_broken {
            break;
        }
    }
    let was_kept = !world.is_broken;
    world.finish();
    was_kept
}

/// The client, the gateway, the clock.
struct World {
    acceptor: Acceptor,
    now: Instant,
    /// Stanzas that the acceptor has been given, and the one that has to be written next.
    stanzas: u32,
    next: u32,
    /// How many had been written before stream management began.
    before: u32,
    /// What it takes to keep each element that is not confirmed, and how many are.
    sizes: VecDeque<usize>,
    confirmed: u64,
    /// Stanzas that have been sent to the server.
    sent: u64,
    /// The highest `h` that the client was told.
    told: u32,
    is_enabled: bool,
    /// The client broke a rule.
    is_broken: bool,
}

impl World {
    fn new() -> Self {
        Self {
            acceptor: Acceptor::default(),
            now: Instant::now(),
            stanzas: 0,
            next: 1,
            before: 0,
            sizes: VecDeque::new(),
            confirmed: 0,
            sent: 0,
            told: 0,
            is_enabled: false,
            is_broken: false,
        }
    }

    fn give_stanza(&mut self, how: u8) {
        self.stanzas += 1;
        let name = ["message", "presence"][usize::from(how % 2)];
        self.give(element(&format!("<{name} id='{}'/>", self.stanzas)));
    }

    fn give(&mut self, element: Stanza) {
        self.sizes.push_back(element.footprint());
        self.acceptor.send(element, self.now);
    }

    fn hear(&mut self, text: &str) {
        let is_bound = self.stanzas > 0;
        match self.acceptor.handle(element(text), is_bound, self.now) {
            Verdict::Enable { .. } => self.acceptor.enable(Some("a"), MAX_ASLEEP),
            Verdict::Violation(violation) => {
                element(&String::from_utf8_lossy(&violation.error().to_bytes()));
                self.is_broken = true;
            }
            Verdict::Pass(_) | Verdict::Done | Verdict::Resume { .. } => {}
        }
    }

    fn deal_with(&mut self, how: u8) {
        self.sent += u64::from(how % 3);
        self.acceptor.dealt_with(self.sent);
    }

    /// What the client has, or something near that.
    fn handled(&self, how: u8) -> u32 {
        let has = self.next.wrapping_sub(1).wrapping_sub(self.before);
        match how % 32 {
            30 => has.wrapping_add(1 + u32::from(how / 32)),
            less => has.wrapping_sub(u32::from(less / 2)),
        }
    }

    fn acknowledge(&mut self, how: u8) {
        let h = self.handled(how);
        self.hear(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>"));
    }

    fn resume(&mut self, how: u8) {
        let record = |it: &Acceptor| (it.given(), it.written(), it.confirmed(), it.pending());
        let before = record(&self.acceptor);
        let h = self.handled(how);
        if self.acceptor.resume("a", h, self.now).is_ok() {
            self.next = self.before.wrapping_add(h).wrapping_add(1);
            assert_eq!(self.acceptor.written(), self.acceptor.confirmed());
        } else {
            assert_eq!(before, record(&self.acceptor), "nothing has changed");
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.acceptor.poll_transmit(self.now) {
            assert!(self.acceptor.asleep_since().is_none(), "nobody reads that");
            self.read(&transmit);
        }
        if let Some(position) = self.acceptor.poll_ping(self.now) {
            assert!(position <= self.acceptor.written());
        }
        assert!(self.acceptor.poll_ping(self.now).is_none(), "one at a time");
        let timer = self.acceptor.poll_timeout();
        assert!(
            timer.is_none_or(|at| at > self.now) || self.acceptor.is_unanswered(self.now),
            "what was due has been done"
        );
    }

    fn read(&mut self, transmit: &Transmit) {
        let element = &transmit.element;
        if element.is_stanza() {
            assert_eq!(element.id().as_deref(), Some(&*self.next.to_string()));
            self.next += 1;
            return;
        }
        match element.local() {
            "enabled" => {
                assert!(!self.is_enabled, "once");
                self.is_enabled = true;
                self.before = self.next - 1;
            }
            "a" | "resumed" => {
                assert!(self.is_enabled);
                let h = element.attribute("h").expect("it counts").parse();
                let h: u32 = h.expect("a number");
                assert!(h >= self.told, "never less than before");
                assert!(h <= self.acceptor.received(), "never more than was sent");
                self.told = h;
            }
            _ => {}
        }
    }

    fn assert_bounds(&mut self) {
        let it = &self.acceptor;
        assert!(it.confirmed() >= self.confirmed, "that does not go back");
        assert!(it.confirmed() <= it.written() && it.written() <= it.given());
        assert!(it.settled() <= it.received());
        while self.confirmed < it.confirmed() {
            self.confirmed += 1;
            self.sizes.pop_front();
        }
        assert!(it.unconfirmed_size() <= self.sizes.iter().sum());
        assert!(it.pending() <= it.unconfirmed_size());
    }

    /// All that was given and not written to the latest connection is left, in order.
    fn finish(mut self) {
        let is_enabled = self.acceptor.is_on();
        let left = self.acceptor.take_undelivered();
        let ids = left.iter().filter_map(Stanza::id);
        let ids: Vec<u32> = ids.map(|id| id.parse().expect("a number")).collect();
        let first = ids.first().copied().unwrap_or(self.stanzas + 1);
        assert!(ids.iter().copied().eq(first..=self.stanzas), "in order");
        assert!(is_enabled || first == self.next, "nothing else is kept");
        assert!(first <= self.next, "nothing is missing");
        assert_eq!(self.acceptor.unconfirmed_size(), 0);
    }
}

fn element(text: &str) -> Stanza {
    Stanza::parse(text.to_owned()).expect("an element")
}
