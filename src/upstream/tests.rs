//! The upstream against scripted servers that misbehave. A real one: `tests/upstream_prosody.rs`.

mod bosh;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use bytes::Bytes;
use jid::DomainPart;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    config::{Backend, Host, Presence, Scheme, UpstreamTls},
    net::proxy::ProxyProtocol,
    proto::{
        stanza::Kind,
        stream::{MAX_ELEMENT, split::SplitError},
    },
};

const HEADER: &str = "<?xml version='1.0'?><stream:stream id='s1' from='example.org' \
    version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const SASL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>PLAIN</mechanism></mechanisms>";
/// How the client's header ends.
const OPENED: &str = "xmlns:stream='http://etherx.jabber.org/streams'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const REQUIRED: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// Somebody with a browser.
const WEB: Initiator<'static> = Initiator {
    address: SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        4711,
    ),
    jid: None,
    lang: "en",
};

fn features(inside: &str) -> String {
    format!("{HEADER}<stream:features>{inside}</stream:features>")
}

pub(super) fn host(port: u16, scheme: Scheme, tls: UpstreamTls) -> Host {
    Host {
        domain: DomainPart::new("example.org").unwrap().into_owned(),
        upstream: config::Upstream {
            scheme,
            place: config::Place {
                address: "127.0.0.1".to_owned(),
                port,
            },
            path: "/http-bind".to_owned(),
            referrals: Vec::new(),
            proxy_protocol: None,
            tls,
            ca: None,
        },
        http_roster_url: None,
        presence: Presence::Directed,
        backend: Backend {
            timeout: Duration::from_secs(1),
            concurrency: 1,
            max_body: 1024,
            ..Backend::default()
        },
    }
}

fn connector(port: u16, scheme: Scheme, tls: UpstreamTls) -> Connector {
    Connector::new(&host(port, scheme, tls)).unwrap()
}

fn auto(port: u16) -> Connector {
    connector(port, Scheme::Xmpp, UpstreamTls::Auto)
}

/// A server's end of a connection.
struct Server {
    io: Box<dyn Io>,
    seen: Vec<u8>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Server {
    async fn send(&mut self, text: &str) {
        // A client that has gone away meanwhile is the test's business.
        let _ = self.io.write_all(text.as_bytes()).await;
    }

    /// Reads until `what` has come, and forgets everything up to it.
    async fn expect(&mut self, what: &str) {
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen, what.as_bytes()) {
                self.seen.drain(..at + what.len());
                return;
            }
            let read = self.io.read_buf(&mut self.seen).await.unwrap();
            assert_ne!(
                read,
                0,
                "no {what} in {}",
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    /// The server's half of a TLS handshake, with a certificate that nobody trusts; then what the
    /// client asked for by ALPN.
    async fn encrypt(self, name: &str) -> (Self, Option<Vec<u8>>) {
        self.encrypt_for(name, Some("example.org")).await
    }

    /// The same where the client asks for another name than the domain.
    async fn encrypt_for(self, name: &str, asked: Option<&str>) -> (Self, Option<Vec<u8>>) {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], own.signing_key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"xmpp-client".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(config))
            .accept(self.io)
            .await
            .unwrap();
        let (_, connection) = tls.get_ref();
        assert_eq!(connection.server_name(), asked);
        let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
        let io = Box::new(tls);
        (Self { io, ..self }, alpn)
    }

    /// Waits until the client has gone.
    async fn end(&mut self) {
        while matches!(self.io.read_buf(&mut self.seen).await, Ok(1..)) {}
    }
}

/// Serves one connection by `script`; its port.
async fn serve<F: Future<Output = ()> + Send>(
    script: impl FnOnce(Server) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let io = Box::new(tcp);
        script(Server {
            io,
            seen: Vec::new(),
        })
        .await;
    });
    port
}

/// Serves one connection: header awaited, `text` sent, connection closed.
async fn say(text: impl Into<String>) -> u16 {
    let text = text.into();
    serve(async move |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&text).await;
    })
    .await
}

async fn refused(connector: Connector) -> ConnectError {
    connector.connect(WEB).await.map(|_| ()).unwrap_err()
}

async fn event(upstream: &mut Upstream) -> Result<UpstreamEvent, UpstreamError> {
    poll_fn(|cx| upstream.poll(cx, true)).await
}

