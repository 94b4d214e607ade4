//! Handover: gives the messages that the client of an ended session had not confirmed to another session of the
//! account. This decides who gets what and when; it owns the messages meanwhile. It must not know streams or clients.
//!
//! ```text
//!  join           end, beside other sessions
//!  ----> +------+ ----------------------------> +-----------+
//!        | Live |                               | Lingering |
//!        +------+ -----------+       settled or +-----------+
//!                            | end     given up     |
//!                            v                      v     remove
//!                         +----------------------------+ -------->
//!                         |          Leaving           |
//!                         +----------------------------+
//! ```
//!
//! *Lingering*: the stream of an ended session stays open. So the server goes on owning the messages that are not
//! settled, and the session still reads those that are on their way.
//!
//! *Taking over*: a live session whose client listens (the *taker*) gets the messages of the lingering one (the
//! *giver*), one after the other. A message is settled when the taker's client has confirmed it, when the taker has got
//! a copy of it from the server, or when the taker has sent it itself. The giver may acknowledge to its server all
//! messages before the first that is not settled.
//!
//! *Fences*: a message must not be given to a client that will get a copy of it from the server. So the taker first
//! reads all that its server had sent by the time of the message. It asks its server a question then; the answer comes
//! after all of that, and passes the fence. Copies are recognized by a fingerprint and counted, see `copies`.
//!
//! *The last one*: some servers store what a session leaves only if it is the account's last. So where no session is
//! live, the lingering ones end one after the other, and a message that several of them have is left to the last.
//!
//! The order of events is told by ticks, which count them. The clock only tells how long a session may linger.

pub mod message;

mod copies;
mod leftovers;
mod member;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use copies::Copies;
use leftovers::{Leftovers, TAKER_TIMEOUT};
use member::Members;

pub use copies::Noted;
pub use member::Member;

use super::stanza::Stanza;

/// How long nothing must have come for a session before its stream is closed. By then, those who write to this very
/// resource have heard that it is gone. The server owns what comes while the stream is being closed, and some drop it.
const QUIET_BEFORE_CLOSE: Duration = Duration::from_secs(5);
/// How long a session lingers while none is live.
const MAX_ALONE: Duration = Duration::from_secs(30);
/// How long a session lingers when the gateway is going down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How many sessions of an account may linger.
const MAX_LINGERING: usize = 16;

/// A message that the client has not confirmed.
#[derive(Clone, Debug)]
pub struct Unconfirmed {
    /// How many stanzas the session had been given with it.
    pub given: u64,
    /// The message.
    pub stanza: Stanza,
    /// When the gateway received it.
    pub received: Instant,
    /// By what copies of it are recognized; `None` if there was no other session.
    pub noted: Option<Noted>,
}

/// A message to give to the client of its taker.
#[derive(Clone, Debug)]
pub struct Handed {
    /// Names it when the client has confirmed it, see [`Account::confirm`].
    pub ticket: Ticket,
    /// The message.
    pub stanza: Stanza,
    /// When the gateway received it.
    pub received: Instant,
}

/// Names a message that has been handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    giver: Member,
    /// The tick at which the giver ended: by now, another session may be the same [`Member`].
    since: u64,
    number: u64,
}

/// The sessions of one account, as the server has bound it.
#[derive(Debug)]
pub struct Account {
    /// Boxed: there is mostly one, and a node of the map has room for eleven.
    sessions: BTreeMap<Member, Box<Session>>,
    copies: Copies,
    /// Counts what happens.
    tick: u64,
    /// Members that have something to do.
    woken: Members,
    /// How long ended sessions linger, see [`TAKER_TIMEOUT`].
    patience: Duration,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            sessions: BTreeMap::default(),
            copies: Copies::default(),
            tick: 0,
            woken: Members::default(),
            patience: TAKER_TIMEOUT,
        }
    }
}

#[derive(Debug)]
struct Session {
    /// The full JID that it is bound to.
    jid: Box<str>,
    /// The tick at which it was bound.
    bound: u64,
    state: State,
    fence: Fence,
}

#[derive(Debug)]
enum State {
    /// The client is there. It may be given messages if `is_ready`.
    Live {
        is_ready: bool,
    },
    Lingering(Leftovers),
    /// The stream is being closed.
    Leaving,
}

