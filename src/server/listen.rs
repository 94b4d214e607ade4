//! Listeners: binds every address that the configuration names, and serves what belongs there.

use std::{
    convert::Infallible,
    fmt,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use futures_util::FutureExt as _;
use hyper::{Request, body::Incoming, service::service_fn};

use super::{RunError, gateway::Gateway, offer::Offer, tls::Tls};
use crate::{
    config::Config,
    net::{
        drain::Signal,
        http_server,
        listener::{self, Listener},
        systemd::Sockets,
        tls::CertificateStore,
    },
};

/// The addresses that are listened at.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// The admin API, if it has a listener of its own.
    pub admin: Option<SocketAddr>,
    /// The same over HTTPS.
    pub admin_tls: Option<SocketAddr>,
    /// Metrics and health, if they have a listener of their own.
    pub monitoring: Option<SocketAddr>,
}

impl Bound {
    /// Prints the addresses on standard output. Nothing waits for a reader, or fails without one.
    pub(super) fn announce(&self) {
        let lines = self.to_string();
        thread::spawn(move || {
            let mut out = io::stdout();
            let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        });
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for address in &self.http {
            writeln!(f, "listening on http://{address}")?;
        }
        for address in &self.https {
            writeln!(f, "listening on https://{address}")?;
        }
        if let Some(address) = &self.admin {
            writeln!(f, "admin listening on http://{address}")?;
        }
        if let Some(address) = &self.admin_tls {
            writeln!(f, "admin listening on https://{address}")?;
        }
        if let Some(address) = &self.monitoring {
            writeln!(f, "monitoring listening on http://{address}")?;
        }
        Ok(())
    }
}

/// What all listeners share.
pub(super) struct Listening<'a> {
    pub(super) config: &'a Config,
    pub(super) gateway: &'a Arc<Gateway>,
    /// The signal that ends them.
    pub(super) stop: &'a Signal,
}

impl Listening<'_> {
    /// Listens at all addresses, or at the `sockets` that replace them, and serves the connections.
    ///
    /// # Errors
    ///
    /// When one of the addresses cannot be listened at.
    pub(super) fn start(&self, sockets: Sockets, tls: Option<&Tls>) -> Result<Bound, RunError> {
        let (server, admin) = (&self.config.server, &self.config.admin);
        let main = match admin.is_apart() {
            true => Offer::BoshOnly,
            false => Offer::Both,
        };
        let shown = tls.map(|tls| &tls.web);
        let shown_to_admins = tls.map(|tls| &tls.admin);
        let mut bound = Bound::default();
        for it in listeners("server.listen", &server.listen, sockets.http, None)? {
            bound.http.push(it.local_addr());
            self.serve(self.behind_proxies(it), main);
        }
        for it in listeners(
            "server.listen_tls",
            &server.listen_tls,
            sockets.https,
            shown,
        )? {
            bound.https.push(it.local_addr());
            self.serve(self.behind_proxies(it), main);
        }
        for it in listeners("admin.listen", admin.listen.as_slice(), sockets.admin, None)? {
            bound.admin = Some(it.local_addr());
            self.serve(it, Offer::AdminOnly);
        }
        let (listen_tls, passed) = (admin.listen_tls.as_slice(), sockets.admin_https);
        for it in listeners("admin.listen_tls", listen_tls, passed, shown_to_admins)? {
            bound.admin_tls = Some(it.local_addr());
            self.serve(it, Offer::AdminOnly);
        }
        let monitoring = self.config.monitoring.listen.as_slice();
        for it in listeners("monitoring.listen", monitoring, Vec::new(), None)? {
            bound.monitoring = Some(it.local_addr());
            self.serve(it, Offer::MonitoringOnly);
        }
        Ok(bound)
    }

    /// Demands the PROXY protocol of trusted proxies if it is configured. A reload can change which proxies are
    /// trusted, but not whether they speak the protocol.
    fn behind_proxies(&self, listener: Listener) -> Listener {
        if !self.config.server.proxy_protocol {
            return listener;
        }
        let gateway = Arc::clone(self.gateway);
        listener.with_proxies(move |address| gateway.trusts(address))
    }

    fn serve(&self, listener: Listener, offer: Offer) {
        let gateway = Arc::clone(self.gateway);
        let listener = listener
            .counted(&gateway.connections)
            .with_limits(&gateway.limits);
        let make = move |peer: listener::Peer| {
            let gateway = Arc::clone(&gateway);
            service_fn(move |request: Request<Incoming>| {
                gateway
                    .handle(peer, request, offer)
                    .map(Ok::<_, Infallible>)
            })
        };
        tokio::spawn(http_server::serve(listener, make, self.stop.watch()));
    }
}

/// Listens at `addresses`, unless sockets have been `passed` for them.
fn listeners(
    key: &'static str,
    addresses: &[SocketAddr],
    passed: Vec<TcpListener>,
    tls: Option<&Arc<CertificateStore>>,
) -> Result<Vec<Listener>, RunError> {
    if addresses.is_empty() && !passed.is_empty() {
        return Err(RunError::Passed { key });
    }
    if passed.is_empty() {
        let bind = |address: &SocketAddr| Ok(Listener::bind(*address, tls.cloned())?);
        return addresses.iter().map(bind).collect();
    }
    let adopt = |socket| Ok(Listener::adopt(socket, tls.cloned())?);
    passed.into_iter().map(adopt).collect()
}
