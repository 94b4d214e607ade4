//! The module for Prosody asks the gateway for a refresh when somebody logs in.

use std::net::Ipv4Addr;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use support::{
    backend::Backend,
    client::Transport,
    gateway::Gateway,
    prosody::{Prosody, TOKEN},
    within,
};

use crate::{presence::sees, prosody_module::available, site::item};

#[tokio::test]
async fn a_login_asks_the_gateway_for_a_refresh() {
    let gateway = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let prosody = asking(&gateway);
    let [john, marie, zoe] = ["john", "marie", "zoe"].map(|name| prosody.account(name));
    let _one = prosody.login(&john, "one").await;
    let first = Asked::next(&gateway).await;
    assert_eq!(first.users, [john.jid()]);
    assert!(
        first
            .head
            .starts_with("POST /roster_admin/refresh HTTP/1.1\r\n"),
        "{}",
        first.head
    );
    for header in [
        "Authorization: Bearer admin",
        "Content-Type: application/json",
        "Prefer: respond-async",
    ] {
        assert!(
            first.head.contains(&format!("\r\n{header}\r\n")),
            "{}",
            first.head
        );
    }
    // Nobody waits for the answer, and those who come meanwhile are asked for together.
    let mut clients = Vec::new();
    for account in [&john, &marie, &zoe, &marie] {
        clients.push(prosody.login(account, &format!("r{}", clients.len())).await);
    }
    for client in &mut clients {
        client.roster().await;
    }
    first.answer("202 Accepted").await;
    let second = Asked::next(&gateway).await;
    assert_eq!(second.users, [marie.jid(), zoe.jid()]);
    second.answer("200 OK").await;
}

#[tokio::test]
async fn a_gateway_that_fails_is_asked_again_at_the_next_login() {
    let gateway = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let prosody = asking(&gateway);
    let john = prosody.account("john");
    for (resource, failure) in ["503 Service Unavailable", "", "401 Unauthorized", "garbage"]
        .iter()
        .enumerate()
    {
        let mut client = prosody.login(&john, &format!("r{resource}")).await;
        let asked = Asked::next(&gateway).await;
        assert_eq!(asked.users, [john.jid()]);
        asked.answer(failure).await;
        // Prosody has heard of it when it says so.
        prosody
            .logs(
                &format!("asked in vain to refresh {}", john.jid()),
                resource + 1,
            )
            .await;
        client.roster().await;
    }
}

/// The site has notified of nothing; both are written, and see each other.
#[tokio::test]
async fn a_native_login_heals_what_was_missed() {
    let mut prosody = Prosody::builder().rostergate().start();
    let backend = Backend::start();
    let url = format!("http://{}/rostergate", prosody.bosh().address);
    let lines = format!(
        "rosters = \"server\"\nwriter = \"prosody\"\nwriter_url = \"{url}\"\nwriter_token = \"{TOKEN}\""
    );
    let gateway = Gateway::builder(&prosody).backend(&backend).host(&lines);
    let gateway = gateway.start();
    let address = gateway.admin().address;
    let line = format!("rostergate_refresh_url = \"http://{address}/roster_admin/refresh\"");
    prosody.stop().await;
    prosody.start_again_with(&Prosody::builder().rostergate().option(&line));
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    backend.set(&marie.local, json!({}));
    let mut web = available(&gateway.transport(), &marie, "web").await;
    backend.set(&john.local, json!({ (marie.jid()): { "name": "Marie" } }));
    backend.set(&marie.local, json!({ (john.jid()): {} }));
    let mut native = available(&Transport::Tcp(prosody.c2s()), &john, "native").await;
    sees(&mut native, &web, "").await;
    sees(&mut web, &native, "").await;
    let roster: Vec<_> = native.roster().await.into_values().collect();
    assert_eq!(roster, [item(&marie.jid(), Some("Marie"), &[], "both")]);
    assert_eq!(
        web.roster().await[&john.jid()],
        item(&john.jid(), None, &[], "both")
    );
}

/// A request for a refresh, not yet answered.
struct Asked {
    stream: TcpStream,
    head: String,
    users: Vec<String>,
}

impl Asked {
    async fn next(gateway: &TcpListener) -> Self {
        within("a request for a refresh", async {
            let (mut stream, _) = gateway.accept().await.expect("a connection");
            let mut read = Vec::new();
            loop {
                stream.read_buf(&mut read).await.expect("a request");
                let text = String::from_utf8(read.clone()).expect("text");
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                if let Ok(users) = serde_json::from_str(body) {
                    return Self {
                        stream,
                        head: format!("{head}\r\n"),
                        users,
                    };
                }
            }
        })
        .await
    }

    /// Answers with this status, and ends the connection.
    async fn answer(mut self, status: &str) {
        if !status.is_empty() {
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            self.stream
                .write_all(response.as_bytes())
                .await
                .expect("it reads");
        }
    }
}

/// A Prosody that asks this one.
fn asking(gateway: &TcpListener) -> Prosody {
    let address = gateway.local_addr().expect("it is bound");
    Prosody::builder()
        .rostergate()
        .option(&format!(
            "rostergate_refresh_url = \"http://{address}/roster_admin/refresh\""
        ))
        .option("rostergate_refresh_token = \"admin\"")
        .start()
}
