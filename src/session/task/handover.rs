//! Handover: a session's part in passing messages on between the sessions of an account (`ARCHITECTURE.md` §6.1).
//!
//! Each session plays two roles, one after the other. As long as its client is there, it may give the client messages
//! that other sessions have left (`take_over`), and tells the account when the client has confirmed them. When the
//! client is gone it *lingers*: its stream stays open, it leaves its own unconfirmed messages to others, and it
//! acknowledges to the server what they have confirmed (`linger`).
//!
//! Which message goes to whom is decided by [`crate::proto::handover`]. This owns what that needs to know of one
//! session, and must not decide itself.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tracing::{debug, info};

use super::{Task, unconfirmed::KeptMessages};
use crate::{
    clock::wall_clock,
    metrics::Direction,
    pipe::{Effect, bounce, identity::Identity},
    proto::{
        handover::{Handed, Ticket, Unconfirmed, message},
        sm::initiator::Question,
        stanza::{IqType, Kind, MessageType, PresenceType, Stanza},
        xml::Ns,
    },
    session::accounts::Membership,
    upstream::UpstreamEvent,
};

/// How often a client is asked to confirm what it was handed. Two would do: a client confirms an answer by its second
/// request after it. But one that uses acknowledgements may never acknowledge these, and is not asked for ever.
const MAX_QUESTIONS: u8 = 8;

/// What a session keeps for others, and has taken from others.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// The place in the account, from the bound resource to the end of the stream, where the server has stream
    /// management.
    membership: Option<Membership>,
    /// The server's messages that the client has not confirmed. They share their bytes with the answers.
    kept: KeptMessages,
    /// Messages of other sessions that the client has not confirmed, each with the number of stanzas that the client
    /// had been given by then.
    taken: VecDeque<(u64, Ticket)>,
    /// Questions to the server, the earliest first, each with the fence that its answer passes. At most one has been
    /// sent and one has not.
    fences: Vec<(Question, u64)>,
    /// How often the client has been asked since it was handed something.
    questions: u8,
    /// `Some` while the session lingers: how many stanzas the client would have been given by now.
    lingering: Option<u64>,
    presence: Presence,
    has_server_ended: bool,
    /// When to call [`Task::hand_over`] again.
    due: Option<Instant>,
    /// Size of what this session has left to others, in bytes.
    size: usize,
    /// How many messages it has left to others.
    left: usize,
}

/// The client's latest presence for everybody: it says whether the client may be given messages to the account.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Presence {
    #[default]
    None,
    Available,
    /// Available with a negative priority: not to be given messages to the account (RFC 6121 §8.5.2.1.1).
    NegativePriority,
    Unavailable,
}

impl Presence {
    /// Of available presence for everybody.
    fn of(stanza: &Stanza) -> Self {
        let priority = stanza
            .children()
            .find(|child| child.is(Ns::Client, "priority"));
        let is_negative = |text: &str| text.trim().parse().is_ok_and(i8::is_negative);
        match priority {
            Some(priority) if is_negative(&priority.text()) => Self::NegativePriority,
            Some(_) | None => Self::Available,
        }
    }
}

impl Handover {
    /// Whether the client is gone and the stream is still open.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.is_some()
    }

    /// The server ends the stream: nothing can be acknowledged to it any more, so the session must not linger.
    pub(super) fn server_ends(&mut self) {
        self.has_server_ended = true;
    }

    /// The client may be gone for so long before its session ends.
    pub(super) fn expect_absence(&self, time: Duration) {
        if let Some(membership) = &self.membership {
            membership.with(|account, _| account.be_patient(time));
        }
    }

    /// Takes note of the client's presence.
    pub(super) fn client_stanza(&mut self, stanza: &Stanza) {
        match stanza.kind() {
            Kind::Presence(PresenceType::Available) if stanza.to().is_none() => {
                self.presence = Presence::of(stanza);
            }
            Kind::Presence(PresenceType::Unavailable) if stanza.to().is_none() => {
                self.presence = Presence::Unavailable;
            }
            _ => {}
        }
    }

    /// When to call [`Task::hand_over`], if nothing else happens first.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Size of what this session has left to others, in bytes.
    pub(super) fn left_size(&self) -> usize {
        self.size
    }

    /// Size of all that is kept for a handover and not pending as well, in bytes. The client has been sent the first
    /// `written` stanzas.
    pub(super) fn size(&self, written: u64) -> usize {
        self.size.saturating_add(self.kept.size(written))
    }

    /// The client has confirmed the first `confirmed` stanzas: forgets its own, and tells the account of those of
    /// others.
    fn confirm(&mut self, confirmed: u64, now: Instant) {
        self.kept.confirm(confirmed);
        while let Some((given, ticket)) = self.taken.front()
            && *given <= confirmed
        {
            if let Some(membership) = &self.membership {
                membership.with(|account, _| account.confirm(*ticket, now));
            }
            self.taken.pop_front();
        }
    }
}

