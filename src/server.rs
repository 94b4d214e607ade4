//! Composition: builds everything from a [`Config`], serves until told to stop, reloads, drains.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    net::{SocketAddr, TcpListener},
    num::NonZeroU32,
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, service::service_fn};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Interval, interval, timeout},
};
use tower::ServiceExt as _;
use tracing::{error, info, warn};

use crate::{
    admin::{self, Admin, Hosts, Peer},
    config::{self, Config},
    front::{
        address::Proxies, body::Chunks, bosh, bosh::Front, cors::Cors, creations::Creations,
        discovery::Discovery, exchange::Exchange, monitoring::Monitoring,
    },
    metrics,
    net::{
        clients::ClientAuthority,
        connections::{Bounds, Connections},
        drain,
        listener::{self, BindError, Limits, Listener},
        systemd::{self, Sockets},
        tls::{CertificateStore, TlsError},
        unread::{self, Watched},
    },
    pipe::Rules,
    proto::{bosh::terms::Policy, xml},
    roster::{
        refresh::{Options, Rosters},
        source::{HttpSource, Replaceable},
    },
    session::{Host, Registry},
    upstream::{Connector, TlsSetupError},
};

/// How long a connection may take to finish what it is saying once the sessions are gone.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Certificates of `listen_tls`.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// TLS towards a server cannot be set up.
    #[error("host {domain}: {source}")]
    Upstream {
        /// The host concerned.
        domain: String,
        /// What is wrong.
        source: Box<TlsSetupError>,
    },
    /// A socket was passed of a kind that is not configured.
    #[error("a socket was passed for {key}, which is empty")]
    Passed {
        /// The key.
        key: &'static str,
    },
    /// The system refuses signals or sockets.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// The addresses that are listened on.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// The admin API, if it has a listener of its own.
    pub admin: Option<SocketAddr>,
    /// The same over HTTPS.
    pub admin_tls: Option<SocketAddr>,
    /// Metrics and health, if they have a listener of their own.
    pub monitoring: Option<SocketAddr>,
}

impl Bound {
    fn announce(&self) {
        for address in &self.http {
            println!("listening on http://{address}");
        }
        for address in &self.https {
            println!("listening on https://{address}");
        }
        if let Some(address) = &self.admin {
            println!("admin listening on http://{address}");
        }
        if let Some(address) = &self.admin_tls {
            println!("admin listening on https://{address}");
        }
        if let Some(address) = &self.monitoring {
            println!("monitoring listening on http://{address}");
        }
    }
}

/// Everything that a reload replaces.
struct Current {
    bosh_path: String,
    admin_path: String,
    bosh: Arc<bosh::Settings>,
    discovery: Option<Discovery>,
    admin: Admin<Replaceable>,
    /// Metrics and health are served where the API is, to this machine.
    monitoring_with_admin: bool,
    logs_access: bool,
}

/// The running gateway, shared by all connections.
struct Gateway {
    current: ArcSwap<Current>,
    registry: Arc<Registry>,
    front: Arc<Front>,
    connections: Arc<Connections>,
    limits: Arc<ArcSwap<Limits>>,
    monitoring: Monitoring,
}

/// The certificates of the HTTPS listeners. Only where the admin API is served are clients asked for
/// one.
struct Tls {
    web: Arc<CertificateStore>,
    admin: Arc<CertificateStore>,
}

impl Tls {
    /// `None` where no address needs it.
    fn new(config: &Config) -> Result<Option<Self>, TlsError> {
        if config.server.listen_tls.is_empty() && config.admin.listen_tls.is_none() {
            return Ok(None);
        }
        let certificates = &config.server.certificates;
        let [web, admin] = Self::clients(config);
        Ok(Some(Self {
            web: Arc::new(CertificateStore::new(certificates, web)?),
            admin: Arc::new(CertificateStore::new(certificates, admin)?),
        }))
    }

