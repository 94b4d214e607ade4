//! Checks of what must hold whatever bytes come in. Each check takes any bytes, and panics where something does
//! not hold. Fuzzers look for such bytes (`fuzz/`); `tests/fuzz_corpus.rs` replays what they have found.
#![allow(clippy::disallowed_methods, reason = "tests may look at the clock")]
#![allow(missing_docs, unreachable_pub, reason = "shared by tests and fuzzers")]

pub mod acceptor;
pub mod agreement;
pub mod cluster;
pub mod config;
pub mod contacts;
pub mod framing;
pub mod session;
pub mod stream;

use agreement::agrees;

/// A check. It returns true if the bytes were accepted, so that a corpus can be seen to reach both outcomes.
pub struct Check {
    /// The fuzz target, and the folder of its corpus.
    pub name: &'static str,
    pub run: fn(&[u8]) -> bool,
}

/// All checks.
pub const CHECKS: [Check; 8] = [
    Check {
        name: "acceptor_ops",
        run: acceptor::operate,
    },
    Check {
        name: "cluster_messages",
        run: cluster::listen,
    },
    Check {
        name: "config_toml",
        run: config::parse,
    },
    Check {
        name: "contacts_json",
        run: contacts::decode,
    },
    Check {
        name: "framing_messages",
        run: framing::converse,
    },
    Check {
        name: "scan_body",
        run: agrees,
    },
    Check {
        name: "session_ops",
        run: session::operate,
    },
    Check {
        name: "split_stream",
        run: stream::split,
    },
];
