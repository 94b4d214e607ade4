//! Gateways that come and go, over a network that loses, doubles and delays, in simulated time.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    Trouble,
    members::{Change, FRESH, Farewell, JOINING, Members, SILENCE},
    wire::{Hello, Message, Said},
};
use crate::{clock, config::NodeName};

const STEP: Duration = Duration::from_millis(250);
const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// A gateway of the simulation.
struct Gateway {
    members: Members,
    name: NodeName,
    incarnation: u64,
    /// Whether what it sends and is sent arrives.
    is_cut: bool,
    /// Whether its process runs.
    stands_still: bool,
    changes: Vec<Change>,
}

/// All of them, and the messages between them.
struct World {
    now: Instant,
    steps: u64,
    started: u64,
    gateways: Vec<Gateway>,
    /// When, for whom (a place, and what was drawn there), and what.
    under_way: Vec<(Instant, u64, Message)>,
    random: fastrand::Rng,
    is_bad: bool,
    /// Whether nothing arrives at present, and all of it later.
    hangs: bool,
    /// How many messages were sent.
    sent: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: clock::now(),
            steps: 0,
            started: 0,
            gateways: Vec::new(),
            under_way: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            is_bad: false,
            hangs: false,
            sent: 0,
        }
    }

    fn start(&mut self, name: &str) -> u64 {
        self.started += 1;
        let incarnation = self.started;
        let name = node(name);
        let members = Members::new(name.clone(), incarnation, self.steps, self.now);
        self.gateways.push(Gateway {
            members,
            name,
            incarnation,
            is_cut: false,
            stands_still: false,
            changes: Vec::new(),
        });
        incarnation
    }

    fn gateway(&mut self, incarnation: u64) -> &mut Gateway {
        let mut all = self.gateways.iter_mut();
        all.find(|it| it.incarnation == incarnation)
            .expect("it runs")
    }

    fn send(&mut self, from: usize, said: Said) {
        let sender = &self.gateways[from];
        if sender.is_cut {
            return;
        }
        let message = Message {
            id: sender.incarnation,
            from: sender.name.clone(),
            said,
        };
        self.sent += 1;
        let message = Message::decode(message.encode()).expect("one that is understood");
        for to in &self.gateways {
            let copies = match self.is_bad {
                true => self.random.usize(0..3),
                false => 1,
            };
            for _ in 0..copies {
                let most = if self.is_bad { 1500 } else { 10 };
                let delay = Duration::from_millis(self.random.u64(1..most));
                let at = self.now + delay;
                self.under_way.push((at, to.incarnation, message.clone()));
            }
        }
    }

    fn leave(&mut self, incarnation: u64) {
        let place = self.place(incarnation);
        self.send(place, Said::Goodbye);
        self.gateways.remove(place);
    }

    fn crash(&mut self, incarnation: u64) {
        let place = self.place(incarnation);
        self.gateways.remove(place);
    }

    fn place(&self, incarnation: u64) -> usize {
        let mut all = self.gateways.iter();
        all.position(|it| it.incarnation == incarnation)
            .expect("it runs")
    }

    fn deliver(&mut self) {
        if self.hangs {
            return;
        }
        let due = self.under_way.extract_if(.., |(at, ..)| *at <= self.now);
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(at, ..)| *at);
        for (_, to, message) in due {
            let found = self.gateways.iter_mut().position(|it| it.incarnation == to);
            let Some(place) = found else { continue };
            let (now, gateway) = (self.now, &mut self.gateways[place]);
            if gateway.is_cut || gateway.stands_still {
                continue;
            }
            let Message { id, from, said } = message;
            let changes = match said {
                Said::Hello(hello) => gateway.members.handle_hello(&from, id, &hello, now),
                Said::Goodbye => Vec::from_iter(gateway.members.handle_goodbye(&from, id, now)),
                _ => Vec::new(),
            };
            self.apply(place, changes);
        }
    }

    fn apply(&mut self, place: usize, changes: Vec<Change>) {
        for change in changes {
            if change == Change::SayHello {
                let hello = self.gateways[place].members.hello(0, self.now);
                self.send(place, Said::Hello(hello));
            }
            self.gateways[place].changes.push(change);
        }
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP / 5;
            self.steps += 50;
            self.deliver();
            if !self.steps.is_multiple_of(250) {
                continue;
            }
            for place in 0..self.gateways.len() {
                let (now, gateway) = (self.now, &mut self.gateways[place]);
                if gateway.stands_still {
                    continue;
                }
                let changes = gateway.members.handle_tick(now);
                let hello = gateway.members.poll_hello(0, now);
                self.apply(place, changes);
                if let Some(hello) = hello {
                    self.send(place, Said::Hello(hello));
                }
            }
        }
    }

    /// Whether each gateway knows all others, and nobody else.
    fn assert_agreement(&self) {
        for gateway in &self.gateways {
            assert_eq!(gateway.members.trouble(), None, "{}", gateway.name);
            let known: BTreeSet<_> = gateway.members.others().map(|it| it.node.clone()).collect();
            let others = self.gateways.iter().map(|it| it.name.clone());
            let others: BTreeSet<_> = others.filter(|it| *it != gateway.name).collect();
            assert_eq!(known, others, "{}", gateway.name);
        }
    }

    fn count(&mut self, incarnation: u64, change: &Change) -> usize {
        let changes = &self.gateway(incarnation).changes;
        changes.iter().filter(|it| *it == change).count()
    }

    fn has_left(&mut self, incarnation: u64, name: &str, farewell: Farewell) -> bool {
        self.count(incarnation, &Change::Left(node(name), farewell)) > 0
    }
}

