//! What the log is told of NATS and of the other gateways: each thing once, however often it happens.

use std::{
    collections::BTreeSet,
    fmt, mem,
    time::{Duration, Instant},
};

use tracing::{error, warn};

use super::connect::Failure;

/// Most refusals of NATS that are told before it takes this gateway again.
const MOST_REFUSALS: usize = 16;
/// How often lost messages are told of.
const LOSSES: Duration = Duration::from_secs(10);
/// Most gateways whose coming and going is told of in a minute.
const MOST_MOVES: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// What has been said about NATS.
#[derive(Default)]
pub(super) struct Outage {
    is_told: bool,
    /// Whether it was ever there.
    was_there: bool,
    /// What it has refused.
    refusals: BTreeSet<String>,
}

impl Outage {
    /// NATS is there. Says whether it has been before.
    pub(super) fn end(&mut self) -> bool {
        let again = self.was_there;
        *self = Self {
            was_there: true,
            ..Self::default()
        };
        again
    }

    /// One warning for each outage.
    pub(super) fn tell(&mut self, why: &dyn fmt::Display) {
        if !mem::replace(&mut self.is_told, true) {
            warn!(
                %why,
                "NATS is away: sessions here go on, other gateways cannot be asked"
            );
        }
    }

    /// NATS cannot be connected to. That it refuses this gateway is told in any case, as that is for the operator to mend.
    pub(super) fn tell_failure(&mut self, failure: &Failure) {
        let why = &failure.why;
        if !failure.is_refusal {
            self.tell(why);
        } else if self.is_new(why) {
            self.is_told = true;
            error!(
                %why,
                "NATS does not let this gateway in: sessions here go on, other gateways cannot be asked"
            );
        }
    }

    /// NATS has refused something that was sent.
    pub(super) fn tell_refusal(&mut self, why: &dyn fmt::Display) {
        if self.is_new(&why.to_string()) {
            error!(%why, "NATS forbids what gateways need");
        }
    }

    /// Each refusal is told once: it may come each second.
    fn is_new(&mut self, refusal: &str) -> bool {
        self.refusals.len() < MOST_REFUSALS && self.refusals.insert(refusal.to_owned())
    }
}

/// Messages that are lost.
#[derive(Default)]
pub(super) struct Losses {
    untold: u64,
    told: Option<Instant>,
}

impl Losses {
    pub(super) fn add(&mut self, lost: u64) {
        self.untold = self.untold.saturating_add(lost);
    }

    /// Tells of them, now and then.
    pub(super) fn tell(&mut self, now: Instant) {
        let is_early = |told: Instant| now.saturating_duration_since(told) < LOSSES;
        if self.untold > 0 && !self.told.is_some_and(is_early) {
            let lost = mem::take(&mut self.untold);
            self.told = Some(now);
            warn!(lost, "messages of other gateways are lost: too many come");
        }
    }
}

/// Gateways that come and go.
#[derive(Default)]
pub(super) struct Moves {
    minute: Option<Instant>,
    count: u32,
}

impl Moves {
    /// Whether another one is told of.
    pub(super) fn is_told(&mut self, now: Instant) -> bool {
        let is_this = |minute: Instant| now.saturating_duration_since(minute) < MINUTE;
        if !self.minute.is_some_and(is_this) {
            (self.minute, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        if self.count == MOST_MOVES {
            warn!("many gateways come and go: no more of them is told in this minute");
        }
        self.count < MOST_MOVES
    }
}
