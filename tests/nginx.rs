//! `nginx-example.conf` in a real Nginx, in front of a real listener.
//!
//! Only ports, and where Nginx keeps its own files, are put in by the test.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rostergate::{
    config::UpstreamTls,
    net::{
        drain::{self, Signal},
        listener::{Listener, Peer},
        tls::upstream_client_config,
    },
};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What arrived at the gateway.
#[derive(Debug)]
struct Arrival {
    peer: SocketAddr,
    request: Request<Bytes>,
}

impl Arrival {
    fn header(&self, name: &str) -> Option<&str> {
        self.request
            .headers()
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }
}

/// A stand-in for the gateway; it answers all but the body "break", upon which it hangs up.
fn gateway() -> (SocketAddr, Signal, mpsc::UnboundedReceiver<Arrival>) {
    let listener = Listener::bind(ANY, None).expect("a free port");
    let address = listener.local_addr();
    let (signal, watch) = drain::channel();
    let (sender, arrivals) = mpsc::unbounded_channel();
    let make = move |peer: Peer| {
        let sender = sender.clone();
        service_fn(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body
                    .collect()
                    .await
                    .map_err(std::io::Error::other)?
                    .to_bytes();
                let hang_up = body == "break";
                let request = Request::from_parts(head, body);
                sender
                    .send(Arrival {
                        peer: peer.address,
                        request,
                    })
                    .expect("a listening test");
                if hang_up {
                    return Err(std::io::Error::other("hung up"));
                }
                Ok(Response::new(Full::new(Bytes::from("the gateway"))))
            }
        })
    };
    tokio::spawn(listener.serve(make, watch));
    (address, signal, arrivals)
}

/// A running Nginx; it ends when dropped.
struct Nginx {
    process: Child,
    http: u16,
    https: u16,
    _folder: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

fn command(folder: &Path, globals: &str) -> Command {
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"));
    command
        .arg("-e")
        .arg("stderr")
        .arg("-g")
        .arg(format!("pid nginx.pid; {globals}"));
    command
}

impl Nginx {
    fn start(gateway: SocketAddr) -> Self {
        // Between finding free ports and using them somebody else may take one.
        for _ in 0..10 {
            if let Some(nginx) = Self::try_start(gateway) {
                return nginx;
            }
        }
        panic!("no port stays free");
    }

    fn try_start(gateway: SocketAddr) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        fs::create_dir_all(path.join("certs")).expect("a folder");
        for kind in ["crt", "key"] {
            let from = source.join(format!("certs/localhost.{kind}"));
            fs::copy(from, path.join(format!("certs/example.org.{kind}"))).expect("a certificate");
        }
        let free = || TcpListener::bind(ANY).expect("a free port");
        let (http, https) = (free(), free());
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        let (http_port, https_port) = (port(&http), port(&https));
        let own_files = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {name};"))
            .join(" ");
        let mut text = fs::read_to_string(source.join("nginx-example.conf")).expect("the example");
        for (from, to) in [
            ("listen 80;", format!("listen 127.0.0.1:{http_port};")),
            ("listen 443 ", format!("listen 127.0.0.1:{https_port} ")),
            ("server 127.0.0.1:5280;", format!("server {gateway};")),
            (
                "upstream ",
                format!("access_log off; {own_files} upstream "),
            ),
        ] {
            // At the start of a line, so not in a comment.
            let (from, to) = (format!("  {from}"), format!("  {to}"));
            assert_eq!(text.matches(&from).count(), 1, "{from}");
            text = text.replace(&from, &to);
        }
        fs::write(path.join("nginx.conf"), text).expect("a writable folder");
        drop((http, https));

        let check = command(path, "")
            .arg("-t")
            .output()
            .unwrap_or_else(|error| {
                panic!("nginx does not start ({error}); install the Debian package nginx")
            });
        let said = String::from_utf8_lossy(&check.stderr);
        if said.contains("Address already in use") {
            return None;
        }
        assert!(check.status.success(), "nginx -t: {said}");
        assert!(!said.contains("[warn]"), "nginx -t: {said}");

