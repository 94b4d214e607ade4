//! Resumption (XEP-0198 §5): a session's part in it. The session that a client begins with finds out who the client is,
//! and gives its connection to the one that the client wants to go on with.
//!
//! ```text
//!  session of the new connection                      session that is resumed
//!    <resume/> from the client
//!    binds a resource: the server says who it is
//!    gives the connection away ------ Attach ------->  compares the accounts
//!    is over without a word  <------- Taken ---------  <resumed/>, and what the client has not got
//!    <failed/> <--------------------- Refused -------  the connection comes back
//! ```
//!
//! Nobody is believed but the server: every way to authenticate works, and no word of the client is looked at. If the
//! resumption fails, the client may go on to bind a resource; it is given the one that is bound already.
//!
//! Where the SM-ID names another gateway, the session cannot be had, and what it had not confirmed has to come to the
//! client by its server. That keeps it only for an account's last session (Prosody), so the other session has to go
//! before this one is bound: the same resource is asked for, and a server ends the older session of that name. Then the
//! other gateway is told who the client is, and ends the session if the server has not.

use std::{
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::{Input, Task};
use crate::{
    metrics::Resumption,
    pipe::identity::Identity,
    proto::{
        sm::acceptor::Violation,
        stanza::{IqType, Kind, Stanza},
        stream::error::stream_error,
        xml::{Ns, write::Tag},
    },
    session::{
        Command, Errand, Mailbox, Origin, Sleeper, SmId, Wish,
        downstream::{Downstream, Reason as EndReason, stream::Handed},
        resumption::{Ended, Named, Resumable, Returned},
    },
    upstream::UpstreamEvent,
};

/// What a session has to do with resumption.
#[derive(Default)]
pub(super) struct Resuming {
    /// Another connection may take this session over.
    resumable: Option<Box<Resumable>>,
    /// The client of this session wants to go on with another one.
    attempt: Option<Box<Attempt>>,
    /// The same, where that one is in another gateway.
    elsewhere: Option<Box<Elsewhere>>,
    /// The server's answer to a binding that the client does not know of, once its resumption has failed.
    bound_before: Option<Box<Stanza>>,
    /// What became of the client's stanzas when the server was lost.
    unsent: Unsent,
    /// The client has said last that nobody looks at it (XEP-0352).
    is_inactive: bool,
}

/// What became of stanzas that the server may never have got.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Unsent {
    /// There were none.
    #[default]
    None,
    /// The client was away. It is told of the settled ones only, and sends the rest again.
    Left,
    /// The client was sent errors. If it cannot have read them, it sends the rest again as well.
    Returned,
}

/// A client's wish to go on with another session.
struct Attempt {
    other: Mailbox,
    previd: String,
    h: u32,
    /// Whether the other session takes the connection; `None` while the server has not said who the client is.
    answer: Option<oneshot::Receiver<Answer>>,
}

/// A client's wish to go on with a session of another gateway.
struct Elsewhere {
    node: Box<str>,
    previd: String,
    h: u32,
    /// What the other gateway says; `None` while the server is asked.
    answer: Option<oneshot::Receiver<Sleeper>>,
    /// Whether it is known that there is such a session.
    is_found: bool,
    /// Whether the server has been asked for the resource of that session.
    is_named: bool,
}

/// A connection that is offered to the session that its client wants to resume. Unless that session takes it, it goes
/// back, even if the session has ended meanwhile.
pub struct Attach {
    handed: Option<Handed>,
    reply: Option<oneshot::Sender<Answer>>,
    /// Who the client is, as the server says (`Host::account`).
    account: String,
    /// Where the connection comes from.
    origin: Origin,
    previd: String,
    h: u32,
}

/// What the other session says.
pub(super) enum Answer {
    /// It goes on with the connection.
    Taken,
    /// It does not.
    Refused(Handed, Refusal),
}