impl Task {
    /// The resource is bound, and nothing else has been sent: what the server sends from now on can be compared with
    /// what the other sessions get.
    pub(super) fn join_account(&mut self, now: Instant) {
        let Some(identity) = self.pipe.identity() else {
            return;
        };
        let accounts = self.registration.accounts();
        let wake_flag = Arc::clone(&self.wake_flag);
        let jids = [identity.bare(), identity.full()];
        self.handover.membership = accounts.join(&self.host.domain, jids, wake_flag, now);
    }

    /// Leaves the account once the stream is gone.
    pub(super) fn leave_account(&mut self) {
        if self.link.is_down() {
            self.handover.membership = None;
            (self.handover.lingering, self.handover.due) = (None, None);
            self.handover.size = 0;
        }
    }

    /// Takes note of a message of the server, before the client is given it.
    pub(super) fn note(&self, stanza: &Stanza, now: Instant) -> Option<Unconfirmed> {
        if stanza.kind() != Kind::Message(MessageType::Other) || !self.link.sm.is_on() {
            return None;
        }
        let membership = self.handover.membership.as_ref()?;
        Some(Unconfirmed {
            given: 0,
            stanza: stanza.clone(),
            received: now,
            noted: membership.with(|account, member| account.note(member, stanza)),
        })
    }

    /// Keeps a message that the client has been given, after `before` stanzas, until it has confirmed it.
    pub(super) fn keep(&mut self, message: Option<Unconfirmed>, before: u64) {
        let given = self.client.given();
        if let Some(message) = message
            && given > before
            && self.client.is_open()
        {
            self.handover.kept.push(Unconfirmed { given, ..message });
        }
    }

    /// Exchanges news with the account: what the server and the client have confirmed, and what there is to give or to
    /// acknowledge. To be called after every input, and when it is [`Handover::due`].
    pub(super) fn hand_over(&mut self, now: Instant) {
        if self.handover.membership.is_some() && self.link.sm.is_off() {
            debug!(sid = ?self.registration.sid(), "no stream management");
            self.handover.membership = None;
        }
        self.pass_fence();
        if self.handover.is_lingering() {
            self.linger(now);
        } else if self.client.is_open() {
            self.take_over(now);
            self.handover.confirm(self.client.confirmed(), now);
            self.ask_to_confirm_taken();
        }
        self.set_fence();
    }

    /// Gives the client what others have left, as long as there is room for more.
    fn take_over(&mut self, now: Instant) {
        // Without presence, the session has not been ready yet either: nothing changes.
        let is_there = match self.handover.presence {
            Presence::None => return,
            Presence::Available => true,
            Presence::NegativePriority | Presence::Unavailable => false,
        };
        let Some(membership) = &self.handover.membership else {
            return;
        };
        membership.with(|account, member| account.set_ready(member, is_there, now));
        while is_there && self.client.is_open() && self.client.has_room() && !self.has_more {
            let is_listening = self.client.deaf_at().is_none();
            let Some(membership) = &self.handover.membership else {
                return;
            };
            let handed =
                membership.with(|account, member| account.poll_handed(member, is_listening, now));
            let Some(handed) = handed else { return };
            self.give(&handed, now);
        }
    }

    /// Gives the client a message of another session, as if it came from the server.
    fn give(&mut self, handed: &Handed, now: Instant) {
        let age = now.saturating_duration_since(handed.received);
        let received = wall_clock()
            .checked_sub(age)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let stamp = humantime::format_rfc3339_millis(received).to_string();
        let message = message::delayed(&handed.stanza, &self.host.domain, &stamp);
        self.pipe.server_stanza(message);
        self.drain_events(now);
        if self.client.is_open() {
            self.registration.metrics().handed_over();
            self.handover.questions = 0;
            let given = self.client.given();
            self.handover.taken.push_back((given, handed.ticket));
        }
    }

    /// Asks the client to confirm what it was handed: another session lingers until it does.
    fn ask_to_confirm_taken(&mut self) {
        let written = self.client.written();
        let taken = self.handover.taken.front();
        if taken.is_some_and(|(given, _)| *given <= written)
            && self.handover.questions < MAX_QUESTIONS
            && self.client.may_be_asked()
        {
            self.client.ask_for_confirmation();
            self.handover.questions = self.handover.questions.saturating_add(1);
        }
    }

    /// Asks the server a question if the account wants to know when all has been read that the server had sent by now.
    fn set_fence(&mut self) {
        if let Some(membership) = &self.handover.membership
            && self.link.sm.is_on()
            && let Some(fence) = membership.with(|account, member| account.poll_fence(member))
        {
            let question = self.link.sm.ask();
            match self.handover.fences.last_mut() {
                // The question has not been sent yet, so its answer passes the later fence as well.
                Some(last) if last.0 == question => last.1 = fence,
                _ => self.handover.fences.push((question, fence)),
            }
        }
    }

