//! What those see who watch over the gateway: metrics, health, the log.

use std::{collections::BTreeMap, fs};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use tokio::net::TcpListener;

use support::{
    backend::Fault,
    bosh::{Bosh, creation},
    client::Account,
    free_ports,
    gateway::Gateway,
    http::{Connection, Endpoint},
    prosody::{DOMAIN, Prosody},
    websocket::{BINARY, FIN, TEXT},
    webstream::{WebStream, open},
    within,
    xml::{CLIENT, ROSTER, SASL, SM, message},
};

use crate::site::Site;

/// What `/metrics` says: each sample with its labels, as it is written.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    async fn of(gateway: &Gateway) -> Self {
        let accept = (
            "accept",
            "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
        );
        let response = gateway.monitoring().request("GET", &[accept], "").await;
        assert_eq!(response.status(), 200, "{response:?}");
        let media_type = response.header("content-type").expect("a type");
        assert!(
            media_type.starts_with("application/openmetrics-text"),
            "{media_type}"
        );
        let text = response.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self(samples.collect())
    }

    /// That of a sample, without the prefix; 0 if it has never been counted.
    fn get(&self, sample: &str) -> u64 {
        let sample = format!("rostergate_{sample}");
        let value = self.0.get(&sample).copied().unwrap_or_default();
        assert!(value.fract() == 0.0 && value >= 0.0, "{sample} {value}");
        value as u64
    }
}

/// Waits until a sample is so.
async fn becomes(gateway: &Gateway, sample: &str, value: u64) {
    within(&format!("{sample} {value}"), async {
        while Samples::of(gateway).await.get(sample) != value {}
    })
    .await;
}

#[tokio::test]
async fn what_happens_is_counted() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let domain = site.prosody.domain();
    let mut web = site.online(&john, "web").await;
    let other = site.online(&marie, "web").await;
    site.befriend(&john, &marie);
    site.refresh(&[&john, &marie]).await;
    web.expect_push().await;
    web.send_message(&other.jid, "hello");
    let mut other = other;
    other.expect_message("hello").await;

    becomes(&site.gateway, "bosh_held_requests", 2).await;
    let seen = Samples::of(&site.gateway).await;
    for (sample, value) in [
        ("sessions{front=\"bosh\",state=\"bound\"}", 2),
        ("sessions{front=\"bosh\",state=\"connecting\"}", 0),
        ("sessions{front=\"websocket\",state=\"bound\"}", 0),
        ("interested_sessions", 2),
        ("sessions_created_total", 2),
        (
            "stanzas_total{direction=\"from_client\",kind=\"message\"}",
            1,
        ),
        ("stanzas_total{direction=\"to_server\",kind=\"message\"}", 1),
        (
            "stanzas_total{direction=\"from_server\",kind=\"message\"}",
            1,
        ),
        ("stanzas_total{direction=\"to_client\",kind=\"message\"}", 1),
        ("roster_pushes_total", 2),
        ("refreshed_users_total{outcome=\"updated\"}", 2),
        ("refreshed_users_total{outcome=\"failed\"}", 0),
        ("http_requests_total{interface=\"admin\",code=\"200\"}", 1),
        ("connections", 1),
    ] {
        let found = seen.get(sample);
        // Clients keep connections, and this question came on one.
        let fits = if sample == "connections" {
            found >= value
        } else {
            found == value
        };
        assert!(fits, "{sample} is {found}, not {value}");
    }
    let of_domain = |name: &str, rest: &str| format!("{name}{{domain=\"{domain}\"{rest}}}");
    for (sample, value) in [
        (of_domain("roster_fetches_total", ",outcome=\"new\""), 4),
        (of_domain("roster_fetch_seconds_count", ""), 4),
        (of_domain("upstream_connects_total", ",outcome=\"ok\""), 2),
        (of_domain("upstream_connect_seconds_count", ""), 2),
        (of_domain("stale_rosters_total", ""), 0),
    ] {
        assert_eq!(seen.get(&sample), value, "{sample}");
    }
    let version = format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.get(&version), 1);
    assert_eq!(
        seen.get("http_requests_total{interface=\"bosh\",code=\"200\"}"),
        seen.get("bosh_requests_total{outcome=\"answered\"}"),
    );

    web.logout().await;
    drop(other);
    becomes(
        &site.gateway,
        "sessions_ended_total{reason=\"terminated\"}",
        1,
    )
    .await;
    becomes(&site.gateway, "bosh_held_requests", 0).await;
}

