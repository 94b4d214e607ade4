//! `[server]` and `[[certificate]]`: where the gateway listens, and the bounds on connections.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use super::{
    reader::{Section, Taken},
    value::{self, Fault, KIB, MIB, MINUTE, SECOND},
};
use crate::net::{
    connections::Bounds,
    listener::Limits,
    proxies::{ForwardedHeader, Proxies},
    tls::Identity,
};

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Addresses for HTTP; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Addresses for HTTPS.
    pub listen_tls: Vec<SocketAddr>,
    /// The certificate of `[server]`, then those of `[[certificate]]`; at least one with `listen_tls`.
    pub certificates: Vec<Identity>,
    /// The proxies that are trusted to name the client's address.
    pub proxies: Proxies,
    /// Whether they send a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Number of threads that serve.
    pub threads: usize,
    /// Most connections at once.
    pub connections: Bounds,
    /// Bounds of one connection.
    pub limits: Limits,
    /// How long sessions get to end after SIGTERM.
    pub drain_timeout: Duration,
    /// The time over which their ends are spread.
    pub drain_spread: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5290))],
            listen_tls: Vec::new(),
            certificates: Vec::new(),
            proxies: Proxies {
                trusted: [
                    IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                    IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
                ]
                .into_iter()
                .collect(),
                header: ForwardedHeader::XForwardedFor,
            },
            proxy_protocol: false,
            threads: 1,
            connections: Bounds::default(),
            limits: Limits::default(),
            drain_timeout: Duration::from_secs(10),
            drain_spread: Duration::from_secs(2),
        }
    }
}

impl Server {
    /// `has_more`: whether there are certificates beside the one of this section.
    pub(super) fn read(section: &mut Section<'_, '_>, taken: &mut Taken, has_more: bool) -> Self {
        let mut it = Self::default();
        let listen = section.list(&mut it.listen, "listen", |text| taken.address(text));
        let listen_tls = section.list(&mut it.listen_tls, "listen_tls", |text| taken.address(text));
        if listen == Some(0) && listen_tls.unwrap_or(0) == 0 {
            let cure = "set server.listen or server.listen_tls";
            section.fault("listen", Fault::new("no address to listen at", cure));
        }
        let has_one = section.has("certificate") || section.has("private_key") || has_more;
        if listen_tls.unwrap_or(0) > 0 && !has_one {
            let cure = "set server.certificate and server.private_key";
            let fault = Fault::new("HTTPS without a certificate and its key", cure);
            section.fault("listen_tls", fault);
        }
        it.certificates
            .extend(section.identity(["certificate", "private_key"]));
        let headers = [
            ("X-Forwarded-For", ForwardedHeader::XForwardedFor),
            ("Forwarded", ForwardedHeader::Forwarded),
        ];
        section.list(&mut it.proxies.trusted, "trusted_proxies", value::network);
        section.choose(&mut it.proxies.header, "forwarded_header", &headers);
        section.flag(&mut it.proxy_protocol, "proxy_protocol");
        section.number(&mut it.threads, "threads", 1..=1024);
        section.number(
            &mut it.connections.in_all,
            "max_connections",
            1..=10_000_000,
        );
        section.number(
            &mut it.connections.per_address,
            "connections_per_address",
            1..=10_000_000,
        );
        let Limits {
            handshake,
            idle,
            head,
            ping,
        } = &mut it.limits;
        section.set(
            handshake,
            "handshake_timeout",
            value::duration(SECOND..=MINUTE),
        );
        section.set(idle, "idle_timeout", value::duration(SECOND..=60 * MINUTE));
        section.set(head, "max_head", value::size(8 * KIB..=MIB));
        section.set(ping, "http2_ping", value::duration(SECOND..=10 * MINUTE));
        let drain = || value::duration(Duration::ZERO..=10 * MINUTE);
        section.set(&mut it.drain_timeout, "drain_timeout", drain());
        section.set(&mut it.drain_spread, "drain_spread", drain());
        it
    }
}

/// Reads a `[[certificate]]`. The first of all is shown to clients that ask for no name, so it needs none itself.
pub(super) fn read_certificate(section: &mut Section<'_, '_>, is_first: bool) -> Option<Identity> {
    let keys = ["chain", "private_key"];
    for key in keys {
        section.demand(key);
    }
    let identity = section.identity(keys)?;
    if !is_first && identity.names().is_empty() {
        let cure = "name one with subjectAltNames, or make it server.certificate";
        let fault = Fault::new("for no DNS name, so it would never be shown", cure);
        section.fault("chain", fault);
    }
    Some(identity)
}
