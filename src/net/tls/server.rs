//! Server settings: the certificates that our listeners show.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{ServerConfig, crypto::ring};

use super::{
    TlsError,
    clients::ClientAuthority,
    identity::{ByName, Identity},
};

/// The certificates of HTTPS listeners, replaced as a whole on reload.
///
/// Handshakes that begin after a reload use the new ones; open connections are not affected.
#[derive(Debug)]
pub struct CertificateStore(ArcSwap<ServerConfig>);

impl CertificateStore {
    /// Shows one of `identities`, chosen by name, or the first. With `clients`, clients are asked for a certificate,
    /// which they need not have.
    ///
    /// # Errors
    ///
    /// Without any identity.
    pub fn new(
        identities: &[Identity],
        clients: Option<&ClientAuthority>,
    ) -> Result<Self, TlsError> {
        let current = server_config(identities, clients)?;
        Ok(Self(ArcSwap::new(current)))
    }

    /// Shows these from now on.
    ///
    /// # Errors
    ///
    /// As [`CertificateStore::new`]; the certificates then stay as they were.
    pub fn replace(
        &self,
        identities: &[Identity],
        clients: Option<&ClientAuthority>,
    ) -> Result<(), TlsError> {
        self.0.store(server_config(identities, clients)?);
        Ok(())
    }

    /// Settings for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

fn server_config(
    identities: &[Identity],
    clients: Option<&ClientAuthority>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let by_name = ByName::new(identities).ok_or(TlsError::NoIdentity)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;
    use crate::net::{
        listener::Limits,
        testing::{certs, identity, serve, store, tls_client},
        tls::Trust,
    };

    /// The certificate that a client is shown now.
    async fn shown(address: SocketAddr) -> CertificateDer<'static> {
        let client = tls_client(address, Trust::Anyone, &[]).await.unwrap();
        client.get_ref().1.peer_certificates().unwrap()[0].clone()
    }

    #[tokio::test]
    async fn new_handshakes_see_the_new_certificate() {
        let file = |name: &str| CertificateDer::from_pem_file(certs(name)).unwrap();
        let store = store("localhost");
        let served = serve(Some(store.clone()), Limits::default());
        assert_eq!(shown(served.address).await, file("localhost.crt"));
        store.replace(&[identity("wrong-name")], None).unwrap();
        assert_eq!(shown(served.address).await, file("wrong-name.crt"));
        let error = store.replace(&[], None).unwrap_err();
        assert!(matches!(error, TlsError::NoIdentity), "{error}");
        assert_eq!(shown(served.address).await, file("wrong-name.crt"));
    }
}
