//! Messages where only contacts may write to each other.

use super::*;

const ONLY_CONTACTS: Rules = Rules {
    rosters: true,
    directed: true,
    manages_streams: false,
    contacts_only: true,
};
const NOTHING: [&str; 0] = [];

/// A client of whose list only `friend@example.org` and `far@elsewhere.example` are.
fn online() -> Harness {
    let mut harness = Harness::new(ONLY_CONTACTS);
    harness.client(GET);
    harness.ready(&roster(&[
        ("friend@example.org", Subscription::Both),
        ("sees@example.org", Subscription::From),
        ("seen@example.org", Subscription::To),
        ("far@elsewhere.example", Subscription::Both),
        ("none@example.org", Subscription::None),
    ]));
    harness.client("<presence/>");
    harness
}

fn to(address: &str) -> String {
    format!("<message to='{address}' type='chat' id='m'><body>hi</body></message>")
}

fn from(address: &str) -> String {
    format!("<message from='{address}' type='chat' id='m'><body>hi</body></message>")
}

const TEXT: &str = "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>\
                    Only contacts can write to each other here.</text>";

#[test]
fn contacts_rooms_and_the_own_server_pass() {
    let mut harness = online();
    for other in [
        "friend@example.org",
        "FRIEND@Example.org/phone",
        "sees@example.org",
        "seen@example.org/x",
        "far@elsewhere.example/x",
        "john@example.org",
        "JOHN@example.org./other",
        "example.org",
        "example.org/x",
        "elsewhere.example",
        "room@conference.example.org",
        "room@conference.example.org/somebody",
    ] {
        assert_eq!(harness.client(&to(other)), [format!("S {}", to(other))]);
        assert_eq!(harness.server(&from(other)), [format!("C {}", from(other))]);
    }
    for own in [
        "<message><body>note</body></message>",
        "<message to=''><body/></message>",
    ] {
        assert_eq!(harness.client(own).len(), 1);
        assert!(harness.client(own)[0].starts_with("S "));
    }
}

/// Whoever was greeted once may answer as a room does.
#[test]
fn people_do_not_become_rooms() {
    let mut harness = online();
    harness.client("<presence to='eve@example.org'/>");
    let muc = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    harness.server(&format!(
        "<presence from='eve@example.org/x'>{muc}</presence>"
    ));
    let effects = harness.server(&from("eve@example.org/x"));
    assert!(
        !effects.iter().any(|it| it.starts_with("C ")),
        "{effects:?}"
    );
}

#[test]
fn a_room_is_one_until_the_client_leaves_it() {
    let mut harness = online();
    let muc = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    for number in 0..300 {
        let room = format!("r{number}@rooms.elsewhere.example");
        harness.client(&format!("<presence to='{room}/john'/>"));
        harness.server(&format!("<presence from='{room}/eve'>{muc}</presence>"));
        let said = from(&format!("{room}/eve"));
        assert_eq!(harness.server(&said), [format!("C {said}")], "{number}");
        harness.client(&format!("<presence to='{room}/john' type='unavailable'/>"));
        let effects = harness.server(&said);
        assert!(
            !effects.iter().any(|it| it.starts_with("C ")),
            "{effects:?}"
        );
    }
}

#[test]
fn strangers_hear_that_they_may_not_write() {
    let mut harness = online();
    for other in [
        "x@elsewhere.example",
        "x@notexample.org",
        "x\u{ff20}example.org",
        "x\u{fe6b}example.org",
        "x@evil-example.org",
        "a@b@c",
    ] {
        let answer = format!(
            "refused to Client: <message xmlns='jabber:client' type='error' id='m' from='{other}'>\
             <error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{TEXT}</error></message>"
        );
        let answer = answer.replace(" xmlns='jabber:client'", "");
        assert_eq!(harness.client(&to(other)), [answer]);
    }
    let answer = harness.server(&from("x@elsewhere.example/y"));
    let expected = format!(
        "refused to Server: <message type='error' id='m' to='x@elsewhere.example/y'><error type='cancel'>\
         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{TEXT}</error></message>"
    );
    assert_eq!(answer, [expected]);
    // The list of somebody who is served here may be known.
    for other in ["x@example.org", "none@example.org/x", "X@example.org."] {
        let name = if other.starts_with("none") {
            "none"
        } else {
            "x"
        };
        assert_eq!(harness.client(&to(other)), [format!("if {name} agrees")]);
        assert_eq!(harness.server(&from(other)), [format!("if {name} agrees")]);
    }
}

