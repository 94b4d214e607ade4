//! `[bosh]`: what is BOSH's alone.

use std::time::Duration;

use super::{
    reader::Section,
    value::{self, KIB, MIB, MINUTE, SECOND},
};

/// `[bosh]`
#[derive(Clone, Debug)]
pub struct Bosh {
    /// Path of the connection manager, without a trailing slash.
    pub path: String,
    /// Longest time a request is held.
    pub wait: Duration,
    /// Longest time a session lives without an open request.
    pub inactivity: Duration,
    /// Longest pause a client may ask for.
    pub max_pause: Duration,
    /// Longest request body, bytes.
    pub max_body: usize,
    /// Longest time for one to come in.
    pub body_timeout: Duration,
    /// Whether clients may poll (`hold` or `wait` of 0) rather than have requests held.
    pub polling: bool,
    /// How long a client's acknowledgement may be behind before it is told so.
    pub report_grace: Duration,
}

impl Default for Bosh {
    fn default() -> Self {
        Self {
            path: "/http-bind".to_owned(),
            wait: Duration::from_secs(60),
            inactivity: Duration::from_secs(120),
            max_pause: Duration::from_secs(120),
            max_body: 1 << 20,
            body_timeout: Duration::from_secs(30),
            polling: true,
            report_grace: Duration::from_secs(2),
        }
    }
}

impl Bosh {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut it = Self::default();
        section.set(&mut it.path, "path", value::path);
        section.keep_path_apart("path", &it.path);
        section.set(&mut it.wait, "wait", value::seconds(SECOND..=10 * MINUTE));
        section.set(
            &mut it.inactivity,
            "inactivity",
            value::seconds(SECOND..=60 * MINUTE),
        );
        section.set(
            &mut it.max_pause,
            "max_pause",
            value::seconds(Duration::ZERO..=60 * MINUTE),
        );
        section.set(
            &mut it.max_body,
            "max_body",
            value::size(4 * KIB..=16 * MIB),
        );
        section.set(
            &mut it.body_timeout,
            "body_timeout",
            value::duration(SECOND..=10 * MINUTE),
        );
        section.flag(&mut it.polling, "polling");
        section.set(
            &mut it.report_grace,
            "report_grace",
            value::duration(Duration::ZERO..=MINUTE),
        );
        it
    }
}
