#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]
#![expect(clippy::disallowed_methods, reason = "any instant will do")]
#![expect(clippy::arithmetic_side_effects, reason = "small numbers")]

use super::*;

const CREATED: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s1' wait='55' \
    requests='2' hold='1' inactivity='30' authid='a1' from='example.org' \
    xmlns:stream='http://etherx.jabber.org/streams'><stream:features/></body>";
const FEATURES: &str = "<body xmlns='http://jabber.org/protocol/httpbind' \
    xmlns:stream='http://etherx.jabber.org/streams'><stream:features/></body>";

const BIND: &str = "<iq xmlns='jabber:client' type='set' id='bind'/>";
const BOUND: &str = "<iq xmlns='jabber:client' type='result' id='bind'/>";

/// A client and its clock.
struct Test {
    client: Client,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        let now = Instant::now();
        let client = Client::new("example.org", Some("de"), 41, now);
        Self { client, now }
    }

    /// Created, logged in, bound: the session is open, and its first empty request is on its way.
    fn open() -> (Self, Rid) {
        let mut test = Self::new();
        let rid = test.request().0;
        test.answer(rid, CREATED);
        test.client.queue("<auth/>".into());
        let rid = test.request().0;
        let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
        test.answer(rid, &body("", success));
        test.client.restart(None);
        let (rid, restart) = test.request();
        assert!(restart.contains(" xmpp:restart='true'"), "{restart}");
        test.answer(rid, FEATURES);
        test.client.queue(BIND.into());
        let (rid, _) = test.request();
        test.answer(rid, &body("", BOUND));
        test.events();
        let (rid, empty) = test.request();
        assert!(empty.ends_with("sid='s1'/>"), "{empty}");
        (test, rid)
    }

    /// The request that has to be sent now.
    fn request(&mut self) -> (Rid, String) {
        self.try_request().expect("a request is due")
    }

    fn try_request(&mut self) -> Option<(Rid, String)> {
        let next = self.client.poll_request(self.now).or_else(|| {
            // The request may have to keep a distance from the one before.
            let soon = self.now + self.client.spacing;
            self.now = self.client.poll_timeout().filter(|at| *at <= soon)?;
            self.client.poll_request(self.now)
        });
        let (rid, document) = next?;
        Some((rid, String::from_utf8(document.to_vec()).unwrap()))
    }

    fn answer(&mut self, rid: Rid, answer: &str) {
        let answer = Bytes::copy_from_slice(answer.as_bytes());
        self.client.handle_answer(rid, 200, answer, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
    }

    /// The events so far, each in a word or two.
    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.client.poll_event())
            .map(|event| match event {
                Event::Created(_) => "created".to_owned(),
                Event::Features(_) => "features".to_owned(),
                Event::Stanza(stanza) => stanza
                    .id()
                    .map_or_else(|| stanza.local().to_owned(), |id| id.into_owned()),
                Event::Unreadable(husk) => format!("unreadable {}", husk.id().unwrap()),
                Event::Error(_) => "error".to_owned(),
                Event::Closed => "closed".to_owned(),
                Event::Lost(loss) => format!("lost: {loss}"),
            })
            .collect()
    }
}

fn body(attributes: &str, inside: &str) -> String {
    format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' \
         xmlns:stream='http://etherx.jabber.org/streams' {attributes}>{inside}</body>"
    )
}

fn message(id: &str) -> String {
    format!("<message xmlns='jabber:client' id='{id}'/>")
}

#[test]
fn a_legal_stanza_that_cannot_be_passed_on_ends_nothing() {
    let (mut test, rid) = Test::open();
    let deep = format!("{}{}", "<a>".repeat(300), "</a>".repeat(300));
    let deep = format!("<message xmlns='jabber:client' id='deep'>{deep}</message>");
    let inside = [message("1"), deep, message("2")].concat();
    test.answer(rid, &body("", &inside));
    assert_eq!(test.events(), ["unreadable deep", "1", "2"]);
    let (rid, _) = test.request();
    test.answer(rid, &body("", "<message><a></message>"));
    assert_eq!(test.events(), ["lost: answer is not BOSH"]);
}

