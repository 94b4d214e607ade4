//! The gateway in front of real servers, as its users meet it.
//!
//! What any BOSH service has to do is in `tests/conformance`.
//!
//! With `UPSTREAM_UNDER_TEST=bosh` the gateway reaches the servers by their own BOSH, with
//! `GATEWAY_THREADS` it has so many threads.

#![expect(clippy::disallowed_methods, reason = "tests may look at the clock")]

mod addresses;
mod admin;
mod admin_views;
mod backend_login;
mod backpressure;
mod blocking;
mod bosh_upstream;
mod bounds;
mod browser;
mod discovery;
mod drain;
mod ejabberd;
mod failures;
mod faults;
mod file_backend;
mod grafana;
mod handover;
mod harness;
mod hostile_backend;
mod hostile_bystander;
mod hostile_cost;
mod hostile_creations;
mod hostile_http;
mod hostile_pages;
mod hostile_roster;
mod hostile_server;
mod hostile_session;
mod hostile_stranger;
mod http2;
mod idle;
mod jabberd2;
mod limits;
mod login;
mod module_shapes;
mod monitoring;
mod names;
mod openapi;
mod operation;
mod original_bugs;
mod presence;
mod proxies;
mod proxy_examples;
mod reliability;
mod reload;
mod request_limits;
mod roster;
mod rules_cors;
mod rules_pace;
mod rules_upstream;
mod server_ends;
mod site;
mod stuck_output;
mod systemd;
mod tls;
mod upstream;
