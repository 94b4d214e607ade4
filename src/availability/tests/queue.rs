//! The queue: nothing is lost but what a gap accounts for, in order, and no more is kept than there is room for.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::roster::testing::user;

const START: Duration = Duration::from_secs(1_000);
const FIRST: u64 = 1_000_000_000;

fn push(queue: &mut Queue, number: u64) {
    queue.push(START, Kind::Online(user(&format!("u{number}"))));
}

fn ids(queue: &mut Queue) -> Vec<u64> {
    queue.batch().map(|event| event.id).collect()
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Op {
    Push,
    /// A batch arrives, and the receiver's answer does.
    Deliver,
    /// A batch arrives; its answer does not.
    Half,
    /// A batch does not arrive.
    Fail,
    /// A batch does not arrive, as it is too long.
    TooMuch,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => Just(Op::Push),
        2 => Just(Op::Deliver),
        1 => Just(Op::Half),
        1 => Just(Op::Fail),
        1 => Just(Op::TooMuch),
    ]
}

proptest! {
    #[test]
    fn each_event_is_heard_or_accounted_for_in_order(
        ops in prop::collection::vec(op(), 1..200),
        room in 300_usize..3_000,
    ) {
        let mut queue = Queue::with_room(START, 0, room);
        let mut receiver = Receiver {
            last: FIRST - 1,
            ..Receiver::default()
        };
        let (mut pushed, mut flying) = (0, 0);
        for op in ops {
            match op {
                Op::Push => {
                    pushed += 1;
                    push(&mut queue, pushed);
                    let waiting = queue.len();
                    let kept: usize = waiting * Event { id: 0, at: START, kind: Kind::Reset, is_certain: false }.size();
                    prop_assert!(kept <= room || waiting <= flying + 1, "{kept} of {room}");
                }
                Op::Deliver => {
                    receiver.take(queue.batch());
                    if let Some(last) = ids(&mut queue).last() {
                        queue.delivered(*last);
                    }
                    flying = 0;
                }
                Op::Half => {
                    flying = queue.batch().len();
                    receiver.take(queue.batch());
                }
                Op::Fail => flying = queue.batch().len(),
                Op::TooMuch => {
                    flying = queue.batch().len();
                    queue.too_much();
                }
            }
        }
        receiver.take_all(&mut queue);
        prop_assert_eq!(receiver.accounted, pushed);
        prop_assert_eq!(receiver.last, FIRST + pushed - 1);
        prop_assert!(queue.lost() > 0 || !receiver.must_ask);
        prop_assert!(queue.is_empty());
    }
}

#[test]
fn ids_begin_with_the_time_and_go_on_from_there() {
    let mut queue = Queue::new(START, 0);
    (1..=3).for_each(|number| push(&mut queue, number));
    assert_eq!(ids(&mut queue), [FIRST, FIRST + 1, FIRST + 2]);
    let mut next = Queue::new(START, queue.last());
    push(&mut next, 1);
    assert_eq!(ids(&mut next), [FIRST + 3], "though no time has passed");
}

#[test]
fn a_batch_stays_the_same_until_it_is_delivered() {
    let mut queue = Queue::new(START, 0);
    push(&mut queue, 1);
    assert_eq!(ids(&mut queue), [FIRST]);
    push(&mut queue, 2);
    assert_eq!(ids(&mut queue), [FIRST]);
    assert_eq!(queue.delivered(FIRST), 1);
    assert_eq!(ids(&mut queue), [FIRST + 1]);
    assert_eq!(queue.delivered(FIRST), 0, "that was another one");
    assert_eq!(queue.len(), 1);
}

#[test]
fn a_batch_is_bounded_in_number_and_in_size() {
    let mut queue = Queue::new(START, 0);
    (0..1000).for_each(|number| push(&mut queue, number));
    assert_eq!(queue.batch().len(), 500);
    let mut queue = Queue::new(START, 0);
    for number in 0..1000 {
        let name = format!("{number:0>1023}");
        queue.push(START, Kind::Offline(user(&name)));
    }
    assert_eq!(queue.batch().len(), (64 << 10) / (1023 + 96));
}

#[test]
fn a_batch_that_is_too_much_is_halved_down_to_one_and_grows_again() {
    let mut queue = Queue::new(START, 0);
    (0..1000).for_each(|number| push(&mut queue, number));
    let mut sizes = Vec::new();
    for _ in 0..10 {
        sizes.push(queue.batch().len());
        queue.too_much();
    }
    assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1, 1]);
    queue.delivered(FIRST);
    assert_eq!(ids(&mut queue), [FIRST + 1, FIRST + 2]);
}

#[test]
fn the_oldest_go_first_but_not_those_in_flight() {
    let mut queue = Queue::with_room(START, 0, 5 * 98);
    push(&mut queue, 1);
    assert_eq!(ids(&mut queue), [FIRST]);
    (2..=9).for_each(|number| push(&mut queue, number));
    assert_eq!(queue.delivered(FIRST), 1);
    let left: Vec<_> = queue.batch().cloned().collect();
    assert_eq!(left[0].kind, Kind::Gap { lost: 5 });
    let ids: Vec<_> = left.iter().map(|event| event.id - FIRST + 1).collect();
    assert_eq!(ids, [6, 7, 8, 9], "the gap has the id of the last one lost");
    assert_eq!(queue.lost(), 5);
}