fn three() -> (World, [u64; 3]) {
    let mut world = World::new(0);
    let started = ["a", "b", "c"].map(|name| world.start(name));
    world.run(SILENCE + SECOND);
    world.assert_agreement();
    (world, started)
}

#[test]
fn who_comes_knows_the_others_as_soon_as_it_is_a_member() {
    let (mut world, [a, ..]) = three();
    let d = world.start("d");
    world.run(JOINING - STEP);
    assert_eq!(world.gateway(d).members.trouble(), Some(Trouble::Away));
    assert!(!world.gateway(a).members.knows("d"));
    world.run(5 * STEP);
    world.assert_agreement();
    assert_eq!(world.count(d, &Change::Missed), 0, "it had nothing to miss");
}

/// Starts `b` again while `a` stands still for so long. How long it takes until it is a member, and whom it knows then.
fn comes_while_another_one_stands_still(
    (mut world, a, b): (World, u64, u64),
    pause: Duration,
) -> (Duration, Vec<String>) {
    world.leave(b);
    world.gateway(a).stands_still = true;
    let b = world.start("b");
    let begun = world.now;
    while world.gateway(b).members.trouble().is_some() {
        world.run(STEP / 5);
        world.gateway(a).stands_still = world.now - begun < pause;
    }
    let known = world.gateway(b).members.others();
    let known = known.map(|it| it.node.to_string()).collect();
    (world.now - begun, known)
}

#[test]
fn who_comes_while_another_one_stands_still_knows_of_it_as_a_member() {
    let two = || {
        let mut world = World::new(0);
        let [a, b] = ["a", "b"].map(|name| world.start(name));
        world.run(SILENCE + SECOND);
        (world, a, b)
    };
    let (waited, known) = comes_while_another_one_stands_still(two(), 2 * SECOND);
    assert!(waited < 3 * SECOND, "{waited:?}");
    assert_eq!(known, ["a"]);
    let (waited, known) = comes_while_another_one_stands_still(two(), 10 * SECOND);
    assert!(waited < SILENCE + SECOND, "{waited:?}");
    assert_eq!(known, [""; 0]);
    // Where there is somebody who knows of it.
    let three = || {
        let (world, [a, b, _]) = three();
        (world, a, b)
    };
    let (waited, known) = comes_while_another_one_stands_still(three(), 2 * SECOND);
    assert!(waited < 3 * SECOND, "{waited:?}");
    assert_eq!(known, ["a", "c"]);
    let (waited, known) = comes_while_another_one_stands_still(three(), 10 * SECOND);
    assert!(waited < SILENCE + SECOND, "{waited:?}");
    assert_eq!(known, ["c"]);
}