    /// Tells the account which fences the server's answers have passed.
    fn pass_fence(&mut self) {
        let mut passed = None;
        while let Some((question, fence)) = self.handover.fences.first()
            && self.link.sm.is_answered(*question)
        {
            passed = Some(*fence);
            self.handover.fences.remove(0);
        }
        if let (Some(fence), Some(membership)) = (passed, &self.handover.membership) {
            membership.with(|account, member| account.fence_passed(member, fence));
        }
    }

    /// The session is over for its client: leaves the messages that the client has not confirmed to other sessions.
    /// True if the session lingers for that.
    pub(super) fn begin_handover(&mut self, now: Instant) -> bool {
        self.handover.confirm(self.client.confirmed(), now);
        let is_server_there = self.link.is_up() && !self.handover.has_server_ended;
        if !is_server_there || self.is_shutting_down || !self.link.sm.is_on() {
            return false;
        }
        let Some(membership) = &self.handover.membership else {
            return false;
        };
        let kept = self.handover.kept.take();
        let left = membership.with(|account, member| {
            let lingers = account.end(member, kept, now);
            lingers.then(|| account.unsettled(member))
        });
        let Some(left) = left else { return false };
        self.handover.left = left;
        self.handover.lingering = Some(self.client.given());
        if matches!(
            self.handover.presence,
            Presence::Available | Presence::NegativePriority
        ) {
            let text = Bytes::from_static(b"<presence xmlns='jabber:client' type='unavailable'/>");
            // As if the client had sent it: its contacts see it go, and the server stops sending it messages to the
            // account.
            self.pipe.client_stanza(Stanza::ours(text));
        }
        true
    }

    /// The gateway is going down: the session lingers for a short time only.
    pub(super) fn hurry_handover(&self, now: Instant) {
        if let Some(membership) = &self.handover.membership {
            membership.with(|account, member| account.hurry(member, now));
        }
    }

    /// Acknowledges to the server what others have confirmed; closes the stream when they have it all, or nobody takes
    /// the rest.
    fn linger(&mut self, now: Instant) {
        let Some(membership) = &self.handover.membership else {
            return;
        };
        let (settled, unsettled) = membership.with(|account, member| {
            account.handle_timeout(member, now);
            self.handover.due = account.poll_timeout(member, now);
            self.handover.size = account.size(member);
            (account.settled(member), account.unsettled(member))
        });
        self.link.sm.handle_confirmation(settled);
        let may_close = membership.with(|account, member| account.may_close(member, now));
        if may_close && self.link.is_up() {
            self.close_stream(now);
            let jid = self.pipe.identity().map(Identity::full);
            let sid = self.registration.sid();
            let count = self.handover.left.saturating_sub(unsettled);
            if self.handover.left > 0 {
                info!(?sid, jid, count, left = unsettled, "messages handed over");
            }
        }
    }

    /// Deals with what the server sends to a session that lingers.
    pub(super) fn handle_while_lingering(&mut self, event: UpstreamEvent, now: Instant) {
        let mut given = self.handover.lingering.unwrap_or_default();
        match event {
            UpstreamEvent::Stanza(element) => {
                if self.link.sm.handle_nonza(&element, now) {
                    return;
                }
                self.count(Direction::FromServer, element.kind());
                match element.kind() {
                    Kind::Iq(IqType::Get | IqType::Set) => {
                        self.apply(Effect::ToServer(bounce::unwelcome(&element)), now);
                    }
                    Kind::Message(_) if message::is_for_any_session(&element) => {
                        given = given.saturating_add(1);
                        self.leave_late(&element, given, now);
                    }
                    _ => {}
                }
                if element.is_stanza() {
                    self.link.sm.handle_stanza(given);
                }
            }
            UpstreamEvent::Unreadable(husk) => {
                self.pipe.server_husk(husk);
                self.link.sm.handle_stanza(given);
            }
            UpstreamEvent::Features(_) | UpstreamEvent::StreamError(_) => {}
            UpstreamEvent::Closed => self.close_stream(now),
        }
    }

    /// Leaves a message to others that has come after the session's end.
    fn leave_late(&mut self, stanza: &Stanza, given: u64, now: Instant) {
        let message = self.note(stanza, now);
        if let (Some(message), Some(membership)) = (message, &self.handover.membership) {
            self.handover.lingering = Some(given);
            self.handover.left = self.handover.left.saturating_add(1);
            let message = Unconfirmed { given, ..message };
            membership.with(|account, member| account.add(member, message, now));
        }
    }

    /// The stream is about to be closed: what this session had taken from others goes to others again.
    pub(super) fn give_up_handover(&mut self, now: Instant) {
        (self.handover.lingering, self.handover.due) = (None, None);
        self.handover.size = 0;
        self.handover.taken = VecDeque::new();
        self.handover.kept = KeptMessages::default();
        if let Some(membership) = &self.handover.membership {
            membership.with(|account, member| account.leave(member, now));
        }
    }
}
