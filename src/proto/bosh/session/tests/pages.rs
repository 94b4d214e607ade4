//! Pages that browsers keep, asleep or not, while others use their session.

use super::*;

impl Harness {
    fn poll_of(&mut self, page: &str, rid: u64) -> Slot {
        self.request_of(Some(page), rid, "", "")
    }

    fn say_of(&mut self, page: &str, rid: u64, id: u32) -> Slot {
        let payload = format!("<message xmlns='jabber:client' id='{id}'/>");
        self.request_of(Some(page), rid, "", &payload)
    }

    /// Sends this to the client; gives the answers that carry something, as the ids in each.
    fn push(&mut self, ids: &[u32]) -> Vec<(Slot, Vec<u32>)> {
        for id in ids {
            self.session.send(message(*id));
        }
        self.carried()
    }

    fn carried(&mut self) -> Vec<(Slot, Vec<u32>)> {
        let answers = self.answers().into_iter();
        let answers = answers.map(|(slot, answer)| (slot, model::numbers(&answer)));
        answers.filter(|(_, ids)| !ids.is_empty()).collect()
    }

    /// How many stanzas the client is known to have, besides the features.
    fn confirmed(&self) -> u64 {
        self.session.confirmed().saturating_sub(1)
    }
}

#[test]
fn the_next_page_is_sent_what_a_sleeping_page_was_sent() {
    let mut harness = Harness::open("");
    let asleep = harness.poll_of("a", 101);
    assert_eq!(harness.push(&[1, 2]), [(asleep, vec![1, 2])]);
    assert_eq!(harness.push(&[3]), []);
    let awake = harness.poll_of("b", 102);
    assert_eq!(harness.carried(), [(awake, vec![1, 2, 3])], "in order");
    harness.poll_of("b", 103);
    assert_eq!(harness.confirmed(), 0);
    harness.say_of("b", 104, 9);
    assert_eq!(harness.confirmed(), 3, "by the page that has them");
}

#[test]
fn the_next_page_is_not_sent_what_a_page_had_when_it_asked_again() {
    let mut harness = Harness::open("");
    let first = harness.poll_of("a", 101);
    assert_eq!(harness.push(&[1]), [(first, vec![1])]);
    let second = harness.poll_of("a", 102);
    assert_eq!(harness.push(&[2]), [(second, vec![2])]);
    let next = harness.poll_of("b", 103);
    assert_eq!(harness.carried(), [(next, vec![2])]);
}

#[test]
fn two_answers_may_be_lost_where_two_requests_were_on_their_way() {
    let mut harness = Harness::open("");
    let first = harness.poll_of("a", 101);
    assert_eq!(harness.push(&[1]), [(first, vec![1])]);
    // It may have been sent before that answer came.
    let second = harness.say_of("a", 102, 7);
    assert_eq!(harness.push(&[2]), [(second, vec![2])]);
    let next = harness.poll_of("b", 103);
    assert_eq!(harness.carried(), [(next, vec![1, 2])]);
    harness.poll_of("b", 104);
    assert_eq!(harness.confirmed(), 0);
}

#[test]
fn one_page_is_sent_nothing_twice_nor_are_pages_that_do_not_say_who_they_are() {
    for pages in [["a", "a"], ["", "a"], ["a", ""], ["", ""]] {
        let [first, second] = pages.map(|name| Some(name).filter(|name| !name.is_empty()));
        let mut harness = Harness::open("");
        let slot = harness.request_of(first, 101, "", "");
        assert_eq!(harness.push(&[1]), [(slot, vec![1])]);
        let slot = harness.request_of(second, 102, "", "");
        assert_eq!(harness.push(&[2]), [(slot, vec![2])], "{pages:?}");
    }
}

#[test]
fn a_new_page_gets_what_it_causes_however_short_the_old_one_has_waited() {
    let mut harness = Harness::open("");
    let old = harness.poll_of("a", 101);
    let new = harness.say_of("b", 102, 7);
    assert_eq!(harness.push(&[1]), [(new, vec![1])]);
    assert_eq!(harness.answers(), []);
    assert!(old != new && harness.session.is_open());
}

