//! Tables of documents: which are refused, which are accepted, and what becomes of their namespaces.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use bytes::Bytes;

use super::agreement::{Node, in_hostile_wrapper};
use super::{Limits, Ns, ScanErrorKind, scan_header};
use crate::proto::stanza::{
    Body, IqType, Kind, MessageType, PresenceType, Stanza, scan_body, scan_stanza,
};

const BODY: &str = "http://jabber.org/protocol/httpbind";

fn scan(document: impl Into<Bytes>) -> Result<Body, ScanErrorKind> {
    scan_body(document.into(), &Limits::default()).map_err(|error| error.kind)
}

/// The children of a body, as they are written when cut out.
fn cut(document: &str) -> Vec<String> {
    let body = scan(document.to_owned()).expect(document);
    body.children.iter().map(written).collect()
}

fn written(stanza: &Stanza) -> String {
    String::from_utf8(stanza.to_bytes().to_vec()).unwrap()
}

/// Scans an otherwise sound body that has `content` in it.
fn refusal(content: &str) -> Option<ScanErrorKind> {
    scan(format!("<body xmlns='{BODY}'>{content}</body>")).err()
}

#[test]
fn refuses_what_is_not_well_formed() {
    use ScanErrorKind::{Encoding, Namespace, NotWellFormed, Restricted, WrongRoot};
    for (content, kind) in [
        // Markup that XMPP forbids.
        ("<!-- -->", Restricted),
        ("<a><!-- --></a>", Restricted),
        ("<?pi?>", Restricted),
        ("<a><?pi x?></a>", Restricted),
        ("<?xml version='1.0'?>", NotWellFormed),
        ("<!DOCTYPE a>", Restricted),
        // References and characters.
        ("<a>&nbsp;</a>", NotWellFormed),
        ("<a b='&nbsp;'/>", NotWellFormed),
        ("<a>&#0;</a>", NotWellFormed),
        ("<a>&#x1;</a>", NotWellFormed),
        ("<a b='&#x1f;'/>", NotWellFormed),
        ("<a>&#xfffe;</a>", NotWellFormed),
        ("<a>&#65535;</a>", NotWellFormed),
        ("<a>&#xD800;</a>", NotWellFormed),
        ("<a>&amp</a>", NotWellFormed),
        ("<a>&</a>", NotWellFormed),
        ("<a b='&'/>", NotWellFormed),
        ("<a b='&amp'/>", NotWellFormed),
        ("<a>\u{1}</a>", NotWellFormed),
        ("<a>\u{fffe}</a>", NotWellFormed),
        ("<a b='\u{ffff}'/>", NotWellFormed),
        ("<a>]]></a>", NotWellFormed),
        ("<a><![CDATA[</a>", NotWellFormed),
        ("<a><![cdata[x]]></a>", NotWellFormed),
        // Text in the body itself.
        ("text", NotWellFormed),
        ("<a/>text<a/>", NotWellFormed),
        ("&#32;", NotWellFormed),
        ("&amp;", NotWellFormed),
        ("<![CDATA[]]>", NotWellFormed),
        ("\u{a0}", NotWellFormed),
        ("\u{feff}<a/>", NotWellFormed),
        // Attributes.
        ("<a b='1' b='2'/>", NotWellFormed),
        ("<a b='1' b=\"1\"/>", NotWellFormed),
        ("<a b=1/>", NotWellFormed),
        ("<a b/>", NotWellFormed),
        ("<a b=/>", NotWellFormed),
        ("<a b='1'c='2'/>", NotWellFormed),
        ("<a b='<'/>", NotWellFormed),
        ("<a b='&lt;<'/>", NotWellFormed),
        ("<a b='1' / >", NotWellFormed),
        ("<a 1b='1'/>", NotWellFormed),
        ("<a ='1'/>", NotWellFormed),
        ("<a><c><d><e f='1' f='2'/></d></c></a>", NotWellFormed),
        ("<a><c><d><e f=1/></d></c></a>", NotWellFormed),
        (
            "<a xmlns:p='urn:p' xmlns:q='urn:p' p:b='1' q:b='2'/>",
            NotWellFormed,
        ),
        // Names and tags.
        ("<1a/>", NotWellFormed),
        ("<a><1b/></a>", NotWellFormed),
        ("<-a/>", NotWellFormed),
        ("< a/>", NotWellFormed),
        ("<a/ >", NotWellFormed),
        ("<>", NotWellFormed),
        ("<a:b:c xmlns:a='urn:a'/>", NotWellFormed),
        ("<:a/>", NotWellFormed),
        ("<a:/>", NotWellFormed),
        ("<a:1 xmlns:a='urn:a'/>", NotWellFormed),
        ("<a><b></a></b>", NotWellFormed),
        ("<a></A>", NotWellFormed),
        ("<a>", NotWellFormed),
        ("</a>", NotWellFormed),
        ("</body><body>", NotWellFormed),
        ("<a", NotWellFormed),
        ("<a b='", NotWellFormed),
        // Namespaces.
        ("<p:a/>", Namespace),
        ("<a p:b='1'/>", Namespace),
        ("<a><b><c><d><p:e/></d></c></b></a>", Namespace),
        ("<a><b><c><d><e p:f='1'/></d></c></b></a>", Namespace),
        ("<a><b xmlns:p='urn:p'/><p:c/></a>", Namespace),
        ("<a xmlns:p=''/>", Namespace),
        ("<a xmlns:xml='urn:x'/>", Namespace),
        ("<a xmlns:xmlns='urn:x'/>", Namespace),
        (
            "<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>",
            Namespace,
        ),
        (
            "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
            Namespace,
        ),
        (
            "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
            Namespace,
        ),
        ("<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", Namespace),
        ("<a xmlns='http://www.w3.org/2000/xmlns/'/>", Namespace),
        ("<xmlns:a/>", Namespace),
        ("<a><b><c><d xmlns:xml='urn:x'/></c></b></a>", Namespace),
    ] {
        assert_eq!(refusal(content), Some(kind), "{content}");
        assert!(!kind.is_limit());
    }
    for (document, kind) in [
        ("", NotWellFormed),
        ("   ", NotWellFormed),
        ("text", NotWellFormed),
        ("<body/>", WrongRoot),
        ("<body xmlns='jabber:client'/>", WrongRoot),
        (
            "<Body xmlns='http://jabber.org/protocol/httpbind'/>",
            WrongRoot,
        ),
        (
            "<iq xmlns='http://jabber.org/protocol/httpbind'/>",
            WrongRoot,
        ),
        (
            "<b:body xmlns:b='urn:b' xmlns='http://jabber.org/protocol/httpbind'/>",
            WrongRoot,
        ),
        (
            "<body xmlns='http://jabber.org/protocol/httpbind'/><body/>",
            NotWellFormed,
        ),
        (
            "<body xmlns='http://jabber.org/protocol/httpbind'/>text",
            NotWellFormed,
        ),
        (
            "text<body xmlns='http://jabber.org/protocol/httpbind'/>",
            NotWellFormed,
        ),
        (
            "<body xmlns='http://jabber.org/protocol/httpbind'/><!-- -->",
            Restricted,
        ),
        (
            "<!DOCTYPE body><body xmlns='http://jabber.org/protocol/httpbind'/>",
            Restricted,
        ),
        (
            "<body xmlns='http://jabber.org/protocol/httpbind'>",
            NotWellFormed,
        ),
        (
            " <?xml version='1.0'?><body xmlns='http://jabber.org/protocol/httpbind'/>",
            NotWellFormed,
        ),
        (
            "<?xml version='1.1'?><body xmlns='http://jabber.org/protocol/httpbind'/>",
            NotWellFormed,
        ),
        (
            "<?xml version='1.0' encoding='latin1'?><body xmlns='urn:x'/>",
            Encoding,
        ),
        (
            "<?xml version='1.0'?><?xml version='1.0'?>\
             <body xmlns='http://jabber.org/protocol/httpbind'/>",
            NotWellFormed,
        ),
        (
            "\u{feff}\u{feff}<body xmlns='http://jabber.org/protocol/httpbind'/>",
            NotWellFormed,
        ),
    ] {
        assert_eq!(scan(document).err(), Some(kind), "{document}");
    }
    let not_utf_8 = [
        format!("<body xmlns='{BODY}'><a>").as_bytes(),
        b"\xff</a></body>",
    ]
    .concat();
    assert_eq!(scan(not_utf_8).err(), Some(Encoding));
}

