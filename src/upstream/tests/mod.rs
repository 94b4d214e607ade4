//! Tests of the upstream against scripted servers that misbehave. Those against real servers are in `tests/it`.

mod bosh;
mod opening;
mod stream;
mod tls;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use bytes::Bytes;
use jid::DomainPart;
use rustls::CertificateError;
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
        stream::{
            MAX_ELEMENT,
            error::{Malformed, StreamCondition},
            split::SplitError,
        },
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

const CREATED: &str = "<body xmlns='http://jabber.org/protocol/httpbind' sid='x' authid='s3' \
    xmlns:stream='http://etherx.jabber.org/streams'><stream:features/></body>";

/// A client in a browser.
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

fn host(port: u16, scheme: Scheme, tls: UpstreamTls) -> Host {
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
        messages_from: config::MessagesFrom::Anyone,
        writer: None,
        events: config::Events::default(),
        writing: config::Writing::default(),
        login: None,
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
        // The client may have gone; the test itself checks for that.
        let _ = self.io.write_all(text.as_bytes()).await;
    }

    /// Reads until `what` has come, and drops everything up to its end.
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

    /// The server's half of a TLS handshake, with a certificate that nobody trusts. Returns what the client asked for
    /// by ALPN, too.
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

/// Serves one connection by `script`. Returns its port.
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
