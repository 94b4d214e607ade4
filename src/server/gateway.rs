//! Gateway: finds what each request is for, and has it answered.

use std::{
    future::{Future, ready},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{
    join,
    time::{Instant, timeout_at},
};
use tower::ServiceExt as _;
use tracing::warn;

use super::{
    RunError,
    availability::{self, AvailabilityInUse},
    current::Current,
    offer::Offer,
    rosters::RostersInUse,
};
use crate::{
    admin::{self, Admin, Client, Peer},
    backend::http::Replaceable,
    cluster::Cluster,
    config::{self, Config},
    front::{
        body::Chunks,
        bosh,
        exchange::Exchange,
        monitoring::{Monitoring, Servers},
        websocket,
    },
    login::Tokens,
    metrics::Interface,
    net::{
        answer,
        connections::Connections,
        early_answer,
        listener::{self, Limits},
        sandbox,
    },
    session::Registry,
};

/// How long calls of the admin API have to say what is left undone, after the drain.
const TOLD: Duration = Duration::from_secs(1);

/// The answer to a request with no `Host`, or with several.
const HOST_NEEDED: &str = "a request has one Host\n";

/// The running gateway, shared by all connections.
pub(super) struct Gateway {
    current: ArcSwap<Current>,
    pub(super) registry: Arc<Registry>,
    /// The other gateways, if this is one of several.
    pub(super) cluster: Option<Arc<Cluster>>,
    bosh: Arc<bosh::Front>,
    websocket: websocket::Front,
    pub(super) connections: Arc<Connections>,
    pub(super) limits: Arc<ArcSwap<Limits>>,
    monitoring: Monitoring,
    rosters: Mutex<RostersInUse>,
    /// Those of a user's login outlive a reload.
    tokens: Arc<Tokens>,
    availability: Mutex<AvailabilityInUse>,
}

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Response<Either<Chunks, Full<Bytes>>>> + Send>>;

impl Gateway {
    /// A gateway without sessions.
    pub(super) fn new(
        config: &Config,
        registry: Arc<Registry>,
        cluster: Option<Arc<Cluster>>,
    ) -> Result<Self, RunError> {
        registry.backlog.bound(config.session.max_pending_total);
        let (bounds, proxies) = (config.server.connections, &config.server.proxies.trusted);
        let metrics = Arc::clone(&registry.metrics);
        let connections = Arc::new(Connections::new(bounds, proxies.clone(), metrics));
        let mut rosters = RostersInUse::default();
        let elsewhere = cluster.as_ref().map(admin::elsewhere);
        let mut availability = AvailabilityInUse::new(elsewhere);
        let node = cluster.as_ref().map(|it| it.node().clone());
        let tokens = Arc::new(Tokens::new(node).map_err(RunError::NoRandomness)?);
        let current = Current::build(
            config,
            None,
            &mut rosters,
            &mut availability,
            (&registry, cluster.as_ref()),
            &tokens,
        )?;
        Ok(Self {
            current: ArcSwap::from_pointee(current),
            bosh: Arc::new(bosh::Front::new(Arc::clone(&registry), cluster.clone())),
            websocket: websocket::Front::new(Arc::clone(&registry)),
            monitoring: Monitoring::new(Arc::clone(&registry), Arc::clone(&connections)),
            registry,
            cluster,
            connections,
            limits: Arc::new(ArcSwap::from_pointee(config.server.limits)),
            rosters: Mutex::new(rosters),
            tokens,
            availability: Mutex::new(availability),
        })
    }

    /// Applies another configuration. On an error, all stays as it is.
    pub(super) fn apply(&self, config: &Config) -> Result<(), RunError> {
        let previous = self.current.load();
        let (mut rosters, mut availability) = (self.rosters.lock(), self.availability.lock());
        let shared = (&self.registry, self.cluster.as_ref());
        let current = Current::build(
            config,
            Some(&previous),
            &mut rosters,
            &mut availability,
            shared,
            &self.tokens,
        )?;
        drop((rosters, availability));
        self.current.store(Arc::new(current));
        let proxies = config.server.proxies.trusted.clone();
        self.connections.bound(config.server.connections, proxies);
        self.registry
            .backlog
            .bound(config.session.max_pending_total);
        self.limits.store(Arc::new(config.server.limits));
        Ok(())
    }

    /// The admin API as it is configured.
    pub(super) fn admin(&self) -> Admin<Replaceable> {
        self.current.load().admin.clone()
    }

    /// Answers a BOSH request that another gateway has passed on.
    pub(super) fn answer_bosh(
        &self,
        request: Bytes,
    ) -> impl Future<Output = Result<Bytes, String>> + Send + use<> {
        self.bosh.answer(request, &self.current.load().fronts)
    }

    /// Fetches the lists of all users with sessions here again, and says of how many.
    pub(super) async fn revalidate(&self) -> usize {
        let rosters = self.rosters.lock().of_the_gateway();
        let mut users = 0;
        for rosters in rosters {
            users += rosters.revalidate().await;
        }
        users
    }

    /// Whether this is the address of a trusted proxy.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.current.load().fronts.proxies.trust(address)
    }

    /// Answers a request that has come to a listener. Boxed, so that a held request takes only the memory that it needs
    /// itself.
    pub(super) fn handle(
        &self,
        peer: listener::Peer,
        request: Request<Incoming>,
        offer: Offer,
    ) -> Answering {
        let (mut request, remainder) = early_answer::watch(request);
        let current = self.current.load_full();
        let wanted = current.wanted(request.uri().path(), offer);
        let log = current.logs_access.then_some(&current.fronts.proxies);
        let metrics = &self.registry.metrics;
        let exchange = Exchange::new(metrics, wanted, peer, &request, log);
        let websocket = match wanted {
            Interface::WebSocket => exchange.websocket(),
            _ => None,
        };
        // Every answer goes through this.
        let conclude = |mut response: Response<_>| {
            sandbox::apply(response.headers_mut());
            exchange.answered(&mut response);
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
                let answer = self.bosh.handle(peer, request, &current.fronts);
                Box::pin(answer.map(|response| conclude(response.map(Either::Left))))
            }
            Interface::WebSocket => {
                let front = &self.websocket;
                let response = front.handle(peer, request, &current.fronts, websocket);
                Box::pin(ready(conclude(response.map(Either::Right))))
            }
            Interface::Admin => {
                introduce(peer, &mut request);
                let proxies = &current.fronts.proxies;
                let origin = proxies.origin(peer, request.version(), request.headers());
                request.extensions_mut().insert(Client(origin.client()));
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

    /// Answers requests that need no waiting.
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
                Ok(()) => {
                    let servers = Servers {
                        admission: &current.fronts.admission,
                        are_needed: current.monitoring.ready_needs_server,
                    };
                    self.monitoring.answer(request, servers)
                }
                Err(why) => return answer::text(StatusCode::FORBIDDEN, why),
            },
            _ => None,
        };
        response.unwrap_or_else(|| answer::text(StatusCode::NOT_FOUND, "not found\n"))
    }

    /// The sites may have missed what other gateways have told, or would have.
    pub(super) fn miss_events(&self) {
        let availability = self.availability.lock().all();
        availability.iter().for_each(|it| it.miss());
    }

    /// Ends all sessions, with time to tell clients, servers and sites, and lets refreshes end.
    pub(super) async fn drain(&self, server: &config::Server) {
        let by = Instant::now() + server.drain_timeout;
        let availability = self.availability.lock().all();
        availability.iter().for_each(|it| it.stop());
        let shut_down = self.registry.shut_down(server.drain_spread);
        let stop = self.rosters.lock().stop();
        let refreshes = timeout_at(by + TOLD, stop.drain_within(server.drain_timeout));
        let (sessions, _) = join!(timeout_at(by, shut_down), refreshes);
        if sessions.is_err() {
            warn!(sessions = self.registry.len(), "sessions left behind");
        }
        // Whoever still comes is told, too.
        stop.stop();
        self.rosters.lock().report_unwritten();
        availability::finish(availability, by).await;
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
    }
}

/// Whether a request has one `Host`, as HTTP/1.1 demands (RFC 9112 §3.2). HTTP/1.0 can do without, and HTTP/2 has
/// `:authority`.
fn names_its_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    match request.version() {
        Version::HTTP_11 => hosts == 1,
        _ => hosts <= 1,
    }
}

/// Puts the peer's address into the request's extensions. A client that a proxy names gets none: it does not count as
/// on this machine, whatever address the proxy says.
fn introduce<B>(peer: listener::Peer, request: &mut Request<B>) {
    if !peer.proxied {
        request.extensions_mut().insert(Peer(peer.address));
    }
}
