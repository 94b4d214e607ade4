#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

use super::{
    absence::{NEXT_REQUEST, PER_STANZA},
    end::{AWAITED, TOMBSTONE},
    *,
};
use crate::proto::{
    bosh::{body::Message, terms::POLLING},
    page::Page,
    xml,
};

mod acknowledgements;
mod hand_over;
mod keys;
mod model;
mod pages;
mod requests;

const EMPTY: &str = "<body xmlns='http://jabber.org/protocol/httpbind'/>";
const SECOND: Duration = Duration::from_secs(1);
const MAX_PENDING: usize = 1000;

/// A session and a clock, seen from the client.
struct Harness {
    session: Session,
    now: Instant,
    slots: u32,
}

fn policy() -> Policy {
    Policy {
        wait: 60 * SECOND,
        inactivity: 120 * SECOND,
        max_pause: 120 * SECOND,
        report_grace: 2 * SECOND,
    }
}

fn parse(attributes: &str, payload: &str) -> Message {
    let text = format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' \
         {attributes}>{payload}</body>"
    );
    Message::parse(text.into(), &xml::Limits::default()).unwrap()
}

fn stanza(text: &str) -> Stanza {
    Stanza::parse(text.to_owned()).unwrap()
}

fn message(number: u32) -> Stanza {
    stanza(&format!("<message xmlns='jabber:client' id='{number}'/>"))
}

fn written(document: Document) -> String {
    let bytes: Vec<u8> = document.into_chunks().into_iter().flatten().collect();
    String::from_utf8(bytes).unwrap()
}

impl Harness {
    /// A session whose creation request, rid 100, awaits the features.
    fn opening(attributes: &str) -> Self {
        let Message::Creation(creation) =
            parse(&format!("rid='100' to='example.org' {attributes}"), "")
        else {
            panic!("not a creation")
        };
        let now = Instant::now();
        Self {
            session: Session::open(&creation, &policy(), MAX_PENDING, Slot(0), now),
            now,
            slots: 0,
        }
    }

    /// A session whose creation request, rid 100, has been answered.
    fn open(attributes: &str) -> Self {
        let mut harness = Self::opening(attributes);
        harness
            .session
            .introduce("sid", "example.org", Some("stream"));
        harness.session.send(stanza(
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
        ));
        let answers = harness.answers();
        assert_eq!(answers.len(), 1);
        assert!(answers[0].1.contains("<stream:features"), "{answers:?}");
        harness
    }

    fn request(&mut self, rid: u64, attributes: &str, payload: &str) -> Slot {
        self.request_of(None, rid, attributes, payload)
    }

    fn request_of(
        &mut self,
        page: Option<&str>,
        rid: u64,
        attributes: &str,
        payload: &str,
    ) -> Slot {
        let Message::Request(mut request) =
            parse(&format!("sid='sid' rid='{rid}' {attributes}"), payload)
        else {
            panic!("not a request")
        };
        request.page = page.map(|name| Page::named(name.as_bytes()));
        self.slots += 1;
        let slot = Slot(self.slots);
        self.session.handle_request(request, slot, self.now);
        slot
    }

    fn poll(&mut self, rid: u64) -> Slot {
        self.request(rid, "", "")
    }

    fn say(&mut self, rid: u64, id: u32) -> Slot {
        self.request(
            rid,
            "",
            &format!("<message xmlns='jabber:client' id='{id}'/>"),
        )
    }

    /// Whether the session has told the shell of another page, before anything that this page says.
    fn is_anew(&mut self) -> bool {
        let first = self.session.poll_event();
        let is_anew = matches!(first, Some(Event::NewPage));
        while let Some(event) = self.session.poll_event() {
            assert!(!matches!(event, Event::NewPage), "too late, or again");
        }
        is_anew
    }

