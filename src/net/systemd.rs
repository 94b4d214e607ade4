//! Systemd: readiness, the watchdog and inherited sockets (sd_notify(3), sd_listen_fds(3)).
//!
//! Without systemd, all of this does nothing.

use std::{io, net::TcpListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

/// Listening sockets that systemd has opened for the gateway.
///
/// The sockets of a kind replace all the addresses that the configuration has for it. They outlive the process:
/// connections that come during a restart wait.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Instead of `server.listen`.
    pub http: Vec<TcpListener>,
    /// Named `https` (`FileDescriptorName=`), instead of `server.listen_tls`.
    pub https: Vec<TcpListener>,
    /// Named `admin`, instead of `admin.listen`.
    pub admin: Vec<TcpListener>,
    /// Named `admin-https`, instead of `admin.listen_tls`.
    pub admin_https: Vec<TcpListener>,
}

impl Sockets {
    /// Takes the sockets of `LISTEN_FDS`; `names` is the value of `LISTEN_FDNAMES`. To be called once, and before
    /// anything else: another file might be opened under one of their numbers.
    ///
    /// # Errors
    ///
    /// When one of them is not a TCP socket.
    pub fn inherited(names: &str) -> io::Result<Self> {
        let mut sockets = Self::default();
        let mut names = names.split(':');
        let mut inherited = ListenFd::from_env();
        for index in 0..inherited.len() {
            let kind = match names.next() {
                Some("https") => &mut sockets.https,
                Some("admin") => &mut sockets.admin,
                Some("admin-https") => &mut sockets.admin_https,
                _ => &mut sockets.http,
            };
            kind.extend(inherited.take_tcp_listener(index)?);
        }
        Ok(sockets)
    }
}

/// Tells systemd that the gateway serves, with its status.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd that the configuration is being read again; to be followed by [`ready`].
pub fn reloading() {
    // `Type=notify-reload` needs the time, so that an answer to an earlier signal does not count for this one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "systemd not told of the reload"),
    }
}

/// Tells systemd that the gateway is shutting down.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Tells systemd's watchdog that the gateway is alive.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How often the watchdog is to be told (half of `WatchdogSec=`); `None` without a watchdog.
pub fn heartbeat() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .map(|limit| limit / 2)
        .filter(|interval| !interval.is_zero())
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd not told");
    }
}
