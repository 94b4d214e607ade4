//! NATS as Debian has it, for gateways that are one. It keeps nothing on disk.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;

use crate::{free_ports, process::Process};

/// Slow machines that run many tests at once need this long.
const START: Duration = Duration::from_secs(30);

/// Its configuration, in the folder.
const CONFIG: &str = "nats.conf";

/// A NATS server, running or stopped.
pub struct Nats {
    // Before the folder, so that the process ends first.
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl Nats {
    pub fn start() -> Self {
        Self::configured("")
    }

    /// With these lines in its configuration.
    pub fn configured(lines: &str) -> Self {
        // Another program may take a port after it was found free and before NATS binds it.
        for _ in 0..10 {
            let folder = tempfile::Builder::new().prefix("rostergate-it-").tempdir();
            let folder = folder.expect("a temporary directory can be made");
            let [port] = free_ports();
            fs::write(folder.path().join(CONFIG), lines).expect("a writable folder");
            if let Some(process) = launch(&folder, port) {
                return Self {
                    process: Some(process),
                    folder,
                    port,
                };
            }
        }
        panic!("no port stays free for NATS: make deps");
    }

    /// One for all tests that leave it alone; each has gateways of a name of their own there.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Nats> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// As `cluster.nats` has it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The same where TLS is a must.
    pub fn tls_url(&self) -> String {
        format!("tls://{}", self.address())
    }

    /// What it says to everybody who connects.
    pub fn hello(&self) -> String {
        let stream = TcpStream::connect(self.address()).expect("NATS takes connections");
        let mut hello = String::new();
        let line = BufReader::new(stream).read_line(&mut hello);
        line.expect("NATS speaks first");
        hello
    }

    /// Starts it again with these lines in its configuration.
    pub fn configure(&mut self, lines: &str) {
        fs::write(self.folder.path().join(CONFIG), lines).expect("a writable folder");
        self.start_again();
    }

    /// Has it read another configuration, while it goes on.
    pub fn reload(&self, lines: &str) {
        fs::write(self.folder.path().join(CONFIG), lines).expect("a writable folder");
        self.signal("HUP");
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it, or lets it go on, by the signal of that name: `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Starts it again at the same port.
    pub fn start_again(&mut self) {
        self.kill();
        let process = launch(&self.folder, self.port);
        self.process = Some(process.expect("its port is still free"));
    }
}

/// `None` if the port is taken.
fn launch(folder: &TempDir, port: u16) -> Option<Process> {
    let port = port.to_string();
    let config = folder.path().join(CONFIG);
    let config = config.to_str().expect("a folder of ours");
    let args = [
        "-c",
        "exec \"$@\" 2>&1",
        "sh",
        "nats-server",
        "--config",
        config,
        "--addr",
        "127.0.0.1",
        "--port",
        &port,
    ];
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let environment = [("SCRATCH", ""), ("PATH", path.as_str())];
    let log = folder.path().join("stderr.log");
    let mut process = Process::start(Path::new("sh"), args, &environment, log);
    let mut said = String::new();
    while let Some(line) = process.line(START) {
        if line.contains("Server is ready") {
            return Some(process);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let is_taken = said.contains("address already in use");
    assert!(is_taken, "NATS does not start: make deps\n{said}");
    None
}
