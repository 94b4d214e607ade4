//! Client settings: whether and how the certificates of servers that we connect to are checked.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tracing::warn;

use super::{TlsError, authorities};

/// Whose certificates are accepted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Anybody's, unchecked.
    Anyone,
    /// Those that one of these authorities has signed, for the name that is asked for.
    Roots(Arc<RootCertStore>),
}

impl Trust {
    /// Accepts nobody's: for connections without TLS.
    pub fn nobody() -> Self {
        Self::Roots(Arc::new(RootCertStore::empty()))
    }

    /// The authorities of the system, if there are any.
    pub fn system() -> Self {
        let roots = system_roots();
        if roots.is_empty() {
            warn!("no root certificates found on this system");
        }
        Self::Roots(Arc::new(roots))
    }

    /// The authorities of the PEM file `bundle`, or those of the system.
    ///
    /// # Errors
    ///
    /// When there are none that can be used.
    pub fn authorities(bundle: Option<&Path>) -> Result<Self, TlsError> {
        let roots = bundle.map_or_else(|| Ok(system_roots()), authorities)?;
        if roots.is_empty() {
            Err(TlsError::NoRoots)
        } else {
            Ok(Self::Roots(Arc::new(roots)))
        }
    }
}

/// Settings for TLS to a server, with `alpn` if it is given.
///
/// # Errors
///
/// When rustls refuses its own defaults, which no working build does.
pub fn client_config(trust: Trust, alpn: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?;
    let mut config = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
        Trust::Roots(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
    };
    config.alpn_protocols.extend(alpn.map(<[u8]>::to_vec));
    Ok(Arc::new(config))
}

/// The authorities that the operating system trusts, without those that cannot be read.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Some bundles hold certificates that rustls refuses; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Accepts any certificate, but still requires proof that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ServerConfig,
        pki_types::PrivateKeyDer,
        sign::{CertifiedKey, SingleCertAndKey},
    };
    use rustls_pki_types::pem::PemObject as _;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::net::{
        listener::Limits,
        testing::{ANY, GET, answer, certs, checked, serve, store, tls_client},
    };

    #[tokio::test]
    async fn verify_wants_a_certificate_that_is_valid_for_the_name() {
        let ca = certs("ca.crt");
        for (name, complaint) in [("expired", "Expired"), ("wrong-name", "NotValidForName")] {
            let served = serve(Some(store(name)), Limits::default());
            let refused = tls_client(served.address, checked(&ca), &[]).await;
            let error = format!("{:?}", refused.expect_err(name));
            assert!(error.contains(complaint), "{name}: {error}");
            let mut client = tls_client(served.address, Trust::Anyone, &[])
                .await
                .expect(name);
            client.write_all(GET).await.unwrap();
            assert!(answer(&mut client).await.contains("200 OK"));
        }
        let served = serve(Some(store("localhost")), Limits::default());
        let other = certs("wrong-name.crt");
        let refused = tls_client(served.address, checked(&other), &[]).await;
        assert!(format!("{:?}", refused.expect_err("unknown")).contains("UnknownIssuer"));
    }

    #[tokio::test]
    async fn insecure_still_wants_the_key_of_the_certificate() {
        let chain = vec![CertificateDer::from_pem_file(certs("localhost.crt")).unwrap()];
        let other = PrivateKeyDer::from_pem_file(certs("wrong-name.key")).unwrap();
        let pair = CertifiedKey::new(chain, ring::sign::any_supported_type(&other).unwrap());
        for version in rustls::ALL_VERSIONS {
            let provider = Arc::new(ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.clone())));
            let listener = TcpListener::bind(ANY).await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                TlsAcceptor::from(Arc::new(config))
                    .accept(stream)
                    .await
                    .map(drop)
            });
            let refused = tls_client(address, Trust::Anyone, &[]).await;
            let error = format!("{:?}", refused.expect_err("an impostor"));
            assert!(error.contains("BadSignature"), "{version:?}: {error}");
            server.await.unwrap().expect_err("the client has left");
        }
    }

    #[test]
    fn authorities_that_are_not_there_are_an_error() {
        for file in ["missing.crt", "ca.key"] {
            let error = Trust::authorities(Some(&certs(file))).expect_err(file);
            assert!(matches!(error, TlsError::Pem { .. }), "{error}");
        }
    }
}
