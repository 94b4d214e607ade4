//! Prosody as installed, with a configuration and a data directory of its own.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;

use crate::{
    client::{Account, Client, Transport},
    free_ports,
    gateway::{Place, Server},
    http::Endpoint,
    process::{Process, program, tail},
    root,
    sasl::Mechanism,
    unique, within,
    xml::STREAMS,
};

/// Slow machines that run many tests at once need this long.
const START: Duration = Duration::from_secs(60);

/// The domain of every server that is not given another one.
pub const DOMAIN: &str = "example.org";

/// What its module for rostergate takes as authority.
pub const TOKEN: &str = "the-token-of-the-tests";

/// A Prosody, running or stopped.
pub struct Prosody {
    // Before the directory, so that the process ends first.
    process: Option<Process>,
    /// None for the shared one: its keeper removes it.
    _scratch: Option<TempDir>,
    directory: PathBuf,
    shared: bool,
    hashed: bool,
    domain: String,
    c2s: u16,
    http: u16,
    tls: bool,
    /// It has Debian's configuration, by which it serves no HTTP.
    is_debians: bool,
}

/// The settings of one.
#[derive(Clone, Debug)]
pub struct Builder {
    modules: Vec<String>,
    options: String,
    components: String,
    domain: String,
    roster: bool,
    hashed: bool,
    asks: bool,
    tls: bool,
    gc: &'static str,
    log: &'static str,
    inactivity: u32,
    /// The port, if it has to be this one.
    c2s: Option<u16>,
    /// What an administrator has added to the configuration that Debian installs, in place of ours.
    added: Option<String>,
}

impl Prosody {
    pub fn builder() -> Builder {
        // With gateways as its clients, Prosody has to notice in time that one was killed.
        let is_behind_bosh = std::env::var_os("UPSTREAM_UNDER_TEST").is_some();
        let modules = [
            "bosh",
            "carbons",
            "disco",
            "ping",
            "posix",
            "saslauth",
            "smacks",
            "websocket",
        ];
        Builder {
            modules: modules.map(str::to_owned).to_vec(),
            options: String::new(),
            components: String::new(),
            domain: DOMAIN.to_owned(),
            roster: true,
            hashed: false,
            asks: false,
            tls: false,
            gc: "generational",
            log: "debug",
            inactivity: if is_behind_bosh { 5 } else { 60 },
            c2s: None,
            added: None,
        }
    }

