//! The dashboard of `contrib/grafana`, asked of a real Prometheus that watches a real gateway; and whether
//! `docs/metrics.md` has what there is.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::{
    backend::Backend,
    bosh::creation,
    free_ports,
    gateway::{Builder, Gateway},
    http::{Connection, Endpoint},
    list_server::ListServer,
    nats::Nats,
    process::Process,
    prosody::Prosody,
    receiver::Receiver,
    root, unique, within, within_limit,
    xml::HTTPBIND,
};

use crate::site::Site;

/// It looks at the gateway once a second, and a rate needs two looks.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Prometheus that runs.
struct Prometheus {
    _process: Process,
    _directory: TempDir,
    api: Endpoint,
}

impl Prometheus {
    fn watching(target: SocketAddr) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("rostergate-it-prometheus-")
            .tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: rostergate, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(&config, text).expect("the configuration can be written");
        let [port] = free_ports();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let args = [
            format!("--config.file={}", config.display()),
            format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ),
            format!("--web.listen-address={address}"),
        ];
        let log = directory.path().join("stderr.log");
        let program = Path::new("/usr/bin/prometheus");
        assert!(
            program.exists(),
            "no Prometheus: scripts/deps.sh test installs it"
        );
        Self {
            _process: Process::start(program, args, &[], log),
            _directory: directory,
            api: Endpoint::new(address, "/api/v1/query"),
        }
    }

    /// What a query finds now: how many series, or what is wrong with it.
    async fn series(&self, query: &str) -> Option<usize> {
        let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let url = format!("{}?query={encoded}", self.api.path);
        let mut connection = Connection::try_open(&self.api).await?;
        connection
            .send("GET", &url, &[("Connection", "close")], "")
            .await;
        let response = connection.response().await;
        if response.status() == 503 {
            return None;
        }
        let answer: Value = serde_json::from_str(response.text()).expect("JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(answer["data"]["result"].as_array().expect("series").len())
    }
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The queries of a dashboard, with the title of the panel.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().expect("targets");
        targets.iter().map(move |target| {
            let query = target["expr"].as_str().expect("a query");
            (title.to_owned(), query.to_owned())
        })
    });
    queries.collect()
}

/// A site where everything has happened that there is a series for, and another gateway of it.
async fn lively() -> (Site, Gateway) {
    let server = ListServer::start();
    server.set("anna", json!({}));
    let backend = Backend::start();
    backend.set("anna", json!({ "marie@example.net": {} }));
    let lists = format!(
        "[[host]]\ndomain = \"lists.example\"\nupstream = \"xmpp://127.0.0.1:1\"\nhttp_roster_url = \"{}\"\n{}",
        backend.url(),
        server.lines("ejabberd"),
    );
    let receiver = Receiver::start();
    let events = receiver.line();
    let name = format!("grafana-{}-{}", std::process::id(), unique());
    let member = |builder: Builder, node: &str| {
        let nats = Nats::shared().url();
        let table = format!("[cluster]\nnats = [\"{nats}\"]\nname = \"{name}\"\nnode = \"{node}\"");
        builder.tables(&table)
    };
    let other = Gateway::builder(Prosody::shared()).backend(&backend);
    let other = member(other, "b").start();
    let site = Site::with(Prosody::shared(), |gateway| {
        member(gateway, "a")
            .host(&events)
            .session("max_sessions = 2")
            .host("login = \"http\"")
            .tables("[monitoring]\nlisten = \"127.0.0.1:0\"")
            .tables(&lists)
    });
    site.gateway.await_members(2);
    let refresh = async |domain: &str, user: &str| {
        let path = format!("/roster_admin/{domain}/refresh/{user}");
        let answer = site.gateway.admin().at(&path).request("GET", &[], "").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    };
    refresh("lists.example", "anna").await;
    receiver.hears("gap").await;
    let (john, marie) = (site.member("john"), site.member("marie"));
    let admin = site.gateway.admin();
    let username = json!({ "username": john.local }).to_string();
    let token = admin.at("/roster_admin/token");
    assert_eq!(token.request("POST", &[], &username).await.status(), 200);
    let check = admin.at("/xmpp_auth/check_password?user=a&server=example.org&pass=b");
    assert_eq!(check.request("GET", &[], "").await.text(), "false");
    // This Prosody takes no tokens.
    let prebind = admin.at("/roster_admin/prebind");
    assert_eq!(prebind.request("POST", &[], &username).await.status(), 403);
    let web = site.online(&john, "web").await;
    site.befriend(&john, &marie);
    refresh(&john.domain, &john.local).await;
    web.logout().await;
    for sid in ["x", "b-0123456789abcdef0123456789abcdef"] {
        let gone = format!("<body xmlns='{HTTPBIND}' sid='{sid}' rid='1'/>");
        site.gateway.bosh().post(&gone).await;
    }
    let _second = site.gateway.login(&john, "web").await;
    let third = site.gateway.bosh().post(&creation(&john.domain, &[])).await;
    assert_eq!(third.status(), 503);
    // That gateway asks the others.
    let status = other.admin().at("/roster_admin/status");
    status.request("GET", &[], "").await;
    site.gateway.signal("HUP");
    (site, other)
}