    /// What the session hands to the shell, besides new pages: ids of stanzas, or the event's name.
    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_event())
            .filter(|event| !matches!(event, Event::NewPage))
            .map(|event| match event {
                Event::Stanza(stanza) => stanza.id().unwrap().into_owned(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn answers(&mut self) -> Vec<(Slot, String)> {
        std::iter::from_fn(|| self.session.poll_response(self.now))
            .map(|(slot, document)| (slot, written(document)))
            .collect()
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self
            .session
            .poll_timeout()
            .filter(|deadline| *deadline <= end)
        {
            self.now = self.now.max(deadline);
            self.session.handle_timeout(self.now);
            let queue: Vec<_> =
                std::iter::from_fn(|| self.session.poll_response(self.now)).collect();
            self.session.responses.extend(queue);
            if !self.session.responses.is_empty() || self.session.has_events() {
                return;
            }
        }
        self.now = end;
    }
}

fn ended(attributes: &str) -> String {
    format!("<body xmlns='http://jabber.org/protocol/httpbind'{attributes}/>")
}

#[test]
fn creation_is_answered_with_the_terms_once_the_features_are_there() {
    let mut harness = Harness::opening("wait='10' hold='5' ver='1.6' ack='1'");
    harness
        .session
        .introduce("s<id", "example.org", Some("stream-id"));
    assert_eq!(harness.answers(), []);
    harness.session.send(stanza(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
    ));
    let answers = harness.answers();
    for part in [
        "xmlns:stream='http://etherx.jabber.org/streams'",
        "xmlns:xmpp='urn:xmpp:xbosh'",
        "sid='s&lt;id'",
        "from='example.org'",
        "authid='stream-id'",
        "wait='10'",
        "hold='1'",
        "requests='2'",
        "inactivity='120'",
        "maxpause='120'",
        "ver='1.6'",
        "ack='100'",
        "xmpp:version='1.0'",
        "xmpp:restartlogic='true'",
    ] {
        assert!(answers[0].1.contains(part), "{part} in {}", answers[0].1);
    }
    harness.poll(101);
    harness.session.send(message(1));
    assert!(
        !harness.answers()[0].1.contains(" sid="),
        "only the first answer names the session"
    );
}

/// A server that is slower than the client is patient must not make the gateway say nothing at all.
#[test]
fn a_creation_is_not_answered_before_there_is_a_session_id_to_tell() {
    let mut harness = Harness::opening("wait='1'");
    harness.wait(5 * SECOND);
    assert_eq!(harness.answers(), []);
    assert_eq!(
        harness.session.poll_timeout(),
        None,
        "nothing to wake up for"
    );
    harness.session.introduce("sid", "example.org", None);
    let answers = harness.answers();
    assert!(answers[0].1.contains("sid='sid'"), "{answers:?}");
}

#[test]
fn features_that_are_late_come_with_the_next_answer() {
    let mut harness = Harness::opening("wait='5'");
    harness.session.introduce("sid", "example.org", None);
    harness.wait(5 * SECOND);
    assert!(harness.answers()[0].1.contains("sid='sid'"));
    let poll = harness.poll(101);
    assert_eq!(harness.answers(), [], "the next request is held for them");
    harness.session.send(stanza(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
    ));
    let answers = harness.answers();
    assert_eq!(answers[0].0, poll);
    assert!(answers[0].1.contains("<stream:features"));
}

#[test]
fn a_request_is_held_until_there_is_something_to_say() {
    let mut harness = Harness::open("");
    let poll = harness.poll(101);
    assert_eq!(harness.answers(), []);
    harness.session.send(message(1));
    harness.session.send(message(2));
    let answers = harness.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, poll);
    assert!(answers[0].1.find("id='1'").unwrap() < answers[0].1.find("id='2'").unwrap());
}

#[test]
fn a_held_request_is_answered_after_wait_and_no_later() {
    let mut harness = Harness::open("wait='7'");
    let poll = harness.poll(101);
    assert_eq!(harness.answers(), []);
    assert_eq!(
        harness.session.poll_timeout(),
        Some(harness.now + 7 * SECOND)
    );
    harness.wait(7 * SECOND);
    assert_eq!(harness.answers(), [(poll, EMPTY.into())]);
}

#[test]
fn a_second_request_is_forwarded_and_releases_the_first() {
    let mut harness = Harness::open("");
    let first = harness.poll(101);
    let second = harness.say(102, 7);
    assert_eq!(harness.events(), ["7"]);
    assert_eq!(harness.answers(), [(first, EMPTY.into())]);
    harness.session.send(message(1));
    assert_eq!(harness.answers()[0].0, second);
}

#[test]
fn the_oldest_request_carries_what_a_new_one_causes() {
    let mut harness = Harness::open("");
    let first = harness.poll(101);
    harness.say(102, 7);
    harness.session.send(message(1));
    let answers = harness.answers();
    assert_eq!(answers.len(), 1, "the second stays held");
    assert_eq!(answers[0].0, first);
}

#[test]
fn inactivity_counts_only_while_no_request_is_open() {
    let mut harness = Harness::open("");
    harness.wait(119 * SECOND);
    assert!(harness.session.is_open());
    harness.poll(101);
    harness.wait(59 * SECOND);
    assert_eq!(harness.answers(), []);
    harness.wait(2 * SECOND);
    assert_eq!(harness.answers().len(), 1);
    harness.wait(119 * SECOND);
    assert!(harness.session.is_open());
    harness.wait(2 * SECOND);
    assert_eq!(harness.events(), ["Ended(Inactive)"]);
    assert!(harness.session.is_gone());
}

#[test]
fn an_aborted_poll_starts_the_inactivity_clock() {
    let mut harness = Harness::open("");
    let poll = harness.poll(101);
    assert_eq!(harness.answers(), []);
    harness.wait(10 * SECOND);
    harness.session.handle_disconnect(poll, harness.now);
    harness.wait(119 * SECOND);
    assert!(harness.session.is_open());
    harness.wait(SECOND);
    assert!(harness.session.is_gone());
}

#[test]
fn a_pause_answers_everything_and_keeps_what_is_pending() {
    let mut harness = Harness::open("");
    let poll = harness.poll(101);
    assert_eq!(harness.answers(), []);
    let pause = harness.request(
        102,
        "pause='100'",
        "<message xmlns='jabber:client' id='4'/>",
    );
    assert_eq!(
        harness.events(),
        ["4"],
        "what comes with a pause is forwarded"
    );
    assert_eq!(
        harness.answers(),
        [(poll, EMPTY.into()), (pause, EMPTY.into())]
    );
    harness.session.send(message(1));
    assert_eq!(harness.answers(), []);
    harness.wait(99 * SECOND);
    let next = harness.poll(103);
    let answers = harness.answers();
    assert_eq!(answers[0].0, next);
    assert!(answers[0].1.contains("id='1'"));
    harness.wait(101 * SECOND);
    assert!(
        harness.session.is_open(),
        "the pause ended with the next request"
    );
}

#[test]
fn a_pause_can_be_shorter_than_the_inactivity() {
    let mut harness = Harness::open("");
    harness.request(101, "pause='3'", "");
    assert_eq!(harness.answers().len(), 1);
    harness.wait(4 * SECOND);
    assert!(harness.session.is_gone());
}

#[test]
fn a_pause_that_is_too_long_ends_the_session() {
    for pause in ["pause='121'", "pause='0'"] {
        let mut harness = Harness::open("");
        let poll = harness.poll(101);
        assert_eq!(harness.answers(), []);
        let bad = harness.request(102, pause, "");
        assert_eq!(
            harness.answers(),
            [
                (bad, ended(" type='terminate' condition='policy-violation'")),
                (poll, ended(" type='terminate' condition='other-request'")),
            ]
        );
        assert!(!harness.session.is_open());
    }
}

#[test]
fn terminate_forwards_its_stanzas_and_answers_everything() {
    let mut harness = Harness::open("");
    let poll = harness.poll(101);
    assert_eq!(harness.answers(), []);
    let payload = "<presence xmlns='jabber:client' type='unavailable' id='bye'/>";
    let bye = harness.request(102, "type='terminate'", payload);
    assert_eq!(harness.events(), ["bye", "Ended(Terminated)"]);
    assert_eq!(
        harness.answers(),
        [(poll, ended(" type='terminate'")), (bye, EMPTY.into())]
    );
}

#[test]
fn terminate_as_a_third_request_is_let_in() {
    let mut harness = Harness::open("");
    harness.poll(101);
    assert_eq!(harness.answers(), []);
    harness.poll(103);
    harness.request(104, "type='terminate'", "");
    assert!(harness.session.is_open(), "a predecessor is missing");
    harness.poll(102);
    assert_eq!(harness.events(), ["Ended(Terminated)"]);
}

#[test]
fn the_end_waits_for_a_request_that_can_be_told() {
    let mut harness = Harness::open("");
    harness.session.send(message(1));
    harness
        .session
        .end(Some(Condition::RemoteStreamError), harness.now);
    assert_eq!(harness.events(), ["Ended(Closed)"]);
    let next = harness.poll(101);
    let answers = harness.answers();
    assert_eq!(answers[0].0, next);
    assert!(
        answers[0].1.contains("condition='remote-stream-error'"),
        "{answers:?}"
    );
    assert!(answers[0].1.contains("id='1'"), "{answers:?}");
    let again = harness.poll(101);
    assert_eq!(
        harness.answers(),
        [(again, answers[0].1.clone())],
        "a resend hears it again"
    );
    let other = harness.poll(102);
    assert_eq!(
        harness.answers(),
        [(other, ended(" type='terminate' condition='item-not-found'"))]
    );
    harness.wait(TOMBSTONE);
    assert!(harness.session.is_gone());
}

#[test]
fn a_polling_session_is_answered_at_once() {
    for attributes in ["hold='0'", "wait='0'"] {
        let mut harness = Harness::open(attributes);
        let poll = harness.poll(101);
        assert_eq!(harness.answers(), [(poll, EMPTY.into())]);
        harness.session.send(message(1));
        assert_eq!(harness.answers(), []);
        harness.wait(POLLING);
        harness.poll(102);
        assert!(harness.answers()[0].1.contains("id='1'"));
    }
}

#[test]
fn a_polling_session_must_not_ask_for_nothing_too_often() {
    let mut harness = Harness::open("hold='0'");
    harness.poll(101);
    harness.answers();
    harness.session.send(message(1));
    harness.say(102, 1);
    harness.answers();
    harness.poll(103);
    assert!(
        harness.session.is_open(),
        "the one before had something to say"
    );
    harness.answers();
    harness.wait(POLLING - SECOND);
    harness.poll(104);
    assert!(harness.session.is_open(), "late enough");
    harness.answers();
    let hasty = harness.poll(105);
    let violation = ended(" type='terminate' condition='policy-violation'");
    assert_eq!(harness.answers(), [(hasty, violation)]);
}

#[test]
fn only_empty_requests_of_polling_sessions_can_come_too_often() {
    let mut holding = Harness::open("");
    for rid in 101..110 {
        holding.poll(rid);
        assert!(
            holding.session.is_open(),
            "a session whose requests are held"
        );
    }
    for attributes in ["xmpp:restart='true'", "pause='60'", "type='terminate'"] {
        let mut harness = Harness::open("wait='0'");
        harness.poll(101);
        harness.answers();
        harness.poll(101);
        assert_eq!(harness.answers()[0].1, EMPTY, "a resend is no second one");
        harness.request(102, attributes, "");
        let events = harness.events().join("");
        assert!(!events.contains("Violation"), "{attributes}: {events}");
    }
    let mut harness = Harness::open("wait='0'");
    harness.poll(101);
    harness.answers();
    harness.say(102, 1);
    harness.answers();
    harness.poll(103);
    assert!(harness.session.is_open(), "not two in a row");
}

#[test]
fn a_restart_is_an_event_and_its_stanzas_are_ignored() {
    let mut harness = Harness::open("");
    let restart = harness.request(
        101,
        "xmpp:restart='true'",
        "<message xmlns='jabber:client' id='1'/>",
    );
    assert_eq!(harness.events(), ["Restart"]);
    assert_eq!(harness.answers(), [], "held for the features");
    harness.session.send(stanza(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
    ));
    assert_eq!(harness.answers()[0].0, restart);
}

#[test]
fn a_client_that_gives_up_before_it_knows_the_sid_leaves_no_session() {
    let mut harness = Harness::opening("");
    harness.session.handle_disconnect(Slot(0), harness.now);
    assert_eq!(harness.events(), ["Ended(Inactive)"]);
    assert!(harness.session.is_gone());
}

#[test]
fn too_much_pending_stops_the_server() {
    let mut harness = Harness::open("");
    while harness.session.wants_upstream() {
        harness.session.send(message(1));
    }
    harness.poll(101);
    harness.answers();
    assert!(harness.session.wants_upstream());
}

#[test]
fn presence_waits_for_the_answer_after_the_one_with_the_roster() {
    let push =
        "<iq type='set' id='p'><query xmlns='jabber:iq:roster'><item jid='a@b'/></query></iq>";
    let mut harness = Harness::open("");
    let first = harness.poll(101);
    for text in [
        "<presence from='x@y/z'/>",
        push,
        push,
        "<message id='m'/>",
        "<presence from='a@b/c'/>",
    ] {
        harness.session.send(stanza(text));
    }
    let answers = harness.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, first);
    assert!(
        answers[0].1.contains("x@y/z"),
        "what came before the roster stays before it"
    );
    assert!(answers[0].1.contains("<message"));
    assert!(!answers[0].1.contains("a@b/c"));
    harness.poll(102);
    assert!(
        harness.answers()[0].1.contains("a@b/c"),
        "sent as soon as it may be"
    );
}

