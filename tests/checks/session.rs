//! Session under any requests, losses and delays: the order is kept, nothing is lost or doubled,
//! no more is held than agreed, every request has its one answer, and the clock is always set.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rostergate::proto::{
    bosh::{
        body::{Document, Message},
        session::{Event, Session, Slot},
        terms::Policy,
    },
    stanza::Stanza,
    xml::Limits,
};

const CREATION: u64 = 100;
const MAX_PENDING: usize = 1000;
/// How long a missing request is waited for (`ARCHITECTURE.md`, "Bounds").
const GAP: Duration = Duration::from_secs(12);
const MINUTE: Duration = Duration::from_secs(60);

/// The first byte sets the terms; every further pair of bytes is one event.
pub fn operate(bytes: &[u8]) -> bool {
    let Some((&terms, operations)) = bytes.split_first() else {
        return false;
    };
    let mut world = World::new(terms);
    for pair in operations.chunks_exact(2) {
        let (kind, how) = (pair[0] % 8, pair[1]);
        match kind {
            0 | 1 => world.request(how),
            2 => world.hang_up(how),
            3 => world.push(how),
            4 => world.wait(Duration::from_millis(100) * u32::from(how)),
            5 => world.wait_for_timer(),
            6 => world.session.ask_for_confirmation(),
            _ if how % 16 == 0 => world.session.end(None, world.now),
            _ => world.is_deaf = !world.is_deaf,
        }
        world.drain();
    }
    let was_open = world.session.is_open();
    world.finish();
    was_open
}

/// The client, the server, the clock, and all that they have seen.
struct World {
    session: Session,
    now: Instant,
    wait: Duration,
    hold: usize,
    requests: u64,
    acks: bool,
    /// The client keeps to the rules, though its connections may break.
    is_honest: bool,
    /// Answers are lost on their way.
    is_deaf: bool,
    slots: u32,
    /// The first document with each rid.
    documents: BTreeMap<u64, String>,
    /// Exchanges that wait for an answer.
    open: Vec<(Slot, u64)>,
    /// All rids up to this one have been received, or given up.
    last: u64,
    early: BTreeSet<u64>,
    gap_since: Option<Instant>,
    /// Rids whose stanzas the server has yet to get.
    on_their_way: BTreeSet<u64>,
    /// Rid of the latest stanza that the server got, its number, and how many go with it.
    latest: (u64, u32, u32),
    pushed: u32,
    /// Stanzas that some answer carried.
    carried: u32,
    /// What the answer to each rid was.
    answers: BTreeMap<u64, String>,
    /// Rids whose answers have reached the client, and how many stanzas each carried.
    kept: BTreeMap<u64, u32>,
    endings: u32,
    /// Some answer said how the session ended, and carried what was left.
    has_last_words: bool,
    forgotten_untold: bool,
}

impl World {
    fn new(terms: u8) -> Self {
        let bit = |bit: u8| terms & (1 << bit) != 0;
        let (hold, wait) = (usize::from(!bit(0)), if bit(1) { 5 } else { 60 });
        let ack = if bit(2) { "ack='1'" } else { "" };
        let creation =
            format!("rid='{CREATION}' to='example.org' hold='{hold}' wait='{wait}' {ack}");
        let Ok(Message::Creation(creation)) = parse(&body(&creation, "")) else {
            panic!("a creation request")
        };
        let policy = Policy {
            wait: MINUTE,
            inactivity: 2 * MINUTE,
            max_pause: 2 * MINUTE,
            report_grace: Duration::from_secs(1),
        };
        let now = Instant::now();
        let mut world = Self {
            session: Session::open(&creation, &policy, MAX_PENDING, Slot(0), now),
            now,
            wait: Duration::from_secs(wait),
            hold,
            requests: if hold == 0 { 1 } else { 2 },
            acks: bit(2),
            is_honest: bit(3),
            is_deaf: false,
            slots: 0,
            documents: BTreeMap::new(),
            open: vec![(Slot(0), CREATION)],
            last: CREATION,
            early: BTreeSet::new(),
            gap_since: None,
            on_their_way: BTreeSet::new(),
            latest: (CREATION, 0, 1),
            pushed: 0,
            carried: 0,
            answers: BTreeMap::new(),
            kept: BTreeMap::new(),
            endings: 0,
            has_last_words: false,
            forgotten_untold: false,
        };
        world
            .session
            .introduce("sid", "example.org", Some("stream"));
        world.push(0);
        world.drain();
        assert!(
            world.open.is_empty(),
            "features answer the creation request"
        );
        world
    }

    // === What happens ===

