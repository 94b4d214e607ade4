//! The task of one session: polls the mailbox, the upstream, the roster and the clock, and lets
//! [`Session`] and [`Pipe`] decide.
//!
//! ```text
//!  requests --> Session --stanzas--> Pipe --stanzas--> Upstream
//!  answers  <-- Session <--stanzas-- Pipe <--stanzas-- Upstream
//! ```
//!
//! Everything happens in one `poll`: all inputs that are ready are taken in, then answers are settled
//! and the timer is armed. So a burst from the server travels in one answer, and nothing is ever
//! waited for while another input is ready. Only what an input leads to may be too much for one `poll`
//! (a contact list of thousands that is gone): then the rest of it comes first in the next.

mod account;
mod blocking;
mod handover;
mod roster;
mod unconfirmed;

use std::{
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::yield_now, time::Sleep};
use tracing::{debug, info, warn};

use self::{account::stream_error, blocking::Blocking, handover::Handover, roster::RosterNeed};
use super::{
    Closed, Command, Creator, Entry, Host, MAILBOX, Record, Registration, Registry, Sid, State,
    accounts::Notice,
    downstream::{self, Downstream, End, Event, Farewell},
};
use crate::{
    backend::FetchError,
    clock::now,
    metrics::{Direction, Limit, health::Dependency},
    net::quota::Permit,
    pipe::{Effect, Pipe},
    proto::{sm::initiator::StreamManagement, stanza::Kind, stream::error::StreamCondition},
    roster::{Poke, Roster},
    upstream::{ConnectError, Hello, Initiator, Upstream, UpstreamEvent},
};

/// Time from creation to a bound resource.
const NEGOTIATION: Duration = Duration::from_secs(60);
/// How long the presence of people who are not on the list waits for the notification that they are.
const ACQUAINTANCE: Duration = Duration::from_secs(2);
/// How long the server gets to close its side of the stream.
const CLOSING: Duration = Duration::from_secs(2);
/// Silence towards the server after which a space keeps the connection alive (RFC 6120 §4.6.1).
const KEEPALIVE: Duration = Duration::from_secs(100);
/// Bytes that may wait for a server that does not read, before its client is no longer heard.
const MAX_QUEUED: usize = 4 << 20;
/// Bytes that may wait for it before what goes to many of a client's contacts does too.
const ROOM: usize = 64 << 10;
/// Inputs taken in before other sessions get their turn.
const BUDGET: usize = 128;
/// Effects of one input carried out before they do.
const MAX_EFFECTS: usize = 512;

type Connecting = Pin<Box<dyn Future<Output = Result<(Upstream, Hello), ConnectError>> + Send>>;

/// The connection to the server.
enum Link {
    Connecting(Connecting),
    Up(Upstream),
    /// The stream has been closed by us; the server may still read and answer.
    Closing(Upstream, Instant),
    Down,
}

struct Task {
    registration: Registration,
    record: Arc<Record>,
    host: Arc<Host>,
    mailbox: mpsc::Receiver<Box<Command>>,
    client: Downstream,
    pipe: Pipe,
    link: Link,
    sm: StreamManagement,
    /// The server's latest features have stream management among them.
    sm_offered: bool,
    roster: Option<RosterNeed>,
    poke: Arc<Poke>,
    /// Roster pushes that have been counted.
    pushes: u64,
    /// Until the resource is bound.
    negotiation: Option<Instant>,
    last_written: Instant,
    /// What the latest input leads to is not all done.
    has_more: bool,
    /// The gateway is going down: nobody needs to be told twice.
    leaving: bool,
    /// Its server waits, because of what pends for all clients.
    is_held_up: bool,
    blocking: Blocking,
    handover: Handover,
    /// Until when presence of people who are not on the list is held.
    held_until: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    // What the session counts for, until it has ended.
    by_address: Option<Permit<IpAddr>>,
    by_user: Option<Permit<String>>,
}

/// Something that has happened.
enum Input {
    Command(Command),
    Connected(Result<(Upstream, Hello), ConnectError>),
    Client(downstream::Input),
    Roster(Result<Arc<Roster>, FetchError>),
    /// What is shared with others has changed: the roster, or what the account's sessions have to do.
    Poked,
    /// Another session of the account tells of something.
    Notice(Notice),
    /// They have done what they were told.
    Hidden,
    Upstream(UpstreamEvent),
    UpstreamLost(String),
}