/// Why a session does not go on with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// It has ended.
    Gone,
    /// It is another user's.
    Stranger,
    /// It was created over TLS, and the connection is in clear.
    Insecure,
    /// The client claims to have got more than it was sent.
    TooHigh(Violation),
    /// The client has lost what it had already acknowledged, as a copy of a tab has: nobody keeps that. The session
    /// has taken so many stanzas from its client.
    Stale(u32),
}

impl Attach {
    fn refuse(mut self, refusal: Refusal) {
        self.give_back(refusal);
    }

    fn give_back(&mut self, refusal: Refusal) {
        if let (Some(handed), Some(reply)) = (self.handed.take(), self.reply.take()) {
            // If the session that offers it is gone as well, the connection is closed.
            let _ = reply.send(Answer::Refused(handed, refusal));
        }
    }
}

impl Drop for Attach {
    fn drop(&mut self) {
        self.give_back(Refusal::Gone);
    }
}

impl std::fmt::Debug for Attach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attach").finish_non_exhaustive()
    }
}

impl Resuming {
    /// Whether the client is not heard, as it may be another session's.
    pub(super) fn is_trying(&self) -> bool {
        self.attempt.is_some() || self.elsewhere.is_some()
    }

    /// Whether the connection is with the other session: nothing can be done before it answers.
    pub(super) fn is_offered(&self) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|attempt| attempt.answer.is_some())
    }

    /// What the other session says.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let elsewhere = self.elsewhere.as_mut();
        if let Some(answer) = elsewhere.and_then(|elsewhere| elsewhere.answer.as_mut()) {
            let sleeper = ready!(std::pin::Pin::new(answer).poll(cx)).ok();
            return Poll::Ready(Input::Elsewhere(sleeper));
        }
        let attempt = self.attempt.as_mut();
        let Some(answer) = attempt.and_then(|attempt| attempt.answer.as_mut()) else {
            return Poll::Pending;
        };
        // Without an answer, the connection is lost: the other session's task has failed.
        let answer = ready!(std::pin::Pin::new(answer).poll(cx)).ok();
        Poll::Ready(Input::Answered(answer))
    }

    /// Whether the server was asked for a resource by name. That is asked once.
    fn wants_another_name(&mut self) -> bool {
        let elsewhere = self.elsewhere.as_mut();
        elsewhere.is_some_and(|elsewhere| std::mem::take(&mut elsewhere.is_named))
    }

    /// Takes note of what the client says of itself.
    pub(super) fn client_stanza(&mut self, stanza: &Stanza) {
        if stanza.ns() == Ns::Csi {
            self.is_inactive = stanza.local() == "inactive";
        }
    }

    /// Stanzas of the client were lost with the server.
    pub(super) fn lose_some(&mut self, unsent: Unsent) {
        self.unsent = unsent;
    }
}

/// Marks the gateway's own binding. The client has sent none by then.
const BIND_ID: &str = "rostergate-resume";
const BIND: Bytes = Bytes::from_static(
    b"<iq xmlns='jabber:client' type='set' id='rostergate-resume'>\
      <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
);
/// The same for this resource.
fn bind(resource: &str) -> Bytes {
    let iq = Tag::new("iq").ns(Ns::Client).plain("type", "set");
    let iq = iq.plain("id", BIND_ID).content(|out| {
        let bind = Tag::within(out, "bind").ns(Ns::Bind);
        bind.content(|out| {
            Tag::within(out, "resource").text(resource);
        });
    });
    iq.into()
}

/// A client that resumes is looked at, which its server does not see (XEP-0352 §5).
const ACTIVE: Bytes = Bytes::from_static(b"<active xmlns='urn:xmpp:csi:0'/>");

impl Task {
    // === The session that may be resumed ===

    /// Grants the client stream management.
    pub(super) fn enable_for_client(&mut self, resume: bool) {
        let node = self.registration.node();
        let id = resume.then(|| SmId::random(node)).and_then(|id| {
            id.inspect_err(|error| warn!(%error, "no randomness for an sm-id"))
                .ok()
        });
        if let (Some(id), Some(identity)) = (&id, self.pipe.identity()) {
            let account = self.host.account(identity);
            let resumable = self.registration.resumable(id.clone(), &account);
            self.resuming.resumable = resumable.map(Box::new);
        }
        let id = id.filter(|_| self.resuming.resumable.is_some());
        if id.is_some()
            && let Downstream::Stream(stream) = &self.client
        {
            self.handover.expect_absence(stream.longest_absence());
        }
        self.client.enable(id);
    }

