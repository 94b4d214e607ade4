//! A client that keeps the rules, a network that does not, and a server that talks at random: whatever
//! the network does, every stanza arrives once and in order, both ways. A client may be pages that take turns,
//! each of which goes on where the one before has been left: then what one page has seen last may be shown to the next
//! again, in order, and nothing else.
//!
//! A case is a list of [`Step`]s, so that proptest can shrink it. Time is simulated. `STEPS` says how
//! many steps to take in all, `SEED` which ones; a failure prints both, and the shortest list.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

use super::{super::*, Harness, Message, Page, message, written, xml};
use crate::proto::bosh::{Rid, session::delivery::MAX_TIMES};

/// How many steps `cargo test` takes.
const STEPS: u32 = 50_000;
/// How many of them one session lives through, at most and on average.
const LENGTH: usize = 300;
/// Longest time that the network takes to carry anything.
const TRANSIT: u64 = 3_000;
/// How long a client waits before it tries the same request a second time after a loss it saw.
const BACKOFF: u64 = 1_500;

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// The client has something to say.
    Speak,
    /// The server sends so many stanzas.
    Push(u8),
    /// A request reaches the gateway, not always the one that left first.
    Arrive(u8),
    /// An answer reaches the client, not always the one that left first.
    Deliver(u8),
    /// A connection breaks.
    Cut(u8, Cut),
    /// The gateway notices a connection that broke.
    Notice(u8),
    /// The client pauses.
    Pause,
    /// The page is left for another, asleep or gone.
    Leave,
    /// So many milliseconds pass.
    Wait(u16),
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The client knows at once; else it waits for the answer as long as it can.
    seen: bool,
    /// A request that is on its way arrives nevertheless.
    arrives: bool,
}

/// What the client asked for.
#[derive(Clone, Debug)]
struct Kind {
    wait: u64,
    hold: u64,
    acks: bool,
    /// It has pages, which say who they are.
    pages: bool,
}

/// A request and its answer, on a connection of their own.
#[derive(Debug)]
struct Exchange {
    slot: Slot,
    rid: u64,
    page: u32,
    stage: Stage,
    /// The connection broke.
    broken: bool,
}

#[derive(Debug)]
enum Stage {
    Going { by: u64 },
    There { since: u64 },
    Coming { by: u64, answer: String },
}

/// A request whose answer the client does not have.
#[derive(Debug)]
struct Sent {
    text: String,
    /// The exchange in which it waits, and until when.
    waits: Option<(Slot, u64)>,
    retry_at: u64,
    resends: u32,
    /// Losses that the client has to find out about by waiting.
    silent: u32,
    /// Times that it did not reach the gateway.
    vanished: u32,
    is_pause: bool,
    /// An answer that came before that of an earlier request.
    answer: Option<String>,
}

struct Model {
    kind: Kind,
    harness: Harness,
    start: Instant,
    /// Milliseconds.
    now: u64,
    slots: u32,
    network: Vec<Exchange>,
    // The client.
    next_rid: u64,
    sent: BTreeMap<u64, Sent>,
    spoken: u32,
    unsent: Vec<u32>,
    poll_at: u64,
    wants_pause: bool,
    resume_at: Option<u64>,
    /// What all pages have heard together.
    heard: u32,
    /// The number of the page, from 1.
    page: u32,
    /// How often the session has noticed another page.
    new_pages: u32,
    /// How many answers it has had, and how many pages before have been left early, one after the other.
    answers: u32,
    hasty: u8,
    /// What it has heard in its last answers, and the last that it has heard.
    brought: VecDeque<Vec<u32>>,
    page_heard: u32,
    /// What pages before may have heard without the gateway knowing.
    copies: Vec<u32>,
    // The server.
    pushed: u32,
    received: u32,
}

impl Model {
    fn new(kind: Kind) -> Self {
        let ack = if kind.acks { "ack='1'" } else { "" };
        let harness = Harness::open(&format!("wait='{}' hold='{}' {ack}", kind.wait, kind.hold));
        Self {
            kind,
            start: harness.now,
            harness,
            now: 0,
            slots: 0,
            network: Vec::new(),
            next_rid: 101,
            sent: BTreeMap::new(),
            spoken: 0,
            unsent: Vec::new(),
            poll_at: 0,
            wants_pause: false,
            resume_at: None,
            heard: 0,
            page: 1,
            new_pages: 0,
            answers: 0,
            hasty: 0,
            brought: VecDeque::new(),
            page_heard: 0,
            copies: Vec::new(),
            pushed: 0,
            received: 0,
        }
    }

