//! `events_…`, `offline_after`: where the site hears who comes online and goes, and when that counts.

use std::{sync::Arc, time::Duration};

use rustls::RootCertStore;

use super::{
    credentials::Credentials,
    own_addresses::OwnAddresses,
    reader::Section,
    secret,
    url::{self, EventsUrl},
    value::{self, Fault, MINUTE, SECOND},
};

/// What the site is told of who is available.
#[derive(Clone, Debug)]
pub struct Events {
    /// Where the events are sent; absent: nowhere.
    pub endpoint: Option<EventsEndpoint>,
    /// How long a user whose last session has gone still counts as available.
    pub offline_after: Duration,
}

/// Where events are sent.
#[derive(Clone, Debug)]
pub struct EventsEndpoint {
    /// The URL.
    pub url: EventsUrl,
    /// The credentials that the gateway logs in with.
    pub credentials: Option<Credentials>,
    /// The only authorities that are trusted with `https://`; absent: those of the system.
    pub authorities: Option<Arc<RootCertStore>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            endpoint: None,
            offline_after: Duration::from_secs(10),
        }
    }
}

/// The keys that only make sense beside `events_url`.
const KEYS: [&str; 3] = ["events_token", "events_token_file", "events_ca"];

impl Events {
    /// Reads the keys of a `[[host]]` that say what the site is told.
    pub(super) fn read(section: &mut Section<'_, '_>, own: &OwnAddresses) -> Self {
        let mut it = Self::default();
        let delays = SECOND..=10 * MINUTE;
        section.set(
            &mut it.offline_after,
            "offline_after",
            value::duration(delays),
        );
        if !section.has("events_url")
            && let Some(key) = KEYS.into_iter().find(|key| section.has(key))
        {
            let cure = "set events_url, or leave it away";
            section.fault(key, Fault::new("without events_url", cure));
        }
        let url = section.read_url("events_url", |text| {
            let (url, place, credentials) = url::events(text)?;
            let fault = own.receiver_fault(&place);
            fault.map_or(Ok((url, credentials)), Err)
        });
        let (url, of_url) = url.unzip();
        let of_url = of_url.flatten();
        let token = section.secret(["events_token", "events_token_file"], &secret::TOKEN);
        if token.is_some() && of_url.is_some() {
            let token = KEYS.into_iter().find(|key| section.has(key));
            section.beside("events_url", &section.path(token.unwrap_or_default()));
        }
        let authorities = section.authorities("events_ca");
        if authorities.is_some() && url.as_ref().is_some_and(|url| !url.is_https()) {
            let problem = "no certificate is checked with http://";
            let cure = "use https://, or leave events_ca away";
            section.fault("events_ca", Fault::new(problem, cure));
        }
        it.endpoint = url.map(|url| EventsEndpoint {
            url,
            credentials: token.map(Credentials::Token).or(of_url),
            authorities,
        });
        it
    }
}
