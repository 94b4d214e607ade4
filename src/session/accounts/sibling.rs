//! What the sessions of one account tell each other: whom the user blocks, or no longer.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc;

use super::{Accounts, Place};
use crate::pipe::blocked::Change;

/// Most that may wait for one session.
const MAILBOX: usize = 256;
/// Most that are kept for sessions to come.
const KEPT: usize = 64;

/// A change that one session tells the others.
#[derive(Debug)]
pub(in crate::session) struct Notice {
    /// Whom the user blocks, or no longer.
    pub(in crate::session) change: Change,
    /// To be dropped when the server has been told.
    pub(in crate::session) done: Done,
}

/// Whoever has told waits until all of these are gone.
#[derive(Clone, Debug)]
pub(in crate::session) struct Done {
    _held: mpsc::Sender<()>,
}

/// Is closed when all have done what they were told.
pub(in crate::session) type AllDone = mpsc::Receiver<()>;

/// The bound sessions of an account that tell each other of blocks.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    sessions: Vec<Mailbox>,
    /// The latest changes: who comes later hears of them, as the server may not have.
    changes: VecDeque<Change>,
}

/// The way to one of them, and its number.
type Mailbox = (u64, mpsc::Sender<Notice>);

/// A session's place among them, until it is dropped.
#[derive(Debug)]
pub(in crate::session) struct Sibling {
    place: Place,
    number: u64,
    notices: mpsc::Receiver<Notice>,
}

impl Accounts {
    /// A session, which `number` names, is bound to the account `bare` in `domain`.
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
            let _ = sender.try_send(Notice {
                change: change.clone(),
                done: done.clone(),
            });
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
    /// Tells the others of the account; whoever has too much to do already is left out.
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
            // One that is full, or has gone.
            let _ = sender.try_send(Notice {
                change: change.clone(),
                done: done.clone(),
            });
        }
        drop(sessions);
        all_done
    }

    /// What it is told.
    pub(in crate::session) fn notices(&mut self) -> &mut mpsc::Receiver<Notice> {
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
            // Members may be left, which know of no blocks.
            siblings.changes = VecDeque::new();
        }
    }
}