#[test]
fn a_page_that_wakes_up_takes_over_and_what_it_says_is_forwarded() {
    for pages in [[Some("a"), Some("b")], [None, None]] {
        let [a, b] = pages;
        let mut harness = Harness::open("");
        harness.request_of(a, 101, "", "");
        harness.request_of(b, 102, "", "");
        harness.answers();
        // It knows nothing of the other page's request, which is held.
        let payload = "<message xmlns='jabber:client' id='7'/>";
        let awake = harness.request_of(a, 102, "", payload);
        assert_eq!(harness.events(), ["7"], "{pages:?}");
        harness.request_of(a, 102, "", payload);
        assert_eq!(harness.events(), [""; 0], "a resend");
        assert_ne!(harness.push(&[1]), [(awake, vec![1])], "to the resend");
        harness.request_of(a, 103, "", "");
        assert!(harness.session.is_open());
    }
}

#[test]
fn a_page_that_wakes_up_late_is_sent_only_what_the_other_page_has_missed() {
    let mut harness = Harness::open("");
    harness.poll_of("a", 101);
    let asleep = harness.poll_of("b", 102);
    assert_eq!(harness.push(&[1]), [(asleep, vec![1])]);
    harness.say_of("a", 102, 7);
    assert_eq!(harness.events(), ["7"]);
    assert_eq!(harness.carried(), []);
    let awake = harness.poll_of("a", 103);
    assert_eq!(harness.carried(), [(awake, vec![1])], "once");
    assert_eq!(harness.confirmed(), 0);
}

#[test]
fn with_acknowledgements_the_next_page_is_sent_what_was_not_acknowledged() {
    let mut harness = Harness::open("ack='1'");
    let first = harness.poll_of("a", 101);
    assert_eq!(harness.push(&[1]), [(first, vec![1])]);
    let second = harness.poll_of("a", 102);
    assert_eq!(harness.push(&[2]), [(second, vec![2])]);
    let next = harness.poll_of("b", 103);
    assert_eq!(harness.carried(), [(next, vec![2])]);
    assert_eq!(
        harness.confirmed(),
        1,
        "what was taken back is not confirmed"
    );
}

#[test]
fn with_keys_nobody_takes_over_without_the_next_one() {
    let [first, second, ..] = keys::keys();
    let mut harness = Harness::open(&format!("newkey='{first}'"));
    let slot = harness.request_of(Some("a"), 101, &format!("key='{second}'"), "");
    assert_eq!(harness.push(&[1]), [(slot, vec![1])]);
    harness.poll_of("b", 102);
    assert_eq!(harness.carried(), []);
    assert!(!harness.session.is_open());
}

#[test]
fn a_page_catches_up_by_requests_that_are_forgotten() {
    let mut harness = Harness::open("");
    harness.poll_of("a", 101);
    for rid in 102..150 {
        harness.say_of("b", rid, 1);
        harness.answers();
    }
    harness.events();
    let asleep = harness.say_of("b", 150, 1);
    harness.answers();
    harness.events();
    assert_eq!(harness.push(&[1]), [(asleep, vec![1])]);
    for rid in 102..151 {
        let said = u32::try_from(rid).unwrap();
        let slot = harness.say_of("a", rid, said);
        let again = harness.say_of("a", rid, said);
        assert_eq!(harness.events(), [rid.to_string()], "once");
        let answers = [slot, again].map(|slot| (slot, EMPTY.to_owned()));
        assert_eq!(harness.answers(), answers);
        harness.wait(SECOND);
    }
    let awake = harness.poll_of("a", 151);
    assert_eq!(harness.carried(), [(awake, vec![1])]);
}

#[test]
fn a_page_that_is_too_far_behind_has_to_log_in_again_and_disturbs_nobody() {
    let mut harness = Harness::open("");
    harness.poll_of("a", 101);
    for rid in 102..=204 {
        harness.say_of("b", rid, 1);
        harness.answers();
    }
    let last = harness.say_of("b", 205, 1);
    harness.answers();
    assert_eq!(harness.push(&[1]), [(last, vec![1])]);
    // No request is open.
    let late = harness.poll_of("a", 102);
    let refused = ended(" type='terminate' condition='item-not-found'");
    assert_eq!(harness.answers(), [(late, refused)]);
    assert!(harness.session.is_open());
}

#[test]
fn no_page_catches_up_in_a_session_with_keys() {
    let [first, second, third, seed] = keys::keys();
    let mut harness = Harness::open(&format!("newkey='{first}'"));
    for (rid, key) in [(101, second), (102, third), (103, seed)] {
        harness.request_of(Some("a"), rid, &format!("key='{key}'"), "");
    }
    harness.say_of("b", 100, 7);
    assert!(!harness.events().contains(&"7".to_owned()));
}

