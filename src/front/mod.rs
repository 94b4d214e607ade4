//! What faces web clients: HTTP requests in, answers out.

pub mod address;
mod bodies;
pub mod body;
pub mod bosh;
mod completed;
pub mod cors;
pub mod discovery;
pub mod exchange;
mod failures;
mod forwarded;
pub mod monitoring;
