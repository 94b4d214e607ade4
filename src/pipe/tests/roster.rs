//! Roster service: what a client hears of its contact list, and what becomes of roster requests.

use super::*;

#[test]
fn a_roster_get_is_answered_here_and_never_forwarded() {
    let mut harness = Harness::bound();
    assert_eq!(harness.client(GET), ["need"]);
    let answers = harness.ready(&friends(&["marie@example.org"]));
    assert_eq!(
        answers,
        [format!(
            "C <iq type='result' id='r1' to='{FULL}'><query xmlns='jabber:iq:roster'>\
             <item jid='marie@example.org' subscription='both'/></query></iq>"
        )]
    );
    assert!(harness.0.is_interested());
}

#[test]
fn a_roster_get_addressed_to_the_own_account_is_answered_from_there() {
    let mut harness = Harness::bound();
    for to in [BARE, "JOHN@Example.ORG"] {
        harness.client(&format!(
            "<iq type='get' id='r' to='{to}'><query xmlns='jabber:iq:roster'/></iq>"
        ));
        let answer = harness.ready(&friends(&[])).remove(0);
        assert!(answer.contains(&format!(" from='{to}'")), "{answer}");
    }
}

/// A server that takes any name has these beside `john`.
#[test]
fn a_look_alike_has_no_list_and_chats() {
    for full in [
        "ʲohn@example.org/web",
        "ᴶohn@example.org/web",
        "john@example.com/web",
    ] {
        let mut harness = Harness::unbound(Rules {
            rosters: true,
            directed: true,
            manages_streams: false,
            contacts_only: false,
        });
        let bound = harness.server(&format!(
            "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{full}</jid>\
             </bind></iq>"
        ));
        assert_eq!(bound.last().map(String::as_str), Some("bound"), "{full}");
        for kind in ["get", "set"] {
            let asked = harness.client(&GET.replace("get", kind));
            let refused = format!(
                "C <iq type='error' id='r1' to='{full}'><error type='cancel'><service-unavailable \
                 xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            );
            assert_eq!(asked, [refused]);
        }
        assert_eq!(harness.client("<presence/>"), ["S <presence/>"]);
        for from in ["john@example.org/x", "marie@example.org/x"] {
            let presence = format!("<presence from='{from}'/>");
            assert_eq!(harness.server(&presence), [format!("C {presence}")]);
        }
        let message = "<message to='marie@example.org'><body>hi</body></message>";
        assert_eq!(harness.client(message), [format!("S {message}")]);
    }
}

#[test]
fn a_roster_get_to_anybody_else_passes() {
    let mut harness = Harness::bound();
    let get = "<iq type='get' id='r' to='aaron@example.org'><query xmlns='jabber:iq:roster'/></iq>";
    assert_eq!(harness.client(get), [format!("S {get}")]);
}

#[test]
fn several_gets_are_all_answered_by_one_roster() {
    let mut harness = Harness::bound();
    harness.client(GET);
    harness.client(&GET.replace("r1", "r2"));
    let answers = harness.ready(&friends(&[]));
    assert_eq!(answers.len(), 2);
    assert!(answers[1].contains("id='r2'"));
}

#[test]
fn a_roster_that_cannot_be_fetched_is_a_wait_error() {
    let mut harness = Harness::bound();
    harness.client(GET);
    harness.0.roster_failed();
    let answer = harness.effects().remove(0);
    assert!(answer.contains("type='error' id='r1'"), "{answer}");
    assert!(
        answer.contains("<error type='wait'><internal-server-error"),
        "{answer}"
    );
    assert!(harness.0.is_interested(), "it does not ask again");
    let list = friends(&["jane@example.org", "marie@example.org"]);
    let item = |jid| format!("<item jid='{jid}@example.org' subscription='both'/>");
    let pushes = [push(1, &item("jane")), push(2, &item("marie"))];
    assert_eq!(harness.ready(&list), pushes);
    assert_eq!(harness.ready(&list), [""; 0]);
}

#[test]
fn a_second_roster_get_is_answered_after_a_failed_one() {
    let mut harness = Harness::bound();
    harness.client(GET);
    harness.0.roster_failed();
    harness.effects();
    harness.client("<presence/>");
    harness.client(&GET.replace("r1", "r2"));
    let effects = harness.ready(&friends(&["marie@example.org"]));
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert!(effects[0].contains("type='result' id='r2'"), "{effects:?}");
    assert_eq!(effects[1], hello("marie@example.org", ""));
}

/// In this order: what is no contact yet has no presence.
#[test]
fn a_late_roster_is_pushed_and_then_contacts_are_told() {
    let mut harness = Harness::bound();
    harness.client(GET);
    harness.client("<presence/>");
    harness.0.roster_failed();
    harness.effects();
    let early = "<presence from='marie@example.org/x' id='rostergate-hello'/>";
    assert_eq!(harness.server(early), [""; 0]);
    assert_eq!(
        harness.ready(&friends(&["marie@example.org"])),
        [
            push(1, "<item jid='marie@example.org' subscription='both'/>"),
            format!("C {early}"),
            hello("marie@example.org", ""),
        ]
    );
}

#[test]
fn a_roster_set_is_refused_and_the_truth_is_pushed() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    let effects = harness.client(
        "<iq type='set' id='s1'><query xmlns='jabber:iq:roster'><item jid='Marie@example.org' \
         name='Mine'/></query></iq>",
    );
    assert!(effects[0].contains("type='error' id='s1'"), "{effects:?}");
    assert!(
        effects[0].contains("<error type='cancel'><not-allowed"),
        "{effects:?}"
    );
    assert_eq!(
        effects[1],
        push(1, "<item jid='marie@example.org' subscription='both'/>")
    );
    let effects = harness.client(
        "<iq type='set' id='s2'><query xmlns='jabber:iq:roster'><item jid='new@example.org'/></query></iq>",
    );
    assert_eq!(
        effects[1],
        push(2, "<item jid='new@example.org' subscription='remove'/>")
    );
    assert_eq!(effects.len(), 2);
}

