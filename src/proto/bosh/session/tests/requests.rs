//! Requests out of order, resent, given up and too many (XEP-0124 §14).

use super::{super::window::GAP, *};

#[test]
fn requests_out_of_order_are_put_in_order() {
    let mut harness = Harness::open("");
    let second = harness.say(102, 2);
    assert_eq!(
        harness.events(),
        [""; 0],
        "not forwarded before its predecessor"
    );
    harness.session.send(message(9));
    assert_eq!(harness.answers(), [], "not answered before its predecessor");
    let first = harness.say(101, 1);
    assert_eq!(harness.events(), ["1", "2"]);
    let answers = harness.answers();
    assert_eq!(answers[0].0, first);
    assert!(answers[0].1.contains("id='9'"));
    assert_eq!(answers.len(), 1);
    harness.session.send(message(10));
    assert_eq!(harness.answers()[0].0, second);
}

#[test]
fn a_request_ahead_of_a_gap_pushes_out_the_one_before_the_gap() {
    let mut harness = Harness::open("");
    let first = harness.poll(101);
    harness.say(103, 3);
    assert_eq!(harness.answers(), [(first, EMPTY.into())]);
    harness.say(102, 2);
    assert_eq!(harness.events(), ["2", "3"]);
}

#[test]
fn a_rid_outside_the_window_ends_the_session() {
    let mut harness = Harness::open("");
    let held = harness.poll(101);
    let bad = harness.poll(104);
    assert_eq!(harness.events(), ["Ended(Violation(ItemNotFound))"]);
    assert_eq!(
        harness.answers(),
        [
            (bad, ended(" type='terminate' condition='item-not-found'")),
            (held, ended(" type='terminate' condition='other-request'")),
        ]
    );
}

#[test]
fn a_resent_request_gets_the_same_bytes_and_is_not_forwarded_again() {
    let mut harness = Harness::open("");
    harness.say(101, 1);
    harness.session.send(message(5));
    let original = harness.answers().remove(0).1;
    assert_eq!(harness.events(), ["1"]);
    harness.session.send(message(6));
    let again = harness.say(101, 1);
    assert_eq!(harness.events(), [""; 0]);
    assert_eq!(
        harness.answers(),
        [(again, original)],
        "and nothing new rides along"
    );
}

#[test]
fn a_resent_held_request_replaces_the_older_exchange() {
    let mut harness = Harness::open("");
    let older = harness.poll(101);
    assert_eq!(harness.answers(), []);
    let newer = harness.poll(101);
    assert_eq!(harness.answers(), [(older, ended(" type='error'"))]);
    harness.session.send(message(1));
    assert_eq!(harness.answers()[0].0, newer);
}

#[test]
fn a_rid_that_was_forgotten_ends_the_session_unless_another_request_is_open() {
    let mut harness = Harness::open("");
    for rid in 101..=104 {
        harness.poll(rid);
        harness.session.send(message(1));
        harness.answers();
    }
    harness.poll(105);
    let stale = harness.poll(101);
    let refusal = ended(" type='terminate' condition='item-not-found'");
    assert_eq!(harness.answers(), [(stale, refusal.clone())]);
    assert!(harness.session.is_open());
    harness.session.send(message(1));
    harness.answers();
    let stale = harness.poll(101);
    assert_eq!(harness.answers(), [(stale, refusal)]);
    assert!(!harness.session.is_open());
}

#[test]
fn a_flood_of_duplicates_ends_the_session() {
    let mut harness = Harness::open("");
    for _ in 0..=10 {
        harness.poll(101);
    }
    assert!(harness.session.is_open());
    harness.poll(101);
    assert_eq!(harness.events(), ["Ended(Violation(PolicyViolation))"]);
}

#[test]
fn resends_of_two_rids_by_turns_are_a_flood_too() {
    let mut harness = Harness::open("");
    harness.say(101, 1);
    harness.say(102, 2);
    harness.session.send(message(1));
    harness.answers();
    harness.session.send(message(2));
    harness.say(103, 3);
    harness.answers();
    harness.events();
    for _ in 0..10 {
        harness.say(101, 1);
        harness.say(102, 2);
    }
    assert!(harness.session.is_open());
    harness.say(102, 2);
    assert!(!harness.session.is_open());
}

/// As over a network that loses every answer once.
#[test]
fn each_request_may_be_sent_again() {
    let mut harness = Harness::open("");
    for rid in 101..140 {
        for _ in 0..2 {
            harness.session.send(message(1));
            harness.say(rid, 1);
            harness.answers();
        }
    }
    assert!(harness.session.is_open());
}

#[test]
fn pending_stanzas_wait_for_the_next_request_when_the_client_gave_up() {
    let mut harness = Harness::open("");
    let aborted = harness.poll(101);
    assert_eq!(harness.answers(), []);
    harness.session.handle_disconnect(aborted, harness.now);
    harness.session.send(message(1));
    assert_eq!(harness.answers(), []);
    let next = harness.poll(102);
    let answers = harness.answers();
    assert_eq!(answers[0].0, next);
    assert!(answers[0].1.contains("id='1'"));
    let again = harness.poll(101);
    assert_eq!(
        harness.answers(),
        [(again, EMPTY.into())],
        "the given-up one counts as answered"
    );
}

#[test]
fn a_reloaded_page_may_use_the_rid_of_the_aborted_poll_for_something_new() {
    let mut harness = Harness::open("");
    let aborted = harness.poll(101);
    assert_eq!(harness.answers(), []);
    harness.session.handle_disconnect(aborted, harness.now);
    harness.say(101, 3);
    assert_eq!(harness.events(), ["3"]);
    assert!(harness.session.is_open());
}

#[test]
fn a_rid_lost_in_a_reload_is_skipped_after_a_while() {
    let mut harness = Harness::open("");
    let aborted = harness.poll(101);
    assert_eq!(harness.answers(), []);
    harness.session.handle_disconnect(aborted, harness.now);
    let next = harness.say(103, 3);
    assert_eq!(harness.events(), [""; 0]);
    harness.wait(GAP);
    assert_eq!(harness.events(), ["3"]);
    harness.session.send(message(1));
    assert_eq!(harness.answers()[0].0, next);
}
