//! Handover: what the client of an ended session had not confirmed goes to another session of the account.
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
//! A session lingers: its stream to the server stays open, so that the server goes on owning what is not settled, and
//! what is on its way is read.
//! A live session whose client listens takes its messages over, one after the other. A message is settled when the
//! client of the taker has confirmed it, or when the taker has had a copy of it from the server or has sent it. The
//! server may be told of all messages before the first that is not settled.
//!
//! Whether the taker has had a copy is known when all has been read that the server had sent it by then, which the
//! taker finds out by a *fence* (a question to its server). Copies are recognized by a fingerprint and counted, see
//! `copies`.
//!
//! Some servers store what a session leaves only if it is the account's last. So where no session is live, those
//! that linger end one after the other, and what several of them have is left to the last.

pub mod message;

mod copies;
mod estate;
mod member;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use copies::Copies;
use estate::{Estate, PATIENCE};
use member::Members;

pub use copies::Noted;
pub use member::Member;

use super::stanza::Stanza;

/// How long nothing must have come for it before its stream is closed: whoever writes to the very resource has heard
/// by then that it is gone. What comes while the stream is being closed is the server's, and some drop it.
const QUIET: Duration = Duration::from_secs(5);
/// How long it lingers while nobody is there.
const ALONE: Duration = Duration::from_secs(30);
/// How long it lingers when the gateway is going down.
const HURRY: Duration = Duration::from_secs(2);
/// How many sessions of an account may linger.
const MAX_LINGERING: usize = 16;

/// A message that the client has not confirmed.
#[derive(Clone, Debug)]
pub struct Unconfirmed {
    /// How many stanzas the session had been given with it.
    pub given: u64,
    /// The message.
    pub stanza: Stanza,
    /// When the gateway had it.
    pub received: Instant,
    /// Its name, if there were other sessions.
    pub noted: Option<Noted>,
}

/// A message to give to the client of its taker.
#[derive(Clone, Debug)]
pub struct Handed {
    /// Whose it was, and which of its messages it is.
    pub ticket: Ticket,
    /// The message.
    pub stanza: Stanza,
    /// When the gateway had it.
    pub received: Instant,
}

/// Names a message that has been handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    giver: Member,
    /// When the giver ended: its place may be another's by now.
    since: u64,
    number: u64,
}

/// The sessions of one account, as the server has bound it.
#[derive(Debug, Default)]
pub struct Account {
    sessions: BTreeMap<Member, Session>,
    copies: Copies,
    /// Counts what happens.
    tick: u64,
    /// Who has something to do.
    woken: Members,
}

#[derive(Debug)]
struct Session {
    /// The full JID that it is bound to.
    jid: Box<str>,
    /// When it was bound.
    bound: u64,
    state: State,
    fence: Fence,
}

#[derive(Debug)]
enum State {
    /// `is_ready`: its client may be given messages.
    Live {
        is_ready: bool,
    },
    Lingering(Estate),
    /// The stream is being closed.
    Leaving,
}

/// How far a session has read.
#[derive(Debug, Default)]
struct Fence {
    wanted: u64,
    asked: u64,
    passed: u64,
}

impl Account {
    // === Coming and going ===

    /// A session is bound to this full JID: before anything else is sent on its stream. `None` if there are too many.
    pub fn join(&mut self, jid: &str, now: Instant) -> Option<Member> {
        let member = Member::all().find(|member| !self.sessions.contains_key(member))?;
        let session = Session {
            jid: jid.into(),
            bound: self.next_tick(),
            state: State::Live { is_ready: false },
            fence: Fence::default(),
        };
        self.sessions.insert(member, session);
        self.look_around(now);
        Some(member)
    }