    /// One for all tests that need nothing special; each test has accounts of its own there.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Prosody> = OnceLock::new();
        SHARED.get_or_init(|| Self::builder().launch(true))
    }

    /// The same with passwords kept for SCRAM-SHA-256, so that it offers that.
    pub fn shared_hashed() -> &'static Self {
        static SHARED: OnceLock<Prosody> = OnceLock::new();
        SHARED.get_or_init(|| Self::builder().hashed().launch(true))
    }

    /// The same with no passwords at all: it asks whoever [`Self::account_known_at`] says.
    pub fn shared_asking() -> &'static Self {
        static SHARED: OnceLock<Prosody> = OnceLock::new();
        SHARED.get_or_init(|| Self::builder().asking().launch(true))
    }

    /// The same without rosters of its own, so that it knows no contacts at all.
    pub fn shared_without_roster() -> &'static Self {
        static SHARED: OnceLock<Prosody> = OnceLock::new();
        SHARED.get_or_init(|| Self::builder().roster(false).launch(true))
    }

    /// The same with the module for rostergate.
    pub fn shared_rostergate() -> &'static Self {
        static SHARED: OnceLock<Prosody> = OnceLock::new();
        SHARED.get_or_init(|| Self::builder().rostergate().launch(true))
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where its module for rostergate takes the contact list of this user.
    pub fn list(&self, user: &str) -> Endpoint {
        let user = utf8_percent_encode(user, NON_ALPHANUMERIC);
        self.bosh()
            .at(&format!("/rostergate/rosters/{user}"))
            .adding("Authorization", &format!("Bearer {TOKEN}"))
    }

    pub fn c2s(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.c2s).into()
    }

    /// Its own BOSH.
    pub fn bosh(&self) -> Endpoint {
        Endpoint::new((Ipv4Addr::LOCALHOST, self.http).into(), "/http-bind")
    }

    /// Its own WebSocket.
    pub fn websocket(&self) -> Endpoint {
        self.bosh().at("/xmpp-websocket")
    }

    /// The certificate that it shows, which is self-signed.
    pub fn certificate(&self) -> PathBuf {
        assert!(self.tls, "started without TLS");
        self.directory.join("tls.crt")
    }

    /// A new user whose name starts with `name` and is unique.
    pub fn account(&self, name: &str) -> Account {
        self.account_named(&format!("{name}-{}", unique()))
    }

    /// Waits until this many messages are stored for the user.
    pub async fn stores(&self, account: &Account, count: usize) {
        let path = self
            .directory
            .join("data")
            .join(encode(&account.domain))
            .join("offline")
            .join(encode(&account.local) + ".list");
        let stored = || {
            fs::read_to_string(&path)
                .unwrap_or_default()
                .matches("item({")
                .count()
        };
        let storing = async {
            while stored() < count {
                tokio::task::yield_now().await;
            }
        };
        within(&format!("{count} stored messages"), storing).await;
    }

    /// The file of a user's contact list.
    pub fn list_file(&self, account: &Account) -> PathBuf {
        let lists = self.directory.join("data").join(encode(&account.domain));
        let file = encode(&account.local) + ".dat";
        lists.join("roster").join(file)
    }

    /// A user of exactly this (prepared) name.
    pub fn account_named(&self, local: &str) -> Account {
        self.account_at(local, &self.domain)
    }

    /// A new user, about whose passwords it asks at `url`, with these credentials, if there are any.
    pub fn account_known_at(&self, name: &str, url: &str, credentials: &str) -> Account {
        let local = format!("{name}-{}", unique());
        let file = self.directory.join("questions").join(&local);
        fs::write(file, format!("{url}\n{credentials}")).expect("it can be written");
        Account {
            local,
            domain: self.domain.clone(),
            password: String::new(),
        }
    }

    /// The same of another of its domains.
    pub fn account_at(&self, local: &str, domain: &str) -> Account {
        let password = format!("secret of {local}");
        let accounts = self
            .directory
            .join("data")
            .join(encode(domain))
            .join("accounts");
        fs::create_dir_all(&accounts).expect("the directory can be made");
        let record = if self.hashed {
            let (salt, iterations) = ("salt", 4096);
            let mechanism = Mechanism::ScramSha256;
            let keys = mechanism.server_keys(&password, salt.as_bytes(), iterations);
            let (stored, server) = (hex(&keys.0), hex(&keys.1));
            format!(
                "[\"stored_key\"] = \"{stored}\"; [\"server_key\"] = \"{server}\";\n\
                 [\"salt\"] = \"{salt}\"; [\"iteration_count\"] = {iterations};"
            )
        } else {
            format!("[\"password\"] = {};", lua(&password))
        };
        let path = accounts.join(format!("{}.dat", encode(local)));
        fs::write(path, format!("return {{ {record} }};\n")).expect("the account can be written");
        Account {
            local: local.to_owned(),
            domain: domain.to_owned(),
            password,
        }
    }

    /// Logs in over TCP, past any gateway.
    pub async fn login(&self, account: &Account, resource: &str) -> Client {
        Client::login(&Transport::Tcp(self.c2s()), account, resource).await
    }

    /// A new user, logged in over TCP and available.
    pub async fn contact(&self, name: &str) -> Client {
        let mut client = self.login(&self.account(name), "desk").await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        client
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// Stops it as an administrator would: sessions are told.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        // The clients of the test must keep running meanwhile.
        let end = tokio::task::spawn_blocking(move || process.wait(START));
        end.await.expect("it ends");
    }

    /// Sends a signal, named as `kill` does.
    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Stops it as a power cut would.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Starts it again, on the same ports with the same data.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it ended before");
        assert!(self.run(), "its ports are still free\n{}", self.log_tail());
    }

    /// The same with other settings.
    pub fn start_again_with(&mut self, builder: &Builder) {
        let path = self.directory.join("prosody.cfg.lua");
        fs::write(path, builder.config(self)).expect("the configuration can be written");
        self.start_again();
    }

    /// Waits until its log has had this so often.
    pub async fn logs(&self, text: &str, times: usize) {
        let path = self.directory.join("prosody.log");
        let logging = async {
            while fs::read_to_string(&path)
                .unwrap_or_default()
                .matches(text)
                .count()
                < times
            {
                tokio::task::yield_now().await;
            }
        };
        within(&format!("{text:?} in the log of Prosody"), logging).await;
    }

    pub fn log_tail(&self) -> String {
        tail(&self.directory.join("prosody.log"))
    }

    /// Starts the process; false if a port is taken.
    fn run(&mut self) -> bool {
        let config = self.directory.join("prosody.cfg.lua");
        let args = ["-F".into(), "--config".into(), config.into_os_string()];
        let scratch = if self.shared {
            self.directory.as_path()
        } else {
            Path::new("")
        };
        let scratch = scratch.to_str().expect("a directory of ours");
        let log = self.directory.join("stderr.log");
        let environment = [("SCRATCH", scratch)];
        let mut process = Process::start(&program("PROSODY", "prosody"), args, &environment, log);
        let mut services = vec![("'c2s'", self.c2s)];
        if !self.is_debians {
            services.push(("'http'", self.http));
        }
        while !services.is_empty() {
            let Some(line) = process.line(START) else {
                let (out, log) = (process.log_tail(), self.log_tail());
                panic!("Prosody does not start (is it installed?)\n{out}\n{log}")
            };
            if let Some((_, activated)) = line.split_once("Activated service ") {
                let (name, ports) = activated.split_once(" on ").expect("where it listens");
                let position = services.iter().position(|service| service.0 == name);
                let Some(position) = position else { continue };
                let (_, port) = services.remove(position);
                if !ports.contains(&format!(":{port}")) {
                    return false;
                }
            }
        }
        greet(self.c2s(), &self.domain);
        self.process = Some(process);
        true
    }
}

