//! How a server ends a stream, and what is made of it: in good order, with an error, or without a word.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
};

use support::{
    bosh::Bosh,
    client::End,
    gateway::{Gateway, Place, Server},
    http::Endpoint,
    within,
    xml::SASL,
};

pub(crate) const DOMAIN: &str = "ending.example";
pub(crate) const HELLO: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' \
    xmlns:stream='http://etherx.jabber.org/streams' from='ending.example' version='1.0'>\
    <stream:features/>";
/// The same of a server's own BOSH, which is patient for a second.
const CREATED: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='x' requests='2' \
    wait='60' inactivity='1' xmlns:stream='http://etherx.jabber.org/streams'><stream:features/>\
    </body>";

/// What a server does once the client authenticates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Last {
    /// It says this, and waits for the gateway to close.
    Word(&'static str),
    /// It says this, and closes.
    WordAndFin(&'static str),
    /// It has crashed, or a firewall has.
    Reset,
}

/// A server that greets, and ends each of its connections like this.
pub(crate) struct Ending {
    pub(crate) address: SocketAddr,
    /// All that has been heard on each connection that has ended.
    heard: UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Ending {
    pub(crate) async fn start(hello: &str, last: Last) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (sender, heard) = mpsc::unbounded_channel();
        let hello = hello.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, hello.clone(), last, sender.clone()));
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server for Ending {
    fn place(&self) -> Place {
        Place {
            domain: DOMAIN.to_owned(),
            c2s: self.address,
            bosh: Endpoint::new(self.address, "/http-bind"),
        }
    }
}

async fn converse(
    mut stream: TcpStream,
    hello: String,
    last: Last,
    heard: UnboundedSender<String>,
) -> Option<()> {
    let mut bytes = Vec::new();
    // The end of a stream's header, of a creation request, or, as requests may come on connections of their own, of
    // another one.
    let ends = ["streams'>", "/>", "</body>"];
    hear(&mut stream, &mut bytes, &ends).await?;
    if !said(&bytes, "</auth") {
        stream.write_all(hello.as_bytes()).await.ok()?;
        hear(&mut stream, &mut bytes, &["</auth"]).await?;
    }
    match last {
        Last::Word(word) => {
            stream.write_all(word.as_bytes()).await.ok()?;
            // Whatever way the end comes.
            let _ = stream.read_to_end(&mut bytes).await;
        }
        Last::WordAndFin(word) => {
            stream.write_all(word.as_bytes()).await.ok()?;
            stream.shutdown().await.ok()?;
            let _ = stream.read_to_end(&mut bytes).await;
        }
        Last::Reset => stream.set_zero_linger().expect("a socket option"),
    }
    let _ = heard.send(String::from_utf8_lossy(&bytes).into_owned());
    Some(())
}

fn said(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

async fn hear(stream: &mut TcpStream, bytes: &mut Vec<u8>, any: &[&str]) -> Option<()> {
    while !any.iter().any(|part| said(bytes, part)) {
        stream.read_buf(bytes).await.ok().filter(|read| *read > 0)?;
    }
    Some(())
}

/// Authenticates, and gives how the session ends.
async fn end_of(gateway: &Gateway) -> End {
    let mut bosh = Bosh::open(&gateway.bosh(), DOMAIN).await;
    let mut payload = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>AA==</auth>");
    loop {
        let answer = bosh.exchange(&payload).await;
        payload.clear();
        if answer.attr("type") == Some("terminate") {
            return End::of(&answer);
        }
    }
}

async fn assert_logged(gateway: &Gateway, line: &str) {
    let logged = async {
        while !gateway.log().contains(line) {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within(line, logged).await;
}

/// Condition and stream error of the session's end.
type Told = (Option<&'static str>, Option<&'static str>);

/// Clients come again after either.
const CLEAN: Told = (None, None);
const LOST: Told = (Some("remote-stream-error"), Some("system-shutdown"));

#[track_caller]
fn assert_told(end: &End, told: Told, last: Last) {
    let said = (end.condition.as_deref(), end.stream_error());
    assert_eq!(said, told, "{last:?}");
}

const CONFLICT: &str = "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
    </stream:error>";

#[tokio::test]
async fn a_stream_that_ends_is_told_from_one_that_breaks() {
    let closed = "server closed the stream without an error";
    let conflict: Told = (Some("remote-stream-error"), Some("conflict"));
    let with_error = format!("{CONFLICT}</stream:stream>");
    let with_error: &'static str = with_error.leak();
    for (last, told, line) in [
        (Last::Word("</stream:stream>"), CLEAN, closed),
        (Last::WordAndFin("</stream:stream>"), CLEAN, closed),
        (
            Last::WordAndFin(""),
            LOST,
            "reason=\"connection closed by the server\"",
        ),
        (
            Last::WordAndFin("<message><bo"),
            LOST,
            "reason=\"connection closed by the server\"",
        ),
        (
            Last::Reset,
            LOST,
            "reason=\"connection lost: Connection reset by peer",
        ),
        (Last::Word(with_error), conflict, "condition=\"conflict\""),
        (
            Last::WordAndFin(CONFLICT),
            conflict,
            "condition=\"conflict\"",
        ),
    ] {
        let mut server = Ending::start(HELLO, last).await;
        let upstream = format!("xmpp://{}", server.address);
        let gateway = Gateway::builder(&server).upstream(&upstream).start();
        let end = end_of(&gateway).await;
        assert_told(&end, told, last);
        assert_logged(&gateway, line).await;
        let is_lost = gateway.log().contains("server lost");
        assert_eq!(is_lost, told == LOST, "{last:?}: {}", gateway.log());
        if let Last::Word(_) = last {
            let heard = within("the gateway to close", server.heard.recv()).await;
            let heard = heard.expect("it has served one");
            assert!(heard.ends_with("</stream:stream>"), "{last:?}: {heard}");
        }
    }
}

/// What the client has asked for itself is no event for the operator.
#[tokio::test]
async fn an_end_that_the_client_asks_for_is_no_end_of_the_server() {
    let mut server = Ending::start(HELLO, Last::Word("")).await;
    let upstream = format!("xmpp://{}", server.address);
    let gateway = Gateway::builder(&server).upstream(&upstream).start();
    let mut bosh = Bosh::open(&gateway.bosh(), DOMAIN).await;
    let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>AA==</auth>");
    let end = bosh.send("type='terminate'", &auth).await.body().await;
    assert_told(&End::of(&end), CLEAN, Last::Word(""));
    let heard = within("the gateway to close", server.heard.recv()).await;
    assert!(heard.is_some_and(|heard| heard.ends_with("</stream:stream>")));
    assert_logged(&gateway, "session ended").await;
    let log = gateway.log();
    assert!(!log.contains("server closed") && !log.contains("server lost"));
}

fn http(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn terminate(attributes: &str, content: &str) -> String {
    http(&format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' {attributes} \
         xmlns:stream='http://etherx.jabber.org/streams'>{content}</body>"
    ))
}

#[tokio::test]
async fn the_same_over_a_servers_own_bosh() {
    let condition = "condition='remote-stream-error'";
    let conflict: Told = (Some("remote-stream-error"), Some("conflict"));
    for (last, told, line) in [
        (
            Last::Word(terminate("", "").leak()),
            CLEAN,
            "server closed the stream without an error",
        ),
        (
            Last::Word(terminate("condition='system-shutdown'", "").leak()),
            LOST,
            "session terminated by the server: system-shutdown",
        ),
        (
            Last::Word(terminate(condition, CONFLICT).leak()),
            conflict,
            "condition=\"conflict\"",
        ),
        (
            Last::WordAndFin(""),
            LOST,
            "reason=\"no answer from the server\"",
        ),
        (Last::Reset, LOST, "reason=\"no answer from the server\""),
    ] {
        let server = Ending::start(&http(CREATED), last).await;
        let upstream = server.place().bosh_url();
        let gateway = Gateway::builder(&server).upstream(&upstream).start();
        let end = end_of(&gateway).await;
        assert_told(&end, told, last);
        assert_logged(&gateway, line).await;
        let is_lost = gateway.log().contains("server lost");
        assert_eq!(is_lost, told == LOST, "{last:?}: {}", gateway.log());
    }
}