#[test]
fn says_where_a_document_is_wrong() {
    let at = |document: &str| scan_body(document.to_owned().into(), &Limits::default());
    assert_eq!(
        at(&format!("<body xmlns='{BODY}'>x</body>"))
            .unwrap_err()
            .at,
        50
    );
    assert_eq!(
        at(&format!("\u{feff}<body xmlns='{BODY}'>x</body>"))
            .unwrap_err()
            .at,
        53
    );
    let error = at("<body>\u{1}").unwrap_err();
    assert_eq!(error.to_string(), "not well-formed at byte 6");
}

#[test]
fn accepts_what_xmpp_allows() {
    let stanza = "<message to=\"a@b\"   id = 'it&apos;s'\n><body>&lt;&#65;<![CDATA[<&]]>\r\n</body\
        ></message >";
    let text = format!(
        "\u{feff}<?xml version=\"1.0\" encoding='utf-8'?>\r\n <body rid=\"1\" sid = 'x' \
         xmlns=\"{BODY}\">\n\t{stanza} <presence/></body >\n "
    );
    let body = scan(text).unwrap();
    let attributes: Vec<_> = body
        .attributes
        .iter()
        .map(|attr| (attr.ns, attr.local(), attr.value()))
        .collect();
    assert_eq!(
        attributes,
        [(Ns::None, "rid", "1".into()), (Ns::None, "sid", "x".into())],
        "declarations are left out"
    );
    let [message, presence] = &body.children[..] else {
        panic!("{body:?}")
    };
    assert_eq!(
        written(message),
        stanza.replacen(' ', " xmlns='jabber:client' ", 1)
    );
    assert_eq!(message.id().as_deref(), Some("it's"));
    assert_eq!(message.children().next().unwrap().text(), "<A<&\n");
    assert_eq!(presence.kind(), Kind::Presence(PresenceType::Available));
    assert_eq!(
        refusal("<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='en'/>"),
        None
    );
    assert_eq!(refusal("<é ü='1'/>"), None);
}

