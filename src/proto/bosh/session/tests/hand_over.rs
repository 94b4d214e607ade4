//! A session that one client begins and another goes on with (prebind).

use super::{super::window::FIRST_GAP, *};

/// A session whose next rid is 102.
fn handed_over() -> Harness {
    let mut harness = Harness::open("");
    harness.say(101, 1);
    harness.session.send(message(5));
    assert_eq!(harness.events(), ["1"]);
    assert_eq!(harness.answers().len(), 1);
    harness.session.hand_over();
    harness
}

#[test]
fn the_next_rid_is_taken_and_the_one_after_it_as_well() {
    let mut harness = handed_over();
    harness.say(102, 2);
    assert_eq!(harness.events(), ["2"]);

    let mut harness = handed_over();
    harness.say(103, 3);
    assert_eq!(
        harness.events(),
        [""; 0],
        "the one before may be on its way"
    );
    harness.wait(FIRST_GAP);
    assert_eq!(harness.events(), ["3"]);
    harness.say(104, 4);
    assert_eq!(harness.events(), ["4"]);
}

#[test]
fn a_first_request_that_is_overtaken_counts_all_the_same() {
    let mut harness = handed_over();
    harness.say(103, 3);
    harness.say(102, 2);
    assert_eq!(harness.events(), ["2", "3"], "in order, if it is not late");

    let mut harness = handed_over();
    harness.say(103, 3);
    harness.wait(FIRST_GAP);
    let late = harness.say(102, 2);
    assert_eq!(harness.events(), ["3", "2"]);
    let answers = harness.answers();
    assert!(answers.contains(&(late, EMPTY.into())), "{answers:?}");
}

#[test]
fn later_gaps_are_waited_for_as_always() {
    let mut harness = handed_over();
    harness.say(102, 2);
    harness.say(104, 4);
    harness.wait(FIRST_GAP);
    assert_eq!(harness.events(), ["2"]);
    harness.say(103, 3);
    assert_eq!(harness.events(), ["3", "4"]);
}

#[test]
fn an_abandoned_session_is_forgotten_at_once() {
    for is_over in [false, true] {
        let mut harness = handed_over();
        if is_over {
            harness.session.end(None, harness.now);
            assert!(!harness.session.is_gone());
        }
        harness.session.abandon();
        assert!(harness.session.is_gone());
        assert_eq!(harness.events(), ["Ended(Closed)"]);
    }
}