fn text(stanza: &Stanza) -> String {
    let bytes: Vec<u8> = stanza.chunks().flatten().collect();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn opens_a_stream_and_hands_over_the_features() {
    let port = serve(async |mut server: Server| {
        server
            .expect("<?xml version='1.0'?><stream:stream to='example.org' xml:lang='de' ")
            .await;
        server.send(&features(&format!("{STARTTLS}{SASL}"))).await;
        server.end().await;
    })
    .await;
    // To anybody who could overhear it, `from` is not told (RFC 6120 §4.7.1).
    let from = BareJid::new("john@example.org").unwrap();
    let (upstream, hello) = auto(port)
        .connect(Initiator {
            jid: Some(&from),
            lang: "de",
            ..WEB
        })
        .await
        .unwrap();
    assert_eq!(hello.stream_id.as_deref(), Some("s1"));
    assert_eq!(hello.features.kind(), Kind::Features);
    assert!(text(&hello.features).contains(SASL));
    assert!(!upstream.is_encrypted());
}

#[tokio::test]
async fn reads_a_stream_that_comes_byte_by_byte() {
    let port = serve(async |mut server: Server| {
        let message = "<message><body>h\u{e9}</body></message>";
        for byte in format!("{}{message}", features(SASL)).as_bytes() {
            server.io.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port)
        .connect(Initiator { lang: "", ..WEB })
        .await
        .unwrap();
    let UpstreamEvent::Stanza(message) = event(&mut upstream).await.unwrap() else {
        panic!("no stanza");
    };
    assert!(text(&message).ends_with("><body>h\u{e9}</body></message>"));
}

#[tokio::test]
async fn tells_what_is_in_the_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refused(auto(free)).await;
    assert!(matches!(&error, ConnectError::Connect { address, .. } if address.port() == free));
    assert_eq!(
        error.to_string(),
        format!("no connection to 127.0.0.1:{free}")
    );

    let stream_error =
        |inside: &str| format!("{HEADER}<stream:error>{inside}</stream:error></stream:stream>");
    let port = say(stream_error(
        "<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>not &lt;here&gt;</text>",
    ))
    .await;
    let error = refused(auto(port)).await;
    assert_eq!(error.to_string(), "stream error host-unknown");
    let ConnectError::Stream { condition } = error else {
        panic!("{error:?}");
    };
    assert_eq!(condition.text.as_deref(), Some("not <here>"));

    let port = say(stream_error(
        "<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
         [2001:db8::1]:9222</see-other-host>",
    ))
    .await;
    let error = refused(auto(port)).await;
    assert!(matches!(error, ConnectError::SeeOtherHost { host } if host == "[2001:db8::1]:9222"));

    let port = say(features(SASL).replace("example.org", "example.net")).await;
    let error = refused(auto(port)).await;
    assert!(matches!(error, ConnectError::WrongDomain { from } if from == "example.net"));

    let port = say(format!("{HEADER}<message/>")).await;
    let error = refused(auto(port)).await;
    assert!(matches!(error, ConnectError::Unexpected { element } if element == "message"));

    let port = say(format!("{HEADER}</stream:stream>")).await;
    assert!(matches!(refused(auto(port)).await, ConnectError::Closed));
}

#[tokio::test]
async fn tells_garbage_from_a_lost_connection() {
    let port = say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = refused(auto(port)).await;
    assert!(matches!(
        error,
        ConnectError::Lost(UpstreamError::Garbage(Malformed::Split(
            SplitError::StrayText
        )))
    ));

    let port = say(HEADER.replace("version='1.0' xmlns", "xmlns")).await;
    let error = refused(auto(port)).await;
    assert!(matches!(
        error,
        ConnectError::Lost(UpstreamError::Garbage(Malformed::Version))
    ));

    let port = say(format!(
        "{HEADER}<stream:features><a></b></stream:features>"
    ))
    .await;
    let error = refused(auto(port)).await;
    assert!(matches!(
        error,
        ConnectError::Lost(UpstreamError::Garbage(Malformed::Scan(_)))
    ));

    for prefix in ["", HEADER, "<?xml version='1.0'?><stream:str"] {
        let error = refused(auto(say(prefix).await)).await;
        assert!(
            matches!(error, ConnectError::Lost(UpstreamError::Eof)),
            "{prefix}: {error:?}"
        );
    }

    let (mut upstream, _) = auto(say(format!("{}<message><bo", features(SASL))).await)
        .connect(WEB)
        .await
        .unwrap();
    assert!(matches!(
        event(&mut upstream).await,
        Err(UpstreamError::Eof)
    ));
}

#[tokio::test]
async fn gives_up_on_a_silent_server() {
    let deadlines = Deadlines {
        total: Duration::from_millis(50),
        ..Deadlines::default()
    };
    for (scheme, phase) in [(Scheme::Xmpp, Phase::Stream), (Scheme::Xmpps, Phase::Tls)] {
        let port = serve(async |mut server: Server| server.end().await).await;
        let connector = connector(port, scheme, UpstreamTls::Auto).with_deadlines(deadlines);
        let error = timeout(Duration::from_secs(5), refused(connector)).await;
        let error = error.expect("the deadline is kept");
        assert!(
            matches!(error, ConnectError::Timeout { phase: reached } if reached == phase),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn tries_each_address_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let alive = listener.local_addr().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = gone.local_addr().unwrap();
    drop(gone);
    let deadline = Duration::from_secs(5);
    let (_, reached) = dial::first([dead, alive].into_iter(), deadline)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reached, alive);
    assert!(
        dial::first([dead].into_iter(), deadline)
            .await
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn keeps_to_its_tls_policy() {
    let policy = |port, tls| refused(connector(port, Scheme::Xmpp, tls));
    let port = say(features(&format!("{REQUIRED}{SASL}"))).await;
    let error = policy(port, UpstreamTls::Plain).await;
    assert!(matches!(error, ConnectError::StartTlsRequired));

    // Nothing else offered means required (RFC 6120 §5.3.1).
    let port = say(features(STARTTLS)).await;
    let error = policy(port, UpstreamTls::Plain).await;
    assert!(matches!(error, ConnectError::StartTlsRequired));

    let port = say(features(SASL)).await;
    let error = policy(port, UpstreamTls::Insecure).await;
    assert!(matches!(error, ConnectError::StartTlsNotOffered));
}

#[tokio::test]
async fn is_not_fooled_during_starttls() {
    let answer = |answer: String| {
        serve(async move |mut server: Server| {
            server.expect(OPENED).await;
            server.send(&features(&format!("{REQUIRED}{SASL}"))).await;
            server.expect(STARTTLS).await;
            server.send(&answer).await;
            server.end().await;
        })
    };
    for injected in ["<message/>", "<mess", " ", HEADER] {
        let port = answer(format!("{PROCEED}{injected}")).await;
        let error = refused(auto(port)).await;
        assert!(
            matches!(error, ConnectError::Injected),
            "{injected}: {error:?}"
        );
    }
    let port = answer("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned()).await;
    assert!(matches!(
        refused(auto(port)).await,
        ConnectError::StartTlsRefused
    ));
    let port = answer("<message/>".to_owned()).await;
    assert!(matches!(
        refused(auto(port)).await,
        ConnectError::Unexpected { .. }
    ));
}

#[tokio::test]
async fn tells_who_it_is_once_nobody_can_overhear() {
    const WITH_FROM: &str = "to='example.org' from='john@example.org' xml:lang='en' ";
    let direct = serve(async |server: Server| {
        let (mut server, alpn) = server.encrypt("example.net").await;
        assert_eq!(alpn.as_deref(), Some(&b"xmpp-client"[..]));
        server.expect(WITH_FROM).await;
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.end().await;
    })
    .await;
    let starttls = serve(async |mut server: Server| {
        server.expect("to='example.org' xml:lang='en' ").await;
        server.expect(OPENED).await;
        server.send(&features(&format!("{REQUIRED}{SASL}"))).await;
        server.expect(STARTTLS).await;
        server.send(PROCEED).await;
        let (mut server, alpn) = server.encrypt("example.net").await;
        assert_eq!(alpn, None);
        server.expect(WITH_FROM).await;
        server.expect(OPENED).await;
        server.send(&features(SASL).replace("s1", "s2")).await;
        server.end().await;
    })
    .await;
    let from = BareJid::new("john@example.org").unwrap();
    for (port, scheme, id) in [
        (direct, Scheme::Xmpps, "s1"),
        (starttls, Scheme::Xmpp, "s2"),
    ] {
        let connector = connector(port, scheme, UpstreamTls::Auto);
        let (upstream, hello) = connector
            .connect(Initiator {
                jid: Some(&from),
                ..WEB
            })
            .await
            .unwrap();
        assert!(upstream.is_encrypted());
        assert_eq!(hello.stream_id.as_deref(), Some(id));
    }
}

#[tokio::test]
async fn refuses_an_element_without_end() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.send("<message/><message><body>").await;
        server.send(&"x".repeat(MAX_ELEMENT)).await;
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
    assert!(matches!(
        event(&mut upstream).await,
        Err(UpstreamError::Garbage(Malformed::Split(
            SplitError::TooLong { .. }
        )))
    ));
}

#[tokio::test]
async fn restarts_on_the_same_connection() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.expect("<auth/>").await;
        server
            .send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        server
            .expect("<?xml version='1.0'?><stream:stream to='example.org' version='1.0' ")
            .await;
        server
            .send(&features(
                "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
            ))
            .await;
        server.expect("</stream:stream>").await;
        assert!(server.seen.is_empty());
        server.send(" </stream:stream>").await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    upstream.queue_bytes(Bytes::from_static(b"<auth/>"));
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
    upstream.restart(None);
    let Ok(UpstreamEvent::Features(features)) = event(&mut upstream).await else {
        panic!("no features");
    };
    assert!(text(&features).contains("xmpp-bind"));
    upstream.close();
    upstream.queue_bytes(Bytes::from_static(b"too late"));
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Closed)
    ));
    assert!(matches!(
        event(&mut upstream).await,
        Err(UpstreamError::Eof)
    ));
}

#[tokio::test]
async fn writes_everything_in_order_and_reads_only_when_told() {
    const COUNT: usize = 40_000;
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.send("<message/>").await;
        for number in 0..COUNT {
            server
                .expect(&format!("<a n='{number}'>{}</a>", "x".repeat(100)))
                .await;
        }
        server.expect(" ").await;
        assert!(server.seen.is_empty());
        server.send("</stream:stream>").await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    let mut total = 0;
    for number in 0..COUNT {
        let element = format!("<a n='{number}'>{}</a>", "x".repeat(100));
        total += element.len();
        upstream.queue_bytes(element.into());
    }
    assert_eq!(upstream.queued(), total);
    // More than a socket takes at once: written as the server reads, no event all the while.
    poll_fn(|cx| {
        assert!(upstream.poll(cx, false).is_pending());
        if upstream.queued() > 0 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    upstream.keepalive();
    upstream.keepalive();
    assert_eq!(upstream.queued(), 1);
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Closed)
    ));
}

