//! The account towards the client, rule by rule (`W-SM-C-…`, `W-CMP-…`).

use std::time::{Duration, Instant};

use crate::proto::{
    sm::acceptor::{Acceptor, Verdict, Violation},
    stanza::Stanza,
};

const ASKED: &str = "<r xmlns='urn:xmpp:sm:3'/>";
const ASKS: &str = ASKED;
const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3' id='a-1' resume='true' max='300'/>";
const UNEXPECTED: &str = "<failed xmlns='urn:xmpp:sm:3'><unexpected-request \
                          xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
const SECOND: Duration = Duration::from_secs(1);

/// A client, and the clock.
struct Client {
    acceptor: Acceptor,
    now: Instant,
    /// When each message that was late had been given.
    late: Vec<(String, Instant)>,
}

impl Client {
    /// Without stream management.
    fn new() -> Self {
        Self {
            acceptor: Acceptor::default(),
            now: Instant::now(),
            late: Vec::new(),
        }
    }

    /// With stream management, which can be resumed.
    fn enabled() -> Self {
        let mut client = Self::new();
        client.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        client.enable();
        assert_eq!(client.reads(), [ENABLED]);
        client
    }

    fn enable(&mut self) {
        self.acceptor.enable(Some("a-1"), Duration::from_secs(300));
    }

    fn says(&mut self, text: &str) -> Verdict {
        let element = Stanza::parse(text.to_owned()).unwrap();
        self.acceptor.handle(element, true, self.now)
    }

    fn is_done(&mut self, text: &str) {
        let verdict = self.says(text);
        assert!(matches!(verdict, Verdict::Done), "{text}: {verdict:?}");
    }

    fn asks(&mut self) {
        self.is_done(ASKS);
    }

    fn has(&mut self, h: u32) {
        self.is_done(&answer(h));
    }

    /// The client sends a message that leads to `sent` stanzas for the server in all.
    fn sends(&mut self, sent: u64) {
        assert!(matches!(self.says("<message/>"), Verdict::Pass(_)));
        self.acceptor.dealt_with(sent);
    }

    fn given(&mut self, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            let text = format!("<message id='{id}'/>");
            self.acceptor.send(Stanza::parse(text).unwrap(), self.now);
        }
    }

    fn given_other(&mut self, text: &'static str) {
        self.acceptor.send(Stanza::parse(text).unwrap(), self.now);
    }

    /// All that is written now; of stanzas only the id.
    fn reads(&mut self) -> Vec<String> {
        let mut read = Vec::new();
        while let Some(transmit) = self.acceptor.poll_transmit(self.now) {
            let text = match transmit.element.id() {
                Some(id) if transmit.element.is_stanza() => id.into_owned(),
                _ => String::from_utf8(transmit.element.to_bytes().to_vec()).unwrap(),
            };
            self.late
                .extend(transmit.waited_since.map(|since| (text.clone(), since)));
            read.push(text);
        }
        read
    }

    fn sleeps(&mut self) {
        self.acceptor.sleep(self.now);
    }

    fn resumes(&mut self, h: u32) -> Result<(), Violation> {
        self.acceptor.resume("a-1", h, self.now)
    }

    fn record(&self) -> (u64, u64, u64) {
        let it = &self.acceptor;
        (it.given(), it.written(), it.confirmed())
    }

    fn undelivered(&mut self) -> Vec<String> {
        let stanzas = self.acceptor.take_undelivered();
        let ids = stanzas.iter().map(|it| it.id().unwrap().into_owned());
        ids.collect()
    }
}

fn answer(h: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")
}

fn resumed(h: u32) -> String {
    format!("<resumed xmlns='urn:xmpp:sm:3' previd='a-1' h='{h}'/>")
}

