//! The servers and gateways, each with the configuration that it is measured with.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    DOMAIN,
    backend::Backend,
    http::{Connection, Endpoint},
    process::{Process, free_ports, local},
    session::User,
};

/// How often another port is tried where somebody has taken one.
const ATTEMPTS: usize = 5;

/// A running program, its folder, and where it is.
#[derive(Debug)]
pub struct Server {
    // Before the folder, so that it ends first.
    process: Process,
    _folder: TempDir,
    /// Where it takes XMPP, if it does; or clients of NATS.
    pub c2s: SocketAddr,
    /// Where it takes HTTP, with BOSH and WebSocket where clients look for them.
    pub http: SocketAddr,
    /// Whether over TLS.
    pub is_encrypted: bool,
}

impl Server {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `write` writes the configuration for two ports into a folder, and says what to run, with which
    /// environment.
    fn start(write: impl Fn(&Path, [u16; 2]) -> Result<Start>) -> Result<Self> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let folder = tempfile::Builder::new().prefix("peers-").tempdir()?;
            let ports = free_ports()?;
            let start = write(folder.path(), ports)?;
            let command: Vec<&str> = start.command.iter().map(String::as_str).collect();
            let environment = start.environment.iter();
            let environment: Vec<_> = environment.map(|(name, value)| (*name, &**value)).collect();
            let [c2s, http] = ports;
            let listens: &[u16] = if start.has_c2s { &ports } else { &ports[1..] };
            match Process::start(folder.path(), &command, &environment, listens) {
                Ok(process) => {
                    return Ok(Self {
                        process,
                        _folder: folder,
                        c2s: local(c2s),
                        http: local(http),
                        is_encrypted: start.is_encrypted,
                    });
                }
                Err(error) if attempt >= ATTEMPTS => return Err(error),
                Err(_) => {}
            }
        }
    }
}

struct Start {
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// Whether it listens on the first port as well.
    has_c2s: bool,
    /// Whether it speaks TLS on the second.
    is_encrypted: bool,
}

impl Start {
    fn new<const N: usize>(command: [&str; N]) -> Self {
        Self {
            command: command.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            has_c2s: false,
            is_encrypted: false,
        }
    }
}

/// Garbage collectors of Prosody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gc {
    /// Incremental, with Prosody's own settings.
    Default,
    /// `gc = { mode = "generational" }`.
    Generational,
}

/// Prosody, which knows these users. Their contact lists are its own where it is to have them.
///
/// # Errors
///
/// It cannot be started.
pub fn prosody(gc: Gc, users: &[User], has_rosters: bool) -> Result<Server> {
    Server::start(|folder, [c2s, http]| {
        for user in users {
            store(folder, user, has_rosters)?;
        }
        let folder_name = text(folder)?;
        let gc = match gc {
            Gc::Default => "",
            Gc::Generational => "gc = { mode = \"generational\" }\n",
        };
        let rosters = if has_rosters { "\"roster\";" } else { "" };
        let config = format!(
            "run_as_root = true\n\
             daemonize = false\n\
             pidfile = \"{folder_name}/prosody.pid\"\n\
             data_path = \"{folder_name}/data\"\n\
             log = {{ warn = \"{folder_name}/prosody.log\" }}\n\
             {gc}\
             interfaces = {{ \"127.0.0.1\" }}\n\
             c2s_ports = {{ {c2s} }}\n\
             c2s_direct_tls_ports = {{}}\n\
             http_ports = {{ {http} }}\n\
             https_ports = {{}}\n\
             http_default_host = \"{DOMAIN}\"\n\
             modules_disabled = {{ \"s2s\" }}\n\
             modules_enabled = {{ {rosters} \"bosh\"; \"disco\"; \"ping\"; \"posix\"; \"saslauth\"; \"smacks\"; \"websocket\" }}\n\
             authentication = \"internal_plain\"\n\
             c2s_require_encryption = false\n\
             consider_bosh_secure = true\n\
             consider_websocket_secure = true\n\
             allow_unencrypted_plain_auth = true\n\
             smacks_max_queue_size = 5000\n\
             VirtualHost \"{DOMAIN}\"\n"
        );
        let file = folder.join("prosody.cfg.lua");
        fs::write(&file, config)?;
        let mut start = Start::new(["prosody", "-F", "--config", text(&file)?]);
        start.has_c2s = true;
        Ok(start)
    })
    .context("Prosody")
}

