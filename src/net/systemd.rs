//! Systemd: what it and the gateway tell each other: readiness, the watchdog, sockets that are listened at
//! already (sd_notify(3), sd_listen_fds(3)).
//!
//! Without systemd all of it does nothing.

use std::{io, net::TcpListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

/// Sockets that whoever started the gateway has opened for it.
///
/// Each takes the place of all the addresses that the configuration has for its kind. They outlive the
/// process: connections that come during a restart wait.
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
    /// Takes what `LISTEN_FDS` says; `names` is what `LISTEN_FDNAMES` says. To be called once, and first:
    /// other descriptors might come to have their numbers.
    ///
    /// # Errors
    ///
    /// When one of them is no TCP socket.
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

/// Tells that the gateway serves, and how it is doing.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that the configuration is being read again; to be followed by [`ready`].
pub fn reloading() {
    // `Type=notify-reload` wants to know when: an answer to an earlier signal is none to this.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "systemd not told of the reload"),
    }
}

/// Tells that the gateway is going down.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Tells that the gateway is alive.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear that (half of `WatchdogSec=`), if it does.
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
