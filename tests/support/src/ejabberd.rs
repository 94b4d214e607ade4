//! ejabberd as installed, with a configuration and a data directory of its own.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    client::{Account, Client, Transport},
    free_ports,
    gateway::{Place, Server},
    http::Endpoint,
    process::{Process, program, tail},
    prosody::DOMAIN,
    unique,
};

/// Where an administrator learns how to have it hold contact lists.
const RECIPE: &str = include_str!("../../../docs/servers.md");
const WRITER_PASSWORD: &str = "a-password-of-the-tests";

/// Slow machines that run many tests at once need this long.
const START: Duration = Duration::from_secs(60);

/// An ejabberd, running or stopped.
pub struct Ejabberd {
    // Before the directory, so that the process ends first.
    process: Option<Process>,
    /// None for the shared one: its keeper removes it.
    _scratch: Option<TempDir>,
    directory: PathBuf,
    shared: bool,
    c2s: u16,
    http: u16,
    /// It has the account by which the gateway writes contact lists.
    has_writer: OnceCell<()>,
}

/// The settings of one.
#[derive(Clone, Debug)]
pub struct Builder {
    modules: Vec<String>,
    auth: String,
    options: String,
    /// Options of the c2s listener.
    c2s_options: String,
    /// The configuration of the recipe; the modules count for nothing.
    recipe: Option<String>,
}

impl Ejabberd {
    pub fn builder() -> Builder {
        let modules = [
            "mod_admin_extra: {}",
            "mod_bosh: {}",
            "mod_disco: {}",
            // The cached counts are off by one if they are asked for while messages are being stored.
            "mod_offline: {use_cache: false}",
            "mod_ping: {}",
            "mod_roster: {}",
            // By default it drops what was not acknowledged.
            "mod_stream_mgmt: {resend_on_timeout: true}",
        ];
        Builder {
            modules: modules.map(str::to_owned).to_vec(),
            auth: "auth_method: internal".to_owned(),
            options: String::new(),
            c2s_options: String::new(),
            recipe: None,
        }
    }

