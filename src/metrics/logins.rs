//! Logins without a password in the page: tokens, what servers ask about them, and sessions that are begun for pages.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::Metrics;

/// How a login in a domain went, in one word.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfDomain {
    domain: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct In {
    domain: String,
}

/// The families of logins.
#[derive(Debug)]
pub(super) struct Logins {
    tokens: Family<In, Counter>,
    checks: Family<OfDomain, Counter>,
    prebinds: Family<OfDomain, Counter>,
}

impl Logins {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let tokens = Family::<In, Counter>::default();
        registry.register(
            "tokens_issued",
            "Tokens that users may log in with",
            tokens.clone(),
        );
        let checks = Family::<OfDomain, Counter>::default();
        registry.register(
            "password_checks",
            "Passwords that the server asked about, by what it heard",
            checks.clone(),
        );
        let prebinds = Family::<OfDomain, Counter>::default();
        registry.register(
            "prebinds",
            "Sessions that were asked for by the site: ok, or what went wrong",
            prebinds.clone(),
        );
        Self {
            tokens,
            checks,
            prebinds,
        }
    }
}

impl Metrics {
    /// The site has got a token for a user of `domain`.
    pub fn token_issued(&self, domain: &str) {
        let domain = domain.to_owned();
        self.logins.tokens.get_or_create(&In { domain }).inc();
    }

    /// The server of `domain` has asked about a password.
    pub fn password_checked(&self, domain: &str, outcome: &'static str) {
        let domain = domain.to_owned();
        let label = OfDomain { domain, outcome };
        self.logins.checks.get_or_create(&label).inc();
    }

    /// The site has asked for a session for a user of `domain`.
    pub fn prebound(&self, domain: &str, outcome: &'static str) {
        let domain = domain.to_owned();
        let label = OfDomain { domain, outcome };
        self.logins.prebinds.get_or_create(&label).inc();
    }
}
