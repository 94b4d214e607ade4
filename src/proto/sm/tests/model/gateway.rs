//! The gateway of the model: both accounts, coupled as a session couples them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    items::{is_missed, made_of, text_of},
    wire::Wire,
};
use crate::proto::{
    sm::{
        acceptor::{Acceptor, Verdict, Violation},
        initiator::StreamManagement,
    },
    stanza::Stanza,
};

/// How long a client may be away.
const MAX_ASLEEP: Duration = Duration::from_secs(300);
/// Stanzas of the server that may be unconfirmed.
const MAX_UNCONFIRMED: u32 = 40;
/// What may be kept for a client, bytes: all that the server may have unconfirmed, and as much of the gateway's own.
const MAX_KEPT: usize = 64 << 10;

/// Where the counters of a session begin: what the client sends and is sent, what the server sends and is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) client: (u32, u32),
    pub(super) server: (u32, u32),
}

pub(super) struct Gateway {
    start: Start,
    now: Instant,
    sessions: u32,
    session: Option<Session>,
    /// A connection without a session.
    visitor: Option<Acceptor>,
    /// What is known of sessions that are over.
    remembered: Vec<Remembered>,
    /// How often a client wanted to resume that has forgotten too much.
    too_low: u32,
}

struct Session {
    id: String,
    number: u32,
    acceptor: Acceptor,
    sm: StreamManagement,
    /// The client's latest connection is this session's.
    is_attached: bool,
    /// Stanzas of the client that have not been dealt with.
    inbox: VecDeque<Stanza>,
    /// They are not dealt with for now.
    is_busy: bool,
    notices: u32,
}

/// What is remembered of a session.
struct Remembered {
    id: String,
    settled: u32,
    received: u32,
    /// What was not settled was returned to the client, by stanzas up to this one.
    returned_by: Option<u32>,
}

impl Gateway {
    pub(super) fn new(start: Start, now: Instant) -> Self {
        Self {
            start,
            now,
            sessions: 0,
            session: None,
            visitor: None,
            remembered: Vec::new(),
            too_low: 0,
        }
    }

    /// The process is killed, and started again.
    pub(super) fn die(&mut self) {
        *self = Self {
            sessions: self.sessions,
            ..Self::new(self.start, self.now)
        };
    }

    /// How many sessions there have been.
    pub(super) fn sessions(&self) -> u32 {
        self.sessions
    }

    pub(super) fn too_low(&self) -> u32 {
        self.too_low
    }

    /// Whether the server is not read from.
    pub(super) fn is_behind(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.sm.unconfirmed() >= MAX_UNCONFIRMED)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    // === The client's connections ===

    /// The client has a new connection. The old one may still seem to be there.
    pub(super) fn accept(&mut self, front: &mut Wire) {
        *front = Wire::default();
        self.visitor = Some(Acceptor::default());
        if let Some(session) = &mut self.session {
            session.is_attached = false;
        }
    }

