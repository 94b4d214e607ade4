//! Rosters of the configured domains. They outlive a reload.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use jid::DomainPart;

use crate::{
    backend::{
        http::{HttpSource, Replaceable},
        refresh::{Options, Rosters},
    },
    config, metrics,
};

/// The rosters of each domain, kept while the configuration names it or one of its sessions lives. So if a domain, or
/// its backend, is removed and configured again, refreshes reach its old sessions.
#[derive(Default)]
pub(super) struct RostersInUse(HashMap<DomainPart, Weak<Rosters<Replaceable>>>);

impl RostersInUse {
    /// The rosters of `host`, fetched from its backend from now on; `None` if it names no backend.
    pub(super) fn of(
        &mut self,
        host: &config::Host,
        metrics: &metrics::Domain,
    ) -> Option<Arc<Rosters<Replaceable>>> {
        let url = host.http_roster_url.clone()?;
        let source = HttpSource::new(url, host.backend.clone(), host.domain.clone());
        if let Some(rosters) = self.0.get(&host.domain).and_then(Weak::upgrade) {
            rosters.source().replace(source);
            return Some(rosters);
        }
        let options = Options {
            concurrency: host.backend.concurrency,
            ..Options::default()
        };
        let rosters = Rosters::counted(Replaceable::new(source), options, metrics.clone());
        self.0.insert(host.domain.clone(), Arc::downgrade(&rosters));
        Some(rosters)
    }

    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|_, rosters| rosters.strong_count() > 0);
    }
}
