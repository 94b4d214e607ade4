//! `http_roster_url`, `backend_…`: the backend that the contact lists of a host come from, and how it is asked.

use std::{sync::Arc, time::Duration};

use rustls::RootCertStore;

use super::{
    credentials::{self, Credentials},
    own_addresses::OwnAddresses,
    reader::Section,
    url::{self, RosterUrl},
    value::{self, Fault, GIB, KIB, MINUTE},
};

/// How the backend is asked for rosters.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The credentials that the gateway logs in with.
    pub credentials: Option<Credentials>,
    /// The only authorities that are trusted with `https://`; absent: those of the system.
    pub authorities: Option<Arc<RootCertStore>>,
    /// The `Host` header; absent: the host of the URL.
    pub host: Option<String>,
    /// Longest time for one whole answer.
    pub timeout: Duration,
    /// Most requests under way at once.
    pub concurrency: usize,
    /// Longest answer, bytes.
    pub max_body: usize,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            credentials: None,
            authorities: None,
            host: None,
            timeout: Duration::from_secs(10),
            concurrency: 32,
            max_body: 16 << 20,
        }
    }
}

impl Backend {
    /// Reads the keys of a `[[host]]` that say where its contact lists come from.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        own: &OwnAddresses,
    ) -> (Option<RosterUrl>, Self) {
        let mut it = Self::default();
        let url = section.read_url("http_roster_url", |text| {
            let (url, credentials) = url::roster_url(text)?;
            own.roster_fault(&url).map_or(Ok((url, credentials)), Err)
        });
        let (url, of_url) = url.unzip();
        it.credentials = Credentials::read(section, &credentials::BACKEND, of_url.flatten());
        it.authorities = section.authorities("backend_ca");
        if it.authorities.is_some() && url.as_ref().is_some_and(|url| !url.is_https()) {
            let problem = "no certificate is checked with http://";
            let cure = "use https://, or leave backend_ca away";
            section.fault("backend_ca", Fault::new(problem, cure));
        }
        it.host = section.read("backend_host", url::host_header);
        let timeouts = Duration::from_millis(100)..=5 * MINUTE;
        section.set(
            &mut it.timeout,
            "backend_timeout",
            value::duration(timeouts),
        );
        section.number(&mut it.concurrency, "backend_concurrency", 1..=1024);
        section.set(
            &mut it.max_body,
            "backend_max_body",
            value::size(4 * KIB..=GIB),
        );
        (url, it)
    }
}
