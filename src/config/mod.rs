//! The configuration as the program uses it: validated, typed, secrets masked.
//!
//! Parsed, not validated: `file` mirrors what is written, `value` gives each text its meaning,
//! `reader` joins the two and notes what is wrong, and what comes out here needs no more checks.
//! Nothing here reads the environment.

mod error;
#[cfg(test)]
mod example;
mod file;
mod listeners;
mod reader;
mod redact;
mod restart;
mod tls;
mod value;

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ipnet::IpNet;
use jid::DomainPart;
use rustls::RootCertStore;

pub use error::{ConfigError, ConfigErrors, Position};

use crate::net::{
    listener::Limits,
    proxy::ProxyProtocol,
    tls::{ClientAuthority, Identity},
};

/// Where those ask who watch over the gateway.
pub const MONITORING_PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];
/// Where clients look for the way to us, as XML and as JSON (RFC 6415).
pub const DISCOVERY_PATHS: [&str; 2] = ["/.well-known/host-meta", "/.well-known/host-meta.json"];

/// A text that may be shown: of a URL, user, password and query are left out.
pub fn without_secrets(text: &str) -> String {
    redact::value("", text)
}

/// The same of a text that is a URL in any case, if only a path.
pub fn without_secrets_of_url(text: &str) -> String {
    redact::url(text)
}

/// Everything that `rostergate.toml` says.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[session]`
    pub session: Session,
    /// `[web]`
    pub web: Web,
    /// `[bosh]`
    pub bosh: Bosh,
    /// `[discovery]`: where clients are told that BOSH is; `None` where they are told nothing.
    pub bosh_url: Option<String>,
    /// `[admin]`
    pub admin: Admin,
    /// `[monitoring]`: where metrics and health are served to anybody; `None`: where the admin API is, to
    /// this machine alone.
    pub monitoring: Option<SocketAddr>,
    /// `[log]`
    pub log: Log,
    /// `[[host]]`, at least one, domains distinct.
    pub hosts: Vec<Host>,
}

impl Config {
    /// Reads the file at `path`; paths in it start from its folder.
    ///
    /// # Errors
    ///
    /// All that is wrong with the values at once, but only the first thing that is wrong with the
    /// syntax, a key or a type.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let name = without_secrets(&path.display().to_string());
        let text = fs::read_to_string(path).map_err(|error| ConfigError {
            file: name.clone(),
            position: None,
            key: String::new(),
            problem: format!("cannot be read: {error}"),
            got: None,
            cure: (error.kind() == io::ErrorKind::NotFound)
                .then(|| "start from what `rostergate example-config` prints".to_owned()),
        })?;
        Self::parse(&text, &name, path.parent().unwrap_or_else(|| Path::new("")))
    }

    /// Reads `text`; errors call it `name`, and paths in it start from `base`.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(text: &str, name: &str, base: &Path) -> Result<Self, ConfigErrors> {
        file::read(text, name, base)
    }

    /// A configuration that says all there is to say: every key with its meaning and default.
    pub fn example() -> &'static str {
        include_str!("../../config.example.toml")
    }
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Addresses for HTTP; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Addresses for HTTPS.
    pub listen_tls: Vec<SocketAddr>,
    /// That of `[server]`, then those of `[[certificate]]`; at least one with `listen_tls`.
    pub certificates: Vec<Identity>,
    /// Peers whose word on the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they give it.
    pub forwarded_header: ForwardedHeader,
    /// Whether they send a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Threads that serve.
    pub threads: usize,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most connections of one address at once.
    pub connections_per_address: usize,
    /// What one connection may be.
    pub limits: Limits,
    /// How long sessions get to end after SIGTERM.
    pub drain_timeout: Duration,
    /// Over how long their ends are spread.
    pub drain_spread: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5290))],
            listen_tls: Vec::new(),
            certificates: Vec::new(),
            trusted_proxies: vec![
                IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
            ],
            forwarded_header: ForwardedHeader::XForwardedFor,
            proxy_protocol: false,
            threads: 1,
            max_connections: 100_000,
            connections_per_address: 2000,
            limits: Limits::default(),
            drain_timeout: Duration::from_secs(10),
            drain_spread: Duration::from_secs(2),
        }
    }
}