/// Up to which tick a session has read what its server had sent.
#[derive(Debug, Default)]
struct Fence {
    /// The tick that it has to read up to.
    wanted: u64,
    /// The tick of the latest question.
    asked: u64,
    /// The tick of the latest question that was answered.
    passed: u64,
}

impl Account {
    // === Coming and going ===

    /// A session may take so long to end once its client has vanished, as it waits for the client to resume it. What it
    /// was handed must not be returned to the senders meanwhile.
    pub fn be_patient(&mut self, patience: Duration) {
        self.patience = self.patience.max(patience);
        for session in self.sessions.values_mut() {
            if let State::Lingering(leftovers) = &mut session.state {
                leftovers.patience = self.patience;
            }
        }
    }

    /// Adds a session that has been bound to this full JID; nothing else has been sent on its stream yet. `None` if
    /// there are too many.
    pub fn join(&mut self, jid: &str, now: Instant) -> Option<Member> {
        let member = Member::all().find(|member| !self.sessions.contains_key(member))?;
        let session = Session {
            jid: jid.into(),
            bound: self.next_tick(),
            state: State::Live { is_ready: false },
            fence: Fence::default(),
        };
        self.sessions.insert(member, Box::new(session));
        self.note_change(now);
        Some(member)
    }

    /// Whether the client of a session may be given messages. If it no longer may, it can still confirm those that it
    /// has got, and the rest is for others.
    pub fn set_ready(&mut self, member: Member, is_there: bool, now: Instant) {
        let Some(State::Live { is_ready }) = self.state_mut(member) else {
            return;
        };
        let has_withdrawn = std::mem::replace(is_ready, is_there) && !is_there;
        if !has_withdrawn {
            return;
        }
        let taken = self.lingering().filter(|(_, it)| it.taker == Some(member));
        let givers: Vec<_> = taken.map(|(giver, _)| giver).collect();
        for giver in givers {
            self.offer_rest(giver, now);
        }
    }

    /// The session is over for its client, which has not confirmed `messages`. True if the session lingers: then its
    /// stream stays open until [it may be closed](Self::may_close), and the server is told first that the client is
    /// unavailable.
    pub fn end(&mut self, member: Member, messages: VecDeque<Unconfirmed>, now: Instant) -> bool {
        let since = self.next_tick();
        let mut leftovers = Leftovers::new(since, self.patience, now);
        for message in messages {
            if message::is_for_any_session(&message.stanza) {
                leftovers.push(message, since);
            }
        }
        let lingers = self.has_others() && self.lingering().count() < MAX_LINGERING;
        if let Some(session) = self.sessions.get_mut(&member) {
            session.state = if lingers {
                State::Lingering(leftovers)
            } else {
                State::Leaving
            };
        }
        // More messages may be on their way.
        self.want_fence(member, since);
        self.release(member);
        self.note_change(now);
        lingers
    }