#[test]
fn who_joins_again_is_there_all_the_time() {
    let (mut world, [a, b, _]) = three();
    let now = world.now;
    // It says hello, but its own hellos do not come back.
    let place = world.place(b);
    let _ = world.gateways[place].members.handle_disconnect(now);
    for _ in 0..24 {
        world.run(STEP);
        let now = world.now;
        let _ = world.gateway(b).members.handle_disconnect(now);
        let hello = world.gateway(b).members.hello(0, now);
        assert!(hello.joining);
        world.send(place, Said::Hello(hello));
    }
    assert!(!world.has_left(a, "b", Farewell::Silent));
}

#[test]
fn gateways_that_join_at_once_do_not_shout_at_each_other() {
    let (mut world, _) = three();
    assert!(world.sent <= 45, "{}", world.sent);
    // Nor those that are refused, and ask again.
    for name in ["a", "b", "c"] {
        world.start(name);
    }
    world.sent = 0;
    world.run(10 * SECOND);
    assert!(world.sent <= 250, "{}", world.sent);
}

#[test]
fn who_says_goodbye_is_gone_at_once_and_stays_so() {
    let (mut world, [a, b, _]) = three();
    let place = world.place(b);
    let late = world.gateways[place].members.hello(0, world.now);
    world.leave(b);
    world.run(STEP);
    assert!(world.has_left(a, "b", Farewell::Said));
    let now = world.now;
    let changes = world
        .gateway(a)
        .members
        .handle_hello(&node("b"), b, &late, now);
    assert_eq!(changes, [], "a hello that comes after the goodbye");
    world.assert_agreement();
    world.start("b");
    world.run(2 * SECOND);
    world.assert_agreement();
}

#[test]
fn who_is_silent_is_gone_after_four_seconds() {
    let (mut world, [a, b, _]) = three();
    world.crash(b);
    world.run(SILENCE - SECOND - STEP);
    assert!(world.gateway(a).members.knows("b"));
    world.run(SECOND + 2 * STEP);
    assert!(world.has_left(a, "b", Farewell::Silent));
    world.assert_agreement();
}

#[test]
fn who_was_cut_off_looks_again_and_so_do_those_who_did_not_hear_it() {
    let (mut world, [a, b, c]) = three();
    world.gateway(b).is_cut = true;
    world.run(SILENCE + 2 * STEP);
    assert_eq!(world.gateway(b).members.trouble(), Some(Trouble::Away));
    assert_eq!(world.count(b, &Change::Lost), 1);
    assert!(
        world.gateway(b).members.knows("a"),
        "it cannot know that a has gone"
    );
    assert_eq!(world.gateway(a).members.trouble(), None);
    world.gateway(b).is_cut = false;
    world.run(3 * SECOND);
    world.assert_agreement();
    for gateway in [a, b, c] {
        assert_eq!(world.count(gateway, &Change::Missed), 1, "{gateway}");
    }
}

#[test]
fn a_connection_that_breaks_is_an_outage_at_once() {
    let (mut world, [a, b, _]) = three();
    world.gateway(b).is_cut = true;
    let now = world.now;
    let changes = world.gateway(b).members.handle_disconnect(now);
    assert_eq!(changes, [Change::Lost]);
    assert_eq!(world.gateway(b).members.trouble(), Some(Trouble::Away));
    world.gateway(b).is_cut = false;
    world.run(SECOND);
    world.assert_agreement();
    assert_eq!(world.count(b, &Change::Missed), 1);
    assert_eq!(
        world.count(a, &Change::Missed),
        1,
        "b could not pass on what it was told"
    );
}

#[test]
fn a_process_that_stood_still_looks_again() {
    let (mut world, [_, b, _]) = three();
    world.gateway(b).stands_still = true;
    world.run(SILENCE + SECOND);
    world.gateway(b).stands_still = false;
    world.run(2 * SECOND);
    world.assert_agreement();
    assert_eq!(world.count(b, &Change::Missed), 1);
}