    /// One for all tests that need nothing special; each test has accounts of its own there.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Ejabberd> = OnceLock::new();
        SHARED.get_or_init(|| Self::builder().launch(true))
    }

    /// One that holds the contact lists, with avatars, as the documentation sets it up.
    pub fn shared_with_lists() -> &'static Self {
        static SHARED: OnceLock<Ejabberd> = OnceLock::new();
        SHARED.get_or_init(|| Self::with_lists("").launch(true))
    }

    /// The same without the lines that begin like this, if that is not empty.
    pub fn with_lists(left_out: &str) -> Builder {
        let lines = block("yaml").lines();
        let kept = lines.filter(|line| left_out.is_empty() || !line.trim().starts_with(left_out));
        Builder {
            recipe: Some(kept.map(|line| format!("{line}\n")).collect()),
            ..Self::builder()
        }
    }

    /// The lines of a `[[host]]` for a gateway that writes contact lists into it, as the documentation has them.
    pub fn list_lines(&self) -> String {
        let path = self.directory.join("writer.password");
        fs::write(&path, WRITER_PASSWORD).expect("it can be written");
        let path = path.to_str().expect("a directory of ours");
        let lines = block("toml").replace("127.0.0.1:5283", &format!("127.0.0.1:{}", self.http));
        lines.replace("/etc/rostergate/writer.password", path)
    }

    /// The HTTP interface by which lists are written.
    pub fn api(&self, command: &str) -> Endpoint {
        self.bosh().at(&format!("/api/{command}"))
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

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// A new user whose name starts with `name` and is unique.
    pub async fn account(&self, name: &str) -> Account {
        self.account_named(&format!("{name}-{}", unique())).await
    }

    /// A user of exactly this (prepared) name.
    pub async fn account_named(&self, local: &str) -> Account {
        let register = async |local: &str, password: &str| {
            let user = json!({ "user": local, "host": DOMAIN, "password": password });
            self.call("register", &user).await;
        };
        self.has_writer
            .get_or_init(async || register("rostergate", WRITER_PASSWORD).await)
            .await;
        let password = format!("secret of {local}");
        register(local, &password).await;
        Account {
            local: local.to_owned(),
            domain: DOMAIN.to_owned(),
            password,
        }
    }

    /// Waits until this many messages are stored for the user; returns whether they were in the end.
    pub async fn stores(&self, account: &Account, count: u32) -> bool {
        let user = json!({ "user": account.local, "server": DOMAIN });
        let mut stored = 0;
        let storing = tokio::time::timeout(START, async {
            while stored < u64::from(count) {
                let answer = self.call("get_offline_count", &user).await;
                let value = answer["value"].as_u64().or(answer.as_u64());
                stored = value.expect("a number");
            }
        });
        storing.await.is_ok()
    }

    /// The address that this full JID is connected from, as the server sees it.
    pub async fn address_of(&self, jid: &str) -> String {
        let users = self.call("connected_users_info", &json!({})).await;
        let users = users.as_array().expect("a list");
        let user = users.iter().find(|user| user["jid"] == jid);
        let user = user.unwrap_or_else(|| panic!("{jid} is not among {users:?}"));
        user["ip"].as_str().expect("an address").to_owned()
    }

    async fn call(&self, command: &str, arguments: &serde_json::Value) -> serde_json::Value {
        let api = self.api(command);
        let headers = [("Content-Type", "application/json")];
        let response = api.request("POST", &headers, &arguments.to_string()).await;
        assert_eq!(response.status(), 200, "{response:?}");
        serde_json::from_slice(&response.body).expect("JSON")
    }

    /// Logs in over TCP, past any gateway.
    pub async fn login(&self, account: &Account, resource: &str) -> Client {
        Client::login(&Transport::Tcp(self.c2s()), account, resource).await
    }

    /// A new user, logged in over TCP and available.
    pub async fn contact(&self, name: &str) -> Client {
        let mut client = self.login(&self.account(name).await, "desk").await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        client
    }

    /// Stops it as an administrator would: sessions are told.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        // The clients of the test must keep running meanwhile.
        let end = tokio::task::spawn_blocking(move || process.wait(START));
        end.await.expect("it ends");
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

    pub fn log_tail(&self) -> String {
        tail(&self.directory.join("ejabberd.log"))
    }

    /// Starts the process; false if a port is taken.
    fn run(&mut self) -> bool {
        let path = |name: &str| {
            let path = self.directory.join(name);
            path.to_str().expect("a directory of ours").to_owned()
        };
        // Without a node name it needs no epmd, and cannot clash with another node.
        let spool = format!("\"{}\"", path("spool"));
        let args = ["-noinput", "-mnesia", "dir", &spool, "-s", "ejabberd"];
        let environment = [
            ("EJABBERD_CONFIG_PATH", path("ejabberd.yml")),
            ("EJABBERD_LOG_PATH", path("ejabberd.log")),
            ("EJABBERD_PID_PATH", path("pid")),
            ("ERL_CRASH_DUMP", path("erl_crash.dump")),
            ("ERL_LIBS", "/usr/lib/x86_64-linux-gnu".to_owned()),
            (
                "SCRATCH",
                if self.shared { path("") } else { String::new() },
            ),
        ];
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let log = self.directory.join("stderr.log");
        let mut process = Process::start(&program("ERL", "erl"), args, &environment, log);
        let mut ports = vec![self.c2s, self.http];
        while !ports.is_empty() {
            let Some(line) = process.line(START) else {
                let (out, log) = (process.log_tail(), self.log_tail());
                panic!("ejabberd does not start (is it installed?)\n{out}\n{log}")
            };
            if line.contains("eaddrinuse") {
                return false;
            }
            if let Some((_, at)) = line.split_once("Start accepting TCP connections at 127.0.0.1:")
            {
                ports.retain(|port| !at.starts_with(&format!("{port} ")));
            }
        }
        self.process = Some(process);
        true
    }
}

/// The first block of this kind in the recipe.
fn block(kind: &str) -> &'static str {
    let (_, section) = RECIPE
        .split_once("\n### Lists in ejabberd\n")
        .expect("a section");
    let begin = format!("```{kind}\n");
    let (_, block) = section.split_once(&begin).expect("a block");
    block.split_once("```").expect("its end").0
}

impl Server for Ejabberd {
    fn place(&self) -> Place {
        Place {
            domain: DOMAIN.to_owned(),
            c2s: self.c2s(),
            bosh: self.bosh(),
        }
    }
}

