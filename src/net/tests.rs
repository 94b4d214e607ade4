//! Listeners, TLS and the drain together, over real sockets.

use std::{
    convert::Infallible,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, client::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::pem::PemObject;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::{
    drain::{self, Drained, Signal},
    http_server,
    listener::{Limits, Listener, Peer},
    tls::{CertificateStore, Identity, TlsError, Trust, client_config},
};

/// Longer than anything takes here.
const FOREVER: Duration = Duration::from_secs(30);
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A listener whose service answers `/held` when it is released and all else with its peer.
struct Served {
    address: SocketAddr,
    signal: Signal,
    arrived: Arc<Notify>,
    release: Arc<Notify>,
    accepting: JoinHandle<()>,
}

fn serve(tls: Option<Arc<CertificateStore>>, limits: Limits) -> Served {
    let listener = Listener::bind(ANY, tls).expect("a free port");
    serve_on(listener.with_limits(&Arc::new(ArcSwap::from_pointee(limits))))
}

fn serve_on(listener: Listener) -> Served {
    let address = listener.local_addr();
    let (signal, watch) = drain::channel();
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let held = (arrived.clone(), release.clone());
    let make = move |peer: Peer| {
        let held = held.clone();
        service_fn(move |request: Request<Incoming>| {
            let (arrived, release) = held.clone();
            async move {
                if request.uri().path() == "/held" {
                    arrived.notify_one();
                    release.notified().await;
                }
                let by = if peer.proxied { "by proxy " } else { "" };
                let (address, tls) = (peer.address, peer.tls);
                let text = format!("{by}{address} tls={tls} {:?}", request.version());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            }
        })
    };
    let accepting = tokio::spawn(http_server::serve(listener, make, watch));
    Served {
        address,
        signal,
        arrived,
        release,
        accepting,
    }
}

fn soon() -> Limits {
    let soon = Duration::from_millis(100);
    Limits {
        handshake: soon,
        idle: soon,
        ..Limits::default()
    }
}

fn certs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("certs")
        .join(name)
}

fn identity(name: &str) -> Identity {
    let (certificate, key) = (certs(&format!("{name}.crt")), certs(&format!("{name}.key")));
    Identity::load(&certificate, &key).expect("a test certificate")
}

fn store(name: &str) -> Arc<CertificateStore> {
    Arc::new(CertificateStore::new(&[identity(name)], None).expect("a certificate"))
}

/// Reads one whole answer and no more.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !is_whole(&text) {
        let byte = timeout(FOREVER, stream.read_u8()).await;
        text.push(char::from(
            byte.expect("an answer in time").expect("a whole answer"),
        ));
    }
    text
}

fn is_whole(answer: &str) -> bool {
    let length = answer
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.len());
    body.is_some() && body == length
}

/// Waits for the other end to close, and returns what it said before.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let read = timeout(FOREVER, stream.read_to_end(&mut text)).await;
    read.expect("closed in time").expect("closed in order");
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn plain_connection_tells_its_peer() {
    let served = serve(None, Limits::default());
    let mut client = TcpStream::connect(served.address).await.unwrap();
    client.write_all(GET).await.unwrap();
    let expected = format!("{} tls=false HTTP/1.1", client.local_addr().unwrap());
    assert!(answer(&mut client).await.ends_with(&expected));
    // And stays open for the next.
    client.write_all(GET).await.unwrap();
    assert!(answer(&mut client).await.ends_with(&expected));
}

/// A listener that knows a single proxy: the system has more than one loopback address.
fn serve_behind(proxy: [u8; 4], tls: Option<Arc<CertificateStore>>, limits: Limits) -> Served {
    let listener = Listener::bind(ANY, tls).expect("a free port");
    let is_proxy = move |address| address == std::net::IpAddr::from(proxy);
    let listener = listener.with_limits(&Arc::new(ArcSwap::from_pointee(limits)));
    serve_on(listener.with_proxies(is_proxy))
}

const PROXY: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";

#[tokio::test]
async fn a_proxy_tells_the_peer_and_has_to() {
    let served = serve_behind([127, 0, 0, 1], None, soon());
    let mut proxy = TcpStream::connect(served.address).await.unwrap();
    proxy.write_all(&[PROXY, GET].concat()).await.unwrap();
    let expected = "by proxy 192.0.2.7:4711 tls=false HTTP/1.1";
    assert!(answer(&mut proxy).await.ends_with(expected));
    proxy.write_all(GET).await.unwrap();
    let again = answer(&mut proxy).await;
    assert!(again.ends_with(expected), "for as long as it is open");

    for begin in [GET, b"PROXY TCP4 192.0.2.7\r\n", b"PROXY ", b""] {
        let mut proxy = TcpStream::connect(served.address).await.unwrap();
        proxy.write_all(begin).await.unwrap();
        // What it has sent is not read, so the system may say that with a reset.
        let mut said = Vec::new();
        let ended = timeout(FOREVER, proxy.read_to_end(&mut said)).await;
        let _ = ended.expect("refused in time");
        assert_eq!(String::from_utf8_lossy(&said), "", "{begin:?}");
    }
}

