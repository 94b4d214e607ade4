//! What `nginx-example.conf` and `apache-example.conf` let through, and how it arrives at the gateway.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use rostergate::net::{
    drain::{self, Signal},
    listener::{Listener, Peer},
};
use tokio::sync::mpsc;

use crate::support::{
    http::{Connection, Response as Answer},
    proxy::{Kind, Proxy},
};

/// What arrived at the gateway.
#[derive(Debug)]
struct Arrival {
    peer: SocketAddr,
    request: Request<Bytes>,
}

impl Arrival {
    fn header(&self, name: &str) -> Option<&str> {
        let values = self.request.headers().get_all(name);
        let mut values = values.iter().map(|it| it.to_str().expect("ASCII"));
        let value = values.next();
        assert_eq!(values.next(), None, "{name} only once");
        value
    }
}

/// A stand-in for the gateway; it answers all but the body "break", upon which it hangs up.
struct Gateway {
    address: SocketAddr,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    _signal: Signal,
}

impl Gateway {
    fn start() -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = Listener::bind(any, None).expect("a free port");
        let address = listener.local_addr();
        let (signal, watch) = drain::channel();
        let (sender, arrivals) = mpsc::unbounded_channel();
        let make = move |peer: Peer| {
            let sender = sender.clone();
            service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map_err(std::io::Error::other)?;
                    let body = body.to_bytes();
                    let hang_up = body == "break";
                    let request = Request::from_parts(head, body);
                    let peer = peer.address;
                    let sent = sender.send(Arrival { peer, request });
                    sent.expect("a listening test");
                    if hang_up {
                        return Err(std::io::Error::other("hung up"));
                    }
                    Ok(Response::new(Full::new(Bytes::from("the gateway"))))
                }
            })
        };
        tokio::spawn(listener.serve(make, watch));
        Self {
            address,
            arrivals,
            _signal: signal,
        }
    }

    async fn arrival(&mut self) -> Arrival {
        let arrival = crate::support::within("a request", self.arrivals.recv());
        arrival.await.expect("a gateway")
    }
}

const HOST: [(&str, &str); 1] = [("Host", "example.org")];

async fn post(proxy: &Proxy, path: &str, body: &str) -> Answer {
    let place = proxy.https().at(path);
    place.request("POST", &HOST, body).await
}

macro_rules! of_each {
    ($($case:ident,)*) => {
        mod nginx {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Nginx).await; })*
        }
        mod apache {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Apache).await; })*
        }
    };
}

of_each![
    passes_bosh_and_nothing_else,
    passes_no_other_path_however_it_is_written,
    never_sends_a_request_twice,
    sends_plain_http_to_https,
];

