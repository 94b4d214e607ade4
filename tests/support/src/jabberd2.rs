//! jabberd2 as installed, with SQLite: a router, a session manager and a c2s component, each a program of its own,
//! with configurations and a database for the test.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    client::{Account, Client, Transport},
    free_ports,
    gateway::{Place, Server},
    http::Endpoint,
    process::Process,
    prosody::DOMAIN,
    unique,
};

/// Slow machines that run many tests at once need this long.
const START: Duration = Duration::from_secs(60);
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/jabberd2";
/// Where Debian keeps the tables that it needs.
const SCHEMA: &str = "/usr/share/doc/jabberd2/db-setup.sqlite.gz";
/// What its session manager does, as Debian configures it, without what the tests do not use.
const CHAINS: [(&str, &str); 8] = [
    (
        "in-sess",
        "validate privacy roster iq-ping disco offline presence deliver",
    ),
    ("in-router", "session validate presence privacy"),
    ("out-router", "privacy"),
    ("pkt-sm", "iq-ping disco presence"),
    ("pkt-user", "roster presence disco deliver offline"),
    ("pkt-router", "session disco"),
    ("user-load", "active roster roster-publish privacy"),
    ("user-create", "active"),
];

/// A running jabberd2.
pub struct Jabberd2 {
    // Before the directory, so that the processes end first.
    _programs: Vec<Process>,
    _scratch: TempDir,
    c2s: u16,
}

impl Jabberd2 {
    pub fn start() -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("rostergate-it-jabberd2-")
            .tempdir();
        let scratch = scratch.expect("a temporary directory can be made");
        create_database(scratch.path());
        // Another program may take a port after it was found free and before jabberd2 binds it.
        for _ in 0..10 {
            let [c2s, router] = free_ports();
            configure(scratch.path(), c2s, router);
            if let Some(programs) = run(scratch.path()) {
                return Self {
                    _programs: programs,
                    _scratch: scratch,
                    c2s,
                };
            }
        }
        panic!("no free ports for jabberd2")
    }

    /// Past any gateway.
    pub fn transport(&self) -> Transport {
        Transport::Tcp(self.c2s())
    }

    fn c2s(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.c2s).into()
    }

    /// A new user, registered by XEP-0077, whose name starts with `name` and is unique.
    pub async fn account(&self, name: &str) -> Account {
        let local = format!("{name}-{}", unique());
        let password = format!("secret of {local}");
        let mut stranger = Client::connect(&self.transport(), DOMAIN).await;
        let query = format!(
            "<query xmlns='jabber:iq:register'><username>{local}</username>\
             <password>{password}</password></query>"
        );
        let reply = stranger.iq("set", "", &query).await;
        assert_eq!(reply.attr("type"), Some("result"), "{reply}");
        Account {
            local,
            domain: DOMAIN.to_owned(),
            password,
        }
    }

    /// A new user, logged in over TCP and available.
    pub async fn contact(&self, name: &str) -> Client {
        let account = self.account(name).await;
        let mut client = Client::login(&self.transport(), &account, "desk").await;
        client.send_presence("");
        // It does not echo presence to its sender. But it works in order: once it answers this, it has handled that.
        client.fence().await;
        client
    }
}

impl Server for Jabberd2 {
    fn place(&self) -> Place {
        Place {
            domain: DOMAIN.to_owned(),
            c2s: self.c2s(),
            // It has none.
            bosh: Endpoint::new(self.c2s(), "/"),
        }
    }
}

fn create_database(directory: &Path) {
    let schema = Command::new("zcat").arg(SCHEMA).output();
    let schema = schema.expect("zcat can be run");
    assert!(schema.status.success(), "no {SCHEMA}: make deps");
    fs::write(directory.join("schema.sql"), schema.stdout).expect("it can be written");
    let made = Command::new("sqlite3")
        .args(["-bail", "accounts.db", ".read schema.sql"])
        .current_dir(directory)
        .output();
    let made = made.unwrap_or_else(|error| panic!("sqlite3: {error} (make deps)"));
    assert!(made.status.success(), "{made:?}");
}

fn configure(directory: &Path, c2s: u16, router: u16) {
    let to_router = format!(
        "<router><ip>127.0.0.1</ip><port>{router}</port><user>jabberd</user><pass>secret</pass></router>"
    );
    let database = format!(
        "<sqlite><dbname>{}</dbname><busy-timeout>2000</busy-timeout></sqlite>",
        directory.join("accounts.db").display()
    );
    let chains = CHAINS.map(|(chain, modules)| {
        let modules = modules.split(' ');
        let modules = modules.map(|module| format!("<module>{module}</module>"));
        let modules: String = modules.collect();
        format!("<chain id='{chain}'>{modules}</chain>")
    });
    let users = directory.join("router-users.xml");
    let all = [
        (
            "router-users",
            "<users><user><name>jabberd</name><secret>secret</secret></user></users>".to_owned(),
        ),
        (
            "router",
            format!(
                "<router><id>router</id><log type='stdout'/>\
                 <local><ip>127.0.0.1</ip><port>{router}</port><users>{}</users></local>\
                 <aci><acl type='all'><user>jabberd</user></acl></aci></router>",
                users.display()
            ),
        ),
        (
            "sm",
            format!(
                "<sm><id>sm</id>{to_router}<log type='stdout'/><local><id>{DOMAIN}</id></local>\
                 <storage><path>{MODULES}</path><driver>sqlite</driver>{database}</storage>\
                 <modules><path>{MODULES}</path>{}</modules></sm>",
                chains.concat()
            ),
        ),
        (
            "c2s",
            format!(
                "<c2s><id>c2s</id>{to_router}<log type='stdout'/>\
                 <local><id register-enable='mu'>{DOMAIN}</id><ip>127.0.0.1</ip><port>{c2s}</port></local>\
                 <authreg><path>{MODULES}</path><module>sqlite</module>\
                 <mechanisms><traditional><plain/></traditional><sasl><plain/></sasl></mechanisms>\
                 {database}</authreg></c2s>"
            ),
        ),
    ];
    for (name, text) in all {
        let path = directory.join(format!("{name}.xml"));
        fs::write(path, text).expect("the configuration can be written");
    }
}

/// Starts its programs, each when the one before is ready; none if a port is taken.
fn run(directory: &Path) -> Option<Vec<Process>> {
    [
        ("router", "listening for incoming connections"),
        ("sm", "ready for sessions"),
        ("c2s", "ready for connections"),
    ]
    .map(|(name, ready)| start(directory, name, ready))
    .into_iter()
    .collect()
}

fn start(directory: &Path, name: &str, ready: &str) -> Option<Process> {
    let program = format!("jabberd2-{name}");
    let config = directory.join(format!("{name}.xml"));
    let log = directory.join(format!("{name}.log"));
    let args = ["-c".into(), config.into_os_string()];
    let mut process = Process::start(Path::new(&program), args, &[], log);
    let mut said = String::new();
    loop {
        let Some(line) = process.line(START) else {
            panic!(
                "{program} does not start (make deps)\n{said}{}",
                process.log_tail()
            )
        };
        if line.contains("to listen") {
            return None;
        }
        if line.contains(ready) {
            return Some(process);
        }
        said.push_str(&line);
        said.push('\n');
    }
}
