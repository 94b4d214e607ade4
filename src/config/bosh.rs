//! `[bosh]`: settings of BOSH only.

use std::time::Duration;

use super::{
    reader::Section,
    value::{self, KIB, MIB, MINUTE, SECOND},
};
use crate::proto::bosh::terms::Policy;

/// `[bosh]`
#[derive(Clone, Debug)]
pub struct Bosh {
    /// Path of the connection manager, without a trailing slash.
    pub path: String,
    /// The terms that sessions are granted.
    pub policy: Policy,
    /// Longest request body, bytes.
    pub max_body: usize,
    /// Longest time until a request body has arrived.
    pub body_timeout: Duration,
    /// Whether clients may poll (`hold` or `wait` of 0) rather than have requests held.
    pub polling: bool,
}

impl Default for Bosh {
    fn default() -> Self {
        Self {
            path: "/http-bind".to_owned(),
            policy: Policy {
                wait: Duration::from_secs(60),
                inactivity: Duration::from_secs(120),
                max_pause: Duration::from_secs(120),
                report_grace: Duration::from_secs(2),
            },
            max_body: 1 << 20,
            body_timeout: Duration::from_secs(30),
            polling: true,
        }
    }
}

impl Bosh {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut it = Self::default();
        section.set(&mut it.path, "path", value::path);
        section.keep_path_apart("path", &it.path);
        section.set(
            &mut it.policy.wait,
            "wait",
            value::seconds(SECOND..=10 * MINUTE),
        );
        section.set(
            &mut it.policy.inactivity,
            "inactivity",
            value::seconds(SECOND..=60 * MINUTE),
        );
        section.set(
            &mut it.policy.max_pause,
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
            &mut it.policy.report_grace,
            "report_grace",
            value::duration(Duration::ZERO..=MINUTE),
        );
        it
    }
}
