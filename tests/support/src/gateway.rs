//! Gateway: the real program, with a configuration of its own. With `GATEWAYS_UNDER_TEST=3`, three of them that are one.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    DEADLINE,
    backend::Backend,
    client::{Account, Client, Transport},
    http::Endpoint,
    nats::Nats,
    process::Process,
    proxy::{Kind, Proxy},
    rostergate, site, unique,
};

/// Slow machines that run many tests at once need this long.
const START: Duration = Duration::from_secs(30);

/// An XMPP server that a gateway can stand in front of.
pub trait Server {
    fn place(&self) -> Place;
}

/// The addresses of a server.
#[derive(Clone, Debug)]
pub struct Place {
    pub domain: String,
    pub c2s: SocketAddr,
    /// Its own BOSH.
    pub bosh: Endpoint,
}

impl Place {
    /// The upstream that the gateway is configured with: the plain c2s port, or with `UPSTREAM_UNDER_TEST=bosh` the
    /// server's own BOSH, so that the same tests can be run with either.
    fn upstream(&self) -> String {
        if std::env::var_os("UPSTREAM_UNDER_TEST").is_some_and(|value| value == "bosh") {
            self.bosh_url()
        } else {
            format!("xmpp://{}", self.c2s)
        }
    }

    /// Its own BOSH as an `upstream`.
    pub fn bosh_url(&self) -> String {
        format!("http://{}{}", self.bosh.address, self.bosh.path)
    }
}

/// A running gateway.
#[must_use = "it ends when dropped"]
pub struct Gateway {
    // Before the directory, so that the process ends first.
    process: Option<Process>,
    directory: TempDir,
    http: SocketAddr,
    path: String,
    https: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    admin_https: Option<SocketAddr>,
    monitoring: Option<SocketAddr>,
    /// How it is started; none for another BOSH.
    builder: Option<Builder>,
    /// What stands before it, and those that are one with it.
    several: Option<(Proxy, Vec<Self>)>,
}

/// The contents of its configuration.
#[derive(Clone, Debug)]
pub struct Builder {
    environment: Vec<(String, String)>,
    /// The whole text, in place of the fields below.
    text: Option<String>,
    listen: SocketAddr,
    server: String,
    session: String,
    web: String,
    bosh: String,
    websocket: String,
    admin: String,
    /// The table of the first host; then further whole tables.
    host: String,
    more_hosts: String,
    domain: String,
    upstream: String,
}

impl Gateway {
    /// A gateway in front of this server, without rosters.
    pub fn builder(server: &impl Server) -> Builder {
        let place = server.place();
        Builder {
            environment: Vec::new(),
            text: None,
            listen: ([127, 0, 0, 1], 0).into(),
            server: String::new(),
            session: String::new(),
            web: String::new(),
            bosh: String::new(),
            websocket: String::new(),
            admin: String::new(),
            host: String::new(),
            more_hosts: String::new(),
            upstream: place.upstream(),
            domain: place.domain,
        }
    }

    /// A gateway in front of this server, with nothing special. It ends when the value is dropped, so keep it.
    pub fn start(server: &impl Server) -> Self {
        Self::builder(server).start()
    }

    pub fn bosh(&self) -> Endpoint {
        Endpoint::new(self.http, &self.path)
    }

    /// The WebSocket of the same listener.
    pub fn websocket(&self) -> Endpoint {
        match site::foreign() {
            Some(foreign) => foreign.websocket().clone(),
            None => Endpoint::new(self.http, "/xmpp-websocket"),
        }
    }

    pub fn https(&self) -> SocketAddr {
        self.https.expect("configured with listen_tls")
    }

    pub fn admin_https(&self) -> SocketAddr {
        self.admin_https.expect("configured with admin.listen_tls")
    }

    /// The admin API, if it listens without TLS.
    pub fn admin(&self) -> Endpoint {
        Endpoint::new(self.admin.unwrap_or(self.http), "/roster_admin")
    }

    /// Metrics and health, at whichever address they are served.
    pub fn monitoring(&self) -> Endpoint {
        let address = self.monitoring.or(self.admin).unwrap_or(self.http);
        Endpoint::new(address, "/metrics")
    }

    /// BOSH, or with `FRONT_UNDER_TEST=websocket` the WebSocket, so that the same tests can be run with either.
    pub fn transport(&self) -> Transport {
        if std::env::var_os("FRONT_UNDER_TEST").is_some_and(|value| value == "websocket") {
            Transport::WebSocket(self.websocket())
        } else {
            Transport::Bosh(self.bosh())
        }
    }

    /// Waits until it knows of so many gateways, itself included.
    pub fn await_members(&self, count: usize) {
        self.await_metric("cluster_members", count);
    }

