//! Several gateways that tell one site, in any order of what sessions, time, questions and deliveries do.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use crate::{
    availability::{
        queue::{Event, Kind},
        stated::Stated,
        users::{Doubts, Moment, Told, Users},
    },
    clock::now,
    roster::{Username, testing::user},
};

const DELAY: Duration = Duration::from_secs(10);
const GATEWAYS: usize = 3;
const NAMES: [&str; 2] = ["a", "b"];

/// What a gateway does about its events, one thing at a time.
#[derive(Debug)]
enum Work {
    Idle,
    /// It asks those that are left, before the batch is told.
    Asks(Doubts, HashSet<Username>, VecDeque<usize>),
    /// The batch is on its way.
    Posts(Vec<Event>),
    /// The site has it; the answer is on its way.
    Posted(u64),
    /// It asks those that are left, after the batch was told.
    Checks(Vec<Told>, Doubts, HashSet<Username>, VecDeque<usize>),
}

struct Gateway {
    users: Users,
    work: Work,
}

/// A site that does what the documentation asks of it.
#[derive(Default)]
struct Site {
    last: [u64; GATEWAYS],
    online: BTreeSet<Username>,
    /// What it was told, since it was last forgotten.
    story: Vec<String>,
    must_ask: bool,
}

struct World {
    gateways: Vec<Gateway>,
    site: Site,
    start: Instant,
    seconds: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            gateways: Vec::new(),
            site: Site::default(),
            start: now(),
            seconds: 1_000,
        };
        for _ in 0..GATEWAYS {
            let mut users = Users::new(DELAY);
            users.share();
            users.begin_events(world.moment());
            world.gateways.push(Gateway {
                users,
                work: Work::Idle,
            });
        }
        world.settle();
        world.site.story.clear();
        world
    }

    fn moment(&self) -> Moment {
        let passed = Duration::from_secs(self.seconds);
        Moment {
            now: self.start + passed,
            at: passed,
        }
    }

    fn online(&mut self, gateway: usize, who: usize, number: u64) {
        let moment = self.moment();
        let users = &mut self.gateways[gateway].users;
        users.available(&user(NAMES[who]), number, Stated::default(), moment);
    }

    fn offline(&mut self, gateway: usize, who: usize, number: u64) {
        let moment = self.moment();
        let users = &mut self.gateways[gateway].users;
        users.unavailable(&user(NAMES[who]), number, moment);
    }

    fn pass(&mut self, seconds: u64) {
        self.seconds += seconds;
        let now = self.moment().now;
        self.gateways.iter_mut().for_each(|it| it.users.expire(now));
    }

    fn others(of: usize) -> VecDeque<usize> {
        (0..GATEWAYS).filter(|it| *it != of).collect()
    }

    /// A gateway does one thing; whether there was anything to do.
    fn step(&mut self, gateway: usize) -> bool {
        let moment = self.moment();
        let work = std::mem::replace(&mut self.gateways[gateway].work, Work::Idle);
        let next = match work {
            Work::Idle => {
                let users = &mut self.gateways[gateway].users;
                match users.doubts() {
                    Some(doubts) => Work::Asks(doubts, HashSet::new(), Self::others(gateway)),
                    None => {
                        let queue = users.events().expect("events are told");
                        let batch: Vec<_> = queue.batch().cloned().collect();
                        if batch.is_empty() {
                            return false;
                        }
                        Work::Posts(batch)
                    }
                }
            }
            Work::Asks(doubts, mut had, mut left) => match left.pop_front() {
                Some(other) => {
                    had.extend(self.gateways[other].users.has(&doubts));
                    Work::Asks(doubts, had, left)
                }
                None => {
                    self.gateways[gateway].users.decide(&had);
                    Work::Idle
                }
            },
            Work::Posts(batch) => {
                let truth = self.truth();
                self.site.take(gateway, &batch, &truth);
                Work::Posted(batch.last().expect("not empty").id)
            }
            Work::Posted(last) => {
                let users = &mut self.gateways[gateway].users;
                let told = users.delivered(last);
                let doubts = users.doubts_of(told.iter());
                Work::Checks(told, doubts, HashSet::new(), Self::others(gateway))
            }
            Work::Checks(told, doubts, mut had, mut left) => match left.pop_front() {
                Some(other) => {
                    had.extend(self.gateways[other].users.has(&doubts));
                    Work::Checks(told, doubts, had, left)
                }
                None => {
                    self.gateways[gateway].users.correct(&told, &had, moment);
                    Work::Idle
                }
            },
        };
        self.gateways[gateway].work = next;
        true
    }

    /// The gateway has something on its way that the site does not have yet.
    fn step_until_posting(&mut self, gateway: usize) {
        while !matches!(self.gateways[gateway].work, Work::Posts(_)) {
            assert!(self.step(gateway), "there is something to tell");
        }
    }

    /// All is told that there is to tell.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut has_work = false;
            for gateway in 0..GATEWAYS {
                has_work |= self.step(gateway);
            }
            if !has_work {
                return;
            }
        }
        panic!("they never come to an end");
    }

    /// Who is available anywhere.
    fn truth(&self) -> BTreeSet<Username> {
        let users = self.gateways.iter().flat_map(|it| it.users.list(None));
        users.map(|(user, _)| user.clone()).collect()
    }
}

