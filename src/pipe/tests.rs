use super::*;
use crate::{
    proto::{
        c2s::stream::{Event, Stream},
        xml::{Limits, scan_body},
    },
    roster::{Contact, Subscription},
};

const FULL: &str = "john@example.org/web";
const BARE: &str = "john@example.org";

/// A pipe with readable effects.
struct Harness(Pipe);

fn stanza(text: &str) -> Stanza {
    Stanza::parse(text.to_owned()).unwrap()
}

fn text(stanza: &Stanza) -> String {
    String::from_utf8(stanza.chunks().flatten().collect()).unwrap()
}

fn contact(jid: &str, subscription: Subscription) -> Contact {
    Contact {
        jid: jid.parse().unwrap(),
        name: None,
        groups: Vec::new(),
        subscription,
    }
}

fn roster(contacts: &[(&str, Subscription)]) -> Arc<Roster> {
    Arc::new(Roster::new(
        contacts
            .iter()
            .map(|(jid, sub)| contact(jid, *sub))
            .collect(),
    ))
}

fn friends(jids: &[&str]) -> Arc<Roster> {
    Arc::new(Roster::new(
        jids.iter()
            .map(|jid| contact(jid, Subscription::Both))
            .collect(),
    ))
}

impl Harness {
    fn unbound(rules: Rules) -> Self {
        Self(Pipe::new(rules, "example.org"))
    }

    fn new(rules: Rules) -> Self {
        let mut harness = Self::unbound(rules);
        let effects = harness.server(&format!(
            "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{FULL}</jid>\
             </bind></iq>"
        ));
        assert_eq!(effects.last().map(String::as_str), Some("bound"));
        harness
    }

    fn bound() -> Self {
        Self::new(Rules {
            rosters: true,
            directed: true,
        })
    }

