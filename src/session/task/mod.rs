//! Task of one session: takes in what comes from the client, the server, the roster, other sessions and the clock,
//! and lets the state machines decide. It must not wait for anything but in [`Task::poll`]. It knows neither the front
//! of its client nor the protocol of its server.
//!
//! ```text
//!  client --> Downstream --stanzas--> Pipe --stanzas--> Link --> server
//!         <--            <--stanzas--      <--stanzas--      <--
//! ```
//!
//! Everything happens in one `poll`: it takes in all inputs that are ready, then settles answers and arms the timer.
//! So a burst from the server travels in one answer, and the session never waits while an input is ready. The effects
//! of one input may be too many for one `poll` (a contact list of thousands that is gone): then the next `poll` begins
//! with the rest.

mod blocking;
mod effects;
mod handover;
mod login;
mod ownership;
mod resumption;
mod roster;
mod server;
mod shut_out;
mod unconfirmed;

use std::{
    future::{Future, poll_fn},
    net::IpAddr,
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::yield_now, time::Sleep};
use tracing::{debug, info};

pub use self::resumption::Attach;
use self::{
    blocking::Blocking,
    handover::Handover,
    resumption::{Answer, Resuming},
    roster::LeasedRoster,
};
use super::{
    Admitted, Command, Entry, Host, MAILBOX, Record, Refused, Registration, Registry, Sleeper,
    accounts::Notice,
    downstream::{self, Downstream, Reason},
    link::{self, Link},
};
use crate::{
    backend::FetchError,
    clock::now,
    events::Resource,
    metrics::Limit,
    net::{causes::in_words, quota::Permit, wake_flag::WakeFlag},
    pipe::{Pipe, Rules},
    proto::handover::Unconfirmed,
    roster::Roster,
    upstream::Initiator,
};

/// Time from creation to a bound resource.
const BIND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the presence of people who are not on the list is held: the notification that they are now may come later
/// than they do.
const STRANGERS_HELD: Duration = Duration::from_secs(2);
/// Inputs taken in before other sessions get their turn.
const BUDGET: usize = 128;

struct Task {
    registration: Registration,
    record: Arc<Record>,
    host: Arc<Host>,
    mailbox: mpsc::Receiver<Box<Command>>,
    client: Downstream,
    pipe: Pipe,
    link: Link,
    roster: Option<LeasedRoster>,
    /// The bound resource, as the site sees whether it is available.
    resource: Option<Box<Resource>>,
    wake_flag: Arc<WakeFlag>,
    /// Roster pushes that have been counted.
    pushes: u64,
    /// The name under which the client wants to log in, until it has.
    login: Option<Box<str>>,
    /// When the resource has to be bound; `None` once it is.
    bind_by: Option<Instant>,
    /// The latest input has effects that are not carried out yet.
    has_more: bool,
    /// The gateway is going down.
    is_shutting_down: bool,
    /// The server is not read from, as too much is pending for all clients and this one has more than its share.
    is_over_share: bool,
    blocking: Blocking,
    /// What there is to note of a message of the server that waits for the list, and how much the client had been given.
    uncounted: Option<(Option<Unconfirmed>, u64)>,
    handover: Handover,
    resuming: Resuming,
    /// Until when presence of people who are not on the list is held.
    held_until: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    // What the session counts for, until it has ended.
    by_address: Option<Permit<IpAddr>>,
    by_user: Option<Permit<String>>,
}

/// Something that has happened.
enum Input {
    Command(Box<Command>),
    Client(downstream::Input),
    Roster(Result<Arc<Roster>, FetchError>),
    /// The wake flag was set: the roster has changed, or another session of the account has something for this one.
    Woken,
    /// Another session of the account blocks somebody, or unblocks.
    Notice(Notice),
    /// The other sessions of the account have done their part in a block.
    SiblingsDone,
    /// The session that the client wants to resume has taken the connection or not; `None` if the connection is lost.
    Answered(Option<Answer>),
    /// Another gateway says what has become of the session that the client wants to go on with; `None` if it does not.
    Elsewhere(Option<Sleeper>),
    Server(link::Input),
}