#[test]
fn the_second_of_a_name_is_refused_until_the_first_has_gone() {
    let (mut world, [a, b, _]) = three();
    let second = world.start("b");
    world.run(3 * SECOND);
    let trouble = world.gateway(second).members.trouble();
    assert_eq!(trouble, Some(Trouble::NameTaken));
    assert_eq!(world.count(second, &Change::NameTaken), 1);
    assert_eq!(world.gateway(b).members.trouble(), None);
    assert!(
        !world.has_left(a, "b", Farewell::Silent),
        "nobody else notices"
    );
    world.leave(b);
    world.run(SILENCE + 2 * SECOND);
    world.assert_agreement();
}

#[test]
fn of_two_that_joined_apart_the_earlier_stays() {
    let (mut world, [first, ..]) = three();
    world.gateway(first).is_cut = true;
    let second = world.start("a");
    world.run(2 * SECOND);
    assert_eq!(world.gateway(second).members.trouble(), None);
    // Its connection was never lost: two servers of NATS did not see each other.
    world.gateway(first).is_cut = false;
    world.run(2 * SECOND);
    assert_eq!(world.gateway(first).members.trouble(), None);
    let trouble = world.gateway(second).members.trouble();
    assert_eq!(trouble, Some(Trouble::NameTaken));
}

#[test]
fn one_of_another_version_is_a_member_that_cannot_be_asked() {
    let (mut world, [a, ..]) = three();
    let now = world.now;
    let members = &mut world.gateway(a).members;
    let changes = members.handle_foreign(&node("d"), 9, now);
    assert!(matches!(&changes[..], [Change::Came(it)] if it.version.is_none()));
    assert!(members.knows("d"));
    assert_eq!(members.handle_foreign(&node("d"), 9, now), []);
    let changes = members.handle_foreign(&node("a"), 9, now);
    assert_eq!(changes, [Change::NameTaken]);
}

#[test]
fn there_are_not_more_members_than_may_be() {
    let (mut world, [a, ..]) = three();
    let now = world.now;
    let members = &mut world.gateway(a).members;
    let hello = Hello {
        number: 1,
        began: 1,
        sessions: 0,
        joining: false,
        version: String::new(),
        others: Vec::new(),
    };
    for number in 0..2000 {
        let name = node(&format!("x{number}"));
        members.handle_hello(&name, number, &hello, now);
    }
    assert_eq!(members.others().count(), 256);
}

/// What happens to the gateways.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Start(u8),
    Leave(u8),
    Crash(u8),
    Cut(u8),
    Mend(u8),
    StandStill(u8),
    GoOn(u8),
    Wait(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    let any = 0..4_u8;
    prop_oneof![
        any.clone().prop_map(Happening::Start),
        any.clone().prop_map(Happening::Leave),
        any.clone().prop_map(Happening::Crash),
        any.clone().prop_map(Happening::Cut),
        any.clone().prop_map(Happening::Mend),
        any.clone().prop_map(Happening::StandStill),
        any.prop_map(Happening::GoOn),
        (1..30_u8).prop_map(Happening::Wait),
    ]
}

impl World {
    fn happen(&mut self, what: Happening) {
        let name = |number: u8| ["a", "b", "c", "d"][usize::from(number)];
        let of = |it: &Self, number| {
            let mut all = it.gateways.iter();
            all.find(|it| it.name.as_str() == name(number))
                .map(|it| it.incarnation)
        };
        match what {
            Happening::Start(number) => {
                if of(self, number).is_none() {
                    self.start(name(number));
                }
            }
            Happening::Leave(number) => {
                if let Some(it) = of(self, number) {
                    self.leave(it);
                }
            }
            Happening::Crash(number) => {
                if let Some(it) = of(self, number) {
                    self.crash(it);
                }
            }
            Happening::Cut(number) => self.each(of(self, number), |it| it.is_cut = true),
            Happening::Mend(number) => self.each(of(self, number), |it| it.is_cut = false),
            Happening::StandStill(number) => {
                self.each(of(self, number), |it| it.stands_still = true);
            }
            Happening::GoOn(number) => self.each(of(self, number), |it| it.stands_still = false),
            Happening::Wait(steps) => self.run(STEP * steps.into()),
        }
    }