#[test]
fn errors_notes_and_copies_are_never_answered() {
    let mut harness = online();
    let other = "x@elsewhere.example/y";
    for silent in [
        "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
        "<received xmlns='urn:xmpp:receipts' id='m'/>",
    ] {
        let stanza = format!("<message to='{other}'>{silent}</message>");
        assert_eq!(harness.client(&stanza), ["refused to Client: "]);
        let stanza = format!("<message from='{other}'>{silent}</message>");
        assert_eq!(harness.server(&stanza), ["refused to Server: "]);
    }
    for kind in ["groupchat", "headline"] {
        let stanza = format!("<message type='{kind}' from='{other}'><body>buy</body></message>");
        assert_eq!(harness.server(&stanza), ["refused to Server: "]);
    }
    // An error has nothing of the stranger's words.
    let error = |side| {
        format!(
            "<message type='error' id='m' {side}='{other}'><body>buy</body><error type='wait'>\
             <gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>buy</gone></error></message>"
        )
    };
    let bare = |side| {
        format!(
            "<message type='error' id='m' {side}='{other}'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    assert_eq!(
        harness.server(&error("from")),
        [format!("C {}", bare("from"))]
    );
    assert_eq!(harness.client(&error("to")), [format!("S {}", bare("to"))]);
    let carbon = |copy, from| {
        format!(
            "<message from='{BARE}'><{copy} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='{from}' to='{BARE}'><body>hi</body></message>\
             </forwarded></{copy}></message>"
        )
    };
    assert_eq!(
        harness.server(&carbon("received", other)),
        ["refused to Server: "]
    );
    for passes in [
        carbon("received", "friend@example.org/x"),
        carbon("sent", "john@example.org/x"),
    ] {
        assert_eq!(harness.server(&passes).len(), 1);
        assert!(harness.server(&passes)[0].starts_with("C "));
    }
}

#[test]
fn a_room_elsewhere_passes_once_the_client_has_joined_it() {
    let mut harness = online();
    let said = "<message from='room@rooms.example/a' type='groupchat'><body>hi</body></message>";
    let join = "<presence from='room@rooms.example/a'><x xmlns='http://jabber.org/protocol/muc#user'/></presence>";
    assert_eq!(harness.server(said), ["refused to Server: "]);
    harness.server(join);
    assert_eq!(
        harness.server(said),
        ["refused to Server: "],
        "nobody becomes a room by himself"
    );
    harness.client("<presence to='room@rooms.example/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    assert_eq!(harness.server(said), ["refused to Server: "]);
    harness.server(join);
    assert_eq!(harness.server(said), [format!("C {said}")]);
    let reply = to("room@rooms.example");
    assert_eq!(harness.client(&reply), [format!("S {reply}")]);
}

#[test]
fn people_at_a_subdomain_are_no_services() {
    let mut harness = Harness::unbound(ONLY_CONTACTS);
    harness.0 = harness.0.beside(Arc::new(["team.example.org".into()]));
    harness.server(&format!(
        "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{FULL}</jid>\
         </bind></iq>"
    ));
    harness.client(GET);
    harness.ready(&friends(&[]));
    assert!(harness.client(&to("x@team.example.org"))[0].starts_with("refused"));
    assert!(harness.client(&to("x@rooms.example.org"))[0].starts_with("S "));
}

#[test]
fn messages_wait_for_the_list() {
    let mut harness = Harness::new(ONLY_CONTACTS);
    assert_eq!(harness.server(&from("x@elsewhere.example")), ["need"]);
    assert!(harness.0.holds_of_server() && !harness.0.holds_of_client());
    assert_eq!(harness.client(&to("friend@example.org")), ["need"]);
    assert!(harness.0.holds_of_client());
    let effects = harness.ready(&friends(&["friend@example.org"]));
    assert!(effects[0].starts_with("refused to Server"), "{effects:?}");
    assert_eq!(effects[1], format!("S {}", to("friend@example.org")));
    assert!(!harness.0.holds_of_server() && !harness.0.holds_of_client());

    // Chat goes on while there is no list at all.
    let mut harness = Harness::new(ONLY_CONTACTS);
    harness.client(&to("x@example.org"));
    harness.0.roster_failed();
    assert_eq!(harness.effects(), [format!("S {}", to("x@example.org"))]);
    assert_eq!(
        harness.client(&to("x@example.org")),
        [format!("S {}", to("x@example.org"))]
    );
    harness.ready(&friends(&[]));
    assert_eq!(harness.client(&to("x@example.org")), ["if x agrees"]);
}

#[test]
fn a_new_list_opens_and_closes_the_way() {
    let mut harness = online();
    harness.ready(&friends(&["x@elsewhere.example"]));
    assert!(harness.client(&to("x@elsewhere.example"))[0].starts_with("S "));
    assert_eq!(
        harness.client(&to("friend@example.org")),
        ["if friend agrees"]
    );
    harness.ready(&friends(&[]));
    assert!(harness.client(&to("x@elsewhere.example"))[0].starts_with("refused"));
    assert_eq!(harness.client(&to("")), [format!("S {}", to(""))]);
    let none: Vec<String> = harness.effects();
    assert_eq!(none, NOTHING);
}

#[test]
fn who_has_no_list_writes_to_nobody() {
    let mut harness = Harness::unbound(ONLY_CONTACTS);
    harness.server(
        "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>ᴬdmin@example.org/web</jid></bind></iq>",
    );
    assert!(harness.client(&to("friend@example.org"))[0].starts_with("refused"));
    assert!(harness.server(&from("friend@example.org"))[0].starts_with("refused"));
    assert!(harness.client(&to("ᴬdmin@example.org"))[0].starts_with("S "));
    assert!(harness.client(&to("room@conference.example.org"))[0].starts_with("S "));
}
