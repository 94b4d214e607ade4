//! Errors: why certificates, authorities and policies cannot be used.

use std::path::PathBuf;

use rustls::{pki_types::pem, server::VerifierBuilderError};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file cannot be read, or has nothing of the kind that is needed.
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
    /// rustls refuses the combination of provider and versions.
    #[error("TLS versions")]
    Versions(#[source] rustls::Error),
}
