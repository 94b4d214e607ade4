//! XEP-0124, Bidirectional-streams Over Synchronous HTTP (BOSH): a module per section, by anchor.

mod ack_request;
mod errorstatus_terminal;
mod inactive;
mod overactive;
mod overview;
mod payloads;
mod poll;
mod rids_broken;
mod rids_order;
mod rids_syntax;
mod security_sidrid;
mod session_request;
mod session_response;
mod terminate;
mod wrapper;
