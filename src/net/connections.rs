//! Connections: how many there may be, in all and from one address.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tracing::{debug, warn};

use crate::metrics::{Limit, Metrics};

use super::{
    answer::RETRY_SECONDS,
    log_throttle::LogThrottle,
    proxies::Networks,
    quota::{Permit, Quota, network_of},
    sandbox,
};

/// How long a refused client may take to read the refusal.
const HEARING: Duration = Duration::from_secs(1);
/// Bytes of its request that are read meanwhile: a socket closed with unread data is reset, which may lose the answer.
const UNREAD: u64 = 64 << 10;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub in_all: usize,
    /// Connections of one network ([`network_of`]) at once.
    pub per_address: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_all: 100_000,
            per_address: 2000,
        }
    }
}

/// The bound that is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// `max_connections`
    #[error("too many connections in all")]
    InAll,
    /// `connections_per_address`
    #[error("too many connections of this address")]
    OfAddress,
}

impl Refusal {
    /// The limit that is counted.
    fn limit(self) -> Limit {
        match self {
            Self::InAll => Limit::Connections,
            Self::OfAddress => Limit::ConnectionsPerAddress,
        }
    }
}

/// A bound for which an admitted connection is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overrun {
    /// `handshake_timeout`
    Handshake,
    /// `idle_timeout`
    Idle,
    /// `max_head`
    Head,
    /// `http2_ping`
    Ping,
}

impl Overrun {
    /// The limit that is counted.
    fn limit(self) -> Limit {
        match self {
            Self::Handshake => Limit::HandshakeTimeout,
            Self::Idle => Limit::IdleTimeout,
            Self::Head => Limit::RequestHead,
            Self::Ping => Limit::Http2Ping,
        }
    }
}

/// The connections of all listeners.
#[derive(Debug)]
pub struct Connections {
    /// With the networks of the proxies, whose connections are bounded in all only.
    bounds: ArcSwap<(Bounds, Networks)>,
    in_all: Arc<Quota<()>>,
    by_address: Arc<Quota<IpAddr>>,
    refusals: LogThrottle,
    metrics: Arc<Metrics>,
}

/// Counts as a connection until it is dropped.
#[derive(Debug)]
#[must_use = "it counts for as long as it lives"]
pub struct Counted {
    metrics: Arc<Metrics>,
    _in_all: Permit<()>,
    _by_address: Option<Permit<IpAddr>>,
}

impl Connections {
    /// No connections yet. Those of `proxies` are bounded in all only; refusals are counted in `metrics`.
    pub fn new(bounds: Bounds, proxies: Networks, metrics: Arc<Metrics>) -> Self {
        Self {
            bounds: ArcSwap::from_pointee((bounds, proxies)),
            in_all: Arc::default(),
            by_address: Arc::default(),
            refusals: LogThrottle::default(),
            metrics,
        }
    }

    /// Applies other bounds from now on; open connections stay.
    pub fn bound(&self, bounds: Bounds, proxies: Networks) {
        self.bounds.store(Arc::new((bounds, proxies)));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.in_all.count(&())
    }

    /// Admits one more from `address`.
    ///
    /// # Errors
    ///
    /// The bound that is reached.
    pub fn admit(&self, address: IpAddr) -> Result<Counted, Refusal> {
        let address = address.to_canonical();
        let current = self.bounds.load();
        let (bounds, proxies) = &**current;
        let count = || {
            let is_proxy = proxies.contain(address);
            let in_all = self.in_all.acquire((), bounds.in_all);
            let in_all = in_all.ok_or(Refusal::InAll)?;
            let by_address = if is_proxy {
                None
            } else {
                let permit = self
                    .by_address
                    .acquire(network_of(address), bounds.per_address);
                Some(permit.ok_or(Refusal::OfAddress)?)
            };
            Ok(Counted {
                metrics: Arc::clone(&self.metrics),
                _in_all: in_all,
                _by_address: by_address,
            })
        };
        count().inspect_err(|refusal: &Refusal| {
            self.metrics.limit(refusal.limit());
            if let Some(unsaid) = self.refusals.is_due() {
                warn!(%address, %refusal, unsaid, "connection refused");
            }
        })
    }
}

impl Counted {
    /// Counts that the connection is ended for `bound`.
    pub(super) fn overran(&self, bound: Overrun) {
        self.metrics.limit(bound.limit());
    }
}

/// Answers 503 with the reason over an unencrypted connection, and closes it.
pub(super) async fn refuse(mut stream: TcpStream, why: Refusal) {
    let text = format!("{why}\n");
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_SECONDS}\r\nConnection: close\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n{}\r\n{text}",
        sandbox::lines()
    );
    let telling = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut request = (&mut stream).take(UNREAD);
        tokio::io::copy(&mut request, &mut tokio::io::sink()).await
    };
    if !matches!(timeout(HEARING, telling).await, Ok(Ok(_))) {
        debug!("connection lost while it was refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_has_the_connections_of_one_address() {
        let bounds = Bounds {
            in_all: 10,
            per_address: 1,
        };
        let proxies = ["2001:db8:1::/48".parse().unwrap()].into_iter().collect();
        let connections = Connections::new(bounds, proxies, Arc::default());
        let admit = |address: &str| connections.admit(address.parse().unwrap());
        let _first = admit("2001:db8::1").expect("the first");
        let refused = admit("2001:db8::2").err();
        assert_eq!(refused, Some(Refusal::OfAddress));
        let _other = admit("2001:db8:0:1::1").expect("another network");
        let _proxied = admit("2001:db8:1::1").expect("a proxy");
        assert!(admit("2001:db8:1::2").is_ok(), "the same proxy");
    }
}
