//! Quotas: counts per key, each of them bounded.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// How many permits each key has. The lock is held for a map operation.
#[derive(Debug)]
pub struct Quota<K>(Mutex<HashMap<K, usize>>);

/// Counts for its key until it is dropped.
#[derive(Debug)]
#[must_use = "it counts for as long as it lives"]
pub struct Permit<K: Eq + Hash> {
    quota: Arc<Quota<K>>,
    key: K,
}

impl<K> Default for Quota<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Quota<K> {
    /// One more for `key`, if it then has at most `most`.
    pub fn acquire(self: &Arc<Self>, key: K, most: usize) -> Option<Permit<K>> {
        let mut taken = self.0.lock();
        let count = taken.get(&key).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.insert(key.clone(), count.saturating_add(1));
        drop(taken);
        let quota = Arc::clone(self);
        Some(Permit { quota, key })
    }
}

impl<K: Eq + Hash> Quota<K> {
    /// How many permits `key` has.
    pub fn count(&self, key: &K) -> usize {
        self.0.lock().get(key).copied().unwrap_or_default()
    }
}

/// The network that counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address. A client that has
/// one address of such a network has them all.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut taken = self.quota.0.lock();
        match taken.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_count_until_they_are_dropped() {
        let quota = Arc::<Quota<u8>>::default();
        let first = quota.acquire(1, 2).expect("one");
        let second = quota.acquire(1, 2).expect("two");
        assert!(quota.acquire(1, 2).is_none());
        let other = quota.acquire(2, 2).expect("another's");
        drop(first);
        let third = quota.acquire(1, 2).expect("two again");
        assert!(quota.acquire(1, 2).is_none());
        drop((second, third, other));
        assert!(quota.0.lock().is_empty(), "nothing is left behind");
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let network_of = |address: &str| network_of(address.parse().unwrap()).to_string();
        assert_eq!(network_of("2001:db8::1"), network_of("2001:db8::2:0:0:2"));
        assert_ne!(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"));
        assert_eq!(network_of("192.0.2.1"), network_of("::ffff:192.0.2.1"));
        assert_ne!(network_of("192.0.2.1"), network_of("192.0.2.2"));
    }
}