    fn each(&mut self, incarnation: Option<u64>, change: impl FnOnce(&mut Gateway)) {
        if let Some(incarnation) = incarnation {
            change(self.gateway(incarnation));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever has happened: when it is over, all know each other, and who could not be heard has looked again.
    #[test]
    fn in_the_end_all_agree(seed in any::<u64>(), happenings in prop::collection::vec(happening(), 1..40)) {
        let mut world = World::new(seed);
        world.is_bad = true;
        for what in happenings {
            world.happen(what);
        }
        let mut cut = Vec::new();
        for gateway in &mut world.gateways {
            if gateway.is_cut || gateway.stands_still {
                cut.push(gateway.incarnation);
            }
            gateway.changes.clear();
        }
        // For so long that everybody has noticed.
        world.run(SILENCE + 2 * SECOND);
        let was_member: Vec<u64> = cut
            .into_iter()
            .filter(|it| {
                let gateway = world.gateway(*it);
                gateway.stands_still && gateway.members.trouble().is_none()
                    || gateway.changes.contains(&Change::Lost)
            })
            .collect();
        world.is_bad = false;
        world.under_way.clear();
        for gateway in &mut world.gateways {
            (gateway.is_cut, gateway.stands_still) = (false, false);
        }
        world.run(2 * SILENCE + 2 * SECOND);
        world.assert_agreement();
        for gateway in was_member {
            prop_assert!(world.count(gateway, &Change::Missed) > 0, "{gateway}");
        }
    }

    /// What NATS holds up says nothing of who is there.
    #[test]
    fn nobody_has_gone_while_nats_hangs(seed in any::<u64>(), hangs in 1..60_u32, pauses in prop::collection::vec(0..8_u32, 2)) {
        let mut world = World::new(seed);
        let mut started = vec![world.start("a")];
        for (name, pause) in ["b", "c"].into_iter().zip(pauses) {
            world.run(STEP * pause);
            started.push(world.start(name));
        }
        world.run(3 * SECOND);
        for _ in 0..2 {
            world.hangs = true;
            world.run(STEP * hangs);
            world.hangs = false;
            world.run(2 * SECOND);
        }
        world.assert_agreement();
        for gateway in started {
            let gone = |it: &&Change| matches!(it, Change::Left(..));
            let gone = world.gateway(gateway).changes.iter().filter(gone).count();
            prop_assert_eq!(gone, 0);
        }
    }

    /// A question that names a hello is done within seconds, or never.
    #[test]
    fn old_questions_are_told_from_fresh_ones(pause in 0..40_u32) {
        let (mut world, [a, b, _]) = three();
        let heard = world.gateway(a).members.heard_of("b").unwrap();
        let age = STEP * pause;
        world.run(age);
        let now = world.now;
        let is_fresh = world.gateway(b).members.is_fresh(heard, now);
        // The hello may have been said half a second before the question, and have taken a moment.
        prop_assert!(is_fresh || age + SECOND / 2 + STEP / 5 > FRESH);
        prop_assert!(!is_fresh || age <= FRESH);
        prop_assert!(!world.gateway(b).members.is_fresh(heard + 1000, now), "of an earlier start");
    }

    /// A gateway that has said goodbye does not come again, whatever is late.
    #[test]
    fn goodbyes_hold(seed in any::<u64>()) {
        let (mut world, [a, b, _]) = three();
        world.random = fastrand::Rng::with_seed(seed);
        world.is_bad = true;
        world.run(2 * SECOND);
        world.gateway(a).changes.clear();
        world.leave(b);
        world.run(8 * SECOND);
        let changes = &world.gateway(a).changes;
        let left = changes.iter().position(|it| *it == Change::Left(node("b"), Farewell::Said));
        let came = changes.iter().rposition(|it| matches!(it, Change::Came(member) if member.node == node("b")));
        prop_assert!(left.is_none_or(|left| came.is_none_or(|came| came < left)), "{changes:?}");
        world.is_bad = false;
        world.run(SILENCE + 2 * SECOND);
        prop_assert!(!world.gateway(a).members.knows("b"));
    }
}
