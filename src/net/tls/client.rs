//! Client settings: how we check the certificates of XMPP servers.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{TlsError, authorities};
use crate::config::UpstreamTls;

/// Settings for TLS to an XMPP server under the policy `tls`, with `alpn` if it is given.
///
/// `ca` takes the place of the system's authorities where certificates are checked. What `Auto`
/// means depends on the address: here it checks, as it must for all but loopback; ask for
/// `Insecure` to carry out its other half.
///
/// # Errors
///
/// For `Plain`, and when there are no usable authorities.
pub fn upstream_client_config(
    tls: UpstreamTls,
    ca: Option<&Path>,
    alpn: Option<&[u8]>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?;
    let mut config = match tls {
        UpstreamTls::Plain => return Err(TlsError::Plain),
        UpstreamTls::Insecure => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
        UpstreamTls::Auto | UpstreamTls::Verify => builder
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth(),
    };
    config.alpn_protocols.extend(alpn.map(<[u8]>::to_vec));
    Ok(Arc::new(config))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let roots = ca.map_or_else(|| Ok(system_roots()), authorities)?;
    if roots.is_empty() {
        Err(TlsError::NoRoots)
    } else {
        Ok(roots)
    }
}

/// The authorities that the operating system trusts; what cannot be read of them is left out.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Some bundles hold certificates that rustls refuses; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Takes any certificate, but still makes its owner prove to have the key.
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