    /// Shows what `config` says now, or if that cannot be, goes on as before.
    fn replace(&self, config: &Config) -> Result<(), TlsError> {
        let certificates = &config.server.certificates;
        let [web, admin] = Self::clients(config);
        self.web.replace(certificates, web)?;
        self.admin.replace(certificates, admin)
    }

    /// Whose certificates are asked for at the addresses of `[server]` and of `[admin]`.
    fn clients(config: &Config) -> [Option<&ClientAuthority>; 2] {
        let clients = config.admin.client_ca.as_ref();
        [clients.filter(|_| !config.admin.is_apart()), clients]
    }
}

/// Which of the interfaces a listener offers.
#[derive(Clone, Copy)]
enum Interface {
    Both,
    BoshOnly,
    AdminOnly,
    MonitoringOnly,
}

fn bounds(server: &config::Server) -> Bounds {
    Bounds {
        in_all: server.max_connections,
        per_address: server.connections_per_address,
        proxies: server.trusted_proxies.clone(),
    }
}

/// Listens at `addresses`, unless sockets have been `passed` for them.
fn listeners(
    key: &'static str,
    addresses: &[SocketAddr],
    passed: Vec<TcpListener>,
    tls: Option<&Arc<CertificateStore>>,
) -> Result<Vec<Listener>, RunError> {
    if addresses.is_empty() && !passed.is_empty() {
        return Err(RunError::Passed { key });
    }
    if passed.is_empty() {
        let bind = |address: &SocketAddr| Ok(Listener::bind(*address, tls.cloned())?);
        return addresses.iter().map(bind).collect();
    }
    let adopt = |socket| Ok(Listener::adopt(socket, tls.cloned())?);
    passed.into_iter().map(adopt).collect()
}

/// Runs the gateway until SIGTERM or SIGINT, at `sockets` where there are some. SIGHUP reads `file`
/// again.
pub async fn run(config: Config, file: &Path, sockets: Sockets) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let tls = Tls::new(&config)?;
    let registry = Arc::new(Registry::default());
    registry.backlog.bound(config.bosh.max_pending_total);
    let connections = Connections::new(bounds(&config.server), Arc::clone(&registry.metrics));
    let connections = Arc::new(connections);
    let gateway = Arc::new(Gateway {
        current: ArcSwap::from_pointee(Current::build(&config, None, &registry)?),
        front: Arc::new(Front::new(Arc::clone(&registry))),
        monitoring: Monitoring::new(Arc::clone(&registry), Arc::clone(&connections)),
        registry,
        connections,
        limits: Arc::new(ArcSwap::from_pointee(config.server.limits)),
    });

    let (stop, drain) = drain::channel();
    let mut bound = Bound::default();
    let serve = |listener: Listener, interface| {
        let connections = &gateway.connections;
        let listener = listener.counted(connections).with_limits(&gateway.limits);
        let gateway = Arc::clone(&gateway);
        let make = move |peer: listener::Peer| {
            let gateway = Arc::clone(&gateway);
            service_fn(move |request: Request<Incoming>| {
                let gateway = Arc::clone(&gateway);
                async move {
                    let (request, unread) = unread::watch(request);
                    let response = gateway.handle(peer, request, interface).await;
                    if let Some(unread) = unread {
                        unread.forget().await;
                    }
                    Ok::<_, Infallible>(response)
                }
            })
        };
        tokio::spawn(listener.serve(make, stop.watch()));
    };
    drop(drain);
    // Whom to trust can change with a reload; that they speak the PROXY protocol cannot.
    let web = |listener: Listener| {
        if !config.server.proxy_protocol {
            return listener;
        }
        let gateway = Arc::clone(&gateway);
        listener.with_proxies(move |address| gateway.current.load().bosh.proxies.trust(address))
    };
    let main = if config.admin.is_apart() {
        Interface::BoshOnly
    } else {
        Interface::Both
    };
    let shown = tls.as_ref().map(|tls| &tls.web);
    let shown_to_admins = tls.as_ref().map(|tls| &tls.admin);
    let (server, admin) = (&config.server, &config.admin);
    for listener in listeners("server.listen", &server.listen, sockets.http, None)? {
        bound.http.push(listener.local_addr());
        serve(web(listener), main);
    }
    for listener in listeners(
        "server.listen_tls",
        &server.listen_tls,
        sockets.https,
        shown,
    )? {
        bound.https.push(listener.local_addr());
        serve(web(listener), main);
    }
    for listener in listeners("admin.listen", admin.listen.as_slice(), sockets.admin, None)? {
        bound.admin = Some(listener.local_addr());
        serve(listener, Interface::AdminOnly);
    }
    let passed = sockets.admin_https;
    for listener in listeners(
        "admin.listen_tls",
        admin.listen_tls.as_slice(),
        passed,
        shown_to_admins,
    )? {
        bound.admin_tls = Some(listener.local_addr());
        serve(listener, Interface::AdminOnly);
    }
    let monitoring = config.monitoring.as_slice();
    for listener in listeners("monitoring.listen", monitoring, Vec::new(), None)? {
        bound.monitoring = Some(listener.local_addr());
        serve(listener, Interface::MonitoringOnly);
    }
    bound.announce();
    info!(?bound, "ready");

    systemd::ready("serving");

    let mut heartbeat = Heartbeat::new();
    let mut running = Running { config, file, tls };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                systemd::reloading();
                let reloaded = running.reload(&gateway);
                gateway.registry.metrics.reloaded(reloaded.outcome());
                systemd::ready(reloaded.status());
            }
            () = heartbeat.beat() => {}
        }
    }
    systemd::stopping("ending sessions");
    let mut drain = pin!(gateway.drain(&running.config.server));
    loop {
        tokio::select! {
            () = &mut drain => break,
            _ = terminate.recv() => break warn!("second signal, stopping at once"),
            _ = interrupt.recv() => break warn!("second signal, stopping at once"),
            () = heartbeat.beat() => {}
        }
    }
    if stop.drain_within(LAST_ANSWERS).await != drain::Drained::Whole {
        info!("open connections cut");
    }
    info!("stopped");
    Ok(())
}

