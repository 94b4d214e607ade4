//! Instructions that the pure parts cost, counted by callgrind: of a request (the scan of the document,
//! the session state machine, the pipe, and the answer), of a message from the server, of the same by WebSocket
//! (the framing of elements, stream management, the pipe), and of publishing a roster among many.
//!
//! Repeatable, but for the seeds of hash maps; so each has a bound, a tenth above what was counted when it
//! was set, and fails above that. Who makes something cheaper brings its bound down.

#![allow(
    missing_docs,
    unused_qualifications,
    reason = "what the macros of gungraun make"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use bytes::Bytes;
use gungraun::{Callgrind, EventKind, prelude::*};
use rostergate::{
    pipe::{Effect, Pipe, Rules},
    proto::{
        bosh::{
            body::{Document, Message},
            session::{Event, Session, Slot},
            terms::Policy,
        },
        sm::{
            acceptor::{Acceptor, Verdict},
            initiator::StreamManagement,
        },
        stanza::Stanza,
        stream::{
            framing::{self, Framing},
            initiator::{Event as Said, Stream},
        },
        xml,
    },
    roster::{
        Contact, Roster, Subscription, Username,
        left_out::LeftOut,
        snapshot::{Entry, Snapshot, Validators},
    },
};

const POLL: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='101'/>";
const GET: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='101'>\
                   <iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>\
                   </body>";

const MESSAGE: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='101'>\
                       <message xmlns='jabber:client' type='chat' id='m1' to='jane@example.org/web'>\
                       <body>Wherefore art thou, Romeo? Deny thy father and refuse thy name.</body>\
                       </message></body>";
const BARE: &str = "<message xmlns='jabber:client' type='chat' id='m1' to='jane@example.org/web'>\
                    <body>Wherefore art thou, Romeo? Deny thy father and refuse thy name.</body>\
                    </message>";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' version='1.0' \
                      xmlns:stream='http://etherx.jabber.org/streams' from='example.org'>";
const FROM_SERVER: &str = "<message from='jane@example.org/web' to='john@example.org/web' type='chat' \
                           id='m1'><body>Wherefore art thou, Romeo? Deny thy father and refuse thy \
                           name.</body></message><r xmlns='urn:xmpp:sm:3'/>";

/// What must not be exceeded.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// A session that has logged in, whose roster has been fetched.
struct Path {
    session: Session,
    pipe: Pipe,
    sm: StreamManagement,
    stream: Stream,
    limits: xml::Limits,
    now: Instant,
    roster: Arc<Roster>,
    document: Bytes,
}

fn stanza(text: &'static str) -> Stanza {
    Stanza::parse(text).expect("well-formed")
}

#[expect(clippy::disallowed_methods, reason = "a point in time to begin with")]
fn path(document: &'static str, contacts: usize) -> Path {
    let limits = xml::Limits::default();
    let creation = "<body xmlns='http://jabber.org/protocol/httpbind' rid='100' to='example.org'/>";
    let creation = match Message::parse(creation.into(), &limits) {
        Ok(Message::Creation(creation)) => creation,
        other => panic!("{other:?}"),
    };
    let minute = std::time::Duration::from_secs(60);
    let policy = Policy {
        wait: minute,
        inactivity: minute,
        max_pause: minute,
        report_grace: minute,
    };
    let now = Instant::now();
    let mut session = Session::open(&creation, &policy, 1 << 20, Slot(0), now);
    session.introduce("s", "example.org", None);
    session.send(stanza(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
    ));
    assert!(session.poll_response(now).is_some());

    let (pipe, sm, stream) = server_side(RULES, now);
    let contact = |number| Contact {
        jid: format!("contact{number}@example.org")
            .parse()
            .expect("a JID"),
        name: Some(format!("Contact {number}")),
        groups: vec!["Friends".into()],
        subscription: Subscription::Both,
    };
    let roster = Arc::new(Roster::new((0..contacts).map(contact).collect()));
    Path {
        session,
        pipe,
        sm,
        stream,
        limits,
        now,
        roster,
        document: document.into(),
    }
}

