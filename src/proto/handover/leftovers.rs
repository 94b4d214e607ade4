//! Leftovers: the messages that an ended session leaves, in order, and who takes them. [`super::Account`] decides what
//! becomes of them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Unconfirmed, after,
    member::{Member, Members},
};

/// How long a session lingers until a taker comes, and how long until that taker's client confirms, at the least. This
/// is longer than it takes to find out that the client of a BOSH session has vanished, by default.
pub(super) const TAKER_TIMEOUT: Duration = Duration::from_secs(240);

/// What an ended session leaves.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// The tick at which the session ended.
    pub(super) since: u64,
    /// The messages, from the first that is not settled on.
    pub(super) messages: VecDeque<Leftover>,
    /// Number of the first of them.
    pub(super) first: u64,
    /// Number of the first that the taker has not been given.
    pub(super) next: u64,
    pub(super) taker: Option<Member>,
    /// The tick at which the taker came.
    pub(super) taken: u64,
    /// Takers whose clients did not confirm in time.
    pub(super) failed: Members,
    /// How long each taker gets.
    pub(super) patience: Duration,
    pub(super) deadline: Instant,
    /// When the session ended, or the latest message has come since.
    pub(super) latest: Instant,
    /// Since when no session is live.
    pub(super) alone_since: Option<Instant>,
    pub(super) is_shutting_down: bool,
    pub(super) is_given_up: bool,
    /// Size of the messages, in bytes.
    pub(super) size: usize,
}

/// One of the messages.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) message: Unconfirmed,
    /// The tick that the taker has to have read up to before it is given this.
    pub(super) since: u64,
    pub(super) is_settled: bool,
}

impl Leftovers {
    /// Nothing yet, of a session that ended at the tick `since`.
    pub(super) fn new(since: u64, patience: Duration, now: Instant) -> Self {
        Self {
            since,
            messages: VecDeque::new(),
            first: 0,
            next: 0,
            taker: None,
            taken: 0,
            failed: Members::default(),
            patience,
            deadline: after(now, patience),
            latest: now,
            alone_since: None,
            is_shutting_down: false,
            is_given_up: false,
            size: 0,
        }
    }

    /// How many of its messages are not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.messages.iter().filter(|left| !left.is_settled).count()
    }

    /// The message of this number, unless it has been forgotten.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Leftover> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get_mut(index)
    }

    /// Adds a message, which its taker may be given when it has read up to the fence `since`.
    pub(super) fn push(&mut self, message: Unconfirmed, since: u64) {
        self.size = self.size.saturating_add(message.stanza.footprint());
        self.messages.push_back(Leftover {
            message,
            since,
            is_settled: false,
        });
    }

    /// Forgets the settled messages at the front. Others must stay, as acknowledging one to the server acknowledges all
    /// before it.
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

    /// Another session may take what the taker's client has not confirmed.
    pub(super) fn release(&mut self) {
        self.taker = None;
        self.next = self.first;
    }
}
