//! What the tests stand on: real servers, a scripted backend, clients that can misbehave.
//!
//! Nothing here sleeps to wait for something: it waits for the thing itself, up to [`DEADLINE`].

use std::{
    future::Future,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

pub(crate) mod backend;
pub(crate) mod bosh;
pub(crate) mod c2s;
pub(crate) mod client;
pub(crate) mod ejabberd;
pub(crate) mod files;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod jabberd2;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod prosody;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod resilient;
pub(crate) mod sasl;
pub(crate) mod site;
pub(crate) mod xml;

/// Longest time that anything expected may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The result of `future`; panics, naming `what`, where it takes longer than [`DEADLINE`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_limit(DEADLINE, what, future).await
}

/// The same with another limit.
pub(crate) async fn within_limit<T>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// A part of a name that no other test of this process uses.
pub(crate) fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Ports that nobody has right now.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N]
        .map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}