const RULES: Rules = Rules {
    rosters: true,
    directed: true,
    manages_streams: false,
    contacts_only: false,
};

/// What a session has towards its server: it is bound, and stream management is enabled.
fn server_side(rules: Rules, now: Instant) -> (Pipe, StreamManagement, Stream) {
    let mut pipe = Pipe::new(rules, "example.org");
    pipe.server_stanza(stanza(
        "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>john@example.org/web</jid></bind></iq>",
    ));
    while pipe.poll_effect(true).is_some() {}
    let mut sm = StreamManagement::default();
    sm.enable();
    sm.handle_nonza(&stanza("<enabled xmlns='urn:xmpp:sm:3'/>"), now);
    let mut stream = Stream::new();
    stream.handle_bytes(HEADER.as_bytes());
    assert!(matches!(stream.poll_event(), Ok(Some(Said::Header(_)))));
    (pipe, sm, stream)
}

/// What the task of a session does with one request.
fn carry(mut path: Path) -> (Path, Option<(Slot, Document)>) {
    let Ok(Message::Request(request)) = Message::parse(path.document.clone(), &path.limits) else {
        panic!("not a request")
    };
    path.session.handle_request(request, Slot(1), path.now);
    while let Some(event) = path.session.poll_event() {
        if let Event::Stanza(stanza) = event {
            path.pipe.client_stanza(stanza);
        }
        while let Some(effect) = path.pipe.poll_effect(true) {
            match effect {
                Effect::NeedRoster => path.pipe.roster_ready(&path.roster),
                Effect::ToClient(stanza) => path.session.send(stanza),
                Effect::ToServer(stanza) => {
                    path.sm.sent(&stanza);
                    stanza.chunks().for_each(|chunk| drop(black_box(chunk)));
                }
                _ => {}
            }
        }
    }
    black_box(path.sm.poll_transmit(path.now));
    let answer = path.session.poll_response(path.now);
    black_box((path, answer))
}

/// What it does with what the server has sent.
fn bring(mut path: Path) -> (Path, Option<(Slot, Document)>) {
    path.stream.handle_bytes(&path.document);
    while let Ok(Some(Said::Stanza(stanza))) = path.stream.poll_event() {
        if path.sm.handle_nonza(&stanza, path.now) {
            continue;
        }
        path.pipe.server_stanza(stanza);
        while let Some(effect) = path.pipe.poll_effect(true) {
            if let Effect::ToClient(stanza) = effect {
                path.session.send(stanza);
            }
        }
        path.sm.handle_stanza(path.session.given());
    }
    let answer = path.session.poll_response(path.now);
    assert!(answer.is_some());
    black_box((path, answer))
}

/// With a poll held.
fn held(document: &'static str) -> Path {
    let (path, answer) = carry(path(POLL, 0));
    assert!(answer.is_none());
    Path {
        document: document.into(),
        ..path
    }
}

#[library_benchmark(config = at_most(7_250))]
#[bench::held(path(POLL, 0))]
fn poll(path: Path) -> (Path, Option<(Slot, Document)>) {
    carry(path)
}

#[library_benchmark(config = at_most(25_300))]
#[bench::ten(path(GET, 10))]
#[bench::thousand(path(GET, 1000))]
fn roster_get(path: Path) -> (Path, Option<(Slot, Document)>) {
    carry(path)
}

#[library_benchmark(config = at_most(15_000))]
#[bench::one(path(MESSAGE, 0))]
fn message_to_server(path: Path) -> (Path, Option<(Slot, Document)>) {
    carry(path)
}

#[library_benchmark(config = at_most(17_400))]
#[bench::one(held(FROM_SERVER))]
fn message_to_client(path: Path) -> (Path, Option<(Slot, Document)>) {
    bring(path)
}

/// A session by WebSocket that has logged in.
struct Socket {
    framing: Framing,
    acceptor: Acceptor,
    pipe: Pipe,
    sm: StreamManagement,
    stream: Stream,
    limits: xml::Limits,
    now: Instant,
    message: Bytes,
}