#[test]
fn an_answer_has_no_more_than_one_request_can_confirm() {
    let mut harness = Harness::open("");
    for number in 0..2500 {
        harness.session.send(message(number));
    }
    let mut counts = Vec::new();
    for rid in 101..104 {
        harness.poll(rid);
        counts.push(harness.answers()[0].1.matches("<message").count());
    }
    assert_eq!(counts, [1000, 1000, 500]);
}

#[test]
fn a_client_that_hangs_up_is_deaf_at_once_and_one_that_was_answered_after_a_moment() {
    let mut harness = Harness::open("");
    harness.poll(101);
    assert_eq!(harness.session.deaf_at(), None);
    for _ in 0..50 {
        harness.session.send(message(1));
    }
    harness.answers();
    let moment = NEXT_REQUEST + 50 * PER_STANZA;
    assert_eq!(harness.session.deaf_at(), Some(harness.now + moment));
    let slot = harness.poll(102);
    harness.session.handle_disconnect(slot, harness.now);
    assert_eq!(harness.session.deaf_at(), Some(harness.now));
    harness.poll(103);
    assert_eq!(harness.session.deaf_at(), None);

    let polling = Harness::open("hold='0'");
    let moment = POLLING + NEXT_REQUEST + PER_STANZA;
    assert_eq!(polling.session.deaf_at(), Some(polling.now + moment));
}

