//! Fronts: endpoints of the HTTP server for clients and for monitoring. They hold no state of sessions.

pub mod address;
mod answers;
mod bodies;
pub mod body;
pub mod bosh;
mod completed;
pub mod cors;
pub mod discovery;
pub mod elsewhere;
pub mod exchange;
mod failures;
mod forwarded;
pub mod monitoring;
mod page;
pub mod settings;
pub mod websocket;