#[expect(clippy::disallowed_methods, reason = "a point in time to begin with")]
fn socket(message: &'static str) -> Socket {
    let now = Instant::now();
    let rules = Rules {
        manages_streams: true,
        ..RULES
    };
    let (pipe, sm, stream) = server_side(rules, now);
    Socket {
        framing: Framing::default(),
        acceptor: Acceptor::default(),
        pipe,
        sm,
        stream,
        limits: xml::Limits::default(),
        now,
        message: message.into(),
    }
}

/// With stream management, which has been enabled.
fn managed(message: &'static str) -> Socket {
    let mut socket = socket(message);
    let minute = std::time::Duration::from_secs(60);
    socket.acceptor.enable(Some("id"), minute);
    assert!(socket.acceptor.poll_transmit(socket.now).is_some());
    socket
}

/// What the task of a session does with one message of the client.
fn take(mut socket: Socket) -> Socket {
    let heard = socket
        .framing
        .handle_message(&socket.message, &socket.limits);
    let Ok(Some(framing::Event::Element(element))) = heard else {
        panic!("not an element")
    };
    if let Verdict::Pass(stanza) = socket.acceptor.handle(element, true, socket.now) {
        socket.pipe.client_stanza(stanza);
        while let Some(effect) = socket.pipe.poll_effect(true) {
            if let Effect::ToServer(stanza) = effect {
                socket.sm.sent(&stanza);
                stanza.chunks().for_each(|chunk| drop(black_box(chunk)));
            }
        }
        socket.acceptor.dealt_with(socket.sm.sent_total());
        socket.acceptor.settle(socket.sm.settled_total());
        black_box(socket.sm.poll_transmit(socket.now));
    }
    socket.sm.handle_confirmation(socket.acceptor.confirmed());
    black_box(socket)
}

/// What it does with what the server has sent.
fn give(mut socket: Socket) -> Socket {
    socket.stream.handle_bytes(&socket.message);
    while let Ok(Some(Said::Stanza(stanza))) = socket.stream.poll_event() {
        if socket.sm.handle_nonza(&stanza, socket.now) {
            continue;
        }
        socket.pipe.server_stanza(stanza);
        while let Some(effect) = socket.pipe.poll_effect(true) {
            if let Effect::ToClient(stanza) = effect {
                socket.acceptor.send(stanza, socket.now);
            }
        }
        socket.sm.handle_stanza(socket.acceptor.given());
    }
    let transmit = socket.acceptor.poll_transmit(socket.now);
    let element = transmit.expect("a message").element;
    socket.framing.sent(&element);
    black_box(element.to_bytes());
    black_box(socket)
}

/// The client is to acknowledge a message.
fn received() -> Socket {
    let mut socket = give(managed(FROM_SERVER));
    socket.message = "<a xmlns='urn:xmpp:sm:3' h='1'/>".into();
    socket
}

#[library_benchmark(config = at_most(9_400))]
#[bench::plain(socket(BARE))]
#[bench::managed(managed(BARE))]
fn websocket_to_server(socket: Socket) -> Socket {
    take(socket)
}

#[library_benchmark(config = at_most(16_400))]
#[bench::plain(socket(FROM_SERVER))]
#[bench::managed(managed(FROM_SERVER))]
fn websocket_to_client(socket: Socket) -> Socket {
    give(socket)
}

#[library_benchmark(config = at_most(7_150))]
#[bench::one(received())]
fn acknowledgement(socket: Socket) -> Socket {
    let socket = take(socket);
    assert_eq!(socket.acceptor.unconfirmed_size(), 0);
    socket
}

/// A request of 64 KiB of the worst that is known: it may take 256 instructions a byte.
fn expensive(declared: &str, before: &str, each: &str, after: &str) -> (Bytes, xml::Limits) {
    let count = (64 << 10) / each.len();
    let document = format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='101'{declared}>\
         {before}{}{after}</body>",
        each.repeat(count)
    );
    (document.into(), xml::Limits::default())
}

