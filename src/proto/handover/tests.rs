//! A server that routes messages to the streams of one account, sessions that come, read, end and vanish in any
//! order, and clients that confirm when they like: nothing is lost, and no client is given anything twice.
//!
//! A case is a list of [`Step`]s, so that proptest can shrink it. Time is simulated.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::{member::MAX_MEMBERS, *};

/// What happens next. Numbers choose among the sessions that there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody logs in.
    Open,
    /// A client becomes available.
    Appear(u8),
    /// A client is there no longer, or with a negative priority.
    Withdraw(u8),
    /// A client wants copies of what goes to others.
    WantCarbons(u8),
    /// A message to the account.
    SendToAll,
    /// A message to one of its streams.
    SendTo(u8),
    /// A message to one of its streams that looks like those to others.
    SendTwin(u8),
    /// A client writes to somebody.
    Write(u8),
    /// The gateway reads the next element of a stream.
    Read(u8),
    /// A client asks for messages.
    Poll(u8),
    /// A client confirms so many of the messages that it has.
    Confirm(u8, u8),
    /// The session of a client ends.
    End(u8),
    /// The gateway is going down, as a session hears that lingers.
    Hurry(u8),
    /// The server closes a stream.
    Cut(u8),
    /// So many seconds pass.
    Wait(u8),
}

/// What the server sends.
#[derive(Clone, Debug)]
enum Element {
    Message(Stanza),
    Answer(u64),
}

/// A session, its stream, its client.
#[derive(Debug)]
struct Tab {
    member: Option<Member>,
    stage: Stage,
    // The stream, as the server sees it.
    is_available: bool,
    has_carbons: bool,
    unread: VecDeque<Element>,
    /// What it has sent, and what has been acknowledged.
    sent: Vec<u32>,
    acknowledged: usize,
    is_hurried: bool,
    /// When the session ended, and how much it had sent by then.
    ended: Option<Instant>,
    sent_at_end: usize,
    // The gateway.
    read: Vec<u64>,
    kept: VecDeque<Unconfirmed>,
    given: u64,
    confirmed: u64,
    taken: VecDeque<(u64, Ticket)>,
    /// Who has handed over which messages.
    handed: Vec<(Ticket, u32)>,
    /// What the client has been given.
    has: Vec<u32>,
    /// What the client has written.
    wrote: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Live,
    Lingering,
    Gone,
}

struct Model {
    account: Account,
    now: Instant,
    tabs: Vec<Tab>,
    /// Messages that have been sent.
    sent: u32,
    twins: BTreeSet<u32>,
    /// Messages that the server owns: stored, or not acknowledged.
    owned: BTreeSet<u32>,
    /// Messages that some client has confirmed.
    confirmed: BTreeSet<u32>,
}

/// The number of the message that looks like those to others, and is for the first session. Each gets one.
const TWIN: u32 = 1_000_000;

fn jid(tab: usize) -> String {
    format!("me@x/{tab}")
}

/// A message. Some have neither an id nor a body, like the receipts of many clients.
fn text(number: u32, to: &str) -> String {
    let id = match number.is_multiple_of(2) {
        true => format!("id='{number}' type='chat'><body>b</body>"),
        false => format!("><received xmlns='urn:xmpp:receipts' id='{number}'/>"),
    };
    format!("<message xmlns='jabber:client' from='a@x/1' to='{to}' {id}</message>")
}

fn message(number: u32) -> Stanza {
    Stanza::parse(text(number, "me@x")).unwrap()
}

fn carbon(kind: &str, inner: &str) -> Stanza {
    Stanza::parse(format!(
        "<message from='me@x'><{kind} xmlns='urn:xmpp:carbons:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></{kind}></message>"
    ))
    .unwrap()
}

fn number(stanza: &Stanza) -> u32 {
    let text = String::from_utf8(stanza.to_bytes().to_vec()).unwrap();
    let after = |key| {
        text.split_once(key)
            .map(|(_, after)| after.split('\'').next())
    };
    match after("id='") {
        Some(id) => id.unwrap().parse().unwrap(),
        None => TWIN + after("to='me@x/").unwrap().unwrap().parse::<u32>().unwrap(),
    }
}

