//! Estate: the messages that an ended session leaves, in order, and who takes them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Unconfirmed, after,
    member::{Member, Members},
};

/// How long a session lingers for a client that does not confirm, or for one to come that takes its messages. Longer
/// than it takes by default to find out that a client has vanished, who may have taken them before.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);

/// What an ended session leaves.
#[derive(Debug)]
pub(super) struct Estate {
    /// When it ended.
    pub(super) since: u64,
    /// From the first that is not settled on.
    pub(super) messages: VecDeque<Left>,
    /// Number of the first of them.
    pub(super) first: u64,
    /// Number of the first that its taker has not been given.
    pub(super) next: u64,
    pub(super) taker: Option<Member>,
    /// When the taker came.
    pub(super) taken: u64,
    /// Takers whose time is over.
    pub(super) failed: Members,
    pub(super) deadline: Instant,
    /// When the last message came for it, or it ended.
    pub(super) latest: Instant,
    /// Since when no session is live.
    pub(super) alone_since: Option<Instant>,
    pub(super) is_hurried: bool,
    pub(super) is_given_up: bool,
    /// Bytes.
    pub(super) size: usize,
}

/// A message of an estate.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) message: Unconfirmed,
    /// What the taker has to have read up to before it is given this.
    pub(super) since: u64,
    pub(super) is_settled: bool,
}

impl Estate {
    /// Of a session that ended at the tick `since`.
    pub(super) fn new(since: u64, now: Instant) -> Self {
        Self {
            since,
            messages: VecDeque::new(),
            first: 0,
            next: 0,
            taker: None,
            taken: 0,
            failed: Members::default(),
            deadline: after(now, PATIENCE),
            latest: now,
            alone_since: None,
            is_hurried: false,
            is_given_up: false,
            size: 0,
        }
    }

    /// How many of its messages are not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.messages.iter().filter(|left| !left.is_settled).count()
    }

    /// The message of this number, unless it has been forgotten.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Left> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get_mut(index)
    }

    /// Adds a message, which its taker may be given when it has read up to the fence `since`.
    pub(super) fn push(&mut self, message: Unconfirmed, since: u64) {
        self.size = self.size.saturating_add(message.stanza.footprint());
        self.messages.push_back(Left {
            message,
            since,
            is_settled: false,
        });
    }

    /// Forgets what is settled at the front: of the rest, the server must not be told.
    pub(super) fn prune(&mut self) {
        while let Some(left) = self.messages.front()
            && left.is_settled
        {
            let size = left.message.stanza.footprint();
            self.size = self.size.saturating_sub(size);
            self.first = self.first.saturating_add(1);
            self.messages.pop_front();
        }
        self.next = self.next.max(self.first);
    }

    /// What its taker has not confirmed is there for another.
    pub(super) fn release(&mut self) {
        self.taker = None;
        self.next = self.first;
    }
}
