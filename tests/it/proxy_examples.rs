//! The examples for web servers, as they are: each on a Debian of its own, where its first comment has been followed.
//! What they let through, and how it arrives at the gateway.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use rostergate::net::{
    drain::{self, Signal},
    listener::{Listener, Peer},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use support::{
    backend::Backend,
    bosh::{Bosh, creation},
    client::{Account, Client, Transport},
    gateway::Gateway,
    http::{Connection, Endpoint, Response as Answer},
    machine::{ADDRESS, Machine, STRANGER, local},
    process::Process,
    prosody::{DOMAIN, Prosody},
    within, within_limit,
    xml::CLIENT,
};

use crate::browser;

/// What is for the gateway.
const PATHS: [&str; 4] = [
    "/http-bind",
    "/http-bind/",
    "/xmpp-websocket",
    "/xmpp-websocket/",
];

/// [server] listen, by default.
pub(crate) const GATEWAY: u16 = 5290;

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

/// Whose example it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Nginx,
    Apache,
    Haproxy,
    Caddy,
}

impl Kind {
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Nginx => "nginx-example.conf",
            Self::Apache => "apache-example.conf",
            Self::Haproxy => "haproxy-example.cfg",
            Self::Caddy => "Caddyfile-example",
        }
    }

    /// Its name for systemd.
    fn service(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "apache2",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }
}

/// A machine where an example has been followed.
pub(crate) struct Server {
    kind: Kind,
    machine: Machine,
    /// Behind HAProxy stands another web server: this one.
    behind: Option<Backend>,
}

impl Server {
    pub(crate) async fn start(kind: Kind) -> Self {
        Self::start_from(kind, Path::new(env!("CARGO_MANIFEST_DIR"))).await
    }

    /// By the example of this name in that folder.
    pub(crate) async fn start_from(kind: Kind, folder: &Path) -> Self {
        let machine = Machine::enter();
        machine.follow(&folder.join(kind.example()));
        let behind = (kind == Kind::Haproxy).then(|| Backend::start_at(8080));
        let server = Self {
            kind,
            machine,
            behind,
        };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        // Caddy takes connections before it has made its certificate.
        let ready = async { while Connection::try_open(&self.https()).await.is_none() {} };
        within("HTTPS", ready).await;
    }

    /// Has the web server do nothing more.
    pub(crate) fn freeze(&self) {
        self.machine.freeze();
    }

    /// Ends the web server without a word to anybody.
    pub(crate) fn kill(&self) {
        self.machine.kill();
    }

    pub(crate) async fn start_again(&self) {
        self.machine.restart(self.kind.service());
        self.ready().await;
    }

    fn http(&self) -> Endpoint {
        Endpoint::new(local(80), "/http-bind")
    }

    fn https(&self) -> Endpoint {
        Endpoint::new(local(443), "/http-bind").over_any_tls()
    }

    /// The same by its name, whatever the request says of it.
    pub(crate) fn example_org(&self) -> Endpoint {
        self.https().adding("Host", DOMAIN)
    }

    /// By an address that others reach, from one that is not loopback's.
    pub(crate) fn outside(&self, mut to: Endpoint) -> Endpoint {
        to.address.set_ip(ADDRESS.into());
        to.coming_from(STRANGER)
    }

    /// Puts a contact list where the example has them.
    fn list(&self, user: &str, contacts: &Value) {
        match &self.behind {
            Some(backend) => backend.set(user, contacts.clone()),
            None => {
                let path = format!("/var/www/contacts/{user}");
                self.machine.write(&path, &contacts.to_string());
            }
        }
    }
}

/// A stand-in for the gateway; it answers all but the body "break", upon which it hangs up.
struct StandIn {
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    _signal: Signal,
}

impl StandIn {
    fn start() -> Self {
        let listener = Listener::bind(local(GATEWAY), None).expect("a free port");
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
        tokio::spawn(rostergate::net::http_server::serve(listener, make, watch));
        Self {
            arrivals,
            _signal: signal,
        }
    }

    async fn arrival(&mut self) -> Arrival {
        let arrival = within("a request", self.arrivals.recv());
        arrival.await.expect("a gateway")
    }
}

const HOST: [(&str, &str); 1] = [("Host", "example.org")];

async fn post(proxy: &Server, path: &str, body: &str) -> Answer {
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
        mod haproxy {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Haproxy).await; })*
        }
        mod caddy {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Caddy).await; })*
        }
    };
}

