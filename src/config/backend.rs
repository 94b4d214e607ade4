//! `http_roster_url`, `backend_…`: where the contact lists of a host come from, and how they are asked for.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::RootCertStore;

use super::{
    own_addresses::OwnAddresses,
    reader::Section,
    redact,
    secret::{self, Secret},
    url,
    value::{self, Fault, GIB, KIB, MINUTE},
};

/// How the backend is asked for rosters.
#[derive(Clone, Debug)]
pub struct Backend {
    /// What the gateway logs in with.
    pub credentials: Option<Credentials>,
    /// The only authorities to be trusted with `https://`; absent: those of the system.
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

/// What a backend is shown in `Authorization`.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A bearer token (RFC 6750).
    Token(Secret),
    /// User and password (RFC 7617).
    Basic {
        /// Without a colon.
        user: Secret,
        /// Perhaps empty.
        password: Secret,
    },
}

impl Credentials {
    /// The value of the header.
    pub fn header(&self) -> Secret {
        Secret::new(&match self {
            Self::Token(token) => format!("Bearer {}", token.expose()),
            Self::Basic { user, password } => {
                let both = format!("{}:{}", user.expose(), password.expose());
                format!("Basic {}", BASE64_STANDARD.encode(both))
            }
        })
    }
}

/// `http_roster_url`, with one `%s` in its path or query, without user and password.
#[derive(Clone, Eq, PartialEq)]
pub struct RosterUrl {
    /// What comes before `%s`.
    pub before: Arc<str>,
    /// What comes after it.
    pub after: Arc<str>,
}

impl RosterUrl {
    /// Whether certificates are checked there.
    pub fn is_https(&self) -> bool {
        let scheme = self.before.split(':').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }
}

impl fmt::Debug for RosterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = format!("{}%s{}", self.before, self.after);
        f.write_str(&redact::url(&url))
    }
}

impl Backend {
    /// Reads the keys of a `[[host]]` that say where its contact lists come from.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        own: &OwnAddresses,
    ) -> (Option<RosterUrl>, Self) {
        let mut it = Self::default();
        let url = section.read("http_roster_url", |text| {
            let (url, credentials) = url::roster_url(text)?;
            own.roster_fault(&url).map_or(Ok((url, credentials)), Err)
        });
        let (url, of_url) = url.unzip();
        it.credentials = Credentials::read(section, of_url.flatten());
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

impl Credentials {
    /// What the gateway logs in with. Only one of the keys may say it; `of_url` is what the URL says.
    fn read(section: &mut Section<'_, '_>, of_url: Option<Self>) -> Option<Self> {
        let is_said = [
            (
                "backend_token",
                section.has("backend_token") || section.has("backend_token_file"),
            ),
            ("backend_user", section.has("backend_user")),
            ("http_roster_url", of_url.is_some()),
        ];
        let mut said = is_said.into_iter().filter(|(_, is_said)| *is_said);
        if let (Some((first, _)), Some((second, _))) = (said.next(), said.next()) {
            section.beside(second, &section.path(first));
        }
        let token = section.secret(["backend_token", "backend_token_file"], &secret::TOKEN);
        let basic = Self::read_basic(section);
        token.map(Self::Token).or(basic).or(of_url)
    }

    fn read_basic(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = ["backend_password", "backend_password_file"];
        let password_key = keys.into_iter().find(|key| section.has(key));
        match (section.has("backend_user"), password_key) {
            (true, None) => {
                let fault = Fault::new("without a password", "set backend_password");
                section.fault("backend_user", fault);
            }
            (false, Some(key)) => {
                section.fault(key, Fault::new("without a user", "set backend_user"));
            }
            (true, Some(_)) | (false, None) => {}
        }
        let user = section.read("backend_user", secret::user);
        let password = section.secret(keys, &secret::PASSWORD);
        let (user, password) = (user?, password?);
        Some(Self::Basic { user, password })
    }
}
