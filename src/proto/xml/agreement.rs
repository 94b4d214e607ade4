//! Generated documents for the comparison in `tests/checks/agreement.rs`; most are right or nearly so.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use proptest::sample::{Index, select};

#[allow(missing_docs, unreachable_pub, reason = "shared with other crates")]
#[path = "../../../tests/checks/agreement.rs"]
mod judge;

pub(crate) use judge::{Node, in_hostile_wrapper};
use judge::{PREFIXES, agrees, agrees_in_stream};

const HEADER: &str = "<stream:stream xmlns='jabber:client' xml:lang='en' id=\"a&amp;b\" \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:a='urn:a' from='example.org'>";

fn prefix() -> impl Strategy<Value = &'static str> {
    prop_oneof![40 => Just(""), 12 => select(PREFIXES), 1 => select(&["xml", "xmlns"][..])]
}

fn uri() -> impl Strategy<Value = &'static str> {
    const SOUND: &[&str] = &[
        "http://etherx.jabber.org/streams",
        "http://jabber.org/protocol/httpbind",
        "jabber:client",
        "jabber:iq:roster",
        "urn:a",
        "urn:it's",
    ];
    const UNSOUND: &[&str] = &[
        "",
        "http://www.w3.org/2000/xmlns/",
        "http://www.w3.org/XML/1998/namespace",
        "jabber&#58;client",
    ];
    prop_oneof![20 => select(SOUND), 1 => select(UNSOUND)]
}

const LOCALS: &[&str] = &[
    "iq", "message", "presence", "features", "error", "query", "body", "é", "a.b-c_d", "x1",
];

const VALUES: &[&str] = &[
    "",
    "get",
    "set",
    "result",
    "g&#101;t",
    "unavailable",
    "subscribe",
    "a>b",
    "x y",
    "&amp;&lt;",
    "&#10;\n\t ",
    "en",
    "ü",
    "subscribed ",
    "&quot;&apos;",
    "a\r\nb",
];

const TEXTS: &[&str] = &[
    "hi",
    " ",
    "\n",
    "&amp;",
    "&#x20ac;",
    "<![CDATA[<a>]]>",
    "<![CDATA[]]>",
    "]]",
    "]]&gt;",
    "\"'",
    "a\r\nb\rc",
    "ü€😀",
    "=",
    "stream:",
    "<![CDATA[]]]]><![CDATA[>]]>",
];

/// Pieces that make a document invalid, or nearly do.
const TOKENS: &[&str] = &[
    "<",
    ">",
    "/>",
    "</",
    "'",
    "\"",
    "&",
    ";",
    "=",
    " ",
    "\t",
    "!",
    "?",
    "]]>",
    "<!--",
    "-->",
    ":",
    "<![CDATA[",
    "<?xml version='1.0'?>",
    "<?xml version='1.0' encoding='UTF-8'?>",
    "<?pi?>",
    "/",
    "<!DOCTYPE body>",
    "\u{feff}",
    "\u{0}",
    "\u{1}",
    "\u{fffe}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "&nbsp;",
    "&#0;",
    "&#x1;",
    "&#xfffe;",
    "&#xd800;",
    "&#65;",
    "&amp",
    "</body>",
    "<body>",
    "<a/>",
    "<body xmlns='http://jabber.org/protocol/httpbind'/>",
    " xmlns='jabber:client'",
    " xmlns=''",
    " xmlns:a='urn:a'",
    " xmlns:a=''",
    " xmlns:xml='http://www.w3.org/XML/1998/namespace'",
    "a:",
    " xmlns:a='jabber:client'",
    " xmlns:b='jabber:client'",
    " xmlns:xml='urn:a'",
    " a:to='1'",
    " b:to='2'",
    " xmlns:xmlns='urn:a'",
    " xml:lang='de'",
    " to='x'",
    " to=\"y\"",
    " novalue",
    " unquoted=1",
    " 1a='b'",
    "<1a/>",
    "<a b='<'/>",
    "<iq/>",
    "<iq />",
    "</iq >",
    "</ iq>",
    "<iq/ >",
    "text",
    "\r\n",
    " type='get'",
    " xmlns='jabber\u{9}client'",
    "<stream:error/>",
    "<xmlns:a/>",
    "<xml:a/>",
    "\u{b7}",
    "×",
];

fn attribute() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        16 => select(&["to", "from", "id", "type", "xml:lang", "é"][..]).prop_map(str::to_owned),
        2 => select(&["a:to", "b:to", "c:x"][..]).prop_map(str::to_owned),
        1 => (prefix(), select(LOCALS)).prop_map(|(prefix, local)| match prefix {
            "" => local.to_owned(),
            _ => format!("{prefix}:{local}"),
        }),
    ];
    let plain = (name, select(VALUES));
    let declaration = (prefix(), uri()).prop_map(|(prefix, uri)| match prefix {
        "" => ("xmlns".to_owned(), uri),
        _ => (format!("xmlns:{prefix}"), uri),
    });
    let space = select(&[" ", " ", " ", "\n", "  ", "\t"][..]);
    let equals = select(&["=", "=", "=", " = "][..]);
    (
        prop_oneof![3 => plain, 1 => declaration],
        space,
        equals,
        any::<bool>(),
    )
        .prop_map(|((name, value), space, equals, single)| {
            match single && !value.contains('\'') {
                true => format!("{space}{name}{equals}'{value}'"),
                false => format!("{space}{name}{equals}\"{value}\""),
            }
        })
}

