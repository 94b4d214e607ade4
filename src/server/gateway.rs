//! What is served, to whom, and how it is built from a [`Config`].

use std::{
    collections::HashMap,
    future::{Future, ready},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Once, Weak},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use jid::DomainPart;
use parking_lot::Mutex;
use tokio::time::timeout;
use tower::ServiceExt as _;
use tracing::warn;

use super::RunError;
use crate::{
    admin::{Admin, Hosts, Intent, Peer},
    backend::{
        http::{HttpSource, Replaceable},
        refresh::{Options, Rosters},
    },
    config::{self, Config},
    front::{
        body::Chunks, bosh, bosh::Front, cors::Cors, discovery::Discovery, exchange::Exchange,
        monitoring::Monitoring,
    },
    metrics::{self, Interface},
    net::{
        answer,
        connections::Connections,
        early_answer,
        listener::{self, Limits},
        sandbox,
    },
    pipe::Rules,
    proto::xml,
    session::{Admission, Creations, Host, Registry},
    upstream::Connector,
};

/// To who asks for metrics by a name that anybody may own.
const UNKNOWN_NAME: &str =
    "Host has to be an address, localhost, a name without dots or a configured domain\n";

/// To who does not say once what host a request is for.
const HOST_NEEDED: &str = "a request has one Host\n";

/// Everything that a reload replaces.
pub(super) struct Current {
    bosh: Arc<bosh::Settings>,
    discovery: Option<Discovery>,
    admin: Admin<Replaceable>,
    /// Metrics and health are served where the API is, to this machine.
    monitoring_with_admin: bool,
    logs_access: bool,
}

/// The running gateway, shared by all connections.
pub(super) struct Gateway {
    current: ArcSwap<Current>,
    pub(super) registry: Arc<Registry>,
    front: Arc<Front>,
    pub(super) connections: Arc<Connections>,
    pub(super) limits: Arc<ArcSwap<Limits>>,
    monitoring: Monitoring,
    rosters: Mutex<RostersInUse>,
}

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Response<Either<Chunks, Full<Bytes>>>> + Send>>;

/// What a listener offers.
#[derive(Clone, Copy)]
pub(super) enum Offer {
    Both,
    BoshOnly,
    AdminOnly,
    MonitoringOnly,
}

impl Gateway {
    /// Without sessions.
    pub(super) fn new(config: &Config) -> Result<Self, RunError> {
        let registry = Arc::new(Registry::default());
        registry.backlog.bound(config.session.max_pending_total);
        let (bounds, proxies) = (config.server.connections, &config.server.proxies.trusted);
        let metrics = Arc::clone(&registry.metrics);
        let connections = Arc::new(Connections::new(bounds, proxies.clone(), metrics));
        let mut rosters = RostersInUse::default();
        let current = Current::build(config, None, &mut rosters, &registry)?;
        Ok(Self {
            current: ArcSwap::from_pointee(current),
            front: Arc::new(Front::new(Arc::clone(&registry))),
            monitoring: Monitoring::new(Arc::clone(&registry), Arc::clone(&connections)),
            registry,
            connections,
            limits: Arc::new(ArcSwap::from_pointee(config.server.limits)),
            rosters: Mutex::new(rosters),
        })
    }

    /// Goes by another configuration from now on; if that cannot be, all stays as it is.
    pub(super) fn apply(&self, config: &Config) -> Result<(), RunError> {
        let previous = self.current.load();
        let mut rosters = self.rosters.lock();
        let current = Current::build(config, Some(&previous), &mut rosters, &self.registry)?;
        drop(rosters);
        self.current.store(Arc::new(current));
        let proxies = config.server.proxies.trusted.clone();
        self.connections.bound(config.server.connections, proxies);
        self.registry
            .backlog
            .bound(config.session.max_pending_total);
        self.limits.store(Arc::new(config.server.limits));
        Ok(())
    }

