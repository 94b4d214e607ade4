//! What TLS needs of files: certificates with their keys, and authorities for clients.

use std::{error::Error, ops::Range, path::PathBuf, sync::Arc};

use rustls::RootCertStore;
use toml::Spanned;

use super::{
    reader::Reader,
    value::{self, Fault},
};
use crate::net::tls::{ClientAuthority, Identity, TlsError, authorities};

const CERTIFICATE: &str = "name a PEM file that begins with the site's own certificate";
const KEY: &str = "name the PEM file with the key of this certificate, without a passphrase";
const AUTHORITIES: &str = "name a PEM file with the certificates of the authorities";

/// A key of the configuration, and the file that it names.
struct Named<'a> {
    key: &'a str,
    text: String,
    span: Range<usize>,
    path: PathBuf,
}

impl Reader<'_> {
    /// A certificate chain and its key, which have to be there both and to fit; `keys` names them.
    pub(super) fn identity(
        &mut self,
        keys: [&str; 2],
        chain: Option<Spanned<String>>,
        private_key: Option<Spanned<String>>,
    ) -> Option<Identity> {
        let half = match (&chain, &private_key) {
            (Some(half), None) => Some((keys[0], half, "without its key", keys[1])),
            (None, Some(half)) => Some((keys[1], half, "without its certificate", keys[0])),
            _ => None,
        };
        if let Some((key, half, problem, missing)) = half {
            let fault = Fault::new(problem, format!("set {missing}"));
            self.fault(key, Some(half.span()), fault);
        }
        let chain = chain.and_then(|chain| self.named(keys[0], chain));
        let private_key = private_key.and_then(|key| self.named(keys[1], key));
        let (chain, private_key) = (chain?, private_key?);
        match Identity::load(&chain.path, &private_key.path) {
            Ok(identity) => Some(identity),
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

    /// Authorities of client certificates.
    pub(super) fn client_authority(
        &mut self,
        key: &str,
        bundle: Option<Spanned<String>>,
        names: &[String],
    ) -> Option<ClientAuthority> {
        let bundle = self.named(key, bundle?)?;
        match ClientAuthority::load(&bundle.path, names) {
            Ok(authority) => Some(authority),
            Err(error) => {
                self.unusable(bundle, &error, AUTHORITIES);
                None
            }
        }
    }

    /// Authorities of servers.
    pub(super) fn authorities(
        &mut self,
        key: &str,
        bundle: Option<Spanned<String>>,
    ) -> Option<Arc<RootCertStore>> {
        let bundle = self.named(key, bundle?)?;
        match authorities(&bundle.path) {
            Ok(roots) => Some(Arc::new(roots)),
            Err(error) => {
                self.unusable(bundle, &error, AUTHORITIES);
                None
            }
        }
    }

    fn named<'a>(&mut self, key: &'a str, text: Spanned<String>) -> Option<Named<'a>> {
        let (span, shown) = (text.span(), text.get_ref().clone());
        let path = self.read(key, Some(text), value::file(self.base))?;
        Some(Named {
            key,
            text: shown,
            span,
            path,
        })
    }

    fn unusable(&mut self, named: Named<'_>, error: &TlsError, cure: &str) {
        // Without the path: what is written there is shown beside it.
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
        let got = format!("{:?}", named.text);
        self.refuse(named.key, named.span, got, Fault::new(problem, cure));
    }
}
