//! Siblings: the bound sessions of one account, which tell each other whom the user blocks and unblocks. This carries
//! the notices; what a session does about them is decided by `session::task::blocking`.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc;

use super::{Accounts, Place};
use crate::{net::wake_flag::WakeFlag, pipe::blocked::Change};

/// Notices that may wait for one session.
const MAILBOX: usize = 256;
/// Changes that are kept for sessions that come later.
const KEPT: usize = 64;

/// A change that one session tells the others.
#[derive(Debug)]
pub(in crate::session) struct Notice {
    /// Whom the user blocks or unblocks.
    pub(in crate::session) change: Change,
    /// To be dropped when the change has been carried out.
    pub(in crate::session) done: Done,
}

/// A promise to carry a change out. The session that has told of the change waits until all of these are dropped.
#[derive(Clone, Debug)]
pub(in crate::session) struct Done {
    _held: mpsc::Sender<()>,
}

/// Closed when the last [`Done`] is dropped.
pub(in crate::session) type AllDone = mpsc::Receiver<()>;

/// The bound sessions of an account that tell each other of blocks.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    mailboxes: Vec<Mailbox>,
    /// The latest changes. A session that comes later is told of them, as the server may not have carried them out yet.
    changes: VecDeque<Change>,
}

/// What waits for one sibling.
#[derive(Debug)]
struct Mailbox {
    /// The sibling's.
    number: u64,
    notices: VecDeque<Notice>,
    wake_flag: Arc<WakeFlag>,
}

/// A session's place among its siblings, until it is dropped.
#[derive(Debug)]
pub(in crate::session) struct Sibling {
    place: Place,
    number: u64,
}

impl Mailbox {
    /// Nothing is added where it is full.
    fn add(&mut self, change: &Change, done: &Done) {
        if self.notices.len() < MAILBOX {
            self.notices.push_back(Notice {
                change: change.clone(),
                done: done.clone(),
            });
        }
    }
}

impl Accounts {
    /// Adds a session to the siblings of the account `bare` in `domain`. `number` names it, and `wake_flag` wakes it
    /// when there are notices. There may be some at once.
    pub(in crate::session) fn join_siblings(
        self: &Arc<Self>,
        [domain, bare]: [&str; 2],
        number: u64,
        wake_flag: Arc<WakeFlag>,
    ) -> Sibling {
        let done = Done {
            _held: mpsc::channel(1).0,
        };
        let mut mailbox = Mailbox {
            number,
            notices: VecDeque::new(),
            wake_flag,
        };
        let place = self.place(domain, bare);
        let mut sessions = place.shared.0.lock();
        for change in &sessions.siblings.changes {
            mailbox.add(change, &done);
        }
        sessions.siblings.mailboxes.push(mailbox);
        drop(sessions);
        Sibling { place, number }
    }
}

impl Sibling {
    /// Tells the siblings of a change. One whose mailbox is full is left out.
    pub(in crate::session) fn tell(&self, change: &Change) -> AllDone {
        let (held, all_done) = mpsc::channel(1);
        let done = Done { _held: held };
        let mut sessions = self.place.shared.0.lock();
        let siblings = &mut sessions.siblings;
        if siblings.changes.len() >= KEPT {
            siblings.changes.pop_front();
        }
        siblings.changes.push_back(change.clone());
        let others = siblings.mailboxes.iter_mut();
        for mailbox in others.filter(|it| it.number != self.number) {
            mailbox.add(change, &done);
            mailbox.wake_flag.wake();
        }
        drop(sessions);
        all_done
    }

    /// The next notice for this session.
    pub(in crate::session) fn next_notice(&self) -> Option<Notice> {
        let mut sessions = self.place.shared.0.lock();
        let mailboxes = sessions.siblings.mailboxes.iter_mut();
        let mut own = mailboxes.filter(|it| it.number == self.number);
        own.next()?.notices.pop_front()
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let mut sessions = self.place.shared.0.lock();
        let siblings = &mut sessions.siblings;
        siblings.mailboxes.retain(|it| it.number != self.number);
        if siblings.mailboxes.is_empty() {
            // The account may live on for its members, who have no use for changes.
            siblings.changes = VecDeque::new();
        }
    }
}
