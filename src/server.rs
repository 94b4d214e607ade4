//! Composition: builds everything from a [`Config`], serves until told to stop, reloads, drains.

use std::{
    collections::HashMap, convert::Infallible, net::SocketAddr, num::NonZeroU32, path::Path,
    sync::Arc, time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, service::service_fn};
use tokio::signal::unix::{SignalKind, signal};
use tower::ServiceExt as _;
use tracing::{error, info, warn};

use crate::{
    admin::{Admin, Hosts, Peer},
    config::{self, Config},
    front::{address::Proxies, body::Chunks, bosh, bosh::Front, cors::Cors, creations::Creations},
    net::{
        clients::ClientAuthority,
        drain,
        listener::{self, BindError, Listener},
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

/// Undelivered bytes of a session beyond which its server is not read from.
const MAX_PENDING: usize = 1 << 20;
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
    }
}

/// Everything that a reload replaces.
struct Current {
    bosh_path: String,
    admin_path: String,
    bosh: Arc<bosh::Settings>,
    admin: Admin<Replaceable>,
}

/// The running gateway, shared by all connections.
struct Gateway {
    current: ArcSwap<Current>,
    registry: Arc<Registry>,
    front: Arc<Front>,
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

    fn web(&self) -> Arc<CertificateStore> {
        Arc::clone(&self.web)
    }

    fn admin(&self) -> Arc<CertificateStore> {
        Arc::clone(&self.admin)
    }
}

/// Which of the two interfaces a listener offers.
#[derive(Clone, Copy)]
enum Interface {
    Both,
    BoshOnly,
    AdminOnly,
}

/// Runs the gateway until SIGTERM or SIGINT. SIGHUP reads `file` again.
pub async fn run(config: Config, file: &Path) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let tls = Tls::new(&config)?;
    let registry = Arc::new(Registry::default());
    let gateway = Arc::new(Gateway {
        current: ArcSwap::from_pointee(Current::build(&config, None)?),
        front: Arc::new(Front::new(Arc::clone(&registry))),
        registry,
    });

    let (stop, drain) = drain::channel();
    let mut bound = Bound::default();
    let serve = |listener: Listener, interface| {
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
    for address in &config.server.listen {
        let listener = web(Listener::bind(*address, None)?);
        bound.http.push(listener.local_addr());
        serve(listener, main);
    }
    for address in &config.server.listen_tls {
        let listener = web(Listener::bind(*address, tls.as_ref().map(Tls::web))?);
        bound.https.push(listener.local_addr());
        serve(listener, main);
    }
    if let Some(address) = config.admin.listen {
        let listener = Listener::bind(address, None)?;
        bound.admin = Some(listener.local_addr());
        serve(listener, Interface::AdminOnly);
    }
    if let Some(address) = config.admin.listen_tls {
        let listener = Listener::bind(address, tls.as_ref().map(Tls::admin))?;
        bound.admin_tls = Some(listener.local_addr());
        serve(listener, Interface::AdminOnly);
    }
    bound.announce();
    info!(?bound, "ready");

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => gateway.reload(file, tls.as_ref()),
        }
    }
    tokio::select! {
        () = gateway.drain(config.server.drain_timeout) => {}
        _ = terminate.recv() => warn!("second signal, stopping at once"),
        _ = interrupt.recv() => warn!("second signal, stopping at once"),
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
        let path = request.uri().path();
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let bosh = trimmed == current.bosh_path && !matches!(interface, Interface::AdminOnly);
        let admin = path
            .strip_prefix(&*current.admin_path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && !matches!(interface, Interface::BoshOnly);
        if bosh {
            self.front
                .handle(peer, request, &current.bosh)
                .await
                .map(Either::Left)
        } else if admin {
            // Who comes by way of a proxy is not on this machine, whatever the proxy says.
            if !peer.proxied {
                request.extensions_mut().insert(Peer(peer.address));
            }
            let Ok(response) = current.admin.clone().oneshot(request).await;
            response.map(Either::Right)
        } else {
            let mut response = Response::new(Either::Right(Full::from("not found\n")));
            *response.status_mut() = StatusCode::NOT_FOUND;
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            response
        }
    }

    /// Takes over what the configuration file says now; whatever is wrong with it leaves all as it was.
    fn reload(&self, file: &Path, tls: Option<&Tls>) {
        let config = match Config::load(file) {
            Ok(config) => config,
            Err(errors) => {
                for error in errors.iter() {
                    error!(%error, "configuration not reloaded");
                }
                return;
            }
        };
        match Current::build(&config, Some(&self.current.load())) {
            Ok(current) => self.current.store(Arc::new(current)),
            Err(error) => return error!(%error, "configuration not reloaded"),
        }
        if let Some(tls) = tls
            && let Err(error) = tls.replace(&config)
        {
            error!(%error, "certificates not reloaded, the old ones stay");
        }
        info!("configuration reloaded");
    }

    /// Ends all sessions, giving them `patience` to tell clients and servers.
    async fn drain(&self, patience: Duration) {
        let shut_down = self.registry.shut_down();
        if tokio::time::timeout(patience, shut_down).await.is_err() {
            warn!(sessions = self.registry.len(), "sessions left behind");
        }
    }
}

impl Current {
    /// Builds what `config` says; rosters in memory are taken over from `previous`, so that sessions
    /// and refreshes go on meeting each other.
    fn build(config: &Config, previous: Option<&Self>) -> Result<Self, RunError> {
        let mut hosts = HashMap::new();
        let mut rosters_by_domain = HashMap::new();
        for host in &config.hosts {
            let domain = host.domain.to_string();
            let previous = previous.and_then(|previous| previous.bosh.hosts.get(&domain));
            let built = build_host(
                config,
                host,
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
                    max_pending: MAX_PENDING,
                    report_grace: config.bosh.report_grace,
                },
                polling: config.bosh.polling,
                max_body: config.bosh.max_body,
                xml: xml::Limits::default(),
                proxies: Proxies {
                    trusted: config.server.trusted_proxies.clone(),
                    header: config.server.forwarded_header,
                },
                creations: Creations::new(
                    config.bosh.max_sessions,
                    config.bosh.creations_per_address,
                ),
                strict: config.bosh.cors_strict,
                cors: Cors::new(&config.bosh.cors_origins),
                cors_headers: Cors::allowed_headers(&config.bosh.cors_headers),
                hosts,
            }),
            admin: Admin::new(&config.admin, Hosts::new(rosters_by_domain)),
        })
    }
}

fn build_host(
    config: &Config,
    host: &config::Host,
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
            None => Rosters::new(Replaceable::new(source), options),
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
        max_unconfirmed: config.bosh.max_unconfirmed,
        max_request_rate: NonZeroU32::new(config.bosh.max_request_rate).unwrap_or(NonZeroU32::MIN),
    })
}
