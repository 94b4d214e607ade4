//! Users: the events say what can be seen, in any order of what sessions do, and nobody flaps.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::{
    availability::{
        stated::{Show, Stated},
        users::{Moment, Users},
    },
    clock::now,
    roster::testing::user,
};

const DELAY: Duration = Duration::from_secs(10);
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A time that a test moves.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
    seconds: u64,
}

impl Clock {
    fn new() -> Self {
        let (start, seconds) = (now(), 1_000);
        Self { start, seconds }
    }

    fn at(self) -> Moment {
        let passed = Duration::from_secs(self.seconds);
        Moment {
            now: self.start + passed,
            at: passed,
        }
    }
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Op {
    Available(usize, u64),
    Unavailable(usize, u64),
    Pass(u64),
    /// A batch is delivered.
    Deliver,
    /// The configuration is read again.
    Reconfigure(bool),
    /// Another receiver is told from now on, which has heard nothing before.
    Move,
}

fn op() -> impl Strategy<Value = Op> {
    let session = || (0..NAMES.len(), 0_u64..3);
    prop_oneof![
        4 => session().prop_map(|(user, number)| Op::Available(user, number)),
        4 => session().prop_map(|(user, number)| Op::Unavailable(user, number)),
        4 => (0_u64..12).prop_map(Op::Pass),
        3 => Just(Op::Deliver),
        1 => any::<bool>().prop_map(Op::Reconfigure),
        1 => Just(Op::Move),
    ]
}

/// Who counts as available.
fn seen(users: &Users) -> BTreeSet<Username> {
    users.list(None).map(|(user, _)| user.clone()).collect()
}

proptest! {
    #[test]
    fn whoever_hears_all_events_knows_who_is_available(ops in prop::collection::vec(op(), 1..100)) {
        let mut clock = Clock::new();
        let mut users = Users::new(DELAY);
        users.begin_events(clock.at());
        let mut receiver = Receiver::default();
        let mut sessions = BTreeSet::new();
        for op in ops {
            match op {
                Op::Available(who, number) => {
                    users.available(&user(NAMES[who]), number, Stated::default(), clock.at());
                    sessions.insert((who, number));
                }
                Op::Unavailable(who, number) => {
                    users.unavailable(&user(NAMES[who]), number, clock.at());
                    sessions.remove(&(who, number));
                }
                Op::Pass(seconds) => {
                    clock.seconds += seconds;
                    users.expire(clock.at().now);
                }
                Op::Deliver => {
                    if let Some(queue) = users.events() {
                        receiver.take(queue.batch());
                        queue.delivered(receiver.last);
                    }
                }
                Op::Reconfigure(true) => users.begin_events(clock.at()),
                Op::Reconfigure(false) => drop(users.end_events()),
                Op::Move => {
                    users.begin_again(clock.at());
                    // What was pending may be about people it does not know of.
                    receiver = Receiver {
                        must_ask: true,
                        ..Receiver::default()
                    };
                }
            }
            for (who, name) in NAMES.iter().enumerate() {
                let view = users.view(&user(name));
                let resources = sessions.iter().filter(|it| it.0 == who).count();
                prop_assert_eq!(view.resources, resources);
                prop_assert!(view.is_available || resources == 0);
                prop_assert_eq!(view.is_available, seen(&users).contains(&user(name)));
            }
        }
        users.begin_events(clock.at());
        receiver.take_all(users.events().unwrap());
        prop_assert_eq!(&receiver.online, &seen(&users));
        clock.seconds += DELAY.as_secs();
        users.expire(clock.at().now);
        receiver.take_all(users.events().unwrap());
        let there: BTreeSet<_> = sessions.iter().map(|(who, _)| user(NAMES[*who])).collect();
        prop_assert_eq!(receiver.online, there);
        prop_assert!(users.next_expiry().is_none());
    }
}

fn kinds(users: &mut Users) -> Vec<(Kind, u64)> {
    let events = users.events().unwrap().batch();
    events
        .map(|event| (event.kind.clone(), event.at.as_secs()))
        .collect()
}

fn stated(show: Option<Show>, priority: i8) -> Stated {
    Stated {
        show,
        priority,
        status: None,
    }
}

#[test]
fn a_page_that_is_loaded_again_is_no_event_and_one_that_stays_away_is() {
    let (mut clock, mut users, a) = (Clock::new(), Users::new(DELAY), user("a"));
    users.begin_events(clock.at());
    users.available(&a, 1, Stated::default(), clock.at());
    for number in 2..20 {
        clock.seconds += 60;
        users.unavailable(&a, number - 1, clock.at());
        clock.seconds += 9;
        assert!(users.view(&a).is_available);
        assert_eq!(users.view(&a).resources, 0);
        users.available(&a, number, Stated::default(), clock.at());
    }
    let online = (Kind::Online(a.clone()), 1_000);
    assert_eq!(kinds(&mut users), [(Kind::Reset, 1_000), online.clone()]);
    assert_eq!(users.view(&a).since, Some(Duration::from_secs(1_000)));

    users.unavailable(&a, 19, clock.at());
    let left = clock.seconds;
    clock.seconds += 10;
    users.expire(clock.at().now);
    let view = users.view(&a);
    assert!(!view.is_available);
    assert_eq!(view.last_seen, Some(Duration::from_secs(left)));
    users.events().unwrap().delivered(u64::MAX);
    assert_eq!(kinds(&mut users), [(Kind::Offline(a.clone()), left)]);
    users.available(&a, 20, Stated::default(), clock.at());
    users.events().unwrap().delivered(u64::MAX);
    assert_eq!(
        kinds(&mut users),
        [(Kind::Online(a.clone()), clock.seconds)]
    );
    assert_eq!(users.view(&a).last_seen, None);
}

#[test]
fn the_resource_that_speaks_for_the_user_is_shown() {
    let (mut clock, mut users, a) = (Clock::new(), Users::new(DELAY), user("a"));
    let mut say = |users: &mut Users, number, show, priority| {
        clock.seconds += 1;
        users.available(&a, number, stated(show, priority), clock.at());
        let view = users.view(&a);
        (view.show, view.changed.unwrap().as_secs() - 1_000)
    };
    let away = Some(Show::Away);
    assert_eq!(say(&mut users, 1, away, 0), (away, 1));
    assert_eq!(say(&mut users, 1, away, 0), (away, 1), "nothing new");
    assert_eq!(say(&mut users, 2, None, 0), (None, 3));
    assert_eq!(say(&mut users, 3, Some(Show::Dnd), 1), (Some(Show::Dnd), 4));
    users.set_asleep(&a, 3, true);
    assert_eq!((users.view(&a).resources, users.view(&a).asleep), (3, 1));
    users.set_asleep(&a, 3, false);
    assert_eq!(users.view(&a).asleep, 0);
    let moment = clock.at();
    users.unavailable(&a, 3, moment);
    assert_eq!(users.view(&a).show, None);
    users.unavailable(&a, 7, moment);
    users.unavailable(&user("nobody"), 1, moment);
    assert_eq!(users.view(&a).resources, 2);
}

#[test]
fn users_are_listed_by_name_from_one_on() {
    let (clock, mut users) = (Clock::new(), Users::new(DELAY));
    for name in ["c", "a", "b"] {
        users.available(&user(name), 1, Stated::default(), clock.at());
    }
    let names = |after: Option<&str>| -> Vec<String> {
        let after = after.map(user);
        let listed = users.list(after.as_ref());
        listed.map(|(user, _)| user.to_string()).collect()
    };
    assert_eq!(names(None), ["a", "b", "c"]);
    assert_eq!(names(Some("a")), ["b", "c"]);
    assert_eq!(names(Some("bb")), ["c"]);
}

#[test]
fn a_site_that_begins_to_listen_hears_who_is_available() {
    let (mut clock, mut users) = (Clock::new(), Users::new(DELAY));
    users.available(&user("a"), 1, Stated::default(), clock.at());
    assert!(users.events().is_none());
    clock.seconds += 5;
    users.begin_events(clock.at());
    let online = (Kind::Online(user("a")), 1_000);
    assert_eq!(kinds(&mut users), [(Kind::Reset, 1_005), online]);
    users.begin_events(clock.at());
    assert_eq!(users.events().unwrap().len(), 2, "it listens already");
    let last = users.events().unwrap().last();
    assert_eq!(users.end_events(), 2);
    users.begin_events(clock.at());
    let first = users.events().unwrap().batch().next().unwrap().id;
    assert!(first > last);
}

#[test]
fn another_receiver_hears_what_is_pending_and_then_who_is_available() {
    let (mut clock, mut users) = (Clock::new(), Users::new(DELAY));
    users.begin_events(clock.at());
    users.available(&user("a"), 1, Stated::default(), clock.at());
    users.events().unwrap().delivered(u64::MAX);
    kinds(&mut users);
    users.events().unwrap().delivered(u64::MAX);
    clock.seconds += 5;
    users.available(&user("b"), 2, Stated::default(), clock.at());
    clock.seconds += 5;
    users.begin_again(clock.at());
    let expected = [
        (Kind::Online(user("b")), 1_005),
        (Kind::Reset, 1_010),
        (Kind::Online(user("a")), 1_000),
        (Kind::Online(user("b")), 1_005),
    ];
    assert_eq!(kinds(&mut users), expected);

    // Of a gateway that ends, nobody is available any longer, whoever hears it.
    users.end(clock.at());
    users.begin_again(clock.at());
    users.events().unwrap().delivered(u64::MAX);
    let last = [(Kind::Reset, 1_010), (Kind::Reset, 1_010)];
    assert_eq!(kinds(&mut users), last);
}

#[test]
fn the_last_that_is_told_is_that_nobody_is_there() {
    let (mut clock, mut users) = (Clock::new(), Users::new(DELAY));
    users.begin_events(clock.at());
    users.available(&user("a"), 1, Stated::default(), clock.at());
    users.available(&user("b"), 2, Stated::default(), clock.at());
    users.unavailable(&user("a"), 1, clock.at());
    users.end(clock.at());
    users.unavailable(&user("b"), 2, clock.at());
    clock.seconds += 60;
    users.expire(clock.at().now);
    let told: Vec<_> = kinds(&mut users)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told.last(), Some(&Kind::Reset));
    assert!(users.is_empty());
}
