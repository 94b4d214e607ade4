//! Instructions that the pure parts cost, counted by callgrind: of a request (the scan of the document,
//! the session state machine, the pipe, and the answer), and of publishing a roster among many.
//! Repeatable, but for the seeds of hash maps.

#![allow(
    missing_docs,
    unused_qualifications,
    reason = "what the macros of gungraun make"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use bytes::Bytes;
use gungraun::prelude::*;
use rostergate::{
    pipe::{Effect, Pipe, Rules},
    proto::{
        bosh::{
            body::{Document, Message},
            session::{Event, Session, Slot},
            terms::Policy,
        },
        stanza::Stanza,
        xml,
    },
    roster::{
        Contact, Roster, Subscription, Username,
        snapshot::{Entry, Snapshot, Validators},
    },
};

const POLL: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='101'/>";
const GET: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='101'>\
                   <iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>\
                   </body>";

/// A session that has logged in, whose roster has been fetched.
struct Path {
    session: Session,
    pipe: Pipe,
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
        max_pending: 1 << 20,
        report_grace: minute,
    };
    let now = Instant::now();
    let mut session = Session::open(&creation, &policy, Slot(0), now);
    session.introduce("s", "example.org", None);
    session.send(stanza(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
    ));
    assert!(session.poll_response(now).is_some());

    let mut pipe = Pipe::new(Rules {
        rosters: true,
        directed: true,
    });
    pipe.server_stanza(stanza(
        "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>john@example.org/web</jid></bind></iq>",
    ));
    while pipe.poll_effect().is_some() {}
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
        limits,
        now,
        roster,
        document: document.into(),
    }
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
        while let Some(effect) = path.pipe.poll_effect() {
            match effect {
                Effect::NeedRoster => path.pipe.roster_ready(&path.roster),
                Effect::ToClient(stanza) => path.session.send(stanza),
                _ => {}
            }
        }
    }
    let answer = path.session.poll_response(path.now);
    black_box((path, answer))
}

#[library_benchmark]
#[bench::held(path(POLL, 0))]
fn poll(path: Path) -> (Path, Option<(Slot, Document)>) {
    carry(path)
}

#[library_benchmark]
#[bench::ten(path(GET, 10))]
#[bench::thousand(path(GET, 1000))]
fn roster_get(path: Path) -> (Path, Option<(Slot, Document)>) {
    carry(path)
}

fn user(number: usize) -> Username {
    Username::prepare(&format!("user{number}")).expect("a localpart")
}

fn entry() -> Entry {
    Entry {
        roster: Arc::default(),
        validators: Validators::default(),
        fetched: std::time::Duration::ZERO,
        fresh: true,
    }
}

fn crowd(users: usize) -> (Snapshot, Username, Entry) {
    let snapshot = Snapshot::new(0);
    for number in 0..users {
        snapshot.publish(user(number), entry());
    }
    (snapshot, user(users / 2), entry())
}

// A roster has changed: must not grow with the number of users.
#[library_benchmark]
#[bench::thousand(crowd(1000))]
#[bench::hundred_thousand(crowd(100_000))]
fn publish((snapshot, user, entry): (Snapshot, Username, Entry)) -> Snapshot {
    snapshot.publish(user, entry);
    black_box(snapshot)
}

library_benchmark_group!(name = request, benchmarks = [poll, roster_get]);
library_benchmark_group!(name = rosters, benchmarks = publish);
gungraun::main!(library_benchmark_groups = [request, rosters]);