#[test]
fn subscribing_is_declined_and_the_truth_is_pushed() {
    for to in ["new@example.org", "New@example.org/full"] {
        let mut harness = Harness::online(&friends(&[]));
        assert_eq!(
            harness.client(&format!("<presence type='subscribe' to='{to}'/>")),
            [
                format!("C <presence type='unsubscribed' from='new@example.org' to='{BARE}'/>"),
                push(1, "<item jid='new@example.org' subscription='remove'/>"),
            ]
        );
    }
}

#[test]
fn added_changed_and_removed_contacts_are_pushed_one_by_one() {
    let mut harness = Harness::bound();
    harness.client(GET);
    harness.ready(&friends(&["a@example.org", "b@example.org"]));
    let renamed = Contact {
        name: Some("B".into()),
        ..contact("b@example.org", Subscription::Both)
    };
    let new = Roster::new(vec![renamed, contact("c@example.org", Subscription::Both)]);
    assert_eq!(
        harness.ready(&Arc::new(new)),
        [
            push(1, "<item jid='a@example.org' subscription='remove'/>"),
            push(
                2,
                "<item jid='b@example.org' name='B' subscription='both'/>"
            ),
            push(3, "<item jid='c@example.org' subscription='both'/>"),
        ]
    );
}

#[test]
fn a_client_that_has_not_asked_for_the_roster_gets_no_pushes() {
    let mut harness = Harness::bound();
    assert_eq!(harness.client("<presence/>"), ["S <presence/>", "need"]);
    harness.ready(&friends(&["a@example.org"]));
    let effects = harness.ready(&friends(&[]));
    assert!(
        effects.iter().all(|effect| effect.starts_with('S')),
        "{effects:?}"
    );
}

#[test]
fn the_same_roster_again_says_nothing() {
    let mut harness = Harness::online(&friends(&["a@example.org"]));
    let none: [&str; 0] = [];
    assert_eq!(harness.ready(&friends(&["a@example.org"])), none);
}

#[test]
fn replies_to_pushes_are_swallowed_and_no_others() {
    let mut harness = Harness::online(&friends(&[]));
    harness.ready(&friends(&["a@example.org", "b@example.org"]));
    let none: [&str; 0] = [];
    for kind in ["result", "error"] {
        for to in ["", " to='john@example.org'", " to='example.org'"] {
            let reply = format!("<iq type='{kind}' id='rostergate-push-2'{to}/>");
            assert_eq!(harness.client(&reply), none);
        }
    }
    for passes in [
        "<iq type='result' id='x'/>",
        "<iq type='result' id='rostergate-push-0'/>",
        "<iq type='result' id='rostergate-push-02'/>",
        "<iq type='result' id='rostergate-push-3'/>",
        "<iq type='result' id='rostergate-push-'/>",
        "<iq type='result' id='rostergate-push-1' to='marie@example.org/x'/>",
        "<iq type='result' id='rostergate-push-1' to='john@example.org/other'/>",
        "<iq type='get' id='rostergate-push-1'><a xmlns='b'/></iq>",
    ] {
        assert_eq!(harness.client(passes), [format!("S {passes}")]);
    }
}

#[test]
fn pushes_of_others_are_hidden_and_answered() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    let query = "<query xmlns='jabber:iq:roster'><item jid='x@y'/></query>";
    for from in [
        "marie@example.org/x",
        "john@example.org/other",
        "example.com",
        "John@example.org",
    ] {
        for payload in [query, &format!("<a xmlns='b'/>{query}")] {
            let push = format!("<iq type='set' id='p1' from='{from}'>{payload}</iq>");
            let answer = format!(
                "S <iq type='error' id='p1' to='{from}'><error type='cancel'><service-unavailable \
                 xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            );
            assert_eq!(harness.server(&push), [answer]);
        }
    }
    let other = "<iq type='set' id='p1' from='x@example.org/y'><a xmlns='b'/></iq>";
    assert_eq!(harness.server(other), [format!("C {other}")]);
}

#[test]
fn pushes_of_the_server_are_answered_and_hidden() {
    let mut harness = Harness::online(&friends(&[]));
    for from in ["", " from='john@example.org'", " from='example.org'"] {
        let effects = harness.server(&format!(
            "<iq type='set' id='p1'{from}><query xmlns='jabber:iq:roster'><item jid='x@y'/></query></iq>"
        ));
        assert_eq!(effects, ["S <iq type='result' id='p1'/>"]);
    }
}