impl Server for Prosody {
    fn place(&self) -> Place {
        Place {
            domain: self.domain.clone(),
            c2s: self.c2s(),
            bosh: self.bosh(),
        }
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of prosody ---\n{}", self.log_tail());
        }
    }
}

impl Builder {
    /// Adds modules to the usual ones.
    pub fn modules<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.modules.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Whether it has rosters of its own, as it has by default.
    pub fn roster(mut self, roster: bool) -> Self {
        self.roster = roster;
        self
    }

    /// Adds a line to the host's configuration.
    pub fn option(mut self, line: &str) -> Self {
        self.options.push_str(line);
        self.options.push('\n');
        self
    }

    /// With the module for rostergate.
    pub fn rostergate(self) -> Self {
        self.modules(["rostergate", "pep"])
            .option(&format!("rostergate_token = {}", lua(TOKEN)))
    }

    /// How long its own BOSH waits for a request before it ends a session, in seconds.
    pub fn bosh_inactivity(mut self, seconds: u32) -> Self {
        self.inactivity = seconds;
        self
    }

    /// `Component "conference.example.org" "muc"`
    pub fn component(mut self, text: &str) -> Self {
        self.components.push_str(text);
        self.components.push('\n');
        self
    }

    pub fn domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// Keeps passwords for SCRAM-SHA-256.
    pub fn hashed(mut self) -> Self {
        self.hashed = true;
        self
    }

    /// Asks about each password over HTTP.
    pub fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    /// Offers STARTTLS, with a self-signed certificate.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Listens for clients at this port, which must be free.
    pub fn at_port(mut self, c2s: u16) -> Self {
        self.c2s = Some(c2s);
        self
    }

