//! Refreshes: users whose contact list has changed, as the backend says.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Metrics, labels::Outcome, unix_time};

/// The families of refreshes.
#[derive(Debug)]
pub(super) struct Refreshes {
    updated: Counter,
    failed: Counter,
    last: Gauge,
}

impl Refreshes {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let users = Family::<Outcome, Counter>::default();
        registry.register(
            "refreshed_users",
            "Users that the backend said have changed: updated or failed",
            users.clone(),
        );
        let last = Gauge::default();
        registry.register(
            "last_refresh_seconds",
            "When it last did, since 1970 (UTC); 0: never",
            last.clone(),
        );
        let of = |outcome| users.get_or_create_owned(&Outcome { outcome });
        Self {
            updated: of("updated"),
            failed: of("failed"),
            last,
        }
    }

    /// How many users were refreshed.
    pub(super) fn updated(&self) -> u64 {
        self.updated.get()
    }

    /// How many users could not be refreshed.
    pub(super) fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// When the backend last said that any list has changed, since 1970 (UTC).
    pub(super) fn last(&self) -> Option<Duration> {
        let at = Duration::from_secs(self.last.get().unsigned_abs());
        (!at.is_zero()).then_some(at)
    }
}

impl Metrics {
    /// This many users have been refreshed, and this many could not be.
    pub fn refreshed(&self, updated: usize, failed: usize) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.refreshes.updated.inc_by(count(updated));
        self.refreshes.failed.inc_by(count(failed));
        self.refreshes.last.set(unix_time());
    }
}
