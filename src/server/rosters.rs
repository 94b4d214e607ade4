//! Rosters of the configured domains. They outlive a reload.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use jid::DomainPart;

use crate::{
    admin::Lists,
    backend::{
        http::{HttpSource, Replaceable},
        refresh::{Options, Rosters},
    },
    config, metrics,
    net::drain,
    writer::{ServerRosters, Settings},
};

/// The rosters of each domain, kept while the configuration names it or one of its sessions lives. So if a domain, or
/// its backend, is removed and configured again, refreshes reach its old sessions.
pub(super) struct RostersInUse {
    /// Ends the calls that refresh them.
    stop: Arc<drain::Signal>,
    gateway: HashMap<DomainPart, Weak<Rosters<Replaceable>>>,
    server: HashMap<DomainPart, Weak<ServerRosters<Replaceable>>>,
}

impl Default for RostersInUse {
    fn default() -> Self {
        Self {
            stop: Arc::new(drain::channel().0),
            gateway: HashMap::new(),
            server: HashMap::new(),
        }
    }
}

impl RostersInUse {
    /// The signal that ends the calls that refresh them.
    pub(super) fn stop(&self) -> Arc<drain::Signal> {
        Arc::clone(&self.stop)
    }

    /// Those that the gateway holds.
    pub(super) fn of_the_gateway(&self) -> Vec<Arc<Rosters<Replaceable>>> {
        self.gateway.values().filter_map(Weak::upgrade).collect()
    }

    /// Logs which lists are left unwritten.
    pub(super) fn report_unwritten(&self) {
        let rosters = self.server.values().filter_map(Weak::upgrade);
        rosters.for_each(|rosters| rosters.report_unwritten());
    }

    /// The rosters of `host`, fetched from its backend from now on; `None` if it names no backend.
    pub(super) fn of(
        &mut self,
        host: &config::Host,
        metrics: &metrics::Domain,
    ) -> Option<Lists<Replaceable>> {
        let url = host.http_roster_url.clone()?;
        let source = HttpSource::new(url, host.backend.clone(), host.domain.clone());
        Some(match &host.writer {
            Some(endpoint) => {
                let settings = Settings::new(endpoint, host.writing, &host.domain);
                Lists::Server(self.of_server(source, settings, host, metrics))
            }
            None => Lists::Gateway(self.of_gateway(source, host, metrics)),
        })
    }

    fn of_gateway(
        &mut self,
        source: HttpSource,
        host: &config::Host,
        metrics: &metrics::Domain,
    ) -> Arc<Rosters<Replaceable>> {
        if let Some(rosters) = self.gateway.get(&host.domain).and_then(Weak::upgrade) {
            rosters.source().replace(source);
            return rosters;
        }
        let options = Options {
            concurrency: host.backend.concurrency,
            ..Options::default()
        };
        let rosters = Rosters::counted(Replaceable::new(source), options, metrics.clone());
        let weak = Arc::downgrade(&rosters);
        self.gateway.insert(host.domain.clone(), weak);
        rosters
    }

    fn of_server(
        &mut self,
        source: HttpSource,
        settings: Settings,
        host: &config::Host,
        metrics: &metrics::Domain,
    ) -> Arc<ServerRosters<Replaceable>> {
        if let Some(rosters) = self.server.get(&host.domain).and_then(Weak::upgrade) {
            rosters.source().replace(source);
            rosters.replace(settings);
            return rosters;
        }
        let source = Replaceable::new(source);
        let rosters = ServerRosters::new(source, host.domain.clone(), settings, metrics.clone());
        let weak = Arc::downgrade(&rosters);
        self.server.insert(host.domain.clone(), weak);
        rosters
    }

    pub(super) fn forget_unused(&mut self) {
        self.gateway.retain(|_, rosters| rosters.strong_count() > 0);
        self.server.retain(|_, rosters| rosters.strong_count() > 0);
    }
}
