//! Paths of URLs: each may serve one thing only.

use super::{reader::Section, value::Fault};

/// Metrics and health.
pub const MONITORING_PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];
/// Where clients look for the URLs of the fronts, as XML and as JSON (RFC 6415).
pub const DISCOVERY_PATHS: [&str; 2] = ["/.well-known/host-meta", "/.well-known/host-meta.json"];
/// Where XMPP servers ask about passwords.
pub const AUTH_PATH: &str = "/xmpp_auth";

impl Section<'_, '_> {
    /// Refuses `path`, the value of `key`, if it would hide one of the fixed paths.
    pub(super) fn keep_path_apart(&mut self, key: &'static str, path: &str) {
        let monitoring = MONITORING_PATHS.map(|path| (path, "monitoring.listen"));
        let discovery = DISCOVERY_PATHS.map(|path| (path, "discovery.bosh_url"));
        let auth = [(AUTH_PATH, "host.login")];
        let mut fixed = monitoring.iter().chain(&discovery).chain(&auth);
        if let Some((other, of)) = fixed.find(|(other, _)| overlap(path, other)) {
            let problem = format!("overlaps {other}, which is that of {of}");
            self.fault(key, Fault::new(problem, "choose another path"));
        }
    }
}

/// Whether one of two paths is equal to the other, or below it.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let is_below = |path: &str, other: &str| {
        let rest = path.strip_prefix(other);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_below(one, other) || is_below(other, one)
}