    /// Whether this is a proxy that is believed.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.current.load().bosh.proxies.trust(address)
    }

    /// Answers a request that has come to a listener. Boxed, so that a poll that is held takes no more room
    /// than it needs itself.
    pub(super) fn handle(
        &self,
        peer: listener::Peer,
        request: Request<Incoming>,
        offer: Offer,
    ) -> Answering {
        let (mut request, remainder) = early_answer::watch(request);
        let current = self.current.load_full();
        let wanted = current.wanted(request.uri().path(), offer);
        let log = current.logs_access.then_some(&current.bosh.proxies);
        let metrics = &self.registry.metrics;
        let exchange = Exchange::new(metrics, wanted, peer, &request, log);
        // Nothing is answered but by this.
        let conclude = |mut response: Response<_>| {
            sandbox::apply(response.headers_mut());
            exchange.answered(response.status());
            response
        };
        let answer: Answering = match wanted {
            _ if !names_its_host(&request) => {
                let mut response = answer::text(StatusCode::BAD_REQUEST, HOST_NEEDED);
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                Box::pin(ready(conclude(response.map(Either::Right))))
            }
            Interface::Bosh => {
                let answer = self.front.handle(peer, request, &current.bosh);
                Box::pin(answer.map(|response| conclude(response.map(Either::Left))))
            }
            Interface::Admin => {
                introduce(peer, &mut request);
                let answer = current.admin.clone().oneshot(request);
                Box::pin(answer.map(|Ok(response)| conclude(response.map(Either::Right))))
            }
            Interface::Discovery | Interface::Monitoring | Interface::Unknown => {
                introduce(peer, &mut request);
                let response = self.look_up(&current, wanted, &request, offer);
                Box::pin(ready(conclude(response.map(Either::Right))))
            }
        };
        match remainder {
            Some(remainder) => Box::pin(async move {
                let response = answer.await;
                remainder.discard().await;
                response
            }),
            None => answer,
        }
    }

    /// Answers what needs no waiting.
    fn look_up<B>(
        &self,
        current: &Current,
        wanted: Interface,
        request: &Request<B>,
        offer: Offer,
    ) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        let response = match wanted {
            Interface::Discovery => {
                let discovery = current.discovery.as_ref();
                discovery.and_then(|discovery| discovery.answer(method, path))
            }
            Interface::Monitoring => match current.may_watch(request, offer) {
                Ok(()) => self.monitoring.answer(method, path),
                Err(why) => return answer::text(StatusCode::FORBIDDEN, why),
            },
            _ => None,
        };
        response.unwrap_or_else(|| answer::text(StatusCode::NOT_FOUND, "not found\n"))
    }

    /// Ends all sessions, giving them time to tell clients and servers.
    pub(super) async fn drain(&self, server: &config::Server) {
        let shut_down = self.registry.shut_down(server.drain_spread);
        if timeout(server.drain_timeout, shut_down).await.is_err() {
            warn!(sessions = self.registry.len(), "sessions left behind");
        }
    }
}

/// Whether a request has one `Host`, as every one of HTTP/1.1 has to (RFC 9112 §3.2). HTTP/1.0 knows none, and HTTP/2
/// has `:authority`.
fn names_its_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    match request.version() {
        Version::HTTP_11 => hosts == 1,
        _ => hosts <= 1,
    }
}

/// Whether two paths are the same but for slashes that are repeated, or at the end. For BOSH alone: a proxy may let
/// a path pass for what it looks like, and must not thereby open another.
fn is_same(path: &str, other: &str) -> bool {
    let segments = |path| str::split(path, '/').filter(|segment| !segment.is_empty());
    segments(path).eq(segments(other))
}

/// Says who is at the other end. Who comes by way of a proxy is not on this machine, whatever the proxy says.
fn introduce<B>(peer: listener::Peer, request: &mut Request<B>) {
    if !peer.proxied {
        request.extensions_mut().insert(Peer(peer.address));
    }
}

impl Current {
    /// What a request is for, at a listener that offers this.
    fn wanted(&self, path: &str, offer: Offer) -> Interface {
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

    /// Whether a request may see metrics and health; else, what is wrong with it.
    ///
    /// At an address of their own, whoever comes may; but a browser must not be made to come for a page whose name
    /// was made to lead there.
    fn may_watch<B>(&self, request: &Request<B>, offer: Offer) -> Result<(), String> {
        if matches!(offer, Offer::MonitoringOnly) {
            let named = self.admin.check_name(request);
            return named.map_err(|_| UNKNOWN_NAME.to_owned());
        }
        let local = self.admin.check_local(request, Intent::Read);
        local.map_err(|why| {
            format!("only for programs on this machine, see monitoring.listen: {why}\n")
        })
    }

    /// Builds what `config` says, with the `rosters` that are in use.
    fn build(
        config: &Config,
        previous: Option<&Self>,
        rosters: &mut RostersInUse,
        registry: &Arc<Registry>,
    ) -> Result<Self, RunError> {
        let creations = Creations::new(config.session);
        // All that can be refused comes first: rosters are shared with what is in use.
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

/// The rosters of each domain, for as long as the configuration names it or a session of it lives: if a domain, or
/// its backend, is configured again, old sessions and refreshes meet again.
#[derive(Default)]
struct RostersInUse(HashMap<DomainPart, Weak<Rosters<Replaceable>>>);

impl RostersInUse {
    /// The rosters of `host`, fetched where that says from now on; `None` where it names no backend.
    fn of(
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

    fn forget_unused(&mut self) {
        self.0.retain(|_, rosters| rosters.strong_count() > 0);
    }
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