/// Writes a user as Prosody's file storage has it.
fn store(folder: &Path, user: &User, has_roster: bool) -> Result<()> {
    let User { name } = user;
    let write = |store: &str, content: String| -> Result<()> {
        let folder = folder.join("data").join("example%2eorg").join(store);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(format!("{name}.dat")), content)?)
    };
    write(
        "accounts",
        format!("return {{ [\"password\"] = \"{name}\"; }};\n"),
    )?;
    if has_roster {
        let mut roster = "return { [false] = { version = 1; };\n".to_owned();
        for contact in User::contacts(name, 0) {
            writeln!(
                roster,
                "[\"{contact}@{DOMAIN}\"] = {{ name = \"{contact}\"; subscription = \"both\"; \
                 groups = {{ Friends = true; }}; }};"
            )?;
        }
        write("roster", roster + "};\n")?;
    }
    Ok(())
}

/// ejabberd, with these users registered, and their contact lists where it is to have them.
///
/// # Errors
///
/// It cannot be started, or a user cannot be registered.
pub async fn ejabberd(users: &[User], has_rosters: bool) -> Result<Server> {
    let server = Server::start(|folder, [c2s, http]| {
        let config = format!(
            "hosts: [\"{DOMAIN}\"]\n\
             loglevel: warning\n\
             log_rotate_count: 0\n\
             auth_method: internal\n\
             auth_password_format: plain\n\
             listen:\n\
             \x20 - {{port: {c2s}, ip: 127.0.0.1, module: ejabberd_c2s, max_stanza_size: 262144}}\n\
             \x20 - port: {http}\n\
             \x20   ip: 127.0.0.1\n\
             \x20   module: ejabberd_http\n\
             \x20   request_handlers:\n\
             \x20     /api: mod_http_api\n\
             \x20     /http-bind: mod_bosh\n\
             \x20     /xmpp-websocket: ejabberd_http_ws\n\
             api_permissions:\n\
             \x20 here: {{from: [mod_http_api], who: {{ip: 127.0.0.0/8}}, what: [register, add_rosteritem]}}\n\
             modules:\n\
             \x20 mod_admin_extra: {{}}\n\
             \x20 mod_bosh: {{max_inactivity: 120}}\n\
             \x20 mod_disco: {{}}\n\
             \x20 mod_ping: {{}}\n\
             \x20 mod_roster: {{}}\n\
             \x20 mod_stream_mgmt: {{resend_on_timeout: true}}\n"
        );
        fs::write(folder.join("ejabberd.yml"), config)?;
        let at = |name: &str| Ok::<_, anyhow::Error>(text(&folder.join(name))?.to_owned());
        fs::create_dir_all(folder.join("spool"))?;
        let spool = format!("\"{}\"", at("spool")?);
        // Without a node name: no epmd, and nobody else's node is in the way.
        let mut start = Start::new(["erl", "-noinput", "-mnesia", "dir", &spool, "-s", "ejabberd"]);
        start.environment = vec![
            ("EJABBERD_CONFIG_PATH", at("ejabberd.yml")?),
            ("EJABBERD_LOG_PATH", at("ejabberd.log")?),
            ("EJABBERD_PID_PATH", at("pid")?),
            ("ERL_CRASH_DUMP", at("erl_crash.dump")?),
            ("ERL_LIBS", "/usr/lib/x86_64-linux-gnu".to_owned()),
        ];
        start.has_c2s = true;
        Ok(start)
    })
    .context("ejabberd")?;
    let call = |command: &str| {
        let api = Endpoint {
            address: server.http,
            path: format!("/api/{command}"),
            is_encrypted: false,
        };
        Connection::new(&api, "application/json")
    };
    let (mut register, mut befriend) = (call("register"), call("add_rosteritem"));
    for User { name } in users {
        let user = format!("{{\"user\":\"{name}\",\"host\":\"{DOMAIN}\",\"password\":\"{name}\"}}");
        register.send(&user).await?;
        register.answer().await?;
        let contacts = has_rosters.then(|| User::contacts(name, 0));
        for contact in contacts.into_iter().flatten() {
            let item = format!(
                "{{\"localuser\":\"{name}\",\"localhost\":\"{DOMAIN}\",\"user\":\"{contact}\",\
                 \"host\":\"{DOMAIN}\",\"nick\":\"{contact}\",\"group\":\"Friends\",\"subs\":\"both\"}}"
            );
            befriend.send(&item).await?;
            befriend.answer().await?;
        }
    }
    Ok(server)
}

