//! Sockets: listening, TLS, and how all of it ends.
//!
//! Nothing here knows what is served.

pub mod drain;
pub mod listener;
pub mod tls;

#[cfg(test)]
mod tests;
