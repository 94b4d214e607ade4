//! RFC 6121, Instant Messaging and Presence: a module per section.
//!
//! Who is on whose list says the site's backend where rostergate is tested, and the usual handshake of
//! requests and approvals with any other service.

mod friends;
mod presence_broadcast;
mod presence_directed;
mod presence_initial;
mod presence_unavailable;
mod roster_delete;
mod roster_get;
mod roster_push;