/// The table of house rules on namespaces: what a client wrote, and what leaves the gateway.
#[test]
fn closes_namespaces() {
    for (start, child, expected) in [
        // Inherits the wrapper's namespace: jabber:client, in descendants as well.
        (
            "body xmlns='http://jabber.org/protocol/httpbind'",
            "<iq/>",
            "<iq xmlns='jabber:client'/>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind'",
            "<message><body>x</body></message>",
            "<message xmlns='jabber:client'><body>x</body></message>",
        ),
        // Has its own.
        (
            "body xmlns='http://jabber.org/protocol/httpbind'",
            "<iq xmlns='jabber:client'/>",
            "<iq xmlns='jabber:client'/>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind'",
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        ),
        // Explicitly none: left alone.
        (
            "body xmlns='http://jabber.org/protocol/httpbind'",
            "<iq xmlns=''/>",
            "<iq xmlns=''/>",
        ),
        // Prefixes of the body.
        (
            "body xmlns='http://jabber.org/protocol/httpbind' xmlns:c='jabber:client'",
            "<c:iq/>",
            "<c:iq xmlns:c='jabber:client'/>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind' xmlns:c='jabber:client'",
            "<c:iq><query/></c:iq>",
            "<c:iq xmlns='jabber:client' xmlns:c='jabber:client'><query/></c:iq>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind' xmlns:a='urn:a' xmlns:b=\"it's\"",
            "<iq xmlns:b='urn:b' xmlns='jabber:client'>a:qname</iq>",
            "<iq xmlns:a='urn:a' xmlns:b='urn:b' xmlns='jabber:client'>a:qname</iq>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind' xmlns:b=\"it's\"",
            "<iq/>",
            "<iq xmlns='jabber:client' xmlns:b=\"it's\"/>",
        ),
        // A prefixed body.
        (
            "b:body xmlns:b='http://jabber.org/protocol/httpbind' xmlns='jabber:client'",
            "<iq/>",
            "<iq xmlns='jabber:client' xmlns:b='jabber:client'/>",
        ),
        (
            "b:body xmlns:b='http://jabber.org/protocol/httpbind' xmlns='urn:x'",
            "<iq/>",
            "<iq xmlns='urn:x' xmlns:b='jabber:client'/>",
        ),
        (
            "b:body xmlns:b='http://jabber.org/protocol/httpbind'",
            "<iq/>",
            "<iq xmlns='jabber:client' xmlns:b='jabber:client'/>",
        ),
        (
            "b:body xmlns:b='http://jabber.org/protocol/httpbind'",
            "<b:iq/>",
            "<b:iq xmlns:b='jabber:client'/>",
        ),
        // The language of the body, unless the stanza has one.
        (
            "body xmlns='http://jabber.org/protocol/httpbind' xml:lang='de'",
            "<message/>",
            "<message xmlns='jabber:client' xml:lang='de'/>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind' xml:lang='de'",
            "<message xml:lang='en'/>",
            "<message xmlns='jabber:client' xml:lang='en'/>",
        ),
        // The stream's prefix only where it is used.
        (
            "body xmlns='http://jabber.org/protocol/httpbind' \
             xmlns:stream='http://etherx.jabber.org/streams'",
            "<iq/>",
            "<iq xmlns='jabber:client'/>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind' \
             xmlns:stream='http://etherx.jabber.org/streams'",
            "<stream:error/>",
            "<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>",
        ),
    ] {
        let name = start.split(' ').next().unwrap();
        assert_eq!(
            cut(&format!("<{start}>{child}</{name}>")),
            [expected],
            "{start} {child}"
        );
    }
}

