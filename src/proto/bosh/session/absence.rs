//! Absence of the client: since when it has had no request open, and when that means that it does not listen
//! (XEP-0124 "Inactivity").

use std::time::{Duration, Instant};

use super::after;
use crate::proto::bosh::terms::POLLING;

/// How long a client may take for its next request before it counts as not listening, and how much
/// longer for each stanza that it has been given to work on.
pub(super) const BREATH: Duration = Duration::from_secs(1);
pub(super) const WORK: Duration = Duration::from_millis(10);

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
    /// A request waits for its answer, or nobody will wait any more: the clock is stopped.
    pub(super) fn end(&mut self) {
        self.since = None;
    }

    /// No request waits for an answer: the clock runs, unless it does already.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A request has come, so the client is there, whatever it hung up on before.
    pub(super) fn note_request(&mut self) {
        self.hung_up = false;
    }

    /// The client hung up on a request.
    pub(super) fn note_hang_up(&mut self) {
        self.hung_up = true;
    }

    /// A request was answered with `given` stanzas, so that the client has to come for the next answer.
    pub(super) fn note_answer(&mut self, given: usize) {
        self.hung_up = false;
        self.given = u32::try_from(given).unwrap_or(u32::MAX);
    }

    /// When the client has been away for longer than it may.
    pub(super) fn expires_at(&self, allowed: Duration) -> Option<Instant> {
        self.since.map(|since| after(since, allowed))
    }

    /// From when on the client counts as not listening: at once if it hung up, else when it has had time for what
    /// it was given, and, if it polls, for the next poll.
    pub(super) fn deaf_at(&self, is_polling: bool) -> Option<Instant> {
        let since = self.since?;
        if self.hung_up {
            return Some(since);
        }
        let work = BREATH.saturating_add(WORK.saturating_mul(self.given));
        let pace = match is_polling {
            true => POLLING,
            false => Duration::ZERO,
        };
        Some(after(since, work.saturating_add(pace)))
    }
}