/// `forwarded_header`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForwardedHeader {
    /// RFC 7239.
    Forwarded,
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
    XForwardedFor,
}

/// `[session]`: what every session may be, whatever its client speaks.
#[derive(Clone, Debug)]
pub struct Session {
    /// Most sessions at once.
    pub max_sessions: usize,
    /// Most sessions of one address at once.
    pub sessions_per_address: usize,
    /// Most bound sessions of one user at once.
    pub sessions_per_user: usize,
    /// Most sessions that one address may create in a minute.
    pub creations_per_address: u32,
    /// Stanzas the server still owns while no client listens.
    pub max_unconfirmed: u32,
    /// Undelivered bytes of a session beyond which its server is not read from.
    pub max_pending: usize,
    /// The same of all sessions.
    pub max_pending_total: usize,
    /// Requests of one session in a second, in the long run; more wait.
    pub max_request_rate: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            max_sessions: 50_000,
            sessions_per_address: 1000,
            sessions_per_user: 50,
            creations_per_address: 120,
            max_unconfirmed: 400,
            max_pending: 1 << 20,
            max_pending_total: 256 << 20,
            max_request_rate: 100,
        }
    }
}

/// `[web]`: which pages may use the gateway.
#[derive(Clone, Debug)]
pub struct Web {
    /// Origins that may read answers; `*` alone means any.
    pub origins: Vec<String>,
    /// Headers that pages may send besides Content-Type.
    pub headers: Vec<String>,
    /// Whether pages of other origins may not even create sessions.
    pub strict: bool,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            origins: vec!["*".to_owned()],
            headers: Vec::new(),
            strict: false,
        }
    }
}

/// `[bosh]`
#[derive(Clone, Debug)]
pub struct Bosh {
    /// Path of the connection manager, without a trailing slash.
    pub path: String,
    /// Longest time a request is held.
    pub wait: Duration,
    /// Longest time a session lives without an open request.
    pub inactivity: Duration,
    /// Longest pause a client may ask for.
    pub max_pause: Duration,
    /// Longest request body, bytes.
    pub max_body: usize,
    /// Longest time for one to come in.
    pub body_timeout: Duration,
    /// Whether clients may poll (`hold` or `wait` of 0) rather than have requests held.
    pub polling: bool,
    /// How long a client's acknowledgement may be behind before it is told so.
    pub report_grace: Duration,
}

impl Default for Bosh {
    fn default() -> Self {
        Self {
            path: "/http-bind".to_owned(),
            wait: Duration::from_secs(60),
            inactivity: Duration::from_secs(120),
            max_pause: Duration::from_secs(120),
            max_body: 1 << 20,
            body_timeout: Duration::from_secs(30),
            polling: true,
            report_grace: Duration::from_secs(2),
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Path prefix, without a trailing slash.
    pub path: String,
    /// A listener of its own for HTTP; without this and `listen_tls`, it is served beside `[bosh]`.
    pub listen: Option<SocketAddr>,
    /// The same for HTTPS.
    pub listen_tls: Option<SocketAddr>,
    /// Bearer token; without this and `client_ca`, loopback peers only.
    pub token: Option<Secret>,
    /// Whose client certificates are as good as the token.
    pub client_ca: Option<ClientAuthority>,
    /// Every answer comes within this time.
    pub deadline: Duration,
    /// Longest request body, bytes.
    pub max_body: usize,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            path: "/roster_admin".to_owned(),
            listen: None,
            listen_tls: None,
            token: None,
            client_ca: None,
            deadline: Duration::from_secs(30),
            max_body: 1 << 20,
        }
    }
}

impl Admin {
    /// Whether the API has addresses of its own, and is not served at those of `[server]`.
    pub fn is_apart(&self) -> bool {
        self.listen.is_some() || self.listen_tls.is_some()
    }
}

/// `[log]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// What is logged, as directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
    /// Whether each HTTP request has a line.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
            access: false,
        }
    }
}

