//! The gateway in front of real servers, as its users meet it.
//!
//! What any service of the kind has to do is in `tests/conformance`.
//!
//! With `UPSTREAM_UNDER_TEST=bosh` the gateway reaches the servers by their own BOSH, with `FRONT_UNDER_TEST=websocket`
//! clients come by WebSocket, with `GATEWAY_THREADS` it has so many threads.

#![expect(clippy::disallowed_methods, reason = "tests may look at the clock")]

mod addresses;
mod admin;
mod admin_views;
mod backend_login;
mod backpressure;
mod balancers;
mod blocking;
mod bosh_upstream;
mod bounds;
mod browser;
mod cluster_admin;
mod compose;
mod discovery;
mod drain;
mod ejabberd;
mod ended_by_site;
mod events;
mod fail2ban;
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
mod hostile_websocket;
mod http2;
mod idle;
mod jabberd2;
mod limits;
mod lists_in_servers;
mod login;
mod module_shapes;
mod monitoring;
mod names;
mod only_contacts;
mod openapi;
mod operation;
mod original_bugs;
mod prebind;
mod presence;
mod presence_api;
mod probe;
mod prosody_as_documented;
mod prosody_module;
mod prosody_module_http;
mod prosody_module_login;
mod prosody_module_presence;
mod proxies;
mod proxy_examples;
mod proxy_websockets;
mod put_rosters;
mod reliability;
mod reload;
mod request_limits;
mod resumption;
mod roster;
mod rules_cors;
mod rules_pace;
mod rules_upstream;
mod server_ends;
mod server_rosters;
mod server_rosters_failing;
mod server_rosters_together;
mod several_gateways;
mod several_gateways_failing;
mod several_gateways_resumption;
mod site;
mod site_page;
mod stuck_output;
mod systemd;
mod tls;
mod tokens;
mod upstream;
mod websocket_accounts;
mod websocket_bugs;
mod websocket_orders;
mod websocket_resumption;
mod websocket_server;
mod websocket_upgrade;
