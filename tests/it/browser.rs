//! A browser as the gateway meets it: HTTP/2 over TLS, streams that are reset one by one, and
//! sessions that are tied to no connection.

use std::{net::SocketAddr, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client, ext::Protocol};
use http::Request;
use rostergate::net::tls::{Trust, client_config};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use rustls_pki_types::pem::PemObject as _;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use support::{
    bosh::{Bosh, FIRST_RID, bind_request, creation},
    client::Account,
    http::{Endpoint, Response},
    websocket::{self, FIN, TEXT},
    within,
    xml::{Element, SASL, STREAMS},
};

const XML: (&str, &str) = ("content-type", "text/xml; charset=utf-8");

/// TLS to `localhost` by the authority of the test certificates.
pub(crate) async fn tls(address: SocketAddr, alpn: &str) -> TlsStream<TcpStream> {
    connect(address, alpn, None).await
}

/// The same, with the pair of that name from the test certificates for whoever asks.
async fn connect(address: SocketAddr, alpn: &str, own: Option<&str>) -> TlsStream<TcpStream> {
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let ca = certs.join("ca.crt");
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(ca).expect("the test authority");
    roots.add(authority).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        Some(name) => {
            let file = |extension| certs.join(name).with_extension(extension);
            let chain = CertificateDer::from_pem_file(file("crt")).expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(file("key")).expect("a key");
            config
                .with_client_auth_cert(vec![chain], key)
                .expect("a pair")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let name = "localhost".try_into().expect("a name");
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    within("a handshake", connected).await.expect("TLS")
}

/// One connection.
pub(crate) struct Connection {
    streams: client::SendRequest<Bytes>,
    /// Ends when the connection does, however it does.
    driver: JoinHandle<Result<(), h2::Error>>,
    pings: h2::PingPong,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::on(tls(address, "h2").await).await
    }

    /// With a certificate of its own, from the test certificates.
    pub(crate) async fn open_as(address: SocketAddr, name: &str) -> Self {
        Self::on(connect(address, "h2", Some(name)).await).await
    }

    /// To `example.org`, with any certificate.
    pub(crate) async fn open_to_any(address: SocketAddr) -> Self {
        let config = client_config(Trust::Anyone, Some(b"h2"));
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = "example.org".try_into().expect("a name");
        let connected = TlsConnector::from(config.expect("a policy")).connect(name, stream);
        Self::on(within("a handshake", connected).await.expect("TLS")).await
    }

    async fn on(stream: TlsStream<TcpStream>) -> Self {
        let (streams, mut connection) = client::handshake(stream).await.expect("HTTP/2");
        let pings = connection.ping_pong().expect("nobody has taken it");
        Self {
            streams,
            driver: tokio::spawn(connection),
            pings,
        }
    }

    /// The most streams that the server allows at once.
    pub(crate) async fn max_streams(&mut self) -> usize {
        // The settings come first of all.
        self.ping().await;
        self.streams.current_max_send_streams()
    }

    /// Returns when all that the server has sent before its answer has been read.
    pub(crate) async fn ping(&mut self) {
        let answered = self.pings.ping(h2::Ping::opaque());
        within("an answer to a ping", answered).await.expect("one");
    }

    /// Sends a request with a body.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Sent {
        let mut sent = self.begin(path, headers).await;
        sent.finish(body);
        sent
    }

    /// The same to another name than `localhost`.
    pub(crate) async fn post_to(
        &self,
        name: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Sent {
        let mut sent = self.begin_to(name, path, headers).await;
        sent.finish(body);
        sent
    }

    /// Sends the head of a request.
    pub(crate) async fn begin(&self, path: &str, headers: &[(&str, &str)]) -> Sent {
        self.begin_to("localhost", path, headers).await
    }

    async fn begin_to(&self, name: &str, path: &str, headers: &[(&str, &str)]) -> Sent {
        let mut request = Request::post(format!("https://{name}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let ready = within("room for a stream", self.streams.clone().ready()).await;
        let mut streams = ready.expect("an open connection");
        let (response, stream) = streams.send_request(request, false).expect("sent");
        Sent { response, stream }
    }

    /// Opens a WebSocket for XMPP on a stream (RFC 8441), as browsers do wherever it is offered. `None` if it is not.
    pub(crate) async fn websocket(&mut self, name: &str, path: &str) -> Option<WebSocket> {
        // The settings come first of all.
        self.ping().await;
        if !self.streams.is_extended_connect_protocol_enabled() {
            return None;
        }
        let request = Request::connect(format!("https://{name}{path}"))
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "xmpp")
            .body(());
        let mut streams = self.streams.clone();
        let sent = streams.send_request(request.expect("a request"), false);
        let (response, writer) = sent.expect("an open connection");
        let response = within("an answer", response).await.expect("no reset");
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.headers()["sec-websocket-protocol"], "xmpp");
        let reader = response.into_body();
        Some(WebSocket { writer, reader })
    }

    /// Asserts that the server has not closed it.
    #[track_caller]
    pub(crate) fn assert_open(&self) {
        assert!(!self.driver.is_finished(), "the connection goes on");
    }

    /// Waits for the server to close it in good order.
    pub(crate) async fn closed(self) {
        let ended = within("the end of the connection", self.driver).await;
        // Its last words may find the other end gone.
        if let Err(error) = ended.expect("no panic") {
            assert!(error.is_io(), "{error:?}");
        }
    }

    /// Begins requests and takes them back at once; true if the server has put an end to that.
    pub(crate) async fn reset_rapidly(mut self, path: &str, most: usize) -> bool {
        let attack = async {
            for _ in 0..most {
                let request = Request::post(format!("https://localhost{path}")).body(());
                let mut streams = self.streams.clone().ready().await?;
                let (_, mut stream) = streams.send_request(request.expect("a request"), false)?;
                stream.send_reset(Reason::CANCEL);
                tokio::task::yield_now().await;
            }
            self.pings.ping(h2::Ping::opaque()).await.map(drop)
        };
        within("the end of the attack", attack).await.is_err()
    }

    /// Ends it without a word.
    pub(crate) fn cut(self) {
        self.driver.abort();
    }
}