fn prefixes(count: usize) -> String {
    let declarations = (0..count).map(|number| format!(" xmlns:p{number}='urn:{number}'"));
    declarations.collect()
}

fn attributes(count: usize) -> String {
    let attributes = (0..count).map(|number| format!(" a{number}=''"));
    attributes.collect()
}

#[library_benchmark(config = at_most(256 * (64 << 10)))]
#[bench::prefixes(expensive("", &format!("<a{}>", prefixes(100)), "<p0:a/>", "</a>"))]
#[bench::inheritance(expensive(&prefixes(60), "", "<iq id='12'/>", ""))]
#[bench::defaults(expensive("", "<a>", "<a xmlns='urn:a'/>", "</a>"))]
#[bench::attributes(expensive("", "<a>", &format!("<a{}/>", attributes(120)), "</a>"))]
#[bench::elements(expensive("", "<a>", "<a/>", "</a>"))]
#[bench::references(expensive("", "<a>", "&amp;", "</a>"))]
#[bench::names(expensive("", "<a>", "<\u{e9}\u{e9}\u{e9}/>", "</a>"))]
fn hostile((document, limits): (Bytes, xml::Limits)) {
    let _ = black_box(Message::parse(document, &limits));
}

/// A stanza of a server of 64 KiB that is left out; it may cost as much.
fn unreadable(each: impl Fn(usize) -> String) -> (Stream, String) {
    let mut stream = Stream::new();
    stream.handle_bytes(HEADER.as_bytes());
    let opened = stream.poll_event();
    assert!(matches!(opened, Ok(Some(Said::Header(_)))));
    let mut element = String::from("<message from='a@b' id='1'");
    for number in 0.. {
        element += &each(number);
        if element.len() > 64 << 10 {
            break;
        }
    }
    (stream, element + "/>")
}

#[library_benchmark(config = at_most(256 * (64 << 10)))]
#[bench::attributes(unreadable(|number| format!(" a{number}=''")))]
#[bench::prefixes(unreadable(|number| format!(" xmlns:p{number}='u' p{number}:a=''")))]
fn left_out((mut stream, element): (Stream, String)) {
    stream.handle_bytes(element.as_bytes());
    let event = stream.poll_event();
    assert!(matches!(event, Ok(Some(Said::Unreadable(_)))));
}

fn user(number: usize) -> Username {
    Username::prepare(&format!("user{number}")).expect("a localpart")
}

fn entry() -> Entry {
    Entry {
        roster: Arc::default(),
        left_out: LeftOut::default(),
        validators: Validators::default(),
        fetched: std::time::Duration::ZERO,
        put: std::time::Duration::ZERO,
        fresh: true,
    }
}

fn crowd(users: usize) -> (Snapshot, Username, Entry) {
    let snapshot = Snapshot::new(0, usize::MAX);
    for number in 0..users {
        snapshot.publish(user(number), entry());
    }
    (snapshot, user(users / 2), entry())
}

// A roster has changed: must not grow with the number of users.
#[library_benchmark(config = at_most(2_300))]
#[bench::thousand(crowd(1000))]
#[bench::hundred_thousand(crowd(100_000))]
fn publish((snapshot, user, entry): (Snapshot, Username, Entry)) -> Snapshot {
    snapshot.publish(user, entry);
    black_box(snapshot)
}

library_benchmark_group!(name = request, benchmarks = [poll, roster_get]);
library_benchmark_group!(
    name = messages,
    benchmarks = [message_to_server, message_to_client]
);
library_benchmark_group!(
    name = websocket,
    benchmarks = [websocket_to_server, websocket_to_client, acknowledgement]
);
library_benchmark_group!(name = costs, benchmarks = [hostile, left_out]);
library_benchmark_group!(name = rosters, benchmarks = publish);
gungraun::main!(library_benchmark_groups = [request, messages, websocket, costs, rosters]);