/// `log.format`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// `[[host]]`
#[derive(Clone, Debug)]
pub struct Host {
    /// The XMPP domain, prepared.
    pub domain: DomainPart,
    /// Where its server is.
    pub upstream: Upstream,
    /// Where its rosters come from; absent: stanzas pass untouched.
    pub http_roster_url: Option<RosterUrl>,
    /// Who carries presence between contacts.
    pub presence: Presence,
    /// How the backend is asked.
    pub backend: Backend,
}

/// Who carries presence between contacts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// The gateway, by directed presence.
    Directed,
    /// The server; the gateway leaves it alone.
    Server,
}

/// How the backend is asked for rosters.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Who the gateway is to it.
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

/// The `upstream` of a host.
#[derive(Clone)]
pub struct Upstream {
    /// What is spoken there.
    pub scheme: Scheme,
    /// Where it is.
    pub place: Place,
    /// Path and query of a BOSH endpoint; empty otherwise.
    pub path: String,
    /// Where it may send us instead.
    pub referrals: Vec<Place>,
    /// The PROXY protocol, if the client's address is told to it in that.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether and how TLS is used.
    pub tls: UpstreamTls,
    /// PEM bundle that replaces the system's roots for `verify`.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("scheme", &self.scheme)
            .field("place", &self.place)
            .field("path", &redact::url(&self.path))
            .field("referrals", &self.referrals)
            .field("proxy_protocol", &self.proxy_protocol)
            .field("tls", &self.tls)
            .field("ca", &self.ca)
            .finish()
    }
}

/// A host and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Host name or address literal (no brackets).
    pub address: String,
    /// TCP port.
    pub port: u16,
}

impl Place {
    /// Whether a server that says `text`, a host and perhaps a port, means this.
    pub fn is_meant_by(&self, text: &str) -> bool {
        value::place(text, 5222).is_ok_and(|place| {
            place.port == self.port && place.address.eq_ignore_ascii_case(&self.address)
        })
    }
}

/// Scheme of an upstream URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// The server's own BOSH, in clear.
    Http,
    /// The server's own BOSH over TLS.
    Https,
    /// TCP, STARTTLS by policy.
    Xmpp,
    /// TLS from the first byte.
    Xmpps,
}

/// `upstream_tls`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamTls {
    /// Loopback: plain where the server allows it, else any certificate. Elsewhere: as `Verify`.
    Auto,
    /// STARTTLS always, certificate checked against the domain (that of the URL with `https://`).
    Verify,
    /// STARTTLS always, any certificate.
    Insecure,
    /// Never TLS.
    Plain,
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

/// A value that never shows in logs.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps it.
    pub fn new(value: &str) -> Self {
        Self(Arc::from(value))
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MASKED")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigErrors> {
        Config::parse(text, "test.toml", Path::new("."))
    }

    #[test]
    fn secrets_do_not_show() {
        let config = parse(
            "[admin]\ntoken = 'hunter2hunter2'\n[[host]]\ndomain = 'a'\nupstream = 'xmpp://a'\n\
             backend_token = 'swordfish'\n\
             [[host]]\ndomain = 'b'\nupstream = 'https://a/b?key=swordfish'\n\
             http_roster_url = 'http://swordfish:hunter2@a/%s?key=hunter2'\n\
             [[host]]\ndomain = 'c'\nupstream = 'xmpp://a'\n\
             backend_user = 'swordfish'\nbackend_password = 'hunter2'\n",
        )
        .expect("valid");
        assert_eq!(
            config.admin.token.as_ref().map(Secret::expose),
            Some("hunter2hunter2")
        );
        let shown = format!("{config:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("swordfish"),
            "{shown}"
        );
        let errors = parse("[admin]\ntoken = 31337\n").unwrap_err().to_string();
        assert!(!errors.contains("31337"), "{errors}");
        let errors = parse("[admin]\ntoken = 'a b'\n").unwrap_err().to_string();
        assert!(!errors.contains("a b"), "{errors}");
    }
}