    /// Whether the client of a session is there to see messages. One that is no longer may still confirm what it has
    /// been given; the rest is there for others.
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
            self.leave_rest(giver, now);
        }
    }

    /// The session is over for its client, who has not confirmed `messages`. True if its stream has to stay open until
    /// [it may be closed](Self::may_close); the server is to be told first that the client is unavailable.
    pub fn end(&mut self, member: Member, messages: VecDeque<Unconfirmed>, now: Instant) -> bool {
        let since = self.next_tick();
        let mut estate = Estate::new(since, now);
        for message in messages {
            if message::is_for_any_session(&message.stanza) {
                estate.push(message, since);
            }
        }
        let lingers = self.has_others() && self.lingering().count() < MAX_LINGERING;
        if let Some(session) = self.sessions.get_mut(&member) {
            session.state = if lingers {
                State::Lingering(estate)
            } else {
                State::Leaving
            };
        }
        // More may be on its way.
        self.want_fence(member, since);
        self.release(member);
        self.look_around(now);
        lingers
    }

    /// The stream of a session is being closed, whatever it leaves.
    pub fn leave(&mut self, member: Member, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&member) {
            session.state = State::Leaving;
        }
        self.release(member);
        self.look_around(now);
    }

    /// The stream of a session is gone.
    pub fn remove(&mut self, member: Member, now: Instant) {
        self.sessions.remove(&member);
        self.copies.forget(member.alone());
        if self.sessions.len() <= 1 {
            self.copies.clear();
        }
        self.release(member);
        self.look_around(now);
    }

    /// Whether no session is left.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether there is another session than one.
    pub fn has_others(&self) -> bool {
        self.sessions.len() > 1
    }

    // === From the server ===

    /// A session has got this from its server. Gives the name of a message that may be handed over, if there is
    /// another session that may have it, too.
    pub fn note(&mut self, member: Member, stanza: &Stanza) -> Option<Noted> {
        if !self.has_others() || !message::is_for_any_session(stanza) {
            return None;
        }
        let tick = self.next_tick();
        let since = self.sessions.get(&member)?.bound;
        Some(self.copies.note(stanza, member.alone(), since, tick))
    }

    /// A message has come for a session that lingers; it has been [noted](Self::note).
    pub fn add(&mut self, member: Member, message: Unconfirmed, now: Instant) {
        let since = self.next_tick();
        let Some(State::Lingering(estate)) = self.state_mut(member) else {
            return;
        };
        estate.push(message, since);
        estate.latest = now;
        match estate.taker {
            Some(taker) => {
                self.want_fence(taker, since);
                self.woken.add(taker.alone());
            }
            None => self.look_around(now),
        }
    }

    /// The next fence to set for a session: to be told of by [`Self::fence_passed`] when all has been read that its
    /// server had sent by now.
    pub fn poll_fence(&mut self, member: Member) -> Option<u64> {
        let fence = &mut self.sessions.get_mut(&member)?.fence;
        (fence.wanted > fence.asked).then(|| {
            fence.asked = fence.wanted;
            fence.wanted
        })
    }

    /// A session has read all up to the fence of this name.
    pub fn fence_passed(&mut self, member: Member, mark: u64) {
        if let Some(session) = self.sessions.get_mut(&member) {
            session.fence.passed = session.fence.passed.max(mark);
        }
    }

    // === To the taker ===

    /// The next message for the client of a session. As long as its client `is_listening`, the session takes over what
    /// nobody else has.
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
            .filter(|(_, estate)| estate.taker == Some(taker))
            .map(|(giver, estate)| (estate.since, giver))
            .collect();
        givers.sort_unstable();
        givers
            .into_iter()
            .find_map(|(_, giver)| self.hand_over(giver, taker, passed))
    }

    /// A client has confirmed what it was handed.
    pub fn confirm(&mut self, ticket: Ticket, now: Instant) {
        let Some(State::Lingering(estate)) = self.state_mut(ticket.giver) else {
            return;
        };
        if estate.since != ticket.since {
            return;
        }
        if let Some(left) = estate.get_mut(ticket.number) {
            left.is_settled = true;
            estate.prune();
            self.woken.add(ticket.giver.alone());
            self.leave_rest(ticket.giver, now);
        }
    }

    /// If the client of the taker is no longer there, and has confirmed all that it was given, others may have the rest.
    fn leave_rest(&mut self, giver: Member, now: Instant) {
        let taker = self.estate(giver).and_then(|estate| estate.taker);
        if taker.is_none_or(|taker| self.is_ready(taker)) {
            return;
        }
        if let Some(State::Lingering(estate)) = self.state_mut(giver)
            && estate.next == estate.first
        {
            estate.release();
            estate.deadline = after(now, PATIENCE);
            self.look_around(now);
        }
    }

    /// The next message of `giver` that `taker` has not had.
    fn hand_over(&mut self, giver: Member, taker: Member, passed: u64) -> Option<Handed> {
        let holder = taker.alone();
        let jid = self.sessions.get(&taker)?.jid.clone();
        let Self {
            sessions,
            copies,
            woken,
            ..
        } = self;
        let State::Lingering(estate) = &mut sessions.get_mut(&giver)?.state else {
            return None;
        };
        let (since, taken) = (estate.since, estate.taken);
        loop {
            let number = estate.next;
            let left = estate.get_mut(number)?;
            if left.since.max(taken) > passed {
                return None;
            }
            estate.next = number.saturating_add(1);
            let left = estate.get_mut(number)?;
            if left.is_settled {
                continue;
            }
            let noted = left.message.noted;
            if noted.is_some_and(|noted| copies.has(holder, noted))
                || message::is_sent_by(&left.message.stanza, &jid)
            {
                left.is_settled = true;
                estate.prune();
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

    /// `taker` takes what nobody has taken.
    fn take_over(&mut self, taker: Member, now: Instant) {
        let free = |estate: &Estate| {
            estate.taker.is_none() && !estate.is_given_up && !estate.failed.has(taker.alone())
        };
        let givers: Vec<_> = self
            .lingering()
            .filter(|(_, estate)| free(estate))
            .map(|(giver, _)| giver)
            .collect();
        if givers.is_empty() {
            return;
        }
        let tick = self.next_tick();
        for giver in givers {
            if let Some(State::Lingering(estate)) = self.state_mut(giver) {
                estate.taker = Some(taker);
                estate.taken = tick;
                estate.deadline = after(now, PATIENCE);
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

    /// How many of the stanzas that the session was given count as confirmed.
    pub fn settled(&self, member: Member) -> u64 {
        match self.estate(member).map(|estate| estate.messages.front()) {
            Some(Some(first)) => first.message.given.saturating_sub(1),
            Some(None) => u64::MAX,
            None => 0,
        }
    }

    /// How many of its messages are not settled.
    pub fn unsettled(&self, member: Member) -> usize {
        self.estate(member).map_or(0, Estate::unsettled)
    }

    /// What it takes to keep what it leaves, bytes.
    pub fn size(&self, member: Member) -> usize {
        self.estate(member).map_or(0, |estate| estate.size)
    }

    /// Whether its stream may be closed. What is not settled then, the server owns.
    pub fn may_close(&self, member: Member, now: Instant) -> bool {
        let Some(estate) = self.estate(member) else {
            return true;
        };
        let fence = self.sessions.get(&member).map(|session| &session.fence);
        let has_read_all = fence.is_some_and(|fence| fence.passed >= estate.since);
        let is_quiet = after(estate.latest, QUIET) <= now || !self.has_live();
        let is_settled = estate.messages.is_empty() && has_read_all && is_quiet;
        if is_settled || estate.is_given_up || !self.has_others() {
            return true;
        }
        if self.has_live() {
            return !self.live_but(estate.failed);
        }
        let is_over = |since| estate.is_hurried || after(since, ALONE) <= now;
        let order = |(member, estate): (Member, &Estate)| (estate.unsettled(), member);
        // To the server, whoever is leaving is there until its stream has ended.
        let is_leaving = |session: &Session| matches!(session.state, State::Leaving);
        estate.alone_since.is_some_and(is_over)
            && !self.sessions.values().any(is_leaving)
            && self.lingering().map(order).min() == Some((estate.unsettled(), member))
    }

    /// The gateway is going down, with all that might take its messages.
    pub fn hurry(&mut self, member: Member, now: Instant) {
        if let Some(State::Lingering(estate)) = self.state_mut(member) {
            estate.is_hurried = true;
            estate.deadline = after(now, HURRY);
        }
    }

    /// When after `now` to call [`Self::handle_timeout`], if nothing else happens first.
    pub fn poll_timeout(&self, member: Member, now: Instant) -> Option<Instant> {
        let estate = self.estate(member)?;
        let alone = estate.alone_since.map(|since| after(since, ALONE));
        let quiet = Some(after(estate.latest, QUIET)).filter(|_| estate.messages.is_empty());
        [alone, quiet, Some(estate.deadline)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, member: Member, now: Instant) {
        let Some(State::Lingering(estate)) = self.state_mut(member) else {
            return;
        };
        if estate.deadline > now {
            return;
        }
        match estate.taker {
            Some(taker) if !estate.is_hurried => {
                estate.failed.add(taker.alone());
                estate.deadline = after(now, PATIENCE);
                estate.release();
            }
            Some(_) | None => estate.is_given_up = true,
        }
        self.look_around(now);
    }

    // === All of them ===

    /// Who has something to do since this was asked last.
    pub fn take_woken(&mut self) -> impl Iterator<Item = Member> + use<> {
        let woken = std::mem::take(&mut self.woken);
        let members = Member::all();
        members.filter(move |member| woken.has(member.alone()))
    }

    /// What `taker` has taken and its client has not confirmed is there for others.
    fn release(&mut self, taker: Member) {
        for session in self.sessions.values_mut() {
            if let State::Lingering(estate) = &mut session.state {
                // Its place may be another's some time.
                estate.failed.remove(taker.alone());
                if estate.taker == Some(taker) {
                    estate.release();
                }
            }
        }
    }

    /// Somebody has come or gone: all others have to know, if messages depend on them.
    fn look_around(&mut self, now: Instant) {
        let is_alone = !self.has_live();
        let mut lingers = false;
        for session in self.sessions.values_mut() {
            if let State::Lingering(estate) = &mut session.state {
                lingers = true;
                let since = estate.alone_since.unwrap_or(now);
                estate.alone_since = is_alone.then_some(since);
            }
        }
        if lingers {
            if is_alone {
                self.leave_to_last();
            }
            self.woken = Members::ALL;
        }
    }

    /// Of messages that several have, the one who has most keeps them for the time when it is the last.
    fn leave_to_last(&mut self) {
        let mut estates: Vec<_> = self
            .sessions
            .iter_mut()
            .filter_map(|(member, session)| match &mut session.state {
                State::Lingering(estate) => Some((estate.unsettled(), *member, estate)),
                State::Live { .. } | State::Leaving => None,
            })
            .collect();
        estates.sort_unstable_by_key(|(unsettled, member, _)| (*unsettled, *member));
        let mut kept = HashSet::new();
        for (_, _, estate) in estates.iter_mut().rev() {
            for left in &mut estate.messages {
                if let Some(noted) = left.message.noted
                    && !left.is_settled
                {
                    left.is_settled = !kept.insert(noted);
                }
            }
            estate.prune();
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

    fn lingering(&self) -> impl Iterator<Item = (Member, &Estate)> {
        self.sessions
            .iter()
            .filter_map(|(member, session)| match &session.state {
                State::Lingering(estate) => Some((*member, estate)),
                State::Live { .. } | State::Leaving => None,
            })
    }

    fn estate(&self, member: Member) -> Option<&Estate> {
        match &self.sessions.get(&member)?.state {
            State::Lingering(estate) => Some(estate),
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
