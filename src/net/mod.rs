//! Sockets: listeners, TLS, HTTP, and how connections end.
//!
//! Nothing here knows what is served.

pub mod answer;
pub mod body;
pub mod causes;
pub mod coding;
pub mod connections;
pub mod drain;
pub mod early_answer;
pub mod http_client;
pub mod http_server;
pub mod listener;
pub mod log_throttle;
pub mod proxies;
pub mod proxy;
pub mod quota;
pub mod refusals;
pub mod refused_heads;
pub mod sandbox;
pub mod systemd;
pub mod tls;
pub mod unfinished;
pub mod wake_flag;
pub mod websocket;
pub mod wire;

#[cfg(test)]
pub(crate) mod testing;
