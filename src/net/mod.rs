//! Sockets: listening, TLS, and how all of it ends.
//!
//! Nothing here knows what is served.

pub mod coding;
pub mod connections;
pub mod drain;
pub mod listener;
pub mod proxy;
pub mod refused_heads;
pub mod sandbox;
pub mod seldom;
pub mod systemd;
pub mod tally;
pub mod tls;
pub mod unread;

#[cfg(test)]
mod tests;