    /// The gateway notices which connections are gone.
    pub(super) fn notice(&mut self, front: &mut Wire, back: &mut Wire) {
        if front.is_cut() {
            self.visitor = None;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        session.is_attached &= !front.is_cut();
        if !session.is_attached && session.acceptor.asleep_since().is_none() {
            if !session.acceptor.is_resumable() {
                return self.end(None, back);
            }
            session.acceptor.sleep(self.now);
        }
        if back.is_cut() {
            self.server_lost(front, back);
        }
    }

    pub(super) fn hear_client(&mut self, text: &str, front: &mut Wire, back: &mut Wire) {
        if let Some(position) = text.strip_prefix("pong ") {
            if let Some(session) = &mut self.session {
                session.acceptor.handle_pong(position.parse().unwrap());
            }
            return;
        }
        let element = parse(text);
        if let Some(mut visitor) = self.visitor.take() {
            let verdict = visitor.handle(element, false, self.now);
            self.visitor = Some(visitor);
            return self.visited(verdict, front, back);
        }
        let Some(session) = self.session.as_mut().filter(|session| session.is_attached) else {
            return;
        };
        match session.acceptor.handle(element, true, self.now) {
            Verdict::Pass(stanza) => session.inbox.push_back(stanza),
            Verdict::Done => {}
            Verdict::Enable { resume } => {
                assert!(resume);
                session.acceptor.enable(Some(&session.id), MAX_ASLEEP);
                let (received, sent) = self.start.client;
                session.acceptor.count_from(received, sent);
            }
            verdict => panic!("{verdict:?} though all rules were kept"),
        }
    }

    fn visited(&mut self, verdict: Verdict, front: &mut Wire, back: &mut Wire) {
        match verdict {
            Verdict::Pass(stanza) if stanza.id().as_deref() == Some("bind") => {
                let mut acceptor = self.visitor.take().unwrap();
                acceptor.dealt_with(0);
                let bound = parse("<iq type='result' id='bind'/>");
                acceptor.send(bound, self.now);
                self.log_in(acceptor, back);
            }
            Verdict::Resume { previd, h } => {
                let outcome = self.resume(&previd, h);
                let visitor = self.visitor.as_mut().unwrap();
                match outcome {
                    Ok(()) => self.visitor = None,
                    Err(remembered) => {
                        visitor.refuse(remembered);
                        self.write(front, back);
                    }
                }
            }
            verdict => panic!("{verdict:?} though all rules were kept"),
        }
    }

    fn resume(&mut self, previd: &str, h: u32) -> Result<(), Option<u32>> {
        if let Some(session) = &mut self.session
            && session.id == previd
        {
            return match session.acceptor.resume(previd, h, self.now) {
                Ok(()) => {
                    session.is_attached = true;
                    Ok(())
                }
                Err(Violation::HandledTooLow { .. }) => {
                    self.too_low += 1;
                    Err(None)
                }
                Err(violation) => panic!("{violation}"),
            };
        }
        let remembered = self.remembered.iter().find(|it| it.id == previd);
        Err(remembered.map(|it| match it.returned_by == Some(h) {
            true => it.received,
            false => it.settled,
        }))
    }

    fn log_in(&mut self, acceptor: Acceptor, back: &mut Wire) {
        self.sessions += 1;
        let mut sm = StreamManagement::default();
        sm.count_from(self.start.server.1, self.start.server.0);
        let enable = sm.enable();
        *back = Wire::default();
        back.write_up(String::from_utf8(enable.to_vec()).unwrap());
        self.session = Some(Session {
            id: format!("id-{}", self.sessions),
            number: self.sessions,
            acceptor,
            sm,
            is_attached: true,
            inbox: VecDeque::new(),
            is_busy: false,
            notices: 0,
        });
    }

    // === The server ===

    pub(super) fn hear_server(&mut self, text: &str) {
        let Some(session) = &mut self.session else {
            return;
        };
        let element = parse(text);
        if session.sm.handle_nonza(&element, self.now) {
            return;
        }
        let number = element.id().unwrap().parse().unwrap();
        for item in made_of(number) {
            let text = format!("<message id='{}'/>", text_of(item));
            session.acceptor.send(parse(text), self.now);
        }
        session.sm.handle_stanza(session.acceptor.given());
    }

    /// The client hears what may not have arrived, if it is there.
    fn server_lost(&mut self, front: &mut Wire, back: &mut Wire) {
        let Some(session) = &mut self.session else {
            return;
        };
        // Who has not heard `<resumed/>` sends again what is not settled.
        if session.acceptor.asleep_since().is_some() {
            return self.turn_away(front, back);
        }
        let outstanding = session.sm.take_outstanding();
        for stanza in outstanding.chain(session.inbox.drain(..)) {
            let id = stanza.id().unwrap();
            let number = id.split('.').next().unwrap();
            let error = format!("<message id='lost.{number}' type='error'/>");
            session.acceptor.send(parse(error), self.now);
        }
        let returned_by = session.acceptor.sent();
        self.write(front, back);
        front.write_down("close".into());
        self.end(Some(returned_by), back);
    }

    /// The session is over for a client that is away, or that waits for `<resumed/>`.
    fn turn_away(&mut self, front: &mut Wire, back: &mut Wire) {
        if self.session.as_ref().is_some_and(|it| it.is_attached) {
            front.write_down("close".into());
        }
        self.end(None, back);
    }

    // === By itself ===

    /// Says something to the client.
    pub(super) fn notify_client(&mut self) {
        if let Some(session) = &mut self.session
            && session.acceptor.unconfirmed_size() < MAX_KEPT / 2
        {
            session.notices += 1;
            let text = format!("<presence id='{}.{}'/>", session.number, session.notices);
            session.acceptor.send(parse(text), self.now);
        }
    }

    /// Says something to the server that nobody would miss.
    pub(super) fn notify_server(&mut self, back: &mut Wire) {
        if let Some(session) = &mut self.session {
            back.write_up("<presence/>".into());
            session.sm.sent_others(1);
        }
    }

    pub(super) fn set_busy(&mut self, is_busy: bool) {
        if let Some(session) = &mut self.session {
            session.is_busy = is_busy;
        }
    }

    /// Does what is due.
    pub(super) fn work(&mut self, front: &mut Wire, back: &mut Wire) {
        let Some(session) = &mut self.session else {
            self.write(front, back);
            return;
        };
        while !session.is_busy
            && let Some(stanza) = session.inbox.pop_front()
        {
            let number = stanza.id().unwrap().parse().unwrap();
            for item in made_of(number) {
                let text = format!("<message id='{}'/>", text_of(item));
                back.write_up(text.clone());
                match is_missed(number) {
                    true => session.sm.sent(&parse(text)),
                    false => session.sm.sent_others(1),
                }
            }
            session.acceptor.dealt_with(session.sm.sent_total());
        }
        self.couple(front, back);
        self.write(front, back);
        if let Some(Session { acceptor, .. }) = &self.session {
            if acceptor.is_unanswered(self.now) {
                front.cut();
                return self.notice(front, back);
            }
            let due = acceptor.poll_timeout();
            assert!(due.is_none_or(|at| at > self.now), "what was due is done");
        }
    }

    /// Tells each account how far the other has come.
    fn couple(&mut self, front: &mut Wire, back: &mut Wire) {
        let Some(session) = &mut self.session else {
            return;
        };
        let is_attached = session.is_attached;
        let Session { acceptor, sm, .. } = session;
        acceptor.settle(sm.settled_total());
        if acceptor.wants_settlement() {
            sm.ask_to_settle();
        }
        sm.handle_confirmation(acceptor.confirmed());
        let asleep_for = acceptor
            .asleep_since()
            .map(|since| self.now.duration_since(since));
        let is_behind = sm.unconfirmed() >= MAX_UNCONFIRMED;
        let is_late = |time| time >= MAX_ASLEEP && !is_attached;
        if asleep_for.is_some_and(|time| is_behind || is_late(time)) {
            return self.turn_away(front, back);
        }
        if is_behind {
            acceptor.ask();
        }
    }

    fn write(&mut self, front: &mut Wire, back: &mut Wire) {
        let session = self.session.as_mut();
        let is_attached = session.as_ref().is_some_and(|session| session.is_attached);
        let own = session.map(|session| (&mut session.acceptor, &mut session.sm));
        if let Some((acceptor, sm)) = own {
            while let Some(transmit) = acceptor.poll_transmit(self.now) {
                let text = transmit.element.to_bytes().to_vec();
                if is_attached {
                    front.write_down(String::from_utf8(text).unwrap());
                }
            }
            if let Some(position) = acceptor.poll_ping(self.now)
                && is_attached
            {
                front.write_down(format!("ping {position}"));
            }
            if let Some(bytes) = sm.poll_transmit(self.now) {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let elements = text.split_inclusive("/>");
                elements.for_each(|element| back.write_up(element.to_owned()));
            }
            assert!(acceptor.confirmed() <= acceptor.written());
            assert!(acceptor.written() <= acceptor.given());
            assert!(acceptor.unconfirmed_size() < MAX_KEPT, "memory is bounded");
        }
        if let Some(visitor) = &mut self.visitor {
            while let Some(transmit) = visitor.poll_transmit(self.now) {
                let text = transmit.element.to_bytes().to_vec();
                front.write_down(String::from_utf8(text).unwrap());
            }
        }
    }

    /// The session is over. The stream to the server is closed, and the server keeps what it was not acknowledged.
    fn end(&mut self, returned_by: Option<u32>, back: &mut Wire) {
        let Some(session) = self.session.take() else {
            return;
        };
        let acceptor = &session.acceptor;
        self.remembered.push(Remembered {
            settled: acceptor.settled(),
            received: acceptor.received(),
            returned_by,
            id: session.id,
        });
        back.cut();
    }
}

fn parse(text: impl Into<String>) -> Stanza {
    Stanza::parse(text.into()).unwrap()
}