const LOG_OUT: &str = "<presence xmlns='jabber:client' type='unavailable' id='bye'/>";

#[test]
fn a_page_that_is_behind_logs_out() {
    let mut harness = Harness::open("");
    harness.poll_of("a", 101);
    for rid in 102..110 {
        harness.say_of("b", rid, 1);
        harness.answers();
    }
    harness.events();
    let last = harness.request_of(Some("a"), 102, "type='terminate'", LOG_OUT);
    assert_eq!(harness.events(), ["bye", "Ended(Terminated)"]);
    let answers = harness.answers();
    assert!(answers.contains(&(last, ended(" type='terminate'"))));
    assert_eq!(answers.len(), 2, "the other page's request, too");
    let again = harness.request_of(Some("a"), 102, "type='terminate'", LOG_OUT);
    assert_eq!(harness.answers(), [(again, ended(" type='terminate'"))]);
}

#[test]
fn a_page_logs_out_by_a_rid_that_was_used_to_ask_for_nothing() {
    for pages in [[None, None], [Some("a"), Some("b")]] {
        for is_answered in [false, true] {
            let mut harness = Harness::open("");
            harness.request_of(pages[0], 101, "", "");
            if is_answered {
                harness.session.send(message(1));
            }
            harness.answers();
            let last = harness.request_of(pages[1], 101, "type='terminate'", LOG_OUT);
            assert_eq!(harness.events(), ["bye", "Ended(Terminated)"], "{pages:?}");
            let answers = harness.answers();
            let told = answers.iter().find(|(slot, _)| *slot == last).unwrap();
            assert!(told.1.contains(" type='terminate'"), "{answers:?}");
        }
    }
}

#[test]
fn a_page_that_is_behind_pauses_and_restarts() {
    let mut harness = Harness::open("");
    harness.poll_of("a", 101);
    for rid in 102..110 {
        harness.say_of("b", rid, 1);
        harness.answers();
    }
    harness.events();
    harness.request_of(Some("a"), 102, "xmpp:restart='true'", "");
    assert_eq!(harness.events(), ["Restart"]);
    harness.answers();
    harness.request_of(Some("a"), 103, "pause='60'", "");
    assert_eq!(harness.answers().len(), 2, "nothing is held in a pause");
    harness.wait(59 * SECOND);
    assert!(harness.session.is_open());
    harness.wait(2 * SECOND);
    assert_eq!(harness.events(), ["Ended(Inactive)"]);
}

#[test]
fn requests_of_a_page_that_catches_up_are_forwarded_once_in_any_order() {
    let mut harness = Harness::open("");
    harness.say_of("a", 101, 1);
    for rid in 102..110 {
        harness.say_of("b", rid, 2);
        harness.answers();
    }
    harness.events();
    harness.say_of("a", 103, 13);
    harness.say_of("a", 102, 12);
    assert_eq!(harness.events(), ["13", "12"]);
    harness.say_of("a", 103, 13);
    harness.say_of("a", 102, 12);
    harness.say_of("a", 101, 1);
    assert_eq!(harness.events(), [""; 0], "resends");
}

#[test]
fn pages_that_are_behind_together_are_each_forwarded_once() {
    let mut harness = Harness::open("");
    harness.poll_of("a", 101);
    for rid in 102..110 {
        harness.say_of("b", rid, 2);
        harness.answers();
    }
    harness.events();
    for rid in [105, 109] {
        harness.say_of("a", rid, 11);
        harness.say_of("c", rid, 13);
        harness.say_of("a", rid, 11);
        harness.say_of("c", rid, 13);
        assert_eq!(harness.events(), ["11", "13"], "{rid}");
    }
}

#[test]
fn two_pages_may_use_one_rid_ahead_of_a_gap() {
    for page in ["", "a"] {
        let page = Some(page).filter(|page| !page.is_empty());
        let mut harness = Harness::open("");
        harness.request_of(page, 102, "", "");
        harness.say_of("b", 102, 12);
        harness.say_of("b", 101, 11);
        assert_eq!(harness.events(), ["11", "12"], "{page:?}");
    }
    let mut harness = Harness::open("");
    harness.say_of("a", 102, 2);
    harness.say_of("b", 102, 12);
    harness.say_of("b", 102, 12);
    harness.say_of("b", 101, 11);
    assert_eq!(harness.events(), ["11", "2", "12"]);
}

