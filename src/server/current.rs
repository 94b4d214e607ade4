//! Settings in use until the next reload, built from a [`Config`].

use std::{
    collections::HashMap,
    sync::{Arc, Once},
};

use http::Request;

use super::{RunError, offer::Offer, rosters::RostersInUse};
use crate::{
    admin::{Admin, Hosts, Intent},
    backend::{http::Replaceable, refresh::Rosters},
    config::{self, Config},
    front::{bosh, cors::Cors, discovery::Discovery, monitoring::Monitoring},
    metrics::{self, Interface},
    pipe::Rules,
    proto::xml,
    session::{Admission, Creations, Host, Registry},
    upstream::Connector,
};

/// The answer to a request for metrics whose `Host` is a name that anybody may own.
const UNKNOWN_NAME: &str =
    "Host has to be an address, localhost, a name without dots or a configured domain\n";

/// Everything that a reload replaces.
pub(super) struct Current {
    pub(super) bosh: Arc<bosh::Settings>,
    pub(super) discovery: Option<Discovery>,
    pub(super) admin: Admin<Replaceable>,
    /// Whether metrics and health are served where the admin API is, to this machine alone.
    monitoring_with_admin: bool,
    pub(super) logs_access: bool,
}

impl Current {
    /// The interface that a request to `path` is for, at a listener with this offer.
    pub(super) fn wanted(&self, path: &str, offer: Offer) -> Interface {
        use Offer::{AdminOnly, BoshOnly, Both, MonitoringOnly};

        let below_admin = || {
            path.strip_prefix(self.admin.path())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match offer {
            Both | BoshOnly if is_same(path, &self.bosh.bosh.path) => Interface::Bosh,
            Both | AdminOnly if below_admin() => Interface::Admin,
            Both | AdminOnly if self.monitoring_with_admin && Monitoring::serves(path) => {
                Interface::Monitoring
            }
            Both | BoshOnly if self.discovery.is_some() && Discovery::serves(path) => {
                Interface::Discovery
            }
            MonitoringOnly if Monitoring::serves(path) => Interface::Monitoring,
            _ => Interface::Unknown,
        }
    }

    /// Whether a request may see metrics and health. The error says why not.
    ///
    /// At an address of their own, everybody may see them, but under no name that a stranger may own. Otherwise a page
    /// could have its visitor's browser fetch them (DNS rebinding).
    pub(super) fn may_watch<B>(&self, request: &Request<B>, offer: Offer) -> Result<(), String> {
        if matches!(offer, Offer::MonitoringOnly) {
            let named = self.admin.check_name(request);
            return named.map_err(|_| UNKNOWN_NAME.to_owned());
        }
        let local = self.admin.check_local(request, Intent::Read);
        local.map_err(|why| {
            format!("only for programs on this machine, see monitoring.listen: {why}\n")
        })
    }

    /// Builds the settings from `config`, with the `rosters` that are in use.
    pub(super) fn build(
        config: &Config,
        previous: Option<&Self>,
        rosters: &mut RostersInUse,
        registry: &Arc<Registry>,
    ) -> Result<Self, RunError> {
        let creations = Creations::new(config.session);
        // Whatever can fail comes first, because the rosters are shared with the settings in use.
        let connectors: Vec<Connector> = config
            .hosts
            .iter()
            .map(connector)
            .collect::<Result<_, _>>()?;
        let mut hosts = HashMap::new();
        let mut rosters_by_domain = HashMap::new();
        for (host, connector) in config.hosts.iter().zip(connectors) {
            let metrics = registry.metrics.domain(host.domain.as_str());
            let rosters = rosters.of(host, &metrics);
            rosters_by_domain.insert(host.domain.clone(), rosters.clone());
            let built = build_host(config, host, connector, rosters, metrics);
            hosts.insert(host.domain.to_string(), Arc::new(built));
        }
        rosters.forget_unused();
        let admission = Admission::new(hosts, creations);
        let admission = match previous {
            Some(previous) => admission.following(&previous.bosh.admission),
            None => admission,
        };
        Ok(Self {
            bosh: Arc::new(bosh::Settings {
                bosh: config.bosh.clone(),
                xml: xml::Limits::default(),
                proxies: config.server.proxies.clone(),
                admission,
                cors: Cors::new(&config.web),
            }),
            discovery: config.bosh_url.as_deref().map(Discovery::new),
            admin: Admin::new(
                &config.admin,
                Hosts::new(rosters_by_domain),
                Arc::clone(registry),
            ),
            monitoring_with_admin: config.monitoring.is_none(),
            logs_access: config.log.access,
        })
    }
}

fn connector(host: &config::Host) -> Result<Connector, RunError> {
    Connector::new(host).map_err(|source| RunError::Upstream {
        domain: host.domain.to_string(),
        source: Box::new(source),
    })
}

fn build_host(
    config: &Config,
    host: &config::Host,
    connector: Connector,
    rosters: Option<Arc<Rosters<Replaceable>>>,
    metrics: metrics::Domain,
) -> Host {
    Host {
        domain: host.domain.to_string(),
        connector,
        rules: Rules {
            rosters: rosters.is_some(),
            directed: host.presence == config::Presence::Directed,
        },
        rosters,
        metrics,
        limits: config.session,
        has_warned: Once::new(),
    }
}

/// Whether two paths are the same but for repeated or trailing slashes. For BOSH alone: a proxy decides by a path what
/// it lets pass, and another spelling must not reach what the proxy keeps closed.
fn is_same(path: &str, other: &str) -> bool {
    let segments = |path| str::split(path, '/').filter(|segment| !segment.is_empty());
    segments(path).eq(segments(other))
}
