//! What is offered to the client, and what it may negotiate before it is bound.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::proto::xml::agreement::{Node, in_hostile_wrapper};

#[test]
fn legacy_authentication_never_passes() {
    let rules = Rules {
        rosters: false,
        directed: false,
        manages_streams: false,
        contacts_only: false,
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

/// A host with lists, and clients over BOSH.
const RULES: Rules = Rules {
    rosters: true,
    directed: true,
    manages_streams: false,
    contacts_only: false,
};

#[test]
fn stream_management_is_offered_together_with_binding_where_it_ends_at_the_gateway() {
    let sm = "<sm xmlns='urn:xmpp:sm:3'/>";
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
    let mechanisms = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    let over_websocket = Rules {
        manages_streams: true,
        ..RULES
    };
    for (rules, inside, is_offered) in [
        (RULES, format!("{bind}{sm}"), false),
        (over_websocket, format!("{bind}{sm}"), true),
        (over_websocket, bind.to_owned(), true),
        (over_websocket, format!("{mechanisms}{sm}"), false),
    ] {
        let features = features_in("", &inside);
        let offer = text_of_features(&crate::pipe::features::offer(&features, rules));
        assert_eq!(
            offer.matches(sm).count(),
            usize::from(is_offered),
            "{offer}"
        );
    }
}

/// The features of a stream that declares this, with what is inside.
fn features(declared: &str, declared_inside: &str, inside: &str) -> (String, Stanza) {
    let mut stream = Stream::new();
    let text = format!(
        "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0' {declared}>\
         <stream:features {declared_inside}>{inside}</stream:features>"
    );
    stream.handle_bytes(text.as_bytes());
    let mut events: Vec<Event> = std::iter::from_fn(|| stream.poll_event().unwrap()).collect();
    match (events.pop(), &events[..]) {
        (Some(Event::Features(features)), [Event::Header(_)]) => (text, features),
        other => panic!("{text} is {other:?}"),
    }
}

/// The same, where `f` is declared around them.
fn features_in(declared: &str, inside: &str) -> Stanza {
    features(declared, "xmlns:f='urn:f'", inside).1
}

/// What the client is offered of these features, in a stream that declares this.
fn offered(declared: &str, inside: &str) -> String {
    let features = features_in(declared, inside);
    text_of_features(&crate::pipe::features::offer(&features, RULES))
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
            "<m:mechanisms xmlns:m='urn:ietf:params:xml:ns:xmpp-sasl' xmlns:f='urn:f'>\
             <m:mechanism>A&lt;b/&gt;</m:mechanism></m:mechanisms>",
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

/// Declarations of the prefixes that features are named by, in one start tag; each may be missing, so `often`.
fn declarations(often: u32) -> impl Strategy<Value = String> {
    let uris = &["jabber:client", "urn:a", "urn:b", "urn:it&apos;s"][..];
    let one = prop_oneof![often => Just(None), 3 => select(uris).prop_map(Some)];
    let uris = [one.clone(), one.clone(), one];
    uris.prop_map(|uris| {
        let declared = ["xmlns", "xmlns:a", "xmlns:b"].into_iter().zip(uris);
        let declared = declared.filter_map(|(name, uri)| Some(format!(" {name}='{}'", uri?)));
        declared.collect()
    })
}

proptest! {
    /// A strict parser sees the same features in the stream of the server and in what is offered of them, in
    /// which the same prefixes mean something else around them.
    #[test]
    fn features_mean_the_same_wherever_their_prefixes_are_declared(
        header in declarations(0),
        around in declarations(2),
        children in prop::collection::vec((declarations(2), declarations(2)), 1..4),
        names in prop::collection::vec(select(&["", "a:", "b:"][..]), 12),
    ) {
        let inside: String = children.iter().zip(names.chunks(3)).map(|((own, inner), names)| {
            let [name, attribute, payload] = names else { panic!("three each") };
            format!(
                "<{name}ack{own} {attribute}plain='1'><{payload}inner{inner}/>\
                 <{name}inner>text</{name}inner></{name}ack>"
            )
        }).collect();
        let (text, features) = features(&header, &around, &inside);
        let stream = Node::read(format!("{text}</stream:stream>").as_bytes()).unwrap();
        let theirs = &stream.children()[0];
        let ours = in_hostile_wrapper(&crate::pipe::features::offer(&features, RULES));
        prop_assert_eq!(&ours.content, &theirs.content);
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
    assert_eq!(
        text_of_features(&crate::pipe::features::offer(&features, RULES)),
        ""
    );
}

#[test]
fn features_that_end_at_the_gateway_are_not_offered() {
    let mut pipe = Harness::unbound(Rules {
        rosters: true,
        directed: true,
        manages_streams: false,
        contacts_only: false,
    });
    let offered = pipe.server(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
         <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
         <compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>\
         <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>\
         <mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms>\
         <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>9</max-bytes></limits>\
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
fn mechanisms_are_what_the_server_wrote_but_for_those_that_are_withheld() {
    const SASL: &str = "xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\" xmlns:f=\"urn:f\"";
    let list = |inside: &str| format!("<mechanisms {SASL} >{inside}</mechanisms >");
    for (inside, left, withheld) in [
        ("", "", &[][..]),
        (
            "\n <mechanism >B</mechanism><mechanism>A</mechanism>\n<f:host>a</f:host>",
            "\n <mechanism >B</mechanism><mechanism>A</mechanism>\n<f:host>a</f:host>",
            &[],
        ),
        (
            "<mechanism>A-PLUS</mechanism> <mechanism>B</mechanism><mechanism> EXTERNAL </mechanism>",
            " <mechanism>B</mechanism>",
            &["A-PLUS", "EXTERNAL"],
        ),
        (
            "<mechanism>PLUS</mechanism><mechanism>A&#45;PLUS</mechanism>",
            "<mechanism>PLUS</mechanism>",
            &["A-PLUS"],
        ),
    ] {
        let features = features_in("", &list(inside));
        let offer = crate::pipe::features::offer(&features, RULES);
        assert_eq!(text_of_features(&offer), list(left));
        assert_eq!(crate::pipe::features::withheld(&features), withheld);
    }
}

#[test]
fn a_client_cannot_negotiate_what_it_is_not_offered() {
    let mut pipe = Harness::unbound(Rules {
        rosters: false,
        directed: false,
        manages_streams: false,
        contacts_only: false,
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