    fn requests(&self) -> u64 {
        self.kind.hold + 1
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Speak => {
                self.spoken += 1;
                self.unsent.push(self.spoken);
            }
            Step::Push(count) => {
                for _ in 0..count {
                    self.pushed += 1;
                    self.harness.session.send(message(self.pushed));
                }
                self.settle();
            }
            Step::Arrive(choice) => {
                if let Some(index) = self.choose(choice, |it| matches!(it, Stage::Going { .. })) {
                    self.arrive(index);
                }
            }
            Step::Deliver(choice) => {
                if let Some(index) = self.choose(choice, |it| matches!(it, Stage::Coming { .. })) {
                    self.deliver(index);
                }
            }
            Step::Cut(choice, cut) => {
                if let Some(index) = self.choose(choice, |_| true) {
                    self.cut(index, cut);
                }
            }
            Step::Notice(choice) => {
                let broken = |it: &Exchange| it.broken && matches!(it.stage, Stage::There { .. });
                let broken: Vec<_> = self.network.iter().filter(|it| broken(it)).collect();
                if !broken.is_empty() {
                    let slot = broken[usize::from(choice) % broken.len()].slot;
                    self.network.retain(|it| it.slot != slot);
                    let now = self.clock();
                    self.harness.session.handle_disconnect(slot, now);
                    self.settle();
                }
            }
            Step::Pause => self.wants_pause = self.resume_at.is_none() && self.kind.hold > 0,
            Step::Leave => self.leave(),
            Step::Wait(time) => self.pass(u64::from(time)),
        }
        self.act();
    }

    fn choose(&self, choice: u8, fits: impl Fn(&Stage) -> bool) -> Option<usize> {
        let found: Vec<_> = (0..self.network.len())
            .filter(|index| fits(&self.network[*index].stage))
            .collect();
        (!found.is_empty()).then(|| found[usize::from(choice) % found.len()])
    }

    fn clock(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    // === The network ===

    fn arrive(&mut self, index: usize) {
        let since = self.now;
        self.network[index].stage = Stage::There { since };
        let Exchange {
            slot, rid, page, ..
        } = self.network[index];
        let Message::Request(mut request) = parse_document(&self.sent[&rid].text) else {
            panic!("not a request")
        };
        let names_itself = self.kind.pages;
        request.page = names_itself.then(|| Page::named(&page.to_be_bytes()));
        let now = self.clock();
        self.harness.session.handle_request(request, slot, now);
        self.settle();
    }

    fn deliver(&mut self, index: usize) {
        let Exchange {
            slot,
            rid,
            page: _,
            stage: Stage::Coming { answer, .. },
            broken,
        } = self.network.remove(index)
        else {
            panic!("chosen as an answer")
        };
        if broken {
            return;
        }
        let Some(sent) = self.sent.get_mut(&rid) else {
            return;
        };
        if sent.waits.is_none_or(|(waiting, _)| waiting != slot) {
            return;
        }
        assert!(!answer.contains("terminate"), "ended: {answer}");
        sent.waits = None;
        if answer.contains("type='error'") {
            sent.retry_at = self.now + BACKOFF;
            return;
        }
        sent.answer = Some(answer);
        self.take_answers();
    }

    fn cut(&mut self, index: usize, cut: Cut) {
        let exchange = &mut self.network[index];
        let Some(sent) = self.sent.get_mut(&exchange.rid) else {
            return;
        };
        if exchange.broken {
            return;
        }
        let is_going = matches!(exchange.stage, Stage::Going { .. });
        let vanishes = is_going && !cut.arrives;
        // A request that vanishes leaves a gap, which the client has to close in time.
        if vanishes && (sent.vanished == 2 || sent.silent > 0) {
            return;
        }
        let is_quick = self.kind.wait == 1 && sent.resends == 0;
        let may_be_silent = sent.silent == 0 && (is_quick || !vanishes);
        sent.vanished += u32::from(vanishes);
        let slot = exchange.slot;
        exchange.broken = true;
        if vanishes || matches!(exchange.stage, Stage::Coming { .. }) {
            self.network.remove(index);
        }
        if cut.seen || !may_be_silent {
            if sent.waits.is_some_and(|(waiting, _)| waiting == slot) {
                sent.waits = None;
                sent.retry_at = self.now + if sent.resends == 0 { 0 } else { BACKOFF };
            }
        } else {
            sent.silent += 1;
        }
    }

    /// The page is left. It may have had its last answers; nothing that comes from now on is seen by anybody.
    fn leave(&mut self) {
        let mut sent = self.sent.keys();
        let all_arrive = sent.all(|rid| {
            let is_there = *rid <= self.harness.session.window.last().0;
            let mut network = self.network.iter();
            is_there || network.any(|it| it.rid == *rid && matches!(it.stage, Stage::Going { .. }))
        });
        // Nobody leaves too many pages, one after the other, before they could show what they have.
        let hasty = if self.answers < 6 { self.hasty + 1 } else { 0 };
        if !self.kind.pages || !all_arrive || hasty >= MAX_TIMES {
            return;
        }
        self.hasty = hasty;
        self.answers = 0;
        let is_going = |it: &Exchange| matches!(it.stage, Stage::Going { .. });
        while let Some(index) = self.network.iter().position(is_going) {
            self.arrive(index);
        }
        let heard = self.page_heard;
        self.copies.retain(|number| *number > heard);
        self.copies.extend(self.brought.drain(..).flatten());
        self.sent.clear();
        self.resume_at = None;
        self.wants_pause = false;
        self.poll_at = self.now + if self.kind.hold == 0 { 5_000 } else { 0 };
        self.page += 1;
        self.page_heard = 0;
    }

    /// Lets time pass, and everything happen that is due.
    fn pass(&mut self, time: u64) {
        let end = self.now + time;
        for _ in 0..100_000 {
            let Some(next) = self.next_due().filter(|next| *next <= end) else {
                self.now = end;
                self.assert_prompt();
                return;
            };
            self.now = self.now.max(next);
            self.assert_prompt();
            self.happen();
        }
        panic!("round and round at {} ms", self.now);
    }

    fn next_due(&self) -> Option<u64> {
        let timer = self.harness.session.poll_timeout().map(|at| {
            let micros = at.saturating_duration_since(self.start).as_micros();
            u64::try_from(micros.div_ceil(1000)).unwrap()
        });
        let network = self.network.iter().filter_map(|it| match it.stage {
            Stage::Going { by } | Stage::Coming { by, .. } => Some(by),
            Stage::There { .. } => None,
        });
        let client = self.sent.values().filter(|it| it.answer.is_none());
        let client = client.map(|it| it.waits.map_or(it.retry_at, |(_, until)| until));
        let poll = (self.sent.is_empty() && self.poll_at > self.now).then_some(self.poll_at);
        let resume = self.resume_at.filter(|at| *at > self.now);
        network
            .chain(client)
            .chain(timer)
            .chain(poll)
            .chain(resume)
            .min()
    }

    fn happen(&mut self) {
        let is_due = |by: u64| by <= self.now;
        let due = self.network.iter().position(|it| match it.stage {
            Stage::Going { by } | Stage::Coming { by, .. } => is_due(by),
            Stage::There { .. } => false,
        });
        match due.map(|index| (index, &self.network[index].stage)) {
            Some((index, Stage::Going { .. })) => self.arrive(index),
            Some((index, _)) => self.deliver(index),
            None => {}
        }
        let now = self.clock();
        if self
            .harness
            .session
            .poll_timeout()
            .is_some_and(|at| at <= now)
        {
            self.harness.session.handle_timeout(now);
            self.settle();
        }
        self.act();
    }

    // === The client ===

    /// Does what the client would do now.
    fn act(&mut self) {
        for sent in self.sent.values_mut() {
            if sent.waits.is_some_and(|(_, until)| until <= self.now) {
                sent.waits = None;
                sent.retry_at = self.now;
            }
        }
        let lost = |(_, it): &(&u64, &Sent)| {
            it.waits.is_none() && it.answer.is_none() && it.retry_at <= self.now
        };
        let lost: Vec<_> = self.sent.iter().filter(lost).map(|it| *it.0).collect();
        for rid in lost {
            self.sent.get_mut(&rid).unwrap().resends += 1;
            self.post(rid);
        }
        if self
            .resume_at
            .is_some_and(|at| at <= self.now && self.sent.is_empty())
        {
            self.resume_at = None;
        }
        if self.resume_at.is_some() {
            return;
        }
        let oldest = self.sent.keys().next().copied().unwrap_or(self.next_rid);
        let room = oldest + self.requests() - self.next_rid;
        if self.wants_pause {
            // On top of the others, if need be.
            self.wants_pause = false;
            self.resume_at = Some(self.now + 30_000);
            self.request(" pause='120'", "", true);
        } else if room > 0 && !self.unsent.is_empty() {
            let payload: String = std::mem::take(&mut self.unsent)
                .iter()
                .map(|id| format!("<message xmlns='jabber:client' id='{id}'/>"))
                .collect();
            self.request("", &payload, false);
        } else if self.sent.is_empty() && self.poll_at <= self.now {
            self.request("", "", false);
        }
    }

    fn request(&mut self, attributes: &str, payload: &str, is_pause: bool) {
        let rid = self.next_rid;
        self.next_rid += 1;
        let has = self.sent.keys().next().map_or(rid - 1, |oldest| oldest - 1);
        let ack = if self.kind.acks && has + 1 != rid {
            format!(" ack='{has}'")
        } else {
            String::new()
        };
        let sent = Sent {
            text: format!(
                "<body xmlns='http://jabber.org/protocol/httpbind' sid='sid' rid='{rid}'\
                 {ack}{attributes}>{payload}</body>"
            ),
            waits: None,
            retry_at: 0,
            resends: 0,
            silent: 0,
            vanished: 0,
            is_pause,
            answer: None,
        };
        self.sent.insert(rid, sent);
        self.post(rid);
    }

    fn post(&mut self, rid: u64) {
        self.slots += 1;
        let slot = Slot(self.slots);
        self.sent.get_mut(&rid).unwrap().waits =
            Some((slot, self.now + self.kind.wait * 1_100 + 2 * TRANSIT));
        self.network.push(Exchange {
            slot,
            rid,
            page: self.page,
            stage: Stage::Going {
                by: self.now + TRANSIT,
            },
            broken: false,
        });
    }

    /// Takes what has come, in the order of the rids.
    fn take_answers(&mut self) {
        while let Some(first) = self.sent.first_entry()
            && let Some(answer) = first.get().answer.clone()
        {
            let (rid, sent) = first.remove_entry();
            // The gateway counts from when it had the request, which was before.
            self.poll_at = self.now + if self.kind.hold == 0 { 5_000 } else { 0 };
            // Whatever still goes to the gateway on a broken connection is dropped with it.
            self.network
                .retain(|it| it.rid != rid || !matches!(it.stage, Stage::Going { .. }));
            let numbers = numbers(&answer);
            assert!(!sent.is_pause || numbers.is_empty(), "paused: {answer}");
            for number in &numbers {
                self.hear(*number);
            }
            self.answers += 1;
            self.brought.push_back(numbers);
            // A pause may be on top of two others.
            if self.brought.len() > 3 {
                self.brought.pop_front();
            }
        }
    }

    fn hear(&mut self, number: u32) {
        let is_copy = number <= self.heard;
        assert!(
            if is_copy {
                self.copies.contains(&number) && number > self.page_heard
            } else {
                number == self.heard + 1
            },
            "to the client, {number} after {}, once and in order",
            self.heard
        );
        self.page_heard = number;
        self.heard = self.heard.max(number);
    }

    // === The gateway ===

    /// Drains the session as its shell does.
    fn settle(&mut self) {
        let now = self.clock();
        while let Some(event) = self.harness.session.poll_event() {
            match event {
                Event::Stanza(stanza) => {
                    self.received += 1;
                    let id = stanza.id().unwrap().into_owned();
                    assert_eq!(id, self.received.to_string(), "to the server, in order");
                }
                Event::NewPage => {
                    self.new_pages += 1;
                    assert!(self.new_pages < self.page, "a page that was loaded again");
                }
                other => panic!("{other:?} though all rules were kept"),
            }
        }
        while let Some((slot, document)) = self.harness.session.poll_response(now) {
            let Some(exchange) = self.network.iter_mut().find(|it| it.slot == slot) else {
                continue;
            };
            assert!(
                matches!(exchange.stage, Stage::There { .. }),
                "answered once"
            );
            exchange.stage = Stage::Coming {
                by: self.now + TRANSIT,
                answer: written(document),
            };
        }
        self.assert_bounds();
    }

    fn assert_bounds(&self) {
        let session = &self.harness.session;
        let requests = usize::try_from(self.requests()).unwrap();
        let held = session.held.open();
        let allowed = if session.patient_until().is_some() {
            requests
        } else {
            session.terms.hold
        };
        assert!(held.count() <= allowed, "at most hold are held");
        assert!(session.held.len() <= requests, "unanswered are few");
        assert!(session.window.buffered() <= requests, "buffered are few");
        let kept = 101..self.next_rid;
        let kept = kept.filter(|rid| {
            session
                .answered
                .get(Rid::parse(&rid.to_string()).unwrap())
                .is_some()
        });
        let most = if self.kind.acks { 16 } else { requests + 1 };
        assert!(kept.count() <= most, "answers kept are few");
        // The features came before.
        let confirmed = session.confirmed().saturating_sub(1);
        assert!(confirmed <= u64::from(self.heard), "confirmed is what came");
        assert!(session.open_requests() == 0 || session.poll_timeout().is_some());
    }

    /// Nobody waits for longer than agreed.
    fn assert_prompt(&self) {
        for exchange in &self.network {
            if let Stage::There { since } = exchange.stage
                && exchange.rid <= self.harness.session.window.last().0
            {
                let waited = self.now - since;
                let rid = exchange.rid;
                assert!(
                    waited <= self.kind.wait * 1000,
                    "{rid} waits for {waited} ms"
                );
            }
        }
    }

    /// All is well with the network at last: everything has to arrive.
    fn finish(mut self) {
        for _ in 0..40 {
            self.pass(10_000);
            self.act();
        }
        assert_eq!(self.received, self.spoken, "all that the client said");
        assert_eq!(self.heard, self.pushed, "all that the server said");
        assert!(self.harness.session.is_open());
    }
}