#[test]
fn inherited_stanzas_are_client_stanzas() {
    for (start, child) in [
        (
            "body xmlns='http://jabber.org/protocol/httpbind'",
            "<iq type='get'><query/></iq>",
        ),
        (
            "b:body xmlns:b='http://jabber.org/protocol/httpbind'",
            "<iq type='get'><query/></iq>",
        ),
        (
            "b:body xmlns:b='http://jabber.org/protocol/httpbind'",
            "<b:iq type='get'><query/></b:iq>",
        ),
        (
            "body xmlns='http://jabber.org/protocol/httpbind' xmlns:c='jabber:client'",
            "<c:iq type='get'><c:query/></c:iq>",
        ),
    ] {
        let name = start.split(' ').next().unwrap();
        let body = scan(format!("<{start}>{child}</{name}>")).unwrap();
        let stanza = &body.children[0];
        assert_eq!(
            (stanza.kind(), stanza.ns()),
            (Kind::Iq(IqType::Get), Ns::Client)
        );
        assert_eq!(stanza.payload(), Some((Ns::Client, "query")));
        let alone = in_hostile_wrapper(stanza);
        assert_eq!(
            (&*alone.ns, &*alone.children()[0].ns),
            ("jabber:client", "jabber:client")
        );
    }
    let explicit = scan(format!("<body xmlns='{BODY}'><iq xmlns=''/></body>")).unwrap();
    assert_eq!(
        (explicit.children[0].kind(), explicit.children[0].ns()),
        (Kind::Nonza, Ns::None)
    );
}

/// A reference is accepted where the character needs one: no namespace known here contains such a character.
#[test]
fn takes_namespaces_whose_names_need_references() {
    for uri in [
        "http://a.example/?b&amp;c",
        "urn:&lt;&gt;&quot;&apos;",
        "urn:&#9;&#xA;",
    ] {
        let body = format!("<body xmlns='{BODY}' xmlns:p='{uri}'><iq/></body>");
        let expected = format!("<iq xmlns='jabber:client' xmlns:p='{uri}'/>");
        assert_eq!(cut(&body), [expected]);
        assert_eq!(refusal(&format!("<iq><a xmlns='{uri}'/></iq>")), None);
    }
    let twice = "<a xmlns:b=\"urn:'\" xmlns:c='urn:&apos;' b:x='' c:x=''/>";
    assert_eq!(refusal(twice), Some(ScanErrorKind::NotWellFormed));
}

/// A namespace in disguise: the server resolves the reference, a byte comparison would not.
#[test]
fn refuses_disguised_namespaces() {
    for content in [
        "<iq xmlns='jabber&#58;client'/>",
        "<iq xmlns='jabber:client'><query xmlns='jabber:iq&#x3a;roster'/></iq>",
        "<iq xmlns:p='jabber&#58;client'/>",
        "<iq xmlns='jabber:client\n'/>",
        "<iq xmlns='jabber:\tclient'/>",
    ] {
        assert_eq!(refusal(content), Some(ScanErrorKind::Unusual), "{content}");
    }
    for content in [
        "<iq novalue xmlns='jabber:client'/>",
        "<iq xmlns='urn:a' xmlns='jabber:client'/>",
        "<iq xmlns:a='urn:a' xmlns:a='urn:b'/>",
    ] {
        assert_eq!(
            refusal(content),
            Some(ScanErrorKind::NotWellFormed),
            "{content}"
        );
    }
    // After the wrapper's prefix has become jabber:client, these two are the same attribute.
    let twice = "<b:body xmlns:b='http://jabber.org/protocol/httpbind' xmlns:c='jabber:client'>\
        <iq b:to='1' c:to='2'/></b:body>";
    assert_eq!(scan(twice).err(), Some(ScanErrorKind::NotWellFormed));
}

