//! What any service has to do that offers BOSH and WebSocket, by the sections of the specifications.
//!
//! The tests run against rostergate in front of Prosody; with `BOSH_URL` and its companions (see
//! `support::site`) against any other service. `make compare` does so for those that Debian has.

#![expect(clippy::disallowed_methods, reason = "tests may look at the clock")]

mod mongooseim;
mod rfc6121;
mod rfc6455;
mod rfc7395;
mod xep0124;
mod xep0198;
mod xep0206;
