//! Composition: listens, serves until told to stop, reloads, drains.

mod availability;
mod cluster;
mod current;
mod gateway;
mod listen;
mod minutes;
mod offer;
mod reload;
mod rosters;
mod tls;

use std::{future::pending, io, path::Path, pin::pin, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Interval, interval},
};
use tracing::{info, warn};

use self::{gateway::Gateway, listen::Listening, reload::Running, tls::Tls};
pub use self::{listen::Bound, reload::warn_of};
use crate::{
    cluster::{NameTaken, SetupError},
    config::Config,
    net::{
        drain,
        listener::BindError,
        systemd::{self, Sockets},
        tls::TlsError,
    },
    upstream::TlsSetupError,
};

/// How long connections may take for their last answers once the sessions have ended.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened at.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates of `listen_tls` cannot be used.
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
    /// A socket was passed for a key that is not set.
    #[error("a socket was passed for {key}, which is empty")]
    Passed {
        /// The key.
        key: &'static str,
    },
    /// There can be no cluster.
    #[error("cluster: {0}")]
    Cluster(#[from] SetupError),
    /// Another gateway has the name of this one.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// The system refuses signals or sockets.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs the gateway until SIGTERM or SIGINT, at the `sockets` that have been passed, if any. SIGHUP reads `file` again.
pub async fn run(config: Config, file: &Path, sockets: Sockets) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let tls = Tls::new(&config)?;
    let (registry, others) = cluster::begin(&config).await?;
    let gateway = Arc::new(Gateway::new(&config, registry, others)?);
    cluster::join(&gateway).await?;

    let (stop, _) = drain::channel();
    let bound = Listening {
        config: &config,
        gateway: &gateway,
        stop: &stop,
    }
    .start(sockets, tls.as_ref())?;
    bound.announce();
    info!(
        "ready: {}",
        bound.to_string().trim_end().replace('\n', ", ")
    );

    systemd::ready("serving");

    tokio::spawn(minutes::keep(Arc::clone(&gateway.registry)));
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

/// Tells systemd that the main loop runs, if its watchdog asks for that.
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
