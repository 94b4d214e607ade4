//! Composition: listens, serves until told to stop, reloads, drains.

mod current;
mod gateway;
mod reload;
mod rosters;
mod tls;

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    pin::pin,
    sync::Arc,
    thread,
    time::Duration,
};

use futures_util::FutureExt as _;
use hyper::{Request, body::Incoming, service::service_fn};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Interval, interval},
};
use tracing::{info, warn};

pub use self::reload::warn_of;
use self::{
    gateway::{Gateway, Offer},
    reload::Running,
    tls::Tls,
};
use crate::{
    config::Config,
    net::{
        self, drain,
        listener::{self, BindError, Listener},
        systemd::{self, Sockets},
        tls::{CertificateStore, TlsError},
    },
    upstream::TlsSetupError,
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
    System(#[from] io::Error),
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
    /// Says on standard output where it listens, to whoever wants to know: nothing waits for a reader, or fails
    /// for want of one.
    fn announce(&self) {
        let lines = self.to_string();
        thread::spawn(move || {
            let mut out = io::stdout();
            let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        });
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for address in &self.http {
            writeln!(f, "listening on http://{address}")?;
        }
        for address in &self.https {
            writeln!(f, "listening on https://{address}")?;
        }
        if let Some(address) = &self.admin {
            writeln!(f, "admin listening on http://{address}")?;
        }
        if let Some(address) = &self.admin_tls {
            writeln!(f, "admin listening on https://{address}")?;
        }
        if let Some(address) = &self.monitoring {
            writeln!(f, "monitoring listening on http://{address}")?;
        }
        Ok(())
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
    let gateway = Arc::new(Gateway::new(&config)?);

    let (stop, drain) = drain::channel();
    let mut bound = Bound::default();
    let serve = |listener: Listener, offer| {
        let connections = &gateway.connections;
        let listener = listener.counted(connections).with_limits(&gateway.limits);
        let gateway = Arc::clone(&gateway);
        let make = move |peer: listener::Peer| {
            let gateway = Arc::clone(&gateway);
            service_fn(move |request: Request<Incoming>| {
                gateway
                    .handle(peer, request, offer)
                    .map(Ok::<_, Infallible>)
            })
        };
        tokio::spawn(net::http_server::serve(listener, make, stop.watch()));
    };
    drop(drain);
    // Whom to trust can change with a reload; that they speak the PROXY protocol cannot.
    let web = |listener: Listener| {
        if !config.server.proxy_protocol {
            return listener;
        }
        let gateway = Arc::clone(&gateway);
        listener.with_proxies(move |address| gateway.trusts(address))
    };
    let main = if config.admin.is_apart() {
        Offer::BoshOnly
    } else {
        Offer::Both
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
        serve(listener, Offer::AdminOnly);
    }
    let passed = sockets.admin_https;
    for listener in listeners(
        "admin.listen_tls",
        admin.listen_tls.as_slice(),
        passed,
        shown_to_admins,
    )? {
        bound.admin_tls = Some(listener.local_addr());
        serve(listener, Offer::AdminOnly);
    }
    let monitoring = config.monitoring.as_slice();
    for listener in listeners("monitoring.listen", monitoring, Vec::new(), None)? {
        bound.monitoring = Some(listener.local_addr());
        serve(listener, Offer::MonitoringOnly);
    }
    bound.announce();
    info!(?bound, "ready");

    systemd::ready("serving");

    let mut heartbeat = Heartbeat::new();
    let mut running = Running::new(config, file, tls);
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
    let mut drain = pin!(gateway.drain(&running.config().server));
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
