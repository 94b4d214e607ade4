//! RFC 7395, An XMPP Subprotocol for WebSocket: a module per section.

mod closing;
mod errors;
mod features;
mod framing;
mod handshake;
mod initiation;
mod keepalive;
mod restarts;
mod stanzas;
