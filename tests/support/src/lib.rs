//! Support for the tests: real servers, a scripted backend, clients that can misbehave.
//!
//! It runs the gateway as a program, and uses none of its code.
//!
//! No test waits by sleeping for some time. It waits for the event itself, for at most [`DEADLINE`].
#![allow(missing_docs, reason = "for the tests alone")]
#![expect(clippy::disallowed_methods, reason = "tests may look at the clock")]

use std::{
    future::Future,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

pub mod backend;
pub mod bosh;
pub mod c2s;
pub mod client;
pub mod ejabberd;
pub mod files;
pub mod gateway;
pub mod home;
pub mod http;
pub mod jabberd2;
pub mod liar;
pub mod line;
pub mod list_server;
pub mod machine;
pub mod nats;
pub mod persistent;
pub mod process;
pub mod prosody;
pub mod proxy;
pub mod receiver;
pub mod relay;
pub mod resilient;
pub mod sasl;
pub mod scene;
mod service;
pub mod several;
pub mod site;
pub mod snoop;
pub mod stall;
mod tls;
pub mod websocket;
pub mod webstream;
pub mod xml;

/// The folder of the repository.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("it is in tests/support")
}

/// The gateway's program, which cargo builds beside the tests (their own are in `deps`).
pub fn rostergate() -> PathBuf {
    let tests = std::env::current_exe().expect("tests are programs");
    let folder = tests.ancestors().nth(2).expect("they are in target/*/deps");
    folder.join("rostergate")
}

/// Longest time that anything expected may take, on a machine that does much else.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The result of `future`; panics with the name `what` if it takes longer than [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_limit(DEADLINE, what, future).await
}

/// The same with another limit.
pub async fn within_limit<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// A part of a name that no other test of this process uses.
pub fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Ports that are free at the moment; this process has not been given them before. They lie below those (32768 and up)
/// that connections take, perhaps before a server gets them.
pub fn free_ports<const N: usize>() -> [u16; N] {
    use std::{
        hash::{BuildHasher as _, RandomState},
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
    };

    const FIRST: u64 = 11_000;
    const PORTS: u64 = 21_000;
    /// Other processes begin elsewhere.
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(()) % PORTS));

    [(); N].map(|()| {
        let next = || FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        let mut ports = (0..PORTS).filter_map(|_| u16::try_from(next()).ok());
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        ports.find(is_free).expect("loopback has free ports")
    })
}
