//! Certificates of the listeners.

use std::sync::Arc;

use crate::{
    config::Config,
    net::tls::{CertificateStore, ClientAuthority, TlsError},
};

/// The certificates of the HTTPS listeners. Clients are asked for one only where the admin API is served.
pub(super) struct Tls {
    pub(super) web: Arc<CertificateStore>,
    pub(super) admin: Arc<CertificateStore>,
}

impl Tls {
    /// `None` if no address needs TLS.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, TlsError> {
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

    /// Shows the certificates of `config` from now on. On an error, those from before stay.
    pub(super) fn replace(&self, config: &Config) -> Result<(), TlsError> {
        let certificates = &config.server.certificates;
        let [web, admin] = Self::clients(config);
        self.web.replace(certificates, web)?;
        self.admin.replace(certificates, admin)
    }

    /// Whose client certificates are asked for at the addresses of `[server]` and of `[admin]`.
    fn clients(config: &Config) -> [Option<&ClientAuthority>; 2] {
        let clients = config.admin.client_ca.as_ref();
        [clients.filter(|_| !config.admin.is_apart()), clients]
    }
}
