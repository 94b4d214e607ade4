//! What BOSH and WebSocket cost, side by side: a load generator that speaks both cheaply, and the servers and
//! gateways that it is let loose on.
//!
//! - [`http`], `websocket`, [`session`]: the client's side, in as few instructions as can be
//! - [`growth`], [`giant`]: how cost grows
//! - [`several`]: gateways that are one
//! - [`work`]: what sessions do while they are measured
//! - [`crowd`]: sessions that are merely there
//! - [`process`], [`servers`], [`systems`]: what is measured, each from a configuration of its own
//! - [`statistics`], [`report`], [`plot`], `aims`: what comes out
#![expect(clippy::disallowed_methods, reason = "it measures time")]

mod aims;
pub mod backend;
pub mod crowd;
pub mod giant;
pub mod growth;
pub mod http;
mod http2;
pub mod plot;
pub mod process;
pub mod report;
pub mod servers;
pub mod session;
pub mod several;
pub mod statistics;
mod stream;
pub mod systems;
mod websocket;
pub mod work;

/// The domain of all that is measured.
pub const DOMAIN: &str = "example.org";