    /// The client's connection is gone, and may be replaced.
    pub(super) fn fall_asleep(&mut self, now: Instant) {
        if !matches!(&self.client, Downstream::Stream(stream) if stream.is_asleep()) {
            // It has been resumed, or is over, since this was noticed.
            return;
        }
        debug!(sid = ?self.registration.sid(), "session asleep");
        self.record.fall_asleep(now);
        if let Some(resource) = &self.resource {
            resource.set_asleep(true);
        }
        // So that the client, when it comes again, need not send again what the server has.
        self.link.sm.ask_to_settle();
        let resumable = self.resuming.resumable.as_ref();
        if let Some(oldest) = resumable.and_then(|resumable| resumable.fall_asleep()) {
            let error = stream_error("policy-violation", "too many sessions of this user sleep");
            // A session whose mailbox is full is about to be resumed.
            let _ = oldest.try_send(Box::new(Command::End(error)));
        }
    }

    /// The session is over: its client may come later, and is then told what it need not send again.
    pub(super) fn forget_resumption(&mut self, now: Instant) {
        if let Some(resumable) = self.resuming.resumable.take()
            && let Downstream::Stream(stream) = &self.client
        {
            let acceptor = stream.acceptor();
            let taken = match self.resuming.unsent {
                Unsent::None => acceptor.received(),
                Unsent::Left | Unsent::Returned => acceptor.settled(),
            };
            let returned = self.resuming.unsent == Unsent::Returned;
            let returned = returned.then(|| Returned {
                sent: acceptor.sent(),
                received: acceptor.received(),
            });
            resumable.end(Ended { taken, returned }, now);
        }
    }

    /// A client offers its connection, to go on with this session.
    pub(super) fn attach(&mut self, mut attach: Attach, now: Instant) {
        let is_here = self.client.is_open() && self.link.is_up();
        let Downstream::Stream(stream) = &mut self.client else {
            return;
        };
        if !is_here || !stream.is_named(&attach.previd) {
            return;
        }
        let account = self.pipe.identity().map(|it| self.host.account(it));
        if account.as_ref() != Some(&attach.account) {
            return attach.refuse(Refusal::Stranger);
        }
        if self.record.origin().secure && !attach.origin.secure {
            return attach.refuse(Refusal::Insecure);
        }
        let Some(handed) = attach.handed.take() else {
            return;
        };
        if let Err((handed, violation)) = stream.resume(handed, &attach.previd, attach.h, now) {
            let received = stream.acceptor().received();
            attach.handed = Some(handed);
            return attach.refuse(match violation {
                Violation::HandledTooLow { .. } => Refusal::Stale(received),
                _ => Refusal::TooHigh(violation),
            });
        }
        if let Some(reply) = attach.reply.take() {
            // The session that the connection began with may be gone.
            let _ = reply.send(Answer::Taken);
        }
        let client = attach.origin.address.ip();
        info!(sid = ?self.registration.sid(), jid = self.record.jid(), %client, "session resumed");
        self.record.wake();
        if let Some(resource) = &self.resource {
            resource.set_asleep(false);
        }
        if let Some(resumable) = &self.resuming.resumable {
            resumable.wake();
        }
        if std::mem::take(&mut self.resuming.is_inactive) {
            self.link.queue(&Stanza::ours(ACTIVE), now);
        }
    }

    // === The session of the new connection ===

