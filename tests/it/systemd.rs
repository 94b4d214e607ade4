//! The gateway as a service of systemd: what it tells, and sockets that it is given.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use tokio::net::UnixDatagram;

use support::{
    free_ports,
    gateway::Gateway,
    http::{Connection, Endpoint},
    prosody::Prosody,
    within,
};

/// The end of `NOTIFY_SOCKET` that systemd has.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("bound");
        Self { socket, directory }
    }

    fn path(&self) -> String {
        let path = self.directory.path().join("notify");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The next message with that line.
    async fn told(&self, line: &str) -> String {
        let told = async {
            loop {
                let mut buffer = [0; 4096];
                let length = self.socket.recv(&mut buffer).await.expect("a message");
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if message.lines().any(|said| said == line) {
                    return message;
                }
            }
        };
        within(line, told).await
    }
}

#[tokio::test]
async fn systemd_hears_how_it_is_doing() {
    let manager = Manager::new();
    let mut gateway = Gateway::builder(Prosody::shared())
        .env("NOTIFY_SOCKET", &manager.path())
        .start();
    manager.told("READY=1").await;

    gateway.signal("HUP");
    let reloading = manager.told("RELOADING=1").await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = manager.told("READY=1").await;
    assert!(ready.contains("configuration reloaded"), "{ready}");

    fs::write(gateway.config_path(), "nonsense").expect("written");
    gateway.signal("HUP");
    manager.told("RELOADING=1").await;
    let ready = manager.told("READY=1").await;
    assert!(ready.contains("new configuration refused"), "{ready}");

    gateway.signal("TERM");
    manager.told("STOPPING=1").await;
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn systemd_hears_that_it_is_alive() {
    let manager = Manager::new();
    let _gateway = Gateway::builder(Prosody::shared())
        .env("NOTIFY_SOCKET", &manager.path())
        .env("WATCHDOG_USEC", "200000")
        .start();
    for _ in 0..3 {
        manager.told("WATCHDOG=1").await;
    }
}

/// A gateway that has been given `socket`. It ends with the thread of its test.
struct Activated(Child);

impl Activated {
    /// Starts it with that configuration, and waits until it is ready.
    async fn start(socket: &TcpListener, config: &Path, log: &Path, manager: &Manager) -> Self {
        // What systemd does between fork and exec.
        let pass = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
        let socket = socket.try_clone().expect("cloned");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", pass, "sh"])
            .arg(env!("CARGO_BIN_EXE_rostergate"))
            .args(["serve", "--config"])
            .arg(config)
            .env("NOTIFY_SOCKET", manager.path())
            .env("LISTEN_FDNAMES", "http")
            .env("ROSTERGATE_LOG", "debug")
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null())
            .stderr(File::create(log).expect("a log"))
            .spawn()
            .expect("setpriv (util-linux) can be run");
        let activated = Self(child);
        manager.told("READY=1").await;
        activated
    }

    fn stop(mut self) {
        let kill = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(kill.expect("kill can be run").success());
        assert!(self.0.wait().expect("our child").success());
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_refuses_no_connection() {
    let manager = Manager::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let config = manager.directory.path().join("rostergate.toml");
    // Where it would listen by itself is not asked.
    let text = Gateway::builder(Prosody::shared()).config();
    fs::write(&config, text.replace("127.0.0.1:0", "192.0.2.1:5290")).expect("written");
    let log = |number| manager.directory.path().join(format!("{number}.log"));
    let mut gateway = Activated::start(&socket, &config, &log(0), &manager).await;

    let is_over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, served) = (Arc::clone(&is_over), Arc::clone(&served));
            let endpoint = Endpoint::new(address, "/http-bind");
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    // Connects anew, and panics where that is refused or not answered.
                    assert_eq!(endpoint.request("GET", &[], "").await.status(), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let serving = async || {
        let before = served.load(Ordering::Relaxed);
        while served.load(Ordering::Relaxed) < before + 8 {
            tokio::task::yield_now().await;
        }
    };
    within("answers", serving()).await;
    for number in 1..4 {
        gateway.stop();
        gateway = Activated::start(&socket, &config, &log(number), &manager).await;
        within("answers after a restart", serving()).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("never refused");
    }
    gateway.stop();
}

/// `systemd-socket-activate` listens, and starts the gateway in its own place for the first connection.
#[tokio::test]
async fn systemds_own_tool_passes_sockets_and_the_first_connection_waits() {
    const TOOL: &str = "systemd-socket-activate";
    let version = Command::new(TOOL).arg("--version").output();
    version.expect("systemd-socket-activate (package systemd; `make deps`) can be run");
    let addresses = free_ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let [https, http] = addresses;
    let directory = TempDir::new().expect("a directory");
    let config = directory.path().join("rostergate.toml");
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let text = Gateway::builder(Prosody::shared())
        .server("listen_tls = ['192.0.2.1:5291']")
        .server(&format!("certificate = {:?}", certs.join("localhost.crt")))
        .server(&format!("private_key = {:?}", certs.join("localhost.key")))
        .config();
    fs::write(&config, text.replace("127.0.0.1:0", "192.0.2.1:5290")).expect("written");
    let log = File::create(directory.path().join("log")).expect("a log");
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", TOOL, "--fdname=https:http"])
        .args(addresses.map(|address| format!("--listen={address}")))
        .arg(env!("CARGO_BIN_EXE_rostergate"))
        .args(["serve", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let activated = Activated(child.expect("setpriv (util-linux) can be run"));

    let http = Endpoint::new(http, "/http-bind");
    let listening = async {
        loop {
            if let Some(connection) = Connection::try_open(&http).await {
                break connection;
            }
        }
    };
    // The gateway is not there yet.
    let mut first = within("a socket", listening).await;
    first.send("GET", &http.path, &[], "").await;
    assert_eq!(first.response().await.status(), 200);
    let https = Endpoint::new(https, "/http-bind").over_tls();
    assert_eq!(https.request("GET", &[], "").await.status(), 200);
    activated.stop();
}

#[test]
fn the_units_are_as_systemd_wants_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    let scratch = TempDir::new().expect("a directory");
    for unit in ["rostergate.service", "rostergate.socket"] {
        let text = fs::read_to_string(folder.join(unit)).expect("a unit");
        let here = text.replace("/usr/bin/rostergate", env!("CARGO_BIN_EXE_rostergate"));
        fs::write(scratch.path().join(unit), here).expect("written");
    }
    let analyze = |args: &[&str]| {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(args).current_dir(scratch.path());
        let output = analyze.output();
        let output = output.expect("systemd-analyze (package systemd) can be run");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let units = ["./rostergate.service", "./rostergate.socket"];
    let (is_good, said) = analyze(&["verify", "--man=no", units[0], units[1]]);
    assert!(is_good && said.is_empty(), "{said}");
    let (is_safe, said) = analyze(&["security", "--offline=yes", "--threshold=15", units[0]]);
    assert!(is_safe, "{said}");
    let unit = fs::read_to_string(folder.join("rostergate.service")).expect("a unit");
    let (_, figure) = said.rsplit_once("rostergate.service: ").expect("a figure");
    let figure = figure.split(' ').next().expect("a figure");
    assert!(
        unit.contains(&format!("service`: {figure} ")),
        "{figure} in its comment"
    );
}

/// It would be started again and again: a configuration does not get better by itself.
#[test]
fn a_configuration_that_cannot_be_used_is_not_tried_again() {
    let scratch = TempDir::new().expect("a directory");
    let file = scratch.path().join("rostergate.toml");
    fs::write(&file, "[[host]]\n").expect("written");
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_rostergate"));
    let output = gateway.args(["serve", "--config"]).arg(file).output();
    let output = output.expect("it can be run");
    let code = output.status.code().expect("it ends by itself");
    assert_ne!(code, 0, "{output:?}");
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd/rostergate.service");
    let unit = fs::read_to_string(unit).expect("a unit");
    let line = format!("RestartPreventExitStatus={code}");
    assert!(unit.lines().any(|it| it == line), "no {line}");
}
