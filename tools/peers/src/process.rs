//! Programs that are measured: started in a folder of their own, ended with the value, and with us however
//! we end.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long a program may take to listen.
const START: Duration = Duration::from_secs(60);

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it in `folder`, and waits until it takes connections on all of `ports`.
    ///
    /// # Errors
    ///
    /// It cannot be started, or ends, or does not listen in time; with what it has said.
    pub fn start(
        folder: &Path,
        command: &[&str],
        environment: &[(&str, &str)],
        ports: &[u16],
    ) -> Result<Self> {
        let log = folder.join("output.log");
        let output = File::create(&log)?;
        // It takes the place of setpriv, so the pid is its own.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(command)
            .envs(environment.iter().copied())
            .env(
                "PATH",
                std::env::var("PATH").unwrap_or_default() + ":/usr/sbin",
            )
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("running setpriv (util-linux)")?;
        let mut process = Self { child };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let deadline = Instant::now() + START;
        for port in ports {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_err() {
                if let Some(status) = process.child.try_wait()? {
                    bail!("{}: {status}\n{}", command.join(" "), said());
                }
                if Instant::now() > deadline {
                    bail!("{} does not listen\n{}", command.join(" "), said());
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(process)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody has right now.
///
/// # Errors
///
/// There are none.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// A port of this machine.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// CPU time of all threads that a process has now, user and system, to the nanosecond.
///
/// # Errors
///
/// There is no such process, or a kernel without schedstats.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may have ended since.
        if let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) {
            total += parse_schedstat(&text).context("schedstat")?;
        }
    }
    Ok(total)
}

fn parse_schedstat(text: &str) -> Option<Duration> {
    let time = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(time))
}

/// Resident memory, bytes.
///
/// # Errors
///
/// There is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_resident(&status).context("no VmRSS")
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_was_used() {
        assert_eq!(
            parse_schedstat("1500 20 3\n"),
            Some(Duration::from_nanos(1500))
        );
        assert_eq!(parse_schedstat(""), None);
        let status = "Name:\tx\nVmHWM:\t   20 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(parse_resident(status), Some(12 * 1024));
        let own = std::process::id();
        let before = cpu_time(own).expect("we run");
        let mut sum = 0_u64;
        while cpu_time(own).expect("we run") < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(resident(own).expect("we run") > 100 * 1024);
    }
}
