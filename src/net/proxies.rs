//! Proxies: the networks of those that are trusted, and where they name the client.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

/// Some networks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Whether `address` is in one of them. An IPv4 address may be written as one of IPv6 (`::ffff:192.0.2.1`), as
    /// sockets for both have it.
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

/// The proxies whose word counts, and how they tell it.
///
/// They are heard in one header only: in any other, a client could say what it likes, and the proxy
/// would pass it on.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// Their networks.
    pub trusted: Networks,
    /// Where they tell for whom they ask.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// Whether this is a trusted proxy, so that who the client behind it is, is unknown.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.trusted.contain(address)
    }
}

/// The header in which they say where a client connects from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForwardedHeader {
    /// RFC 7239.
    Forwarded,
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
    XForwardedFor,
}
