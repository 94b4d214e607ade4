//! RFC 6455, The WebSocket Protocol: a module per part of it.

mod closing;
mod control;
mod fragments;
mod frames;
mod handshake;
