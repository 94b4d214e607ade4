//! What is compared: who faces the browsers, and who is behind.

use std::{fs, time::Duration};

use serde_json::json;

use crate::{
    hops::Hop,
    load::Result,
    support::{
        backend::Backend, client::Account, ejabberd::Ejabberd, gateway::Gateway, http::Endpoint,
        prosody::Prosody,
    },
    work::Work,
};

/// A way from a browser to an XMPP server.
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) endpoint: Endpoint,
    /// The process that faces the browsers, if it is not the server.
    pub(crate) front: Option<u32>,
    pub(crate) server: u32,
    pub(crate) accounts: Vec<Account>,
}

impl System {
    /// Whether it can do this. ejabberd's own BOSH does not answer a poll when another request comes.
    pub(crate) fn does(&self, work: Work) -> bool {
        self.name != "ejabberd" || work != Work::MessageHeld
    }
}

/// All that runs.
pub(crate) struct Peers {
    pub(crate) systems: Vec<System>,
    _backend: Backend,
    _prosodies: [Prosody; 2],
    _ejabberd: Ejabberd,
    _gateways: Vec<Gateway>,
    _hops: [Hop; 2],
}

/// The contacts of everybody.
pub(crate) fn contacts(count: usize, changed: &str) -> serde_json::Value {
    let contacts = (0..count).map(|number| {
        let name = if number == 0 { changed } else { "somebody" };
        let contact = json!({ "name": name, "groups": ["g"] });
        (format!("c{number}@example.org"), contact)
    });
    contacts.collect::<serde_json::Map<_, _>>().into()
}

/// A gateway as it is started for all of this.
pub(crate) fn gateway(builder: crate::support::gateway::Builder, backend: &Backend) -> Gateway {
    builder
        .backend(backend)
        .env("ROSTERGATE_LOG", "warn")
        .bosh("max_request_rate = 1000000\nwait = \"10m\"\ninactivity = \"10m\"")
        .start()
}

impl Peers {
    /// Starts them all, with this many users.
    pub(crate) async fn start(users: usize) -> Result<Self> {
        let backend = Backend::start();
        let plain = Prosody::builder().quiet().incremental_gc().start();
        let generational = Prosody::builder().quiet().start();
        let ejabberd = Ejabberd::builder().start();
        let mut accounts = [Vec::new(), Vec::new(), Vec::new()];
        for user in (0..users).map(|number| format!("user{number}")) {
            backend.set(&user, contacts(10, ""));
            accounts[0].push(plain.account_named(&user));
            accounts[1].push(generational.account_named(&user));
            accounts[2].push(ejabberd.account_named(&user).await);
        }
        let gateways = vec![
            gateway(Gateway::builder(&plain), &backend),
            gateway(Gateway::builder(&generational), &backend),
            gateway(Gateway::builder(&ejabberd), &backend),
        ];
        let nginx = Hop::nginx(&generational.bosh())?;
        let haproxy = Hop::haproxy(&generational.bosh())?;
        let server = [plain.pid(), generational.pid(), ejabberd.pid()];
        let behind = |name, index: usize| System {
            name,
            endpoint: gateways[index].bosh(),
            front: Some(gateways[index].pid()),
            server: server[index],
            accounts: accounts[index].clone(),
        };
        let alone = |name, endpoint, index: usize| System {
            name,
            endpoint,
            front: None,
            server: server[index],
            accounts: accounts[index].clone(),
        };
        let systems = vec![
            behind("rostergate + Prosody", 0),
            alone("Prosody", plain.bosh(), 0),
            behind("rostergate + Prosody gen", 1),
            alone("Prosody gen", generational.bosh(), 1),
            System {
                front: Some(nginx.pid()),
                ..alone("nginx + Prosody gen", nginx.endpoint.clone(), 1)
            },
            System {
                front: Some(haproxy.pid()),
                ..alone("haproxy + Prosody gen", haproxy.endpoint.clone(), 1)
            },
            behind("rostergate + ejabberd", 2),
            alone("ejabberd", ejabberd.bosh(), 2),
        ];
        Ok(Self {
            systems,
            _backend: backend,
            _prosodies: [plain, generational],
            _ejabberd: ejabberd,
            _gateways: gateways,
            _hops: [nginx, haproxy],
        })
    }
}

/// User and system time of a process and its children so far.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let mut total = TICK * stat(pid)?.1;
    for entry in fs::read_dir("/proc")?.flatten() {
        let child = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(child) = child
            && let Ok((parent, ticks)) = stat(child)
            && parent == pid
        {
            total += TICK * ticks;
        }
    }
    Ok(total)
}

/// The parent of a process, and its clock ticks.
fn stat(pid: u32) -> Result<(u32, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no such process")?.1;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let number = |index: usize| fields[index].parse::<u32>();
    Ok((number(1)?, number(11)? + number(12)?))
}

/// Memory that a process has, bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .ok_or("no VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib << 10)
}