impl Model {
    fn new() -> Self {
        Self {
            account: Account::default(),
            now: Instant::now(),
            tabs: Vec::new(),
            sent: 0,
            twins: BTreeSet::new(),
            owned: BTreeSet::new(),
            confirmed: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open => self.open(),
            Step::Appear(choice) => self.with(choice, Stage::Live, Self::appear),
            Step::Withdraw(choice) => self.with(choice, Stage::Live, Self::withdraw),
            Step::WantCarbons(choice) => self.with(choice, Stage::Live, |model, tab| {
                model.tabs[tab].has_carbons = true;
            }),
            Step::SendToAll => {
                self.sent += 1;
                self.route_to_all(&text(self.sent, "me@x"));
            }
            Step::SendTo(choice) => self.send_to(choice),
            Step::SendTwin(choice) => self.send_twin(choice),
            Step::Write(choice) => self.with(choice, Stage::Live, Self::write),
            Step::Read(choice) => {
                self.with(choice, Stage::Live, Self::read);
                self.with(choice, Stage::Lingering, Self::read);
            }
            Step::Poll(choice) => self.with(choice, Stage::Live, |model, tab| {
                model.turn(tab, true);
            }),
            Step::Confirm(choice, count) => self.with(choice, Stage::Live, |model, tab| {
                model.confirm(tab, count.into());
            }),
            Step::End(choice) => self.with(choice, Stage::Live, Self::end),
            Step::Hurry(choice) => self.with(choice, Stage::Lingering, |model, tab| {
                let member = model.tabs[tab].member.unwrap();
                model.account.hurry(member, model.now);
                model.tabs[tab].is_hurried = true;
                model.turn(tab, false);
            }),
            Step::Cut(choice) => self.with(choice, Stage::Lingering, Self::gone),
            Step::Wait(seconds) => self.pass(Duration::from_secs(seconds.into())),
        }
        self.settle();
    }

    fn with(&mut self, choice: u8, stage: Stage, act: impl Fn(&mut Self, usize)) {
        let found: Vec<_> = (0..self.tabs.len())
            .filter(|tab| self.tabs[*tab].stage == stage)
            .collect();
        if !found.is_empty() {
            act(self, found[usize::from(choice) % found.len()]);
        }
    }

    // === The server ===

    fn is_there(&self, tab: usize) -> bool {
        self.tabs[tab].stage != Stage::Gone
    }

    fn deliver(&mut self, tab: usize, stanza: Stanza) {
        let tab = &mut self.tabs[tab];
        tab.sent.push(number(&stanza));
        tab.unread.push_back(Element::Message(stanza));
    }

    fn route_to_all(&mut self, text: &str) {
        let there: Vec<_> = (0..self.tabs.len())
            .filter(|tab| self.is_there(*tab))
            .collect();
        let available = |tab: &usize| self.tabs[*tab].is_available;
        if !there.iter().any(available) {
            self.owned
                .insert(number(&Stanza::parse(text.to_owned()).unwrap()));
            return;
        }
        for tab in there {
            if self.tabs[tab].is_available {
                self.deliver(tab, Stanza::parse(text.to_owned()).unwrap());
            } else if self.tabs[tab].has_carbons {
                self.deliver(tab, carbon("received", text));
            }
        }
    }

    fn send_to(&mut self, choice: u8) {
        self.sent += 1;
        if self.tabs.is_empty() {
            self.owned.insert(self.sent);
            return;
        }
        let target = usize::from(choice) % self.tabs.len();
        self.route_to(target, &text(self.sent, &jid(target)));
    }

    fn send_twin(&mut self, choice: u8) {
        if self.tabs.is_empty() {
            return;
        }
        let target = usize::from(choice) % self.tabs.len();
        if self.twins.insert(TWIN + u32::try_from(target).unwrap()) {
            let to = jid(target);
            let text =
                format!("<message xmlns='jabber:client' from='a@x/1' to='{to}'><body/></message>");
            self.route_to(target, &text);
        }
    }

    fn route_to(&mut self, target: usize, text: &str) {
        if !self.is_there(target) {
            return self.route_to_all(text);
        }
        for tab in 0..self.tabs.len() {
            if tab == target {
                self.deliver(tab, Stanza::parse(text.to_owned()).unwrap());
            } else if self.is_there(tab) && self.tabs[tab].has_carbons {
                self.deliver(tab, carbon("received", text));
            }
        }
    }

    /// Its server has it then, whoever else hears of it.
    fn write(&mut self, tab: usize) {
        self.sent += 1;
        self.confirmed.insert(self.sent);
        self.tabs[tab].wrote.insert(self.sent);
        let text = text(self.sent, "a@x").replace("a@x/1", &jid(tab));
        for other in 0..self.tabs.len() {
            if other != tab && self.is_there(other) && self.tabs[other].has_carbons {
                self.deliver(other, carbon("sent", &text));
            }
        }
    }