fn element() -> impl Strategy<Value = String> {
    let tag = || {
        (
            prefix(),
            select(LOCALS),
            prop::collection::vec(attribute(), 0..3),
        )
    };
    let qualified = |prefix: &str, local: &str| match prefix {
        "" => local.to_owned(),
        _ => format!("{prefix}:{local}"),
    };
    let leaf = tag().prop_map(move |(prefix, local, attributes)| {
        format!("<{}{}/>", qualified(prefix, local), attributes.concat())
    });
    leaf.prop_recursive(4, 12, 3, move |inner| {
        let piece = prop_oneof![inner, select(TEXTS).prop_map(str::to_owned)];
        (
            tag(),
            prop::collection::vec(piece, 0..4),
            select(&["", " ", "\n"][..]),
        )
            .prop_map(move |((prefix, local, attributes), content, space)| {
                let (name, attributes) = (qualified(prefix, local), attributes.concat());
                format!(
                    "<{name}{attributes}{space}>{}</{name}{space}>",
                    content.concat()
                )
            })
    })
}

/// Bodies most of which are right, save for a namespace now and then.
fn body() -> impl Strategy<Value = String> {
    let start = select(
        &[
            ("", "body xmlns='http://jabber.org/protocol/httpbind'"),
            ("b:", "b:body xmlns:b='http://jabber.org/protocol/httpbind'"),
            (
                "b:",
                "b:body xmlns:b=\"http://jabber.org/protocol/httpbind\" xmlns='jabber:client'",
            ),
            (
                "",
                "body xmlns='http://jabber.org/protocol/httpbind' xmlns:b='urn:b' xml:lang='en'",
            ),
            (
                "",
                "body xmlns='http://jabber.org/protocol/httpbind' xmlns:b='jabber:client'",
            ),
        ][..],
    );
    let extra = prop_oneof![
        3 => Just(String::new()),
        9 => Just(
            " xmlns:a='jabber:client' xmlns:c='urn:c' \
             xmlns:stream='http://etherx.jabber.org/streams'"
                .to_owned()
        ),
        1 => attribute(),
    ];
    let before = select(&["", "", "\n ", "\u{feff}", "<?xml version='1.0'?>"][..]);
    let space = select(&["", "\n", " "][..]);
    let children = prop::collection::vec((element(), space), 0..4);
    (before, start, extra, children).prop_map(|(before, (prefix, start), extra, children)| {
        let children: String = children
            .into_iter()
            .map(|(child, space)| child + space)
            .collect();
        format!("{before}<{start}{extra}>{children}</{prefix}body>")
    })
}

#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize, Index),
    Byte(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), select(TOKENS)).prop_map(|(at, token)| Change::Insert(at, token)),
        1 => (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (any::<Index>(), 1..30_usize, any::<Index>())
            .prop_map(|(from, length, to)| Change::Repeat(from, length, to)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ];
    prop::collection::vec(change, 0..3)
}

/// Places where a change is likeliest to be accepted, or to matter.
fn seam(document: &[u8], at: Index) -> usize {
    let is_seam = |&at: &usize| at == 0 || b"<>'\" /=:&;".contains(&document[at - 1]);
    let seams: Vec<usize> = (0..=document.len()).filter(is_seam).collect();
    seams[at.index(seams.len())]
}

fn changed(mut document: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        match *change {
            Change::Insert(at, token) => {
                let at = seam(&document, at);
                document.splice(at..at, token.bytes());
            }
            Change::Remove(at, length) => {
                let at = seam(&document, at);
                let end = document.len().min(at + length);
                document.drain(at..end);
            }
            Change::Repeat(from, length, to) => {
                let (from, to) = (seam(&document, from), seam(&document, to));
                let piece = document[from..document.len().min(from + length)].to_vec();
                document.splice(to..to, piece);
            }
            Change::Byte(_, _) if document.is_empty() => {}
            Change::Byte(at, byte) => {
                let at = at.index(document.len());
                document[at] = byte;
            }
        }
    }
    document
}

proptest! {
    // Each finding becomes a named test. More cases: PROPTEST_CASES=1000000.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4096),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn agrees_with_a_strict_parser_on_bodies(body in body(), changes in changes()) {
        agrees(&changed(body.into_bytes(), &changes));
    }

    #[test]
    fn agrees_with_a_strict_parser_on_streams(element in element(), changes in changes()) {
        agrees_in_stream(HEADER.as_bytes(), &changed(element.into_bytes(), &changes));
    }

    #[test]
    fn takes_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        agrees(&bytes);
    }
}

/// The generator is of use: many of its documents are accepted, and many are refused.
#[test]
fn the_generator_reaches_both_outcomes() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = [0; 2];
    for _ in 0..300 {
        let (body, changes) = (body(), changes()).new_tree(&mut runner).unwrap().current();
        accepted[0] += usize::from(agrees(body.as_bytes()));
        accepted[1] += usize::from(agrees(&changed(body.into_bytes(), &changes)));
    }
    assert!(
        accepted.iter().all(|count| (60..290).contains(count)),
        "{accepted:?}"
    );
}