/// How rostergate serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// HTTP/1.1 in clear, with one thread.
    Plain,
    /// The same with two.
    TwoThreads,
    /// Over TLS, with one thread; BOSH by HTTP/2.
    Encrypted,
    /// In clear, with one thread, as the gateway `node` of the cluster at this NATS.
    Member {
        /// `cluster.node`.
        node: char,
        /// Where NATS takes clients.
        nats: SocketAddr,
    },
}

/// The program `rostergate`, in front of a server.
///
/// # Errors
///
/// It cannot be started.
pub fn rostergate(
    program: &Path,
    upstream: SocketAddr,
    backend: &Backend,
    manner: Manner,
) -> Result<Server> {
    let program = program
        .canonicalize()
        .with_context(|| format!("{} (cargo build makes it)", program.display()))?;
    let backend = backend.address;
    Server::start(|folder, [_, http]| {
        let listen = match manner {
            Manner::Plain | Manner::Member { .. } => format!("listen = [\"127.0.0.1:{http}\"]"),
            Manner::TwoThreads => format!("listen = [\"127.0.0.1:{http}\"]\nthreads = 2"),
            Manner::Encrypted => {
                let [certificate, key] = certificate();
                format!(
                    "listen = []\nlisten_tls = [\"127.0.0.1:{http}\"]\n\
                     certificate = \"{certificate}\"\nprivate_key = \"{key}\""
                )
            }
        };
        let cluster = match manner {
            Manner::Member { node, nats } => {
                format!("[cluster]\nnats = [\"nats://{nats}\"]\nnode = \"{node}\"\n")
            }
            _ => String::new(),
        };
        let config = format!(
            "[server]\n{listen}\n{cluster}\
             [session]\nmax_request_rate = 1000000\n\
             [[host]]\ndomain = \"{DOMAIN}\"\nupstream = \"xmpp://{upstream}\"\n\
             http_roster_url = \"http://{backend}/contacts/%s\"\n"
        );
        let file = folder.join("rostergate.toml");
        fs::write(&file, config)?;
        let mut start = Start::new([text(&program)?, "serve", "--config", text(&file)?]);
        start.environment = vec![("ROSTERGATE_LOG", "warn".to_owned())];
        start.is_encrypted = manner == Manner::Encrypted;
        Ok(start)
    })
    .context("rostergate")
}

/// NATS, which tells by HTTP what it has carried.
///
/// # Errors
///
/// It cannot be started.
pub fn nats() -> Result<Server> {
    Server::start(|_, [clients, http]| {
        let (clients, http) = (clients.to_string(), http.to_string());
        let mut start = Start::new([
            "nats-server",
            "--addr",
            "127.0.0.1",
            "--port",
            &clients,
            "--http_port",
            &http,
        ]);
        start.has_c2s = true;
        Ok(start)
    })
    .context("NATS")
}