#[test]
fn the_last_answer_waits_for_a_client_while_its_next_request_may_soon_come() {
    let end = |harness: &mut Harness| {
        let now = harness.now;
        harness.session.end(Some(Condition::SystemShutdown), now);
        harness.session.awaited_until()
    };
    let mut answered = Harness::open("");
    let since = answered.now;
    answered.wait(NEXT_REQUEST / 2);
    assert_eq!(end(&mut answered), Some(since + NEXT_REQUEST + PER_STANZA));
    answered.poll(101);
    assert_eq!(answered.session.awaited_until(), None, "told");

    // But no longer than that, though these may come later: nobody knows whether they are there at all.
    let mut polling = Harness::open("hold='0'");
    let now = polling.now;
    assert_eq!(end(&mut polling), Some(now + AWAITED));
    let mut busy = Harness::open("");
    busy.poll(101);
    for _ in 0..500 {
        busy.session.send(message(1));
    }
    busy.answers();
    let now = busy.now;
    assert_eq!(end(&mut busy), Some(now + AWAITED));

    let mut gone = Harness::open("");
    let slot = gone.poll(101);
    gone.session.handle_disconnect(slot, gone.now);
    assert_eq!(end(&mut gone), Some(gone.now));

    let mut held = Harness::open("");
    held.poll(101);
    assert_eq!(end(&mut held), None, "told at once");
}