    /// Waits until the metric `rostergate_NAME` has this value.
    pub fn await_metric(&self, name: &str, value: usize) {
        let (name, wanted) = (format!("rostergate_{name}"), format!(" {value}"));
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let metrics = self.metrics();
            let mut lines = metrics.lines();
            let rest = lines.find_map(|line| line.strip_prefix(&name));
            if rest.is_some_and(|it| it.ends_with(&wanted)) {
                return;
            }
        }
        panic!("{name}}} is not {value} within {START:?}\n{}", self.log());
    }

    fn metrics(&self) -> String {
        let mut answer = String::new();
        let asked = TcpStream::connect(self.monitoring().address).and_then(|mut stream| {
            let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            stream.read_to_string(&mut answer)
        });
        asked.expect("it runs");
        answer
    }

    /// Logs in through the gateway.
    pub async fn login(&self, account: &Account, resource: &str) -> Client {
        Client::login(&self.transport(), account, resource).await
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// Peak of its resident memory so far, bytes.
    pub fn peak_memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: usize = kilobytes.expect("VmHWM in kB").parse().expect("a number");
        kilobytes << 10
    }

    /// Sends a signal, named as `kill` does.
    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Waits for it to end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.as_mut().expect("it runs").wait(DEADLINE)
    }

    /// Starts it again, on the same port for HTTP; it must have ended before.
    pub fn start_again(self) -> Self {
        let config = fs::read_to_string(self.config_path()).expect("it is there");
        let listen = format!("listen = [\"{}\"]", self.http);
        let config = config.replacen("listen = [\"127.0.0.1:0\"]", &listen, 1);
        fs::write(self.config_path(), config).expect("it can be written");
        let builder = self.builder.expect("it is ours");
        drop(self.process);
        builder.run(self.directory, None)
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The path of its configuration, for tests that change it and send `HUP`.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("rostergate.toml")
    }
}

impl Builder {
    /// Takes rosters from this backend, for the host of the server.
    pub fn backend(self, backend: &Backend) -> Self {
        let url = backend.url();
        self.host(&format!("http_roster_url = \"{url}\""))
    }

    /// Uses another upstream than the server's plain c2s port.
    pub fn upstream(mut self, url: &str) -> Self {
        url.clone_into(&mut self.upstream);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses this configuration, whatever else is set here.
    pub fn text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Listens at this address, not at any free port.
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.listen = listen;
        self
    }

    /// Adds a line to `[server]`; `listen` is there already.
    pub fn server(mut self, line: &str) -> Self {
        push_line(&mut self.server, line);
        self
    }

    /// Adds whole tables.
    pub fn tables(mut self, text: &str) -> Self {
        push_line(&mut self.more_hosts, text);
        self
    }

    /// Adds a line to `[session]`.
    pub fn session(mut self, line: &str) -> Self {
        push_line(&mut self.session, line);
        self
    }

    /// Adds a line to `[web]`.
    pub fn web(mut self, line: &str) -> Self {
        push_line(&mut self.web, line);
        self
    }

    /// Adds a line to `[bosh]`.
    pub fn bosh(mut self, line: &str) -> Self {
        push_line(&mut self.bosh, line);
        self
    }

    /// Adds a line to `[websocket]`.
    pub fn websocket(mut self, line: &str) -> Self {
        push_line(&mut self.websocket, line);
        self
    }

    /// Adds a line to `[admin]`.
    pub fn admin(mut self, line: &str) -> Self {
        push_line(&mut self.admin, line);
        self
    }

    /// Adds a line to the server's `[[host]]`.
    pub fn host(mut self, line: &str) -> Self {
        push_line(&mut self.host, line);
        self
    }

    /// Adds a whole `[[host]]`, in front of another server.
    pub fn another_host(mut self, server: &impl Server, lines: &str) -> Self {
        let place = server.place();
        let (domain, upstream) = (&place.domain, place.upstream());
        let host = format!("\n[[host]]\ndomain = \"{domain}\"\nupstream = \"{upstream}\"\n{lines}");
        push_line(&mut self.more_hosts, &host);
        self
    }

    pub fn config(&self) -> String {
        let Self {
            listen,
            server,
            session,
            web,
            bosh,
            websocket,
            admin,
            host,
            more_hosts,
            domain,
            upstream,
            ..
        } = self;
        let threads = std::env::var("GATEWAY_THREADS").unwrap_or_else(|_| "1".to_owned());
        let mut config =
            format!("[server]\nlisten = [\"{listen}\"]\nthreads = {threads}\n{server}");
        write!(
            config,
            "\n[session]\n{session}\n[web]\n{web}\n[bosh]\n{bosh}\n[admin]\n{admin}\n[[host]]\ndomain = \"{domain}\"\n"
        )
        .expect("a string takes it");
        // The table may not be there: programs of earlier versions are tested, too.
        if !websocket.is_empty() {
            config = config.replacen(
                "\n[admin]",
                &format!("\n[websocket]\n{websocket}\n[admin]"),
                1,
            );
        }
        write!(config, "upstream = \"{upstream}\"\n{host}{more_hosts}").expect("fits");
        config
    }

    pub fn start(self) -> Gateway {
        let several = std::env::var("GATEWAYS_UNDER_TEST");
        match several.map(|it| it.parse().expect("GATEWAYS_UNDER_TEST is a number")) {
            Ok(count) if site::foreign().is_none() => self.start_several(count),
            _ => self.start_alone(),
        }
    }