    /// A stream is gone: the server keeps what was not acknowledged.
    fn gone(&mut self, tab: usize) {
        self.account
            .remove(self.tabs[tab].member.unwrap(), self.now);
        let tab = &mut self.tabs[tab];
        tab.stage = Stage::Gone;
        tab.member = None;
        self.owned.extend(&tab.sent[tab.acknowledged..]);
    }

    // === The shell of a session ===

    fn open(&mut self) {
        let live = self.tabs.iter().filter(|tab| tab.stage == Stage::Live);
        if live.count() >= 3 {
            return;
        }
        self.tabs.push(Tab {
            member: self.account.join(&jid(self.tabs.len()), self.now),
            stage: Stage::Live,
            is_available: false,
            has_carbons: false,
            unread: VecDeque::new(),
            sent: Vec::new(),
            acknowledged: 0,
            is_hurried: false,
            ended: None,
            sent_at_end: 0,
            read: Vec::new(),
            kept: VecDeque::new(),
            given: 0,
            confirmed: 0,
            taken: VecDeque::new(),
            handed: Vec::new(),
            has: Vec::new(),
            wrote: BTreeSet::new(),
        });
    }

    fn appear(&mut self, tab: usize) {
        self.tabs[tab].is_available = true;
        self.account
            .set_ready(self.tabs[tab].member.unwrap(), true, self.now);
    }

    fn withdraw(&mut self, tab: usize) {
        self.tabs[tab].is_available = false;
        let member = self.tabs[tab].member.unwrap();
        self.account.set_ready(member, false, self.now);
    }

    fn read(&mut self, tab: usize) {
        let member = self.tabs[tab].member.unwrap();
        match self.tabs[tab].unread.pop_front() {
            None => {}
            Some(Element::Answer(mark)) => self.account.fence_passed(member, mark),
            Some(Element::Message(stanza)) => {
                let number = number(&stanza);
                let noted = self.account.note(member, &stanza);
                let tab = &mut self.tabs[tab];
                tab.given += 1;
                tab.read.push(tab.given);
                let message = Unconfirmed {
                    given: tab.given,
                    stanza,
                    received: self.now,
                    noted,
                };
                if tab.stage == Stage::Live {
                    tab.has.push(number);
                    tab.kept.push_back(message);
                } else {
                    self.account.add(member, message, self.now);
                }
            }
        }
        self.turn(tab, false);
    }

    fn confirm(&mut self, tab: usize, count: u64) {
        let it = &mut self.tabs[tab];
        it.confirmed = it.given.min(it.confirmed + count);
        let confirmed = usize::try_from(it.confirmed).unwrap();
        self.confirmed.extend(&it.has[..confirmed]);
        let confirmed = it.confirmed;
        it.kept.retain(|message| message.given > confirmed);
        self.acknowledge(tab, confirmed);
        while let Some((given, ticket)) = self.tabs[tab].taken.front().copied()
            && given <= confirmed
        {
            self.account.confirm(ticket, self.now);
            self.tabs[tab].taken.pop_front();
        }
        self.turn(tab, true);
    }

    /// Tells the server of all that came before `given`.
    fn acknowledge(&mut self, tab: usize, given: u64) {
        let tab = &mut self.tabs[tab];
        let count = tab.read.iter().take_while(|read| **read <= given).count();
        assert!(count >= tab.acknowledged, "never less");
        tab.acknowledged = count;
    }

    fn end(&mut self, tab: usize) {
        let member = self.tabs[tab].member.unwrap();
        let kept = std::mem::take(&mut self.tabs[tab].kept);
        if self.account.end(member, kept, self.now) {
            let tab = &mut self.tabs[tab];
            tab.stage = Stage::Lingering;
            tab.is_available = false;
            tab.ended = Some(self.now);
            tab.sent_at_end = tab.sent.len();
        } else {
            self.gone(tab);
        }
    }

    fn turn(&mut self, tab: usize, is_listening: bool) {
        let Some(member) = self.tabs[tab].member else {
            return;
        };
        self.account.handle_timeout(member, self.now);
        if self.tabs[tab].stage == Stage::Lingering {
            let settled = self.account.settled(member);
            self.acknowledge(tab, settled);
            if self.account.may_close(member, self.now) {
                let is_live = |it: &Tab| it.stage == Stage::Live;
                if settled == u64::MAX && self.tabs.iter().any(is_live) {
                    let tab = &self.tabs[tab];
                    let is_read = tab.acknowledged >= tab.sent_at_end;
                    let is_late = tab.ended.is_some_and(|at| at + TAKER_TIMEOUT <= self.now);
                    assert!(
                        is_read || is_late || tab.is_hurried,
                        "no server stores what is on its way"
                    );
                }
                return self.gone(tab);
            }
        }
        while self.tabs[tab].stage == Stage::Live
            && let Some(handed) = self.account.poll_handed(member, is_listening, self.now)
        {
            let tab = &mut self.tabs[tab];
            let number = number(&handed.stanza);
            assert!(tab.is_available, "{number} to one who is not there");
            tab.given += 1;
            tab.has.push(number);
            tab.taken.push_back((tab.given, handed.ticket));
            tab.handed.push((handed.ticket, number));
        }
        if let Some(mark) = self.account.poll_fence(member) {
            self.tabs[tab].unread.push_back(Element::Answer(mark));
        }
    }