        let mut process = command(
            path,
            "daemon off; master_process off; error_log stderr notice;",
        )
        .stderr(Stdio::piped())
        .spawn()
        .expect("nginx starts, as it has just done");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        // It says this once its sockets are open.
        let up = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("event method"));
        if !up {
            process.wait().expect("it ends");
            return None;
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(Self {
            process,
            http: http_port,
            https: https_port,
            _folder: folder,
        })
    }

    async fn https(&self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/ca.crt");
        let config =
            upstream_client_config(UpstreamTls::Verify, Some(&ca), None).expect("a policy");
        let name = ServerName::try_from("example.org").expect("a name");
        let stream = TcpStream::connect(("127.0.0.1", self.https))
            .await
            .expect("nginx listens");
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .expect("TLS");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a fresh connection");
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        drop(sender);
        let _ = connection.await;
        (status, body)
    }
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "example.org")
        .header("x-forwarded-for", "192.0.2.1")
        .body(Full::new(body.into()))
        .expect("a request")
}

#[tokio::test]
async fn example_passes_bosh_and_nothing_else() {
    let (address, _signal, mut arrivals) = gateway();
    let nginx = Nginx::start(address);

    let mut peers = Vec::new();
    for path in ["/http-bind", "/http-bind/"] {
        let (status, body) = nginx.https(post(path, "<body/>")).await;
        assert_eq!((status, &*body), (StatusCode::OK, &b"the gateway"[..]));
        let arrival = arrivals.recv().await.expect("a request");
        assert_eq!(arrival.request.uri().path(), path);
        assert_eq!(arrival.request.version(), http::Version::HTTP_11);
        assert_eq!(arrival.request.body(), "<body/>");
        assert_eq!(arrival.header("host"), Some("example.org"));
        assert_eq!(arrival.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(arrival.header("x-forwarded-proto"), Some("https"));
        assert_eq!(arrival.header("connection"), None);
        peers.push(arrival.peer);
    }
    assert_eq!(peers[0], peers[1], "the connection to the gateway is kept");

    for path in [
        "/roster_admin/refresh",
        "/roster_admin",
        "/http-bind/../roster_admin/refresh",
        "/http-bind/%2e%2e/roster_admin/refresh",
        "//roster_admin/refresh",
        "/http-bind/refresh",
        "/http-binder",
        "/http-bind%0a",
    ] {
        let (status, _) = nginx.https(post(path, "[\"john\"]")).await;
        // 405 is what Nginx answers a POST to a place for static files.
        let refused = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status);
        assert!(refused, "{path}: {status}");
        assert!(arrivals.try_recv().is_err(), "{path} came through");
    }
    let (status, _) = nginx.https(post("/roster_admin/refresh", "[]")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    // The largest body that the gateway takes, and one that it must have the chance to refuse.
    for length in [256 << 10, 300 << 10] {
        let (status, _) = nginx.https(post("/http-bind", vec![b' '; length])).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            arrivals
                .recv()
                .await
                .expect("a request")
                .request
                .body()
                .len(),
            length
        );
    }
}

#[tokio::test]
async fn example_never_sends_a_request_twice() {
    let (address, _signal, mut arrivals) = gateway();
    let nginx = Nginx::start(address);
    // On a kept connection, where Nginx would be most tempted.
    nginx.https(post("/http-bind", "first")).await;
    let (status, _) = nginx.https(post("/http-bind", "break")).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    nginx.https(post("/http-bind", "last")).await;
    for expected in ["first", "break", "last"] {
        assert_eq!(
            arrivals.recv().await.expect("a request").request.body(),
            expected
        );
    }
}

#[tokio::test]
async fn example_sends_plain_http_to_https() {
    let (address, _signal, mut arrivals) = gateway();
    let nginx = Nginx::start(address);
    let stream = TcpStream::connect(("127.0.0.1", nginx.http))
        .await
        .expect("nginx listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .expect("a fresh connection");
    let connection = tokio::spawn(connection);
    let response = sender
        .send_request(post("/http-bind", "x"))
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(
        response.headers()["location"],
        "https://example.org/http-bind"
    );
    assert!(arrivals.try_recv().is_err());
    drop(sender);
    let _ = connection.await;
}