#[tokio::test]
async fn tells_a_stream_error_before_the_loss() {
    let (told, tell) = tokio::sync::oneshot::channel();
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server
            .send(
                "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                 </stream:error></stream:stream>",
            )
            .await;
        drop(server);
        told.send(()).unwrap();
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    tell.await.unwrap();
    upstream.queue_bytes(Bytes::from_static(b"<message/>"));
    let Ok(UpstreamEvent::StreamError(error)) = event(&mut upstream).await else {
        panic!("no stream error");
    };
    assert_eq!(StreamCondition::of(&error).name, "conflict");
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Closed)
    ));
    assert!(event(&mut upstream).await.is_err());
}

#[tokio::test]
async fn lets_others_have_their_turn() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.send(&" ".repeat(4 << 20)).await;
        server.send("<message/>").await;
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    // White space without end is read in portions: the task yields, and is woken by itself.
    let mut turns = 0;
    let mut next = pin!(poll_fn(|cx| upstream.poll(cx, true)));
    let event = poll_fn(|cx| {
        turns += 1;
        next.as_mut().poll(cx)
    })
    .await;
    assert!(matches!(event, Ok(UpstreamEvent::Stanza(_))));
    assert!(turns > 10, "{turns}");
}

const CREATED: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='x' authid='s3' \
    xmlns:stream='http://etherx.jabber.org/streams'><stream:features/></body>";

