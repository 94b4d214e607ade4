//! Who is told that the user comes, changes and goes, and whose presence is answered.

use super::*;

#[test]
fn becoming_available_is_announced_to_those_who_may_see_it() {
    let list = roster(&[
        ("both@example.org", Subscription::Both),
        ("from@example.org", Subscription::From),
        ("none@example.org", Subscription::None),
        ("to@example.org", Subscription::To),
    ]);
    let away = "<show>away</show>";
    let question = "<presence to='to@example.org' id='rostergate-hello' type='unavailable'/>";
    let announcement = hello("both@example.org", away) + &marked("hello", "from@example.org", away);
    let announcement = announcement + question;
    let presence = "<presence><show>away</show></presence>";

    let mut harness = Harness::bound();
    assert_eq!(
        harness.client(presence),
        [format!("S {presence}"), "need".into()]
    );
    assert_eq!(
        harness.ready(&list),
        std::slice::from_ref(&announcement),
        "presence before the roster"
    );

    let mut harness = Harness::bound();
    harness.client(GET);
    harness.ready(&list);
    let effects = harness.client(presence);
    assert_eq!(
        effects,
        [format!("S {presence}"), announcement],
        "roster before presence"
    );
}

#[test]
fn a_contact_that_turns_up_is_answered_once() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    let hello = "<presence from='marie@example.org/phone'/>";
    assert_eq!(
        harness.server(hello),
        [format!("C {hello}"), news("marie@example.org", ""),]
    );
    assert_eq!(harness.server(hello), [format!("C {hello}")]);
    harness.server("<presence from='marie@example.org/phone' type='unavailable'/>");
    assert_eq!(
        harness.server(hello).len(),
        2,
        "gone and back: answered again"
    );
    let stranger = "<presence from='nobody@example.org/x'/>";
    assert_eq!(harness.server(stranger), [format!("C {stranger}")]);
}

#[test]
fn a_contact_that_only_shows_itself_is_not_answered() {
    let mut harness = Harness::online(&roster(&[("marie@example.org", Subscription::To)]));
    assert_eq!(
        harness
            .server("<presence from='marie@example.org/x'/>")
            .len(),
        1
    );
}

#[test]
fn changes_go_to_contacts_who_are_there_and_to_those_who_cannot_be_seen() {
    let mut harness = Harness::online(&roster(&[
        ("away@example.org", Subscription::Both),
        ("from@example.org", Subscription::From),
        ("here@example.org", Subscription::Both),
    ]));
    harness.server("<presence from='here@example.org/x'/>");
    let change = "<presence><show>dnd</show></presence>";
    assert_eq!(
        harness.client(change)[1],
        news("from@example.org", "<show>dnd</show>")
            + &marked("news", "here@example.org", "<show>dnd</show>")
    );
}

#[test]
fn after_unavailable_the_next_presence_is_an_announcement_again() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    let bye = "<presence type='unavailable'/>";
    assert_eq!(
        harness.client(bye),
        [format!("S {bye}")],
        "the server tells the contacts"
    );
    assert_eq!(
        harness
            .server("<presence from='marie@example.org/x'/>")
            .len(),
        1
    );
    assert_eq!(harness.client("<presence/>").len(), 2);
}

#[test]
fn an_added_contact_is_sent_presence() {
    let mut harness = Harness::online(&friends(&[]));
    assert_eq!(
        harness.ready(&friends(&["marie@example.org"])),
        [
            push(1, "<item jid='marie@example.org' subscription='both'/>"),
            hello("marie@example.org", ""),
        ]
    );
}

#[test]
fn the_presence_of_someone_added_a_moment_later_is_not_lost() {
    let mut harness = Harness::online(&friends(&[]));
    let early = "<presence from='marie@example.org/x'><status>hi</status></presence>";
    harness.server(early);
    let effects = harness.ready(&friends(&["marie@example.org"]));
    assert_eq!(
        effects[1..],
        [format!("C {early}"), hello("marie@example.org", "")],
        "shown again, now to a contact"
    );
}

