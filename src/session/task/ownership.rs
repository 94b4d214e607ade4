//! Ownership of stanzas on their way: what the server is told, when a client counts as gone, and who hears of what
//! does not arrive (`ARCHITECTURE.md` §6.1).

use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::Task;
use crate::{
    metrics::{Limit, health::Dependency},
    pipe::bounce,
    proto::stanza::Stanza,
    session::downstream::Reason,
};

/// How long senders have to wait for a client that does not listen to what it has got too much of, where no
/// server keeps it.
const UNDELIVERED: Duration = Duration::from_secs(10);

impl Task {
    /// Whether the server has to be kept waiting until the client has taken, or confirmed, more.
    pub(super) fn is_behind(&self) -> bool {
        self.is_full() || self.link.sm.unconfirmed() >= self.host.limits.max_unconfirmed
    }

    /// Whether as much as may be is kept for the client.
    fn is_full(&self) -> bool {
        self.kept() >= self.client.max_pending()
    }

    /// What it takes to keep what the client has not been sent, or has not confirmed, bytes.
    pub(super) fn kept(&self) -> usize {
        let unconfirmed = self.handover.size(self.client.written());
        self.client.pending().saturating_add(unconfirmed)
    }

    /// Whether the server has to be kept waiting because of what pends for all clients, this one having more
    /// than its share. The client is not given up for that; when it comes for what it has, there is room.
    pub(super) fn hold_up(&mut self) -> bool {
        let was_held_up = self.is_held_up;
        self.is_held_up = self.registration.is_backlog_used_up(self.client.pending());
        if self.is_held_up && !was_held_up {
            debug!(sid = ?self.registration.sid(), "too much is waiting for all clients");
            self.registration.metrics().limit(Limit::PendingTotal);
        }
        self.is_held_up
    }

    /// When a client that is behind and does not listen is given up: at once, if the server keeps what it has
    /// not got.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        let patience = if self.link.sm.is_on() {
            Duration::ZERO
        } else {
            UNDELIVERED
        };
        let is_behind = self.client.is_open() && self.is_behind();
        let deaf_at = self.client.deaf_at().filter(|_| is_behind)?;
        Some(deaf_at + patience)
    }

    /// Tells the server what is confirmed; sees to it that the client confirms before the server has to
    /// keep too much, or else leaves it all to the server.
    pub(super) fn keep_account(&mut self, now: Instant) {
        self.link.sm.handle_confirmation(self.client.confirmed());
        if self.client.is_open() && self.is_behind() {
            if self.given_up_at().is_some_and(|at| at <= now) {
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
            } else {
                self.client.ask_for_confirmation();
            }
        }
        self.link.transmit(now);
    }

    /// The connection broke: the client hears what may not have arrived, and that it is over.
    pub(super) fn server_lost(&mut self, reason: &str, now: Instant) {
        warn!(sid = ?self.registration.sid(), domain = self.host.domain, reason, "server lost");
        self.host.metrics.lost();
        self.host.metrics.failed(Dependency::Upstream, reason);
        self.link.cut();
        self.return_unsent();
        let error = stream_error("system-shutdown", "connection to the server lost");
        self.client.end(Reason::Error(error), now);
    }

    pub(super) fn return_unsent(&mut self) {
        for error in self
            .link
            .sm
            .take_outstanding()
            .chain(self.blocking.take_held())
            .filter_map(|it| bounce::unsent(&it))
        {
            self.client.send(error);
        }
    }

    /// What the client will never get: the server owns it and sends it elsewhere, or its senders hear.
    pub(super) fn bounce_pending(&mut self) {
        let undelivered = self.client.take_undelivered();
        self.link
            .bounce(undelivered.iter().filter_map(bounce::undelivered));
    }
}

/// A stream error of the gateway's own.
pub(super) fn stream_error(condition: &str, text: &str) -> Stanza {
    let error = format!(
        "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{text}</text>\
         </stream:error>"
    );
    Stanza::ours(error)
}
