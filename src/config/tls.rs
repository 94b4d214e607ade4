//! Certificates with their keys, and authorities: reads the files that the configuration names.

use std::{error::Error, path::PathBuf, sync::Arc};

use rustls::RootCertStore;

use super::{
    reader::{Section, Text},
    value::{self, Fault},
};
use crate::net::tls::{ClientAuthority, Identity, TlsError, authorities};

const CERTIFICATE: &str = "name a PEM file that begins with the site's own certificate";
const KEY: &str = "name the PEM file with the key of this certificate, without a passphrase";
const AUTHORITIES: &str = "name a PEM file with the certificates of the authorities";

/// A file, and the text of the configuration that names it.
struct Named<'a> {
    text: Text<'a>,
    path: PathBuf,
}

impl<'a> Section<'_, 'a> {
    /// Reads a certificate chain and its key, which `keys` name. Both have to be there, and to fit each other.
    pub(super) fn identity(&mut self, keys: [&'static str; 2]) -> Option<Identity> {
        let half = match keys.map(|key| self.has(key)) {
            [true, false] => Some((keys[0], "without its key", keys[1])),
            [false, true] => Some((keys[1], "without its certificate", keys[0])),
            _ => None,
        };
        if let Some((key, problem, missing)) = half {
            let cure = format!("set {}", self.path(missing));
            self.fault(key, Fault::new(problem, cure));
        }
        let (chain, private_key) = (self.named(keys[0]), self.named(keys[1]));
        let (chain, private_key) = (chain?, private_key?);
        match Identity::load(&chain.path, &private_key.path) {
            Ok(identity) => {
                self.check_readers(&private_key.text, &private_key.path);
                Some(identity)
            }
            Err(error) => {
                let (at, cure) = match &error {
                    TlsError::Leaf { .. } => (chain, CERTIFICATE),
                    TlsError::Pem { what, .. } if *what == "certificate" => (chain, CERTIFICATE),
                    _ => (private_key, KEY),
                };
                self.unusable(at, &error, cure);
                None
            }
        }
    }

    /// Reads the authorities of client certificates, and the names of which a certificate has to have one.
    pub(super) fn client_authority(
        &mut self,
        [key, names_key]: [&'static str; 2],
    ) -> (Option<ClientAuthority>, Vec<String>) {
        let bundle = self.named(key);
        let mut names = Vec::new();
        self.list(&mut names, names_key, value::dns_name);
        let authority = bundle.and_then(|bundle| self.load_client_authority(bundle, &names));
        (authority, names)
    }

    fn load_client_authority(
        &mut self,
        bundle: Named<'a>,
        names: &[String],
    ) -> Option<ClientAuthority> {
        match ClientAuthority::load(&bundle.path, names) {
            Ok(authority) => Some(authority),
            Err(error) => {
                self.unusable(bundle, &error, AUTHORITIES);
                None
            }
        }
    }

    /// Reads the authorities of servers.
    pub(super) fn authorities(&mut self, key: &'static str) -> Option<Arc<RootCertStore>> {
        let bundle = self.named(key)?;
        match authorities(&bundle.path) {
            Ok(roots) => Some(Arc::new(roots)),
            Err(error) => {
                self.unusable(bundle, &error, AUTHORITIES);
                None
            }
        }
    }

    fn named(&mut self, key: &'static str) -> Option<Named<'a>> {
        let text = self.text(key)?;
        let path = self.parse(&text, value::file(self.base()))?;
        Some(Named { text, path })
    }

    fn unusable(&mut self, named: Named<'_>, error: &TlsError, cure: &str) {
        // Without the path, which the error shows as the value.
        let problem = match error {
            TlsError::Authority { .. } => "not a certificate authority".to_owned(),
            TlsError::Leaf { .. } => "not an X.509 certificate of version 3".to_owned(),
            TlsError::Pair { .. } => "not the key of the certificate".to_owned(),
            TlsError::Pem { what, .. } => format!("no usable {what}"),
            other => other.to_string(),
        };
        let why = match error {
            TlsError::Pair {
                source: rustls::Error::InconsistentKeys(_),
                ..
            } => None,
            error => error.source().map(|source| format!(": {source}")),
        };
        let problem = problem + &why.unwrap_or_default();
        self.refuse(&named.text, Fault::new(problem, cure));
    }
}