#[tokio::test]
async fn websockets_are_counted() {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway
            .websocket("ping = \"1s\"")
            .websocket("pong_timeout = \"1s\"")
            .websocket("resume = \"3s\"")
    });
    let john = site.member("john");
    let (gateway, endpoint) = (&site.gateway, site.gateway.websocket());
    let in_state = |state: &str| format!("sessions{{front=\"websocket\",state=\"{state}\"}}");
    let resumptions = |outcome: &str| format!("resumptions_total{{outcome=\"{outcome}\"}}");
    let refused = |reason: &str| {
        let name = "websocket_messages_refused_total";
        format!("{name}{{reason=\"{reason}\"}}")
    };

    let stream = WebStream::log_in_managed(&endpoint, &john, "web").await;
    becomes(gateway, &in_state("bound"), 1).await;
    let session = stream.vanish();
    becomes(gateway, &in_state("asleep"), 1).await;
    becomes(gateway, &in_state("bound"), 0).await;
    let mut stream = WebStream::resumed(&endpoint, &john, session).await;
    becomes(gateway, &resumptions("resumed"), 1).await;
    becomes(gateway, &in_state("asleep"), 0).await;

    // Its browser lives, but does not answer.
    stream.socket.answers_pings = false;
    while stream.receive().await.is_some() {}
    becomes(gateway, "websocket_pings_lost_total", 1).await;
    becomes(
        gateway,
        "asleep_sessions_ended_total{reason=\"inactive\"}",
        1,
    )
    .await;
    let mut late = WebStream::authenticated(&endpoint, &john).await;
    let answer = late.try_resume(&stream.vanish()).await;
    assert!(answer.is(SM, "failed"), "{answer}");
    becomes(gateway, &resumptions("unknown"), 1).await;

    late.send(&"<".repeat(300 << 10)).await;
    becomes(gateway, &refused("too_long"), 1).await;
    let mut other = WebStream::open(&endpoint, &john.domain).await;
    other.send_frame(FIN | BINARY, b"<presence/>").await;
    becomes(gateway, &refused("binary"), 1).await;
    let mut other = WebStream::open(&endpoint, &john.domain).await;
    other.send("<presence").await;
    becomes(gateway, &refused("xml"), 1).await;
    let mut other = WebStream::open(&endpoint, &john.domain).await;
    other.send_frame(FIN | TEXT, b"\xff").await;
    becomes(gateway, &refused("frame"), 1).await;

    let seen = Samples::of(gateway).await;
    let upgrades = "http_requests_total{interface=\"websocket\",code=\"101\"}";
    assert_eq!(seen.get(upgrades), 6);
}

#[tokio::test]
async fn stanzas_that_wait_for_a_client_are_counted() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let desk = site.online(&marie, "desk").await;
    let mut web = Bosh::log_in(&site.gateway.bosh(), &john, "web").await;
    assert_eq!(Samples::of(&site.gateway).await.get("pending_bytes"), 0);
    let text = "x".repeat(1000);
    let jid = format!("{}/web", john.jid());
    for _ in 0..10 {
        desk.send_message(&jid, &text);
    }
    within("ten messages to wait", async {
        while Samples::of(&site.gateway).await.get("pending_bytes") < 10 * 1000 {}
    })
    .await;
    web.exchange("").await;
    becomes(&site.gateway, "pending_bytes", 0).await;
}

