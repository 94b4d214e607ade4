//! Blocks (XEP-0191), as far as other sessions of the account take part in them.
//!
//! A contact who gets blocked has to see the user go offline, in each of the user's sessions. Once the server has the
//! block, it passes no presence on to that contact. So the client's request waits here until the other sessions
//! (*siblings*) have sent unavailable presence, and their servers have read it. It waits [`PATIENCE`] at most.
//!
//! ```text
//!  session of the client                          sibling
//!    <block/> from the client
//!    tell -------- Notice(change, Done) ------->  sends unavailable presence,
//!    keeps the request                            asks its server for an acknowledgement
//!    all Done are dropped <---------------------  has it: drops Done
//!    <block/> to the server
//! ```
//!
//! What presence is sent to whom is decided by `pipe::blocking`. This must not read stanzas.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use tracing::debug;

use super::{Input, Task};
use crate::{
    pipe::{Effect, blocked::Change},
    proto::stanza::Stanza,
    session::accounts::{AllDone, Done, Notice, Sibling},
};

/// How long the client's request waits for other sessions.
const PATIENCE: Duration = Duration::from_secs(2);
/// Notices of siblings that are worked on at once.
const MAX_NOTICES: usize = 16;

/// A session's part in the blocks of its account.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    /// The place among the siblings, once the resource is bound.
    sibling: Option<Sibling>,
    /// They may have something to tell.
    is_told: bool,
    held: Option<Held>,
    /// Notices that are being carried out. `Done` is dropped when the server has acknowledged so many stanzas; `None`
    /// until it is asked.
    unfinished: SmallVec<[(Option<u32>, Done); 1]>,
}

/// The client's request, which the server has not got.
#[derive(Debug)]
struct Held {
    request: Stanza,
    all_done: AllDone,
    until: Instant,
}

impl Blocking {
    /// Whether a request waits. Then the client's next stanzas wait as well, as they may rely on it.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// When the request is sent at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.until)
    }

    /// The next thing that siblings have done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if let Some(held) = &mut self.held
            && held.all_done.poll_recv(cx).is_ready()
        {
            return Poll::Ready(Input::SiblingsDone);
        }
        if self.is_told && self.unfinished.len() < MAX_NOTICES {
            let notice = self.sibling.as_ref().and_then(Sibling::next_notice);
            self.is_told = notice.is_some();
            return notice.map_or(Poll::Pending, |it| Poll::Ready(Input::Notice(it)));
        }
        Poll::Pending
    }

    /// Siblings may have told of something: the session was woken.
    pub(super) fn woken(&mut self) {
        self.is_told = true;
    }

    /// Takes the client's request, if the server has not got it.
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
            let wake_flag = Arc::clone(&self.wake_flag);
            let sibling = accounts.join_siblings(account, self.record.number(), wake_flag);
            self.blocking.sibling = Some(sibling);
            self.blocking.is_told = true;
        }
    }

    /// The session is over: siblings that wait for it go on.
    pub(super) fn leave_siblings(&mut self) {
        self.blocking = Blocking::default();
    }

    /// Tells the siblings of a change. `None` if the session has no place among them.
    pub(super) fn tell_siblings(&self, change: &Change) -> Option<AllDone> {
        Some(self.blocking.sibling.as_ref()?.tell(change))
    }

    /// The client blocks somebody: the request waits until the siblings have done their part.
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

    /// Sends the client's request to the server: the siblings have done their part, or take too long.
    pub(super) fn send_held_block(&mut self, now: Instant) {
        if let Some(request) = self.blocking.take_held() {
            self.apply(Effect::ToServer(request), now);
        }
    }

    /// Sends the client's request to the server if the siblings take too long.
    pub(super) fn give_up_on_siblings(&mut self, now: Instant) {
        if self.blocking.deadline().is_some_and(|until| until <= now) {
            debug!(sid = ?self.registration.sid(), "other sessions take too long to hide");
            self.send_held_block(now);
        }
    }

    /// A sibling blocks somebody, or unblocks.
    pub(super) fn handle_notice(&mut self, notice: Notice) {
        self.pipe.account_changes(notice.change);
        self.blocking.unfinished.push((None, notice.done));
    }

    /// Lets siblings go on that wait for this session, once its server has read what the notice led to.
    pub(super) fn finish_notices(&mut self) {
        // Presence that is not written yet would come after the question.
        if self.blocking.unfinished.is_empty() || self.pipe.is_hiding() || self.has_more {
            return;
        }
        // Without stream management, a server does not say what it has read; then written has to be good enough.
        let is_managed = self.link.sm.is_on() && self.link.is_up();
        let sm = &mut self.link.sm;
        self.blocking.unfinished.retain(|(awaited, _)| {
            let sent = *awaited.get_or_insert_with(|| {
                sm.ask();
                sm.sent_count()
            });
            is_managed && !sm.has_acknowledged(sent)
        });
    }
}