/// Starts the session of a client that has been admitted, and wants to be spoken to in the language `lang`.
///
/// # Errors
/// [`Refused::Closed`].
pub fn spawn(
    registry: &Arc<Registry>,
    admitted: Admitted,
    lang: Option<String>,
    client: Downstream,
) -> Result<(), Refused> {
    let Admitted {
        host,
        sid,
        origin,
        permit,
    } = admitted;
    let (sender, mailbox) = mpsc::channel(MAILBOX);
    let now = now();
    let record = Record::new(registry.number(), &host.domain, client.front(), origin, now);
    let record = Arc::new(record);
    let entry = Entry {
        mailbox: sender,
        secure: origin.secure,
        record: Arc::clone(&record),
    };
    let registration = registry.register(sid, entry)?;
    let (sid, address) = (registration.sid(), origin.address.ip());
    registry.metrics.session_created();
    info!(?sid, client = %address, domain = host.domain, "session created");
    let connecting = {
        let host = Arc::clone(&host);
        Box::pin(async move {
            let initiator = Initiator {
                address: origin.address,
                jid: None,
                lang: lang.as_deref().unwrap_or("en"),
            };
            host.connector.connect(initiator).await
        })
    };
    let rules = Rules {
        manages_streams: matches!(client, Downstream::Stream(_)),
        ..host.rules
    };
    let mut task = Task {
        registration,
        record,
        mailbox,
        client,
        pipe: Pipe::new(rules, &host.domain).beside(Arc::clone(&host.people_at)),
        host,
        link: Link::new(connecting, now),
        roster: None,
        resource: None,
        wake_flag: Arc::default(),
        pushes: 0,
        login: None,
        bind_by: Some(now + BIND_TIMEOUT),
        has_more: false,
        is_shutting_down: false,
        is_over_share: false,
        blocking: Blocking::default(),
        uncounted: None,
        handover: Handover::default(),
        resuming: Resuming::default(),
        held_until: None,
        timer: Box::pin(tokio::time::sleep(BIND_TIMEOUT)),
        by_address: permit,
        by_user: None,
    };
    // Not by an async function: that would keep the session twice.
    tokio::spawn(poll_fn(move |cx| task.poll(cx)));
    Ok(())
}