    /// Lets all have their turns who have something to do.
    fn settle(&mut self) {
        loop {
            let woken: Vec<_> = self.account.take_woken().collect();
            let tabs: Vec<_> = (0..self.tabs.len())
                .filter(|tab| self.tabs[*tab].member.is_some_and(|it| woken.contains(&it)))
                .collect();
            if tabs.is_empty() {
                return;
            }
            for tab in tabs {
                self.turn(tab, false);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for tab in 0..self.tabs.len() {
            self.turn(tab, false);
        }
    }

    /// Whoever is there goes on until nothing more happens; then the books are checked.
    fn finish(&mut self) {
        for _ in 0..20 {
            self.pass(QUIET_BEFORE_CLOSE);
            for tab in 0..self.tabs.len() {
                while self.is_there(tab) && !self.tabs[tab].unread.is_empty() {
                    self.read(tab);
                    self.settle();
                }
                if self.tabs[tab].stage == Stage::Live {
                    self.appear(tab);
                    self.confirm(tab, u64::MAX / 2);
                    self.settle();
                }
            }
        }
        let has_live = self.tabs.iter().any(|tab| tab.stage == Stage::Live);
        let lingers = |tab: &Tab| tab.stage == Stage::Lingering;
        if has_live {
            assert!(!self.tabs.iter().any(lingers), "all is handed over at once");
        }
        for _ in 0..8 {
            self.pass(TAKER_TIMEOUT);
            self.settle();
        }
        assert!(!self.tabs.iter().any(lingers), "nobody lingers for ever");
        for number in (1..=self.sent).chain(self.twins.iter().copied()) {
            let is_safe = self.owned.contains(&number) || self.confirmed.contains(&number);
            assert!(is_safe, "message {number} is lost");
        }
        for tab in &self.tabs {
            let once: BTreeSet<_> = tab.has.iter().collect();
            assert_eq!(once.len(), tab.has.len(), "twice: {:?}", tab.has);
            let own: Vec<_> = tab.has.iter().filter(|it| tab.wrote.contains(it)).collect();
            assert!(own.is_empty(), "its own come back: {own:?}");
            let handed = tab.handed.iter().filter(|(_, number)| *number < TWIN);
            let handed: Vec<_> = handed.collect();
            for (at, (ticket, number)) in handed.iter().enumerate() {
                let of_giver = |(it, _): &&&(Ticket, u32)| {
                    (it.giver, it.since) == (ticket.giver, ticket.since)
                };
                let mut before = handed[..at].iter().filter(of_giver);
                assert!(before.all(|(_, before)| before < number), "in order");
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Open),
        3 => any::<u8>().prop_map(Step::Appear),
        1 => any::<u8>().prop_map(Step::Withdraw),
        1 => any::<u8>().prop_map(Step::WantCarbons),
        3 => Just(Step::SendToAll),
        4 => any::<u8>().prop_map(Step::SendTo),
        2 => any::<u8>().prop_map(Step::SendTwin),
        1 => any::<u8>().prop_map(Step::Write),
        10 => any::<u8>().prop_map(Step::Read),
        3 => any::<u8>().prop_map(Step::Poll),
        3 => (any::<u8>(), 1..4_u8).prop_map(|(choice, count)| Step::Confirm(choice, count)),
        2 => any::<u8>().prop_map(Step::End),
        1 => prop_oneof![
            6 => Just(Step::Wait(0)),
            2 => any::<u8>().prop_map(Step::Cut),
            1 => any::<u8>().prop_map(Step::Hurry),
        ],
        1 => (0..250_u8).prop_map(Step::Wait),
    ];
    vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_doubled_whoever_ends_when(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.finish();
    }
}

/// Lets the first of two sessions end, and gives what the second is handed.
fn handed(mut account: Account, [first, second]: [Member; 2], kept: Vec<Unconfirmed>) -> Vec<u32> {
    let now = Instant::now();
    account.set_ready(second, true, now);
    assert!(account.end(first, kept.into(), now));
    let nothing = account.poll_handed(second, true, now);
    assert!(nothing.is_none(), "it may not have read its own");
    let mark = account.poll_fence(second).unwrap();
    account.fence_passed(second, mark);
    std::iter::from_fn(|| account.poll_handed(second, true, now))
        .map(|handed| number(&handed.stanza))
        .collect()
}

/// Takes so many messages in, which all look the same.
fn take_in(account: &mut Account, member: Member, count: u64) -> Vec<Unconfirmed> {
    let stanza = message(7);
    let take = |given| Unconfirmed {
        given,
        stanza: stanza.clone(),
        received: Instant::now(),
        noted: account.note(member, &stanza),
    };
    (1..=count).map(take).collect()
}

#[test]
fn messages_that_look_the_same_are_counted() {
    let now = Instant::now();
    for (of_first, of_second) in [(3, 0), (3, 2), (3, 3), (3, 4), (0, 3)] {
        let mut account = Account::default();
        let [first, second] = [(); 2].map(|()| account.join("me@x/1", now).unwrap());
        let kept = take_in(&mut account, first, of_first);
        take_in(&mut account, second, of_second);
        let handed = handed(account, [first, second], kept);
        let lacking = of_first.saturating_sub(of_second);
        assert_eq!(handed.len() as u64, lacking, "{of_first}, {of_second}");
    }
}

#[test]
fn messages_from_before_the_other_session_are_counted_apart() {
    let now = Instant::now();
    let mut account = Account::default();
    let first = account.join("me@x/1", now).unwrap();
    let third = account.join("me@x/1", now).unwrap();
    let mut kept = take_in(&mut account, first, 2);
    account.remove(third, now);
    let second = account.join("me@x/1", now).unwrap();
    kept.extend(take_in(&mut account, first, 1));
    take_in(&mut account, second, 1);
    assert_eq!(handed(account, [first, second], kept), [7, 7]);
}

#[test]
fn a_session_that_withdraws_confirms_what_it_has_and_leaves_the_rest() {
    let now = Instant::now();
    let mut account = Account::default();
    let [first, second, third] = [(); 3].map(|()| account.join("me@x/1", now).unwrap());
    let kept = take_in(&mut account, first, 3);
    account.set_ready(second, true, now);
    account.set_ready(third, true, now);
    assert!(account.end(first, kept.into(), now));
    let poll = |account: &mut Account, member| {
        account.poll_handed(member, true, now);
        let mark = account.poll_fence(member).unwrap_or_default();
        account.fence_passed(member, mark);
        account.poll_handed(member, true, now)
    };
    let handed = poll(&mut account, second).unwrap();
    account.set_ready(second, false, now);
    assert!(account.poll_handed(second, true, now).is_none());
    assert!(poll(&mut account, third).is_none(), "it may yet confirm");
    account.confirm(handed.ticket, now);
    assert!(poll(&mut account, third).is_some());
    assert!(account.poll_handed(third, true, now).is_some());
    assert!(account.poll_handed(third, true, now).is_none());
}

/// The client may come again, by which its session goes on.
#[test]
fn what_was_handed_over_waits_for_as_long_as_the_taker_may_be_gone() {
    let now = Instant::now();
    let absence = 3 * TAKER_TIMEOUT;
    for patience in [Duration::ZERO, absence] {
        let mut account = Account::default();
        let [first, second] = [(); 2].map(|()| account.join("me@x/1", now).unwrap());
        let kept = take_in(&mut account, first, 1);
        account.set_ready(second, true, now);
        assert!(account.end(first, kept.into(), now));
        account.be_patient(patience);
        account.poll_handed(second, true, now);
        let mark = account.poll_fence(second).unwrap();
        account.fence_passed(second, mark);
        let handed = account.poll_handed(second, true, now).unwrap();
        let late = now + absence - Duration::from_secs(1);
        account.handle_timeout(first, late);
        let is_returned = account.may_close(first, late);
        assert_eq!(is_returned, patience.is_zero());
        if !is_returned {
            account.confirm(handed.ticket, late);
            assert_eq!(account.unsettled(first), 0);
        }
    }
}

#[test]
fn a_crowd_is_not_all_let_in_and_does_not_all_linger() {
    let now = Instant::now();
    let mut account = Account::default();
    let members: Vec<_> = std::iter::from_fn(|| account.join("me@x/1", now)).collect();
    assert_eq!(members.len(), usize::from(MAX_MEMBERS));
    let lingering = members
        .iter()
        .filter(|member| account.end(**member, VecDeque::new(), now));
    assert_eq!(lingering.count(), MAX_LINGERING);
    for member in members {
        account.remove(member, now);
    }
    assert!(account.is_empty());
}
