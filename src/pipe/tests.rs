use super::*;
use crate::{
    proto::{
        stream::initiator::{Event, Stream},
        xml::{Limits, scan_body},
    },
    roster::{Contact, Subscription},
};

mod blocking;
mod features;
mod presence;
mod presence_model;

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
                Effect::TellAccount(change) => format!("tell {:?}", change.act()),
                Effect::Block(stanza, change) => {
                    format!("{:?} {}", change.act(), text(&stanza))
                }
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

/// What announces the client to a contact.
fn hello(jid: &str, says: &str) -> String {
    format!("S {}", marked("hello", jid, says))
}

/// What tells a contact of the client's presence and needs no answer.
fn news(jid: &str, says: &str) -> String {
    format!("S {}", marked("news", jid, says))
}

fn marked(mark: &str, jid: &str, says: &str) -> String {
    let head = format!("<presence to='{jid}' id='rostergate-{mark}'");
    match says {
        "" => format!("{head}/>"),
        says => format!("{head}>{says}</presence>"),
    }
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
    assert!(harness.0.is_interested(), "it does not ask again");
    let list = friends(&["jane@example.org", "marie@example.org"]);
    let item = |jid| format!("<item jid='{jid}@example.org' subscription='both'/>");
    let pushes = [push(1, &item("jane")), push(2, &item("marie"))];
    assert_eq!(harness.ready(&list), pushes);
    assert_eq!(harness.ready(&list), [""; 0]);
}

#[test]
fn who_asks_again_for_a_roster_that_could_not_be_had_is_answered() {
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

#[test]
fn what_cannot_be_passed_on_is_told_to_those_who_wait() {
    let mut harness = Harness::online(&friends(&["a@b"]));
    let mut husk = |text: &str| {
        harness.0.server_husk(stanza(text));
        harness.effects()
    };
    let why = "<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    for (text, expected) in [
        ("<message/>", None),
        ("<message from='r@b/x' type='groupchat'/>", None),
        ("<message from='b' type='headline'/>", None),
        ("<message from='a@b' type='error'/>", None),
        ("<iq/>", None),
        (
            "<message from='a@b/c' id='1'/>",
            Some(format!(
                "S <message type='error' id='1' to='a@b/c'>{why}</message>"
            )),
        ),
        (
            "<iq type='set' id='1'/>",
            Some(format!("S <iq type='error' id='1'>{why}</iq>")),
        ),
        (
            "<iq type='result' id='1' from='a@b'/>",
            Some(format!("C <iq type='error' id='1' from='a@b'>{why}</iq>")),
        ),
        (
            "<presence from='a@b/c'/>",
            Some("C <presence from='a@b/c'/>".to_owned()),
        ),
        (
            "<presence from='a@b/c' type='unavailable'/>",
            Some("C <presence from='a@b/c' type='unavailable'/>".to_owned()),
        ),
        ("<presence from='a@b/c' type='subscribe'/>", None),
        ("<presence/>", None),
    ] {
        let effects = husk(text);
        assert_eq!(effects.first(), expected.as_ref(), "{text}");
    }
}
