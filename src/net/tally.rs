//! Who has how many of something.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// How many seats each key has taken. The lock is held for a map operation.
#[derive(Debug)]
pub struct Tally<K>(Mutex<HashMap<K, usize>>);

/// Counts for its key until it is dropped.
#[derive(Debug)]
#[must_use = "it counts for as long as it lives"]
pub struct Seat<K: Eq + Hash> {
    tally: Arc<Tally<K>>,
    key: K,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Tally<K> {
    /// One more for `key`, if it then has at most `most`.
    pub fn seat(self: &Arc<Self>, key: K, most: usize) -> Option<Seat<K>> {
        let mut taken = self.0.lock();
        let count = taken.get(&key).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.insert(key.clone(), count.saturating_add(1));
        drop(taken);
        let tally = Arc::clone(self);
        Some(Seat { tally, key })
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// How many seats `key` has taken.
    pub fn count(&self, key: &K) -> usize {
        self.0.lock().get(key).copied().unwrap_or_default()
    }
}

/// Who counts as one: an IPv4 address, or an IPv6 network of 64 bits, as whoever has one address of it has all.
pub fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl<K: Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.tally.0.lock();
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
    fn seats_count_until_they_are_dropped() {
        let tally = Arc::<Tally<u8>>::default();
        let first = tally.seat(1, 2).expect("one");
        let second = tally.seat(1, 2).expect("two");
        assert!(tally.seat(1, 2).is_none());
        let other = tally.seat(2, 2).expect("another's");
        drop(first);
        let third = tally.seat(1, 2).expect("two again");
        assert!(tally.seat(1, 2).is_none());
        drop((second, third, other));
        assert!(tally.0.lock().is_empty(), "nothing is left behind");
    }

    #[test]
    fn an_ipv6_network_is_one_party() {
        let party = |address: &str| party(address.parse().unwrap()).to_string();
        assert_eq!(party("2001:db8::1"), party("2001:db8::2:0:0:2"));
        assert_ne!(party("2001:db8::1"), party("2001:db8:0:1::1"));
        assert_eq!(party("192.0.2.1"), party("::ffff:192.0.2.1"));
        assert_ne!(party("192.0.2.1"), party("192.0.2.2"));
    }
}
