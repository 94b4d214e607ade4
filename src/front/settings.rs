//! Settings of the fronts for clients: what they need to know of the configuration, until the next reload.

use std::sync::Arc;

use super::cors::Cors;
use crate::{config, net::proxies::Proxies, proto::xml, session::Admission};

/// What the fronts for clients need to know of the configuration.
pub struct Settings {
    /// `[bosh]`
    pub bosh: config::Bosh,
    /// `[websocket]`
    pub websocket: config::WebSocket,
    /// Bounds on documents.
    pub xml: xml::Limits,
    /// What pages may do.
    pub cors: Cors,
    /// Proxies that are believed about the client's address.
    pub proxies: Proxies,
    /// Rules for who may have a session.
    pub admission: Arc<Admission>,
}
