//! Clients that bring the server to refuse them: nobody else's login suffers.

use std::{fs, net::SocketAddr, pin::pin, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use support::{
    bosh::{Pending, creation},
    free_ports,
    gateway::{Gateway, Place, Server},
    http::{Endpoint, Response},
    within,
    xml::HTTPBIND,
};

const DOMAIN: &str = "strict.example";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' \
    xmlns:stream='http://etherx.jabber.org/streams' from='strict.example' version='1.0'>";
const FEATURES: &str = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
    <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>\
    </stream:features>";
const HONEST: &str = "198.51.100.1";

/// What the server does to clients that it does not like.
#[derive(Clone, Copy, Debug)]
enum Dislike {
    BreaksOff,
    SaysNothing,
    Says(&'static str),
}

/// A server that tells its clients apart: by the PROXY protocol, or over HTTP by `X-Forwarded-For`.
struct Strict {
    address: SocketAddr,
    /// The most that it has heard of a client, bytes.
    longest: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Strict {
    async fn start(dislike: Dislike) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::listening(listener, dislike)
    }

    fn listening(listener: TcpListener, dislike: Dislike) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let (heard, longest) = watch::channel(0);
        let heard = Arc::new(heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, dislike, Arc::clone(&heard)));
            }
        });
        Self {
            address,
            longest,
            task,
        }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server for Strict {
    fn place(&self) -> Place {
        Place {
            domain: DOMAIN.to_owned(),
            c2s: self.address,
            bosh: Endpoint::new(self.address, "/http-bind"),
        }
    }
}