#[test]
fn creates_a_session_as_servers_want_it() {
    let mut test = Test::new();
    let (rid, document) = test.request();
    assert_eq!(
        document,
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='42' to='example.org' wait='55' \
         xml:lang='de' hold='1' ver='1.6' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>"
    );
    test.answer(rid, CREATED);
    let Some(Event::Created(created)) = test.client.poll_event() else {
        panic!("not created");
    };
    assert_eq!(created.authid.as_deref(), Some("a1"));
    assert_eq!(created.from.as_deref(), Some("example.org"));
    assert_eq!(test.events(), ["features"]);
    let largest = Client::new("a", None, u64::MAX, test.now);
    assert!(largest.next.plus(1 << 32) <= Rid::MAX);
}

#[test]
fn asks_for_features_that_come_late() {
    let mut test = Test::new();
    let rid = test.request().0;
    test.answer(rid, &body("sid='s1'", ""));
    let (rid, document) = test.request();
    assert!(document.ends_with("rid='43' sid='s1'/>"), "{document}");
    test.answer(rid, FEATURES);
    assert_eq!(test.events(), ["created", "features"]);
    assert_eq!(test.try_request(), None);
}

/// Prosody sends the new features in answer to whichever request follows `<success/>`.
#[test]
fn the_restart_comes_right_after_success() {
    let mut test = Test::new();
    let rid = test.request().0;
    test.answer(rid, CREATED);
    assert_eq!(test.try_request(), None, "nothing is owed");
    test.client.queue("<auth/>".into());
    let (rid, document) = test.request();
    assert!(document.ends_with("><auth/></body>"), "{document}");
    test.client.queue("<abort/>".into());
    assert_eq!(test.try_request(), None, "one at a time");
    // The server took its time, and gave an empty answer.
    test.pass(Duration::from_secs(2));
    test.answer(rid, &body("", ""));
    let rid = test.request().0;
    test.answer(
        rid,
        &body("", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    );
    test.pass(Duration::from_secs(20));
    assert_eq!(
        test.try_request(),
        None,
        "no empty request before the restart"
    );
    test.client.restart(Some("fr"));
    test.client.queue(message("bind").into());
    let (rid, document) = test.request();
    assert!(
        document.ends_with(
            " to='example.org' xml:lang='fr' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'/>"
        ),
        "{document}"
    );
    assert_eq!(test.try_request(), None, "the features first");
    test.answer(rid, FEATURES);
    let (rid, document) = test.request();
    assert!(document.contains(&message("bind")), "{document}");
    test.answer(rid, &body("", &message("x")));
    let (_, document) = test.request();
    assert!(document.ends_with("sid='s1'/>"), "{document}");
}

#[test]
fn keeps_one_request_open_and_never_more_than_two() {
    let (mut test, first) = Test::open();
    assert_eq!(test.try_request(), None);
    test.client.queue(message("1").into());
    test.client.queue(message("2").into());
    let (_, document) = test.request();
    assert!(document.contains(&[message("1"), message("2")].concat()));
    test.client.queue(message("3").into());
    assert_eq!(test.try_request(), None, "two are open");
    assert!(test.client.queued() > 0);
    test.answer(first, &body("", ""));
    let (_, document) = test.request();
    assert!(document.contains(&message("3")));
    assert_eq!(test.client.queued(), 0);
}

#[test]
fn splits_what_is_too_much_for_one_request() {
    let (mut test, first) = Test::open();
    let large = |id: &str| {
        let text = "x".repeat(MAX_PAYLOAD / 3);
        format!("<message xmlns='jabber:client' id='{id}'><body>{text}</body></message>")
    };
    let huge = format!(
        "<message xmlns='jabber:client' id='huge'><body>{}</body></message>",
        "x".repeat(MAX_PAYLOAD)
    );
    // Some glued together, one too large alone.
    let all: String = ["a", "b", "c", "d"].map(large).concat();
    test.client.queue(all.into());
    test.client.queue(huge.into());
    test.client.queue(message("last").into());
    let ids = |document: &str| {
        let body = scan_body(Bytes::copy_from_slice(document.as_bytes()), &LIMITS).unwrap();
        let ids = body.children.iter().map(|it| it.id().unwrap().into_owned());
        ids.collect::<Vec<_>>()
    };
    let mut sent = Vec::new();
    let mut open = VecDeque::from([first]);
    while test.client.queued() > 0 {
        if let Some((rid, document)) = test.try_request() {
            assert!(document.len() < 256 << 10 || ids(&document) == ["huge"]);
            sent.push(ids(&document));
            open.push_back(rid);
        } else {
            test.answer(open.pop_front().unwrap(), &body("", ""));
        }
    }
    assert_eq!(
        sent,
        [vec!["a", "b"], vec!["c", "d"], vec!["huge"], vec!["last"]]
    );
}

#[test]
fn sends_the_same_again_when_an_answer_is_lost() {
    let (mut test, first) = Test::open();
    test.client.queue(message("1").into());
    let (rid, document) = test.request();
    test.client.handle_failure(rid, test.now);
    assert_eq!(test.request(), (rid, document.clone()), "at once");
    test.client
        .handle_answer(rid, 502, "<html>".into(), test.now);
    assert_eq!(test.try_request(), None, "then later");
    assert_eq!(
        test.client.poll_timeout(),
        Some(test.now + Duration::from_millis(200))
    );
    test.pass(Duration::from_millis(200));
    assert_eq!(test.request(), (rid, document));
    // Nothing new overtakes what is to be repeated, and it is repeated in order.
    test.client.handle_failure(rid, test.now);
    test.client.handle_failure(first, test.now);
    assert_eq!(test.request().0, first);
    assert_eq!(test.try_request(), None);
    test.answer(first, &body("", ""));
    assert_eq!(test.try_request(), None);
    test.pass(Duration::from_secs(1));
    assert_eq!(test.request().0, rid);
}

#[test]
fn a_request_without_an_answer_is_sent_again() {
    let (mut test, rid) = Test::open();
    test.pass(Duration::from_secs(64));
    assert_eq!(test.try_request(), None);
    test.pass(Duration::from_secs(1));
    assert_eq!(test.request().0, rid);
}

#[test]
fn gives_up_when_the_server_must_have() {
    let (mut test, rid) = Test::open();
    let start = test.now;
    while test.events().is_empty() {
        test.client.handle_failure(rid, test.now);
        if let Some(at) = test.client.poll_timeout() {
            test.now = at;
            test.client.handle_timeout(at);
            test.try_request();
        }
        assert!(test.now < start + Duration::from_secs(40), "no end");
    }
    assert!(test.now > start + Duration::from_secs(30), "too soon");
    assert_eq!(test.try_request(), None);
    assert_eq!(test.client.poll_timeout(), None);
}

#[test]
fn takes_answers_in_order() {
    let (mut test, first) = Test::open();
    test.client.queue(message("out").into());
    let second = test.request().0;
    test.answer(second, &body("", &message("2")));
    assert!(test.events().is_empty());
    test.answer(first, &body("", &message("1")));
    assert_eq!(test.events(), ["1", "2"]);
    test.answer(first, &body("", &message("1")));
    assert!(test.events().is_empty(), "answered before");
}

#[test]
fn repeats_everything_after_a_recoverable_error() {
    let (mut test, first) = Test::open();
    test.client.queue(message("out").into());
    let second = test.request().0;
    test.answer(second, &body("type='error'", ""));
    assert_eq!(test.request().0, first);
    assert_eq!(test.request().0, second);
}

#[test]
fn tells_how_the_server_ended_it() {
    let end = |answer: &str| {
        let (mut test, rid) = Test::open();
        test.answer(rid, answer);
        assert_eq!(test.try_request(), None);
        assert_eq!(test.client.poll_timeout(), None);
        test.events()
    };
    let error = format!("{}<stream:error/>", message("1"));
    let condition = "type='terminate' condition='remote-stream-error'";
    assert_eq!(end(&body(condition, &error)), ["1", "error", "closed"]);
    assert_eq!(
        end(&body("type='terminate'", &message("1"))),
        ["1", "closed"]
    );
    assert_eq!(
        end(&body("type='terminate' condition='item-not-found'", "")),
        ["lost: session terminated by the server: item-not-found"]
    );
    for answer in ["", "<html/>", "oops", "<body/>"] {
        assert_eq!(end(answer), ["lost: answer is not BOSH"], "{answer}");
    }
    let (mut test, rid) = Test::open();
    test.client.handle_answer(rid, 404, "".into(), test.now);
    assert_eq!(
        test.events(),
        ["lost: server answered with HTTP status 404"]
    );
}

#[test]
fn takes_the_last_words_before_the_end() {
    let (mut test, first) = Test::open();
    test.client.queue(message("out").into());
    let second = test.request().0;
    test.answer(second, &body("type='terminate'", &message("2")));
    assert!(test.events().is_empty());
    test.pass(Duration::from_secs(1));
    test.answer(first, &body("", &message("1")));
    assert_eq!(test.events(), ["1", "2", "closed"]);

    let (mut test, first) = Test::open();
    test.client.queue(message("out").into());
    let second = test.request().0;
    test.answer(second, &body("type='terminate'", &message("2")));
    test.pass(Duration::from_secs(2));
    assert_eq!(test.events(), ["2", "closed"], "not for ever");
    assert_ne!(first, second);
}

#[test]
fn an_unanswered_creation_is_not_repeated() {
    let mut test = Test::new();
    let rid = test.request().0;
    test.client.handle_failure(rid, test.now);
    assert_eq!(test.events(), ["lost: no answer from the server"]);
    let mut test = Test::new();
    let rid = test.request().0;
    test.client.handle_answer(rid, 503, "".into(), test.now);
    assert_eq!(
        test.events(),
        ["lost: server answered with HTTP status 503"]
    );
    let mut test = Test::new();
    let rid = test.request().0;
    test.answer(rid, FEATURES);
    assert_eq!(test.events(), ["lost: answer without a session id"]);
}

#[test]
fn ends_after_what_is_queued() {
    let (mut test, first) = Test::open();
    test.client.queue(message("1").into());
    test.client.close();
    test.client.queue(message("late").into());
    let (rid, document) = test.request();
    assert!(document.contains(" type='terminate'>"), "{document}");
    assert!(document.contains(&message("1")) && !document.contains("late"));
    test.answer(
        first,
        &body("type='terminate' condition='other-request'", ""),
    );
    assert_eq!(test.events(), ["closed"]);
    assert_eq!(test.try_request(), None);
    test.answer(rid, &body("type='terminate'", ""));
    assert!(test.events().is_empty());
}

#[test]
fn asks_for_little_while_nobody_reads() {
    let (mut test, rid) = Test::open();
    test.client.set_reading(false);
    test.answer(rid, &body("", &message("1")));
    assert_eq!(test.try_request(), None);
    // The server must not take the session for dead.
    let at = test.client.poll_timeout().unwrap();
    assert_eq!(at, test.now + Duration::from_secs(15));
    test.now = at;
    let rid = test.request().0;
    let much = format!(
        "<message xmlns='jabber:client'>{}</message>",
        "x".repeat(MAX_UNREAD)
    );
    test.answer(rid, &body("", &much));
    assert_eq!(test.client.poll_timeout(), None, "memory is bounded");
    test.client.queue(message("out").into());
    test.pass(Duration::from_secs(20));
    assert_eq!(test.try_request(), None);
    test.client.set_reading(true);
    assert_eq!(test.events(), ["1", "message"]);
    assert!(test.request().1.contains(&message("out")));
}

#[test]
fn does_not_hurry_a_server_that_holds_nothing() {
    let (mut test, rid) = Test::open();
    test.answer(rid, &body("", ""));
    assert_eq!(test.try_request(), None);
    assert_eq!(test.client.poll_timeout(), Some(test.now + HASTE));
    test.client.queue(message("out").into());
    assert!(
        test.request().1.contains(&message("out")),
        "but says what it has"
    );
}

#[test]
fn nothing_can_be_overtaken_by_the_request_that_binds_a_resource() {
    let mut test = Test::new();
    let rid = test.request().0;
    test.answer(rid, CREATED);
    test.client.restart(None);
    let rid = test.request().0;
    test.answer(rid, FEATURES);
    assert_eq!(test.try_request(), None);
    assert_eq!(
        test.client.poll_timeout(),
        Some(test.now + Duration::from_secs(15)),
        "but the session is kept"
    );
    test.client.queue(BIND.into());
    let (rid, bind) = test.request();
    assert!(bind.contains(BIND), "{bind}");
    assert_eq!(test.try_request(), None);
    // The server took its time, and gave an empty answer.
    test.pass(Duration::from_secs(2));
    test.answer(rid, &body("", ""));
    let rid = test.request().0;
    test.answer(rid, &body("", BOUND));
    test.request();
}

#[test]
fn a_later_request_keeps_a_distance_that_grows_with_the_time_answers_take() {
    let (mut test, mut empty) = Test::open();
    let mut distances = Vec::new();
    for taken in [10, 100, 5000, 10, 10] {
        test.client.queue(message("out").into());
        assert_eq!(test.client.poll_request(test.now), None);
        let at = test.client.poll_timeout().unwrap();
        distances.push((at - test.now).as_millis());
        test.now = at;
        let later = test.request().0;
        test.pass(Duration::from_millis(taken));
        test.answer(empty, &body("", ""));
        test.answer(later, &body("", &message("in")));
        empty = test.request().0;
    }
    assert_eq!(distances, [20, 20, 100, 500, 250]);
}

/// ejabberd holds both requests if the later one arrives first.
#[test]
fn both_are_sent_again_when_a_later_request_does_not_make_the_server_answer_the_earlier_one() {
    let (mut test, empty) = Test::open();
    test.client.queue(message("out").into());
    let (later, document) = test.request();
    test.pass(Duration::from_millis(9_999));
    assert_eq!(test.try_request(), None);
    test.pass(Duration::from_millis(1));
    assert_eq!(test.request().0, empty);
    assert_eq!(test.request(), (later, document));
    assert_eq!(test.try_request(), None);
}

#[test]
fn asks_at_once_after_an_answer_that_made_room_for_a_later_request() {
    let (mut test, empty) = Test::open();
    test.client.queue(message("out").into());
    let (rid, _) = test.request();
    // The server may hold only one request.
    test.answer(empty, &body("", ""));
    test.answer(rid, &body("", &message("in")));
    assert_eq!(test.events(), ["in"]);
    let (_, empty) = test.request();
    assert!(empty.ends_with("sid='s1'/>"), "{empty}");
}

/// A correct server behind an unreliable network.
mod model {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Server {
        /// Requests that arrived ahead of their turn, by rid.
        ahead: BTreeMap<u64, Vec<String>>,
        last: u64,
        received: Vec<String>,
        answers: BTreeMap<u64, String>,
        /// The last rid that has an answer.
        answered: u64,
        /// Not yet sent.
        pending: Vec<String>,
        said: Vec<String>,
    }

    impl Server {
        /// A request arrives; rids seen before change nothing.
        fn take(&mut self, rid: u64, document: &str) {
            let bytes = Bytes::copy_from_slice(document.as_bytes());
            let body = scan_body(bytes, &LIMITS).unwrap();
            let ids = body.children.iter().map(|it| it.id().unwrap().into_owned());
            if rid > self.last {
                self.ahead.insert(rid, ids.collect());
            }
            while let Some(ids) = self.ahead.remove(&(self.last + 1)) {
                self.last += 1;
                self.received.extend(ids);
            }
        }

        /// The answer to a request: the same whenever it is asked for.
        fn answer(&mut self, rid: u64) -> Option<String> {
            if rid > self.last {
                return None;
            }
            if rid > self.answered {
                // What is pending goes with the oldest unanswered one.
                if rid != self.answered + 1 {
                    return None;
                }
                self.answered = rid;
                let stanzas: String = self.pending.iter().map(|id| message(id)).collect();
                self.said.append(&mut self.pending);
                self.answers.insert(rid, body("", &stanzas));
            }
            self.answers.get(&rid).cloned()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        ClientSays,
        ServerSays,
        Deliver(usize),
        Answer(usize),
        LoseRequest(usize),
        LoseAnswer(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::ClientSays),
            3 => Just(Step::ServerSays),
            4 => (0..3_usize).prop_map(Step::Deliver),
            4 => (0..3_usize).prop_map(Step::Answer),
            1 => (0..3_usize).prop_map(Step::LoseRequest),
            1 => (0..3_usize).prop_map(Step::LoseAnswer),
            2 => (0..400_u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn everything_arrives_once_and_in_order(steps in prop::collection::vec(step(), 1..150)) {
            let (mut test, first) = Test::open();
            let before = first.0 - 1;
            let mut server = Server { last: before, answered: before, ..Server::default() };
            let document = test.client.open[0].document.clone();
            let document = String::from_utf8(document.to_vec()).unwrap();
            // On the way to the server, and at the server.
            let mut line = vec![(first, document)];
            let mut waiting: Vec<Rid> = Vec::new();
            let (mut said, mut heard) = (Vec::new(), Vec::new());
            let end = [
                Step::Pass(3000),
                Step::Deliver(0),
                Step::Answer(0),
                Step::Answer(1),
            ];
            let end = end.iter().cloned().cycle().take(80);
            for step in steps.iter().cloned().chain(end) {
                match step {
                    Step::ClientSays => {
                        let id = format!("c{}", said.len());
                        test.client.queue(message(&id).into());
                        said.push(id);
                    }
                    Step::ServerSays => {
                        let id = format!("s{}", server.said.len() + server.pending.len());
                        server.pending.push(id);
                    }
                    Step::Deliver(at) if at < line.len() => {
                        let (rid, document) = line.remove(at);
                        server.take(rid.0, &document);
                        waiting.push(rid);
                    }
                    Step::Answer(at) if at < waiting.len() => {
                        if let Some(answer) = server.answer(waiting[at].0) {
                            let rid = waiting.remove(at);
                            test.answer(rid, &answer);
                        }
                    }
                    Step::LoseRequest(at) if at < line.len() => {
                        let (rid, _) = line.remove(at);
                        test.client.handle_failure(rid, test.now);
                    }
                    Step::LoseAnswer(at) if at < waiting.len() => {
                        // The answer may have been written before it was lost.
                        server.answer(waiting[at].0);
                        let rid = waiting.remove(at);
                        test.client.handle_failure(rid, test.now);
                    }
                    Step::Pass(ms) => test.pass(Duration::from_millis(ms)),
                    _ => {}
                }
                while let Some((rid, document)) = test.try_request() {
                    line.retain(|(other, _)| *other != rid);
                    waiting.retain(|other| *other != rid);
                    line.push((rid, document));
                }
                prop_assert!(test.client.open.len() <= 2);
                prop_assert!(!test.client.open.is_empty() || test.client.poll_timeout().is_some());
                heard.extend(test.events());
            }
            prop_assert_eq!(server.received, said);
            prop_assert!(server.pending.is_empty());
            prop_assert_eq!(heard, server.said);
        }
    }
}
