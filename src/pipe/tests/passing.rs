//! Stanzas that pass, those that do not, and those that come back.

use super::*;

/// What an idle session takes would else be what its last request was read into.
#[test]
fn stanzas_that_are_kept_do_not_keep_the_request_in_memory() {
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
fn with_presence_left_to_the_server_only_subscriptions_are_stopped() {
    let mut harness = Harness::new(Rules {
        rosters: true,
        directed: false,
        manages_streams: false,
        contacts_only: false,
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
        manages_streams: false,
        contacts_only: false,
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
        manages_streams: false,
        contacts_only: false,
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
fn a_stanza_that_cannot_pass_is_answered_with_an_error() {
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
