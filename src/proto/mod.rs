//! Protocols (layer 0): no I/O, no clock, no randomness, no logging.
//!
//! The state machines here share one grammar: `handle_*` says that something happened outside,
//! other `&mut self` methods are commands, and `poll_*` tells what the caller has to do next. After
//! every `handle_*` or command, drain each `poll_*` until it returns `None`, then arm one timer for
//! `poll_timeout`. Time enters as an argument.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod bosh;
pub mod handover;
pub mod login;
pub mod page;
pub mod sasl;
pub mod sm;
pub mod stanza;
pub mod stream;
pub mod xml;