/// A WebSocket on a stream of HTTP/2.
pub(crate) struct WebSocket {
    writer: SendStream<Bytes>,
    reader: RecvStream,
}

impl WebSocket {
    /// Sends a text message.
    pub(crate) fn send(&mut self, text: &str) {
        let frame = websocket::frame(FIN | TEXT, text.as_bytes());
        self.writer.send_data(frame.into(), false).expect("sent");
    }

    /// Waits until what has come contains this.
    pub(crate) async fn expect(&mut self, text: &str) {
        let mut came = Vec::new();
        let coming = async {
            while !String::from_utf8_lossy(&came).contains(text) {
                let data = self.reader.data().await.expect("an open stream");
                came.extend(data.expect("no reset"));
            }
        };
        within(text, coming).await;
    }
}

/// A request on its way.
pub(crate) struct Sent {
    response: client::ResponseFuture,
    stream: SendStream<Bytes>,
}

impl Sent {
    /// Sends the body.
    pub(crate) fn finish(&mut self, body: &str) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let sent = self.stream.send_data(body, true);
        sent.expect("a stream that the server has not reset");
    }

    pub(crate) async fn response(self) -> Response {
        within("an HTTP/2 response", self.late_response()).await
    }

    /// The same, however long it takes.
    pub(crate) async fn late_response(self) -> Response {
        let response = self.response.await;
        let (head, mut body) = response.expect("an answer, no reset").into_parts();
        let mut text = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.expect("a whole body");
            let capacity = body.flow_control().release_capacity(part.len());
            capacity.expect("what was received");
            text.extend_from_slice(&part);
        }
        let named = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            let value = value.to_str().expect("text").to_owned();
            (name.as_str().to_owned(), value)
        };
        Response {
            status_line: format!("HTTP/2 {}", head.status.as_u16()),
            headers: head.headers.iter().map(named).collect(),
            body: text,
        }
    }

    /// Takes it back, as a browser does when its page is left (RFC 9113 §8.1).
    pub(crate) fn reset(mut self) {
        self.stream.send_reset(Reason::CANCEL);
    }
}

/// A session whose requests may go over any connection.
pub(crate) struct Session(Bosh);

impl Session {
    /// Without a login.
    pub(crate) async fn open(on: &Connection, domain: &str) -> Self {
        Self::open_with(on, domain, &[]).await
    }

    async fn open_with(on: &Connection, domain: &str, changes: &[(&str, &str)]) -> Self {
        let sent = on
            .post("/http-bind", &[XML], &creation(domain, changes))
            .await;
        let creation = sent.response().await.xml();
        let sid = creation.attr("sid").expect("a session").to_owned();
        Self(Bosh {
            // Never asked: that would be HTTP/1.1 without TLS.
            endpoint: Endpoint::new(([127, 0, 0, 1], 9).into(), "/"),
            domain: domain.to_owned(),
            sid,
            rid: FIRST_RID,
            creation,
        })
    }

    /// Logs in; no request is open afterward.
    pub(crate) async fn log_in(on: &Connection, account: &Account, resource: &str) -> Self {
        Self::log_in_with(on, account, resource, &[]).await
    }

    pub(crate) async fn log_in_with(
        on: &Connection,
        account: &Account,
        resource: &str,
        changes: &[(&str, &str)],
    ) -> Self {
        let mut session = Self::open_with(on, &account.domain, changes).await;
        let plain = BASE64.encode(format!("\0{}\0{}", account.local, account.password));
        let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>");
        session
            .exchange_until(on, &auth, |child| child.is(SASL, "success"))
            .await;
        let restart = session.0.restart_attributes();
        let mut answer = session.send_with(on, &restart, "").await.response().await;
        while answer.xml().child(STREAMS, "features").is_none() {
            answer = session.send(on, "").await.response().await;
        }
        session
            .exchange_until(on, &bind_request(resource), |child| {
                child.is_reply_to("bind")
            })
            .await;
        session
    }

    /// Sends the next request.
    pub(crate) async fn send(&mut self, on: &Connection, payload: &str) -> Sent {
        self.send_with(on, "", payload).await
    }

    async fn send_with(&mut self, on: &Connection, attributes: &str, payload: &str) -> Sent {
        let request = self.next_request(attributes, payload);
        on.post("/http-bind", &[XML], &request).await
    }

    /// The text of the next request, for whoever sends it.
    pub(crate) fn next_request(&mut self, attributes: &str, payload: &str) -> String {
        self.0.rid += 1;
        self.0.request(self.0.rid, attributes, payload)
    }

    /// Sends the next request and then empty ones, until an answer brings such a child.
    pub(crate) async fn exchange_until(
        &mut self,
        on: &Connection,
        payload: &str,
        wanted: impl Fn(&Element) -> bool,
    ) -> Element {
        let mut answer = self.send(on, payload).await.response().await.xml();
        loop {
            if let Some(child) = answer.children().find(|child| wanted(child)) {
                return child.clone();
            }
            assert_eq!(answer.attr("type"), None, "the session goes on: {answer}");
            answer = self.send(on, "").await.response().await.xml();
        }
    }
}