#[tokio::test]
async fn what_fails_is_counted() {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway
            .session("max_sessions = 2")
            .admin("max_body = \"4KiB\"")
    });
    let john = site.member("john");
    let domain = site.prosody.domain();
    let web = site.online(&john, "web").await;
    site.backend.fail(&john.local, Fault::Status(503));
    let users = json!([john.local]).to_string();
    assert_eq!(site.post(&users).await.status(), 500);
    assert_eq!(site.post(&format!("[{:5000}]", "")).await.status(), 413);
    let unknown = "<body xmlns='http://jabber.org/protocol/httpbind' sid='x' rid='1'/>";
    site.gateway.bosh().post(unknown).await;
    // The next login is given the roster of before.
    web.logout().await;
    let mut again = site.gateway.login(&john, "web").await;
    again.roster().await;
    let one_too_many = site.gateway.bosh().post(&creation(domain, &[])).await;
    assert_eq!(one_too_many.status(), 503);

    let seen = Samples::of(&site.gateway).await;
    for (sample, value) in [
        ("bosh_requests_total{outcome=\"item-not-found\"}", 1),
        ("bosh_requests_total{outcome=\"undefined-condition\"}", 1),
        ("limits_hit_total{limit=\"session.max_sessions\"}", 1),
        ("limits_hit_total{limit=\"admin.max_body\"}", 1),
        ("http_requests_total{interface=\"bosh\",code=\"503\"}", 1),
        ("http_requests_total{interface=\"admin\",code=\"500\"}", 1),
        ("refreshed_users_total{outcome=\"failed\"}", 1),
    ] {
        assert_eq!(seen.get(sample), value, "{sample}");
    }
    let status = format!("roster_fetches_total{{domain=\"{domain}\",outcome=\"status\"}}");
    let stale = format!("stale_rosters_total{{domain=\"{domain}\"}}");
    assert_eq!((seen.get(&status), seen.get(&stale)), (2, 1));
}

#[tokio::test]
async fn a_refresh_past_its_deadline_is_counted() {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.admin("deadline = \"1s\"")
    });
    let john = site.member("john");
    let _web = site.online(&john, "web").await;
    site.backend.fail(&john.local, Fault::Hang);
    let users = json!([john.local]).to_string();
    assert_eq!(site.post(&users).await.status(), 500);
    let mut slow = Connection::open(&site.gateway.bosh()).await;
    let half =
        b"POST /roster_admin/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[\"jo";
    slow.write(half).await;
    assert_eq!(slow.response().await.status(), 408);
    let seen = Samples::of(&site.gateway).await;
    assert_eq!(seen.get("limits_hit_total{limit=\"admin.deadline\"}"), 2);
}

#[tokio::test]
async fn a_server_that_is_gone_is_counted() {
    let mut prosody = Prosody::builder().start();
    let gateway = Gateway::start(&prosody);
    let domain = prosody.domain().to_owned();
    let account = prosody.account("john");
    let _web = gateway.login(&account, "web").await;
    prosody.kill();
    let lost = format!("upstream_losses_total{{domain=\"{domain}\"}}");
    becomes(&gateway, &lost, 1).await;
    let answer = gateway.bosh().post(&creation(&domain, &[])).await;
    assert_eq!(answer.status(), 503);
    let refused = format!("upstream_connects_total{{domain=\"{domain}\",outcome=\"refused\"}}");
    let seen = Samples::of(&gateway).await;
    assert_eq!(seen.get(&refused), 1);
    assert_eq!(seen.get("sessions_ended_total{reason=\"unreachable\"}"), 1);
    assert_eq!(seen.get("sessions_ended_total{reason=\"inactive\"}"), 0);
    let mut stream = WebStream::connect(&gateway.websocket(), &domain).await;
    stream.send(&open(&domain, &[])).await;
    becomes(&gateway, "sessions_ended_total{reason=\"unreachable\"}", 2).await;
    let log = gateway.log();
    assert!(log.contains(": Connection refused"), "the cause: {log}");
    let ends = log.matches("session ended").count();
    assert_eq!(
        (ends, log.matches("end=unreachable").count()),
        (3, 2),
        "{log}"
    );
}

const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

async fn statuses(endpoint: &Endpoint) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in PATHS {
        let response = endpoint.at(path).request("GET", &[], "").await;
        statuses.push(response.status());
    }
    statuses
}

