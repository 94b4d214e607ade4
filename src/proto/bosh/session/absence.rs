//! Absence of the client (XEP-0124 "Inactivity"): since when no request has been open, when the client therefore counts
//! as deaf, and when the session expires.

use std::time::{Duration, Instant};

use super::after;
use crate::proto::bosh::terms::POLLING;

/// How long a client may take for its next request before it counts as deaf, and how much longer for each stanza of
/// the last answer, which it has to work on first.
pub(super) const NEXT_REQUEST: Duration = Duration::from_secs(1);
pub(super) const PER_STANZA: Duration = Duration::from_millis(10);

/// Whether the client is away.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// Since when no request has been open.
    since: Option<Instant>,
    /// The client hung up on the last request that was open.
    hung_up: bool,
    /// How many stanzas the last answer carried.
    given: u32,
}

impl Absence {
    /// Stops the clock: a request is open, or the session is over.
    pub(super) fn end(&mut self) {
        self.since = None;
    }

    /// Starts the clock, unless it runs already: no request is open.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A request has come: the client is there, even if it hung up on others before.
    pub(super) fn note_request(&mut self) {
        self.hung_up = false;
    }

    /// The client hung up on a request.
    pub(super) fn note_hang_up(&mut self) {
        self.hung_up = true;
    }

    /// A request was answered with `given` stanzas.
    pub(super) fn note_answer(&mut self, given: usize) {
        self.hung_up = false;
        self.given = u32::try_from(given).unwrap_or(u32::MAX);
    }

    /// When the client has been away for longer than it may.
    pub(super) fn expires_at(&self, allowed: Duration) -> Option<Instant> {
        self.since.map(|since| after(since, allowed))
    }

    /// From when on the client counts as deaf. If it hung up, that is at once. Otherwise it has time to work on what it
    /// was given, and, if it polls, until its next poll.
    pub(super) fn deaf_at(&self, is_polling: bool) -> Option<Instant> {
        let since = self.since?;
        if self.hung_up {
            return Some(since);
        }
        let work = NEXT_REQUEST.saturating_add(PER_STANZA.saturating_mul(self.given));
        let pace = match is_polling {
            true => POLLING,
            false => Duration::ZERO,
        };
        Some(after(since, work.saturating_add(pace)))
    }
}
