//! Health of what a domain depends on: when it last worked, and what has failed.

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

/// Something that did not work.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When, as time since 1970 (UTC).
    pub at: Duration,
    /// Of which domain.
    pub domain: String,
    /// The dependency at fault.
    pub dependency: Dependency,
    /// What is wrong; a sentence.
    pub error: String,
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
}
