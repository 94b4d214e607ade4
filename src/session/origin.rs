//! The origin of a session: where its client comes from.

use std::net::{IpAddr, SocketAddr};

/// Where a request comes from, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The client's address; the port is 0 where a proxy does not tell it. Where a proxy does not say for
    /// whom it asks, its own.
    pub address: SocketAddr,
    /// Whether the address is the client's, and not that of a proxy that does not say for whom it asks.
    pub is_known: bool,
    /// Whether the client's own connection is encrypted.
    pub secure: bool,
    /// By what the client, or the proxy before it, reaches the gateway.
    pub protocol: Protocol,
}

impl Origin {
    /// The client's address, where it is known.
    pub fn client(&self) -> Option<IpAddr> {
        self.is_known.then(|| self.address.ip())
    }
}

/// What a client may speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// In words of the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}
