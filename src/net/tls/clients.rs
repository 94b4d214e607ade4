//! Client certificates: those that a client has shown, and whether they count.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use webpki::EndEntityCert;

use super::{TlsError, authorities};

/// The certificates that a client has shown. The handshake has proved that it has the key of the first.
///
/// The HTTP server puts them into the extensions of each request.
#[derive(Clone, Debug)]
pub struct ClientChain(Arc<[CertificateDer<'static>]>);

impl ClientChain {
    /// The chain that the client at the other end has shown, if any.
    pub(in crate::net) fn of(connection: &ServerConnection) -> Option<Self> {
        connection.peer_certificates().map(Self::new)
    }

    pub(crate) fn new(shown: &[CertificateDer<'static>]) -> Self {
        Self(shown.into())
    }
}

/// Why a client certificate does not count.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It has no name that is asked for.
    #[error("certificate for none of the names asked for")]
    Name,
    /// It is not signed by the authority, has expired, or is no certificate for clients.
    #[error(transparent)]
    Untrusted(#[from] rustls::Error),
}

/// The authorities whose client certificates count, and perhaps for which names only.
#[derive(Clone)]
pub struct ClientAuthority {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Arc<[String]>,
}

impl ClientAuthority {
    /// Reads a PEM bundle of authorities. With `names`, certificates have to be for one of these:
    /// DNS names of their subjectAltName, compared without regard to case.
    ///
    /// # Errors
    ///
    /// When the file holds no authority, or one that rustls refuses.
    pub fn load(bundle: &Path, names: &[String]) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(authorities(bundle)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .allow_unauthenticated()
            .build()
            .map_err(|source: VerifierBuilderError| TlsError::Clients {
                path: bundle.to_owned(),
                source,
            })?;
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self { verifier, names })
    }

    /// The verifier for handshakes: it asks clients for a certificate, which they need not have.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Checks now whether a client's certificates count.
    ///
    /// The handshake has checked them, too. But connections live long: since then, a certificate may have expired, or
    /// its authority may have been removed.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub fn admit(&self, ClientChain(chain): &ClientChain) -> Result<(), Refusal> {
        let none = || rustls::Error::NoCertificatesPresented;
        let (leaf, others) = chain.split_first().ok_or_else(none)?;
        self.verifier
            .verify_client_cert(leaf, others, UnixTime::now())?;
        let is_named = |leaf: EndEntityCert<'_>| {
            leaf.valid_dns_names().any(|name| {
                let is_it = |wanted: &String| wanted.eq_ignore_ascii_case(name);
                self.names.iter().any(is_it)
            })
        };
        if self.names.is_empty() || EndEntityCert::try_from(leaf).is_ok_and(is_named) {
            Ok(())
        } else {
            Err(Refusal::Name)
        }
    }
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthority")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