    fn request(&mut self, how: u8) {
        let sent = self
            .documents
            .last_key_value()
            .map_or(CREATION, |(&rid, _)| rid);
        let mut rid = (sent + 1 + u64::from(how & 7)).saturating_sub(3).max(1);
        if self.is_honest {
            let oldest = (CREATION + 1..=sent).find(|rid| !self.kept.contains_key(rid));
            rid = match oldest {
                Some(oldest) if sent + 1 - oldest >= self.requests => oldest,
                _ => sent + 1,
            };
        }
        let is_other = how >> 5 == 7 && !self.is_honest;
        let document = match self.documents.get(&rid) {
            Some(earlier) if !is_other => earlier.clone(),
            _ => self.compose(rid, how),
        };
        self.slots += 1;
        let slot = Slot(self.slots);
        let Ok(Message::Request(request)) = parse(&document) else {
            panic!("a request: {document}")
        };
        let is_new = rid > self.last && !self.early.contains(&rid);
        if self.session.is_open() && is_new && rid <= self.last + self.requests + 1 {
            let carries = !request.payload.is_empty() && !request.restart;
            self.early.insert(rid);
            self.on_their_way.extend(carries.then_some(rid));
        }
        self.documents.entry(rid).or_insert(document);
        self.open.push((slot, rid));
        self.session.handle_request(request, slot, self.now);
        self.catch_up();
    }

    fn compose(&self, rid: u64, how: u8) -> String {
        let attributes = match how >> 5 {
            4 => " pause='30'",
            5 => " type='terminate'",
            6 => " xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true'",
            _ => "",
        };
        let has = (CREATION + 1..)
            .take_while(|rid| self.kept.contains_key(rid))
            .last();
        let ack = match has.unwrap_or(CREATION) {
            has if self.acks && has + 1 < rid => format!(" ack='{has}'"),
            _ => String::new(),
        };
        let count = how >> 3 & 3;
        let payload: String = (0..count)
            .map(|number| format!("<message xmlns='jabber:client' id='{rid}.{number}.{count}'/>"))
            .collect();
        body(&format!("sid='sid' rid='{rid}'{ack}{attributes}"), &payload)
    }

    fn hang_up(&mut self, which: u8) {
        if self.open.is_empty() {
            return;
        }
        let (slot, _) = self.open.remove(usize::from(which) % self.open.len());
        self.session.handle_disconnect(slot, self.now);
    }

    /// The server sends some stanzas: messages, or a roster push and presence, which may not share
    /// an answer.
    fn push(&mut self, how: u8) {
        for number in 0..=how & 3 {
            if !self.session.is_open() {
                return;
            }
            self.pushed += 1;
            let id = self.pushed;
            let text = match (self.pushed, how & 4 != 0, number) {
                (1, _, _) => {
                    "<f:features id='1' xmlns:f='http://etherx.jabber.org/streams'/>".into()
                }
                (_, true, 0) => format!(
                    "<iq xmlns='jabber:client' type='set' id='{id}'>\
                     <query xmlns='jabber:iq:roster'/></iq>"
                ),
                (_, true, _) => format!("<presence xmlns='jabber:client' id='{id}'/>"),
                _ => format!("<message xmlns='jabber:client' id='{id}'/>"),
            };
            self.session.send(Stanza::parse(text).expect("a stanza"));
        }
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self
            .session
            .poll_timeout()
            .is_some_and(|timer| timer <= end)
        {
            self.wait_for_timer();
        }
        self.now = end;
        self.drain();
    }

    fn wait_for_timer(&mut self) {
        let Some(timer) = self.session.poll_timeout() else {
            return;
        };
        assert!(timer > self.now, "what was due has been done");
        self.now = timer;
        let (was_open, was_told) = (self.session.is_open(), self.session.is_told());
        self.session.handle_timeout(self.now);
        self.forgotten_untold |= !was_open && !was_told && self.session.is_gone();
        let gap = self.gap_since.map(|since| since + GAP);
        if self.session.is_open() && gap.is_some_and(|gap| gap <= self.now) {
            self.last = self.early.first().map_or(self.last, |next| next - 1);
            self.catch_up();
        }
        self.drain();
    }

    /// What has been received without a gap is in order.
    fn catch_up(&mut self) {
        while self.early.remove(&(self.last + 1)) {
            self.last += 1;
        }
        self.gap_since = match self.early.is_empty() {
            true => None,
            false => self.gap_since.or(Some(self.now)),
        };
    }

