//! Creations: how many sessions there may be, and how fast an address may create them. Decided before the XMPP server
//! hears of a session.

use std::{net::IpAddr, sync::Arc};

use crate::{
    config,
    metrics::Limit,
    net::quota::{Permit, network_of},
    session::Registry,
};
use governor::{Quota, RateLimiter, clock::DefaultClock, state::keyed::HashMapStateStore};

/// Addresses that are remembered at once; beyond that, those that have used up nothing of their quota are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// The bounds on creations.
#[derive(Debug)]
pub struct Creations {
    limits: config::Session,
    by_address: Arc<Pace>,
}

type Pace = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>;

/// The bound that is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// `max_sessions`
    #[error("too many sessions in all")]
    InAll,
    /// `sessions_per_address`
    #[error("too many sessions of this address")]
    OfAddress,
    /// `creations_per_address`
    #[error("too many new sessions of this address")]
    TooFast,
}

impl Refusal {
    /// The limit that is counted.
    pub fn limit(self) -> Limit {
        match self {
            Self::InAll => Limit::Sessions,
            Self::OfAddress => Limit::SessionsPerAddress,
            Self::TooFast => Limit::CreationsPerAddress,
        }
    }
}

impl Creations {
    /// Nobody has created any session yet.
    pub fn new(limits: config::Session) -> Self {
        let pace = Quota::per_minute(limits.creations_per_address);
        Self {
            limits,
            by_address: Arc::new(RateLimiter::hashmap(pace)),
        }
    }

    /// Takes over what addresses have created under the `previous` bounds, if the pace is the same.
    pub fn following(mut self, previous: &Self) -> Self {
        if self.limits.creations_per_address == previous.limits.creations_per_address {
            self.by_address = Arc::clone(&previous.by_address);
        }
        self
    }

    /// Whether one more session may be created, besides those that exist. `client` is `None` where the address is
    /// unknown; otherwise the session has to hold the permit.
    ///
    /// # Errors
    ///
    /// The bound that is reached.
    pub fn admit(
        &self,
        client: Option<IpAddr>,
        sessions: &Registry,
    ) -> Result<Option<Permit<IpAddr>>, Refusal> {
        self.check_room(sessions)?;
        let Some(client) = client.map(network_of) else {
            return Ok(None);
        };
        let permit = sessions
            .by_address
            .acquire(client, self.limits.sessions_per_address);
        let permit = permit.ok_or(Refusal::OfAddress)?;
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.retain_recent();
        }
        let paced = self.by_address.check_key(&client);
        paced.map(|()| Some(permit)).map_err(|_| Refusal::TooFast)
    }
}

impl Creations {
    /// Whether there may be one more session in all.
    ///
    /// # Errors
    ///
    /// [`Refusal::InAll`].
    pub fn check_room(&self, sessions: &Registry) -> Result<(), Refusal> {
        match sessions.len() < self.limits.max_sessions {
            true => Ok(()),
            false => Err(Refusal::InAll),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn creations(
        max_sessions: usize,
        sessions_per_address: usize,
        creations_per_address: u32,
    ) -> Creations {
        Creations::new(config::Session {
            max_sessions,
            sessions_per_address,
            creations_per_address: NonZeroU32::new(creations_per_address).expect("not zero"),
            ..config::Session::default()
        })
    }

    fn admits(creations: &Creations, client: &str) -> Result<Option<Permit<IpAddr>>, Refusal> {
        creations.admit(client.parse().ok(), &Registry::default())
    }

    #[test]
    fn an_address_has_its_share_and_takes_no_other() {
        let bounds = creations(100, 100, 3);
        for _ in 0..3 {
            assert!(admits(&bounds, "192.0.2.1").is_ok());
        }
        let refusal = admits(&bounds, "192.0.2.1").err();
        assert_eq!(refusal, Some(Refusal::TooFast));
        assert!(admits(&bounds, "192.0.2.2").is_ok());
        assert!(admits(&bounds, "unknown").is_ok());
    }

    #[test]
    fn other_bounds_make_nobody_forget() {
        let old = creations(100, 100, 1);
        assert!(admits(&old, "192.0.2.1").is_ok());
        let same = creations(50, 50, 1).following(&old);
        assert_eq!(admits(&same, "192.0.2.1").err(), Some(Refusal::TooFast));
        let faster = creations(50, 50, 2).following(&same);
        assert!(admits(&faster, "192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let bounds = creations(100, 100, 1);
        assert!(admits(&bounds, "2001:db8::1").is_ok());
        assert!(admits(&bounds, "2001:db8::2").is_err());
        assert!(admits(&bounds, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn only_sessions_that_exist_count_for_an_address() {
        let (bounds, registry) = (creations(100, 1, 100), Registry::default());
        let client = "192.0.2.1".parse().ok();
        let permit = bounds.admit(client, &registry);
        assert!(permit.is_ok());
        let refusal = bounds.admit(client, &registry).err();
        assert_eq!(refusal, Some(Refusal::OfAddress));
        drop(permit);
        assert!(bounds.admit(client, &registry).is_ok());
    }

    #[test]
    fn there_is_an_end_of_all() {
        let bounds = creations(0, 100, 100);
        let refusal = admits(&bounds, "192.0.2.1").err();
        assert_eq!(refusal, Some(Refusal::InAll));
    }
}