#[tokio::test]
async fn by_default_only_this_machine_is_told() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    assert_eq!(statuses(&gateway.bosh()).await, [200; 3]);
    let through_a_proxy = gateway.bosh().adding("X-Forwarded-For", "192.0.2.1");
    assert_eq!(statuses(&through_a_proxy).await, [403; 3]);
    let from_a_page = gateway.bosh().adding("Origin", "https://example.com");
    assert_eq!(statuses(&from_a_page).await, [403; 3]);

    let gateway = Gateway::builder(prosody)
        .admin("listen = \"127.0.0.1:0\"")
        .start();
    assert_eq!(
        statuses(&gateway.bosh()).await,
        [404; 3],
        "moved with the API"
    );
    assert_eq!(statuses(&gateway.admin()).await, [200; 3]);
}

#[tokio::test]
async fn with_an_address_of_their_own_they_are_for_all_who_come_there() {
    let gateway = Gateway::builder(Prosody::shared())
        .tables("[monitoring]\nlisten = \"127.0.0.1:0\"")
        .start();
    let monitoring = gateway.monitoring();
    let of_others = monitoring.clone().adding("X-Forwarded-For", "192.0.2.1");
    assert_eq!(statuses(&of_others).await, [200; 3]);
    assert_eq!(statuses(&gateway.bosh()).await, [404; 3]);
    for path in ["/http-bind", "/roster_admin/sessions", "/"] {
        let answer = monitoring.at(path).request("GET", &[], "").await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    let posted = monitoring.request("POST", &[], "").await;
    assert_eq!(
        (posted.status(), posted.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn a_gateway_that_goes_down_is_not_ready() {
    let prosody = Prosody::shared();
    let mut gateway = Gateway::builder(prosody)
        .server("drain_timeout = \"1m\"\ndrain_spread = \"30s\"")
        .start();
    // Two, so that the second one's end is far away.
    let mut held = Vec::new();
    for name in ["john", "marie"] {
        let mut bosh = Bosh::log_in(&gateway.bosh(), &prosody.account(name), "web").await;
        held.push((bosh.send("", "").await, bosh));
    }
    let ready = gateway.monitoring().at("/readyz");
    let status = async || ready.request("GET", &[], "").await.status();
    assert_eq!(status().await, 200);
    gateway.signal("TERM");
    within("not ready", async { while status().await != 503 {} }).await;
    let health = gateway.monitoring().at("/healthz");
    assert_eq!(
        health.request("GET", &[], "").await.status(),
        200,
        "it is alive"
    );
    let refused = gateway.bosh().post(&creation(DOMAIN, &[])).await;
    assert_eq!(refused.status(), 503);
    gateway.signal("TERM");
    gateway.wait();
}

/// What `/readyz` says.
async fn readiness(gateway: &Gateway) -> (u16, String) {
    let ready = gateway.admin().at("/readyz");
    let response = ready.request("GET", &[], "").await;
    (response.status(), response.text().trim().to_owned())
}

/// Without a client that tries: a balancer may send none as long as this says that they are not welcome.
#[tokio::test]
async fn readiness_tells_of_servers_that_cannot_be_reached() {
    let gone = "no XMPP server can be reached";
    for (needs_server, status) in [(false, 200), (true, 503)] {
        let [port] = free_ports();
        let gateway = Gateway::builder(Prosody::shared())
            .upstream(&format!("xmpp://127.0.0.1:{port}"))
            .tables(&format!(
                "[monitoring]\nready_needs_server = {needs_server}"
            ))
            .start();
        let says = async |status: u16, text: &str| {
            let expected = (status, text.to_owned());
            within(text, async {
                while readiness(&gateway).await != expected {}
            })
            .await;
        };
        says(status, gone).await;
        let server = TcpListener::bind(("127.0.0.1", port)).await;
        let server = server.expect("a free port");
        says(200, "ok").await;
        drop(server);
        // Nobody has tried since, and this does not.
        for _ in 0..10 {
            assert_eq!(readiness(&gateway).await, (200, "ok".to_owned()));
        }
        gateway.bosh().post(&creation(DOMAIN, &[])).await;
        says(status, gone).await;
    }
}

#[tokio::test]
async fn one_server_is_enough_to_be_ready() {
    let prosody = Prosody::shared();
    let [port] = free_ports();
    let gateway = Gateway::builder(prosody)
        .tables("[monitoring]\nready_needs_server = true")
        .tables(&format!(
            "[[host]]\ndomain = \"chat.example.net\"\nupstream = \"xmpp://127.0.0.1:{port}\""
        ))
        .start();
    gateway
        .bosh()
        .post(&creation("chat.example.net", &[]))
        .await;
    for _ in 0..10 {
        assert_eq!(readiness(&gateway).await, (200, "ok".to_owned()));
    }
}

#[tokio::test]
async fn a_websocket_has_lines_of_its_beginning_and_its_end() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .env("ROSTERGATE_LOG", "info")
        .tables("[log]\nformat = \"json\"\naccess = true")
        .start();
    let john = prosody.account("john");
    let client = gateway.websocket().at("/xmpp-websocket?u=john");
    let client = client.adding("X-Request-Id", "7f3a9c2b");
    let client = client.adding("X-Forwarded-For", "192.0.2.7");
    let left = WebStream::log_in_managed(&client, &john, "web").await;
    let session = left.vanish();
    WebStream::resumed(&client, &john, session)
        .await
        .log_out()
        .await;
    let lines = within("four lines", async {
        loop {
            let lines = lines(&gateway);
            if lines.len() == 4 {
                break lines;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let said = |message: &str| -> Vec<&Value> {
        let fields = lines.iter().map(|line| &line["fields"]);
        fields.filter(|line| line["message"] == message).collect()
    };
    for line in said("request") {
        assert_eq!(line["status"], 101, "{line}");
    }
    let [lost, closed] = said("websocket ended")[..] else {
        panic!("{lines:?}")
    };
    for (line, code) in [(lost, Value::Null), (closed, json!(1000))] {
        assert_eq!(line["client"], "192.0.2.7", "{line}");
        assert_eq!(line["path"], "/xmpp-websocket", "{line}");
        assert_eq!(line["id"], "7f3a9c2b", "{line}");
        assert_eq!(line["code"], code, "{line}");
        for amount in ["received", "sent"] {
            let bytes = line[amount].as_u64().expect("bytes");
            assert!((300..20_000).contains(&bytes), "{line}");
        }
        assert!(line["seconds"].as_f64().is_some_and(|it| it > 0.0));
    }
}

/// The access lines so far, of a gateway that logs JSON.
fn lines(gateway: &Gateway) -> Vec<Value> {
    let log = gateway.log();
    let lines = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
        line
    });
    lines
        .filter(|line| line["target"] == "rostergate::access")
        .collect()
}

#[tokio::test]
async fn each_request_has_a_line_if_wanted() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .env("ROSTERGATE_LOG", "info")
        .tables("[log]\nformat = \"json\"\naccess = true")
        .start();
    let john = prosody.account("john");
    let client = gateway.bosh().adding("X-Forwarded-For", "192.0.2.7");
    let mut web = Bosh::log_in(&client, &john, "web").await;
    let query = "/roster_admin/sessions?user=john";
    let admin = gateway.admin().at(query);
    let id = [("X-Request-Id", "7f3a9c2b")];
    admin.request("GET", &id, "").await;
    let held = web.send("", "").await;
    becomes(&gateway, "bosh_held_requests", 1).await;
    held.abort();

    let hung_up = within("a line for the one that hung up", async {
        loop {
            // One request more, so that there is always another line to wait for.
            gateway.bosh().request("GET", &[], "").await;
            let lines = lines(&gateway);
            if let Some(line) = lines.iter().find(|it| it["fields"]["status"] == 499) {
                break line.clone();
            }
        }
    })
    .await;
    assert_eq!(hung_up["fields"]["client"], "192.0.2.7");
    let lines = lines(&gateway);
    let creation = &lines[0]["fields"];
    for (key, value) in [
        ("message", json!("request")),
        ("client", json!("192.0.2.7")),
        ("method", json!("POST")),
        ("path", json!("/http-bind")),
        ("version", json!("HTTP/1.1")),
        ("status", json!(200)),
    ] {
        assert_eq!(creation[key], value, "{key} of {creation}");
    }
    assert_eq!(creation["id"], json!(null), "{creation}");
    assert!(creation["seconds"].as_f64().is_some_and(|it| it > 0.0));
    let admin = lines
        .iter()
        .find(|it| it["fields"]["path"] == "/roster_admin/sessions");
    let admin = &admin.expect("a line, without the query")["fields"];
    assert_eq!(admin["client"], "127.0.0.1");
    assert_eq!(admin["id"], "7f3a9c2b");
}

#[tokio::test]
async fn access_lines_can_be_had_without_a_restart() {
    let gateway = Gateway::builder(Prosody::shared())
        .tables("[log]\naccess = false")
        .start();
    gateway.bosh().request("GET", &[], "").await;
    assert!(!gateway.log().contains("rostergate::access"));
    let path = gateway.config_path();
    let config = fs::read_to_string(&path).expect("a file");
    fs::write(&path, config.replace("access = false", "access = true")).expect("written");
    gateway.signal("HUP");
    within("a line", async {
        while !gateway.log().contains("rostergate::access") {
            gateway.bosh().request("GET", &[], "").await;
        }
    })
    .await;
}

/// A whole session, watched as closely as possible: none of its secrets shows.
#[tokio::test]
async fn the_log_keeps_secrets() {
    const TEXT: &str = "meet me at the Phoenicia";
    const STATUS: &str = "at the dentist's";
    const ADMIN: &str = "admin-token-7f3a9c";
    const BACKEND: &str = "backend-token-b81e22";
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway
            .env("ROSTERGATE_LOG", "trace")
            .tables("[log]\naccess = true")
            .admin(&format!("token = \"{ADMIN}\""))
            .host(&format!("backend_token = \"{BACKEND}\""))
    });
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut desk = site.online(&marie, "desk").await;
    let mut web = Bosh::open(&site.gateway.bosh(), &john.domain).await;
    let sid = web.sid.clone();
    web.authenticate(&john).await;
    let jid = web.bind("tab").await;
    web.exchange(&format!(
        "<iq xmlns='{CLIENT}' type='get' id='r'><query xmlns='{ROSTER}'/></iq>\
         <presence xmlns='{CLIENT}'><status>{STATUS}</status></presence>"
    ))
    .await;
    desk.expect_presence(&jid, "").await;
    let held = web.send("", &message(&desk.jid, TEXT)).await;
    desk.expect_message(TEXT).await;
    desk.send_message(&jid, TEXT);
    held.body().await;
    let admin = site.gateway.admin().at("/roster_admin/refresh");
    let users = json!([john.local]).to_string();
    for token in [ADMIN, "a-wrong-token-55"] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        admin.request("POST", &headers, &users).await;
    }
    // One that fails, too.
    let mut guess = Bosh::open(&site.gateway.bosh(), &john.domain).await;
    let wrong = Account {
        password: "a wrong password".to_owned(),
        ..john.clone()
    };
    let plain =
        |account: &Account| BASE64.encode(format!("\0{}\0{}", account.local, account.password));
    let auth = format!(
        "<auth xmlns='{SASL}' mechanism='PLAIN'>{}</auth>",
        plain(&wrong)
    );
    guess
        .exchange_until(&auth, |child| child.is(SASL, "failure"))
        .await;
    // Its end is logged.
    web.send("type='terminate'", "").await.body().await;
    within("the end", async {
        while !site.gateway.log().contains("session ended") {
            site.gateway.bosh().request("GET", &[], "").await;
        }
    })
    .await;

    let log = site.gateway.log();
    assert!(log.contains("TRACE"), "the finest there is");
    assert!(
        log.contains(&sid[..8]),
        "enough of a sid to tell sessions apart"
    );
    let plain = |account: &Account| {
        let text = format!("\0{}\0{}", account.local, account.password);
        BASE64.encode(text)
    };
    let secrets = [
        ("a sid", sid.as_str()),
        ("a message", TEXT),
        ("a status", STATUS),
        ("the admin token", ADMIN),
        ("a token that was tried", "a-wrong-token-55"),
        ("the backend token", BACKEND),
        ("a password", &john.password),
        ("a password that was tried", &wrong.password),
        ("SASL", &plain(&john)),
        ("SASL that failed", &plain(&wrong)),
    ];
    for (what, secret) in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what} is in the log");
    }
}
