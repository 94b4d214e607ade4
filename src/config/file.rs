//! The configuration as it is written: a mirror of the TOML, and its way to a [`Config`].
//!
//! Nothing is filled in here but what [`Config`]'s own defaults say, and no value goes on unread.
//! Everything that is wrong with the values is found in one go.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use rustls::RootCertStore;
use serde::Deserialize;
use toml::Spanned;

use super::{
    Admin, Backend, Bosh, Config, Credentials, DISCOVERY_PATHS, ForwardedHeader, Host, Log,
    LogFormat, MONITORING_PATHS, Presence, RosterUrl, Scheme, Server, Session, Upstream,
    UpstreamTls, Web,
    error::{self, ConfigErrors},
    listeners::Listeners,
    reader::{Reader, Taken},
    value::{self, Fault},
};
use crate::net::proxy::ProxyProtocol;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    server: ServerTable,
    certificate: Vec<CertificateTable>,
    session: SessionTable,
    web: WebTable,
    bosh: BoshTable,
    discovery: DiscoveryTable,
    admin: AdminTable,
    monitoring: MonitoringTable,
    log: LogTable,
    host: Vec<HostTable>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerTable {
    listen: Option<Spanned<Vec<Spanned<String>>>>,
    listen_tls: Option<Spanned<Vec<Spanned<String>>>>,
    certificate: Option<Spanned<String>>,
    private_key: Option<Spanned<String>>,
    trusted_proxies: Option<Spanned<Vec<Spanned<String>>>>,
    forwarded_header: Option<Spanned<String>>,
    proxy_protocol: Option<bool>,
    threads: Option<Spanned<i64>>,
    max_connections: Option<Spanned<i64>>,
    connections_per_address: Option<Spanned<i64>>,
    handshake_timeout: Option<Spanned<String>>,
    idle_timeout: Option<Spanned<String>>,
    max_head: Option<Spanned<String>>,
    http2_ping: Option<Spanned<String>>,
    drain_timeout: Option<Spanned<String>>,
    drain_spread: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateTable {
    chain: Spanned<String>,
    private_key: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BoshTable {
    path: Option<Spanned<String>>,
    wait: Option<Spanned<String>>,
    inactivity: Option<Spanned<String>>,
    max_pause: Option<Spanned<String>>,
    max_body: Option<Spanned<String>>,
    body_timeout: Option<Spanned<String>>,
    polling: Option<bool>,
    report_grace: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SessionTable {
    max_sessions: Option<Spanned<i64>>,
    sessions_per_address: Option<Spanned<i64>>,
    sessions_per_user: Option<Spanned<i64>>,
    creations_per_address: Option<Spanned<i64>>,
    max_unconfirmed: Option<Spanned<i64>>,
    max_pending: Option<Spanned<String>>,
    max_pending_total: Option<Spanned<String>>,
    max_request_rate: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WebTable {
    origins: Option<Spanned<Vec<Spanned<String>>>>,
    headers: Option<Spanned<Vec<Spanned<String>>>>,
    strict: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DiscoveryTable {
    bosh_url: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AdminTable {
    path: Option<Spanned<String>>,
    listen: Option<Spanned<String>>,
    listen_tls: Option<Spanned<String>>,
    client_ca: Option<Spanned<String>>,
    client_names: Option<Spanned<Vec<Spanned<String>>>>,
    token: Option<Spanned<String>>,
    token_file: Option<Spanned<String>>,
    deadline: Option<Spanned<String>>,
    max_body: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MonitoringTable {
    listen: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogTable {
    filter: Option<Spanned<String>>,
    format: Option<Spanned<String>>,
    access: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    domain: Spanned<String>,
    upstream: Spanned<String>,
    upstream_tls: Option<Spanned<String>>,
    upstream_ca: Option<Spanned<String>>,
    upstream_referrals: Option<Spanned<Vec<Spanned<String>>>>,
    upstream_proxy_protocol: Option<Spanned<String>>,
    http_roster_url: Option<Spanned<String>>,
    presence: Option<Spanned<String>>,
    backend_token: Option<Spanned<String>>,
    backend_token_file: Option<Spanned<String>>,
    backend_user: Option<Spanned<String>>,
    backend_password: Option<Spanned<String>>,
    backend_password_file: Option<Spanned<String>>,
    backend_ca: Option<Spanned<String>>,
    backend_host: Option<Spanned<String>>,
    backend_timeout: Option<Spanned<String>>,
    backend_concurrency: Option<Spanned<i64>>,
    backend_max_body: Option<Spanned<String>>,
}

/// Whether one of two paths is the other, or below it.
fn overlap(one: &str, other: &str) -> bool {
    let is_below = |path: &str, other: &str| {
        let rest = path.strip_prefix(other);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_below(one, other) || is_below(other, one)
}

/// All that may say who the gateway is to a backend.
struct Login {
    /// With the place of the URL.
    of_url: Option<(Credentials, Range<usize>)>,
    token: Option<Spanned<String>>,
    token_file: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<String>>,
}

/// Reads a whole configuration; `base` is the folder that relative paths start from.
pub(super) fn read(text: &str, name: &str, base: &Path) -> Result<Config, ConfigErrors> {
    let file: File = toml::from_str(text).map_err(|error| error::from_toml(name, text, &error))?;
    let mut reader = Reader::new(text, name, base);
    let config = reader.config(file);
    reader.finish(config)
}

impl Reader<'_> {
    fn config(&mut self, file: File) -> Config {
        let mut taken = Taken::default();
        let server = self.server(file.server, file.certificate, &mut taken);
        let bosh_url = self.read(
            "discovery.bosh_url",
            file.discovery.bosh_url,
            value::public_url,
        );
        let places =
            [&file.bosh.path, &file.admin.path].map(|path| path.as_ref().map(Spanned::span));
        let session = self.session(file.session);
        let web = self.web(file.web);
        let bosh = self.bosh(file.bosh);
        let admin = self.admin(file.admin, &mut taken, &server);
        self.keep_paths_apart([&bosh.path, &admin.path], places);
        let monitoring = self.read("monitoring.listen", file.monitoring.listen, |t| {
            taken.address(t)
        });
        let log = self.log(file.log);
        if file.host.is_empty() {
            let cure = "add [[host]] with its domain and upstream";
            self.fault("host", None, Fault::new("no host to serve", cure));
        }
        let own = Listeners::of(&server, &admin, monitoring);
        let hosts = file
            .host
            .into_iter()
            .filter_map(|host| self.host(host, &mut taken, &own))
            .collect();
        Config {
            server,
            session,
            web,
            bosh,
            bosh_url,
            admin,
            monitoring,
            log,
            hosts,
        }
    }

    fn server(
        &mut self,
        table: ServerTable,
        certificates: Vec<CertificateTable>,
        taken: &mut Taken,
    ) -> Server {
        let mut server = Server::default();
        let empty = |texts: &Option<Spanned<Vec<Spanned<String>>>>| {
            texts.as_ref().map(|texts| texts.get_ref().is_empty())
        };
        if empty(&table.listen) == Some(true) && empty(&table.listen_tls) != Some(false) {
            let span = table.listen.as_ref().map(Spanned::span);
            let cure = "set server.listen or server.listen_tls";
            self.fault(
                "server.listen",
                span,
                Fault::new("no address to listen at", cure),
            );
        }
        let own = table.certificate.is_some() || table.private_key.is_some();
        if empty(&table.listen_tls) == Some(false) && !own && certificates.is_empty() {
            let span = table.listen_tls.as_ref().map(Spanned::span);
            let cure = "set server.certificate and server.private_key";
            let fault = Fault::new("HTTPS without a certificate and its key", cure);
            self.fault("server.listen_tls", span, fault);
        }
        self.list(&mut server.listen, "server.listen", table.listen, |t| {
            taken.address(t)
        });
        self.list(
            &mut server.listen_tls,
            "server.listen_tls",
            table.listen_tls,
            |t| taken.address(t),
        );
        let keys = ["server.certificate", "server.private_key"];
        let own = self.identity(keys, table.certificate, table.private_key);
        server.certificates.extend(own);
        for table in certificates {
            let span = table.chain.span();
            let keys = ["certificate.chain", "certificate.private_key"];
            let identity = self.identity(keys, Some(table.chain), Some(table.private_key));
            if !server.certificates.is_empty()
                && let Some(identity) = &identity
                && identity.names().is_empty()
            {
                let cure = "name one with subjectAltNames, or make it server.certificate";
                let fault = Fault::new("for no DNS name, so it would never be shown", cure);
                self.fault("certificate.chain", Some(span), fault);
            }
            server.certificates.extend(identity);
        }
        self.list(
            &mut server.trusted_proxies,
            "server.trusted_proxies",
            table.trusted_proxies,
            value::network,
        );
        self.number(
            &mut server.threads,
            "server.threads",
            table.threads,
            1..=1024,
        );
        self.number(
            &mut server.max_connections,
            "server.max_connections",
            table.max_connections,
            1..=10_000_000,
        );
        self.number(
            &mut server.connections_per_address,
            "server.connections_per_address",
            table.connections_per_address,
            1..=10_000_000,
        );
        self.set(
            &mut server.limits.handshake,
            "server.handshake_timeout",
            table.handshake_timeout,
            value::duration(SECOND..=MINUTE),
        );
        self.set(
            &mut server.limits.idle,
            "server.idle_timeout",
            table.idle_timeout,
            value::duration(SECOND..=60 * MINUTE),
        );
        self.set(
            &mut server.limits.head,
            "server.max_head",
            table.max_head,
            value::size(8 * KIB..=MIB),
        );
        self.set(
            &mut server.limits.ping,
            "server.http2_ping",
            table.http2_ping,
            value::duration(SECOND..=10 * MINUTE),
        );
        self.set(
            &mut server.forwarded_header,
            "server.forwarded_header",
            table.forwarded_header,
            |text| {
                value::choice(
                    text,
                    &[
                        ("X-Forwarded-For", ForwardedHeader::XForwardedFor),
                        ("Forwarded", ForwardedHeader::Forwarded),
                    ],
                )
            },
        );
        server.proxy_protocol = table.proxy_protocol.unwrap_or(server.proxy_protocol);
        self.set(
            &mut server.drain_timeout,
            "server.drain_timeout",
            table.drain_timeout,
            value::duration(Duration::ZERO..=10 * MINUTE),
        );
        self.set(
            &mut server.drain_spread,
            "server.drain_spread",
            table.drain_spread,
            value::duration(Duration::ZERO..=10 * MINUTE),
        );
        server
    }

    fn bosh(&mut self, table: BoshTable) -> Bosh {
        let mut bosh = Bosh::default();
        self.set(&mut bosh.path, "bosh.path", table.path, value::path);
        self.set(
            &mut bosh.wait,
            "bosh.wait",
            table.wait,
            value::seconds(SECOND..=10 * MINUTE),
        );
        self.set(
            &mut bosh.inactivity,
            "bosh.inactivity",
            table.inactivity,
            value::seconds(SECOND..=60 * MINUTE),
        );
        self.set(
            &mut bosh.report_grace,
            "bosh.report_grace",
            table.report_grace,
            value::duration(Duration::ZERO..=MINUTE),
        );
        bosh.polling = table.polling.unwrap_or(bosh.polling);
        self.set(
            &mut bosh.max_pause,
            "bosh.max_pause",
            table.max_pause,
            value::seconds(Duration::ZERO..=60 * MINUTE),
        );
        self.set(
            &mut bosh.max_body,
            "bosh.max_body",
            table.max_body,
            value::size(4 * KIB..=16 * MIB),
        );
        self.set(
            &mut bosh.body_timeout,
            "bosh.body_timeout",
            table.body_timeout,
            value::duration(SECOND..=10 * MINUTE),
        );
        bosh
    }

    fn session(&mut self, table: SessionTable) -> Session {
        let mut session = Session::default();
        self.number(
            &mut session.max_sessions,
            "session.max_sessions",
            table.max_sessions,
            1..=10_000_000,
        );
        self.number(
            &mut session.sessions_per_address,
            "session.sessions_per_address",
            table.sessions_per_address,
            1..=10_000_000,
        );
        self.number(
            &mut session.sessions_per_user,
            "session.sessions_per_user",
            table.sessions_per_user,
            1..=10_000_000,
        );
        self.number(
            &mut session.creations_per_address,
            "session.creations_per_address",
            table.creations_per_address,
            1..=1_000_000,
        );
        self.number(
            &mut session.max_unconfirmed,
            "session.max_unconfirmed",
            table.max_unconfirmed,
            10..=100_000,
        );
        self.set(
            &mut session.max_pending,
            "session.max_pending",
            table.max_pending,
            value::size(64 * KIB..=64 * MIB),
        );
        self.set(
            &mut session.max_pending_total,
            "session.max_pending_total",
            table.max_pending_total,
            value::size(MIB..=TIB),
        );
        self.number(
            &mut session.max_request_rate,
            "session.max_request_rate",
            table.max_request_rate,
            1..=1_000_000,
        );
        session
    }

    fn web(&mut self, table: WebTable) -> Web {
        let mut web = Web::default();
        let origins = table.origins.as_ref().map(Spanned::span);
        self.list(
            &mut web.headers,
            "web.headers",
            table.headers,
            value::header,
        );
        self.list(
            &mut web.origins,
            "web.origins",
            table.origins,
            value::origin,
        );
        if web.origins.len() > 1 && web.origins.iter().any(|origin| origin == "*") {
            let fault = Fault::new(
                "\"*\" beside other origins",
                "write [\"*\"] or leave it away",
            );
            self.fault("web.origins", origins, fault);
        }
        web.strict = table.strict.unwrap_or(web.strict);
        web
    }

    fn admin(&mut self, table: AdminTable, taken: &mut Taken, server: &Server) -> Admin {
        let mut admin = Admin::default();
        self.set(&mut admin.path, "admin.path", table.path, value::path);
        admin.listen = self.read("admin.listen", table.listen, |t| taken.address(t));
        let listen_tls = table.listen_tls.as_ref().map(Spanned::span);
        admin.listen_tls = self.read("admin.listen_tls", table.listen_tls, |t| taken.address(t));
        if listen_tls.is_some() && server.certificates.is_empty() {
            let cure = "set server.certificate and server.private_key";
            let fault = Fault::new("HTTPS without a certificate and its key", cure);
            self.fault("admin.listen_tls", listen_tls, fault);
        }
        let (ca, names) = (table.client_ca, table.client_names);
        let at = [
            ca.as_ref().map(Spanned::span),
            names.as_ref().map(Spanned::span),
        ];
        let mut client_names = Vec::new();
        self.list(
            &mut client_names,
            "admin.client_names",
            names,
            value::dns_name,
        );
        admin.client_ca = self.client_authority("admin.client_ca", ca, &client_names);
        let [ca, names] = at;
        if ca.is_none() && !client_names.is_empty() {
            let fault = Fault::new("without the authority", "set admin.client_ca");
            self.fault("admin.client_names", names, fault);
        }
        let has_tls = match admin.is_apart() {
            true => admin.listen_tls.is_some(),
            false => !server.listen_tls.is_empty(),
        };
        if ca.is_some() && !has_tls {
            let cure = "set admin.listen_tls";
            let fault = Fault::new("the API is served without TLS only", cure);
            self.fault("admin.client_ca", ca, fault);
        }
        admin.token = self.secret(
            ["admin.token", "admin.token_file"],
            table.token,
            table.token_file,
            &value::TOKEN,
        );
        self.set(
            &mut admin.deadline,
            "admin.deadline",
            table.deadline,
            value::duration(SECOND..=10 * MINUTE),
        );
        self.set(
            &mut admin.max_body,
            "admin.max_body",
            table.max_body,
            value::size(4 * KIB..=64 * MIB),
        );
        admin
    }

    /// Refuses paths that hide each other, or what is served at paths of its own.
    fn keep_paths_apart(&mut self, paths: [&str; 2], places: [Option<Range<usize>>; 2]) {
        let [bosh, admin] = paths;
        let keys = ["bosh.path", "admin.path"];
        let cure = "choose two paths that share no prefix";
        if overlap(bosh, admin) {
            let fault = Fault::new("overlaps bosh.path", cure);
            self.fault("admin.path", places[1].clone(), fault);
        }
        let monitoring = MONITORING_PATHS.map(|path| (path, "monitoring.listen"));
        let discovery = DISCOVERY_PATHS.map(|path| (path, "discovery.bosh_url"));
        for ((key, path), place) in keys.into_iter().zip(paths).zip(places) {
            let mut fixed = monitoring.iter().chain(&discovery);
            if let Some((other, of)) = fixed.find(|(other, _)| overlap(path, other)) {
                let problem = format!("overlaps {other}, which is that of {of}");
                self.fault(key, place, Fault::new(problem, "choose another path"));
            }
        }
    }

    fn log(&mut self, table: LogTable) -> Log {
        let mut log = Log::default();
        self.set(
            &mut log.filter,
            "log.filter",
            table.filter,
            value::log_filter,
        );
        self.set(&mut log.format, "log.format", table.format, |text| {
            value::choice(
                text,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            )
        });
        log.access = table.access.unwrap_or(log.access);
        log
    }

    fn host(&mut self, table: HostTable, taken: &mut Taken, own: &Listeners) -> Option<Host> {
        let domain = self.read("host.domain", Some(table.domain), |t| taken.domain(t));
        let tls = [table.upstream_tls, table.upstream_ca];
        let mut upstream = self.upstream(table.upstream, tls, own);
        let mut referrals = Vec::new();
        let referrals_span = table.upstream_referrals.as_ref().map(Spanned::span);
        self.list(
            &mut referrals,
            "host.upstream_referrals",
            table.upstream_referrals,
            value::referral,
        );
        let proxy_span = table.upstream_proxy_protocol.as_ref().map(Spanned::span);
        let proxy_protocol = self.read(
            "host.upstream_proxy_protocol",
            table.upstream_proxy_protocol,
            |text| {
                let versions = [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
                value::choice(text, &versions)
            },
        );
        if let Some(upstream) = &mut upstream {
            let is_bosh = matches!(upstream.scheme, Scheme::Http | Scheme::Https);
            if is_bosh && !referrals.is_empty() {
                let fault = Fault::new(
                    "a server that is reached by BOSH is never left for another",
                    "leave upstream_referrals away, or use xmpp://",
                );
                self.fault("host.upstream_referrals", referrals_span, fault);
            }
            upstream.referrals = referrals;
            if is_bosh && proxy_protocol.is_some() {
                let fault = Fault::new(
                    "a server that is reached by BOSH is told by X-Forwarded-For",
                    "leave upstream_proxy_protocol away, or use xmpp://",
                );
                self.fault("host.upstream_proxy_protocol", proxy_span, fault);
            }
            upstream.proxy_protocol = proxy_protocol;
        }
        let url_span = table.http_roster_url.as_ref().map(Spanned::span);
        let url = self.read("host.http_roster_url", table.http_roster_url, |text| {
            let (url, credentials) = value::roster_url(text)?;
            own.roster_fault(&url).map_or(Ok((url, credentials)), Err)
        });
        let (http_roster_url, of_url) = url.unzip();
        let login = Login {
            of_url: of_url.flatten().zip(url_span),
            token: table.backend_token,
            token_file: table.backend_token_file,
            user: table.backend_user,
            password: table.backend_password,
            password_file: table.backend_password_file,
        };
        let is_https = http_roster_url.as_ref().is_none_or(RosterUrl::is_https);
        let mut backend = Backend {
            credentials: self.credentials(login),
            authorities: self.backend_ca(table.backend_ca, is_https),
            host: self.read("host.backend_host", table.backend_host, value::host_header),
            ..Backend::default()
        };
        let mut presence = Presence::Directed;
        self.set(&mut presence, "host.presence", table.presence, |text| {
            value::choice(
                text,
                &[
                    ("directed", Presence::Directed),
                    ("server", Presence::Server),
                ],
            )
        });
        self.set(
            &mut backend.timeout,
            "host.backend_timeout",
            table.backend_timeout,
            value::duration(Duration::from_millis(100)..=5 * MINUTE),
        );
        self.number(
            &mut backend.concurrency,
            "host.backend_concurrency",
            table.backend_concurrency,
            1..=1024,
        );
        self.set(
            &mut backend.max_body,
            "host.backend_max_body",
            table.backend_max_body,
            value::size(4 * KIB..=1024 * MIB),
        );
        Some(Host {
            domain: domain?,
            upstream: upstream?,
            http_roster_url,
            presence,
            backend,
        })
    }

    /// Who the gateway is to a backend, which only one thing may say.
    fn credentials(&mut self, login: Login) -> Option<Credentials> {
        let span = |text: &Option<Spanned<String>>| text.as_ref().map(Spanned::span);
        let ways = [
            (
                "host.backend_token",
                span(&login.token).or_else(|| span(&login.token_file)),
            ),
            ("host.backend_user", span(&login.user)),
            (
                "the user in host.http_roster_url",
                login.of_url.as_ref().map(|it| it.1.clone()),
            ),
        ];
        let mut set = ways
            .into_iter()
            .filter_map(|(key, span)| Some((key, span?)));
        if let (Some((first, _)), Some((key, span))) = (set.next(), set.next()) {
            let key = if key.starts_with("host.") {
                key
            } else {
                "host.http_roster_url"
            };
            self.beside(key, span, first);
        }
        let token_keys = ["host.backend_token", "host.backend_token_file"];
        let token = self.secret(token_keys, login.token, login.token_file, &value::TOKEN);
        let basic = self.basic(login.user, login.password, login.password_file);
        let of_url = login.of_url.map(|(credentials, _)| credentials);
        token.map(Credentials::Token).or(basic).or(of_url)
    }

    fn basic(
        &mut self,
        user: Option<Spanned<String>>,
        password: Option<Spanned<String>>,
        file: Option<Spanned<String>>,
    ) -> Option<Credentials> {
        let keys = ["host.backend_password", "host.backend_password_file"];
        let password_key = if password.is_some() { keys[0] } else { keys[1] };
        let password_span = password.as_ref().or(file.as_ref()).map(Spanned::span);
        match (user.as_ref().map(Spanned::span), password_span) {
            (Some(span), None) => {
                let fault = Fault::new("without a password", "set backend_password");
                self.fault("host.backend_user", Some(span), fault);
            }
            (None, Some(span)) => {
                let fault = Fault::new("without a user", "set backend_user");
                self.fault(password_key, Some(span), fault);
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        let user = self.read("host.backend_user", user, value::user);
        let password = self.secret(keys, password, file, &value::PASSWORD);
        let (user, password) = (user?, password?);
        Some(Credentials::Basic { user, password })
    }

    fn backend_ca(
        &mut self,
        bundle: Option<Spanned<String>>,
        is_https: bool,
    ) -> Option<Arc<RootCertStore>> {
        let key = "host.backend_ca";
        let span = bundle.as_ref().map(Spanned::span);
        let authorities = self.authorities(key, bundle)?;
        if !is_https {
            let problem = "no certificate is checked with http://";
            let cure = "use https://, or leave backend_ca away";
            self.fault(key, span, Fault::new(problem, cure));
        }
        Some(authorities)
    }

    fn upstream(
        &mut self,
        url: Spanned<String>,
        [tls_text, ca_text]: [Option<Spanned<String>>; 2],
        own: &Listeners,
    ) -> Option<Upstream> {
        let (tls_span, ca_span) = (
            tls_text.as_ref().map(Spanned::span),
            ca_text.as_ref().map(Spanned::span),
        );
        let url = self.read("host.upstream", Some(url), |text| {
            let url = value::upstream(text)?;
            own.upstream_fault(&url.place).map_or(Ok(url), Err)
        });
        let mut tls = UpstreamTls::Auto;
        self.set(&mut tls, "host.upstream_tls", tls_text, |text| {
            value::choice(
                text,
                &[
                    ("auto", UpstreamTls::Auto),
                    ("verify", UpstreamTls::Verify),
                    ("insecure", UpstreamTls::Insecure),
                    ("plain", UpstreamTls::Plain),
                ],
            )
        });
        let ca = self.read("host.upstream_ca", ca_text, value::file(self.base));
        let url = url?;
        if url.scheme == Scheme::Xmpps && tls == UpstreamTls::Plain {
            let fault = Fault::new(
                "plain contradicts xmpps://",
                "use xmpp:// or another policy",
            );
            self.fault("host.upstream_tls", tls_span.clone(), fault);
        }
        if url.scheme == Scheme::Https && tls == UpstreamTls::Plain {
            let fault = Fault::new(
                "plain contradicts https://",
                "use http:// or another policy",
            );
            self.fault("host.upstream_tls", tls_span.clone(), fault);
        }
        if url.scheme == Scheme::Http && !matches!(tls, UpstreamTls::Auto | UpstreamTls::Plain) {
            let fault = Fault::new(
                "http:// is never encrypted",
                "use https://, or leave upstream_tls away",
            );
            self.fault("host.upstream_tls", tls_span, fault);
        } else if ca.is_some() && url.scheme == Scheme::Http {
            let fault = Fault::new(
                "no certificate is checked with http://",
                "use https://, or leave upstream_ca away",
            );
            self.fault("host.upstream_ca", ca_span, fault);
        } else if ca.is_some() && matches!(tls, UpstreamTls::Insecure | UpstreamTls::Plain) {
            let cure = "set upstream_tls to \"verify\", or leave upstream_ca away";
            let fault = Fault::new("no certificate is checked with this upstream_tls", cure);
            self.fault("host.upstream_ca", ca_span, fault);
        }
        Some(Upstream {
            scheme: url.scheme,
            place: url.place,
            referrals: Vec::new(),
            proxy_protocol: None,
            path: url.path,
            tls,
            ca,
        })
    }
}
