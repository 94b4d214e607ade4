//! How many sessions may be created: decided before the XMPP server hears of any.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
};

use governor::{Quota, RateLimiter, clock::DefaultClock, state::keyed::HashMapStateStore};

/// Addresses that are remembered at once; beyond that, those that are entitled to all again are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// The bounds on creations.
#[derive(Debug)]
pub struct Creations {
    max_sessions: usize,
    by_address: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
}

impl Creations {
    /// At most `max_sessions` in all, and `per_minute` by one address.
    pub fn new(max_sessions: usize, per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            max_sessions,
            by_address: RateLimiter::hashmap(Quota::per_minute(per_minute)),
        }
    }

    /// Whether one more session may be created, besides the `sessions` that there are. `client` is `None`
    /// where its address is unknown.
    pub fn admit(&self, client: Option<IpAddr>, sessions: usize) -> bool {
        if sessions >= self.max_sessions {
            return false;
        }
        let Some(client) = client else { return true };
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.retain_recent();
        }
        self.by_address.check_key(&network(client)).is_ok()
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creations(max_sessions: usize, per_minute: u32) -> Creations {
        Creations::new(max_sessions, per_minute)
    }

    #[test]
    fn an_address_has_its_share_and_takes_no_other() {
        let creations = creations(100, 3);
        let greedy: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        for _ in 0..3 {
            assert!(creations.admit(Some(greedy), 0));
        }
        assert!(!creations.admit(Some(greedy), 0));
        assert!(creations.admit(Some(other), 0));
        assert!(creations.admit(None, 0));
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let creations = creations(100, 1);
        assert!(creations.admit("2001:db8::1".parse().ok(), 0));
        assert!(!creations.admit("2001:db8::2".parse().ok(), 0));
        assert!(creations.admit("2001:db8:0:1::1".parse().ok(), 0));
    }

    #[test]
    fn there_is_an_end_of_all() {
        let creations = creations(2, 100);
        assert!(creations.admit(None, 1));
        assert!(!creations.admit(None, 2));
    }
}
