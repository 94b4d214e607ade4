//! What a client over WebSocket sees of its server: slow, gone, or at an end; and what the server learns of the client.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use support::{
    ejabberd::Ejabberd,
    gateway::{Gateway, Place, Server},
    http::Endpoint,
    prosody::Prosody,
    webstream::{WebStream, open},
    within,
    xml::SASL,
};

use crate::server_ends::{DOMAIN, Ending, HELLO, Last};

/// A server that the test plays.
struct Played {
    listener: TcpListener,
    address: SocketAddr,
}

impl Played {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        Self { listener, address }
    }

    /// The next connection, and what it begins with.
    async fn greeted(&self) -> (TcpStream, String) {
        let accepted = within("a connection", self.listener.accept()).await;
        let (mut stream, _) = accepted.expect("a connection");
        let mut header = Vec::new();
        while !header.ends_with(b">") || !header.windows(7).any(|it| it == b"stream:") {
            let read = within("a header", stream.read_buf(&mut header)).await;
            assert!(read.expect("it is open") > 0);
        }
        let header = String::from_utf8(header).expect("a header is text");
        (stream, header)
    }
}

impl Server for Played {
    fn place(&self) -> Place {
        Place {
            domain: DOMAIN.to_owned(),
            c2s: self.address,
            bosh: Endpoint::new(self.address, "/http-bind"),
        }
    }
}

/// How the stream of a client ends that authenticates.
async fn end_of(gateway: &Gateway) -> Vec<String> {
    let mut web = WebStream::open(&gateway.websocket(), DOMAIN).await;
    web.send(&format!(
        "<auth xmlns='{SASL}' mechanism='PLAIN'>AA==</auth>"
    ))
    .await;
    web.end().await.steps
}

#[tokio::test]
async fn open_is_answered_before_the_server_has_said_anything() {
    let server = Played::start().await;
    let gateway = Gateway::start(&server);
    let mut web = WebStream::connect(&gateway.websocket(), DOMAIN).await;
    web.send(&open(DOMAIN, &[])).await;
    web.read_opening().await;
    assert_eq!(web.opening.attr("from"), Some(DOMAIN));
    let (mut stream, _) = server.greeted().await;
    stream
        .write_all(HELLO.as_bytes())
        .await
        .expect("it is open");
    let features = |element: &support::xml::Element| element.name == "features";
    web.expect("features", features).await;
}

#[tokio::test]
async fn the_server_learns_the_language_of_the_client() {
    let server = Played::start().await;
    let gateway = Gateway::start(&server);
    for lang in ["de", "pt-BR"] {
        let mut web = WebStream::connect(&gateway.websocket(), DOMAIN).await;
        web.send(&open(DOMAIN, &[("xml:lang", lang)])).await;
        let (_stream, header) = server.greeted().await;
        let says = |quote| header.contains(&format!("xml:lang={quote}{lang}{quote}"));
        assert!(says('\'') || says('"'), "{header}");
    }
}

#[tokio::test]
async fn the_server_learns_where_the_client_is() {
    let ejabberd = Ejabberd::builder()
        .c2s_option("use_proxy_protocol: true")
        .start();
    let gateway = Gateway::builder(&ejabberd)
        .upstream(&format!("xmpp://{}", ejabberd.c2s()))
        .host("upstream_proxy_protocol = \"v2\"")
        .start();
    let account = ejabberd.account("john").await;
    for address in ["198.51.100.7", "2001:db8::7"] {
        let endpoint = gateway.websocket().adding("X-Forwarded-For", address);
        let web = WebStream::log_in(&endpoint, &account, "web").await;
        assert_eq!(ejabberd.address_of(&web.jid).await, address);
    }
}

/// Converse.js would never come again after `host-unknown` or `remote-connection-failed`.
#[tokio::test]
async fn a_server_that_is_down_may_come_back() {
    let server = Played::start().await;
    let gateway = Gateway::start(&server);
    drop(server);
    let mut web = WebStream::connect(&gateway.websocket(), DOMAIN).await;
    web.send(&open(DOMAIN, &[])).await;
    let steps = web.end().await.steps;
    assert_eq!(steps, ["<open/>", "system-shutdown", "<close/>", "1000"]);
}

#[tokio::test]
async fn a_server_that_crashes_may_come_back() {
    let server = Ending::start(HELLO, Last::Reset).await;
    let gateway = Gateway::start(&server);
    let steps = end_of(&gateway).await;
    assert_eq!(steps, ["system-shutdown", "<close/>", "1000"]);
}

#[tokio::test]
async fn a_server_that_closes_the_stream_closes_the_clients() {
    for last in [
        Last::Word("</stream:stream>"),
        Last::WordAndFin("</stream:stream>"),
    ] {
        let server = Ending::start(HELLO, last).await;
        let gateway = Gateway::start(&server);
        assert_eq!(end_of(&gateway).await, ["<close/>", "1000"], "{last:?}");
    }
}

#[tokio::test]
async fn the_servers_stream_error_is_passed_on() {
    let error = "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
                 other.example</see-other-host></stream:error></stream:stream>";
    let shutdown = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                    </stream:error></stream:stream>";
    for (error, condition) in [(shutdown, "system-shutdown"), (error, "see-other-host")] {
        let server = Ending::start(HELLO, Last::Word(error)).await;
        let gateway = Gateway::start(&server);
        let mut web = WebStream::open(&gateway.websocket(), DOMAIN).await;
        web.send(&format!(
            "<auth xmlns='{SASL}' mechanism='PLAIN'>AA==</auth>"
        ))
        .await;
        let ended = web.end().await;
        if condition == "see-other-host" {
            // Addresses of the server's are none of the client's business.
            let said = ended.error.expect("an error").to_string() + &ended.close;
            assert!(!said.contains("other.example"), "{said}");
            continue;
        }
        assert_eq!(ended.steps, [condition, "<close/>", "1000"]);
    }
}

/// A session whose server is gone cannot be resumed; the client is to log in anew.
#[tokio::test]
async fn a_session_whose_server_stops_ends_for_good() {
    let mut prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let endpoint = gateway.websocket();
    let account = prosody.account("john");
    let mut web = WebStream::log_in_managed(&endpoint, &account, "web").await;
    let session = web.managed().clone();
    prosody.stop().await;
    let steps = web.end().await.steps;
    let steps: Vec<_> = steps.iter().filter(|step| *step != "<a/>").collect();
    assert_eq!(steps, ["system-shutdown", "<close/>", "1000"]);
    prosody.start_again();
    let mut web = WebStream::authenticated(&endpoint, &account).await;
    let failed = web.resume(session).await;
    assert_eq!(failed.name, "failed", "{failed}");
    web.bind("web").await;
}