impl Gateway {
    async fn handle(
        &self,
        peer: listener::Peer,
        mut request: Request<Watched<Incoming>>,
        interface: Interface,
    ) -> Response<Either<Chunks, Full<Bytes>>> {
        let current = self.current.load_full();
        let wanted = current.wanted(request.uri().path(), interface);
        let log = current.logs_access.then_some(&current.bosh.proxies);
        let metrics = &self.registry.metrics;
        let exchange = Exchange::new(metrics, wanted, peer, &request, log);
        let response = match wanted {
            metrics::Interface::Bosh => {
                let response = self.front.handle(peer, request, &current.bosh).await;
                response.map(Either::Left)
            }
            metrics::Interface::Admin => {
                introduce(peer, &mut request);
                let Ok(response) = current.admin.clone().oneshot(request).await;
                response.map(Either::Right)
            }
            metrics::Interface::Discovery
            | metrics::Interface::Monitoring
            | metrics::Interface::Unknown => {
                introduce(peer, &mut request);
                let response = self.look_up(&current, wanted, &request, interface);
                response.map(Either::Right)
            }
        };
        exchange.answered(response.status());
        response
    }

    /// Answers what needs no waiting.
    fn look_up<B>(
        &self,
        current: &Current,
        wanted: metrics::Interface,
        request: &Request<B>,
        interface: Interface,
    ) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        let is_open = matches!(interface, Interface::MonitoringOnly);
        let peer = request.extensions().get().copied();
        let response = match wanted {
            metrics::Interface::Discovery => {
                let discovery = current.discovery.as_ref();
                discovery.and_then(|discovery| discovery.answer(method, path))
            }
            metrics::Interface::Monitoring
                if is_open || admin::is_local(peer, request.headers()) =>
            {
                self.monitoring.answer(method, path)
            }
            metrics::Interface::Monitoring => {
                let text = "only for programs on this machine: see monitoring.listen\n";
                return plain(StatusCode::FORBIDDEN, text);
            }
            _ => None,
        };
        response.unwrap_or_else(|| plain(StatusCode::NOT_FOUND, "not found\n"))
    }

    /// Ends all sessions, giving them time to tell clients and servers.
    async fn drain(&self, server: &config::Server) {
        let shut_down = self.registry.shut_down(server.drain_spread);
        if timeout(server.drain_timeout, shut_down).await.is_err() {
            warn!(sessions = self.registry.len(), "sessions left behind");
        }
    }
}