#[test]
fn resolves_disguised_types() {
    let body = scan(format!(
        "<body xmlns='{BODY}'><iq type='g&#101;t' to='a&#64;b'/><presence type=''/>\
         <presence type='subscribe'/><message type='error'/><message type='chat'/></body>"
    ));
    let kinds: Vec<Kind> = body.unwrap().children.iter().map(Stanza::kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Iq(IqType::Get),
            Kind::Presence(PresenceType::Invalid),
            Kind::Presence(PresenceType::Subscribe),
            Kind::Message(MessageType::Error),
            Kind::Message(MessageType::Other),
        ]
    );
}

#[test]
fn bounds_depth_attributes_and_declarations() {
    let limits = Limits {
        depth: 5,
        attributes: 3,
        ..Limits::default()
    };
    let scan = |content: &str| {
        let document = format!("<body xmlns='{BODY}'>{content}</body>");
        scan_body(document.into(), &limits)
            .map(|_| ())
            .map_err(|error| error.kind)
    };
    assert_eq!(scan("<a><b><c><d/></c></b></a>"), Ok(()));
    assert_eq!(
        scan("<a><b><c><d><e/></d></c></b></a>"),
        Err(ScanErrorKind::Limit)
    );
    assert_eq!(scan("<a b='' c='' xmlns=''/>"), Ok(()));
    assert_eq!(
        scan("<a b='' c='' d='' xmlns=''/>"),
        Err(ScanErrorKind::Limit)
    );
    assert_eq!(
        scan("<a><b><c d='' e='' f='' g=''/></b></a>"),
        Err(ScanErrorKind::Limit)
    );
    let three = |a: &str, b: &str, c: &str| format!("xmlns:{a}='u' xmlns:{b}='u' xmlns:{c}='u'");
    let (x, y, z) = (
        three("a", "b", "c"),
        three("d", "e", "f"),
        three("g", "h", "i"),
    );
    assert_eq!(scan(&format!("<a {x}><b {y}/><b {z}/></a>")), Ok(()));
    assert_eq!(
        scan(&format!("<a {x}><b {y}><c {z}/></b></a>")),
        Err(ScanErrorKind::Limit)
    );
    assert!(ScanErrorKind::Limit.is_limit());
    let deep = format!("{}{}", "<a>".repeat(70_000), "</a>".repeat(70_000));
    assert_eq!(refusal(&deep), Some(ScanErrorKind::Limit));
}

