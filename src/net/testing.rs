//! Helpers of this folder's tests: a listener over real sockets with a small service, and clients for it.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    drain::{self, Signal},
    http_server,
    listener::{Limits, Listener, Peer},
    tls::{CertificateStore, Identity, Trust, client_config},
};

/// Longer than anything in these tests takes.
pub(crate) const FOREVER: Duration = Duration::from_secs(30);
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A listener whose service answers `/held` when that is released, and all else with the peer.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) signal: Signal,
    pub(crate) arrived: Arc<Notify>,
    pub(crate) release: Arc<Notify>,
    pub(crate) accepting: JoinHandle<()>,
}

pub(crate) fn serve(tls: Option<Arc<CertificateStore>>, limits: Limits) -> Served {
    let listener = Listener::bind(ANY, tls).expect("a free port");
    serve_on(listener.with_limits(&Arc::new(ArcSwap::from_pointee(limits))))
}

pub(crate) fn serve_on(listener: Listener) -> Served {
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

pub(crate) fn soon() -> Limits {
    let soon = Duration::from_millis(100);
    Limits {
        handshake: soon,
        idle: soon,
        ..Limits::default()
    }
}

pub(crate) fn certs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("certs")
        .join(name)
}

pub(crate) fn identity(name: &str) -> Identity {
    let (certificate, key) = (certs(&format!("{name}.crt")), certs(&format!("{name}.key")));
    Identity::load(&certificate, &key).expect("a test certificate")
}

pub(crate) fn store(name: &str) -> Arc<CertificateStore> {
    Arc::new(CertificateStore::new(&[identity(name)], None).expect("a certificate"))
}

/// Reads one whole answer and no more.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !is_whole(&text) {
        let byte = timeout(FOREVER, stream.read_u8()).await;
        text.push(char::from(
            byte.expect("an answer in time").expect("a whole answer"),
        ));
    }
    text
}

pub(crate) fn is_whole(answer: &str) -> bool {
    let length = answer
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.len());
    body.is_some() && body == length
}

/// Waits for the other end to close, and returns what it said before.
pub(crate) async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let read = timeout(FOREVER, stream.read_to_end(&mut text)).await;
    read.expect("closed in time").expect("closed in order");
    String::from_utf8(text).expect("text")
}

/// The authorities of this file.
pub(crate) fn checked(bundle: &Path) -> Trust {
    Trust::authorities(Some(bundle)).expect("authorities")
}

pub(crate) async fn tls_client(
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
