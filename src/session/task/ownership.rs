//! Ownership of stanzas on their way (`ARCHITECTURE.md` §6.1): what the session acknowledges to the server, when it
//! gives up a client that does not listen, and who hears of a stanza that does not arrive.
//!
//! With stream management, the server owns a stanza until the client has confirmed it. So the gateway must not
//! acknowledge earlier, and it may end a session at any time without losing anything. Without stream management the
//! gateway owns what it has read, and returns to the senders what the client will not get.

use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{Task, resumption::Unsent};
use crate::{
    metrics::{Limit, health::Dependency},
    pipe::bounce,
    proto::stream::error::stream_error,
    session::downstream::Reason,
};

/// How long a client that does not listen is kept beyond its time where the server has no stream management: once it
/// is given up, all that waits for it goes back to the senders.
const GRACE: Duration = Duration::from_secs(10);

impl Task {
    /// Whether the server must not be read from until the client has taken, or confirmed, more.
    pub(super) fn is_behind(&self) -> bool {
        self.is_full() || self.link.sm.unconfirmed() >= self.host.limits.max_unconfirmed
    }

    /// Whether the gateway keeps as much for the client as it may.
    fn is_full(&self) -> bool {
        self.kept() >= self.client.max_pending()
    }

    /// Size of what the client has not been sent, or has not confirmed, in bytes.
    pub(super) fn kept(&self) -> usize {
        let unconfirmed = self.handover.size(self.client.written());
        let kept = self.client.pending().saturating_add(unconfirmed);
        // Both keep what the client has not confirmed, and share the bytes.
        kept.max(self.client.unconfirmed_size())
    }

    /// Whether the server must not be read from because too much is pending for all clients, and this one has more
    /// than its share. No client is given up for that: its next request makes room.
    pub(super) fn check_backlog(&mut self) -> bool {
        let was_over_share = self.is_over_share;
        self.is_over_share = self.registration.is_backlog_used_up(self.client.pending());
        if self.is_over_share && !was_over_share {
            debug!(sid = ?self.registration.sid(), "too much is waiting for all clients");
            self.registration.metrics().limit(Limit::PendingTotal);
        }
        self.is_over_share
    }

    /// When a client is given up that is behind and does not listen. With stream management that is at once, as the
    /// server keeps what the client has not got.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        let grace = if self.link.sm.is_on() {
            Duration::ZERO
        } else {
            GRACE
        };
        let is_behind = self.client.is_open() && self.is_behind();
        let deaf_at = self.client.deaf_at().filter(|_| is_behind)?;
        Some(deaf_at + grace)
    }

    /// Acknowledges to the server what the client has confirmed. A client that is behind is asked to confirm, as
    /// servers bound what they keep; one that does not listen is ended while the server can still keep everything.
    pub(super) fn acknowledge_confirmed(&mut self, now: Instant) {
        self.link.sm.handle_confirmation(self.client.confirmed());
        self.client.settle(self.link.settled());
        if self.client.wants_settlement() {
            self.link.sm.ask_to_settle();
        }
        if self.client.is_open() && self.is_behind() {
            if self.given_up_at().is_some_and(|at| at <= now) {
                self.give_up_client(now);
            } else {
                self.client.ask_for_confirmation();
            }
        }
        self.link.transmit(now);
    }

    /// Ends the session of a client that does not listen.
    fn give_up_client(&mut self, now: Instant) {
        debug!(sid = ?self.registration.sid(), "client does not listen");
        let limit = match self.is_full() {
            true => Limit::Pending,
            false => Limit::Unconfirmed,
        };
        self.registration.metrics().limit(limit);
        self.bounce_pending();
        let error = stream_error("resource-constraint", "too much is waiting");
        self.client.end(Reason::Error(error), now);
        self.drain_events(now);
    }

    /// The connection broke: the client hears which stanzas may not have arrived, then that the session is over.
    pub(super) fn server_lost(&mut self, reason: &str, now: Instant) {
        warn!(sid = ?self.registration.sid(), domain = self.host.domain, reason, "server lost");
        self.host.metrics.lost();
        self.host.metrics.failed(Dependency::Upstream, reason);
        self.link.cut();
        self.return_unsent(now);
        let error = stream_error("system-shutdown", "connection to the server lost");
        self.client.end(Reason::Error(error), now);
    }

    /// Returns to the client, as errors, the stanzas that the server has not acknowledged.
    pub(super) fn return_unsent(&mut self, now: Instant) {
        if self.client.deaf_at().is_some() && self.client.is_resumable() {
            // It sends them again.
            return self.resuming.lose_some(Unsent::Left);
        }
        for error in self
            .link
            .sm
            .take_outstanding()
            .chain(self.blocking.take_held())
            .chain(self.pipe.take_held_of_client())
            .chain(self.client.take_unheard())
            .filter_map(|it| bounce::unsent(&it))
        {
            self.client.send(error, now);
            self.resuming.lose_some(Unsent::Returned);
        }
    }

    /// Returns what the client has not been sent to the senders. With stream management the server still owns that,
    /// and nothing is returned.
    pub(super) fn bounce_pending(&mut self) {
        let mut undelivered = self.client.take_undelivered();
        if !self.link.sm.is_on() {
            undelivered.extend(self.pipe.take_held_of_server());
        }
        self.link
            .bounce(undelivered.iter().filter_map(bounce::undelivered));
    }
}
