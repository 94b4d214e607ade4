//! What the sessions of one account tell each other: each has a connection of its own to the server.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::pipe::blocking::Change;

/// Most that may wait for one session.
const MAILBOX: usize = 256;
/// Most that are kept for sessions to come.
const KEPT: usize = 64;

/// A change that one session tells the others.
#[derive(Debug)]
pub struct Notice {
    /// Whom the user blocks, or no longer.
    pub change: Change,
    /// To be dropped when the server has been told.
    pub done: Done,
}

/// Whoever has told waits until all of these are gone.
#[derive(Clone, Debug)]
pub struct Done {
    _held: mpsc::Sender<()>,
}

/// Is closed when all have done what they were told.
pub(super) type AllDone = mpsc::Receiver<()>;

/// The bound sessions of all accounts, by bare JID.
#[derive(Debug, Default)]
pub struct Siblings(Mutex<HashMap<Box<str>, Account>>);

#[derive(Debug, Default)]
struct Account {
    sessions: Vec<Mailbox>,
    /// The latest changes: who comes later hears of them, as the server may not have.
    changes: VecDeque<Change>,
}

/// The way to one of them, and its number.
type Mailbox = (u64, mpsc::Sender<Notice>);

/// A session's place among them, until it is dropped.
#[derive(Debug)]
pub struct Sibling {
    siblings: Arc<Siblings>,
    account: Box<str>,
    number: u64,
    notices: mpsc::Receiver<Notice>,
}

impl Siblings {
    /// A session, which `number` names, is bound to the bare JID `account`.
    pub fn join(self: &Arc<Self>, account: &str, number: u64) -> Sibling {
        let (sender, notices) = mpsc::channel(MAILBOX);
        let done = Done {
            _held: mpsc::channel(1).0,
        };
        let mut all = self.0.lock();
        let known = all.entry(account.into()).or_default();
        for change in &known.changes {
            // There is room for as many as are kept.
            let _ = sender.try_send(Notice {
                change: change.clone(),
                done: done.clone(),
            });
        }
        known.sessions.push((number, sender));
        drop(all);
        Sibling {
            siblings: Arc::clone(self),
            account: account.into(),
            number,
            notices,
        }
    }
}

impl Sibling {
    /// Tells the others of the account; whoever has too much to do already is left out.
    pub fn tell(&self, change: &Change) -> AllDone {
        let (held, all_done) = mpsc::channel(1);
        let done = Done { _held: held };
        let mut all = self.siblings.0.lock();
        let Some(account) = all.get_mut(&self.account) else {
            return all_done;
        };
        if account.changes.len() >= KEPT {
            account.changes.pop_front();
        }
        account.changes.push_back(change.clone());
        let others = account.sessions.iter();
        for (_, sender) in others.filter(|(number, _)| *number != self.number) {
            // One that is full, or has gone.
            let _ = sender.try_send(Notice {
                change: change.clone(),
                done: done.clone(),
            });
        }
        drop(all);
        all_done
    }

    /// What it is told.
    pub fn notices(&mut self) -> &mut mpsc::Receiver<Notice> {
        &mut self.notices
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let mut all = self.siblings.0.lock();
        if let Some(account) = all.get_mut(&self.account) {
            account
                .sessions
                .retain(|(number, _)| *number != self.number);
            if account.sessions.is_empty() {
                all.remove(&self.account);
            }
        }
    }
}
