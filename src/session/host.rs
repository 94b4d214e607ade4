//! A host: a served domain, as its sessions know it.

use std::sync::{Arc, Once};

use tracing::warn;

use crate::{
    backend::{http::Replaceable, refresh::Rosters},
    config, metrics,
    pipe::{Rules, features},
    proto::stanza::Stanza,
    upstream::Connector,
};

/// What the sessions of one domain have in common.
pub struct Host {
    /// The served domain, prepared.
    pub domain: String,
    /// The way to its server.
    pub connector: Connector,
    /// Its contact lists, if the backend owns them.
    pub rosters: Option<Arc<Rosters<Replaceable>>>,
    /// What is done to stanzas.
    pub rules: Rules,
    /// What is counted.
    pub metrics: metrics::Domain,
    /// What each session may be.
    pub limits: config::Session,
    /// Its operator has been told what is kept from its clients.
    pub has_warned: Once,
}

impl Host {
    /// Tells the operator, once, if the server offers ways to authenticate that end at the gateway.
    pub(super) fn warn_of_withheld(&self, features: &Stanza) {
        if self.has_warned.is_completed() {
            return;
        }
        let withheld = features::withheld(features).join(", ");
        if !withheld.is_empty() {
            self.has_warned.call_once(|| {
                warn!(
                    domain = self.domain,
                    withheld,
                    "mechanisms of the server end at the gateway: clients with SCRAM downgrade protection \
                     (XEP-0474) will not log in; do not let the server offer them to the gateway"
                );
            });
        }
    }
}