/// Says who is at the other end. Who comes by way of a proxy is not on this machine, whatever the proxy says.
fn introduce<B>(peer: listener::Peer, request: &mut Request<B>) {
    if !peer.proxied {
        request.extensions_mut().insert(Peer(peer.address));
    }
}

/// An answer in words.
fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// What was configured last, and how to come by what is now.
struct Running<'a> {
    /// As it is in use: what needs a restart is as it was at the start.
    config: Config,
    file: &'a Path,
    tls: Option<Tls>,
}

impl Running<'_> {
    /// Takes over what the configuration file says now; whatever is wrong with it leaves all as it was.
    /// Says how that went.
    fn reload(&mut self, gateway: &Gateway) -> Reloaded {
        let mut config = match Config::load(self.file) {
            Ok(config) => config,
            Err(errors) => {
                for error in errors.iter() {
                    error!(%error, "configuration not reloaded");
                }
                return Reloaded::Refused;
            }
        };
        let kept = config.keep_until_restart(&self.config);
        match Current::build(&config, Some(&gateway.current.load()), &gateway.registry) {
            Ok(current) => gateway.current.store(Arc::new(current)),
            Err(error) => {
                error!(%error, "configuration not reloaded");
                return Reloaded::Refused;
            }
        }
        gateway.connections.bound(bounds(&config.server));
        let backlog = &gateway.registry.backlog;
        backlog.bound(config.bosh.max_pending_total);
        gateway.limits.store(Arc::new(config.server.limits));
        let mut reloaded = Reloaded::Whole;
        if let Some(tls) = &self.tls
            && let Err(error) = tls.replace(&config)
        {
            error!(%error, "certificates not reloaded, the old ones stay");
            reloaded = Reloaded::WithoutCertificates;
        }
        for key in kept {
            warn!(key, "changed, but not before a restart");
            reloaded = Reloaded::InPart;
        }
        self.config = config;
        info!("configuration reloaded");
        reloaded
    }
}

/// How a reload went.
enum Reloaded {
    Whole,
    /// The rest needs a restart.
    InPart,
    WithoutCertificates,
    Refused,
}

impl Reloaded {
    /// For systemd.
    fn status(&self) -> &'static str {
        match self {
            Self::Whole => "serving, configuration reloaded",
            Self::InPart => "serving, restart needed for the new configuration",
            Self::WithoutCertificates => "serving, new certificates refused",
            Self::Refused => "serving, new configuration refused",
        }
    }

    /// For those who count.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Whole => "ok",
            Self::InPart => "restart_needed",
            Self::WithoutCertificates => "certificates_refused",
            Self::Refused => "refused",
        }
    }
}

/// Tells systemd, where it asks, that the main loop runs.
struct Heartbeat(Option<Interval>);

impl Heartbeat {
    fn new() -> Self {
        Self(systemd::heartbeat().map(interval))
    }

    /// Waits for the next beat. Cancel-safe.
    async fn beat(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
                systemd::alive();
            }
            None => pending().await,
        }
    }
}