#[tokio::test]
async fn tells_the_clients_address_before_all_else() {
    for (version, line) in [
        (
            ProxyProtocol::V1,
            &b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 "[..],
        ),
        (
            ProxyProtocol::V2,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x67",
        ),
    ] {
        // Before TLS, too.
        for scheme in [Scheme::Xmpp, Scheme::Xmpps] {
            let port = serve(async move |mut server: Server| {
                let mut begin = vec![0; line.len()];
                server.io.read_exact(&mut begin).await.unwrap();
                assert_eq!(begin, line);
                let rest = if version == ProxyProtocol::V1 { 7 } else { 2 };
                server.io.read_exact(&mut begin[..rest]).await.unwrap();
                if scheme == Scheme::Xmpps {
                    (server, _) = server.encrypt("example.org").await;
                }
                server.expect(OPENED).await;
                server.send(&features(SASL)).await;
                server.end().await;
            })
            .await;
            let mut host = host(port, scheme, UpstreamTls::Auto);
            host.upstream.proxy_protocol = Some(version);
            Connector::new(&host).unwrap().connect(WEB).await.unwrap();
        }
    }
}

#[test]
fn is_small() {
    // One per session, for as long as it lives.
    let size = size_of::<Upstream>();
    assert!(size <= 320, "{size}");
    // Part of every session's task.
    let size = size_of_val(&auto(1).connect(WEB));
    assert!(size <= 320, "{size}");
}

