//! The gateway in front of real servers, as its users meet it.
//!
//! With `BOSH_UNDER_TEST=server` the same tests run against the server's own BOSH: to see whether
//! an expectation is a matter of course or the gateway's own merit.

#![expect(clippy::disallowed_methods, reason = "tests may look at the clock")]

mod admin;
mod backpressure;
mod bounds;
mod creation;
mod ejabberd;
mod ends;
mod failures;
mod harness;
mod http;
mod login;
mod names;
mod operation;
mod original_bugs;
mod payload;
mod presence;
mod reliability;
mod roster;
mod rules_cors;
mod rules_pace;
mod rules_upstream;
mod session;
mod site;
mod support;
mod upstream;
