//! Connection to NATS, and what a gateway draws at its start.

use std::{future::ready, sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event, Server};
use tokio::sync::mpsc;

use super::{READ, SetupError, WAITING};
use crate::config::{self, Credentials, NodeName};

/// Most servers that a line of the log names.
const MOST_NAMED: usize = 4;

/// What the client of NATS tells.
pub(super) enum News {
    Event(Event),
    /// It could not connect.
    Failed(Failure),
}

/// Why NATS could not be connected to.
pub(super) struct Failure {
    /// Which server, and what was wrong.
    pub(super) why: String,
    /// The server was there, but it refuses this gateway, or the gateway does not trust it: the operator has to act.
    pub(super) is_refusal: bool,
}

/// A client of NATS that connects by itself, also if NATS comes later. It tells of that by `news`.
pub(super) async fn connect(
    config: &config::Cluster,
    node: &NodeName,
    news: mpsc::Sender<News>,
) -> Result<Client, SetupError> {
    let failures = news.clone();
    let mut options = ConnectOptions::new()
        .name(format!("rostergate {} {node}", config.name))
        .retry_on_initial_connect()
        // No server that NATS itself names is spoken to, and none in clear if one must not be.
        .ignore_discovered_servers()
        .require_tls(config.nats.iter().any(|url| url.starts_with("tls://")))
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(10))
        .client_capacity(WAITING)
        .subscription_capacity(READ)
        .reconnect_delay_callback(|attempts| {
            let doubled = Duration::from_millis(50) * (1 << attempts.min(5));
            if attempts <= 1 {
                Duration::ZERO
            } else {
                doubled
            }
        })
        .event_callback(move |event| {
            // If nobody hears it, the own hello that does not come back tells the same.
            let _ = news.try_send(News::Event(event));
            async {}
        })
        // It is asked before each attempt, and leaves the choice to the client. Nothing else says why the last one failed.
        .reconnect_to_server_callback(move |servers, _| {
            if let Some(failure) = Failure::of(&servers) {
                let _ = failures.try_send(News::Failed(failure));
            }
            ready(None)
        });
    options = match &config.credentials {
        None => options,
        Some(Credentials::Token(token)) => options.token(token.expose().to_owned()),
        Some(Credentials::Basic { user, password }) => {
            options.user_and_password(user.expose().to_owned(), password.expose().to_owned())
        }
    };
    if let Some(roots) = &config.authorities {
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth();
        options = options.tls_client_config(tls);
    }
    let connecting = options.connect(config.nats.as_slice());
    connecting
        .await
        .map_err(|error| SetupError::Nats(error.to_string()))
}

impl Failure {
    /// Why the servers could not be connected to, in words that name the key which may be wrong.
    fn of(servers: &[Server]) -> Option<Self> {
        let failed = |server: &Server| {
            let error = server.last_error.as_deref()?;
            let detail = error.split_once(": ").map_or(error, |(_, detail)| detail);
            let (why, is_refusal) = if error.starts_with("authorization violation") {
                let keys = "cluster.nats_user and nats_password, or nats_token";
                (format!("it refuses the credentials ({keys})"), true)
            } else if let Some(fault) = detail.strip_prefix("invalid peer certificate: ") {
                let why = format!("its certificate is not trusted (cluster.nats_ca): {fault}");
                (why, true)
            } else if detail.starts_with("received corrupt message") {
                ("it speaks no TLS, which tls:// demands".to_owned(), true)
            } else {
                (detail.to_owned(), false)
            };
            let (host, port) = (server.addr.host(), server.addr.port());
            Some((format!("{host}:{port}: {why}"), is_refusal))
        };
        let failed: Vec<_> = servers.iter().filter_map(failed).take(MOST_NAMED).collect();
        let is_refusal = failed.iter().any(|(_, is_refusal)| *is_refusal);
        let why: Vec<_> = failed.into_iter().map(|(why, _)| why).collect();
        (!why.is_empty()).then(|| Self {
            why: why.join("; "),
            is_refusal,
        })
    }
}

/// A random number.
pub(super) fn draw() -> Result<u64, SetupError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(SetupError::NoRandomness)?;
    Ok(u64::from_be_bytes(bytes))
}

/// A random name.
pub(super) fn drawn_name() -> Result<NodeName, SetupError> {
    let name = format!("{:08x}", draw()? >> 32);
    Ok(NodeName::new(&name).expect("eight hexadecimal digits"))
}
