//! Health of what a domain depends on: when it last worked, and when it last failed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a domain depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dependency {
    /// The site's backend.
    Backend,
    /// The XMPP server, as clients reach it.
    Upstream,
    /// The same, as lists are written into it.
    Writer,
    /// The site, as it takes events.
    Events,
}

impl Dependency {
    /// Its name in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Upstream => "upstream",
            Self::Writer => "writer",
            Self::Events => "events",
        }
    }
}

/// When something last worked and when it last failed. Clones share these times.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Times>);

/// Milliseconds since 1970 (UTC); 0 means never.
#[derive(Debug, Default)]
struct Times {
    worked: AtomicU64,
    failed: AtomicU64,
}

impl Health {
    /// Notes that it has worked, or failed, at this time since 1970.
    pub fn note(&self, worked: bool, at: Duration) {
        let times = &*self.0;
        let time = if worked { &times.worked } else { &times.failed };
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        time.fetch_max(at, Ordering::Relaxed);
    }

    /// Whether it worked the last time; `None` if it has not been tried.
    pub fn works(&self) -> Option<bool> {
        let worked = self.0.worked.load(Ordering::Relaxed);
        let failed = self.0.failed.load(Ordering::Relaxed);
        (worked.max(failed) > 0).then_some(worked > failed)
    }

    /// When it last worked, as time since 1970; `None` if it never has.
    pub fn last_worked(&self) -> Option<Duration> {
        let worked = self.0.worked.load(Ordering::Relaxed);
        (worked > 0).then(|| Duration::from_millis(worked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_counts() {
        let health = Health::default();
        assert_eq!(health.works(), None);
        for (worked, at) in [(true, 1), (false, 2), (true, 3)] {
            health.clone().note(worked, Duration::from_secs(at));
            assert_eq!(health.works(), Some(worked));
        }
        health.note(false, Duration::from_secs(2));
        assert_eq!(health.works(), Some(true), "that was before");
    }

    #[test]
    fn what_has_never_worked_is_told_from_what_has_ceased_to() {
        let health = Health::default();
        health.note(false, Duration::from_secs(1));
        assert_eq!((health.works(), health.last_worked()), (Some(false), None));
        let worked = Duration::from_secs(2);
        health.note(true, worked);
        health.note(false, Duration::from_secs(3));
        assert_eq!(health.works(), Some(false));
        assert_eq!(health.last_worked(), Some(worked));
    }
}