    /// The client wants to go on with another session, which it has got `h` stanzas of.
    pub(super) fn try_to_resume(&mut self, previd: String, h: u32, now: Instant) {
        match self.registration.find_resumable(&previd, now) {
            Named::Session(session, _) => {
                let other = session.mailbox;
                self.resuming.attempt = Some(Box::new(Attempt {
                    other,
                    previd,
                    h,
                    answer: None,
                }));
                match self.resuming.bound_before.take() {
                    Some(bound) => self.offer_connection(*bound),
                    None => self.link.queue(&Stanza::ours(BIND), now),
                }
            }
            Named::Ended(ended) => {
                self.refuse_resumption(Some(ended.taken(h)), Resumption::Unknown);
            }
            Named::Nothing => self.look_elsewhere(previd, h),
        }
    }

    fn refuse_resumption(&mut self, taken: Option<u32>, why: Resumption) {
        debug!(sid = ?self.registration.sid(), ?why, "session not resumed");
        self.registration.metrics().resumption(why);
        (self.resuming.attempt, self.resuming.elsewhere) = (None, None);
        if let Downstream::Stream(stream) = &mut self.client {
            stream.refuse_resumption(taken);
        }
    }

    /// Deals with the server's answer to our binding; gives back everything else.
    pub(super) fn identify_resumer(
        &mut self,
        event: UpstreamEvent,
        now: Instant,
    ) -> Option<UpstreamEvent> {
        let is_answer = |stanza: &Stanza| {
            matches!(stanza.kind(), Kind::Iq(IqType::Result | IqType::Error))
                && stanza.id().as_deref() == Some(BIND_ID)
        };
        let answer = match event {
            UpstreamEvent::Stanza(answer) if self.resuming.is_trying() && is_answer(&answer) => {
                answer
            }
            other => return Some(other),
        };
        match self.resuming.elsewhere.is_some() {
            true => self.tell_elsewhere(answer, now),
            false => self.offer_connection(answer),
        }
        None
    }

    // === The same, where the other session is in another gateway ===

    /// Asks the gateway that the SM-ID names, if there is one, what the SM-ID is.
    fn look_elsewhere(&mut self, previd: String, h: u32) {
        let own = self.registration.node();
        let node = own.and_then(|_| SmId::node_of(&previd));
        let Some(node) = node.filter(|node| Some(*node) != own) else {
            return self.refuse_resumption(None, Resumption::Unknown);
        };
        self.resuming.elsewhere = Some(Box::new(Elsewhere {
            node: node.into(),
            previd,
            h,
            answer: None,
            is_found: false,
            is_named: false,
        }));
        self.ask_elsewhere(None);
    }

    /// Asks it, or tells it whose the client is.
    fn ask_elsewhere(&mut self, account: Option<String>) {
        let secure = self.record.origin().secure;
        let Some(elsewhere) = &mut self.resuming.elsewhere else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        let wish = Wish {
            previd: elsewhere.previd.clone(),
            h: elsewhere.h,
            secure,
            account,
        };
        let node = elsewhere.node.clone();
        elsewhere.answer = Some(answer);
        // One that is not run is answered with nothing.
        let is_run = self.registration.run(Errand { node, wish, reply });
        debug!(sid = ?self.registration.sid(), is_run, "asking another gateway for a session");
    }

    /// The other gateway says what the SM-ID is, or that it has ended the session; `None` if it says nothing.
    pub(super) fn handle_elsewhere(&mut self, sleeper: Option<Sleeper>, now: Instant) {
        let Some(elsewhere) = &mut self.resuming.elsewhere else {
            return;
        };
        elsewhere.answer = None;
        let (taken, why) = match sleeper {
            Some(Sleeper::Session { resource }) if !elsewhere.is_found => {
                (elsewhere.is_found, elsewhere.is_named) = (true, true);
                match self.resuming.bound_before.take() {
                    Some(bound) => self.tell_elsewhere(*bound, now),
                    None => self.link.queue(&Stanza::ours(bind(&resource)), now),
                }
                return;
            }
            Some(Sleeper::Ended(taken)) => (Some(taken), Resumption::Elsewhere),
            Some(Sleeper::Strangers) => (None, Resumption::Stranger),
            Some(Sleeper::Insecure) => (None, Resumption::Insecure),
            Some(Sleeper::Nothing) => (None, Resumption::Unknown),
            Some(Sleeper::Session { .. }) | None => (None, Resumption::Elsewhere),
        };
        self.refuse_resumption(taken, why);
    }

