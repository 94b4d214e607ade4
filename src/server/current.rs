//! Settings in use until the next reload, built from a [`Config`].

use std::{
    collections::HashMap,
    sync::{Arc, Once},
};

use http::Request;

use super::{RunError, availability::AvailabilityInUse, offer::Offer, rosters::RostersInUse};
use crate::{
    admin::{Admin, Hosts, Intent, Lists, Prebind, Served},
    backend::http::Replaceable,
    cluster::Cluster,
    config::{self, Config},
    events::Availability,
    front::{cors::Cors, discovery::Discovery, monitoring::Monitoring, settings::Settings},
    login::{Login, Tokens},
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
    pub(super) fronts: Arc<Settings>,
    pub(super) discovery: Option<Discovery>,
    pub(super) admin: Admin<Replaceable>,
    /// Where metrics and health are served, and what they say.
    pub(super) monitoring: config::Monitoring,
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
        let is_websocket = || {
            let own = self.fronts.websocket.path.as_deref();
            own.is_some_and(|own| is_same(path, own))
        };
        match offer {
            Both | BoshOnly if is_same(path, &self.fronts.bosh.path) => Interface::Bosh,
            Both | BoshOnly if is_websocket() => Interface::WebSocket,
            Both | AdminOnly if below_admin() || self.admin.serves_questions(path) => {
                Interface::Admin
            }
            Both | AdminOnly if self.monitoring.listen.is_none() && Monitoring::serves(path) => {
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
        availability: &mut AvailabilityInUse,
        (registry, cluster): (&Arc<Registry>, Option<&Arc<Cluster>>),
        tokens: &Arc<Tokens>,
    ) -> Result<Self, RunError> {
        let creations = Creations::new(config.session);
        // Whatever can fail comes first, because the rosters are shared with the settings in use.
        let connectors: Vec<Connector> = config
            .hosts
            .iter()
            .map(connector)
            .collect::<Result<_, _>>()?;
        let mut hosts = HashMap::new();
        let mut served = HashMap::new();
        for (host, connector) in config.hosts.iter().zip(connectors) {
            let metrics = registry.metrics.domain(host.domain.as_str());
            let rosters = rosters.of(host, &metrics);
            let login = host.login.as_ref();
            let login = login.map(|it| Login::new(it, &host.domain, tokens));
            let availability = availability.of(&host.domain, &registry.metrics);
            let of_domain = Served {
                lists: rosters.clone(),
                login,
                availability: Arc::clone(&availability),
            };
            served.insert(host.domain.clone(), of_domain);
            let built = build_host(config, host, connector, rosters, availability, metrics);
            hosts.insert(host.domain.to_string(), Arc::new(built));
        }
        availability.configure(&config.hosts);
        rosters.forget_unused();
        let admission = Admission::new(hosts, creations);
        let admission = match previous {
            Some(previous) => admission.following(&previous.fronts.admission),
            None => admission,
        };
        let admission = Arc::new(admission);
        let prebind = Prebind::new(Arc::clone(&admission), config.bosh.policy.clone());
        Ok(Self {
            fronts: Arc::new(Settings {
                bosh: config.bosh.clone(),
                websocket: config.websocket.clone(),
                xml: xml::Limits::default(),
                proxies: config.server.proxies.clone(),
                admission,
                cors: Cors::new(&config.web),
            }),
            discovery: Discovery::new(config.websocket_url.as_deref(), config.bosh_url.as_deref()),
            admin: Admin::new(&config.admin, Hosts::new(served), Arc::clone(registry))
                .stopped_by(rosters.stop())
                .with_others(cluster.cloned())
                .with_prebind(prebind),
            monitoring: config.monitoring,
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
    lists: Option<Lists<Replaceable>>,
    availability: Arc<Availability>,
    metrics: metrics::Domain,
) -> Host {
    let (rosters, written) = match lists {
        Some(Lists::Gateway(rosters)) => (Some(rosters), None),
        Some(Lists::Server(rosters)) => (None, Some(rosters)),
        None => (None, None),
    };
    Host {
        domain: host.domain.to_string(),
        connector,
        rules: Rules {
            rosters: rosters.is_some(),
            directed: written.is_none() && host.presence == config::Presence::Directed,
            manages_streams: false,
            contacts_only: host.messages_from == config::MessagesFrom::Contacts,
        },
        rosters,
        written,
        availability,
        metrics,
        limits: config.session,
        people_at: config
            .hosts
            .iter()
            .map(|it| it.domain.to_string())
            .collect(),
        has_warned: Once::new(),
    }
}

/// Whether two paths are the same but for repeated or trailing slashes. For clients alone: a proxy decides by a path what
/// it lets pass, and another spelling must not reach what the proxy keeps closed.
fn is_same(path: &str, other: &str) -> bool {
    let segments = |path| str::split(path, '/').filter(|segment| !segment.is_empty());
    segments(path).eq(segments(other))
}
