//! The upstream against Prosody with the modules that Debian enables.

use std::{
    fs,
    future::poll_fn,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use jid::DomainPart;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rostergate::{
    config::{self, Backend, Host, Presence, Scheme, UpstreamTls},
    proto::stanza::{IqType, Kind, Stanza},
    upstream::{ConnectError, Connector, Hello, Initiator, Upstream, UpstreamEvent},
};
use tempfile::TempDir;

/// `right.example` has a good certificate, `wrong.example` that of another, `expired.example` one
/// that was good once. Users have no passwords.
const CONFIG: &str = r#"
run_as_root = true
pidfile = "DIR/prosody.pid"
data_path = "DIR"
log = { { levels = { min = "info" }, to = "console" } }
modules_enabled = {
    "disco", "roster", "saslauth", "tls", "blocklist", "bookmarks", "carbons", "limits", "pep",
    "private", "smacks", "vcard4", "vcard_legacy", "csi_simple", "ping", "time", "uptime",
    "version", "posix",
}
modules_disabled = { "s2s" }
authentication = "anonymous"
c2s_require_encryption = REQUIRE
c2s_interfaces = { "127.0.0.1" }
c2s_ports = { PORT }
c2s_direct_tls_interfaces = { "127.0.0.1" }
c2s_direct_tls_ports = { TLS }
ssl = { certificate = "DIR/right.crt", key = "DIR/key.pem" }
local expired = { certificate = "DIR/expired.crt", key = "DIR/key.pem" }
VirtualHost "right.example"
VirtualHost "wrong.example"
VirtualHost "expired.example"
    ssl = expired
    c2s_direct_tls_ssl = expired
"#;

/// How long it may take to start.
const START: Duration = Duration::from_secs(30);

/// A server of its own, gone when dropped.
struct Prosody {
    process: Child,
    dir: TempDir,
    port: u16,
    tls_port: u16,
}

/// Whether clients have to use TLS (`c2s_require_encryption`).
#[derive(Clone, Copy)]
enum Encryption {
    Optional,
    Required,
}

impl Prosody {
    fn start(encryption: Encryption) -> Self {
        let dir = TempDir::new().unwrap();
        make_certificates(dir.path());
        let [port, tls_port] = free_ports();
        let required = matches!(encryption, Encryption::Required);
        let config = CONFIG
            .replace("REQUIRE", if required { "true" } else { "false" })
            .replace("PORT", &port.to_string())
            .replace("TLS", &tls_port.to_string())
            .replace("DIR", dir.path().to_str().unwrap());
        let file = dir.path().join("prosody.cfg.lua");
        fs::write(&file, config).unwrap();
        let mut process = Command::new("prosody")
            .arg("--config")
            .arg(&file)
            .arg("-F")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("prosody is missing: install Debian's with `make deps`");
        let log = BufReader::new(process.stdout.take().expect("piped"));
        let server = Self {
            process,
            dir,
            port,
            tls_port,
        };
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                // Nobody listens any more once it is ready; it must be able to log all the same.
                let _ = sender.send(line);
            }
        });
        let mut said = String::new();
        for _ in 0..2 {
            loop {
                let line = lines.recv_timeout(START);
                let line = line.unwrap_or_else(|_| panic!("prosody is not ready:\n{said}"));
                said.push_str(&format!("{line}\n"));
                if line.contains("Activated service 'c2s") {
                    break;
                }
            }
        }
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn connect(
        &self,
        domain: &str,
        scheme: Scheme,
        tls: UpstreamTls,
    ) -> Result<(Upstream, Hello), ConnectError> {
        self.dial(domain, scheme, tls, Some(self.path("ca.crt")))
            .await
    }

    async fn dial(
        &self,
        domain: &str,
        scheme: Scheme,
        tls: UpstreamTls,
        ca: Option<PathBuf>,
    ) -> Result<(Upstream, Hello), ConnectError> {
        let host = Host {
            domain: DomainPart::new(domain).unwrap().into_owned(),
            upstream: config::Upstream {
                scheme,
                place: config::Place {
                    address: "127.0.0.1".to_owned(),
                    port: match scheme {
                        Scheme::Xmpps => self.tls_port,
                        _ => self.port,
                    },
                },
                path: String::new(),
                referrals: Vec::new(),
                proxy_protocol: None,
                tls,
                ca,
            },
            http_roster_url: None,
            presence: Presence::Directed,
            messages_from: config::MessagesFrom::Anyone,
            writer: None,
            writing: config::Writing::default(),
            login: None,
            events: config::Events::default(),
            backend: Backend {
                timeout: Duration::from_secs(1),
                concurrency: 1,
                max_body: 1024,
                ..Backend::default()
            },
        };
        Connector::new(&host).unwrap().connect(web()).await
    }

    async fn refusal(&self, domain: &str, scheme: Scheme, tls: UpstreamTls) -> String {
        let refused = self.connect(domain, scheme, tls).await;
        refused.map(|_| ()).unwrap_err().to_string()
    }
}