    /// The server says by `bound` who the client is, or that the other session's resource is not to be had: then any
    /// other does.
    fn tell_elsewhere(&mut self, bound: Stanza, now: Instant) {
        match Identity::from_bind_result(&bound, &self.host.domain) {
            Some(identity) => {
                self.resuming.bound_before = Some(Box::new(bound));
                self.ask_elsewhere(Some(self.host.account(&identity)));
            }
            None if self.resuming.wants_another_name() => {
                self.link.queue(&Stanza::ours(BIND), now);
            }
            None => self.refuse_resumption(None, Resumption::Unproven),
        }
    }

    /// Offers the client's connection to the session that it wants, if the server says by `bound` who the client is.
    fn offer_connection(&mut self, bound: Stanza) {
        let Some(identity) = Identity::from_bind_result(&bound, &self.host.domain) else {
            return self.refuse_resumption(None, Resumption::Unproven);
        };
        self.resuming.bound_before = Some(Box::new(bound));
        let Downstream::Stream(stream) = &mut self.client else {
            return;
        };
        let Some(attempt) = &mut self.resuming.attempt else {
            return;
        };
        let Some(handed) = stream.hand_out() else {
            // The client has gone meanwhile.
            self.resuming.attempt = None;
            return;
        };
        let (reply, answer) = oneshot::channel();
        attempt.answer = Some(answer);
        let attach = Attach {
            handed: Some(handed),
            reply: Some(reply),
            account: self.host.account(&identity),
            origin: self.record.origin(),
            previd: attempt.previd.clone(),
            h: attempt.h,
        };
        // Whatever does not arrive comes back as refused.
        let _ = attempt.other.try_send(Box::new(Command::Attach(attach)));
    }

    /// The other session has taken the connection or not.
    pub(super) fn handle_answer(&mut self, answer: Option<Answer>, now: Instant) {
        let Some(attempt) = self.resuming.attempt.take() else {
            return;
        };
        let Downstream::Stream(stream) = &mut self.client else {
            return;
        };
        match answer {
            Some(Answer::Taken) => {
                stream.handed_over();
                self.registration.metrics().resumption(Resumption::Resumed);
            }
            Some(Answer::Refused(handed, refusal)) => {
                stream.take_back(handed);
                let found = self.registration.find_resumable(&attempt.previd, now);
                let (taken, why) = match (refusal, found) {
                    (Refusal::Gone, Named::Ended(ended)) => {
                        (Some(ended.taken(attempt.h)), Resumption::Unknown)
                    }
                    (Refusal::Gone, _) => (None, Resumption::Unknown),
                    (Refusal::Stale(received), _) => (Some(received), Resumption::Unknown),
                    (Refusal::Stranger, _) => (None, Resumption::Stranger),
                    (Refusal::Insecure, _) => (None, Resumption::Insecure),
                    (Refusal::TooHigh(violation), _) => {
                        self.registration.metrics().resumption(Resumption::TooHigh);
                        let error = violation.error();
                        return self.client.end(EndReason::Violation(Some(error)), now);
                    }
                };
                self.refuse_resumption(taken, why);
            }
            None => self.client.end(EndReason::Closed, now),
        }
    }

    /// The resource that the client wants to bind, if one has been bound already: the server is not asked again. The
    /// server chooses resources anyway (RFC 6120 §7.7).
    pub(super) fn answer_binding(&mut self, stanza: &Stanza) -> bool {
        let wants_to_bind = stanza.kind() == Kind::Iq(IqType::Set) && stanza.has_child(Ns::Bind);
        if !wants_to_bind {
            return false;
        }
        let Some(bound) = self.resuming.bound_before.take() else {
            return false;
        };
        let id = stanza.id();
        self.pipe
            .server_stanza(bound.with_id(id.as_deref().unwrap_or_default()));
        true
    }
}
