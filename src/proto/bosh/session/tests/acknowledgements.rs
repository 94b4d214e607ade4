//! What a client has, by its own word or by its next requests (XEP-0124 §9).

use super::*;

#[test]
fn a_client_that_acknowledges_hears_what_has_arrived() {
    let mut harness = Harness::open("ack='1'");
    let first = harness.poll(101);
    assert_eq!(harness.answers(), []);
    harness.say(102, 1);
    assert_eq!(harness.answers(), [(first, ended(" ack='102'"))]);
}

#[test]
fn a_client_has_what_was_answered_two_requests_ago() {
    let mut harness = Harness::open("");
    harness.session.send(message(1));
    harness.poll(101);
    harness.answers();
    harness.poll(102);
    let given = harness.session.given();
    assert_eq!(
        harness.session.confirmed(),
        given - 1,
        "it may be on its way"
    );
    harness.poll(103);
    assert_eq!(harness.session.confirmed(), harness.session.given());
}

#[test]
fn a_client_that_acknowledges_has_what_it_says() {
    let mut harness = Harness::open(" ack='1'");
    for rid in 101..103 {
        harness.session.send(message(1));
        harness.request(rid, &format!("ack='{}'", rid - 1), "");
        harness.answers();
    }
    let given = harness.session.given();
    harness.request(103, "ack='101'", "");
    assert_eq!(harness.session.confirmed(), given - 1);
    harness.poll(104);
    assert_eq!(
        harness.session.confirmed(),
        given,
        "all, if it does not say"
    );
}

#[test]
fn a_client_can_be_made_to_confirm() {
    let mut harness = Harness::open("");
    harness.session.send(message(1));
    harness.poll(101);
    harness.answers();
    harness.poll(102);
    assert!(harness.answers().is_empty(), "held");
    harness.session.ask_for_confirmation();
    assert_eq!(harness.answers().len(), 1, "to come again");
    harness.poll(103);
    assert_eq!(harness.session.confirmed(), harness.session.given());
}

#[test]
fn a_client_that_acknowledges_is_told_of_the_answer_it_lacks() {
    let mut harness = Harness::open("ack='1'");
    harness.session.send(message(1));
    harness.request(101, "ack='100'", "");
    harness.answers();
    harness.wait(SECOND);
    harness.request(102, "ack='100'", "");
    assert!(harness.answers().is_empty(), "it may be on its way");
    harness.wait(SECOND);
    harness.request(103, "ack='100'", "");
    let answers = harness.answers();
    assert!(
        answers[0].1.contains(" report='101' time='2000'"),
        "{answers:?}"
    );
    harness.wait(SECOND);
    harness.request(104, "ack='100'", "");
    let answers = harness.answers();
    assert!(!answers[0].1.contains("report"), "once: {answers:?}");
    harness.request(101, "ack='100'", "");
    assert!(
        harness.answers()[0].1.contains("id='1'"),
        "it is still there"
    );
}

#[test]
fn answers_are_kept_until_they_are_acknowledged() {
    let mut harness = Harness::open("ack='1'");
    for rid in 101..106 {
        harness.session.send(message(1));
        harness.request(rid, "ack='100'", "");
        harness.answers();
    }
    harness.request(101, "ack='100'", "");
    assert!(harness.answers()[0].1.contains("<message"));
    harness.request(106, "ack='104'", "");
    harness.request(104, "ack='104'", "");
    let answers = harness.answers();
    assert!(
        answers[0].1.contains("item-not-found"),
        "it said that it has it: {answers:?}"
    );
}