/// Starts the session `sid` of a client that wants to be spoken to in the language `lang`.
///
/// # Errors
/// When the gateway is going down.
pub fn spawn(
    registry: &Arc<Registry>,
    host: Arc<Host>,
    sid: Sid,
    creator: Creator,
    lang: Option<String>,
    client: Downstream,
) -> Result<(), Closed> {
    let (sender, mailbox) = mpsc::channel(MAILBOX);
    let now = now();
    let record = Record::new(registry.number(), &host.domain, creator.origin, now);
    let record = Arc::new(record);
    let entry = Entry {
        mailbox: sender,
        secure: creator.origin.secure,
        record: Arc::clone(&record),
    };
    let registration = registry.register(sid, entry)?;
    let connecting = {
        let host = Arc::clone(&host);
        Box::pin(async move {
            let initiator = Initiator {
                address: creator.origin.address,
                jid: None,
                lang: lang.as_deref().unwrap_or("en"),
            };
            host.connector.connect(initiator).await
        })
    };
    let mut task = Task {
        registration,
        record,
        mailbox,
        client,
        pipe: Pipe::new(host.rules, &host.domain),
        host,
        link: Link::Connecting(connecting),
        sm: StreamManagement::default(),
        sm_offered: false,
        roster: None,
        poke: Arc::default(),
        pushes: 0,
        negotiation: Some(now + NEGOTIATION),
        last_written: now,
        has_more: false,
        leaving: false,
        is_held_up: false,
        blocking: Blocking::default(),
        handover: Handover::default(),
        held_until: None,
        timer: Box::pin(tokio::time::sleep(NEGOTIATION)),
        by_address: creator.seat,
        by_user: None,
    };
    // Not by an async function: that would keep the session twice.
    tokio::spawn(poll_fn(move |cx| task.poll(cx)));
    Ok(())
}