impl Drop for Ejabberd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of ejabberd ---\n{}", self.log_tail());
        }
    }
}

impl Builder {
    /// Adds a module, as it is written in the configuration.
    pub fn with(mut self, module: &str) -> Self {
        self.modules.push(module.to_owned());
        self
    }

    pub fn without(mut self, module: &str) -> Self {
        self.modules
            .retain(|line| line.split(':').next() != Some(module));
        self
    }

    /// Adds a module to the usual ones, with its options.
    pub fn module(mut self, line: &str) -> Self {
        self.modules.push(line.to_owned());
        self
    }

    /// Adds a line to the configuration.
    pub fn option(mut self, line: &str) -> Self {
        self.options.push_str(line);
        self.options.push('\n');
        self
    }

    /// Takes tokens that are signed with the key in this file, a JWK, beside passwords.
    pub fn jwt(mut self, key: &Path) -> Self {
        let key = key.display();
        self.auth = format!("auth_method: [jwt, internal]\njwt_key: \"{key}\"");
        self
    }

    /// Sets an option of the listener for clients; then they have to come through a gateway.
    pub fn c2s_option(mut self, option: &str) -> Self {
        self.c2s_options = format!(", {option}");
        self
    }

    pub fn start(self) -> Ejabberd {
        self.launch(false)
    }

    fn launch(self, shared: bool) -> Ejabberd {
        let scratch = tempfile::Builder::new()
            .prefix("rostergate-it-ejabberd-")
            .tempdir();
        let scratch = scratch.expect("a temporary directory can be made");
        let directory = scratch.path().to_owned();
        fs::create_dir_all(directory.join("spool")).expect("a directory can be made");
        let scratch = if shared {
            let _: PathBuf = scratch.keep();
            None
        } else {
            Some(scratch)
        };
        let mut ejabberd = Ejabberd {
            process: None,
            _scratch: scratch,
            directory,
            shared,
            c2s: 0,
            http: 0,
            has_writer: OnceCell::new(),
        };
        // Another program may take a port after it was found free and before ejabberd binds it.
        for _ in 0..10 {
            [ejabberd.c2s, ejabberd.http] = free_ports();
            let config = self.config(&ejabberd);
            let path = ejabberd.directory.join("ejabberd.yml");
            fs::write(path, config).expect("the configuration can be written");
            if ejabberd.run() {
                return ejabberd;
            }
        }
        panic!("no free ports for ejabberd\n{}", ejabberd.log_tail())
    }

    fn config(&self, ejabberd: &Ejabberd) -> String {
        let Ejabberd { c2s, http, .. } = ejabberd;
        let permission = "tests: {from: [mod_http_api], who: {ip: 127.0.0.0/8}, \
                          what: [register, get_offline_count, connected_users_info]}";
        if let Some(recipe) = &self.recipe {
            let recipe = recipe.replace("port: 5222", &format!("port: {c2s}"));
            let recipe = recipe.replace("port: 5283", &format!("port: {http}"));
            let permissions = format!("api_permissions:\n  {permission}");
            let recipe = recipe.replace("api_permissions:", &permissions);
            return format!("loglevel: info\nlog_rotate_count: 0\n{recipe}");
        }
        let mut config = format!(
            "hosts: [\"{DOMAIN}\"]\n\
             loglevel: info\n\
             log_rotate_count: 0\n\
             {auth}\n\
             listen:\n\
             \x20 - {{port: {c2s}, ip: 127.0.0.1, module: ejabberd_c2s, max_stanza_size: 262144{c2s_options}}}\n\
             \x20 - port: {http}\n\
             \x20   ip: 127.0.0.1\n\
             \x20   module: ejabberd_http\n\
             \x20   request_handlers: {{/http-bind: mod_bosh, /api: mod_http_api, \
             \x20     /xmpp-websocket: ejabberd_http_ws}}\n\
             api_permissions:\n\
             \x20 {permission}\n\
             {options}\
             modules:\n",
            auth = self.auth,
            options = self.options,
            c2s_options = self.c2s_options,
        );
        for line in &self.modules {
            writeln!(config, "  {line}").expect("a string takes it");
        }
        config
    }
}