fn ids(ids: impl IntoIterator<Item = u32>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

// === Enabling ===

#[test]
fn stream_management_is_enabled_once_and_after_bind() {
    let mut client = Client::new();
    let enable = || Stanza::parse("<enable xmlns='urn:xmpp:sm:3'/>").unwrap();
    let verdict = client.acceptor.handle(enable(), false, client.now);
    assert!(matches!(verdict, Verdict::Done));
    assert_eq!(client.reads(), [UNEXPECTED]);

    for (resume, expected) in [("", false), ("resume='1'", true), ("resume='true'", true)] {
        let verdict = client.says(&format!("<enable xmlns='urn:xmpp:sm:3' {resume}/>"));
        assert!(matches!(verdict, Verdict::Enable { resume } if resume == expected));
    }
    client.acceptor.enable(None, SECOND);
    assert!(client.acceptor.is_on() && !client.acceptor.is_resumable());
    client.is_done("<enable xmlns='urn:xmpp:sm:3'/>");
    client.is_done("<resume xmlns='urn:xmpp:sm:3' previd='a-1' h='0'/>");
    let enabled = "<enabled xmlns='urn:xmpp:sm:3'/>";
    assert_eq!(client.reads(), [enabled, UNEXPECTED], "one answer for both");
}

#[test]
fn what_was_queued_before_goes_before_enabled_and_is_not_counted() {
    let mut client = Client::new();
    client.given([1, 2]);
    client.enable();
    assert!(!client.acceptor.is_resumable(), "it knows no id");
    client.given([3]);
    assert_eq!(client.reads(), ["1", "2", ENABLED, "3"]);
    assert!(client.acceptor.is_resumable());
    assert!(matches!(
        client.says(&answer(2)),
        Verdict::Violation(Violation::HandledTooHigh { h: 2, sent: 1 })
    ));
    client.has(1);
    assert_eq!(client.record(), (3, 3, 3));
}

#[test]
fn the_stanzas_of_the_client_count_from_its_enable_on() {
    let mut client = Client::new();
    assert!(matches!(client.says("<message/>"), Verdict::Pass(_)));
    client.enable();
    assert!(matches!(client.says("<message/>"), Verdict::Pass(_)));
    assert_eq!(client.acceptor.received(), 1);
    client.acceptor.dealt_with(1);
    client.acceptor.settle(1);
    assert_eq!(client.acceptor.settled(), 0, "that came before");
    client.acceptor.dealt_with(2);
    client.acceptor.settle(2);
    assert_eq!(client.acceptor.settled(), 1);
}

#[test]
fn only_stanzas_count() {
    let mut client = Client::enabled();
    for text in [
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<enable xmlns='urn:xmpp:sm:2'/>",
    ] {
        assert!(matches!(client.says(text), Verdict::Pass(_)), "{text}");
    }
    client.is_done("<sm xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(client.acceptor.received(), 0);
    for text in ["<message/>", "<presence/>", "<iq type='get' id='1'/>"] {
        assert!(matches!(client.says(text), Verdict::Pass(_)), "{text}");
    }
    assert_eq!(client.acceptor.received(), 3);

    client.given([1]);
    client.given_other("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    client.given([2]);
    client.reads();
    client.has(1);
    assert_eq!(
        client.record(),
        (3, 3, 2),
        "nobody counts the other element"
    );
    client.has(2);
    assert_eq!(client.record(), (3, 3, 3));
}

#[test]
fn without_stream_management_its_elements_say_nothing() {
    let mut client = Client::new();
    client.given([1]);
    client.reads();
    client.asks();
    client.has(7);
    client.is_done("<a xmlns='urn:xmpp:sm:3'/>");
    assert!(client.reads().is_empty());
    assert_eq!(client.record(), (1, 1, 0));
}

// === What the client is told ===

#[test]
fn a_question_is_answered_at_once_and_again_when_all_is_settled() {
    let mut client = Client::enabled();
    client.sends(1);
    client.sends(2);
    client.asks();
    client.asks();
    assert_eq!(client.reads(), [answer(0)], "one answer for both");
    assert!(client.acceptor.wants_settlement());
    client.sends(3);
    client.acceptor.settle(1);
    assert!(client.reads().is_empty(), "it asked about two");
    client.acceptor.settle(2);
    assert!(!client.acceptor.wants_settlement());
    assert_eq!(client.reads(), [answer(2)]);
    client.acceptor.settle(3);
    assert!(client.reads().is_empty(), "it did not ask about the third");
    client.asks();
    assert_eq!(client.reads(), [answer(3)]);
}

#[test]
fn an_answer_goes_before_what_is_queued() {
    let mut client = Client::enabled();
    client.given([1]);
    client.asks();
    assert_eq!(client.reads(), [answer(0), "1".into()]);
}

#[test]
fn a_stanza_that_needs_no_server_is_settled_after_those_before_it() {
    let mut client = Client::enabled();
    client.sends(1);
    client.sends(1);
    client.acceptor.settle(0);
    assert_eq!(client.acceptor.settled(), 0);
    client.acceptor.settle(1);
    assert_eq!(client.acceptor.settled(), 2);
    client.sends(1);
    client.acceptor.settle(1);
    assert_eq!(client.acceptor.settled(), 3);
}

#[test]
fn whoever_resumes_hears_that_all_is_safe_and_never_less() {
    let mut client = Client::enabled();
    client.sends(1);
    client.sends(2);
    client.acceptor.settle(1);
    client.sleeps();
    assert!(client.acceptor.wants_settlement());
    client.resumes(0).unwrap();
    assert_eq!(client.reads(), [""; 0], "the server may not have it");
    assert!(client.acceptor.asleep_since().is_some() && client.acceptor.wants_settlement());
    client.acceptor.settle(2);
    assert_eq!(client.reads(), [resumed(2)]);
    assert_eq!(client.acceptor.asleep_since(), None);
    client.sends(3);
    client.asks();
    assert_eq!(client.reads(), [answer(2)]);
    assert_eq!(client.acceptor.settled(), 2);
    client.acceptor.settle(3);
    assert_eq!(client.reads(), [answer(3)]);
}

#[test]
fn the_last_word_says_what_is_safe() {
    let mut client = Client::enabled();
    client.sends(1);
    client.acceptor.settle(1);
    client.acceptor.farewell();
    assert_eq!(client.reads(), [answer(1)]);
    let mut client = Client::new();
    client.acceptor.farewell();
    assert!(client.reads().is_empty());
}

// === What the client has ===

#[test]
fn an_answer_of_the_client_releases_what_it_counts() {
    let mut client = Client::enabled();
    client.given(1..=3);
    assert_eq!(client.reads(), ids(1..=3));
    let all = client.acceptor.unconfirmed_size();
    assert!(all > 0 && client.acceptor.pending() == 0);
    client.has(2);
    assert_eq!(client.record(), (3, 3, 2));
    assert_eq!(client.acceptor.unconfirmed_size() * 3, all);
    client.has(1);
    assert_eq!(client.record(), (3, 3, 2), "a lower number is ignored");
    client.has(3);
    assert_eq!(client.record(), (3, 3, 3));
    assert_eq!(client.acceptor.unconfirmed_size(), 0);
}

#[test]
fn who_acknowledges_too_much_hears_how_much_it_was_sent() {
    let mut client = Client::enabled();
    client.given(1..=8);
    client.reads();
    client.given([9]);
    let Verdict::Violation(violation) = client.says(&answer(10)) else {
        panic!("accepted");
    };
    let error = String::from_utf8(violation.error().to_bytes().to_vec()).unwrap();
    assert_eq!(
        error,
        "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
         <undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>10 stanzas acknowledged, 8 sent</text>\
         <handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/></stream:error>"
    );
    assert_eq!(client.record(), (9, 8, 0));
}

#[test]
fn what_lacks_an_attribute_ends_the_stream() {
    let mut enabled = Client::enabled();
    for h in ["", "h=''", "h='-1'", "h='4294967296'", "h='one'"] {
        let a = format!("<a xmlns='urn:xmpp:sm:3' {h}/>");
        let verdict = enabled.says(&a);
        assert!(matches!(verdict, Verdict::Violation(Violation::Incomplete)));
    }
    for attributes in ["h='1'", "previd='a-1'", "previd='a-1' h='x'"] {
        let resume = format!("<resume xmlns='urn:xmpp:sm:3' {attributes}/>");
        let resume = Stanza::parse(resume).unwrap();
        let verdict = Acceptor::default().handle(resume, false, enabled.now);
        assert!(matches!(verdict, Verdict::Violation(Violation::Incomplete)));
    }
    let error = Violation::Incomplete.error().to_bytes();
    assert!(String::from_utf8_lossy(&error).contains("<bad-format "));
}

#[test]
fn counters_wrap() {
    let mut client = Client::enabled();
    client.acceptor.count_from(u32::MAX, u32::MAX - 1);
    client.given(1..=4);
    client.reads();
    client.has(u32::MAX);
    assert_eq!(client.record(), (4, 4, 1));
    client.has(u32::MAX - 3);
    client.has(1);
    assert_eq!(client.record(), (4, 4, 3));
    assert!(matches!(
        client.says(&answer(3)),
        Verdict::Violation(Violation::HandledTooHigh { h: 3, sent: 2 })
    ));
    client.sends(1);
    client.acceptor.settle(1);
    client.asks();
    assert_eq!(client.reads(), [answer(0)]);
    client.sleeps();
    client.resumes(1).unwrap();
    assert_eq!(client.reads(), [resumed(0), "4".into()]);
}

// === Questions to the client ===

#[test]
fn the_client_is_asked_after_ten_stanzas() {
    let mut client = Client::enabled();
    client.given(1..=9);
    assert_eq!(client.reads(), ids(1..=9));
    client.given(10..=30);
    let mut expected = ids(10..=30);
    expected.insert(1, ASKED.into());
    assert_eq!(client.reads(), expected, "one question at a time");
    client.has(10);
    assert_eq!(client.reads(), [ASKED], "there are twenty more");
}

#[test]
fn the_client_is_asked_two_seconds_after_the_first_stanza() {
    let mut client = Client::enabled();
    client.given([1]);
    client.reads();
    let due = client.now + 2 * SECOND;
    assert_eq!(client.acceptor.poll_timeout(), Some(due));
    client.now += SECOND;
    client.given([2]);
    assert_eq!(client.reads(), ["2"]);
    client.now += SECOND;
    assert_eq!(client.reads(), [ASKED]);
    client.has(2);
    assert_eq!(client.acceptor.poll_timeout(), None, "it has it all");
    assert!(client.reads().is_empty());
}

#[test]
fn a_client_that_answers_the_same_again_is_not_asked_at_once() {
    let mut client = Client::enabled();
    client.given(1..=12);
    client.reads();
    client.has(0);
    client.acceptor.ask();
    assert_eq!(
        client.reads(),
        [ASKED],
        "two were written after the question"
    );
    client.has(0);
    assert!(!client.acceptor.may_be_asked());
    client.acceptor.ask();
    assert!(client.reads().is_empty());
    client.now += 2 * SECOND;
    assert_eq!(client.reads(), [ASKED]);
}

#[test]
fn the_client_is_asked_earlier_if_somebody_wants_to_know() {
    let mut client = Client::enabled();
    client.acceptor.ask();
    assert!(!client.acceptor.may_be_asked());
    client.given([1]);
    assert_eq!(client.reads(), ["1"]);
    assert!(client.acceptor.may_be_asked());
    client.acceptor.ask();
    assert_eq!(client.reads(), [ASKED]);
    assert!(!client.acceptor.may_be_asked());
    client.has(1);
    client.given([2]);
    assert_eq!(client.reads(), ["2"]);
}

#[test]
fn a_page_that_does_not_run_is_noticed_after_a_minute() {
    let mut client = Client::enabled();
    client.given(1..=10);
    client.reads();
    let due = client.now + 60 * SECOND;
    assert_eq!(client.acceptor.poll_timeout(), Some(due));
    assert!(!client.acceptor.is_unanswered(due - SECOND));
    assert!(client.acceptor.is_unanswered(due));
    client.has(3);
    assert!(!client.acceptor.is_unanswered(due));
}

// === Sleep ===

#[test]
fn nothing_is_written_or_asked_while_the_client_is_away() {
    let mut client = Client::enabled();
    client.given(1..=9);
    client.reads();
    client.sleeps();
    client.given(10..=20);
    client.asks();
    client.has(2);
    client.acceptor.ask();
    client.now += 600 * SECOND;
    assert!(client.reads().is_empty());
    assert_eq!(client.acceptor.poll_timeout(), None);
    assert_eq!(client.acceptor.poll_ping(client.now), None);
    assert!(!client.acceptor.is_unanswered(client.now));
    assert_eq!(client.record(), (20, 9, 2));
}

#[test]
fn who_resumes_is_sent_what_it_lacks_and_then_what_is_new() {
    let mut client = Client::enabled();
    client.given(1..=4);
    client.reads();
    client.has(1);
    client.sleeps();
    client.given(5..=6);
    client.resumes(2).unwrap();
    assert_eq!(client.record(), (6, 2, 2));
    let mut expected = ids(3..=6);
    expected.insert(0, resumed(0));
    assert_eq!(client.reads(), expected);
    client.given([7]);
    client.asks();
    assert_eq!(client.reads(), [answer(0), "7".into()]);
    client.has(7);
    assert_eq!(client.record(), (7, 7, 7));
    assert_eq!(client.acceptor.unconfirmed_size(), 0);
}

#[test]
fn what_belongs_to_the_old_connection_is_not_sent_on_the_new_one() {
    let mut client = Client::enabled();
    client.asks();
    client.is_done("<enable xmlns='urn:xmpp:sm:3'/>");
    client.given_other("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    client.given([1]);
    client.sleeps();
    client.resumes(0).unwrap();
    assert_eq!(client.reads(), [resumed(0), "1".into()]);
    client.has(1);
    assert_eq!(client.record(), (2, 2, 2));
    assert_eq!(client.acceptor.pending(), 0);
}

#[test]
fn who_resumes_twice_in_a_row_misses_nothing() {
    let mut client = Client::enabled();
    client.given(1..=5);
    client.reads();
    client.resumes(1).unwrap();
    assert_eq!(
        client
            .acceptor
            .poll_transmit(client.now)
            .unwrap()
            .element
            .local(),
        "resumed"
    );
    client.acceptor.poll_transmit(client.now).unwrap();
    // The second was written again, the third was not.
    let error = client.resumes(3);
    assert_eq!(error, Err(Violation::HandledTooHigh { h: 3, sent: 2 }));
    client.resumes(2).unwrap();
    client.resumes(2).unwrap();
    let mut expected = ids(3..=5);
    expected.insert(0, resumed(0));
    assert_eq!(client.reads(), expected, "one answer");
}

#[test]
fn a_resumption_that_cannot_be_true_changes_nothing() {
    let mut client = Client::enabled();
    client.given(1..=4);
    client.reads();
    client.has(2);
    client.sleeps();
    let too_high = client.resumes(5).unwrap_err();
    assert_eq!(too_high, Violation::HandledTooHigh { h: 5, sent: 4 });
    let too_low = client.resumes(1).unwrap_err();
    assert_eq!(
        too_low,
        Violation::HandledTooLow {
            h: 1,
            acknowledged: 2
        }
    );
    assert!(client.acceptor.asleep_since().is_some());
    client.resumes(2).unwrap();
    assert_eq!(client.reads(), [resumed(0), "3".into(), "4".into()]);
}

#[test]
fn nobody_resumes_what_was_not_promised() {
    let mut client = Client::new();
    assert!(client.resumes(0).is_err());
    client.acceptor.enable(None, SECOND);
    client.reads();
    client.sleeps();
    assert!(client.resumes(0).is_err());
}

#[test]
fn only_messages_that_were_late_say_since_when_they_waited() {
    let mut client = Client::enabled();
    client.given([1]);
    client.given_other("<presence id='p'/>");
    client.reads();
    let first = client.now;
    client.now += SECOND;
    client.sleeps();
    client.given([2]);
    let second = client.now;
    client.now += SECOND;
    client.resumes(0).unwrap();
    client.given([3]);
    assert_eq!(
        client.reads(),
        [resumed(0), "1".into(), "p".into(), "2".into(), "3".into()]
    );
    assert_eq!(client.late, [("1".into(), first), ("2".into(), second)]);
}

#[test]
fn who_cannot_resume_is_told_what_was_settled_if_that_is_known() {
    let failed = |h| {
        format!(
            "<failed xmlns='urn:xmpp:sm:3'{h}><item-not-found \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
        )
    };
    let mut client = Client::new();
    let resume = "<resume xmlns='urn:xmpp:sm:3' previd='b-2' h='7'/>";
    let resume = Stanza::parse(resume).unwrap();
    let verdict = client.acceptor.handle(resume, false, client.now);
    assert!(matches!(verdict, Verdict::Resume { previd, h: 7 } if previd == "b-2"));
    client.acceptor.refuse(None);
    assert_eq!(client.reads(), [failed("")]);
    client.acceptor.refuse(Some(5));
    assert_eq!(client.reads(), [failed(" h='5'")]);
}

#[test]
fn everything_unconfirmed_is_left_at_the_end() {
    let mut client = Client::enabled();
    client.given(1..=3);
    client.reads();
    client.has(1);
    client.given([4]);
    assert_eq!(client.undelivered(), ["2", "3", "4"]);
    assert_eq!(client.acceptor.unconfirmed_size(), 0);
    client.has(1);
    assert_eq!(client.record(), (4, 3, 1), "that is not confirmed by it");
    let mut client = Client::new();
    client.given([1]);
    client.reads();
    client.given([2]);
    assert_eq!(client.undelivered(), ["2"], "nobody keeps the first");
}

// === Pongs ===

#[test]
fn a_client_without_stream_management_confirms_by_pongs() {
    let mut client = Client::new();
    assert_eq!(client.acceptor.poll_ping(client.now), None);
    client.given(1..=3);
    client.reads();
    assert_eq!(client.acceptor.unconfirmed_size(), 0, "nothing is kept");
    assert_eq!(client.acceptor.poll_ping(client.now), Some(3));
    client.given([4]);
    client.reads();
    assert_eq!(client.acceptor.poll_ping(client.now), None, "not so soon");
    let due = client.now + 2 * SECOND;
    assert_eq!(client.acceptor.poll_timeout(), Some(due));
    client.acceptor.handle_pong(3);
    assert_eq!(client.record(), (4, 4, 3));
    assert_eq!(client.acceptor.poll_ping(due), Some(4));
    client.acceptor.handle_pong(2);
    assert_eq!(client.record(), (4, 4, 3), "an old pong");
    client.acceptor.handle_pong(u64::MAX);
    assert_eq!(
        client.record(),
        (4, 4, 4),
        "nobody has more than was written"
    );
    assert_eq!(client.acceptor.poll_timeout(), None);
}

#[test]
fn a_ping_may_be_wanted_earlier_but_not_while_one_is_out() {
    let mut client = Client::new();
    client.given([1]);
    client.reads();
    assert!(client.acceptor.may_be_asked());
    assert_eq!(client.acceptor.poll_ping(client.now), Some(1));
    client.given([2]);
    client.reads();
    assert!(!client.acceptor.may_be_asked());
    client.acceptor.ask();
    assert_eq!(client.acceptor.poll_ping(client.now), None);
    client.acceptor.handle_pong(1);
    client.acceptor.ask();
    assert_eq!(client.acceptor.poll_ping(client.now), Some(2));
}

#[test]
fn with_stream_management_pongs_confirm_only_what_it_does_not_count() {
    let mut client = Client::new();
    client.given([1]);
    client.reads();
    client.enable();
    client.given([2]);
    client.reads();
    assert_eq!(client.acceptor.poll_ping(client.now), Some(1));
    client.acceptor.handle_pong(2);
    assert_eq!(client.record(), (2, 2, 1));
    assert_eq!(client.acceptor.poll_ping(client.now + 9 * SECOND), None);
    client.has(0);
    assert_eq!(client.record(), (2, 2, 1));
    client.has(1);
    assert_eq!(client.record(), (2, 2, 2));
}

#[test]
fn an_idle_client_holds_no_memory() {
    let mut client = Client::enabled();
    client.given(1..=100);
    client.reads();
    client.has(100);
    assert_eq!(client.acceptor.capacity(), 0);
    assert!(size_of::<Acceptor>() <= 176, "{}", size_of::<Acceptor>());
}