#[tokio::test]
async fn only_a_proxy_tells_the_peer() {
    let served = serve_behind([127, 0, 0, 9], None, Limits::default());
    let mut client = TcpStream::connect(served.address).await.unwrap();
    client.write_all(GET).await.unwrap();
    let expected = format!("{} tls=false HTTP/1.1", client.local_addr().unwrap());
    assert!(answer(&mut client).await.ends_with(&expected));
    let mut impostor = TcpStream::connect(served.address).await.unwrap();
    impostor.write_all(&[PROXY, GET].concat()).await.unwrap();
    let refused = closed(&mut impostor).await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
}

#[tokio::test]
async fn a_proxy_tells_the_peer_before_tls() {
    let served = serve_behind([127, 0, 0, 1], Some(store("localhost")), Limits::default());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(PROXY).await.unwrap();
    let config = client_config(Trust::Anyone, None).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .unwrap();
    client.write_all(GET).await.unwrap();
    let expected = "by proxy 192.0.2.7:4711 tls=true HTTP/1.1";
    assert!(answer(&mut client).await.ends_with(expected));
}

#[tokio::test]
async fn taken_address_is_named() {
    let first = Listener::bind(ANY, None).unwrap();
    let error = Listener::bind(first.local_addr(), None)
        .err()
        .expect("taken");
    let expected = format!(
        "cannot listen at {}: another program does",
        first.local_addr()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn silent_peers_lose_their_connection() {
    let served = serve(None, soon());
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut halting = TcpStream::connect(served.address).await.unwrap();
    halting.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(GET).await.unwrap();
    assert!(answer(&mut idle).await.contains("200 OK"));
    assert_eq!(closed(&mut silent).await, "");
    closed(&mut halting).await;
    assert_eq!(closed(&mut idle).await, "");
}

#[tokio::test]
async fn held_request_outlives_the_idle_deadline() {
    let served = serve(None, soon());
    let mut client = TcpStream::connect(served.address).await.unwrap();
    client
        .write_all(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    served.arrived.notified().await;
    // A connection that begins later has come to its end: so had this one, were it subject to it.
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    closed(&mut silent).await;
    served.release.notify_one();
    assert!(answer(&mut client).await.contains("200 OK"));
}

#[tokio::test]
async fn drain_answers_held_requests_and_closes_the_rest() {
    let served = serve(None, Limits::default());
    let mut held = TcpStream::connect(served.address).await.unwrap();
    held.write_all(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    served.arrived.notified().await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(GET).await.unwrap();
    answer(&mut idle).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut halting = TcpStream::connect(served.address).await.unwrap();
    halting.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    // Accepting is in order, so once this is answered the others have been accepted too.
    let mut last = TcpStream::connect(served.address).await.unwrap();
    last.write_all(GET).await.unwrap();
    answer(&mut last).await;

    let Served {
        address,
        signal,
        release,
        accepting,
        ..
    } = served;
    let drained = tokio::spawn(async move { signal.drain_within(FOREVER).await });
    assert_eq!(closed(&mut idle).await, "");
    assert_eq!(closed(&mut silent).await, "");
    assert_eq!(closed(&mut halting).await, "");
    accepting.await.unwrap();
    TcpStream::connect(address)
        .await
        .expect_err("nobody accepts any more");
    assert!(!drained.is_finished());
    release.notify_one();
    let last_words = closed(&mut held).await;
    assert!(last_words.contains("200 OK"), "{last_words}");
    assert!(last_words.contains("connection: close"), "{last_words}");
    assert_eq!(drained.await.unwrap(), Drained::Whole);
}

#[tokio::test]
async fn drain_cuts_what_outlives_its_grace() {
    let served = serve(None, Limits::default());
    let mut held = TcpStream::connect(served.address).await.unwrap();
    held.write_all(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    served.arrived.notified().await;
    let drained = served.signal.drain_within(Duration::from_millis(50)).await;
    assert_eq!(drained, Drained::Stopped(1));
    assert_eq!(closed(&mut held).await, "");
}

/// The authorities of this file.
fn checked(bundle: &Path) -> Trust {
    Trust::authorities(Some(bundle)).expect("authorities")
}

async fn tls_client(
    address: SocketAddr,
    trust: Trust,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = (*client_config(trust, None).expect("settings")).clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn alpn_chooses_the_http_version() {
    let served = serve(Some(store("localhost")), Limits::default());
    let ca = certs("ca.crt");
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut client = tls_client(served.address, checked(&ca), alpn)
            .await
            .unwrap();
        client.write_all(GET).await.unwrap();
        assert!(answer(&mut client).await.ends_with("tls=true HTTP/1.1"));
    }
    let client = tls_client(served.address, checked(&ca), &[b"h2"])
        .await
        .unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://localhost/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"tls=true HTTP/2.0"));
    // A drain tells the client to go away, and waits for nothing.
    assert_eq!(served.signal.drain_within(FOREVER).await, Drained::Whole);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn silent_peers_lose_their_tls_connection() {
    let served = serve(Some(store("localhost")), soon());
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    closed(&mut silent).await;
    // hyper itself would wait for the HTTP/2 preface for ever.
    let mut no_preface = tls_client(served.address, Trust::Anyone, &[b"h2"])
        .await
        .unwrap();
    let mut text = Vec::new();
    let read = timeout(FOREVER, no_preface.read_to_end(&mut text)).await;
    assert!(
        read.expect("closed in time")
            .is_err_and(|e| e.kind().to_string().contains("end of"))
    );
}

#[tokio::test]
async fn only_a_client_that_answers_no_pings_is_cut_off() {
    let limits = Limits {
        ping: Duration::from_millis(100),
        ..Limits::default()
    };
    let served = serve(Some(store("localhost")), limits);
    let connect = async || {
        tls_client(served.address, Trust::Anyone, &[b"h2"])
            .await
            .unwrap()
    };
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(connect().await))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/held")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let held = tokio::spawn(sender.send_request(request));
    served.arrived.notified().await;
    // RFC 9113 §3.4: the preface, empty settings. What follows is never answered.
    let mut mute = connect().await;
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut text = Vec::new();
    let read = timeout(FOREVER, mute.read_to_end(&mut text)).await;
    // With or without a word: it is over.
    let _ended = read.expect("closed in time");
    served.release.notify_one();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn verify_wants_a_certificate_that_is_valid_for_the_name() {
    let ca = certs("ca.crt");
    for (name, complaint) in [("expired", "Expired"), ("wrong-name", "NotValidForName")] {
        let served = serve(Some(store(name)), Limits::default());
        let refused = tls_client(served.address, checked(&ca), &[]).await;
        let error = format!("{:?}", refused.expect_err(name));
        assert!(error.contains(complaint), "{name}: {error}");
        let mut client = tls_client(served.address, Trust::Anyone, &[])
            .await
            .expect(name);
        client.write_all(GET).await.unwrap();
        assert!(answer(&mut client).await.contains("200 OK"));
    }
    let served = serve(Some(store("localhost")), Limits::default());
    let other = certs("wrong-name.crt");
    let refused = tls_client(served.address, checked(&other), &[]).await;
    assert!(format!("{:?}", refused.expect_err("unknown")).contains("UnknownIssuer"));
}

#[tokio::test]
async fn insecure_still_wants_the_key_of_the_certificate() {
    let chain = vec![CertificateDer::from_pem_file(certs("localhost.crt")).unwrap()];
    let other = PrivateKeyDer::from_pem_file(certs("wrong-name.key")).unwrap();
    let pair = CertifiedKey::new(chain, ring::sign::any_supported_type(&other).unwrap());
    for version in rustls::ALL_VERSIONS {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.clone())));
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(Arc::new(config))
                .accept(stream)
                .await
                .map(drop)
        });
        let refused = tls_client(address, Trust::Anyone, &[]).await;
        let error = format!("{:?}", refused.expect_err("an impostor"));
        assert!(error.contains("BadSignature"), "{version:?}: {error}");
        server.await.unwrap().expect_err("the client has left");
    }
}

/// The certificate that a client is shown now.
async fn shown(address: SocketAddr) -> CertificateDer<'static> {
    let client = tls_client(address, Trust::Anyone, &[]).await.unwrap();
    client.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn new_handshakes_see_the_new_certificate() {
    let file = |name: &str| CertificateDer::from_pem_file(certs(name)).unwrap();
    let store = store("localhost");
    let served = serve(Some(store.clone()), Limits::default());
    assert_eq!(shown(served.address).await, file("localhost.crt"));
    store.replace(&[identity("wrong-name")], None).unwrap();
    assert_eq!(shown(served.address).await, file("wrong-name.crt"));
    let error = store.replace(&[], None).unwrap_err();
    assert!(matches!(error, TlsError::NoIdentity), "{error}");
    assert_eq!(shown(served.address).await, file("wrong-name.crt"));
}

#[test]
fn an_unusable_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (certs("localhost.crt"), certs("localhost.key"));
    let load = |chain: &Path, key: &Path| Identity::load(chain, key).unwrap_err();
    let error = load(&chain, &certs("wrong-name.key"));
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    let broken = folder.path().join("a.crt");
    fs::write(&broken, "nothing").unwrap();
    let error = load(&broken, &key).to_string();
    assert!(error.ends_with("a.crt: no usable certificate"), "{error}");
    let error = load(&chain, &broken).to_string();
    assert!(error.ends_with("a.crt: no usable private key"), "{error}");
    fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let error = load(&broken, &key);
    assert!(matches!(error, TlsError::Leaf { .. }), "{error}");
}

#[test]
fn authorities_that_are_not_there_are_an_error() {
    for file in ["missing.crt", "ca.key"] {
        let error = Trust::authorities(Some(&certs(file))).expect_err(file);
        assert!(matches!(error, TlsError::Pem { .. }), "{error}");
    }
}