of_each![
    passes_both_fronts_and_nothing_else,
    passes_no_other_path_however_it_is_written,
    never_sends_a_request_twice,
    sends_plain_http_to_https,
    serves_a_site_with_a_chat,
    keeps_contact_lists_from_the_world,
    keeps_them_from_silent_proxies_by_a_token,
    tells_the_clients_true_address,
    speaks_http_2_and_ipv6,
    hundreds_can_wait_at_once,
];

async fn passes_both_fronts_and_nothing_else(kind: Kind) {
    let proxy = Server::start(kind).await;
    let mut gateway = StandIn::start();
    let mut peers = Vec::new();
    let mut connection = Connection::open(&proxy.https()).await;
    for path in PATHS {
        let headers = [
            HOST[0],
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "http"),
            ("Forwarded", "for=192.0.2.1;proto=http"),
        ];
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
        assert_eq!(arrival.header("forwarded"), None);
        assert_ne!(arrival.header("connection"), Some("close"));
        peers.push(arrival.peer);
    }
    assert!(
        peers.iter().all(|peer| *peer == peers[0]),
        "the connection to the gateway is kept"
    );

    for path in [
        "/roster_admin/refresh",
        "/roster_admin",
        "/http-bind/../roster_admin/refresh",
        "/http-bind/%2e%2e/roster_admin/refresh",
        "/http-bind/..%2froster_admin/refresh",
        "//roster_admin/refresh",
        "/http-bind/refresh",
        "/http-binder",
        "/xmpp-websockets",
        "/xmpp-websocket/../roster_admin",
        "/http-bind%0a",
        "http://example.net/http-bind/x",
    ] {
        let answer = post(&proxy, path, "[\"john\"]").await;
        let refused = answer.status();
        // 405 is what they answer a POST to a place for static files. Caddy says nothing to a name that it does not
        // have.
        let is_nothing = kind == Kind::Caddy && answer.body.is_empty();
        let is_refused = is_nothing || [400, 403, 404, 405].contains(&refused);
        assert!(is_refused, "{path}: {refused}");
        assert!(gateway.arrivals.try_recv().is_err(), "{path} came through");
    }

    // The largest body that the gateway takes, and one that it must have the chance to refuse.
    for length in [256 << 10, 300 << 10, (1 << 20) + 1] {
        let answer = post(&proxy, "/http-bind", &" ".repeat(length)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(gateway.arrival().await.request.body().len(), length);
    }
}

