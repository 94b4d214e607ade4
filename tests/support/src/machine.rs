//! Machine of a test's own, where every port is free and Debian's folders can be written to: `tests/machine/run`.
//! There the examples of this repository can be used as they are.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tempfile::TempDir;

use crate::{process::Process, root};

/// Slow machines that run many tests at once need this long.
const START: Duration = Duration::from_secs(30);

/// Addresses of the machine that are not loopback addresses: a client that comes from there is a stranger.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A machine that this thread has entered, with all that it starts.
#[must_use = "the thread goes back when it is dropped"]
pub struct Machine {
    // Before the folder, so that all programs end first.
    _first: Process,
    /// The first program, as seen from outside.
    pid: u32,
    folder: TempDir,
    /// The network that the thread came from.
    home: File,
}

impl Machine {
    /// Makes a machine and enters it.
    pub fn enter() -> Self {
        let folder = tempfile::Builder::new().prefix("rostergate-it-").tempdir();
        let folder = folder.expect("a temporary directory can be made");
        let log = folder.path().join("stderr.log");
        let args = ["sh", "-c", "echo here && exec sleep infinity"];
        let mut first = Process::start(&scripts().join("run"), args, &[("SCRATCH", "")], log);
        let here = first.line(START);
        assert_eq!(here.as_deref(), Some("here"), "{}", first.log_tail());
        let home = File::open("/proc/thread-self/ns/net").expect("a network");
        let pid = child_of(first.pid());
        let there = File::open(format!("/proc/{pid}/ns/net")).expect("another");
        go(&there);
        Self {
            _first: first,
            pid,
            folder,
            home,
        }
    }

    /// Carries out the first comment of an example.
    pub fn follow(&self, example: &Path) {
        self.run(&[&scripts().join("follow"), example]);
    }

    /// Has all programs that have been started there by [`follow`](Self::follow) or [`restart`](Self::restart) do
    /// nothing more.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Kills them.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        for pid in descendants_of(self.pid) {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // It may have ended meanwhile.
            let _ = kill_process(pid.expect("a pid"), signal);
        }
    }

    /// Starts a service that does not run, as systemd does.
    pub fn restart(&self, service: &str) {
        self.run(&["systemctl", "restart", service].map(Path::new));
    }

    /// Writes a file in its folders.
    pub fn write(&self, path: &str, text: &str) {
        let path = PathBuf::from(format!("/proc/{}/root{path}", self.pid));
        let folder = path.parent().expect("a file has one");
        fs::create_dir_all(folder).expect("a writable layer");
        fs::write(path, text).expect("a writable layer");
    }

    /// Runs a program there until it ends, which must be successful. What it has started may keep running.
    fn run(&self, command: &[&Path]) {
        let log = self.folder.path().join("command.log");
        let out = File::create(&log).expect("a writable folder");
        let status = Command::new("nsenter")
            .args(["--net", "--mount", "--pid", "--target"])
            .arg(self.pid.to_string())
            .arg("--")
            .args(command)
            .env("PATH", path())
            .stdin(Stdio::null())
            .stderr(out.try_clone().expect("a file"))
            .stdout(out)
            .status();
        let said = fs::read_to_string(log).unwrap_or_default();
        assert!(status.is_ok_and(|it| it.success()), "{command:?}\n{said}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Tests that run one after the other share a thread.
        go(&self.home);
    }
}

/// A place on the machine.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn go(network: &File) {
    let gone = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
    gone.expect("whoever makes a machine is root, and may go there");
}

fn scripts() -> PathBuf {
    root().join("tests/machine")
}

/// The search path: the scripts first, then the usual folders, and those of root's programs.
fn path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{}:{own}:/usr/sbin:/sbin", scripts().display())
}

/// The only child of a program.
fn child_of(pid: u32) -> u32 {
    let children = children_of(pid);
    assert_eq!(children.len(), 1, "one child");
    children[0]
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace().map(str::parse);
    pids.map(|pid| pid.expect("a pid")).collect()
}

/// All that a program has started, parents first.
fn descendants_of(pid: u32) -> Vec<u32> {
    let mut all = children_of(pid);
    let mut known = 0;
    while let Some(parent) = all.get(known) {
        let children = children_of(*parent);
        all.extend(children);
        known += 1;
    }
    all
}
