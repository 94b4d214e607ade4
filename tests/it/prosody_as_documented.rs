//! Debian's Prosody with the lines that the documentation has added to it, and no others.

use std::fs;

use support::{gateway::Gateway, prosody::Prosody, root};

/// The first block of Lua on the page about servers.
fn lines() -> String {
    let page = fs::read_to_string(root().join("docs/servers.md")).expect("a page");
    let (_, rest) = page.split_once("```lua\n").expect("a block of Lua");
    let (lines, _) = rest.split_once("```").expect("its end");
    lines.to_owned()
}

#[tokio::test]
async fn clients_get_long_messages_and_those_that_came_before_them() {
    let prosody = Prosody::builder().as_debian_installs_it(&lines()).start();
    let gateway = Gateway::builder(&prosody).start();
    let mut john = gateway.login(&prosody.account("john"), "web").await;
    let marie = prosody.account("marie");

    // Nobody is there yet.
    john.send_message(&marie.jid(), "are you there?");
    john.fence().await;
    let mut marie = gateway.login(&marie, "web").await;
    marie.send_presence("");
    marie.expect_message("are you there?").await;

    // At Debian's pace it would take half a minute.
    let long = "long ".repeat(50_000);
    john.send_message(&marie.jid, &long);
    marie.expect_message(&long).await;
}

#[tokio::test]
async fn the_server_has_no_lists_of_its_own() {
    let prosody = Prosody::builder().as_debian_installs_it(&lines()).start();
    let mut native = prosody.login(&prosody.account("john"), "native").await;
    let refused = native.refused_roster().await;
    let error = refused.to_string();
    assert!(error.contains("service-unavailable"), "{error}");
}