#[test]
fn a_client_with_another_name_in_each_request_is_sent_everything_six_times_at_most() {
    let mut harness = Harness::open("");
    harness.session.send(message(1));
    let mut heard = Vec::new();
    for (rid, page) in (101..).zip(["a", "b", "c", "d", "e", "f", "g", "h", "i"]) {
        harness.poll_of(page, rid);
        if page == "b" {
            harness.session.send(message(2));
        }
        heard.extend(harness.carried().into_iter().map(|(_, ids)| ids));
    }
    let mut expected = vec![vec![1, 2]; 7];
    expected[0] = vec![1];
    expected[6] = vec![2];
    assert_eq!(heard, expected);
    for rid in 110..113 {
        harness.poll_of("i", rid);
    }
    assert_eq!(harness.confirmed(), 2, "all count as given");
}

#[test]
fn stanzas_kept_for_the_next_page_are_bounded() {
    let mut harness = Harness::open("ack='1'");
    let text = "x".repeat(100 << 10);
    for rid in 101..150 {
        let body = format!("<message id='{rid}'><body>{text}</body></message>");
        harness.session.send(stanza(&body));
        harness.request_of(Some("a"), rid, "ack='100'", "");
        harness.answers();
    }
    harness.poll_of("b", 150);
    assert_eq!(harness.carried()[0].1, [148, 149], "the last");
}

/// As two tabs that share a session, one of which is a copy of the other: each sends its next request when it has an
/// answer, and counts by itself.
fn requests_of_two_tabs(pages: [Option<&str>; 2], seconds: u32) -> u32 {
    let mut harness = Harness::open("");
    let end = harness.now + seconds * SECOND;
    let mut tabs = pages.map(|page| (page, 100, None));
    let mut count = 0;
    while harness.now < end && harness.session.is_open() && count < 1000 {
        for (page, rid, slot) in &mut tabs {
            if slot.is_none() {
                *rid += 1;
                count += 1;
                *slot = Some(harness.request_of(*page, *rid, "", ""));
            }
        }
        let answers = harness.answers();
        if answers.is_empty() {
            harness.wait(SECOND);
            continue;
        }
        for (answered, _) in answers {
            for (_, _, slot) in &mut tabs {
                *slot = slot.filter(|slot| *slot != answered);
            }
        }
    }
    assert!(harness.session.is_open());
    count
}

#[test]
fn two_pages_that_are_there_together_do_not_drive_each_other_round() {
    let count = requests_of_two_tabs([Some("a"), Some("b")], 30);
    assert!(count <= 30 * 4, "{count} requests in 30 s");
}

#[test]
fn a_page_with_another_name_begins_anew() {
    let mut harness = Harness::open("");
    harness.poll_of("a", 101);
    assert!(!harness.is_anew(), "the first");
    harness.say_of("a", 102, 7);
    assert!(!harness.is_anew(), "the same");
    harness.say_of("b", 103, 8);
    assert!(harness.is_anew());
    harness.poll_of("b", 104);
    assert!(!harness.is_anew(), "told once");
    // It knows nothing of the request of page b that is held.
    harness.poll_of("c", 104);
    assert!(harness.is_anew());
    harness.poll(105);
    assert!(!harness.is_anew(), "it does not say who it is");
}

#[test]
fn a_page_without_a_name_begins_anew_if_it_knows_nothing_of_a_request_that_was_given_up() {
    let mut harness = Harness::open("");
    let lost = harness.poll(101);
    harness.session.handle_disconnect(lost, harness.now);
    harness.push(&[1]);
    harness.poll(102);
    assert!(harness.is_anew());
    harness.poll(103);
    assert!(!harness.is_anew(), "told once");
    // Loaded again before it could count its last request.
    harness.say(103, 7);
    assert!(harness.is_anew());
}

#[test]
fn a_client_whose_connections_broke_does_not_begin_anew() {
    let mut harness = Harness::open("");
    let poll = harness.poll(101);
    let said = harness.say(102, 7);
    for lost in [poll, said] {
        harness.session.handle_disconnect(lost, harness.now);
    }
    // What it says meanwhile may overtake what it repeats.
    harness.say(103, 8);
    harness.poll(101);
    harness.say(102, 7);
    harness.poll(104);
    assert!(!harness.is_anew());
    // Nor if what it repeats is ahead of what it still has to repeat.
    for _ in 0..2 {
        let ahead = harness.say(106, 9);
        harness.session.handle_disconnect(ahead, harness.now);
    }
    harness.say(106, 9);
    harness.poll(105);
    harness.poll(107);
    assert!(!harness.is_anew());
}
