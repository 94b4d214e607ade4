//! What faces web clients: HTTP requests in, answers out.

pub mod address;
mod bodies;
pub mod body;
pub mod bosh;
pub mod cors;
pub mod discovery;
pub mod exchange;
mod forwarded;
pub mod monitoring;