#[test]
fn a_removed_contact_goes_away_on_both_sides() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    harness.server("<presence from='marie@example.org/x'/>");
    harness.server("<presence from='marie@example.org/y'/>");
    assert_eq!(
        harness.ready(&friends(&[])),
        [
            unavailable_from("marie@example.org/x"),
            unavailable_from("marie@example.org/y"),
            push(1, "<item jid='marie@example.org' subscription='remove'/>"),
            "S <presence to='marie@example.org' id='rostergate-news' type='unavailable'/>".into(),
        ]
    );
}

#[test]
fn removed_contacts_go_before_the_first_push_and_new_ones_come_after_the_last() {
    let mut harness = Harness::online(&friends(&["marie@example.org", "zoe@example.org"]));
    harness.server("<presence from='marie@example.org/x'/>");
    harness.server("<presence from='zoe@example.org/x'/>");
    let early = "<presence from='bob@example.org/x'/>";
    harness.server(early);
    let effects = harness.ready(&friends(&["bob@example.org", "yves@example.org"]));
    let is_push = |effect: &String| effect.starts_with("C <iq");
    let pushes: Vec<usize> = (0..effects.len())
        .filter(|at| is_push(&effects[*at]))
        .collect();
    assert_eq!(
        pushes,
        [2, 3, 4, 5],
        "presence would take an answer of its own: {effects:?}"
    );
    assert_eq!(
        effects[..2],
        [
            unavailable_from("marie@example.org/x"),
            unavailable_from("zoe@example.org/x")
        ]
    );
    assert!(effects[6..].contains(&format!("C {early}")), "{effects:?}");
}

#[test]
fn a_resource_that_is_not_available_takes_no_part() {
    let mut harness = Harness::bound();
    harness.client(GET);
    harness.ready(&friends(&["a@example.org"]));
    let effects = harness.ready(&friends(&["b@example.org"]));
    assert!(
        effects.iter().all(|effect| effect.starts_with("C <iq")),
        "{effects:?}"
    );
}

#[test]
fn a_changed_subscription_changes_who_sees_whom() {
    let marie = "marie@example.org";
    let mut harness = Harness::online(&friends(&[marie]));
    harness.server("<presence from='marie@example.org/x'/>");
    let effects = harness.ready(&roster(&[(marie, Subscription::None)]));
    assert_eq!(
        effects,
        [
            unavailable_from("marie@example.org/x"),
            push(1, "<item jid='marie@example.org' subscription='none'/>"),
            "S <presence to='marie@example.org' id='rostergate-news' type='unavailable'/>".into(),
        ]
    );
    let effects = harness.ready(&friends(&[marie]));
    assert_eq!(effects[1], hello("marie@example.org", ""));
}

#[test]
fn directed_presence_of_the_client_passes_untouched() {
    let mut harness = Harness::online(&friends(&[]));
    for presence in [
        "<presence to='room@muc.example.org/john'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
        "<presence type='unavailable' to='room@muc.example.org/john'/>",
    ] {
        assert_eq!(harness.client(presence), [format!("S {presence}")]);
    }
}

#[test]
fn errors_to_presence_that_the_client_did_not_send_are_hidden() {
    let mut harness = Harness::online(&friends(&["far@example.net"]));
    let none: [&str; 0] = [];
    assert_eq!(
        harness.server("<presence type='error' from='far@example.net'/>"),
        none
    );
    assert_eq!(
        harness
            .server("<presence type='error' from='room@example.net/me'/>")
            .len(),
        1
    );
}

