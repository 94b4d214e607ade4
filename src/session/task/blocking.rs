//! Blocks (XEP-0191): the client's request waits until the other sessions of its account have told whoever is blocked
//! that the user has gone. Once the server has the request, it would not pass that on.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use tracing::debug;

use super::{Input, Task};
use crate::{
    pipe::{Effect, blocked::Change},
    proto::{sm::initiator::Question, stanza::Stanza},
    session::accounts::{AllDone, Done, Notice, Sibling},
};

/// How long the client's request waits for other sessions.
const PATIENCE: Duration = Duration::from_secs(2);
/// Notices of other sessions that are dealt with at once.
const MOST: usize = 16;

/// What a session has to do with its siblings.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    sibling: Option<Sibling>,
    held: Option<Held>,
    /// Those who wait until the server has answered a question, once it is asked.
    owed: SmallVec<[(Option<Question>, Done); 1]>,
}

/// The client's request, which the server has not got.
#[derive(Debug)]
struct Held {
    request: Stanza,
    all_done: AllDone,
    until: Instant,
}

impl Blocking {
    /// Whether a request waits. What the client sends next may rely on it, and waits as well.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.until)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if let Some(held) = &mut self.held
            && held.all_done.poll_recv(cx).is_ready()
        {
            return Poll::Ready(Input::Hidden);
        }
        if self.owed.len() < MOST
            && let Some(sibling) = &mut self.sibling
            && let Poll::Ready(Some(notice)) = sibling.notices().poll_recv(cx)
        {
            return Poll::Ready(Input::Notice(notice));
        }
        Poll::Pending
    }

    /// The client's request, if the server has not got it.
    pub(super) fn take_held(&mut self) -> Option<Stanza> {
        Some(self.held.take()?.request)
    }
}

impl Task {
    /// The resource is bound.
    pub(super) fn join_siblings(&mut self) {
        if let Some(identity) = self.pipe.identity().filter(|_| self.host.rules.directed) {
            let accounts = self.registration.accounts();
            let account = [&*self.host.domain, identity.bare()];
            let sibling = accounts.join_siblings(account, self.record.number());
            self.blocking.sibling = Some(sibling);
        }
    }

    /// The session is over, and does nothing more for others.
    pub(super) fn leave_siblings(&mut self) {
        self.blocking = Blocking::default();
    }

    pub(super) fn tell_siblings(&self, change: &Change) -> Option<AllDone> {
        Some(self.blocking.sibling.as_ref()?.tell(change))
    }

    /// The client's request waits until the others have done their part.
    pub(super) fn block(&mut self, request: Stanza, change: &Change, now: Instant) {
        match self.tell_siblings(change) {
            Some(all_done) => {
                self.blocking.held = Some(Held {
                    request,
                    all_done,
                    until: now + PATIENCE,
                });
            }
            None => self.apply(Effect::ToServer(request), now),
        }
    }

    /// They have done it, or take too long.
    pub(super) fn pass_block_on(&mut self, now: Instant) {
        if let Some(request) = self.blocking.take_held() {
            self.apply(Effect::ToServer(request), now);
        }
    }

    pub(super) fn give_up_on_siblings(&mut self, now: Instant) {
        if self.blocking.deadline().is_some_and(|until| until <= now) {
            debug!(sid = ?self.registration.sid(), "other sessions take too long to hide");
            self.pass_block_on(now);
        }
    }

    /// Another session blocks somebody, or does so no longer.
    pub(super) fn heed(&mut self, notice: Notice) {
        self.pipe.account_changes(notice.change);
        self.blocking.owed.push((None, notice.done));
    }

    /// Tells those who wait that the server has been told.
    pub(super) fn settle_with_siblings(&mut self) {
        if self.blocking.owed.is_empty() || self.pipe.is_hiding() || self.has_more {
            return;
        }
        // Without stream management the server does not say what it has read; it reads as it is written to.
        let is_managed = self.link.sm.is_on() && self.link.is_up();
        let sm = &mut self.link.sm;
        self.blocking.owed.retain(|(question, _)| {
            let question = *question.get_or_insert_with(|| sm.ask());
            is_managed && !sm.is_answered(question)
        });
    }
}
