//! PEM files: certificates and authorities as they are on the disk.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem},
};
use rustls_pki_types::pem::PemObject;

use super::TlsError;

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