    // === What must hold ===

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Stanza(stanza) => self.take_up(&stanza),
                Event::Restart | Event::NewPage => {}
                Event::Ended(_) => self.end(),
            }
        }
        while let Some((slot, document)) = self.session.poll_response(self.now) {
            let open = self.open.iter().position(|(open, _)| *open == slot);
            let (_, rid) = self
                .open
                .remove(open.expect("one answer, to who waits for it"));
            self.take_down(rid, document);
        }
        assert_eq!(self.session.given(), u64::from(self.pushed));
        assert!(
            self.session.confirmed() <= u64::from(self.carried),
            "nobody can have it"
        );
        if self.is_honest {
            let has = (CREATION..)
                .map_while(|rid| self.kept.get(&rid))
                .sum::<u32>();
            let confirmed = self.session.confirmed();
            assert!(
                confirmed <= u64::from(has),
                "{confirmed} confirmed, {has} received"
            );
        }
        let timer = self.session.poll_timeout();
        assert_eq!(
            timer.is_none(),
            self.session.is_gone(),
            "the clock is set to the end"
        );
        if !self.session.is_open() {
            assert_eq!(self.endings, 1, "an end, once");
            assert!(
                self.open.is_empty(),
                "nobody waits for an answer that never comes"
            );
            return;
        }
        let timer = timer.expect("asserted above");
        assert!(timer > self.now, "what was due has been done");
        assert!(
            self.on_their_way.iter().all(|rid| *rid > self.last),
            "in order is passed on"
        );
        let held = || self.open.iter().filter(|(_, rid)| *rid <= self.last);
        let count = held().count();
        // Holding one more request slows down a client that sends empty requests without a pause.
        let are_empty = held().all(|(_, rid)| !self.documents[rid].contains("<message"));
        assert!(
            count <= self.hold || are_empty && count as u64 <= self.requests,
            "{count} requests held"
        );
        assert!(self.open.len() as u64 <= self.requests + 1);
        assert!(
            count == 0 || timer <= self.now + self.wait,
            "held no longer than agreed"
        );
        assert!(self.open.is_empty() || timer <= self.now + self.wait.max(GAP));
    }

    /// A stanza for the server.
    fn take_up(&mut self, stanza: &Stanza) {
        let id = stanza.id().expect("all have ids").into_owned();
        let mut parts = id.split('.').map(|part| part.parse().expect("a number"));
        let mut part = || parts.next().expect("three of them");
        let (rid, number, count) = (part(), part() as u32, part() as u32);
        let (before, latest, all) = self.latest;
        if number == 0 {
            assert!(
                rid > before,
                "{id} after {before}: passed on in order, and once"
            );
            assert_eq!(latest + 1, all, "{before} has been passed on whole");
            let overtaken = self.on_their_way.iter().any(|waiting| *waiting < rid);
            assert!(!overtaken, "{id} has overtaken another");
        } else {
            assert_eq!((rid, number, count), (before, latest + 1, all));
        }
        self.latest = (rid, number, count);
        self.on_their_way.remove(&rid);
    }

    /// An answer for the client.
    fn take_down(&mut self, rid: u64, document: Document) {
        let text = written(document);
        let carried = ids(&text);
        let start = text.split('>').next();
        let is_fault = start.is_some_and(|body| body.contains(" type='"));
        if carried.is_empty() && is_fault {
            return;
        }
        let count = carried.len() as u32;
        match self.answers.get(&rid) {
            // The end of a session is told once, to the first request that comes, whatever its rid.
            Some(earlier) if !is_fault || self.has_last_words => {
                assert_eq!(*earlier, text, "the same again for {rid}");
            }
            _ => {
                let expected: Vec<u32> = (self.carried + 1..=self.carried + count).collect();
                assert_eq!(
                    carried, expected,
                    "answers carry on where the last one ended"
                );
                self.carried += count;
                self.has_last_words |= is_fault;
                self.answers.insert(rid, text);
            }
        }
        if !self.is_deaf || rid == CREATION {
            self.kept.insert(rid, count);
        }
    }

    fn end(&mut self) {
        self.endings += 1;
        for stanza in self.session.take_pending() {
            self.carried += 1;
            assert_eq!(stanza.id().as_deref(), Some(&*self.carried.to_string()));
        }
        self.on_their_way.clear();
    }

    /// Nothing happens any more: the session ends by itself, and no stanza is missing.
    fn finish(&mut self) {
        if !self.session.is_open() && !self.session.is_told() {
            self.is_honest = false;
            self.request(4);
            self.drain();
        }
        for _ in 0..64 {
            self.wait_for_timer();
        }
        assert!(self.session.is_gone(), "it ends by itself");
        assert!(
            self.forgotten_untold || self.carried == self.pushed,
            "a stanza is missing"
        );
    }
}

fn body(attributes: &str, payload: &str) -> String {
    format!("<body xmlns='http://jabber.org/protocol/httpbind' {attributes}>{payload}</body>")
}

fn parse(document: &str) -> Result<Message, impl std::fmt::Debug + use<>> {
    Message::parse(document.to_owned().into(), &Limits::default())
}

fn written(document: Document) -> String {
    let bytes: Vec<u8> = document.into_chunks().into_iter().flatten().collect();
    String::from_utf8(bytes).expect("answers are text")
}

/// Ids of the stanzas in an answer.
fn ids(answer: &str) -> Vec<u32> {
    let values = answer.split(" id='").skip(1);
    values
        .map(|rest| {
            let end = rest.find('\'').expect("a value ends");
            rest[..end].parse().expect("a number")
        })
        .collect()
}