fn parse_document(text: &str) -> Message {
    Message::parse(text.to_owned().into(), &xml::Limits::default()).unwrap()
}

/// The ids of the messages in an answer.
pub(super) fn numbers(answer: &str) -> Vec<u32> {
    let parts = answer.split("<message ").skip(1);
    parts
        .map(|part| {
            let id = part.split("id='").nth(1).unwrap();
            id.split('\'').next().unwrap().parse().unwrap()
        })
        .collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cut = (any::<bool>(), any::<bool>()).prop_map(|(seen, arrives)| Cut { seen, arrives });
    let step = prop_oneof![
        3 => Just(Step::Speak),
        2 => (1..4_u8).prop_map(Step::Push),
        8 => any::<u8>().prop_map(Step::Arrive),
        8 => any::<u8>().prop_map(Step::Deliver),
        3 => (any::<u8>(), cut).prop_map(|(choice, cut)| Step::Cut(choice, cut)),
        1 => any::<u8>().prop_map(Step::Notice),
        1 => prop_oneof![6 => Just(Step::Wait(0)), 1 => Just(Step::Pause), 3 => Just(Step::Leave)],
        4 => (0..1_000_u16).prop_map(Step::Wait),
        1 => (0..20_000_u16).prop_map(Step::Wait),
    ];
    vec(step, 1..2 * LENGTH)
}

fn kinds() -> impl Strategy<Value = Kind> {
    let wait = prop_oneof![Just(1), Just(5), Just(10), Just(60)];
    let hold = prop_oneof![1 => Just(0), 5 => Just(1)];
    (wait, hold, any::<bool>(), any::<bool>()).prop_map(|(wait, hold, acks, pages)| Kind {
        wait,
        hold,
        acks,
        pages,
    })
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(number) = text.parse() else {
        panic!("{name} is not a number: {text}")
    };
    Some(number)
}

#[test]
fn nothing_is_lost_doubled_or_late_whatever_the_network_does() {
    let steps_wanted: u32 = number("STEPS").unwrap_or(STEPS);
    let seed = number("SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let length = u32::try_from(LENGTH).unwrap();
    let config = ProptestConfig {
        cases: steps_wanted.div_ceil(length),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 5_000,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&(kinds(), steps()), |(kind, steps)| {
        let mut model = Model::new(kind);
        for step in &steps {
            model.step(step);
        }
        model.finish();
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("SEED={seed} STEPS={steps_wanted}\n{failure}");
    }
}