impl Site {
    fn take(&mut self, gateway: usize, batch: &[Event], truth: &BTreeSet<Username>) {
        for event in batch {
            if event.id <= self.last[gateway] {
                continue;
            }
            self.last[gateway] = event.id;
            match &event.kind {
                Kind::Online(user) => {
                    self.story.push(format!("online {user}"));
                    self.online.insert(user.clone());
                }
                Kind::Offline(user) => {
                    self.story.push(format!("offline {user}"));
                    self.online.remove(user);
                }
                Kind::Gap { .. } => {
                    self.story.push("gap".to_owned());
                    self.must_ask = true;
                }
                Kind::Reset => panic!("nobody is to forget the users of other gateways"),
            }
        }
        if std::mem::take(&mut self.must_ask) {
            self.online.clone_from(truth);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Online(usize, usize, u64),
    Offline(usize, usize, u64),
    Pass(u64),
    Step(usize),
    /// A gateway is started again, after it was killed; the others have seen that it was gone.
    Killed(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let session = || (0..GATEWAYS, 0..NAMES.len(), 0_u64..2);
    prop_oneof![
        8 => session().prop_map(|(gateway, who, number)| Op::Online(gateway, who, number)),
        8 => session().prop_map(|(gateway, who, number)| Op::Offline(gateway, who, number)),
        6 => (0_u64..12).prop_map(Op::Pass),
        40 => (0..GATEWAYS).prop_map(Op::Step),
        1 => (0..GATEWAYS).prop_map(Op::Killed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_site_that_hears_all_of_them_knows_in_the_end_who_is_available(
        ops in prop::collection::vec(op(), 1..200)
    ) {
        let mut world = World::new();
        for op in ops {
            match op {
                Op::Online(gateway, who, number) => world.online(gateway, who, number),
                Op::Offline(gateway, who, number) => world.offline(gateway, who, number),
                Op::Pass(seconds) => world.pass(seconds),
                Op::Step(gateway) => drop(world.step(gateway)),
                Op::Killed(gateway) => {
                    // A start takes longer than an id.
                    world.pass(1);
                    let moment = world.moment();
                    let mut users = Users::new(DELAY);
                    users.share();
                    users.begin_events(moment);
                    let started = Gateway { users, work: Work::Idle };
                    world.gateways[gateway] = started;
                    for other in World::others(gateway) {
                        world.gateways[other].users.miss(moment);
                    }
                }
            }
        }
        world.settle();
        prop_assert_eq!(&world.site.online, &world.truth());
        world.pass(DELAY.as_secs());
        world.settle();
        prop_assert_eq!(&world.site.online, &world.truth());
    }
}

#[test]
fn a_user_at_two_gateways_comes_once_and_goes_once() {
    let mut world = World::new();
    world.online(0, 0, 1);
    world.settle();
    world.online(1, 0, 1);
    world.settle();
    world.offline(0, 0, 1);
    world.pass(60);
    world.settle();
    assert_eq!(world.site.story, ["online a"]);
    world.online(2, 0, 1);
    world.settle();
    world.offline(1, 0, 1);
    world.offline(2, 0, 1);
    world.pass(9);
    world.settle();
    assert_eq!(world.site.story, ["online a"]);
    // Both at the same time: rather twice than never.
    world.pass(60);
    world.settle();
    world.site.story.dedup();
    assert_eq!(world.site.story, ["online a", "offline a"]);
}

#[test]
fn who_is_back_before_the_site_has_heard_anything_has_not_gone() {
    let mut world = World::new();
    world.online(0, 0, 1);
    world.settle();
    world.offline(0, 0, 1);
    world.pass(60);
    world.online(0, 0, 2);
    world.settle();
    world.site.story.dedup();
    assert_eq!(world.site.story, ["online a"]);
}

#[test]
fn events_that_overtake_each_other_are_put_right() {
    let mut world = World::new();
    world.online(1, 0, 1);
    world.settle();
    world.offline(1, 0, 1);
    world.pass(60);
    world.step_until_posting(1);
    // On its way, that is overtaken by another one.
    world.online(0, 0, 1);
    while world.step(0) {}
    world.step(1);
    assert!(world.site.online.is_empty(), "not true");
    world.step_until_posting(1);
    // So is what is to put it right.
    world.offline(0, 0, 1);
    world.pass(60);
    while world.step(0) {}
    world.step(1);
    assert!(!world.site.online.is_empty(), "not true");
    world.settle();
    assert!(world.site.online.is_empty());
    let story = [
        "online a",
        "online a",
        "offline a",
        "offline a",
        "online a",
        "offline a",
    ];
    assert_eq!(world.site.story, story);
}

#[test]
fn who_comes_to_two_gateways_at_the_same_time_is_told_of() {
    let mut world = World::new();
    world.online(0, 0, 1);
    world.online(1, 0, 1);
    world.settle();
    world.site.story.dedup();
    assert_eq!(world.site.story, ["online a"]);
}

#[test]
fn one_that_ends_has_nobody_and_says_that_the_site_has_to_ask() {
    let mut world = World::new();
    world.online(0, 0, 1);
    world.settle();
    let moment = world.moment();
    world.gateways[0].users.end(moment);
    assert!(world.gateways[0].users.is_empty());
    world.settle();
    assert_eq!(world.site.story, ["online a", "gap"]);
    assert!(world.site.online.is_empty());
}