/// 100,000 contacts: what is written for them waits for its turn.
#[test]
fn presence_goes_to_many_when_there_is_room() {
    let mut harness = Harness::bound();
    let jids: Vec<String> = (0..5000).map(|n| format!("c{n:04}@example.org")).collect();
    let jids: Vec<&str> = jids.iter().map(String::as_str).collect();
    harness.client(GET);
    harness.ready(&friends(&jids));
    let presence = |status: &str| {
        let filling = "x".repeat(10_000);
        stanza(&format!(
            "<presence><status>{status}{filling}</status></presence>"
        ))
    };
    let told = |pipe: &mut Pipe, status: &str| {
        let mut told = Vec::new();
        while pipe.is_telling() {
            let Some(Effect::ToServerMany { bytes, .. }) = pipe.poll_effect(true) else {
                continue;
            };
            let bytes = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(bytes.len() < 40_000, "a batch");
            let parts = bytes.split("<presence").skip(1);
            told.extend(parts.map(|part| {
                assert!(part.contains(&format!("<status>{status}x")), "the latest");
                let to = part.split(" to='").nth(1).unwrap();
                to.split('\'').next().unwrap().to_owned()
            }));
            if told.len() == 20 {
                break;
            }
        }
        told
    };
    let pipe = &mut harness.0;
    pipe.client_stanza(presence("first"));
    assert!(matches!(pipe.poll_effect(false), Some(Effect::ToServer(_))));
    assert!(pipe.poll_effect(false).is_none() && pipe.is_telling());
    let mut all = told(pipe, "first");
    assert_eq!(all.len(), 20);
    // Whoever has not heard of the first one hears the second alone; the others are not known to be there.
    pipe.client_stanza(presence("second"));
    loop {
        let more = told(pipe, "second");
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    assert_eq!(all, jids);
    assert!(!pipe.is_telling());
    pipe.client_stanza(presence("third"));
    assert_eq!(told(pipe, "third"), [""; 0]);
}

#[test]
fn a_new_roster_waits_until_all_are_told() {
    let mut harness = Harness::bound();
    let jids: Vec<String> = (0..3000).map(|n| format!("c{n:04}@example.org")).collect();
    let jids: Vec<&str> = jids.iter().map(String::as_str).collect();
    harness.client(GET);
    harness.ready(&friends(&jids));
    let pipe = &mut harness.0;
    pipe.client_stanza(stanza("<presence/>"));
    while pipe.poll_effect(false).is_some() {}
    pipe.roster_ready(&friends(&jids[1..]));
    assert!(pipe.poll_effect(false).is_none(), "the old list first");
    let effects = harness.effects();
    let first = effects
        .iter()
        .position(|it| it.contains("to='c0000@"))
        .unwrap();
    let told = effects
        .iter()
        .filter(|it| it.starts_with("S <presence to='"))
        .count();
    let goodbye = "S <presence to='c0000@example.org' id='rostergate-news' type='unavailable'/>";
    let goodbye = effects.iter().position(|it| it == goodbye).unwrap();
    assert!(told > 1 && first < goodbye, "{told}, {first}, {goodbye}");
}

/// Two who each have more sessions than the other can tell apart would answer each other for ever.
#[test]
fn a_presence_that_cannot_be_remembered_is_not_answered() {
    let mut harness = Harness::online(&friends(&["jane@example.org"]));
    let presence =
        |number: u32| format!("<presence from='jane@example.org/{number}' to='{FULL}'/>");
    let is_answer = |effect: &String| effect.starts_with("S <presence");
    let mut answers = 0;
    for _ in 0..3 {
        for number in 0..50 {
            let effects = harness.server(&presence(number));
            answers += effects.iter().filter(|it| is_answer(it)).count();
        }
    }
    assert_eq!(answers, 32);
}

/// Written down, an apostrophe takes six bytes.
#[test]
fn a_presence_that_is_too_large_goes_to_nobody() {
    let mut harness = Harness::bound();
    for long in [5000, 600].map(|count| "&apos;".repeat(count)) {
        for stanza in [
            format!("<presence type='x' id='{long}' to='{long}'/>"),
            format!("<iq type='get' id='{long}'><query xmlns='jabber:iq:roster'/></iq>"),
            format!(
                "<iq type='set' id='{long}' to='{BARE}'><query xmlns='jabber:iq:roster'/></iq>"
            ),
        ] {
            let effects = harness.client(&stanza);
            let all: usize = effects.iter().map(String::len).sum();
            assert!(effects.len() == 1 && all < 500, "{all}");
            assert!(effects[0].contains("type='error'"));
        }
    }
}

#[test]
fn presence_remembered_before_the_list_is_bounded() {
    let mut harness = Harness::bound();
    harness.client("<presence/>");
    let long = "r".repeat(1000);
    let from = |number: usize| format!("c{number:03}@example.org");
    for number in 0..200 {
        let from = from(number);
        harness.server(&format!("<presence from='{from}/{long}' to='{FULL}'/>"));
    }
    let jids: Vec<String> = (0..200).map(from).collect();
    let jids: Vec<&str> = jids.iter().map(String::as_str).collect();
    harness.ready(&friends(&jids));
    // Who is known as there hears of a change, and nobody else.
    let told = harness.client("<presence><show>away</show></presence>");
    let told = told.join("").matches(" to='c").count();
    assert!((50..70).contains(&told), "{told}");
}

#[test]
fn presence_of_no_measure_goes_to_nobody() {
    let mut harness = Harness::online(&friends(&["jane@example.org"]));
    let filling = "x".repeat(crate::pipe::presence::MAX_BROADCAST);
    let effects = harness.client(&format!(
        "<presence id='p'><status>{filling}</status></presence>"
    ));
    assert_eq!(
        effects,
        ["C <presence type='error' id='p'><error type='modify'>\
             <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>presence is too large</text>\
             </error></presence>"]
    );
}

/// However many steps the announcement takes of which nothing comes.
#[test]
fn a_newer_roster_is_not_forgotten_after_an_announcement() {
    for silent in (1_900..2_200).step_by(20) {
        let mut contacts: Vec<String> = (0..silent).map(|n| format!("s{n:04}@b")).collect();
        contacts.push("a@b".to_owned());
        let contacts: Vec<_> = contacts
            .iter()
            .map(|jid| match jid.starts_with('a') {
                true => (jid.as_str(), Subscription::Both),
                false => (jid.as_str(), Subscription::To),
            })
            .collect();
        let mut harness = Harness::bound();
        harness.client("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        harness.ready(&roster(&contacts));
        harness.0.client_stanza(stanza("<presence/>"));
        harness.0.roster_ready(&friends(&["new@b"]));
        let effects = harness.effects();
        assert!(
            effects.iter().any(|effect| effect.contains("jid='new@b'")),
            "{silent}"
        );
    }
}

/// Whatever they call themselves.
#[test]
fn everybody_in_a_room_is_seen() {
    let mut harness = Harness::online(&friends(&[]));
    harness.client("<presence to='room@muc.example.org/john'/>");
    for presence in [
        "<presence from='room@muc.example.org/eve' id='rostergate-hello'/>",
        "<presence from='room@muc.example.org/eve' type='unavailable' id='rostergate-news'/>",
    ] {
        assert_eq!(harness.server(presence), [format!("C {presence}")]);
    }
}

/// She may see him, he may not see her: she asks, and he answers.
#[test]
fn a_user_who_sees_a_contact_but_is_not_seen_asks_for_its_presence() {
    let question = "<presence to='john@example.org' id='rostergate-hello' type='unavailable'/>";
    let mut marie = Harness::online(&roster(&[]));
    let list = roster(&[("john@example.org", Subscription::To)]);
    assert_eq!(marie.ready(&list)[1..], [format!("S {question}")]);
    marie.client("<presence type='unavailable'/>");
    assert_eq!(marie.client("<presence/>")[1..], [format!("S {question}")]);
    let change = marie.client("<presence><show>away</show></presence>");
    assert_eq!(change.len(), 1, "she is not there for him");

    let mut john = Harness::online(&roster(&[("marie@example.org", Subscription::From)]));
    let asked = question.replace("<presence", "<presence from='marie@example.org/web'");
    assert_eq!(john.server(&asked), [news("marie@example.org", "")]);
}