impl Current {
    /// What a request is for, at a listener that offers `interface`.
    fn wanted(&self, path: &str, interface: Interface) -> metrics::Interface {
        use Interface::{AdminOnly, BoshOnly, Both, MonitoringOnly};

        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let below_admin = || {
            path.strip_prefix(&*self.admin_path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match interface {
            Both | BoshOnly if trimmed == self.bosh_path => metrics::Interface::Bosh,
            Both | AdminOnly if below_admin() => metrics::Interface::Admin,
            Both | AdminOnly if self.monitoring_with_admin && Monitoring::serves(path) => {
                metrics::Interface::Monitoring
            }
            Both | BoshOnly if self.discovery.is_some() && Discovery::serves(path) => {
                metrics::Interface::Discovery
            }
            MonitoringOnly if Monitoring::serves(path) => metrics::Interface::Monitoring,
            _ => metrics::Interface::Unknown,
        }
    }

    /// Builds what `config` says; rosters in memory are taken over from `previous`, so that sessions
    /// and refreshes go on meeting each other.
    fn build(
        config: &Config,
        previous: Option<&Self>,
        registry: &Arc<Registry>,
    ) -> Result<Self, RunError> {
        let creations = Creations::new(
            config.bosh.max_sessions,
            config.bosh.sessions_per_address,
            config.bosh.creations_per_address,
        );
        let creations = match previous {
            Some(previous) => creations.following(&previous.bosh.creations),
            None => creations,
        };
        let mut hosts = HashMap::new();
        let mut rosters_by_domain = HashMap::new();
        for host in &config.hosts {
            let domain = host.domain.to_string();
            let previous = previous.and_then(|previous| previous.bosh.hosts.get(&domain));
            let built = build_host(
                config,
                host,
                registry.metrics.domain(&domain),
                previous.and_then(|host| host.rosters.as_ref()),
            )
            .map_err(|source| RunError::Upstream {
                domain: domain.clone(),
                source: Box::new(source),
            })?;
            rosters_by_domain.insert(host.domain.clone(), built.rosters.clone());
            hosts.insert(domain, Arc::new(built));
        }
        Ok(Self {
            bosh_path: config.bosh.path.clone(),
            admin_path: config.admin.path.clone(),
            bosh: Arc::new(bosh::Settings {
                policy: Policy {
                    wait: config.bosh.wait,
                    inactivity: config.bosh.inactivity,
                    max_pause: config.bosh.max_pause,
                    max_pending: config.bosh.max_pending,
                    report_grace: config.bosh.report_grace,
                },
                polling: config.bosh.polling,
                max_body: config.bosh.max_body,
                body_timeout: config.bosh.body_timeout,
                xml: xml::Limits::default(),
                proxies: Proxies {
                    trusted: config.server.trusted_proxies.clone(),
                    header: config.server.forwarded_header,
                },
                creations,
                strict: config.bosh.cors_strict,
                cors: Cors::new(&config.bosh.cors_origins),
                cors_headers: Cors::allowed_headers(&config.bosh.cors_headers),
                hosts,
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

fn build_host(
    config: &Config,
    host: &config::Host,
    metrics: metrics::Domain,
    previous: Option<&Arc<Rosters<Replaceable>>>,
) -> Result<Host, TlsSetupError> {
    let options = Options {
        concurrency: host.backend.concurrency,
        ..Options::default()
    };
    let rosters = host.http_roster_url.as_ref().map(|url| {
        let source = HttpSource::new(url.clone(), host.backend.clone(), host.domain.clone());
        match previous {
            Some(rosters) => {
                rosters.source().replace(source);
                Arc::clone(rosters)
            }
            None => Rosters::counted(Replaceable::new(source), options, metrics.clone()),
        }
    });
    Ok(Host {
        domain: host.domain.to_string(),
        connector: Connector::new(host)?,
        rules: Rules {
            rosters: rosters.is_some(),
            directed: host.presence == config::Presence::Directed,
        },
        rosters,
        metrics,
        max_unconfirmed: config.bosh.max_unconfirmed,
        sessions_per_user: config.bosh.sessions_per_user,
        max_request_rate: NonZeroU32::new(config.bosh.max_request_rate).unwrap_or(NonZeroU32::MIN),
    })
}