    /// The stream of a session is being closed, even if some of its messages are not settled.
    pub fn leave(&mut self, member: Member, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&member) {
            session.state = State::Leaving;
        }
        self.release(member);
        self.note_change(now);
    }

    /// The stream of a session is gone.
    pub fn remove(&mut self, member: Member, now: Instant) {
        self.sessions.remove(&member);
        self.copies.forget(member.alone());
        if self.sessions.len() <= 1 {
            self.copies.clear();
        }
        self.release(member);
        self.note_change(now);
    }

    /// Whether no session is left.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether there is more than one session.
    pub fn has_others(&self) -> bool {
        self.sessions.len() > 1
    }

    // === From the server ===

    /// Takes note of a message that a session has got from its server, if it may be handed over and another session may
    /// get a copy of it.
    pub fn note(&mut self, member: Member, stanza: &Stanza) -> Option<Noted> {
        if !self.has_others() || !message::is_for_any_session(stanza) {
            return None;
        }
        let tick = self.next_tick();
        let since = self.sessions.get(&member)?.bound;
        Some(self.copies.note(stanza, member.alone(), since, tick))
    }

    /// A message has come for a session that lingers. It has been [noted](Self::note).
    pub fn add(&mut self, member: Member, message: Unconfirmed, now: Instant) {
        let since = self.next_tick();
        let Some(State::Lingering(leftovers)) = self.state_mut(member) else {
            return;
        };
        leftovers.push(message, since);
        leftovers.latest = now;
        match leftovers.taker {
            Some(taker) => {
                self.want_fence(taker, since);
                self.woken.add(taker.alone());
            }
            None => self.note_change(now),
        }
    }

    /// The next fence of a session. Its caller asks the server a question, and calls [`Self::fence_passed`] when the
    /// answer has come: by then it has read all that the server had sent.
    pub fn poll_fence(&mut self, member: Member) -> Option<u64> {
        let fence = &mut self.sessions.get_mut(&member)?.fence;
        (fence.wanted > fence.asked).then(|| {
            fence.asked = fence.wanted;
            fence.wanted
        })
    }

    /// A session has read all that its server had sent by the fence `mark`.
    pub fn fence_passed(&mut self, member: Member, mark: u64) {
        if let Some(session) = self.sessions.get_mut(&member) {
            session.fence.passed = session.fence.passed.max(mark);
        }
    }

    // === To the taker ===

    /// The next message for the client of a session. As long as the client `is_listening`, the session also becomes the
    /// taker of messages that have none.
    pub fn poll_handed(
        &mut self,
        taker: Member,
        is_listening: bool,
        now: Instant,
    ) -> Option<Handed> {
        if !self.is_ready(taker) {
            return None;
        }
        if is_listening {
            self.take_over(taker, now);
        }
        let passed = self.sessions.get(&taker)?.fence.passed;
        let mut givers: Vec<_> = self
            .lingering()
            .filter(|(_, leftovers)| leftovers.taker == Some(taker))
            .map(|(giver, leftovers)| (leftovers.since, giver))
            .collect();
        givers.sort_unstable();
        givers
            .into_iter()
            .find_map(|(_, giver)| self.hand_over(giver, taker, passed))
    }

    /// A client has confirmed a message that it was handed.
    pub fn confirm(&mut self, ticket: Ticket, now: Instant) {
        let Some(State::Lingering(leftovers)) = self.state_mut(ticket.giver) else {
            return;
        };
        if leftovers.since != ticket.since {
            return;
        }
        if let Some(left) = leftovers.get_mut(ticket.number) {
            left.is_settled = true;
            leftovers.prune();
            self.woken.add(ticket.giver.alone());
            self.offer_rest(ticket.giver, now);
        }
    }

    /// Offers the rest of a giver's messages to others, if the taker's client is no longer there and has confirmed all
    /// that it was given. Until then, another client might get a message that this one has.
    fn offer_rest(&mut self, giver: Member, now: Instant) {
        let taker = self.leftovers(giver).and_then(|leftovers| leftovers.taker);
        if taker.is_none_or(|taker| self.is_ready(taker)) {
            return;
        }
        if let Some(State::Lingering(leftovers)) = self.state_mut(giver)
            && leftovers.next == leftovers.first
        {
            leftovers.release();
            leftovers.deadline = after(now, leftovers.patience);
            self.note_change(now);
        }
    }

    /// The next message of `giver` that `taker` has not had. `None` also while the taker has not read far enough to
    /// know.
    fn hand_over(&mut self, giver: Member, taker: Member, passed: u64) -> Option<Handed> {
        let holder = taker.alone();
        let jid = self.sessions.get(&taker)?.jid.clone();
        let Self {
            sessions,
            copies,
            woken,
            ..
        } = self;
        let State::Lingering(leftovers) = &mut sessions.get_mut(&giver)?.state else {
            return None;
        };
        let (since, taken) = (leftovers.since, leftovers.taken);
        loop {
            let number = leftovers.next;
            let left = leftovers.get_mut(number)?;
            if left.since.max(taken) > passed {
                return None;
            }
            leftovers.next = number.saturating_add(1);
            let left = leftovers.get_mut(number)?;
            if left.is_settled {
                continue;
            }
            let noted = left.message.noted;
            if noted.is_some_and(|noted| copies.has(holder, noted))
                || message::is_sent_by(&left.message.stanza, &jid)
            {
                left.is_settled = true;
                leftovers.prune();
                woken.add(giver.alone());
                continue;
            }
            let handed = Handed {
                ticket: Ticket {
                    giver,
                    since,
                    number,
                },
                stanza: left.message.stanza.clone(),
                received: left.message.received,
            };
            if let Some(noted) = noted {
                copies.give(holder, noted);
            }
            return Some(handed);
        }
    }

    /// `taker` becomes the taker of all givers that have none.
    fn take_over(&mut self, taker: Member, now: Instant) {
        let free = |leftovers: &Leftovers| {
            leftovers.taker.is_none()
                && !leftovers.is_given_up
                && !leftovers.failed.has(taker.alone())
        };
        let givers: Vec<_> = self
            .lingering()
            .filter(|(_, leftovers)| free(leftovers))
            .map(|(giver, _)| giver)
            .collect();
        if givers.is_empty() {
            return;
        }
        let tick = self.next_tick();
        for giver in givers {
            if let Some(State::Lingering(leftovers)) = self.state_mut(giver) {
                leftovers.taker = Some(taker);
                leftovers.taken = tick;
                leftovers.deadline = after(now, leftovers.patience);
                self.woken.add(giver.alone());
            }
        }
        self.want_fence(taker, tick);
    }

    fn want_fence(&mut self, taker: Member, mark: u64) {
        if let Some(session) = self.sessions.get_mut(&taker) {
            session.fence.wanted = mark;
        }
    }

    // === Of a session that lingers ===

    /// How many of the stanzas that the session was given count as confirmed: all before the first message that is not
    /// settled.
    pub fn settled(&self, member: Member) -> u64 {
        match self
            .leftovers(member)
            .map(|leftovers| leftovers.messages.front())
        {
            Some(Some(first)) => first.message.given.saturating_sub(1),
            Some(None) => u64::MAX,
            None => 0,
        }
    }

    /// How many of its messages are not settled.
    pub fn unsettled(&self, member: Member) -> usize {
        self.leftovers(member).map_or(0, Leftovers::unsettled)
    }

    /// Size of the messages that it leaves, in bytes.
    pub fn size(&self, member: Member) -> usize {
        self.leftovers(member).map_or(0, |leftovers| leftovers.size)
    }

    /// Whether its stream may be closed. The server owns what is not settled then.
    pub fn may_close(&self, member: Member, now: Instant) -> bool {
        let Some(leftovers) = self.leftovers(member) else {
            return true;
        };
        let fence = self.sessions.get(&member).map(|session| &session.fence);
        let has_read_all = fence.is_some_and(|fence| fence.passed >= leftovers.since);
        let is_quiet = after(leftovers.latest, QUIET_BEFORE_CLOSE) <= now || !self.has_live();
        let is_settled = leftovers.messages.is_empty() && has_read_all && is_quiet;
        if is_settled || leftovers.is_given_up || !self.has_others() {
            return true;
        }
        if self.has_live() {
            return !self.live_but(leftovers.failed);
        }
        let is_over = |since| leftovers.is_shutting_down || after(since, MAX_ALONE) <= now;
        let order = |(member, leftovers): (Member, &Leftovers)| (leftovers.unsettled(), member);
        // To the server, a session is there until its stream has ended. The last one must come after it.
        let mut states = self.sessions.values().map(|session| &session.state);
        leftovers.alone_since.is_some_and(is_over)
            && !states.any(|state| matches!(state, State::Leaving))
            && self.lingering().map(order).min() == Some((leftovers.unsettled(), member))
    }

    /// The gateway is going down, and so are the sessions that might take its messages.
    pub fn hurry(&mut self, member: Member, now: Instant) {
        if let Some(State::Lingering(leftovers)) = self.state_mut(member) {
            leftovers.is_shutting_down = true;
            leftovers.deadline = after(now, SHUTDOWN_TIMEOUT);
        }
    }

    /// When after `now` to call [`Self::handle_timeout`], if nothing else happens first.
    pub fn poll_timeout(&self, member: Member, now: Instant) -> Option<Instant> {
        let leftovers = self.leftovers(member)?;
        let alone = leftovers.alone_since.map(|since| after(since, MAX_ALONE));
        let quiet = Some(after(leftovers.latest, QUIET_BEFORE_CLOSE))
            .filter(|_| leftovers.messages.is_empty());
        [alone, quiet, Some(leftovers.deadline)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, member: Member, now: Instant) {
        let Some(State::Lingering(leftovers)) = self.state_mut(member) else {
            return;
        };
        if leftovers.deadline > now {
            return;
        }
        match leftovers.taker {
            Some(taker) if !leftovers.is_shutting_down => {
                leftovers.failed.add(taker.alone());
                leftovers.deadline = after(now, leftovers.patience);
                leftovers.release();
            }
            Some(_) | None => leftovers.is_given_up = true,
        }
        self.note_change(now);
    }

    // === All of them ===

    /// Takes the members that have got something to do since the last call.
    pub fn take_woken(&mut self) -> impl Iterator<Item = Member> + use<> {
        std::mem::take(&mut self.woken).members()
    }

    /// Offers to others what `taker` had taken over and its client has not confirmed.
    fn release(&mut self, taker: Member) {
        for session in self.sessions.values_mut() {
            if let State::Lingering(leftovers) = &mut session.state {
                // Another session may be the same member later.
                leftovers.failed.remove(taker.alone());
                if leftovers.taker == Some(taker) {
                    leftovers.release();
                }
            }
        }
    }

    /// A session has come or gone: wakes all others, if any lingers.
    fn note_change(&mut self, now: Instant) {
        let is_alone = !self.has_live();
        let mut lingers = false;
        for session in self.sessions.values_mut() {
            if let State::Lingering(leftovers) = &mut session.state {
                lingers = true;
                let since = leftovers.alone_since.unwrap_or(now);
                leftovers.alone_since = is_alone.then_some(since);
            }
        }
        if lingers {
            if is_alone {
                self.leave_to_last();
            }
            self.woken = Members::ALL;
        }
    }

    /// Leaves a message that several have to one of them: the one with the most messages, which ends last.
    fn leave_to_last(&mut self) {
        let mut all_leftovers: Vec<_> = self
            .sessions
            .iter_mut()
            .filter_map(|(member, session)| match &mut session.state {
                State::Lingering(leftovers) => Some((leftovers.unsettled(), *member, leftovers)),
                State::Live { .. } | State::Leaving => None,
            })
            .collect();
        all_leftovers.sort_unstable_by_key(|(unsettled, member, _)| (*unsettled, *member));
        let mut kept = HashSet::new();
        for (_, _, leftovers) in all_leftovers.iter_mut().rev() {
            for left in &mut leftovers.messages {
                if let Some(noted) = left.message.noted
                    && !left.is_settled
                {
                    left.is_settled = !kept.insert(noted);
                }
            }
            leftovers.prune();
        }
    }

    fn is_ready(&self, member: Member) -> bool {
        let session = self.sessions.get(&member);
        session.is_some_and(|session| matches!(session.state, State::Live { is_ready: true }))
    }

    fn has_live(&self) -> bool {
        self.live_but(Members::default())
    }

    /// Whether a session is live that is not among `these`.
    fn live_but(&self, these: Members) -> bool {
        self.sessions.iter().any(|(member, session)| {
            matches!(session.state, State::Live { .. }) && !these.has(member.alone())
        })
    }

    fn lingering(&self) -> impl Iterator<Item = (Member, &Leftovers)> {
        self.sessions
            .iter()
            .filter_map(|(member, session)| match &session.state {
                State::Lingering(leftovers) => Some((*member, leftovers)),
                State::Live { .. } | State::Leaving => None,
            })
    }

    fn leftovers(&self, member: Member) -> Option<&Leftovers> {
        match &self.sessions.get(&member)?.state {
            State::Lingering(leftovers) => Some(leftovers),
            State::Live { .. } | State::Leaving => None,
        }
    }

    fn state_mut(&mut self, member: Member) -> Option<&mut State> {
        Some(&mut self.sessions.get_mut(&member)?.state)
    }

    fn next_tick(&mut self) -> u64 {
        self.tick = self.tick.saturating_add(1);
        self.tick
    }
}

fn after(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration).unwrap_or(instant)
}