    /// One, whatever is under test.
    pub fn start_alone(self) -> Gateway {
        self.start_with(None)
    }

    /// So many that are one, behind a balancer that gives each connection to the next of them. What is said of a
    /// gateway by its methods, but for its addresses, is said of the first.
    fn start_several(self, count: usize) -> Gateway {
        let name = format!("it-{}-{}", std::process::id(), unique());
        let nats = Nats::shared().url();
        let starting: Vec<_> = (0..count)
            .map(|number| {
                let table = format!(
                    "[cluster]\nnats = [\"{nats}\"]\nname = \"{name}\"\nnode = \"g{number}\""
                );
                let builder = self.clone().tables(&table);
                std::thread::spawn(|| builder.start_alone())
            })
            .collect();
        let all = starting.into_iter().map(|it| it.join().expect("it starts"));
        let mut all: Vec<_> = all.collect();
        for gateway in &all {
            gateway.await_members(count);
        }
        let addresses: Vec<_> = all.iter().map(|it| it.http).collect();
        let proxy = Proxy::before(Kind::RoundRobinTcp, &addresses);
        let mut first = all.remove(0);
        first.http = proxy.http().address;
        first.several = Some((proxy, all));
        first
    }

    /// The same with standard error going there, not to the log.
    pub fn start_logging_to(self, stderr: Stdio) -> Gateway {
        self.start_with(Some(stderr))
    }

    fn start_with(self, stderr: Option<Stdio>) -> Gateway {
        let directory = tempfile::Builder::new().prefix("rostergate-it-").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        // For comparison, the same test can be run against another BOSH.
        if let Some(foreign) = site::foreign() {
            let lines = [
                &self.server,
                &self.session,
                &self.web,
                &self.bosh,
                &self.websocket,
                &self.admin,
                &self.host,
            ];
            if lines.iter().any(|lines| !lines.is_empty()) {
                site::only_rostergate("it is configured for this test");
            }
            return Gateway {
                process: None,
                directory,
                http: foreign.bosh().address,
                path: foreign.bosh().path.clone(),
                https: None,
                admin: None,
                admin_https: None,
                monitoring: None,
                builder: None,
                several: None,
            };
        }
        let config = directory.path().join("rostergate.toml");
        let text = self.text.clone().unwrap_or_else(|| self.config());
        fs::write(&config, text).expect("the configuration can be written");
        self.run(directory, stderr)
    }

    /// Starts it with the configuration in `directory`.
    fn run(self, directory: TempDir, stderr: Option<Stdio>) -> Gateway {
        let config = directory.path().join("rostergate.toml");
        let args = ["serve".into(), "--config".into(), config.into_os_string()];
        let log = directory.path().join("stderr.log");
        let program = &rostergate();
        let filter =
            std::env::var("ROSTERGATE_LOG").unwrap_or_else(|_| "debug,async_nats=info".to_owned());
        let mut environment = vec![("ROSTERGATE_LOG", filter.as_str()), ("SCRATCH", "")];
        let own = self.environment.iter();
        environment.extend(own.map(|(name, value)| (&**name, &**value)));
        let mut process = match stderr {
            Some(stderr) => Process::start_logging_to(stderr, program, args, &environment, log),
            None => Process::start(program, args, &environment, log),
        };
        let (mut http, mut https, mut admin, mut admin_https) = (None, None, None, None);
        let mut monitoring = None;
        let says = |lines: &str, key: &str| lines.lines().any(|line| line.starts_with(key));
        let tls = says(&self.server, "listen_tls =");
        let own_admin = says(&self.admin, "listen =");
        let own_admin_tls = says(&self.admin, "listen_tls =");
        let own_monitoring = self.more_hosts.contains("[monitoring]\nlisten =");
        while http.is_none()
            || (tls && https.is_none())
            || (own_admin && admin.is_none())
            || (own_admin_tls && admin_https.is_none())
            || (own_monitoring && monitoring.is_none())
        {
            let Some(line) = process.line(START) else {
                panic!(
                    "the gateway does not start\n{}\n{}",
                    self.config(),
                    process.log_tail()
                )
            };
            let address = |url: &str| Some(url.parse().expect("an address and a port"));
            if let Some(url) = line.strip_prefix("listening on http://") {
                http = address(url);
            } else if let Some(url) = line.strip_prefix("listening on https://") {
                https = address(url);
            } else if let Some(url) = line.strip_prefix("admin listening on http://") {
                admin = address(url);
            } else if let Some(url) = line.strip_prefix("admin listening on https://") {
                admin_https = address(url);
            } else if let Some(url) = line.strip_prefix("monitoring listening on http://") {
                monitoring = address(url);
            } else {
                panic!("an unknown line on standard output: {line}");
            }
        }
        let http = http.expect("the loop saw it");
        Gateway {
            process: Some(process),
            directory,
            http,
            path: "/http-bind".to_owned(),
            https,
            admin,
            admin_https,
            monitoring,
            builder: Some(self),
            several: None,
        }
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
