//! Siblings: the bound sessions of one account, which tell each other whom the user blocks and unblocks. This carries
//! the notices; what a session does about them is decided by `session::task::blocking`.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc;

use super::{Accounts, Place};
use crate::pipe::blocked::Change;

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
    sessions: Vec<Mailbox>,
    /// The latest changes. A session that comes later is told of them, as the server may not have carried them out yet.
    changes: VecDeque<Change>,
}

/// The number of a sibling, and the way to it.
type Mailbox = (u64, mpsc::Sender<Box<Notice>>);

/// A session's place among its siblings, until it is dropped.
#[derive(Debug)]
pub(in crate::session) struct Sibling {
    place: Place,
    number: u64,
    /// Boxed: a channel has room for 32 from the beginning, and notices are rare.
    notices: mpsc::Receiver<Box<Notice>>,
}

impl Accounts {
    /// Adds a session to the siblings of the account `bare` in `domain`. `number` names it.
    pub(in crate::session) fn join_siblings(
        self: &Arc<Self>,
        [domain, bare]: [&str; 2],
        number: u64,
    ) -> Sibling {
        let (sender, notices) = mpsc::channel(MAILBOX);
        let done = Done {
            _held: mpsc::channel(1).0,
        };
        let place = self.place(domain, bare);
        let mut sessions = place.shared.0.lock();
        for change in &sessions.siblings.changes {
            // There is room for as many as are kept.
            let _ = sender.try_send(Box::new(Notice {
                change: change.clone(),
                done: done.clone(),
            }));
        }
        sessions.siblings.sessions.push((number, sender));
        drop(sessions);
        Sibling {
            place,
            number,
            notices,
        }
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
        let others = siblings.sessions.iter();
        for (_, sender) in others.filter(|(number, _)| *number != self.number) {
            // Fails where the mailbox is full, or the session has gone.
            let _ = sender.try_send(Box::new(Notice {
                change: change.clone(),
                done: done.clone(),
            }));
        }
        drop(sessions);
        all_done
    }

    /// The notices for this session.
    pub(in crate::session) fn notices(&mut self) -> &mut mpsc::Receiver<Box<Notice>> {
        &mut self.notices
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let mut sessions = self.place.shared.0.lock();
        let siblings = &mut sessions.siblings;
        siblings
            .sessions
            .retain(|(number, _)| *number != self.number);
        if siblings.sessions.is_empty() {
            // The account may live on for its members, who have no use for changes.
            siblings.changes = VecDeque::new();
        }
    }
}