/// A server that refers to another.
async fn refer(to: &str) -> u16 {
    say(format!(
        "{HEADER}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
         {to}</see-other-host></stream:error></stream:stream>"
    ))
    .await
}

#[tokio::test]
async fn follows_referrals_that_are_allowed_and_not_for_ever() {
    for (hops, is_followed) in [(0, true), (3, true), (4, false)] {
        let mut port = serve(async |mut server: Server| {
            server.expect(OPENED).await;
            server.send(&features(SASL)).await;
            server.end().await;
        })
        .await;
        let mut referrals = Vec::new();
        for _ in 0..hops {
            referrals.push(config::Place {
                address: "127.0.0.1".to_owned(),
                port,
            });
            port = refer(&format!("127.0.0.1:{port}")).await;
        }
        let mut host = host(port, Scheme::Xmpp, UpstreamTls::Auto);
        host.upstream.referrals = referrals;
        let result = Connector::new(&host).unwrap().connect(WEB).await;
        assert_eq!(result.is_ok(), is_followed, "{hops} hops: {result:?}");
    }
    let port = refer("127.0.0.1:9").await;
    let mut host = host(port, Scheme::Xmpp, UpstreamTls::Auto);
    host.upstream.referrals = vec![config::Place {
        address: "127.0.0.1".to_owned(),
        port: 10,
    }];
    let error = refused(Connector::new(&host).unwrap()).await;
    assert!(matches!(error, ConnectError::SeeOtherHost { host } if host == "127.0.0.1:9"));
}

#[tokio::test]
async fn leaves_a_server_in_trouble_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = auto(listener.local_addr().unwrap().port());
    drop(listener);
    for _ in 0..5 {
        let error = refused(connector.clone()).await;
        assert!(matches!(error, ConnectError::Connect { .. }), "{error:?}");
    }
    let error = refused(connector).await;
    assert!(matches!(error, ConnectError::LeftAlone), "{error:?}");
}

#[tokio::test]
async fn a_space_keeps_an_idle_connection() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.expect(" <presence/> ").await;
        server.send("<message/>").await;
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    upstream.keepalive();
    upstream.queue_bytes(Bytes::from_static(b"<presence/>"));
    upstream.keepalive();
    // Not while something else is on its way; so once more when it has gone.
    poll_fn(|cx| {
        let _ = upstream.poll(cx, false);
        std::task::Poll::Ready(())
    })
    .await;
    upstream.keepalive();
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
}

/// Where a server leaves Nagle's algorithm on, its next stanza waits for that.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_read_can_be_acknowledged_at_once() {
    const TURNS: usize = 20;
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        for _ in 0..TURNS {
            server.expect("<presence/>").await;
            server.send("<message/>").await;
        }
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    for _ in 0..TURNS {
        // After answers, Linux would hold acknowledgements back until there is one more.
        upstream.queue_bytes(Bytes::from_static(b"<presence/>"));
        event(&mut upstream).await.unwrap();
        upstream.acknowledge();
        let Upstream::C2s(c2s) = &upstream else {
            panic!("no stream");
        };
        assert!(c2s.acknowledges_at_once());
    }
}