#[tokio::test]
async fn every_query_of_the_dashboard_finds_something() {
    let dashboard: Value =
        serde_json::from_str(&file("contrib/grafana/rostergate.json")).expect("JSON");
    let (site, _other) = lively().await;
    let prometheus = Prometheus::watching(site.gateway.monitoring().address);
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{queries:?}");
    for (panel, query) in &queries {
        let query = query
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        within_limit(PATIENCE, &format!("{panel}: {query}"), async {
            while prometheus.series(&query).await.unwrap_or_default() == 0 {}
        })
        .await;
    }
    // What it does not know, no query finds.
    assert_eq!(prometheus.series("rostergate_nonsense").await, Some(0));
}

#[test]
fn alerts_come_when_something_is_wrong_and_only_then() {
    let tests = root().join("tests/alerts.test.yml");
    let mut promtool = Command::new("promtool");
    let output = promtool.args(["test", "rules"]).arg(tests).output();
    let output = output.expect("no promtool: scripts/deps.sh test installs it");
    assert!(output.status.success(), "{output:?}");
    // It takes any name for one of a metric.
    let described = file("docs/metrics.md");
    let rules = file("contrib/prometheus/rostergate.rules.yml");
    let names = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: BTreeSet<&str> = names.filter(|it| it.starts_with("rostergate_")).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(described.contains(&format!("`{name}")), "{name}");
    }
}

#[tokio::test]
async fn prometheus_finds_nothing_wrong_with_the_metrics() {
    let (site, _other) = lively().await;
    let response = site.gateway.monitoring().request("GET", &[], "").await;
    let media_type = response.header("content-type").expect("a type");
    assert!(
        media_type.starts_with("text/plain; version=0.0.4"),
        "{media_type}"
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("no promtool: scripts/deps.sh test installs it");
    let mut input = promtool.stdin.take().expect("it is piped");
    input
        .write_all(response.text().as_bytes())
        .expect("it reads");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[tokio::test]
async fn the_documentation_has_what_there_is() {
    let (site, _other) = lively().await;
    let text = within("the last of them", async {
        loop {
            let response = site.gateway.monitoring().request("GET", &[], "").await;
            if response.text().contains("rostergate_reloads_total") {
                break response.text().to_owned();
            }
        }
    })
    .await;
    let there: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(str::to_owned)
        .collect();
    assert!(there.len() > 20, "{there:?}");
    let described: BTreeSet<String> = file("docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `rostergate_"))
        .map(|line| {
            let mut cells = line.split('|').map(str::trim);
            let name = cells.next().expect("a name").trim_end_matches('`');
            let name = name.split('{').next().expect("its first part");
            format!("rostergate_{name} {}", cells.next().expect("a kind"))
        })
        .collect();
    assert_eq!(there, described);
}
