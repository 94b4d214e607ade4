//! A server that breaks the rules ends its own clients' sessions, with an answer, and nobody else's.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use support::{
    bosh::{Bosh, creation},
    gateway::{Gateway, Place, Server},
    http::Endpoint,
    prosody::Prosody,
    within,
    xml::STREAMS,
};

use crate::hostile_bystander::Bystander;

const DOMAIN: &str = "hostile.example";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' \
    xmlns:stream='http://etherx.jabber.org/streams' from='hostile.example' version='1.0'>";
const FEATURES: &str = "<stream:features>\
    <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>\
    </stream:features>";

/// A server that greets, and says its piece once the client authenticates, its last words over and over.
struct Hostile {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Hostile {
    async fn start(greeting: String, piece: [String; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (greeting, piece) = (greeting.clone(), piece.clone());
                tokio::spawn(async move {
                    let mut heard = Vec::new();
                    while !heard.contains(&b'>') {
                        if !matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
                            return;
                        }
                    }
                    if stream.write_all(greeting.as_bytes()).await.is_err() {
                        return;
                    }
                    while !heard.windows(6).any(|part| part == b"</auth") {
                        if !matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
                            return;
                        }
                    }
                    // Until the gateway closes, or 64 MiB have gone out.
                    let [first, last] = &piece;
                    let mut sent = stream
                        .write_all(first.as_bytes())
                        .await
                        .map_or(usize::MAX, |()| 0);
                    while sent < 64 << 20 && !last.is_empty() {
                        let written = stream.write_all(last.as_bytes()).await;
                        sent = written.map_or(usize::MAX, |()| sent + last.len());
                    }
                    let _ = stream.read_to_end(&mut heard).await;
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server for Hostile {
    fn place(&self) -> Place {
        Place {
            domain: DOMAIN.to_owned(),
            c2s: self.address,
            bosh: Endpoint::new(self.address, "/"),
        }
    }
}

/// Clients that see such a server are told to come again, and at the third try that it is gone.
async fn assert_unreachable(greeting: &str) {
    let nothing = [const { String::new() }; 2];
    let (gateway, mut bystander, _hostile) = scene(greeting.to_owned(), nothing).await;
    for expected in [
        (503, "remote-connection-failed"),
        (503, "remote-connection-failed"),
        (200, "remote-connection-failed"),
    ] {
        let response = gateway.bosh().post(&creation(DOMAIN, &[])).await;
        response.assert_usual_headers();
        let body = response.xml();
        let condition = body.attr("condition").unwrap_or_default();
        assert_eq!((response.status(), condition), expected, "{greeting:.40}");
        bystander.chats_on().await;
    }
}

async fn scene(greeting: String, piece: [String; 2]) -> (Gateway, Bystander, Hostile) {
    let prosody = Prosody::shared();
    let hostile = Hostile::start(greeting, piece).await;
    let gateway = Gateway::builder(prosody).another_host(&hostile, "").start();
    let bystander = Bystander::log_in(&gateway, prosody).await;
    (gateway, bystander, hostile)
}

/// Opens a session, says something, and gives the condition that ends it.
async fn session_with(first: &str, last: &str) -> String {
    let greeting = format!("{HEADER}{FEATURES}");
    let (gateway, mut bystander, _hostile) =
        scene(greeting, [first, last].map(str::to_owned)).await;
    let mut bosh = Bosh::open(&gateway.bosh(), DOMAIN).await;
    assert!(bosh.creation.child(STREAMS, "features").is_some());
    let mut payload =
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA==</auth>";
    for _ in 0..100_000 {
        let answer = bosh.exchange(payload).await;
        payload = "";
        if answer.attr("type") == Some("terminate") {
            bystander.chats_on().await;
            return answer.attr("condition").unwrap_or_default().to_owned();
        }
    }
    panic!("the session never ends");
}

#[tokio::test]
async fn garbage_instead_of_a_stream_fails_the_creation() {
    for garbage in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\0\u{1}\u{2}",
        "<html><body>nothing here</body></html>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><stream:stream>",
    ] {
        assert_unreachable(garbage).await;
    }
}

#[tokio::test]
async fn features_without_end_fail_the_creation() {
    let endless = format!("{HEADER}<stream:features>{}", "<a>x</a>".repeat(1 << 20));
    assert_unreachable(&endless).await;
}

#[tokio::test]
async fn a_stanza_without_end_ends_the_session() {
    let condition = session_with("<message><body>", &"x".repeat(1 << 16)).await;
    assert_eq!(condition, "remote-stream-error");
}

#[tokio::test]
async fn garbage_in_a_stream_ends_the_session() {
    for piece in [
        "<message></presence>",
        "<message><body>&nbsp;</body></message>",
        "<message><body>\u{1}</body></message>",
        "stray text",
        "<!-- comment -->",
        "<a:b/>",
        "</stream:wrong>",
        "<message to='a' to='b'/>",
    ] {
        let condition = session_with(piece, "").await;
        assert_eq!(condition, "remote-stream-error", "{piece}");
    }
}

/// What would be a line of its own, or of another colour, or written backwards.
const FORGED: &str = "a\n2026-01-01T00:00:00.000000Z  INFO rostergate: forged\r\n\
    \u{9b}31m\u{7f}\u{2028}forged\u{202e}";

fn is_active(char: char) -> bool {
    char.is_control() || "\u{2028}\u{202e}".contains(char)
}

/// Has a server say this instead of its features, and finds what the administrator gets to see of it.
async fn assert_shown_as_text(greeting: &str, format: &str) {
    let nothing = [const { String::new() }; 2];
    let hostile = Hostile::start(greeting.to_owned(), nothing).await;
    let gateway = Gateway::builder(&hostile)
        .upstream(&format!("xmpp://{}", hostile.address))
        .env("ROSTERGATE_LOG_FORMAT", format)
        .start();
    let answer = gateway.bosh().post(&creation(DOMAIN, &[])).await;
    assert_eq!(answer.status(), 503);
    let said = async {
        while !gateway.log().contains("session ended") {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("the log", said).await;
    let log = gateway.log();
    let shown = log.lines().filter(|line| line.contains("forged"));
    let shown: Vec<_> = shown.collect();
    assert_eq!(shown.len(), 1, "one event, one line: {log}");
    let is_line = match format {
        "json" => |line: &str| serde_json::from_str::<Value>(line).is_ok(),
        _ => |line: &str| {
            line.contains(" INFO ") || line.contains(" WARN ") || line.contains(" DEBUG ")
        },
    };
    for line in log.lines() {
        assert!(is_line(line), "{line:?}");
        assert!(!line.contains(is_active), "{line:?}");
        assert!(line.len() < 1500, "{line:?}");
    }
    assert!(shown[0].contains("server unreachable"), "{shown:?}");
    let status = gateway.admin().at("/roster_admin/status");
    let status = status.request("GET", &[], "").await;
    let status: Value = serde_json::from_str(status.text()).expect("JSON");
    let error = status["failures"][0]["error"]
        .as_str()
        .expect("it is shown");
    assert!(error.contains("forged") && error.len() < 1100, "{error:?}");
    assert!(!error.contains(is_active), "{error:?}");
}

#[tokio::test]
async fn nothing_that_a_server_says_is_more_than_text() {
    let long = "x".repeat(100_000);
    let escaped = FORGED.replace('\n', "&#10;").replace('\r', "&#13;");
    let conditions = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'";
    let referral = format!(
        "{HEADER}<stream:error><see-other-host {conditions}>{escaped}{long}</see-other-host>\
         </stream:error></stream:stream>"
    );
    let other_name = HEADER.replace("from='hostile.example'", &format!("from='{escaped}{long}'"));
    let other_name = format!("{other_name}{FEATURES}");
    for format in ["text", "json"] {
        assert_shown_as_text(&referral, format).await;
        assert_shown_as_text(&other_name, format).await;
    }
}