/// nginx with one process, in front of a server's own fronts.
///
/// # Errors
///
/// It cannot be started.
pub fn nginx(upstream: SocketAddr, is_encrypted: bool) -> Result<Server> {
    Server::start(|folder, [_, http]| {
        let tls = if is_encrypted {
            let [certificate, key] = certificate();
            format!("ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key};")
        } else {
            ";".to_owned()
        };
        let own_files = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {name};"))
            .join(" ");
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 19000; }}\n\
             http {{\n\
             access_log off; {own_files}\n\
             keepalive_requests 100000000; keepalive_timeout 300s;\n\
             upstream server {{ server {upstream}; keepalive 10000; keepalive_requests 100000000; }}\n\
             server {{ listen 127.0.0.1:{http} {tls}\n\
             proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 90s;\n\
             location /http-bind {{ proxy_pass http://server;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host {DOMAIN}; }}\n\
             location /xmpp-websocket {{ proxy_pass http://server;\n\
             proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header Host {DOMAIN}; }} }} }}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config)?;
        let (folder, file) = (text(folder)?, text(&file)?);
        let mut start = Start::new(["nginx", "-p", folder, "-c", file, "-e", "stderr"]);
        start.is_encrypted = is_encrypted;
        Ok(start)
    })
    .context("nginx")
}

/// HAProxy with one thread, in front of a server's own fronts.
///
/// # Errors
///
/// It cannot be started.
pub fn haproxy(upstream: SocketAddr) -> Result<Server> {
    Server::start(|folder, [_, http]| {
        let config = format!(
            "global\n    nbthread 1\n    maxconn 9900\n\
             defaults\n    mode http\n    timeout connect 5s\n    timeout client 90s\n\
             \x20   timeout server 90s\n    timeout tunnel 1h\n    http-reuse always\n\
             listen fronts\n    bind 127.0.0.1:{http}\n    server server {upstream}\n"
        );
        let file = folder.join("haproxy.cfg");
        fs::write(&file, config)?;
        Ok(Start::new(["haproxy", "-db", "-f", text(&file)?]))
    })
    .context("HAProxy")
}

/// [`hyper`](https://hyper.rs) passing on what it gets, in front of a server's own fronts.
///
/// # Errors
///
/// It is not built, or cannot be started.
pub fn hyper_hop(upstream: SocketAddr) -> Result<Server> {
    let program = built("hyper-hop")?;
    Server::start(|_, [_, http]| {
        let (own, server) = (local(http).to_string(), upstream.to_string());
        Ok(Start::new([text(&program)?, &own, &server]))
    })
    .context("hyper hop")
}

/// node-xmpp-bosh 0.7.10, in front of a server's c2s.
///
/// # Errors
///
/// It is not installed, or cannot be started.
pub fn node_xmpp_bosh(upstream: SocketAddr) -> Result<Server> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("node-xmpp-bosh");
    let program = own.join("node_modules/node-xmpp-bosh/run-server.js");
    if !program.is_file() {
        bail!("node-xmpp-bosh is not installed: scripts/deps.sh bench");
    }
    let dial = own.join("dial.cjs");
    Server::start(|folder, [_, http]| {
        let config = format!(
            "exports.config = {{ host: '127.0.0.1', port: {http}, path: /^\\/http-bind\\/?$/, \
             logging: 'ERROR', http_socket_keepalive: 300, no_tls_domains: [/.*/], \
             max_data_held: 10000000, max_xmpp_stanza_size: 10000000 }};\n"
        );
        let file = folder.join("bosh.js");
        fs::write(&file, config)?;
        let mut start = Start::new([
            "node",
            "--require",
            text(&dial)?,
            text(&program)?,
            &format!("--config={}", text(&file)?),
        ]);
        start.environment = vec![("UPSTREAM_PORT", upstream.port().to_string())];
        Ok(start)
    })
    .context("node-xmpp-bosh")
}

/// The certificate for tests and its key.
fn certificate() -> [String; 2] {
    ["crt", "key"].map(|kind| {
        let folder = env!("CARGO_MANIFEST_DIR");
        format!("{folder}/../../certs/localhost.{kind}")
    })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Where `cargo build` puts rostergate: beside the program that runs.
///
/// # Errors
///
/// That program is not in a target folder.
pub fn built_rostergate() -> Result<PathBuf> {
    built("rostergate")
}

/// The program of this name that was built beside this one.
fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().skip(1);
    let mut places = folder.map(|folder| folder.join(name));
    // Tests are one folder deeper than programs.
    let found = places.by_ref().take(2).find(|place| place.is_file());
    found.with_context(|| format!("{name} is not built: cargo build --workspace"))
}
