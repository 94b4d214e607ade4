//! TLS: the certificates that web clients see, and the policies for XMPP servers.
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
    pki_types::{CertificateDer, ServerName, UnixTime, pem},
    server::VerifierBuilderError,
};
use rustls_pki_types::pem::PemObject;

use super::{
    clients::ClientAuthority,
    identity::{ByName, Identity},
};
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
    /// Client certificates cannot be checked against these authorities.
    #[error("{}: not usable for client certificates", path.display())]
    Clients {
        /// The bundle.
        path: PathBuf,
        /// What rustls says.
        source: VerifierBuilderError,
    },
    /// A file begins with something that is no certificate for a server.
    #[error("{}: not an X.509 certificate of version 3", path.display())]
    Leaf {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: webpki::Error,
    },
    /// There is no certificate to show.
    #[error("no certificate is configured")]
    NoIdentity,
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

/// The certificates of HTTPS listeners, replaced as a whole on reload.
///
/// Handshakes that begin after a reload see the new ones; nothing else notices.
#[derive(Debug)]
pub struct CertificateStore(ArcSwap<ServerConfig>);

impl CertificateStore {
    /// Shows one of `identities`, chosen by name, or the first. With `clients`, these are asked for
    /// a certificate of their own, which they need not have.
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
    /// As [`CertificateStore::new`]; what was shown before then stays.
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

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
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
    let roots = ca.map_or_else(|| Ok(system_roots()), authorities)?;
    if roots.is_empty() {
        Err(TlsError::NoRoots)
    } else {
        Ok(roots)
    }
}

/// The authorities of a PEM file, at least one.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots.add(authority).map_err(|source| TlsError::Authority {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
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