/// Proxies decode and resolve paths to see where they lead; what they then pass on must be what they saw, or the
/// gateway might see something else in it.
async fn passes_no_other_path_however_it_is_written(kind: Kind) {
    let proxy = Server::start(kind).await;
    let mut gateway = StandIn::start();
    let mut passed = 0;
    for goal in [
        "roster_admin/status",
        "roster_admin/refresh/john",
        "metrics",
        "healthz",
    ] {
        for path in [
            "/http-bind/../GOAL",
            "/xmpp-websocket/../GOAL",
            "/xmpp-websocket/..%2fGOAL",
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
            // These lead to a front, and may go there.
            "/GOAL/../../xmpp-websocket",
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
                    assert!(PATHS.contains(&arrived), "{path} came through as {arrived}");
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
    let proxy = Server::start(kind).await;
    let mut gateway = StandIn::start();
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
    let proxy = Server::start(kind).await;
    let mut gateway = StandIn::start();
    let answer = proxy.http().request("POST", &HOST, "x").await;
    // Caddy redirects by itself.
    let expected = if kind == Kind::Caddy { 308 } else { 301 };
    assert_eq!(answer.status(), expected);
    let location = answer.header("location");
    assert_eq!(location, Some("https://example.org/http-bind"));
    assert!(gateway.arrivals.try_recv().is_err());
}

/// With the configuration that `rostergate example-config` prints.
async fn serves_a_site_with_a_chat(kind: Kind) {
    let site = Server::start(kind).await;
    let prosody = Prosody::builder().at_port(5222).start();
    let config = include_str!("../../config.example.toml");
    let gateway = Gateway::builder(&prosody).text(config).start();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    site.list(&john.local, &json!({ (marie.jid()): { "name": "Marie" } }));
    site.list(&marie.local, &json!({ (john.jid()): {} }));
    let login = async |account: &Account| {
        let bosh = Transport::Bosh(site.outside(site.example_org()));
        Client::login(&bosh, account, "web").await
    };
    let (mut one, mut other) = (login(&john).await, login(&marie).await);
    let contacts = one.roster().await;
    let names = contacts
        .iter()
        .map(|(jid, item)| (jid.clone(), item.name.clone()));
    let expected = [(marie.jid(), Some("Marie".to_owned()))];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    one.send_message(&other.jid, "there");
    other.expect_message("there").await;
    other.send_message(&one.jid, "and back");
    one.expect_message("and back").await;

    site.list(&john.local, &json!({}));
    let refresh = gateway.admin().at("/roster_admin/refresh");
    let body = json!([john.local]).to_string();
    let answer = refresh.request("POST", &[], &body).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(
        one.expect_push().await.subscription.as_deref(),
        Some("remove")
    );
    one.logout().await;
    other.logout().await;
}

async fn keeps_contact_lists_from_the_world(kind: Kind) {
    let site = Server::start(kind).await;
    site.list("john", &json!({ "marie@example.org": {} }));
    let local_name = [("Host", "localhost")];
    let http = site.http().at("/contacts/john");
    let answer = http.request("GET", &local_name, "").await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(answer.text().contains("marie"), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));

    // A stranger, who says what he likes.
    let strange = site.outside(http.clone());
    for headers in [
        &[("X-Forwarded-For", "127.0.0.1")][..],
        &[("X-Real-IP", "127.0.0.1")],
        &[("Forwarded", "for=127.0.0.1")],
        &[],
    ] {
        for host in [
            "localhost",
            "LOCALHOST.",
            "localhost:80",
            "127.0.0.1",
            "[::1]",
            "192.0.2.1",
            "",
        ] {
            let mut headers = headers.to_vec();
            headers.push(("Host", host));
            refuse(&strange, "GET", &headers).await;
        }
    }
    // Others on this machine who pass on what strangers say.
    for header in [
        ("X-Forwarded-For", "192.0.2.9"),
        ("X-Forwarded-For", "0"),
        ("X-Real-IP", "192.0.2.9"),
        ("Forwarded", "for=192.0.2.9"),
        ("Via", "1.1 somewhere"),
    ] {
        refuse(&http, "GET", &[local_name[0], header]).await;
    }
    refuse_by_its_own_name(&site).await;
    // The path at which the site hears of who is online, if it is that of the documentation.
    for folder in ["/var/www/html", "/usr/share/caddy"] {
        site.machine
            .write(&format!("{folder}/chat-events"), "marie");
    }
    let events = site.https().at("/chat-events");
    refuse(&events, "GET", &[("Host", "example.org")]).await;
}

/// Ways to write `/contacts/john`: for all servers, for some, or for those that take what cannot be decoded as it is.
const TO_A_LIST: [&str; 25] = [
    "/contacts/john",
    "/%63ontacts/john",
    "/contacts%2fjohn",
    "//contacts/john",
    "/./contacts/john",
    "/x/../contacts/john",
    "/http-bind/../contacts/john",
    "/contacts/./john",
    "/contacts/../contacts/john",
    "/contacts;x/john",
    "/CONTACTS/john",
    "/%2563ontacts/john",
    "/%zz/../contacts/john",
    "/%/../contacts/john",
    "/%0/../contacts/john",
    "/x%/../contacts/john",
    "/%zz/../%63ontacts/john",
    "/%zz/..%2fcontacts/john",
    "/%e0/../contacts/john",
    "/%00/../contacts/john",
    "/contacts/john/%zz/..",
    "/contacts/%zz/../john",
    "/contacts/%zz/..%2fjohn",
    "/x#%zz/../../contacts/john",
    "http://example.org/%zz/../contacts/john",
];

/// By the site's own name nobody gets to a list, from anywhere, however it is written.
async fn refuse_by_its_own_name(site: &Server) {
    for path in TO_A_LIST {
        for host in ["example.org", "localhost", "www.example.org"] {
            for to in [site.https(), site.outside(site.https())] {
                refuse(&to.at(path), "GET", &[("Host", host)]).await;
            }
        }
        for host in ["example.org", "www.example.org"] {
            refuse(&site.http().at(path), "GET", &[("Host", host)]).await;
        }
    }
}

/// HAProxy does not read the path as the site behind it does. This one takes what cannot be decoded as it is.
#[tokio::test]
async fn haproxy_keeps_contact_lists_of_a_lenient_site_from_the_world() {
    let mut site = Server::start(Kind::Haproxy).await;
    site.behind = None;
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("contacts")).expect("a writable folder");
    let list = folder.path().join("contacts/john");
    fs::write(list, r#"{"marie@example.org": {}}"#).expect("a writable folder");
    // "-u": it says that it listens, at once.
    let args = ["-u", "-m", "http.server", "8080", "--bind", "127.0.0.1"].map(OsStr::new);
    let args = args
        .into_iter()
        .chain(["--directory".as_ref(), folder.path().as_os_str()]);
    let log = folder.path().join("python.log");
    let mut python = Process::start(Path::new("python3"), args, &[], log);
    let said = python.line(Duration::from_secs(30));
    assert!(said.is_some(), "{}", python.log_tail());

    let local_name = [("Host", "localhost")];
    for path in ["/contacts/john", "/%zz/../contacts/john"] {
        let http = site.http().at(path);
        let answer = http.request("GET", &local_name, "").await;
        assert!(answer.text().contains("marie"), "{path}: {answer:?}");
    }
    refuse_by_its_own_name(&site).await;
}

async fn refuse(to: &Endpoint, method: &str, headers: &[(&str, &str)]) {
    let answer = to.request(method, headers, "").await;
    // 301 and 308 lead to https, where it is refused; 421: not for this name. Caddy says nothing to a name that it
    // does not have.
    let is_refused = [301, 308, 400, 403, 404, 421].contains(&answer.status());
    let is_refused = is_refused || answer.body.is_empty();
    assert!(is_refused, "{} {headers:?}: {answer:?}", to.path);
    assert!(!answer.text().contains("marie"), "{} {headers:?}", to.path);
}

/// With the lines for it, which are comments.
async fn keeps_them_from_silent_proxies_by_a_token(kind: Kind) {
    let folder = tempfile::tempdir().expect("a folder");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind.example());
    let example = fs::read_to_string(example).expect("the example");
    let lines = example
        .lines()
        .map(|line| match line.contains("a-long-random-text") {
            true => line.replacen("# ", "", 1) + "\n",
            false => format!("{line}\n"),
        });
    let with_token: String = lines.collect();
    fs::write(folder.path().join(kind.example()), with_token).expect("a writable folder");
    let site = Server::start_from(kind, folder.path()).await;
    let prosody = Prosody::builder().start();
    let john = prosody.account("john");
    site.list(&john.local, &json!({ "marie@example.org": {} }));
    let http = site.http().at(&format!("/contacts/{}", john.local));
    refuse(&http, "GET", &[]).await;
    let wrong = [("Authorization", "Bearer a-long-random-tex")];
    refuse(&http, "GET", &wrong).await;

    let _gateway = Gateway::builder(&prosody)
        .listen(local(GATEWAY))
        .host("http_roster_url = 'http://localhost/contacts/%s'")
        .host("backend_token = 'a-long-random-text'")
        .start();
    let mut client = Client::login(&Transport::Bosh(site.example_org()), &john, "web").await;
    assert_eq!(client.roster().await.len(), 1);
}

