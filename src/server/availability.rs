//! Who is available on each domain. It outlives a reload.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use jid::DomainPart;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::{
    config,
    events::{Availability, Elsewhere},
    metrics::Metrics,
};

/// How long the last events have in any case, once the sessions have ended.
const LAST_EVENTS: Duration = Duration::from_secs(1);
/// How long a site that takes none of them is waited for then: for two attempts.
const PATIENCE: Duration = Duration::from_secs(2);

/// All domains that have been configured since the start. A domain that no longer is may still have sessions, but its
/// site hears no more of them.
pub(super) struct AvailabilityInUse {
    all: HashMap<DomainPart, Arc<Availability>>,
    /// The other gateways, if this is one of several.
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl AvailabilityInUse {
    /// None yet.
    pub(super) fn new(elsewhere: Option<Arc<dyn Elsewhere>>) -> Self {
        let all = HashMap::new();
        Self { all, elsewhere }
    }

    /// That of `domain`.
    pub(super) fn of(&mut self, domain: &DomainPart, metrics: &Metrics) -> Arc<Availability> {
        let known = self.all.entry(domain.clone());
        let known = known.or_insert_with(|| {
            let name = domain.as_str();
            Availability::new(name, metrics.domain(name), self.elsewhere.clone())
        });
        Arc::clone(known)
    }

    /// Applies a configuration. It cannot fail.
    pub(super) fn configure(&self, hosts: &[config::Host]) {
        let configured: HashSet<_> = hosts.iter().map(|host| &host.domain).collect();
        let none = config::Events::default();
        for (domain, availability) in &self.all {
            if !configured.contains(domain) {
                availability.configure(&none);
            }
        }
        for host in hosts {
            if let Some(availability) = self.all.get(&host.domain) {
                availability.configure(&host.events);
            }
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Availability>> {
        self.all.values().cloned().collect()
    }
}

/// Lets the sites hear what is left, once all sessions have ended. What they have not heard `by` then is given up, and
/// earlier what is for a site that takes nothing: a restart does not wait for a site that is down.
pub(super) async fn finish(all: Vec<Arc<Availability>>, by: Instant) {
    let by = by.max(Instant::now() + LAST_EVENTS);
    let finishing = all.iter().map(|it| async move {
        let finished = timeout_at(by, it.finish(PATIENCE)).await;
        if finished != Ok(true) {
            let (domain, lost) = (it.domain(), it.pending());
            warn!(domain, lost, "events not delivered, as the gateway stops");
        }
    });
    join_all(finishing).await;
}
