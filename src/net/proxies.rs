//! Proxies: the networks of trusted ones, and the header in which they name the client.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

/// Some networks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Whether `address` is in one of them. An IPv4 address may be mapped into IPv6 (`::ffff:192.0.2.1`), as dual-stack
    /// sockets show it.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// The proxies that are trusted to name the client, and how they do it.
///
/// Only one header is read: a client could write anything into another, and the proxy would pass it on.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// Their networks.
    pub trusted: Networks,
    /// The header in which they name the client.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// Whether this is the address of a trusted proxy, and so not that of the client.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.trusted.contain(address)
    }
}

/// The header in which a proxy names the client's address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForwardedHeader {
    /// RFC 7239.
    Forwarded,
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
    XForwardedFor,
}