async fn tells_the_clients_true_address(kind: Kind) {
    let site = Server::start(kind).await;
    let prosody = Prosody::builder().start();
    let gateway = Gateway::builder(&prosody)
        .listen(local(GATEWAY))
        .session("sessions_per_address = 1");
    let _gateway = gateway.start();
    let stranger = site.outside(site.example_org());
    let _first = Bosh::open(&stranger, DOMAIN).await;
    // Not even with the words of a proxy is he somebody else, or nobody in particular.
    for (name, value) in [
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=198.51.100.8"),
        ("X-Real-IP", "198.51.100.9"),
    ] {
        let liar = stranger.clone().adding(name, value);
        let refused = liar.post(&creation(DOMAIN, &[])).await;
        assert_eq!(refused.status(), 503, "{name}: {refused:?}");
    }
    // Another one has a place of his own.
    let other = stranger.clone().coming_from(ADDRESS);
    let _second = Bosh::open(&other, DOMAIN).await;
}

async fn speaks_http_2_and_ipv6(kind: Kind) {
    let _site = Server::start(kind).await;
    let mut gateway = StandIn::start();
    let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    for address in [IpAddr::from(address), ADDRESS.into()] {
        let connection = browser::Connection::open_to_any((address, 443).into()).await;
        let sent = connection
            .post_to("example.org", "/http-bind", &[], "<body/>")
            .await;
        assert_eq!(sent.response().await.status(), 200, "{address}");
        let arrival = gateway.arrival().await;
        assert_eq!(
            arrival.header("x-forwarded-for"),
            Some(&*address.to_string())
        );
        assert_eq!(arrival.header("x-forwarded-proto"), Some("https"));
    }
}

