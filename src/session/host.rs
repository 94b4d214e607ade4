//! A host: a served domain, as its sessions know it.

use std::sync::{Arc, Once};

use tracing::warn;

use crate::{
    backend::{http::Replaceable, refresh::Rosters},
    config,
    events::Availability,
    metrics,
    pipe::{Rules, features, identity::Identity},
    proto::stanza::Stanza,
    upstream::Connector,
    writer::ServerRosters,
};

/// What the sessions of one domain have in common.
pub struct Host {
    /// The served domain, prepared.
    pub domain: String,
    /// The way to its server.
    pub connector: Connector,
    /// Its contact lists, if the backend owns them and the gateway holds them.
    pub rosters: Option<Arc<Rosters<Replaceable>>>,
    /// The same, if the server holds them.
    pub written: Option<Arc<ServerRosters<Replaceable>>>,
    /// Who of its users is available.
    pub availability: Arc<Availability>,
    /// What is done to stanzas.
    pub rules: Rules,
    /// What is counted.
    pub metrics: metrics::Domain,
    /// What each session may be.
    pub limits: config::Session,
    /// All domains that are served.
    pub people_at: Arc<[String]>,
    /// Its operator has been told what is kept from its clients.
    pub has_warned: Once,
}

impl Host {
    /// Names an account among those of all hosts. Servers may bind what they like, so that the bare JID alone would let
    /// one touch the users of another.
    pub(super) fn account(&self, identity: &Identity) -> String {
        account(&self.domain, identity.bare())
    }

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

/// Names the account `bare` of a domain among those of all hosts.
pub fn account(domain: &str, bare: &str) -> String {
    format!("{domain}/{bare}")
}