    /// A client that is available and has its roster.
    fn online(roster: &Arc<Roster>) -> Self {
        let mut harness = Self::bound();
        harness.client("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        harness.ready(roster);
        harness.client("<presence/>");
        harness
    }

    fn client(&mut self, text: &str) -> Vec<String> {
        self.0.client_stanza(stanza(text));
        self.effects()
    }

    fn server(&mut self, text: &str) -> Vec<String> {
        self.0.server_stanza(stanza(text));
        self.effects()
    }

    fn ready(&mut self, roster: &Arc<Roster>) -> Vec<String> {
        self.0.roster_ready(roster);
        self.effects()
    }

    fn effects(&mut self) -> Vec<String> {
        // Until there is nothing more, however many steps it takes.
        let next = || loop {
            let effect = self.0.poll_effect(true);
            if effect.is_some() || !self.0.is_telling() {
                return effect;
            }
        };
        std::iter::from_fn(next)
            .map(|effect| match effect {
                Effect::Bound => "bound".into(),
                Effect::NeedRoster => "need".into(),
                Effect::ToClient(stanza) => format!("C {}", text(&stanza)),
                Effect::ToServer(stanza) => format!("S {}", text(&stanza)),
                Effect::ToServerMany { bytes, .. } => {
                    format!("S {}", String::from_utf8_lossy(&bytes))
                }
            })
            .map(|text| text.replace(" xmlns='jabber:client'", ""))
            .collect()
    }
}

const GET: &str = "<iq type='get' id='r1'><query xmlns='jabber:iq:roster' ver='x'/></iq>";

fn push(number: u32, item: &str) -> String {
    format!(
        "C <iq type='set' id='rostergate-push-{number}' to='{FULL}'>\
         <query xmlns='jabber:iq:roster'>{item}</query></iq>"
    )
}

fn unavailable_from(jid: &str) -> String {
    format!("C <presence type='unavailable' from='{jid}' to='{FULL}'/>")
}

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

/// What an idle session takes would else be what its last request was read into.
#[test]
fn nothing_that_is_kept_of_a_client_keeps_its_request_in_memory() {
    let mut harness = Harness::online(&friends(&["jane@example.org"]));
    for text in [
        "<presence><show>away</show></presence>",
        "<iq type='get' id='r2'><query xmlns='jabber:iq:roster'/></iq>",
        "<message to='jane@example.org' id='m'><body>hi</body></message>",
    ] {
        let wrapped = format!("<body xmlns='http://jabber.org/protocol/httpbind'>{text}</body>");
        let request = Bytes::from(wrapped);
        let body = scan_body(request.clone(), &Limits::default()).unwrap();
        for stanza in body.children {
            harness.0.client_stanza(stanza);
        }
        harness.effects();
        assert!(request.is_unique(), "{text}");
    }
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
fn a_roster_that_cannot_be_had_is_an_error_to_wait_for() {
    let mut harness = Harness::bound();
    harness.client(GET);
    harness.0.roster_failed();
    let answer = harness.effects().remove(0);
    assert!(answer.contains("type='error' id='r1'"), "{answer}");
    assert!(
        answer.contains("<error type='wait'><internal-server-error"),
        "{answer}"
    );
    assert!(!harness.0.is_interested());
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
fn subscription_stanzas_never_pass() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    for kind in ["subscribed", "unsubscribe", "unsubscribed", "probe"] {
        for to in ["marie@example.org", "marie@example.org/phone"] {
            let none: [&str; 0] = [];
            assert_eq!(
                harness.client(&format!("<presence type='{kind}' to='{to}'/>")),
                none
            );
            assert_eq!(
                harness.server(&format!("<presence type='{kind}' from='{to}'/>")),
                none
            );
        }
    }
    let none: [&str; 0] = [];
    assert_eq!(
        harness.server("<presence type='subscribe' from='x@example.org'/>"),
        none
    );
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
fn who_has_not_asked_for_the_roster_gets_no_pushes() {
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

#[test]
fn becoming_available_is_announced_to_those_who_may_see_it() {
    let list = roster(&[
        ("both@example.org", Subscription::Both),
        ("from@example.org", Subscription::From),
        ("none@example.org", Subscription::None),
        ("to@example.org", Subscription::To),
    ]);
    let announcement = "S <presence to='both@example.org'><show>away</show></presence>\
                        <presence to='from@example.org'><show>away</show></presence>";
    let presence = "<presence><show>away</show></presence>";

    let mut harness = Harness::bound();
    assert_eq!(
        harness.client(presence),
        [format!("S {presence}"), "need".into()]
    );
    assert_eq!(
        harness.ready(&list),
        [announcement],
        "presence before the roster"
    );

    let mut harness = Harness::bound();
    harness.client(GET);
    harness.ready(&list);
    let effects = harness.client(presence);
    assert_eq!(
        effects,
        [format!("S {presence}"), announcement.into()],
        "roster before presence"
    );
}

#[test]
fn a_contact_that_turns_up_is_answered_once() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    let hello = "<presence from='marie@example.org/phone'/>";
    assert_eq!(
        harness.server(hello),
        [
            format!("C {hello}"),
            "S <presence to='marie@example.org/phone'/>".into()
        ]
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
        "S <presence to='from@example.org'><show>dnd</show></presence>\
         <presence to='here@example.org'><show>dnd</show></presence>"
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
            "S <presence to='marie@example.org'/>".into(),
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
        effects.last(),
        Some(&format!("C {early}")),
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
            "S <presence type='unavailable' to='marie@example.org'/>".into(),
        ]
    );
}

#[test]
fn who_goes_is_gone_before_the_first_push_and_who_comes_is_there_after_the_last() {
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
            "S <presence type='unavailable' to='marie@example.org'/>".into(),
        ]
    );
    let effects = harness.ready(&friends(&[marie]));
    assert_eq!(effects[1], "S <presence to='marie@example.org'/>");
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

#[test]
fn with_presence_left_to_the_server_only_subscriptions_are_stopped() {
    let mut harness = Harness::new(Rules {
        rosters: true,
        directed: false,
    });
    harness.client(GET);
    harness.ready(&friends(&["marie@example.org"]));
    assert_eq!(harness.client("<presence/>"), ["S <presence/>"]);
    assert_eq!(
        harness
            .server("<presence from='marie@example.org/x'/>")
            .len(),
        1
    );
    let none: [&str; 0] = [];
    assert_eq!(
        harness.client("<presence type='subscribed' to='marie@example.org'/>"),
        none
    );
}

#[test]
fn a_host_without_rosters_is_passed_through() {
    let mut harness = Harness::new(Rules {
        rosters: false,
        directed: true,
    });
    for text in [GET, "<presence type='subscribe' to='a@b'/>", "<presence/>"] {
        assert_eq!(harness.client(text), [format!("S {text}")]);
        assert_eq!(harness.server(text), [format!("C {text}")]);
    }
}

#[test]
fn nothing_is_answered_before_the_resource_is_bound() {
    let mut pipe = Harness::unbound(Rules {
        rosters: true,
        directed: true,
    });
    let refused = |head: &str, name: &str| {
        format!(
            "C <{head}><error type='wait'><unexpected-request \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></{name}>"
        )
    };
    // The server may have bound it when it gets them.
    let get = refused("iq type='error' id='r1'", "iq");
    for kind in ["get", "set"] {
        assert_eq!(pipe.client(&GET.replace("get", kind)), [&*get]);
    }
    for kind in [
        "subscribe",
        "subscribed",
        "unsubscribe",
        "unsubscribed",
        "probe",
    ] {
        let presence = format!("<presence type='{kind}' to='x@example.org'/>");
        let head = "presence type='error' from='x@example.org'";
        assert_eq!(pipe.client(&presence), [refused(head, "presence")]);
    }
    for passes in ["<presence/>", "<message to='x@example.org'/>"] {
        assert_eq!(pipe.client(passes), [format!("S {passes}")]);
    }
}

#[test]
fn legacy_authentication_never_passes() {
    let rules = Rules {
        rosters: false,
        directed: false,
    };
    let query = "<query xmlns='jabber:iq:auth'><username>john</username></query>";
    for mut pipe in [Harness::unbound(rules), Harness::new(rules)] {
        for kind in ["get", "set"] {
            let answer = pipe.client(&format!("<iq type='{kind}' id='a'>{query}</iq>"));
            assert_eq!(answer.len(), 1);
            assert!(
                answer[0].starts_with("C <iq type='error' id='a'>"),
                "{answer:?}"
            );
        }
    }
}

/// Whatever a server may take for a request about its own list of this user.
#[test]
fn nothing_that_a_server_may_take_for_a_roster_request_passes() {
    let query = "<query xmlns='jabber:iq:roster'><item jid='x@y'/></query>";
    let two = format!("<x xmlns='y'/>{query}");
    for (attributes, payload, condition) in [
        ("type='set' to=''", query, "not-allowed"),
        ("type='set' to='john@example.org.'", query, "not-allowed"),
        ("type='set' to='ＪＯＨＮ@example.org'", query, "not-allowed"),
        (
            "type='set' to='joh&#110;@example.org'",
            query,
            "not-allowed",
        ),
        ("type='set' to='john@example。org'", query, "not-allowed"),
        ("type='set' to='example.org'", query, "not-allowed"),
        (
            "type='set' to='john@example.org/web'",
            query,
            "service-unavailable",
        ),
        (
            "type='set' to='john@example.org/\u{ad}'",
            query,
            "jid-malformed",
        ),
        ("type='set' to=' john@example.org'", query, "jid-malformed"),
        ("type='set' to='john@example.org/'", query, "jid-malformed"),
        ("type='set'", &two, "bad-request"),
        ("type='SET'", query, "bad-request"),
        ("", query, "bad-request"),
        (
            "type='set'",
            "<vcard xmlns='jabber:iq:roster'/>",
            "bad-request",
        ),
        ("type='set' xmlns='jabber:server'", query, "bad-request"),
        (
            "type='set' xmlns='jabber:component:accept'",
            query,
            "bad-request",
        ),
    ] {
        let mut harness = Harness::online(&friends(&[]));
        let effects = harness.client(&format!("<iq id='s' {attributes}>{payload}</iq>"));
        let to_server = effects.iter().find(|effect| effect.starts_with('S'));
        assert_eq!(to_server, None, "{attributes} {payload}");
        assert!(effects[0].contains("type='error' id='s'"), "{effects:?}");
        assert!(
            effects[0].contains(&format!("<{condition} ")),
            "{effects:?}"
        );
    }
    let mut harness = Harness::online(&friends(&[]));
    for presence in [
        "<presence type='SUBSCRIBE' to='x@y.org'/>",
        "<presence type=' subscribe' to='x@y.org'/>",
        "<presence type='' to='x@y.org'/>",
        "<presence type='subscribe' to='@'/>",
        "<presence type='subscribe'/>",
        "<presence xmlns='jabber:server' type='subscribe' to='x@y.org'/>",
        "<message xmlns='jabber:server' to='x@y.org'/>",
    ] {
        let effects = harness.client(presence);
        assert_eq!(effects.len(), 1, "{presence}");
        assert!(effects[0].starts_with("C "), "{effects:?}");
        assert!(effects[0].contains(" type='error'"), "{effects:?}");
    }
    let none: [&str; 0] = [];
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>eA==</auth>";
    assert_eq!(harness.client(auth), none, "nobody becomes somebody else");
}

/// What the client is offered of these features, in a stream that declares this.
fn offered(declared: &str, inside: &str) -> String {
    let mut stream = Stream::new();
    let text = format!(
        "<s:stream xmlns:s='http://etherx.jabber.org/streams' version='1.0' {declared}>\
         <s:features xmlns:f='urn:f'>{inside}</s:features>"
    );
    stream.handle_bytes(text.as_bytes());
    let events: Vec<Event> = std::iter::from_fn(|| stream.poll_event().unwrap()).collect();
    let [Event::Header(_), Event::Features(features)] = &events[..] else {
        panic!("{events:?}")
    };
    text_of_features(&features::offer(features, true))
}

fn text_of_features(offer: &Stanza) -> String {
    let whole = text(offer);
    let inside = whole.split_once('>').unwrap().1;
    inside
        .strip_suffix("</stream:features>")
        .unwrap()
        .to_owned()
}

#[test]
fn features_keep_the_namespaces_that_are_declared_around_them() {
    for (declared, inside, expected) in [
        // As jabberd2 has it.
        (
            "xmlns='jabber:client' xmlns:ack='http://www.xmpp.org/extensions/xep-0198.html#ns'",
            "<ack:ack/>",
            "<ack:ack xmlns:ack='http://www.xmpp.org/extensions/xep-0198.html#ns' xmlns:f='urn:f'/>",
        ),
        (
            "xmlns='urn:d'",
            "<f:a f:b='c'><d/></f:a>",
            "<f:a xmlns='urn:d' xmlns:f='urn:f' f:b='c'><d/></f:a>",
        ),
        (
            "xmlns:m='urn:ietf:params:xml:ns:xmpp-sasl'",
            "<m:mechanisms><m:mechanism>A&lt;b/&gt;</m:mechanism></m:mechanisms>",
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
             <mechanism>A&lt;b/&gt;</mechanism></mechanisms>",
        ),
    ] {
        let offer = offered(declared, inside);
        assert_eq!(offer, expected);
        // It is read on by a client that knows nothing of the stream.
        let body = format!(
            "<body xmlns='http://jabber.org/protocol/httpbind' \
             xmlns:stream='http://etherx.jabber.org/streams'>\
             <stream:features>{offer}</stream:features></body>"
        );
        assert!(
            scan_body(body.into(), &Limits::default()).is_ok(),
            "{offer}"
        );
    }
}

#[test]
fn features_beyond_all_measure_are_left_out() {
    let inside = "<f:a/>".repeat(10_000);
    assert!(offered("", &inside).len() < 10_000);
    let declarations: String = (0..100)
        .map(|number| format!(" xmlns:n{number}='urn:{}'", "x".repeat(200)))
        .collect();
    let features = stanza(&format!(
        "<s:features xmlns:s='http://etherx.jabber.org/streams'{declarations}><n1:a/></s:features>"
    ));
    assert_eq!(text_of_features(&features::offer(&features, true)), "");
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
    let goodbye = "S <presence type='unavailable' to='c0000@example.org'/>";
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
fn nobody_is_told_what_is_too_long_to_be_meant() {
    let mut harness = Harness::bound();
    let long = "&apos;".repeat(5000);
    for stanza in [
        format!("<presence type='x' id='{long}' to='{long}'/>"),
        format!("<iq type='get' id='{long}'><query xmlns='jabber:iq:roster'/></iq>"),
        format!("<iq type='set' id='{long}' to='{BARE}'><query xmlns='jabber:iq:roster'/></iq>"),
    ] {
        let effects = harness.client(&stanza);
        let all: usize = effects.iter().map(String::len).sum();
        assert!(effects.len() == 1 && all < 500, "{all}");
        assert!(effects[0].contains("type='error'"));
    }
}

#[test]
fn what_is_remembered_before_the_list_is_there_has_a_bound() {
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
    let filling = "x".repeat(presence::MAX_BROADCAST);
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

#[test]
fn features_that_end_at_the_gateway_are_not_offered() {
    let mut pipe = Harness::unbound(Rules {
        rosters: true,
        directed: true,
    });
    let offered = pipe.server(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
         <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
         <compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>\
         <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>\
         <mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms>\
         <auth xmlns='http://jabber.org/features/iq-auth'/>\
         <authentication xmlns='urn:xmpp:sasl:2'/><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'/>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>\
         <sm xmlns='urn:xmpp:sm:2'/><sm xmlns='urn:xmpp:sm:3'/><csi xmlns='urn:xmpp:csi:0'/>\
         <ver xmlns='urn:xmpp:features:rosterver'/><sub xmlns='urn:xmpp:features:pre-approval'/>\
         </stream:features>",
    );
    assert_eq!(
        offered,
        [
            "C <stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
         <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>\
         <mechanism>SCRAM-SHA-1</mechanism></mechanisms>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>\
         <csi xmlns='urn:xmpp:csi:0'/></stream:features>"
        ]
    );
}

#[test]
fn a_client_cannot_negotiate_what_it_is_not_offered() {
    let mut pipe = Harness::unbound(Rules {
        rosters: false,
        directed: false,
    });
    let none: [&str; 0] = [];
    for text in [
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<enable xmlns='urn:xmpp:sm:3'/>",
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
    ] {
        assert_eq!(pipe.client(text), none);
    }
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>eA==</auth>";
    assert_eq!(pipe.client(auth), [format!("S {auth}")]);
}

#[test]
fn undelivered_stanzas_come_back_to_their_senders_once() {
    let bounced = |text: &str| bounce::undelivered(&stanza(text)).map(|error| self::text(&error));
    let error =
        bounced("<message from='a@b/c' id='1' type='chat'><body>hi</body></message>").unwrap();
    assert!(
        error.contains("to='a@b/c'") && error.contains("recipient-unavailable"),
        "{error}"
    );
    let error = bounced("<iq from='a@b/c' id='1' type='get'><x xmlns='y'/></iq>").unwrap();
    assert!(
        error.contains("id='1'") && error.contains("service-unavailable"),
        "{error}"
    );
    for silent in [
        "<presence from='a@b/c'/>",
        "<message type='error' from='a@b'/>",
        "<iq type='result' id='1'/>",
    ] {
        assert_eq!(bounced(silent), None);
    }
}