impl Task {
    /// Takes in one input after the other; when none is left, sends what is due and sleeps.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = now();
        self.go_on(now);
        for _ in 0..BUDGET {
            if self.has_more {
                break;
            }
            if let Poll::Ready(input) = self.poll_input(cx) {
                self.handle(input, now);
                continue;
            }
            self.settle(cx, now);
            // The client has taken an answer, or the server has read: there may be room now.
            if self.go_on(now) {
                continue;
            }
            if let ControlFlow::Break(poll) = self.rest(cx, now) {
                return poll;
            }
        }
        self.settle(cx, now);
        // `yield_now` lets the I/O driver run before this task is polled again; waking ourselves would not.
        let _ = pin!(yield_now()).poll(cx);
        Poll::Pending
    }

    /// Carries out effects that had to wait, if there is room for them now; whether there was.
    fn go_on(&mut self, now: Instant) -> bool {
        let can_go_on = self.can_go_on();
        if can_go_on {
            self.carry_on(now);
        }
        can_go_on
    }

    /// No input is left: ends the task or arms the timer. Continues if the timer has expired.
    fn rest(&mut self, cx: &mut Context<'_>, now: Instant) -> ControlFlow<Poll<()>> {
        self.leave_account();
        if self.is_done(now) {
            debug!(sid = ?self.registration.sid(), "session forgotten");
            return ControlFlow::Break(Poll::Ready(()));
        }
        match self.poll_timer(cx, now) {
            Poll::Pending => ControlFlow::Break(Poll::Pending),
            Poll::Ready(()) => ControlFlow::Continue(()),
        }
    }

    /// The next input; registers for all of them if there is none.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        // First, as a list that the site has changed holds for whatever comes after that.
        if !self.resuming.is_offered() && self.wake_flag.poll(cx).is_ready() {
            return Poll::Ready(Input::Woken);
        }
        if let Poll::Ready(input) = self.client.poll_input(cx) {
            return Poll::Ready(Input::Client(input));
        }
        if self.takes_commands()
            && let Poll::Ready(Some(command)) = self.mailbox.poll_recv(cx)
        {
            return Poll::Ready(Input::Command(command));
        }
        if let Poll::Ready(input) = self.resuming.poll(cx) {
            return Poll::Ready(input);
        }
        if self.resuming.is_offered() {
            return Poll::Pending;
        }
        if let Poll::Ready(input) = self.blocking.poll(cx) {
            return Poll::Ready(input);
        }
        if let Some(roster) = &mut self.roster
            && let Poll::Ready(result) = roster.poll(cx)
        {
            return Poll::Ready(Input::Roster(result));
        }
        // The gateway answers some of what the server sends. A server that does not take those answers is not read
        // from, or they would pile up.
        let wants_more = !self.is_behind()
            && !self.check_backlog()
            && self.link.takes_more()
            && !self.pipe.holds_of_server();
        self.link.poll(cx, wants_more).map(Input::Server)
    }

    /// Whether the mailbox is read. The requests of a BOSH client come by it, and wait if the server does.
    fn takes_commands(&self) -> bool {
        match &self.client {
            Downstream::Bosh(_) => self.link.is_listening() && !self.client.is_slowed(),
            Downstream::Stream(_) => true,
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
        let is_last = self.is_shutting_down && self.link.is_down();
        let awaited = is_last.then(|| self.client.awaited_until()).flatten();
        [
            self.client.poll_timeout(),
            self.bind_by,
            self.given_up_at(),
            self.blocking.deadline(),
            self.held_until,
            self.handover.due(),
            self.link.poll_timeout(),
            awaited,
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
        if self.bind_by.is_some_and(|deadline| deadline <= now) {
            self.bind_by = None;
            self.client.end(Reason::Violation(None), now);
        }
        self.link.handle_timeout(now);
        if self.link.is_unanswered(now) {
            if self.is_behind() || self.is_over_share {
                self.link.sm.excuse_server(now);
            } else {
                self.server_lost("stream management is not answered", now);
            }
        }
        self.client.handle_timeout(now);
        self.drain_events(now);
        self.hand_over(now);
        self.acknowledge_confirmed(now);
    }

    fn is_done(&self, now: Instant) -> bool {
        // While the gateway goes down, a session does not stay for a client that has vanished.
        let is_over = if self.is_shutting_down {
            let awaited_until = self.client.awaited_until();
            !self.client.is_open() && awaited_until.is_none_or(|until| until <= now)
        } else {
            self.client.is_gone()
        };
        is_over && self.link.is_down()
    }

    fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Command(command) => self.handle_command(*command, now),
            Input::Client(input) => self.handle_client(input, now),
            Input::Roster(result) => self.roster_fetched(result),
            Input::Woken => {
                self.blocking.woken();
                self.roster_changed();
            }
            Input::Notice(notice) => self.handle_notice(notice),
            Input::SiblingsDone => self.send_held_block(now),
            Input::Answered(answer) => self.handle_answer(answer, now),
            Input::Elsewhere(sleeper) => self.handle_elsewhere(sleeper, now),
            Input::Server(link::Input::Connected(Ok(hello))) => self.connected(hello, now),
            Input::Server(link::Input::Connected(Err(error))) => self.refuse(&error, now),
            Input::Server(link::Input::Event(event)) => self.handle_upstream(event, now),
            Input::Server(link::Input::Lost(error)) => self.server_lost(&in_words(&error), now),
        }
        self.carry_on(now);
    }

    fn handle_client(&mut self, input: downstream::Input, now: Instant) {
        let was_slowed = self.client.is_slowed();
        self.client.handle(input, now);
        if self.client.is_slowed() && !was_slowed {
            self.registration.metrics().limit(Limit::RequestRate);
        }
    }

    fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Bosh { request, reply } => {
                let Downstream::Bosh(bosh) = &mut self.client else {
                    return;
                };
                if !bosh.handle_request(request, reply, now) {
                    let metrics = self.registration.metrics();
                    metrics.limit(Limit::RequestRate);
                }
            }
            Command::Oversized => {
                self.client.end(Reason::Violation(None), now);
            }
            Command::Attach(attach) => self.attach(attach, now),
            Command::HandOver => self.client.hand_over(),
            Command::Abandon => self.client.abandon(),
            Command::End(error) => self.client.end(Reason::Error(error), now),
            Command::Shutdown => {
                self.is_shutting_down = true;
                self.hurry_handover(now);
                if self.client.deaf_at().is_some() {
                    // The client may not come before the gateway is gone.
                    self.bounce_pending();
                }
                self.client.end(Reason::Shutdown, now);
            }
        }
    }

    /// Carries out the effects of an input, or the next part of them if they are many.
    fn carry_on(&mut self, now: Instant) {
        self.drain_events(now);
        self.count_late();
        let has_held = self.client.is_open() && self.pipe.has_held();
        self.held_until = has_held.then(|| self.held_until.unwrap_or(now + STRANGERS_HELD));
        self.finish_notices();
        self.hand_over(now);
        self.acknowledge_confirmed(now);
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

    /// Whether the client's next stanza may take effect. The gateway answers most of them itself, so a client that
    /// does not take its answers is not heard.
    fn is_client_heard(&self) -> bool {
        // A block comes before everything that the client sends after it, its logout included.
        if self.blocking.is_holding() || self.pipe.is_hiding() || self.pipe.holds_of_client() {
            return false;
        }
        if self.resuming.is_trying() && self.client.is_open() {
            return false;
        }
        let is_ready = self.link.is_listening() && !self.pipe.has_much_to_answer();
        !self.client.is_open() || self.client.wants_upstream() && is_ready
    }

    /// Whether there is room for more of what goes to many contacts, or tells the client of many.
    fn has_room(&self) -> bool {
        !self.client.is_open() || self.client.has_room() && self.link.has_room()
    }

    /// Whether something that has been taken in can take effect now.
    fn can_go_on(&self) -> bool {
        self.has_more
            || self.pipe.is_telling() && self.has_room()
            || self.client.has_events() && self.is_client_heard()
    }

    /// Sends what is due, to both sides.
    fn settle(&mut self, cx: &mut Context<'_>, now: Instant) {
        let has_answered = self.client.poll_write(cx, now);
        let for_client = self.client.pending().max(self.client.unconfirmed_size());
        let kept = for_client + self.client.waiting() + self.handover.left_size();
        self.registration.count_pending(kept);
        // A client that was just answered will send its next request, and what that makes us write acknowledges the
        // server's data for free.
        let is_acknowledged = has_answered && (self.link.sm.is_on() || self.bind_by.is_some());
        if !is_acknowledged {
            self.link.acknowledge();
        }
    }
}
