//! Who is refused is logged with the address, and the filter of `contrib/fail2ban` reads that and nothing else.

use std::{
    collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::Path, process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use support::{
    bosh::{Bosh, creation},
    gateway::{Builder, Gateway},
    http::Endpoint,
    prosody::{DOMAIN, Prosody},
    websocket::WebSocket,
    webstream::{self, WebStream},
    within,
    xml::{FRAMING, SASL},
};
use tempfile::TempDir;

/// Who is never refused, and whom attackers want to have banned.
const VICTIM: &str = "192.0.2.66";
const TOKEN: &str = "t0ken-of-the-site";

/// The addresses that the filter bans by this log, and the kinds that it is told to count.
fn banned(log: &Path, kinds: Option<&str>) -> BTreeSet<String> {
    let filter =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/fail2ban/filter.d/rostergate.conf");
    let filter = filter.display();
    let filter = match kinds {
        Some(kinds) => format!("{filter}[kinds=\"{kinds}\"]"),
        None => filter.to_string(),
    };
    let mut program = Command::new("fail2ban-regex");
    let output = program.args(["--out", "ip"]).arg(log).arg(filter).output();
    let output = output.expect("scripts/deps.sh test installs it");
    assert!(output.status.success(), "{output:?}");
    let found = String::from_utf8(output.stdout).expect("text");
    found.lines().map(str::to_owned).collect()
}

fn gateway() -> Builder {
    Gateway::builder(Prosody::shared())
        .admin(&format!("token = \"{TOKEN}\""))
        .host("login = \"http\"")
}

/// The client at `address`, as the proxy on this machine names it.
fn at(endpoint: &Endpoint, address: &str) -> Endpoint {
    endpoint.clone().adding("X-Forwarded-For", address)
}

fn auth(name: &str, password: &str) -> String {
    let message = STANDARD.encode(format!("\0{name}\0{password}"));
    format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{message}</auth>")
}

/// Tries a password by BOSH; what the server says is wrong.
async fn guess(gateway: &Gateway, address: &str, name: &str, password: &str) -> String {
    let mut bosh = Bosh::open(&at(&gateway.bosh(), address), DOMAIN).await;
    let is_failure = |it: &support::xml::Element| it.is(SASL, "failure");
    let failure = bosh.exchange_until(&auth(name, password), is_failure).await;
    let condition = failure.children().next().expect("a condition");
    condition.name.clone()
}

/// Does everything for which somebody is banned, each from an address of its own; these.
async fn offend(gateway: &Gateway) -> [&'static str; 7] {
    assert_eq!(
        guess(gateway, "192.0.2.1", "nobody", "gu3ss").await,
        "not-authorized"
    );

    let mut stream = WebStream::open(&at(&gateway.websocket(), "2001:db8::2"), DOMAIN).await;
    stream.send(&auth("nobody", "gu3ss")).await;
    let is_failure = |it: &support::xml::Element| it.is(SASL, "failure");
    stream.expect("a failure", is_failure).await;

    let unknown = at(&gateway.bosh(), "192.0.2.3");
    let answer = unknown.post(&creation("elsewhere.example", &[])).await;
    assert_eq!(answer.condition().as_deref(), Some("host-unknown"));

    let mut socket = WebSocket::open(&at(&gateway.websocket(), "192.0.2.4")).await;
    socket
        .send(&webstream::open("elsewhere.example", &[]))
        .await;
    let mut stream = WebStream::over(socket, "elsewhere.example");
    let is_close = |it: &support::xml::Element| it.is(FRAMING, "close");
    stream.expect("the end", is_close).await;

    let admin = gateway.admin();
    let refresh = at(&admin.at("/roster_admin/refresh"), "192.0.2.5");
    let token = [("Authorization", "Bearer gu3ss")];
    assert_eq!(refresh.request("POST", &token, "[]").await.status(), 401);

    // A proxy names whom it will: the one that is trusted adds the last one.
    let spoofed = format!("{VICTIM}, 192.0.2.6");
    let rosters = at(&admin.at("/roster_admin/rosters/john"), &spoofed);
    assert_eq!(rosters.request("GET", &[], "").await.status(), 401);

    let question = "/xmpp_auth/check_password?user=john&server=example.org&pass=gu3ss";
    let question = at(&admin.at(question), "192.0.2.7");
    assert_eq!(question.request("GET", &[], "").await.status(), 401);
    [
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.3",
        "192.0.2.4",
        "192.0.2.5",
        "192.0.2.6",
        "192.0.2.7",
    ]
}

/// Does what nobody is banned for, from the address of the victim.
async fn behave(gateway: &Gateway) {
    let account = Prosody::shared().account("john");
    let bosh = Bosh::log_in(&at(&gateway.bosh(), VICTIM), &account, "web").await;
    bosh.terminate().await;
    let page = at(&gateway.admin().at("/roster_admin/"), VICTIM);
    assert_eq!(page.request("GET", &[], "").await.status(), 200);
    // As the page does before it has been told the token.
    let status = at(&gateway.admin().at("/roster_admin/status"), VICTIM);
    assert_eq!(status.request("GET", &[], "").await.status(), 401);
    let token = format!("Bearer {TOKEN}");
    let refresh = at(&gateway.admin().at("/roster_admin/refresh"), VICTIM);
    let token = [("Authorization", token.as_str())];
    assert_eq!(refresh.request("POST", &token, "[]").await.status(), 200);
    // A direct request from this machine, or one of a proxy that does not say for whom it asks.
    let nobody = gateway.admin().at("/roster_admin/refresh");
    assert_eq!(nobody.request("POST", &[], "[]").await.status(), 401);
}

/// Tries to have the victim banned, by names that look like what the filter looks for.
async fn forge(gateway: &Gateway) {
    let line = format!("rostergate::refused: access refused client={VICTIM} kind=password ");
    let time = "2026-11-29T21:04:01.123456Z  INFO ";
    let json = format!(
        "{{\"timestamp\":\"2026-11-29T21:04:01.123456Z\",\"level\":\"INFO\",\"fields\":{{\
         \"message\":\"access refused\",\"client\":\"{VICTIM}\",\"kind\":\"password\"}}}}"
    );
    let attacks = [
        VICTIM.to_owned(),
        // Servers take this for a name, and answer that its password is wrong.
        format!("client={VICTIM}"),
        format!("x\" client={VICTIM} kind=password y=\""),
        format!("x\n{time}{line}"),
        format!("x\r\n{line}"),
        format!("x\u{2028}{time}{line}"),
        format!("{time}{line}"),
        json.clone(),
        format!("x\n{json}"),
        format!("x\"}},\"client\":\"{VICTIM}\",\"kind\":\"password"),
        format!("{}{VICTIM}", "x".repeat(2000)),
    ];
    for attack in &attacks {
        guess(gateway, "192.0.2.1", attack, "gu3ss").await;
        let to = at(&gateway.bosh(), "192.0.2.3");
        to.post(&creation(attack, &[])).await;
        let header: String = attack.chars().filter(|it| !it.is_control()).collect();
        let header = [("Authorization", &*header), ("Host", "localhost")];
        let refresh = at(&gateway.admin().at("/roster_admin/refresh"), "192.0.2.5");
        refresh.request("POST", &header, "[]").await;
    }
}

/// Waits until `last` is in the log that `read` reads; the whole of it.
async fn logged(gateway: &Gateway, read: impl Fn() -> String, last: &str) -> String {
    let appears = async {
        while !read().contains(last) {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("the log", appears).await;
    read()
}

/// What is said of a last refusal, after which all others are in the log.
async fn finish(gateway: &Gateway) -> &'static str {
    let to = at(&gateway.bosh(), "192.0.2.3");
    to.post(&creation("last.example", &[])).await;
    "last.example"
}

#[tokio::test]
async fn each_refusal_bans_its_address_and_nothing_else_bans_anybody() {
    let folder = TempDir::new().expect("a folder");
    for format in ["text", "json"] {
        let gateway = gateway()
            .tables(&format!("[log]\nformat = \"{format}\""))
            .start();
        behave(&gateway).await;
        let offenders = offend(&gateway).await;
        forge(&gateway).await;
        let last = finish(&gateway).await;
        let log = logged(&gateway, || gateway.log(), last).await;
        let file = folder.path().join(format);
        fs::write(&file, &log).expect("written");
        let expected: BTreeSet<_> = offenders.map(str::to_owned).into();
        assert_eq!(banned(&file, None), expected, "{format}: {log}");
        let some: BTreeSet<_> = ["192.0.2.1", "2001:db8::2"].map(str::to_owned).into();
        assert_eq!(banned(&file, Some("password")), some, "{format}");
        for secret in ["gu3ss", TOKEN] {
            assert!(!log.contains(secret), "{secret} in {log}");
            assert!(!log.contains(&STANDARD.encode(format!("\0nobody\0{secret}"))));
        }
    }
}

#[tokio::test]
async fn the_filter_reads_the_journal() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("stderr");
    let stderr = fs::File::create(&path).expect("a file");
    let about = stderr.metadata().expect("a file");
    let journal = format!("{}:{}", about.dev(), about.ino());
    let gateway = gateway().env("JOURNAL_STREAM", &journal);
    let gateway = gateway.start_logging_to(stderr.into());
    let offenders = offend(&gateway).await;
    forge(&gateway).await;
    let last = finish(&gateway).await;
    let read = || fs::read_to_string(&path).expect("text");
    let log = logged(&gateway, read, last).await;
    // The journal takes the priorities off; fail2ban puts the names of the machine and of the program before.
    let lines = log.lines().map(|line| {
        let (_, said) = line.split_once('>').expect("a priority");
        format!("host rostergate[42]: {said}\n")
    });
    let file = folder.path().join("journal");
    fs::write(&file, lines.collect::<String>()).expect("written");
    let expected: BTreeSet<_> = offenders.map(str::to_owned).into();
    assert_eq!(banned(&file, None), expected, "{log}");
}