    /// With the configuration that Debian installs, and a file of this in its `conf.d`, in place of ours. The file has
    /// to add the domain.
    pub fn as_debian_installs_it(mut self, added: &str) -> Self {
        self.added = Some(added.to_owned());
        self
    }

    /// Collects garbage as Prosody does by default, which costs it more.
    pub fn incremental_gc(mut self) -> Self {
        self.gc = "incremental";
        self
    }

    /// Logs as little as in production.
    pub fn quiet(mut self) -> Self {
        self.log = "warn";
        self
    }

    pub fn start(self) -> Prosody {
        self.launch(false)
    }

    fn launch(self, shared: bool) -> Prosody {
        let scratch = tempfile::Builder::new()
            .prefix("rostergate-it-prosody-")
            .tempdir();
        let scratch = scratch.expect("a temporary directory can be made");
        let directory = scratch.path().to_owned();
        if self.tls {
            let names = vec![self.domain.clone()];
            let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
            let key = certified.signing_key.serialize_pem();
            fs::write(directory.join("tls.crt"), certified.cert.pem()).expect("can be written");
            fs::write(directory.join("tls.key"), key).expect("can be written");
        }
        let mut prosody = Prosody {
            process: None,
            directory,
            shared,
            hashed: self.hashed,
            domain: self.domain.clone(),
            c2s: 0,
            http: 0,
            tls: self.tls,
            is_debians: self.added.is_some(),
            _scratch: if shared {
                let _: PathBuf = scratch.keep();
                None
            } else {
                Some(scratch)
            },
        };
        fs::create_dir_all(prosody.directory.join("data")).expect("a directory can be made");
        // Where a Prosody in a system of its own finds it, too.
        let module = root().join("contrib/prosody/mod_rostergate.lua");
        fs::copy(module, prosody.directory.join("mod_rostergate.lua")).expect("can be copied");
        fs::create_dir_all(prosody.directory.join("questions")).expect("a directory can be made");
        let module = root().join("tests/support/prosody/mod_auth_questions.lua");
        fs::copy(module, prosody.directory.join("mod_auth_questions.lua")).expect("can be copied");
        // Another program may take a port after it was found free and before Prosody binds it.
        for _ in 0..10 {
            [prosody.c2s, prosody.http] = free_ports();
            prosody.c2s = self.c2s.unwrap_or(prosody.c2s);
            let config = self.config(&prosody);
            let path = prosody.directory.join("prosody.cfg.lua");
            fs::write(path, config).expect("the configuration can be written");
            if prosody.run() {
                return prosody;
            }
        }
        panic!("no free ports for Prosody\n{}", prosody.log_tail())
    }

    fn config(&self, prosody: &Prosody) -> String {
        match &self.added {
            Some(added) => Self::debian_config(prosody, added),
            None => self.own_config(prosody),
        }
    }

    /// Only where it listens and what it writes is changed, after everything else.
    fn debian_config(prosody: &Prosody, added: &str) -> String {
        let config = fs::read_to_string("/etc/prosody/prosody.cfg.lua");
        let config = config.expect("apt-get install prosody; the tests run as root");
        let folder = prosody.directory.join("conf.d");
        fs::create_dir_all(&folder).expect("a directory can be made");
        fs::write(folder.join("rostergate.cfg.lua"), added).expect("can be written");
        let path = |name: &str| lua(prosody.directory.join(name).to_str().expect("ours"));
        let machine = format!(
            "run_as_root = true\n\
             pidfile = {pidfile}\n\
             data_path = {data}\n\
             log = {{ {{ levels = {{ min = \"debug\" }}, to = \"file\", filename = {log} }},\n\
             \x20        {{ levels = {{ min = \"info\" }}, to = \"console\" }} }}\n\
             admin_socket = {socket}\n\
             interfaces = {{ \"127.0.0.1\" }}\n\
             c2s_ports = {{ {c2s} }}\n\
             c2s_direct_tls_ports, s2s_ports, s2s_direct_tls_ports = {{}}, {{}}, {{}}\n\
             http_ports, https_ports = {{ {http} }}, {{}}\n",
            pidfile = path("prosody.pid"),
            data = path("data"),
            log = path("prosody.log"),
            socket = path("prosody.sock"),
            c2s = prosody.c2s,
            http = prosody.http,
        );
        fs::write(folder.join("~machine.cfg.lua"), machine).expect("can be written");
        let include = format!("Include {}", path("conf.d/*.cfg.lua"));
        assert!(config.contains("Include \"conf.d/*.cfg.lua\""), "{config}");
        config.replace("Include \"conf.d/*.cfg.lua\"", &include)
    }

