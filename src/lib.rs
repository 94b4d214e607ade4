//! # rostergate
//!
//! A gateway that stands in front of an XMPP server: it terminates BOSH (XEP-0124, XEP-0206) and WebSocket
//! (RFC 7395) for web clients and lets the site's own backend own their contact lists.
//!
//! The layers; each module uses only those below it, and none beside it:
//!
//! | layer | modules, from the top to the bottom | what they are |
//! |---|---|---|
//! | 3 | [`server`]; [`probe`] | composition: builds everything from a [`config::Config`], owns shutdown; tries a configuration out |
//! | 2 | [`front`], [`admin`]; [`cluster`]; [`session`]; [`writer`], [`events`]; [`upstream`], [`backend`]; [`config`]; [`net`]; [`metrics`]; [`log`] | sockets, tasks, timers |
//! | 1 | [`pipe`], [`availability`]; [`roster`] | application logic without I/O |
//! | 0 | [`proto`]; `clock` | protocols without I/O, clock or randomness; the clock, for layer 2 |
//!
//! `ARCHITECTURE.md` in the repository tells the story of a request through them.
#![forbid(unsafe_code)]

// For the checks that unit tests share with other crates.
#[cfg(test)]
extern crate self as rostergate;

pub mod admin;
pub mod availability;
pub mod backend;
mod clock;
pub mod cluster;
pub mod config;
pub mod events;
pub mod front;
pub mod log;
pub mod login;
pub mod metrics;
pub mod net;
pub mod pipe;
pub mod probe;
pub mod proto;
pub mod roster;
pub mod server;
pub mod session;
pub mod upstream;
pub mod writer;
