//! TLS: the certificate that web clients see, and the policies for XMPP servers.
//!
//! The provider is always *ring*, named outright; the process default is neither read nor set.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem},
};
use rustls_pki_types::pem::PemObject;

use crate::config::UpstreamTls;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file cannot be read, or holds nothing of the kind.
    #[error("{}: no usable {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What the reader says.
        source: pem::Error,
    },
    /// Certificate and key cannot be used, or not together.
    #[error("{} and {} do not work together", certificate.display(), key.display())]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A certificate authority cannot be used.
    #[error("{}: not a certificate authority", path.display())]
    Authority {
        /// The bundle.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The system has no certificate authorities.
    #[error(
        "the system has no certificate authorities; install ca-certificates or set upstream_ca"
    )]
    NoRoots,
    /// `upstream_tls = "plain"` has no TLS settings.
    #[error("upstream_tls is \"plain\"")]
    Plain,
    /// rustls refuses the combination of provider and versions.
    #[error("TLS versions")]
    Versions(#[source] rustls::Error),
}

/// The certificate of the HTTPS listeners, replaced as a whole on reload.
///
/// Handshakes that begin after a reload see the new one; nothing else notices.
#[derive(Debug)]
pub struct CertificateStore {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
}

impl CertificateStore {
    /// Reads a PEM chain, leaf first, and its key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    ///
    /// When a file is unusable, or the key is not that of the leaf.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = ArcSwap::from(server_config(certificate, key)?);
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current,
        })
    }

    /// Reads both files again.
    ///
    /// # Errors
    ///
    /// As [`CertificateStore::load`]; the certificate in use then stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current
            .store(server_config(&self.certificate, &self.key)?);
        Ok(())
    }

    /// Settings for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate)?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem {
        path: key.to_owned(),
        what: "private key",
        source,
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(|source| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |source| TlsError::Pem {
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(unusable)?;
    if all.is_empty() {
        Err(unusable(pem::Error::NoItemsFound))
    } else {
        Ok(all)
    }
}

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
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for authority in certificates(path)? {
            roots.add(authority).map_err(|source| TlsError::Authority {
                path: path.to_owned(),
                source,
            })?;
        }
    } else {
        roots = system_roots();
    }
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