    fn own_config(&self, prosody: &Prosody) -> String {
        let path = |name: &str| lua(prosody.directory.join(name).to_str().expect("ours"));
        let mut modules = self.modules.clone();
        modules.extend(self.roster.then(|| "roster".to_owned()));
        modules.extend(self.tls.then(|| "tls".to_owned()));
        let modules: Vec<_> = modules.iter().map(|name| lua(name)).collect();
        let authentication = match (self.asks, self.hashed) {
            (true, _) => "questions",
            (false, true) => "internal_hashed",
            (false, false) => "internal_plain",
        };
        let mut config = format!(
            "run_as_root = true\n\
             daemonize = false\n\
             pidfile = {pidfile}\n\
             plugin_paths = {{ {plugins} }}\n\
             data_path = {data}\n\
             log = {{ {{ levels = {{ min = \"{level}\" }}, to = \"file\", filename = {log} }},\n\
             \x20        {{ levels = {{ min = \"info\" }}, to = \"console\" }} }}\n\
             gc = {{ mode = \"{gc}\" }}\n\
             interfaces = {{ \"127.0.0.1\" }}\n\
             c2s_ports = {{ {c2s} }}\n\
             c2s_direct_tls_ports = {{}}\n\
             http_ports = {{ {http} }}\n\
             https_ports = {{}}\n\
             http_default_host = {domain}\n\
             modules_disabled = {{ \"s2s\" }}\n\
             modules_enabled = {{ {modules} }}\n\
             authentication = \"{authentication}\"\n\
             questions_folder = {questions}\n\
             password_hash = \"SHA-256\"\n\
             c2s_require_encryption = false\n\
             bosh_max_inactivity = {inactivity}\n\
             allow_unencrypted_plain_auth = true\n\
             smacks_max_queue_size = 5000\n",
            gc = self.gc,
            inactivity = self.inactivity,
            level = self.log,
            pidfile = path("prosody.pid"),
            plugins = path(""),
            questions = path("questions"),
            data = path("data"),
            log = path("prosody.log"),
            c2s = prosody.c2s,
            http = prosody.http,
            domain = lua(&self.domain),
            modules = modules.join("; "),
        );
        if self.tls {
            let (crt, key) = (path("tls.crt"), path("tls.key"));
            writeln!(config, "ssl = {{ certificate = {crt}, key = {key} }}").expect("fits");
        }
        let (domain, options, components) = (lua(&self.domain), &self.options, &self.components);
        writeln!(config, "VirtualHost {domain}\n{options}{components}").expect("fits");
        config
    }
}

/// A server is ready when it answers a stream header.
fn greet(to: SocketAddr, domain: &str) {
    let mut socket = TcpStream::connect(to).expect("the server listens");
    socket.set_read_timeout(Some(START)).expect("a timeout");
    let header = format!(
        "<stream:stream to='{domain}' version='1.0' xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
    );
    socket
        .write_all(header.as_bytes())
        .expect("the server reads");
    let mut answer = String::new();
    let mut bytes = [0; 4096];
    while !answer.contains("features") {
        let length = socket.read(&mut bytes).expect("the server answers");
        assert!(length > 0, "the server goes on: {answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
}

/// Encodes a name as Prosody's file storage does.
fn encode(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02x}").expect("a string takes it");
        }
    }
    out
}

/// A Lua string.
fn lua(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'"' && byte != b'\\' => out.push(char::from(byte)),
            byte => write!(out, "\\{byte:03}").expect("a string takes it"),
        }
    }
    out.push('"');
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
