//! Certificates with their keys, and the choice of the one that a client is shown.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use rustls::{
    crypto::ring,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::pem::PemObject;
use webpki::EndEntityCert;

use super::{TlsError, pem::certificates};

/// A certificate chain, its key, and the names that it is for.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    names: Arc<[String]>,
}

impl Identity {
    /// Reads a PEM chain, leaf first, and its key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    ///
    /// When a file is unusable, or the key is not that of the leaf.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let certificates = certificates(chain)?;
        let names = certificates.first().map(EndEntityCert::try_from);
        let names = match names.expect("there is at least one") {
            Ok(leaf) => leaf
                .valid_dns_names()
                .map(str::to_ascii_lowercase)
                .collect(),
            Err(source) => {
                return Err(TlsError::Leaf {
                    path: chain.to_owned(),
                    source,
                });
            }
        };
        let private_key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem {
            path: key.to_owned(),
            what: "private key",
            source,
        })?;
        let pair = CertifiedKey::from_der(certificates, private_key, &ring::default_provider())
            .map_err(|source| TlsError::Pair {
                certificate: chain.to_owned(),
                key: key.to_owned(),
                source,
            })?;
        Ok(Self {
            key: Arc::new(pair),
            names,
        })
    }

    /// The DNS names of the leaf's subjectAltName, in lower case; `*.` stands for one label.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.names).finish()
    }
}

/// Chooses a certificate by the name that the client asks for (RFC 6066 §3).
///
/// An exact name comes before a wildcard. Of several certificates with the same name, the first counts. A client that
/// asks for no name, or for an unknown one, is shown the first of all.
#[derive(Debug)]
pub(super) struct ByName {
    first: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    /// `None` without any identity.
    pub(super) fn new(identities: &[Identity]) -> Option<Self> {
        let mut by_name = HashMap::new();
        for identity in identities {
            for name in identity.names() {
                by_name
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(&identity.key));
            }
        }
        Some(Self {
            first: Arc::clone(&identities.first()?.key),
            by_name,
        })
    }

    fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let find = |name: &str| {
            let name = name.to_ascii_lowercase();
            self.by_name.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            })
        };
        name.and_then(find).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::net::testing::{certs, identity};

    #[test]
    fn the_name_chooses_the_certificate() {
        let (elsewhere, example) = (identity("wrong-name"), identity("localhost"));
        let both = ByName::new(&[elsewhere.clone(), example.clone()]).expect("two of them");
        let is_example = |name| Arc::ptr_eq(both.choose(Some(name)), &example.key);
        for name in ["localhost", "example.org", "EXAMPLE.org", "www.example.org"] {
            assert!(is_example(name), "{name}");
        }
        for name in ["elsewhere.example", "a.www.example.org", "org", "*.org", ""] {
            assert!(!is_example(name), "{name}");
        }
        assert!(Arc::ptr_eq(both.choose(None), &elsewhere.key));
    }

    #[test]
    fn of_two_for_a_name_the_first_is_shown() {
        let (old, new) = (identity("expired"), identity("localhost"));
        let both = ByName::new(&[old.clone(), new]).expect("two of them");
        assert!(Arc::ptr_eq(both.choose(Some("localhost")), &old.key));
        assert!(ByName::new(&[]).is_none());
    }

    #[test]
    fn an_unusable_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (certs("localhost.crt"), certs("localhost.key"));
        let load = |chain: &Path, key: &Path| Identity::load(chain, key).unwrap_err();
        let error = load(&chain, &certs("wrong-name.key"));
        assert!(matches!(error, TlsError::Pair { .. }), "{error}");
        let broken = folder.path().join("a.crt");
        fs::write(&broken, "nothing").unwrap();
        let error = load(&broken, &key).to_string();
        assert!(error.ends_with("a.crt: no usable certificate"), "{error}");
        let error = load(&chain, &broken).to_string();
        assert!(error.ends_with("a.crt: no usable private key"), "{error}");
        fs::write(
            &broken,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let error = load(&broken, &key);
        assert!(matches!(error, TlsError::Leaf { .. }), "{error}");
    }
}