impl Task {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = now();
        if self.can_go_on() {
            self.carry_on(now);
        }
        for _ in 0..BUDGET {
            if self.has_more {
                break;
            }
            let Poll::Ready(input) = self.poll_input(cx) else {
                self.settle(now);
                // The client has taken an answer, or the server has read: there may be room now.
                if self.can_go_on() {
                    self.carry_on(now);
                    continue;
                }
                self.leave_account();
                if self.is_done(now) {
                    debug!(sid = ?self.registration.sid(), "session forgotten");
                    return Poll::Ready(());
                }
                match self.poll_timer(cx, now) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => continue,
                }
            };
            self.handle(input, now);
        }
        self.settle(now);
        // Not before sockets have had theirs, as a mere wake-up would.
        let _ = pin!(yield_now()).poll(cx);
        Poll::Pending
    }

    /// The next thing that has happened; registers for all of them if nothing has.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if let Poll::Ready(input) = self.client.poll_input(cx) {
            return Poll::Ready(Input::Client(input));
        }
        if self.is_server_listening()
            && self.client.wants_commands()
            && let Poll::Ready(Some(command)) = self.mailbox.poll_recv(cx)
        {
            return Poll::Ready(Input::Command(*command));
        }
        if self.poke.poll(cx).is_ready() {
            return Poll::Ready(Input::Poked);
        }
        if let Poll::Ready(input) = self.blocking.poll(cx) {
            return Poll::Ready(input);
        }
        if let Some(roster) = &mut self.roster
            && let Poll::Ready(result) = roster.poll(cx)
        {
            return Poll::Ready(Input::Roster(result));
        }
        // What it says is answered in part: a server that does not take that must not go on.
        let wants_upstream = !self.is_behind() && !self.hold_up() && self.queued() < MAX_QUEUED;
        match &mut self.link {
            Link::Connecting(connecting) => connecting.as_mut().poll(cx).map(Input::Connected),
            Link::Up(upstream) => upstream.poll(cx, wants_upstream).map(|event| match event {
                Ok(event) => Input::Upstream(event),
                Err(error) => Input::UpstreamLost(error.in_words()),
            }),
            Link::Closing(upstream, _) => {
                // Whatever still comes has no reader; only the end is of interest.
                while let Poll::Ready(event) = upstream.poll(cx, true) {
                    if matches!(event, Ok(UpstreamEvent::Closed) | Err(_)) {
                        self.link = Link::Down;
                        break;
                    }
                }
                Poll::Pending
            }
            Link::Down => Poll::Pending,
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let Some(deadline) = self.deadline() else {
            return Poll::Pending;
        };
        if deadline <= now {
            self.handle_timeout(now);
            return Poll::Ready(());
        }
        let deadline = deadline.into();
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            // It has fired since we looked at the clock: come round again.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn deadline(&self) -> Option<Instant> {
        // What is owed to a server, or by it, is owed no more once the stream ends.
        let [link, sm] = match &self.link {
            Link::Up(_) => [Some(self.last_written + KEEPALIVE), self.sm.poll_timeout()],
            Link::Closing(_, deadline) => [Some(*deadline), None],
            Link::Down if self.leaving => [self.client.awaited_until(), None],
            Link::Connecting(_) | Link::Down => [None, None],
        };
        [
            self.client.poll_timeout(),
            self.negotiation,
            self.given_up_at(),
            self.blocking.deadline(),
            self.held_until,
            self.handover.due(),
            link,
            sm,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.give_up_on_siblings(now);
        if self.held_until.take_if(|until| *until <= now).is_some() {
            self.pipe.show_held();
        }
        if self.negotiation.is_some_and(|deadline| deadline <= now) {
            self.negotiation = None;
            self.client.end(Farewell::Violation(None), now);
        }
        match &mut self.link {
            Link::Up(upstream) if self.last_written + KEEPALIVE <= now => {
                upstream.keepalive();
                self.last_written = now;
            }
            Link::Closing(_, deadline) if *deadline <= now => self.link = Link::Down,
            _ => {}
        }
        if matches!(self.link, Link::Up(_)) && self.sm.is_unanswered(now) {
            if self.is_behind() || self.is_held_up {
                self.sm.excuse_server(now);
            } else {
                self.server_lost("stream management is not answered", now);
            }
        }
        self.client.handle_timeout(now);
        self.drain_events(now);
        self.hand_over(now);
        self.keep_account(now);
    }

    fn is_done(&self, now: Instant) -> bool {
        // When the gateway goes, a session stays for no client that has gone before.
        let is_over = if self.leaving {
            let awaited_until = self.client.awaited_until();
            !self.client.is_open() && awaited_until.is_none_or(|until| until <= now)
        } else {
            self.client.is_gone()
        };
        is_over && matches!(self.link, Link::Down)
    }

    fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Command(Command::Bosh { request, reply }) => {
                let Downstream::Bosh(bosh) = &mut self.client;
                if !bosh.handle_request(request, reply, now) {
                    let metrics = self.registration.metrics();
                    metrics.limit(Limit::RequestRate);
                }
            }
            Input::Command(Command::Oversized) => {
                self.client.end(Farewell::Violation(None), now);
            }
            Input::Command(Command::Shutdown) => {
                self.leaving = true;
                self.hurry_handover(now);
                if self.client.deaf_at().is_some() {
                    // Nobody may come for it before we are gone.
                    self.bounce_pending();
                }
                self.client.end(Farewell::Shutdown, now);
            }
            Input::Connected(Ok((upstream, hello))) => {
                self.host
                    .metrics
                    .connected("ok", true, self.record.age(now));
                self.link = Link::Up(upstream);
                self.record.enter(State::Negotiating);
                self.sm_offered = StreamManagement::is_offered(&hello.features);
                self.host.warn_of_withheld(&hello.features);
                let sid = self.registration.sid().expose();
                self.client
                    .introduce(sid, &self.host.domain, hello.stream_id.as_deref());
                self.pipe.server_stanza(hello.features);
            }
            Input::Connected(Err(error)) => self.refuse(&error, now),
            Input::Client(input) => self.client.handle(input, now),
            Input::Roster(result) => self.roster_fetched(result),
            Input::Poked => self.roster_changed(),
            Input::Notice(notice) => self.heed(notice),
            Input::Hidden => self.pass_block_on(now),
            Input::Upstream(event) => self.handle_upstream(event, now),
            Input::UpstreamLost(reason) => {
                self.server_lost(&reason, now);
            }
        }
        self.carry_on(now);
    }

    /// Does what an input leads to, or the next part of it if that is very much.
    fn carry_on(&mut self, now: Instant) {
        self.drain_events(now);
        let has_held = self.client.is_open() && self.pipe.has_held();
        self.held_until = has_held.then(|| self.held_until.unwrap_or(now + ACQUAINTANCE));
        self.settle_with_siblings();
        self.hand_over(now);
        self.keep_account(now);
        if self.pipe.is_interested() {
            self.record.set_interested();
        }
        let pushes = self.pipe.pushes();
        if pushes != self.pushes {
            self.registration
                .metrics()
                .pushed(pushes.wrapping_sub(self.pushes));
            self.pushes = pushes;
        }
    }

    fn handle_upstream(&mut self, event: UpstreamEvent, now: Instant) {
        if self.handover.is_lingering() {
            return self.handle_late(event, now);
        }
        match event {
            UpstreamEvent::Features(features) => {
                self.sm_offered = StreamManagement::is_offered(&features);
                self.pipe.server_stanza(features);
            }
            UpstreamEvent::Stanza(element) => {
                if self.sm.handle_nonza(&element, now) {
                    return;
                }
                self.count(Direction::FromServer, element.kind());
                let counts = element.is_stanza();
                let noted = self.note(&element, now);
                let given = self.client.given();
                self.pipe.server_stanza(element);
                if counts {
                    self.drain_events(now);
                    self.sm.handle_stanza(self.client.given());
                    self.keep(noted, given);
                }
            }
            UpstreamEvent::Unreadable(husk) => {
                debug!(sid = ?self.registration.sid(), "stanza of the server left out");
                self.registration.metrics().limit(Limit::StanzaShape);
                self.pipe.server_husk(husk);
                self.drain_events(now);
                self.sm.handle_stanza(self.client.given());
            }
            UpstreamEvent::StreamError(error) => {
                let condition = StreamCondition::of(&error).name;
                let (sid, domain) = (self.registration.sid(), &self.host.domain);
                info!(
                    ?sid,
                    domain, condition, "server ended the stream with an error"
                );
                // A web client cannot go to another host by TCP; it can come here again.
                let error = match condition.as_str() {
                    "see-other-host" => stream_error("reset", "please connect again"),
                    _ => error,
                };
                self.return_unsent();
                self.handover.server_ends();
                self.client.end(Farewell::Error(error), now);
            }
            UpstreamEvent::Closed => {
                self.handover.server_ends();
                let (sid, domain) = (self.registration.sid(), &self.host.domain);
                info!(?sid, domain, "server closed the stream without an error");
                self.return_unsent();
                self.client.end(Farewell::Closed, now);
            }
        }
    }

    /// Bytes that wait for the server.
    fn queued(&self) -> usize {
        match &self.link {
            Link::Up(upstream) => upstream.queued(),
            Link::Connecting(_) | Link::Closing(..) | Link::Down => 0,
        }
    }

    /// A server that does not take it must not make the gateway remember what its client says.
    fn is_server_listening(&self) -> bool {
        self.queued() < MAX_QUEUED && !self.sm.is_full()
    }

    /// Whether the client's next stanza may have its effect. Most that the gateway answers itself: a client
    /// that does not take the answers is not asked for more.
    fn is_client_heard(&self) -> bool {
        // A block that is on its way comes before the end, too.
        if self.blocking.is_holding() || self.pipe.is_hiding() {
            return false;
        }
        let is_ready = self.is_server_listening() && !self.pipe.has_much_to_answer();
        !self.client.is_open() || self.client.wants_upstream() && is_ready
    }

    /// Whether there is room for more of what goes to many contacts or tells of many.
    fn has_room(&self) -> bool {
        !self.client.is_open() || self.client.has_room() && self.queued() < ROOM
    }

    /// Whether something that has been taken in can have its effect now.
    fn can_go_on(&self) -> bool {
        self.has_more
            || self.pipe.is_telling() && self.has_room()
            || self.client.has_events() && self.is_client_heard()
    }

    /// Lets the machines act on what has been taken in, until both have nothing more to say or others
    /// are to have their turn.
    fn drain_events(&mut self, now: Instant) {
        self.has_more = false;
        for _ in 0..MAX_EFFECTS {
            if let Some(effect) = self.pipe.poll_effect(self.has_room()) {
                self.apply(effect, now);
            } else if self.is_client_heard()
                && let Some(event) = self.client.poll_event()
            {
                match event {
                    Event::Stanza(stanza) => {
                        self.count(Direction::FromClient, stanza.kind());
                        self.handover.client_stanza(&stanza);
                        self.pipe.client_stanza(stanza);
                    }
                    Event::Restart => self.restart(now),
                    Event::Ended(end) => self.close(end, now),
                }
            } else {
                self.has_more = self.pipe.is_telling() && self.has_room();
                return;
            }
        }
        self.has_more = true;
    }

    fn apply(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Bound => {
                self.negotiation = None;
                if let Some(identity) = self.pipe.identity() {
                    let most = self.host.limits.sessions_per_user;
                    self.by_user = self.registration.seat_user(identity.bare(), most);
                    if self.by_user.is_none() {
                        let sid = self.registration.sid();
                        warn!(?sid, jid = identity.full(), "too many sessions of a user");
                        self.registration.metrics().limit(Limit::SessionsPerUser);
                        let text = "too many sessions of this user";
                        let error = stream_error("policy-violation", text);
                        return self.client.end(Farewell::Violation(Some(error)), now);
                    }
                }
                if self.sm_offered
                    && let Link::Up(upstream) = &mut self.link
                    && upstream.is_manageable()
                {
                    upstream.queue_bytes(self.sm.enable());
                    self.join_account(now);
                }
                self.join_siblings();
                if let Some(identity) = self.pipe.identity() {
                    self.record.bind(identity.full());
                    let sid = self.registration.sid();
                    info!(?sid, jid = identity.full(), "session bound");
                    if let (true, Err(reason)) = (self.host.rules.rosters, identity.owner()) {
                        let jid = identity.full();
                        warn!(?sid, jid, %reason, "session has no contact list");
                    }
                }
            }
            Effect::NeedRoster => self.need_roster(),
            Effect::ToClient(stanza) => {
                self.count(Direction::ToClient, stanza.kind());
                self.client.send(stanza);
            }
            Effect::ToServer(stanza) => {
                self.count(Direction::ToServer, stanza.kind());
                if let Link::Up(upstream) = &mut self.link {
                    upstream.queue(&stanza);
                    self.sm.sent(&stanza);
                    self.last_written = now;
                }
            }
            Effect::TellAccount(change) => drop(self.tell_siblings(&change)),
            Effect::Block(request, change) => self.block(request, &change, now),
            Effect::ToServerMany { bytes, count } => {
                self.registration.metrics().presence_to_server(count);
                if let Link::Up(upstream) = &mut self.link {
                    upstream.queue_bytes(bytes);
                    self.sm.sent_others(count);
                    self.last_written = now;
                }
            }
        }
    }

    fn count(&self, direction: Direction, kind: Kind) {
        self.registration.metrics().stanza(direction, kind);
    }

    /// A new stream on the same connection, as long as no resource is bound to the old one.
    fn restart(&mut self, now: Instant) {
        match &mut self.link {
            Link::Up(upstream) if self.pipe.identity().is_none() => {
                upstream.restart(None);
                self.last_written = now;
            }
            _ => debug!(sid = ?self.registration.sid(), "restart of a bound stream ignored"),
        }
    }

    /// The session is over for the client: leave the server in good order.
    fn close(&mut self, end: End, now: Instant) {
        info!(sid = ?self.registration.sid(), ?end, "session ended");
        self.registration.metrics().ended(end.as_str());
        self.record.enter(State::Ending);
        self.negotiation = None;
        (self.by_address, self.by_user) = (None, None);
        self.roster = None;
        self.leave_siblings();
        self.bounce_pending();
        self.sm.handle_confirmation(self.client.confirmed());
        if !self.begin_handover(now) {
            self.close_stream(now);
        }
    }

    /// Takes leave of the server. What has not been acknowledged is the server's.
    fn close_stream(&mut self, now: Instant) {
        self.transmit(now);
        self.give_up_handover(now);
        self.link = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(mut upstream) => {
                upstream.close();
                Link::Closing(upstream, now + CLOSING)
            }
            link @ Link::Closing(..) => link,
            Link::Connecting(_) | Link::Down => Link::Down,
        };
    }

    /// The server could not be reached: whoever asked for the session hears it at once.
    fn refuse(&mut self, error: &ConnectError, now: Instant) {
        warn!(
            sid = ?self.registration.sid(),
            domain = self.host.domain,
            %error,
            "server unreachable",
        );
        let metrics = &self.host.metrics;
        metrics.connected(error.outcome(), false, self.record.age(now));
        metrics.failed(Dependency::Upstream, error);
        self.registration.metrics().ended("unreachable");
        self.record.enter(State::Ending);
        self.link = Link::Down;
        self.client.refuse(now);
    }

    /// Sends what is due, to both sides.
    fn settle(&mut self, now: Instant) {
        let has_answered = self.client.poll_write(now);
        let kept = self.client.pending() + self.client.waiting() + self.handover.left_size();
        self.registration.count_pending(kept);
        // Who is answered comes back, and what then goes to the server, if only that it has come, acknowledges
        // what came of it, for less.
        let is_acknowledged = has_answered && (self.sm.is_on() || self.negotiation.is_some());
        if let Link::Up(upstream) = &mut self.link
            && !is_acknowledged
        {
            upstream.acknowledge();
        }
    }
}
