//! Connection to NATS, and what a gateway draws at its start.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::mpsc;

use super::{SetupError, WAITING};
use crate::config::{self, Credentials, NodeName};

/// A client of NATS that connects by itself, also if NATS comes later. It tells of that by `events`.
pub(super) async fn connect(
    config: &config::Cluster,
    node: &NodeName,
    events: mpsc::Sender<Event>,
) -> Result<Client, SetupError> {
    let mut options = ConnectOptions::new()
        .name(format!("rostergate {} {node}", config.name))
        .retry_on_initial_connect()
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(10))
        .client_capacity(WAITING)
        .subscription_capacity(WAITING)
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
            let _ = events.try_send(event);
            async {}
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