#[test]
fn a_newer_request_gets_the_stanzas_and_not_a_page_that_may_be_gone() {
    let mut harness = Harness::open("");
    let zombie = harness.poll(101);
    harness.wait(2 * SECOND);
    let alive = harness.poll(102);
    harness.session.send(message(1));
    let answers = harness.answers();
    assert_eq!(answers[0], (zombie, EMPTY.to_owned()));
    assert_eq!(answers[1].0, alive);
    assert!(answers[1].1.contains("<message"), "{answers:?}");
}

#[test]
fn empty_requests_do_not_drive_each_other_round() {
    let mut harness = Harness::open("");
    harness.poll(101);
    harness.poll(102);
    assert_eq!(harness.answers().len(), 1, "the first time, at once");
    harness.wait(SECOND / 4);
    harness.poll(103);
    assert!(harness.answers().is_empty(), "not four times a second");
    harness.session.send(message(1));
    assert_eq!(harness.answers().len(), 1, "what there is to say is said");
    harness.poll(104);
    assert!(harness.answers().is_empty());
    harness.wait(SECOND);
    assert_eq!(harness.answers().len(), 1, "a second later");
}

#[test]
fn a_poll_may_be_late_and_the_next_in_time() {
    let mut harness = Harness::open("hold='0'");
    harness.poll(101);
    harness.answers();
    harness.wait(7 * SECOND / 2);
    harness.poll(102);
    assert!(
        harness.session.is_open(),
        "sent 5 s apart, the first delayed"
    );
}
