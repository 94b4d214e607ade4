//! Clock: the only place where the time of day and elapsed time are read.
//!
//! Code that decides by the time gets it as an argument, so that tests can choose it. Deadlines of tasks are tokio's
//! (`tokio::time::Instant`), which tests can pause.
#![expect(clippy::disallowed_methods, reason = "the clock enters here")]

use std::time::{Duration, Instant, SystemTime};

/// A point in time to measure from.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day.
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Time since 1970 (UTC); zero if the clock is set to an earlier time.
pub(crate) fn since_1970() -> Duration {
    let since = wall_clock().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// A time since 1970 as in RFC 3339, in UTC, to the second.
pub(crate) fn date(since_1970: Duration) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970).to_string()
}