#[test]
fn a_stanza_keeps_nothing_of_its_document_alive() {
    let long = "x".repeat(200_000);
    let document: Bytes =
        format!("<body xmlns='{BODY}'><message><body>{long}</body></message></body>").into();
    let body = scan(document.clone()).unwrap();
    let chunks: Vec<Bytes> = body.children[0].chunks().collect();
    assert_eq!(chunks.len(), 3);
    let memory = document.as_ptr_range();
    assert!(chunks.iter().all(|it| !memory.contains(&it.as_ptr())));
    assert!(document.is_unique(), "nobody else has a part of it");
    assert_eq!(body.children[0].children().next().unwrap().text(), long);

    let stanzas: String = (0..500)
        .map(|n| format!("<iq id='{n}' type='result'/>\n"))
        .collect();
    let body = scan(format!("<body xmlns='{BODY}'>{stanzas}</body>")).unwrap();
    let ids: Vec<String> = body
        .children
        .iter()
        .map(|iq| iq.id().unwrap().into_owned())
        .collect();
    assert_eq!(ids, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn equal_children_share_what_they_inherit() {
    let declared = format!("<body xmlns='{BODY}' xmlns:a='urn:a' xmlns:b='urn:b'>");
    let body = scan(format!("{declared}{}</body>", "<x/>".repeat(100))).unwrap();
    let inserts = body
        .children
        .iter()
        .map(|child| child.chunks().nth(1).unwrap());
    let mut places: Vec<_> = inserts.map(|insert| insert.as_ptr()).collect();
    places.dedup();
    assert_eq!(places.len(), 1);
}

/// A child's own declarations do not change what the next child inherits.
#[test]
fn each_child_inherits_what_it_needs_itself() {
    let wrapper = "xmlns:p='urn:p' xmlns:q='urn:q' xmlns:r='urn:r'";
    assert_eq!(
        cut(&format!(
            "<body xmlns='{BODY}' {wrapper}><message xmlns='jabber:client' xmlns:r='urn:own'/>\
             <q:foo xmlns:p='urn:mine' r:x='1'/><q:foo xmlns:r='urn:mine'/><q:foo/></body>"
        )),
        [
            "<message xmlns:p='urn:p' xmlns:q='urn:q' xmlns='jabber:client' xmlns:r='urn:own'/>",
            "<q:foo xmlns:q='urn:q' xmlns:r='urn:r' xmlns:p='urn:mine' r:x='1'/>",
            "<q:foo xmlns:p='urn:p' xmlns:q='urn:q' xmlns:r='urn:mine'/>",
            "<q:foo xmlns:p='urn:p' xmlns:q='urn:q' xmlns:r='urn:r'/>",
        ]
    );
}

#[test]
fn inherited_declarations_are_bounded_for_each_child_and_for_all() {
    let prefixes = |count: usize, length: usize| {
        let uri = "u".repeat(length);
        let declarations = (0..count).map(|number| format!(" xmlns:p{number}='{uri}'"));
        declarations.collect::<String>()
    };
    let scan = |declarations: &str, children: usize| {
        let children = "<x/>".repeat(children);
        let document = format!("<body xmlns='{BODY}'{declarations}>{children}</body>");
        scan(document).map(|body| body.children.len())
    };
    assert_eq!(scan(&prefixes(4, 200), 500), Ok(500));
    assert_eq!(scan(&prefixes(4, 200), 700), Err(ScanErrorKind::Limit));
    assert_eq!(scan(&prefixes(6, 200), 1), Err(ScanErrorKind::Limit));
    assert_eq!(scan(&prefixes(6, 200), 0), Ok(0), "nobody inherits it");
    assert_eq!(scan(&prefixes(1, 1100), 0), Err(ScanErrorKind::Limit));
    assert_eq!(scan("", 4096), Ok(4096));
    assert_eq!(scan("", 4097), Err(ScanErrorKind::Limit));
}

#[test]
fn a_language_that_is_none_is_not_passed_on() {
    let lang = |lang: &str| {
        let document = format!("<body xmlns='{BODY}' xml:lang='{lang}'><iq/></body>");
        written(&scan(document).unwrap().children[0])
    };
    assert_eq!(
        lang("de-AT"),
        "<iq xmlns='jabber:client' xml:lang='de-AT'/>"
    );
    assert_eq!(lang(&"x".repeat(36)), "<iq xmlns='jabber:client'/>");
}

/// A few attributes are compared pairwise and many are sorted: both ways find the same duplicates.
#[test]
fn attributes_are_told_apart_however_many_there_are() {
    let declared = "xmlns:a='urn:a' xmlns:b='urn:a' xmlns:c='urn:c'";
    for many in [0, 100] {
        let others: String = (0..many).map(|number| format!(" o{number}=''")).collect();
        let scan = |attributes: &str| {
            scan(format!(
                "<body xmlns='{BODY}'><iq {declared}{others} {attributes}/></body>"
            ))
            .map(|_| ())
        };
        assert_eq!(scan("x='' a:x='' c:x='' y='' a:y=''"), Ok(()));
        for twice in [
            "x='' y='' x=''",
            "a:x='' a:x=''",
            "a:x='' b:x=''",
            "xmlns:a='urn:z'",
        ] {
            assert_eq!(scan(twice), Err(ScanErrorKind::NotWellFormed), "{twice}");
        }
    }
}

const HEADER: &str = "<?xml version='1.0'?>\n<stream:stream xmlns='jabber:client' id='&amp;1' \
    xmlns:stream='http://etherx.jabber.org/streams' from='example.org' version='1.0' \
    xml:lang='en'>";

#[test]
fn reads_stream_headers() {
    let (_, attributes) = scan_header(HEADER.as_bytes()).unwrap();
    let attributes: Vec<_> = attributes
        .iter()
        .map(|attr| (attr.ns, attr.local(), attr.value()))
        .collect();
    assert_eq!(
        attributes,
        [
            (Ns::None, "id", "&1".into()),
            (Ns::None, "from", "example.org".into()),
            (Ns::None, "version", "1.0".into()),
            (Ns::Xml, "lang", "en".into()),
        ]
    );
    for (header, kind) in [
        ("", ScanErrorKind::NotWellFormed),
        ("<?xml version='1.0'?>", ScanErrorKind::NotWellFormed),
        ("<stream:stream>", ScanErrorKind::Namespace),
        ("<stream xmlns='jabber:client'>", ScanErrorKind::WrongRoot),
        (
            "<s:stream xmlns:s='http://etherx.jabber.org/streams'/>",
            ScanErrorKind::WrongRoot,
        ),
        (
            "<s:error xmlns:s='http://etherx.jabber.org/streams'>",
            ScanErrorKind::WrongRoot,
        ),
        (
            "<s:stream xmlns:s='http://etherx.jabber.org/streams'><a",
            ScanErrorKind::NotWellFormed,
        ),
        (
            "<!-- --><s:stream xmlns:s='urn:s'>",
            ScanErrorKind::Restricted,
        ),
    ] {
        let error = scan_header(header.as_bytes()).err().map(|error| error.kind);
        assert_eq!(error, Some(kind), "{header}");
    }
    let unprefixed = "<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>\n";
    let (scope, _) = scan_header(unprefixed.as_bytes()).unwrap();
    let stanza = scan_stanza(Bytes::from("<c:iq/>"), &scope, &Limits::default()).unwrap();
    assert_eq!(written(&stanza), "<c:iq xmlns:c='jabber:client'/>");
    let features = scan_stanza(Bytes::from("<features/>"), &scope, &Limits::default()).unwrap();
    let expected = "<features xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'/>";
    assert_eq!(written(&features), expected);
    assert_eq!(features.kind(), Kind::Features);
}

#[test]
fn closes_elements_of_a_stream() {
    let (scope, _) = scan_header(HEADER.as_bytes()).unwrap();
    for (element, expected, kind) in [
        (
            "<message><body>the stream</body></message>",
            "<message xmlns='jabber:client'><body>the stream</body></message>",
            Kind::Message(MessageType::Other),
        ),
        (
            // This only looks like the prefix. Declaring it does no harm.
            "<message><body>upstream:</body></message>",
            "<message xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
             <body>upstream:</body></message>",
            Kind::Message(MessageType::Other),
        ),
        (
            "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>",
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
             <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>",
            Kind::Features,
        ),
        (
            "<stream:error/>",
            "<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>",
            Kind::StreamError,
        ),
        (
            "<success xmlns='urn:x'/>",
            "<success xmlns='urn:x'/>",
            Kind::Nonza,
        ),
        ("<error/>", "<error xmlns='jabber:client'/>", Kind::Nonza),
        (
            " <r xmlns='urn:xmpp:sm:3'/>\n",
            "<r xmlns='urn:xmpp:sm:3'/>",
            Kind::Nonza,
        ),
        (
            "<iq><stream:x/></iq>",
            "<iq xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
             <stream:x/></iq>",
            Kind::Iq(IqType::Invalid),
        ),
    ] {
        let stanza = scan_stanza(Bytes::from(element), &scope, &Limits::default()).unwrap();
        assert_eq!((&*written(&stanza), stanza.kind()), (expected, kind));
    }
    for element in [
        "",
        " ",
        "text",
        "<a/>text",
        "<a/><b/>",
        "<a>",
        "</a>",
        "<?xml version='1.0'?><a/>",
        "<p:a/>",
        "<a/></stream:stream>",
        "<!-- --><a/>",
        "<?pi?><a/>",
        "<!DOCTYPE a><a/>",
        "\u{feff}<a/>",
    ] {
        assert!(
            scan_stanza(Bytes::from(element), &scope, &Limits::default()).is_err(),
            "{element}"
        );
    }
}

#[test]
fn the_strict_parser_of_these_tests_is_strict() {
    assert!(Node::read(b"<a b='1'><c/></a>").is_ok());
    for document in [
        "<a>",
        "<a/><b/>",
        "<a b=1/>",
        "<a><!-- --></a>",
        "<p:a/>",
        "<1a/>",
        "x",
        "",
    ] {
        assert!(Node::read(document.as_bytes()).is_err(), "{document}");
    }
}