fn web() -> Initiator<'static> {
    Initiator {
        address: ([192, 0, 2, 7], 4711).into(),
        jid: None,
        lang: "en",
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two ports that nobody listens on.
fn free_ports() -> [u16; 2] {
    let held = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn make_certificates(dir: &Path) {
    let key = KeyPair::generate().unwrap();
    let write = |name: &str, text: String| fs::write(dir.join(name), text).unwrap();
    write("key.pem", key.serialize_pem());

    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name = DistinguishedName::new();
    ca.distinguished_name
        .push(DnType::CommonName, "test authority");
    let ca_key = KeyPair::generate().unwrap();
    write("ca.crt", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);

    for (name, year) in [("right", 2090), ("expired", 2020)] {
        let mut leaf = CertificateParams::new([format!("{name}.example")]).unwrap();
        leaf.not_before = date_time_ymd(2019, 1, 1);
        leaf.not_after = date_time_ymd(year, 1, 1);
        write(
            &format!("{name}.crt"),
            leaf.signed_by(&key, &issuer).unwrap().pem(),
        );
    }
}

fn text(stanza: &Stanza) -> String {
    String::from_utf8(stanza.chunks().flatten().collect()).unwrap()
}

async fn event(upstream: &mut Upstream) -> UpstreamEvent {
    let next = poll_fn(|cx| upstream.poll(cx, true));
    let next = tokio::time::timeout(Duration::from_secs(10), next).await;
    next.expect("an event in time").unwrap()
}

async fn stanza(upstream: &mut Upstream) -> Stanza {
    match event(upstream).await {
        UpstreamEvent::Stanza(stanza) => stanza,
        other => panic!("no stanza but {other:?}"),
    }
}

/// Logs in without a password, writes to itself and closes the stream.
async fn chat(mut upstream: Upstream) {
    let queue = |upstream: &mut Upstream, text: &'static str| {
        upstream.queue_bytes(Bytes::from_static(text.as_bytes()));
    };
    let sasl = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>";
    queue(&mut upstream, sasl);
    assert_eq!(stanza(&mut upstream).await.local(), "success");

    upstream.restart(Some("en"));
    let UpstreamEvent::Features(features) = event(&mut upstream).await else {
        panic!("no features");
    };
    assert!(text(&features).contains("urn:ietf:params:xml:ns:xmpp-bind"));

    let bind = "<iq id='1' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    queue(&mut upstream, bind);
    let bound = stanza(&mut upstream).await;
    assert_eq!(bound.kind(), Kind::Iq(IqType::Result));
    let bound = text(&bound);
    let (jid, _) = bound
        .split_once("<jid>")
        .unwrap()
        .1
        .split_once('<')
        .unwrap();

    upstream.keepalive();
    // Debian limits clients to 10 kB/s, with a burst of 20 kB.
    let long = "\u{e9}&lt;".repeat(1_000);
    let message = format!("<message to='{jid}' type='chat'><body>{long}</body></message>");
    upstream.queue_bytes(message.into());
    let message = stanza(&mut upstream).await;
    assert!(text(&message).contains(&long));

    upstream.close();
    assert!(matches!(event(&mut upstream).await, UpstreamEvent::Closed));
}

#[tokio::test]
async fn auto_is_plain_on_loopback_where_the_server_allows_it() {
    let server = Prosody::start(Encryption::Optional);
    let (upstream, hello) = server
        .dial("right.example", Scheme::Xmpp, UpstreamTls::Auto, None)
        .await
        .unwrap();
    assert!(!upstream.is_encrypted());
    assert!(hello.stream_id.is_some_and(|id| !id.is_empty()));
    assert!(text(&hello.features).contains("<mechanism>ANONYMOUS</mechanism>"));
    chat(upstream).await;

    // The same server, with a policy that asks for more.
    let (upstream, _) = server
        .connect("right.example", Scheme::Xmpp, UpstreamTls::Verify)
        .await
        .unwrap();
    assert!(upstream.is_encrypted());
    chat(upstream).await;

    let (upstream, _) = server
        .connect("wrong.example", Scheme::Xmpp, UpstreamTls::Insecure)
        .await
        .unwrap();
    assert!(upstream.is_encrypted());
    chat(upstream).await;
}

#[tokio::test]
async fn auto_takes_any_certificate_on_loopback_where_tls_is_required() {
    let server = Prosody::start(Encryption::Required);
    for domain in ["right.example", "wrong.example", "expired.example"] {
        for scheme in [Scheme::Xmpp, Scheme::Xmpps] {
            let (upstream, _) = server
                .dial(domain, scheme, UpstreamTls::Auto, None)
                .await
                .unwrap();
            assert!(upstream.is_encrypted());
            chat(upstream).await;
        }
    }
    let refusal = server
        .refusal("right.example", Scheme::Xmpp, UpstreamTls::Plain)
        .await;
    assert_eq!(refusal, "server requires STARTTLS");
}

#[tokio::test]
async fn verify_checks_the_certificate_against_the_domain() {
    let server = Prosody::start(Encryption::Required);
    for scheme in [Scheme::Xmpp, Scheme::Xmpps] {
        let verify = UpstreamTls::Verify;
        let (upstream, _) = server
            .connect("right.example", scheme, verify)
            .await
            .unwrap();
        assert!(upstream.is_encrypted());
        chat(upstream).await;

        let wrong = server.refusal("wrong.example", scheme, verify).await;
        assert!(
            wrong.starts_with("certificate of wrong.example is for another name")
                && wrong.contains("right.example"),
            "{wrong}"
        );
        let expired = server.refusal("expired.example", scheme, verify).await;
        assert_eq!(expired, "certificate of expired.example has expired");

        // Another authority, which happens to be a good certificate of somebody else.
        let stranger = server.path("stranger.crt");
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        fs::write(&stranger, certificate.pem()).unwrap();
        let unknown = server
            .dial("right.example", scheme, verify, Some(stranger))
            .await;
        assert_eq!(
            unknown.map(|_| ()).unwrap_err().to_string(),
            "certificate of right.example comes from an unknown issuer"
        );
    }
}

#[tokio::test]
async fn an_unknown_domain_is_a_stream_error() {
    let server = Prosody::start(Encryption::Optional);
    let refusal = server
        .refusal("nobody.example", Scheme::Xmpp, UpstreamTls::Auto)
        .await;
    assert_eq!(refusal, "stream error host-unknown");
}