async fn serve(mut stream: TcpStream, dislike: Dislike, longest: Arc<watch::Sender<usize>>) {
    let mut heard = Vec::new();
    let heard = loop {
        if !matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
            return;
        }
        longest.send_if_modified(|longest| {
            let is_longer = heard.len() > *longest;
            *longest = heard.len().max(*longest);
            is_longer
        });
        let text = String::from_utf8_lossy(&heard);
        if text.contains("streams'>") || text.contains("/>") {
            break text.into_owned();
        }
        // As servers do that bound what they read.
        if heard.len() > 10_000 {
            return;
        }
    };
    let is_http = heard.starts_with("POST");
    let is_liked = !heard.contains("192.0.2.");
    let features = match is_http {
        true => http(
            "200 OK",
            &format!("<body xmlns='{HTTPBIND}' sid='1' wait='60' requests='2'>{FEATURES}</body>"),
        ),
        false => format!("{HEADER}{FEATURES}"),
    };
    let answer = match dislike {
        _ if is_liked => &features,
        Dislike::BreaksOff => return,
        Dislike::SaysNothing => "",
        Dislike::Says(answer) => answer,
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn from(gateway: &Gateway, address: &str) -> Endpoint {
    gateway.bosh().adding("X-Forwarded-For", address)
}

async fn create(gateway: &Gateway, address: &str) -> Response {
    from(gateway, address).post(&creation(DOMAIN, &[])).await
}

#[track_caller]
fn assert_created(response: &Response, why: &str) {
    let is_created = response.status() == 200 && response.xml().attr("sid").is_some();
    assert!(is_created, "{why}: {response:?}");
}

/// A good many clients are refused, and the next one that is not sees nothing of it.
async fn assert_nobody_else_suffers(gateway: &Gateway, dislike: Dislike) {
    for _ in 0..8 {
        let refused = create(gateway, "192.0.2.1").await;
        assert_eq!(refused.xml().attr("sid"), None, "{dislike:?}");
    }
    let honest = create(gateway, HONEST).await;
    assert_created(&honest, &format!("{dislike:?}"));
}

#[tokio::test]
async fn a_server_that_refuses_some_is_there_for_others() {
    for dislike in [
        Dislike::BreaksOff,
        Dislike::Says("SSH-2.0-x\r\n"),
        Dislike::Says(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' \
             xmlns:stream='http://etherx.jabber.org/streams' from='strict.example' version='1.0'>\
             <stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             </stream:error></stream:stream>",
        ),
        Dislike::Says(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' \
             xmlns:stream='http://etherx.jabber.org/streams' from='other.example' version='1.0'>\
             <stream:features/>",
        ),
    ] {
        let strict = Strict::start(dislike).await;
        let gateway = Gateway::builder(&strict)
            .upstream(&format!("xmpp://{}", strict.address))
            .host("upstream_proxy_protocol = \"v1\"")
            .start();
        assert_nobody_else_suffers(&gateway, dislike).await;
    }
}

#[tokio::test]
async fn a_server_whose_bosh_refuses_some_is_there_for_others() {
    for dislike in [
        Dislike::BreaksOff,
        Dislike::Says("SSH-2.0-x\r\n\r\n"),
        Dislike::Says("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        Dislike::Says(
            "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
        Dislike::Says(
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
        Dislike::Says(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 97\r\n\r\n\
             <body xmlns='http://jabber.org/protocol/httpbind' type='terminate' condition='policy-violation'/>",
        ),
    ] {
        let strict = Strict::start(dislike).await;
        let gateway = Gateway::builder(&strict)
            .upstream(&strict.place().bosh_url())
            .start();
        assert_nobody_else_suffers(&gateway, dislike).await;
    }
}

/// More than can be under way at a time.
#[tokio::test]
async fn a_server_that_lets_some_wait_is_there_for_others() {
    let strict = Strict::start(Dislike::SaysNothing).await;
    for upstream in [
        format!("xmpp://{}", strict.address),
        strict.place().bosh_url(),
    ] {
        let mut gateway = Gateway::builder(&strict).upstream(&upstream);
        if upstream.starts_with("xmpp") {
            gateway = gateway.host("upstream_proxy_protocol = \"v1\"");
        }
        let gateway = gateway.start();
        let mut waiting = Vec::new();
        for number in 0..100 {
            let endpoint = from(&gateway, &format!("192.0.2.{number}"));
            waiting.push(Pending::send(&endpoint, 1, creation(DOMAIN, &[])).await);
        }
        assert_created(&create(&gateway, HONEST).await, &upstream);
    }
}

#[tokio::test]
async fn what_the_server_is_told_of_a_client_is_short() {
    let strict = Strict::start(Dislike::BreaksOff).await;
    let gateway = Gateway::builder(&strict)
        .upstream(&format!("xmpp://{}", strict.address))
        .start();
    for lang in [
        "x".repeat(250_000),
        "en-".repeat(80_000),
        "\n".repeat(50_000),
    ] {
        for _ in 0..8 {
            let hostile = creation(DOMAIN, &[("xml:lang", &lang)]);
            let response = from(&gateway, "192.0.2.1").post(&hostile).await;
            assert_created(&response, "as good as none");
        }
    }
    assert_created(&create(&gateway, HONEST).await, "after them");
    assert!(*strict.longest.borrow() < 1000);
}

/// A gateway whose server, at this address, has been down until it is left alone.
async fn left_alone() -> (SocketAddr, Gateway) {
    let [port] = free_ports();
    let place = SocketAddr::from(([127, 0, 0, 1], port));
    let down = Strict::start(Dislike::SaysNothing).await;
    let gateway = Gateway::builder(&down)
        .upstream(&format!("xmpp://{place}"))
        .host("upstream_proxy_protocol = \"v1\"")
        .start();
    for _ in 0..6 {
        let response = create(&gateway, HONEST).await;
        assert_eq!(response.xml().attr("sid"), None);
    }
    (place, gateway)
}

/// Creates sessions until one is the trial, which `seen` tells: whether the server is back is then up to that one.
async fn trial(gateway: &Gateway, seen: impl Future<Output = ()>) -> Pending {
    let mut addresses = (0..=255).map(|number| format!("192.0.2.{number}")).cycle();
    let mut seen = pin!(seen);
    loop {
        // No address may create many of them.
        let address = addresses.next().expect("without end");
        let endpoint = from(gateway, &address);
        let pending = Pending::send(&endpoint, 1, creation(DOMAIN, &[])).await;
        tokio::select! {
            () = pending.answered() => {}
            () = &mut seen => return pending,
        }
    }
}

/// Waits until somebody knocks at this place, where nobody answers, or no longer does.
async fn knocks(place: SocketAddr, is_wanted: bool) {
    const SYN_SENT: &str = "02";
    let port = format!("0100007F:{:04X}", place.port());
    let is_knocking = || {
        let connections = fs::read_to_string("/proc/net/tcp").expect("Linux");
        connections.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next() == Some(&port) && fields.next() == Some(SYN_SENT)
        })
    };
    while is_knocking() != is_wanted {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_is_back_is_there_for_all_at_once() {
    let (place, gateway) = left_alone().await;
    let listener = TcpListener::bind(place).await.expect("still free");
    let mut back = Strict::listening(listener, Dislike::SaysNothing);
    let heard = async {
        let heard = back.longest.wait_for(|longest| *longest > 0);
        drop(heard.await.expect("it runs"));
    };
    let _waiting = within("the trial", trial(&gateway, heard)).await;
    assert_created(&create(&gateway, HONEST).await, "though one waits");
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_use_up_the_trial() {
    let (place, gateway) = left_alone().await;
    // Whose queue of connections is full, so that the system answers no more of them.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(place).expect("still free");
    let listener = socket.listen(0).expect("a listener");
    let first = TcpStream::connect(place).await.expect("the only one");
    let trial = within("the trial", trial(&gateway, knocks(place, true))).await;
    trial.abort();
    within("its end", knocks(place, false)).await;
    drop(first);
    let _back = Strict::listening(listener, Dislike::SaysNothing);
    assert_created(&create(&gateway, HONEST).await, "the next trial");
}