/// By HTTP/2, as browsers ask.
async fn hundreds_can_wait_at_once(kind: Kind) {
    let site = Server::start(kind).await;
    let prosody = Prosody::builder().start();
    let _gateway = Gateway::builder(&prosody).listen(local(GATEWAY)).start();
    let mut held = JoinSet::new();
    // They need not log in to wait.
    for _ in 0..200 {
        let web = Bosh::open(&site.example_org(), DOMAIN).await;
        let poll = web.request(web.rid + 1, "", "");
        let connection = browser::Connection::open_to_any(local(443)).await;
        let sent = connection.post_to(DOMAIN, "/http-bind", &[], &poll).await;
        held.spawn(async move {
            let answer = sent.late_response().await;
            drop(connection);
            answer
        });
    }
    let one_more = Bosh::open(&site.example_org(), DOMAIN).await;
    assert!(!one_more.sid.is_empty());
    assert_eq!(held.try_join_next().map(|_| ()), None, "all of them wait");
}

/// The documentation says the same as the first comments, which the tests follow.
#[test]
fn the_documentation_shows_what_has_been_followed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("a file");
    let page = read("docs/web-servers.md");
    for kind in [Kind::Nginx, Kind::Apache, Kind::Haproxy, Kind::Caddy] {
        let example = read(kind.example());
        let head = example.lines().take_while(|line| line.starts_with('#'));
        let commands: Vec<_> = head.filter_map(|line| line.strip_prefix("#   ")).collect();
        assert!(commands.len() > 2, "{kind:?}: {commands:?}");
        for command in commands {
            assert!(page.contains(command), "{kind:?}: {command}");
        }
    }
}

/// By any server, at once: it takes a minute.
#[tokio::test]
async fn a_request_is_held_longer_than_they_wait_by_themselves() {
    let mut sites = Vec::new();
    let mut held = JoinSet::new();
    for kind in [Kind::Nginx, Kind::Apache, Kind::Haproxy, Kind::Caddy] {
        let site = Server::start(kind).await;
        let prosody = Prosody::builder().start();
        let gateway = Gateway::builder(&prosody).listen(local(GATEWAY));
        let gateway = gateway.bosh("wait = \"62s\"").start();
        let john = prosody.account("john");
        let bosh = site.example_org();
        let mut web = Bosh::log_in_with(&bosh, &john, "web", &[("wait", "62")]).await;
        let pending = web.send("", "").await;
        held.spawn(async move { (kind, pending.late_response().await) });
        sites.push((gateway, prosody, site));
    }
    let answers = within_limit(Duration::from_secs(124), "answers", held.join_all());
    for (kind, answer) in answers.await {
        // With nothing to say, but not before its time.
        assert_eq!(answer.status(), 200, "{kind:?}: {answer:?}");
        assert_eq!(answer.xml().nodes.len(), 0, "{kind:?}: {answer:?}");
    }
    // The thread goes back the way that it came.
    while sites.pop().is_some() {}
}

mod a_client_that_hangs_up_is_missed {
    use super::Kind;

    // Apache tells the gateway nothing before it has got its answer.
    #[tokio::test]
    async fn nginx() {
        super::misses_a_client_that_hangs_up(Kind::Nginx).await;
    }

    #[tokio::test]
    async fn haproxy() {
        super::misses_a_client_that_hangs_up(Kind::Haproxy).await;
    }

    #[tokio::test]
    async fn caddy() {
        super::misses_a_client_that_hangs_up(Kind::Caddy).await;
    }
}

/// Long before its request would have been answered.
async fn misses_a_client_that_hangs_up(kind: Kind) {
    let site = Server::start(kind).await;
    let prosody = Prosody::builder().start();
    let gateway = Gateway::builder(&prosody).listen(local(GATEWAY));
    let _gateway = gateway.bosh("inactivity = \"1s\"").start();
    let mut contact = prosody.contact("marie").await;
    let john = prosody.account("john");
    let mut web = Bosh::log_in(&site.example_org(), &john, "web").await;
    let hello = format!("<presence xmlns='{CLIENT}' to='{}'/>", contact.jid);
    let jid = format!("{}/web", john.jid());
    let held = web.send("", &hello).await;
    contact.expect_presence(&jid, "").await;
    held.abort();
    contact.expect_presence(&jid, "unavailable").await;
}