async fn passes_bosh_and_nothing_else(kind: Kind) {
    let mut gateway = Gateway::start();
    let proxy = Proxy::start(kind, gateway.address);
    let mut peers = Vec::new();
    let mut connection = Connection::open(&proxy.https()).await;
    for path in ["/http-bind", "/http-bind/"] {
        let headers = [HOST[0], ("X-Forwarded-For", "192.0.2.1")];
        connection.send("POST", path, &headers, "<body/>").await;
        let answer = connection.response().await;
        assert_eq!((answer.status(), answer.text()), (200, "the gateway"));
        let arrival = gateway.arrival().await;
        assert_eq!(arrival.request.uri().path(), path);
        assert_eq!(arrival.request.version(), Version::HTTP_11);
        assert_eq!(arrival.request.body(), "<body/>");
        assert_eq!(arrival.header("host"), Some("example.org"));
        assert_eq!(arrival.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(arrival.header("x-forwarded-proto"), Some("https"));
        assert_ne!(arrival.header("connection"), Some("close"));
        peers.push(arrival.peer);
    }
    assert_eq!(peers[0], peers[1], "the connection to the gateway is kept");

    for path in [
        "/roster_admin/refresh",
        "/roster_admin",
        "/http-bind/../roster_admin/refresh",
        "/http-bind/%2e%2e/roster_admin/refresh",
        "/http-bind/..%2froster_admin/refresh",
        "//roster_admin/refresh",
        "/http-bind/refresh",
        "/http-binder",
        "/http-bind%0a",
        "http://example.net/http-bind/x",
    ] {
        let refused = post(&proxy, path, "[\"john\"]").await.status();
        // 405 is what they answer a POST to a place for static files.
        assert!([400, 403, 404, 405].contains(&refused), "{path}: {refused}");
        assert!(gateway.arrivals.try_recv().is_err(), "{path} came through");
    }

    // The largest body that the gateway takes, and one that it must have the chance to refuse.
    for length in [1 << 20, 1200 << 10] {
        let answer = post(&proxy, "/http-bind", &" ".repeat(length)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(gateway.arrival().await.request.body().len(), length);
    }
}

/// Proxies decode and resolve paths to see where they lead; what they then pass on must be what they saw, or the
/// gateway might see something else in it.
async fn passes_no_other_path_however_it_is_written(kind: Kind) {
    let mut gateway = Gateway::start();
    let proxy = Proxy::start(kind, gateway.address);
    let mut passed = 0;
    for goal in [
        "roster_admin/status",
        "roster_admin/refresh/john",
        "metrics",
        "healthz",
    ] {
        for path in [
            "/http-bind/../GOAL",
            "/http-bind/%2e%2e/GOAL",
            "/http-bind/%2E./GOAL",
            "/http-bind/..%2fGOAL",
            "/http-bind/%2e%2e%2fGOAL",
            "/http-bind%2f..%2fGOAL",
            "/http-bind/%252e%252e/GOAL",
            "/http-bind/..;/GOAL",
            "/http-bind;/../GOAL",
            "/http-bind/..\\GOAL",
            "/http-bind/..%5cGOAL",
            "/http-bind//../../GOAL",
            "/http-bind/./../GOAL",
            "/./GOAL",
            "//GOAL",
            "/%2f/GOAL",
            "/;/GOAL",
            "/GOAL",
            // These lead to BOSH, and may go there.
            "/GOAL/../../http-bind",
            "/GOAL/../../../http-bind",
            "/GOAL/%2e%2e/%2e%2e/%2e%2e/http-bind",
            "/GOAL/..%2f..%2f..%2fhttp-bind",
            "/GOAL%2f..%2f..%2f..%2fhttp-bind",
            "//GOAL/..//../../http-bind",
            "/GOAL/;/../../../../http-bind",
            "/%68ttp-bind?/GOAL",
            "/http-bind?/../GOAL",
            "/http-bind#/../GOAL",
            "/http-bind%3f/../GOAL",
            "/http-bind%23/../GOAL",
            "/GOAL?/../../../http-bind",
            "/GOAL#/../../../http-bind",
            "/GOAL%00/../../../http-bind",
            "http://example.org/http-bind/../GOAL",
            "http://example.org/GOAL/..%2f..%2f..%2fhttp-bind",
        ] {
            for method in ["GET", "POST"] {
                let path = path.replace("GOAL", goal);
                proxy.https().at(&path).request(method, &HOST, "").await;
                while let Ok(arrival) = gateway.arrivals.try_recv() {
                    let arrived = arrival.request.uri().path();
                    let is_bosh = ["/http-bind", "/http-bind/"].contains(&arrived);
                    assert!(is_bosh, "{path} came through as {arrived}");
                    passed += 1;
                }
            }
        }
    }
    assert!(
        passed > 0,
        "some of them are other ways to write /http-bind"
    );
}

async fn never_sends_a_request_twice(kind: Kind) {
    let mut gateway = Gateway::start();
    let proxy = Proxy::start(kind, gateway.address);
    // On a kept connection, where a proxy would be most tempted.
    post(&proxy, "/http-bind", "first").await;
    let mut broken = Connection::open(&proxy.https()).await;
    broken.send("POST", "/http-bind", &HOST, "break").await;
    let answer = broken.try_response().await;
    // Apache may hang up in its turn, for the browser to ask again: it has a rid.
    let status = answer.map_or(502, |answer| answer.status());
    assert_eq!(status, 502);
    post(&proxy, "/http-bind", "last").await;
    for expected in ["first", "break", "last"] {
        assert_eq!(gateway.arrival().await.request.body(), expected);
    }
}

async fn sends_plain_http_to_https(kind: Kind) {
    let mut gateway = Gateway::start();
    let proxy = Proxy::start(kind, gateway.address);
    let answer = proxy.http().request("POST", &HOST, "x").await;
    assert_eq!(answer.status(), 301);
    let location = answer.header("location");
    assert_eq!(location, Some("https://example.org/http-bind"));
    assert!(gateway.arrivals.try_recv().is_err());
}
