//! TLS as other people's programs see it: `openssl s_client`, `curl`; and what a reload changes.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use support::{
    gateway::{Builder, Gateway},
    prosody::Prosody,
    within,
    xml::message,
};

use crate::{
    browser::{Connection, Session},
    site::Site,
};

/// Certificates of a test's own, by the script that people are told to use.
struct Certificates(TempDir);

impl Certificates {
    fn make(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make.sh");
        let made = run(Command::new(script).arg(folder.path()).args(names));
        assert!(made.status.success(), "{made:?}");
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The value of a key that names one of the files.
    fn quoted(&self, name: &str) -> String {
        format!("{:?}", self.file(name))
    }

    /// Two lines of `[server]`.
    fn default_pair(&self, name: &str) -> String {
        let (chain, key) = (
            self.quoted(&format!("{name}.crt")),
            self.quoted(&format!("{name}.key")),
        );
        format!("certificate = {chain}\nprivate_key = {key}")
    }

    /// A `[[certificate]]`.
    fn pair(&self, name: &str) -> String {
        let (chain, key) = (
            self.quoted(&format!("{name}.crt")),
            self.quoted(&format!("{name}.key")),
        );
        format!("\n[[certificate]]\nchain = {chain}\nprivate_key = {key}\n")
    }

    /// Replaces the pair of one name by that of another.
    fn overwrite(&self, name: &str, by: &str) {
        for extension in ["crt", "key"] {
            let file = |name: &str| self.file(&format!("{name}.{extension}"));
            fs::copy(file(by), file(name)).expect("copied");
        }
    }
}

/// What a program says, which has no input and a deadline.
fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{name}: {error}; `make deps` installs it"))
}

fn openssl(to: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["10", "openssl", "s_client", "-connect", &to.to_string()]);
    let output = run(command.args(arguments));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said + &String::from_utf8_lossy(&output.stderr)
}

/// The name of the certificate that is shown to who asks for `name`.
fn shown(to: SocketAddr, name: Option<&str>) -> String {
    let said = match name {
        Some(name) => openssl(to, &["-servername", name]),
        None => openssl(to, &["-noservername"]),
    };
    let subject = said.lines().find_map(|line| line.strip_prefix("subject="));
    let name = subject.and_then(|subject| subject.rsplit_once(' '));
    name.unwrap_or_else(|| panic!("no subject in {said}"))
        .1
        .to_owned()
}

/// What curl says of a request: exit status, then what `-w` asks for, and the body.
fn curl(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "10"]);
    let output = run(command.args(arguments));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

fn https() -> Builder {
    Gateway::builder(Prosody::shared()).server("listen_tls = ['127.0.0.1:0']")
}

/// Sends `HUP` and waits until the gateway has dealt with it.
async fn reload(gateway: &Gateway, outcome: &str) {
    let before = gateway.log().matches(outcome).count();
    gateway.signal("HUP");
    let happens = async {
        while gateway.log().matches(outcome).count() == before {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within(outcome, happens).await;
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let certificates = Certificates::make(&["one.example", "two.example"]);
    let gateway = https()
        .server(&certificates.default_pair("one.example"))
        .tables(&certificates.pair("two.example"))
        .start();
    let https = gateway.https();
    for (asked, expected) in [
        (Some("one.example"), "one.example"),
        (Some("www.one.example"), "one.example"),
        (Some("two.example"), "two.example"),
        (Some("www.TWO.example"), "two.example"),
        (Some("a.www.two.example"), "one.example"),
        (Some("three.example"), "one.example"),
        (None, "one.example"),
    ] {
        assert_eq!(shown(https, asked), expected, "{asked:?}");
    }
    // And whoever checks is content.
    let ca = certificates.file("ca.crt");
    for name in ["one.example", "two.example", "www.two.example"] {
        let resolve = format!("{name}:{}:127.0.0.1", https.port());
        let url = format!("https://{name}:{}/http-bind", https.port());
        let ca = ca.to_str().expect("text");
        let (status, said) = curl(&["--cacert", ca, "--resolve", &resolve, &url]);
        assert_eq!(status, Some(0), "{name}: {said}");
        assert!(said.contains("BOSH"), "{name}: {said}");
    }
}

#[tokio::test]
async fn certificates_may_all_stand_in_tables() {
    let certificates = Certificates::make(&["one.example", "two.example"]);
    let gateway = https()
        .tables(&certificates.pair("two.example"))
        .tables(&certificates.pair("one.example"))
        .start();
    assert_eq!(shown(gateway.https(), Some("one.example")), "one.example");
    assert_eq!(shown(gateway.https(), None), "two.example");
}

#[tokio::test]
async fn a_reload_shows_other_certificates_and_keeps_sessions() {
    let certificates = Certificates::make(&["one.example", "two.example", "new.example"]);
    let prosody = Prosody::shared();
    let test_pair = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/localhost");
    for extension in ["crt", "key"] {
        let to = certificates.file(&format!("localhost.{extension}"));
        fs::copy(test_pair.with_extension(extension), to).expect("copied");
    }
    let gateway = https()
        .server(&certificates.default_pair("localhost"))
        .tables(&certificates.pair("one.example"))
        .start();
    let https = gateway.https();
    let connection = Connection::open(https).await;
    let account = prosody.account("john");
    let mut web = Session::log_in(&connection, &account, "web").await;
    let mut desk = prosody.contact("marie").await;
    let held = web.send(&connection, &message(&desk.jid, "before")).await;
    desk.expect_message("before").await;
    assert_eq!(shown(https, Some("one.example")), "one.example");
    assert_ne!(shown(https, Some("two.example")), "two.example");

    // A pair comes in, one goes, and the file of the first has been renewed.
    let config = fs::read_to_string(gateway.config_path()).expect("the configuration");
    let changed = config.replace(
        &certificates.pair("one.example"),
        &certificates.pair("two.example"),
    );
    assert_ne!(changed, config);
    fs::write(gateway.config_path(), &changed).expect("written");
    certificates.overwrite("localhost", "new.example");
    reload(&gateway, "configuration reloaded").await;
    assert_eq!(shown(https, Some("two.example")), "two.example");
    assert_eq!(shown(https, Some("one.example")), "new.example");

    // What began before goes on: the request that is held, its connection, its session.
    desk.send_message(&format!("{}/web", account.jid()), "across");
    let answer = held.response().await;
    assert!(answer.text().contains("across"), "{answer:?}");
    let after = web.send(&connection, &message(&desk.jid, "after")).await;
    desk.expect_message("after").await;
    after.reset();
}

#[tokio::test]
async fn a_broken_certificate_changes_nothing_and_is_named() {
    let certificates = Certificates::make(&["one.example", "two.example", "new.example"]);
    let gateway = https()
        .server(&certificates.default_pair("one.example"))
        .tables(&certificates.pair("two.example"))
        .start();
    let https = gateway.https();
    // The first is renewed in good order, the second is not.
    certificates.overwrite("one.example", "new.example");
    for (file, contents, complaint) in [
        ("two.example.crt", "half a cert", "no usable certificate"),
        ("two.example.key", "", "no usable private key"),
    ] {
        let path = certificates.file(file);
        let whole = fs::read(&path).expect("it was made");
        fs::write(&path, contents).expect("written");
        reload(&gateway, "configuration not reloaded").await;
        let log = gateway.log();
        let refusal = log.lines().rfind(|line| line.contains("not reloaded"));
        let refusal = refusal.expect("just waited for");
        assert!(refusal.contains("ERROR"), "{refusal}");
        assert!(refusal.contains(file), "{file} in {refusal}");
        assert!(refusal.contains(complaint), "{complaint} in {refusal}");
        assert!(refusal.contains("rostergate.toml:"), "{refusal}");
        assert_eq!(shown(https, Some("two.example")), "two.example");
        assert_eq!(shown(https, None), "one.example", "all or nothing");
        fs::write(&path, whole).expect("written");
    }
    reload(&gateway, "configuration reloaded").await;
    assert_eq!(shown(https, None), "new.example");
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let certificates = Certificates::make(&["one.example"]);
    let gateway = https()
        .server(&certificates.default_pair("one.example"))
        .start();
    let https = gateway.https();
    for (option, version, suite) in [
        ("-tls1_2", "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("-tls1_3", "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ] {
        let said = openssl(https, &[option]);
        let expected = format!("New, TLSv1.3, Cipher is {suite}");
        let expected = expected.replace("TLSv1.3, C", &format!("{version}, C"));
        assert!(said.contains(&expected), "{said}");
    }
    // Without the lower level of security, openssl itself would refuse to ask.
    for option in ["-tls1", "-tls1_1"] {
        let said = openssl(https, &[option, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.contains("SSL alert number"), "{option}: {said}");
        assert!(said.contains("Cipher is (NONE)"), "{option}: {said}");
    }
    // No CBC, no key exchange without forward secrecy.
    for suite in [
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-ECDSA-AES128-SHA",
        "AES128-SHA",
    ] {
        let cipher = format!("{suite}:@SECLEVEL=0");
        let said = openssl(https, &["-tls1_2", "-cipher", &cipher]);
        assert!(said.contains("alert handshake failure"), "{suite}: {said}");
    }
}

#[tokio::test]
async fn curl_speaks_http_2_and_http_1_1() {
    let certificates = Certificates::make(&["one.example"]);
    let gateway = https()
        .server(&certificates.default_pair("one.example"))
        .start();
    let port = gateway.https().port();
    let ca = certificates.file("ca.crt");
    let url = format!("https://one.example:{port}/http-bind");
    let resolve = format!("one.example:{port}:127.0.0.1");
    for (option, expected) in [("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        let said = curl(&[
            option,
            "--cacert",
            ca.to_str().expect("text"),
            "--resolve",
            &resolve,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version} %{response_code}",
            &url,
        ]);
        assert_eq!(said, (Some(0), expected.to_owned()), "{option}");
    }
    let said = openssl(gateway.https(), &["-alpn", "spdy/3"]);
    assert!(said.contains("alert no application protocol"), "{said}");
}

/// A gateway that lets callers with a certificate into the admin API, and how curl gets there.
struct Mutual {
    site: Site,
    certificates: Certificates,
    address: SocketAddr,
}

impl Mutual {
    fn start(with: impl FnOnce(Builder, &Certificates) -> Builder) -> Self {
        let certificates = Certificates::make(&["one.example"]);
        let site = Site::with(Prosody::shared(), |gateway| {
            let gateway = gateway.server(&certificates.default_pair("one.example"));
            let ca = certificates.quoted("ca.crt");
            with(gateway.admin(&format!("client_ca = {ca}")), &certificates)
        });
        let address = site.gateway.https();
        Self {
            site,
            certificates,
            address,
        }
    }

    /// Status of curl and of the answer.
    fn request(&self, path: &str, more: &[&str]) -> (Option<i32>, String) {
        let port = self.address.port();
        let url = format!("https://one.example:{port}{path}");
        let resolve = format!("one.example:{port}:127.0.0.1");
        let ca = self.certificates.file("ca.crt");
        let mut arguments = vec![
            "--cacert",
            ca.to_str().expect("text"),
            "--resolve",
            &resolve,
        ];
        arguments.extend(["--output", "/dev/null", "--write-out", "%{response_code}"]);
        arguments.extend(more);
        arguments.push(&url);
        curl(&arguments)
    }

    fn post(&self, more: &[&str]) -> (Option<i32>, String) {
        let more: Vec<_> = ["--data", "[]"].iter().chain(more).copied().collect();
        self.request("/roster_admin/refresh", &more)
    }

    /// With the pair of that name from these certificates.
    fn post_as(&self, certificates: &Certificates, name: &str) -> (Option<i32>, String) {
        let file = |extension| certificates.file(&format!("{name}.{extension}"));
        let (certificate, key) = (file("crt"), file("key"));
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        self.post(&["--cert", &text(&certificate), "--key", &text(&key)])
    }
}

fn is_refused((exit, status): &(Option<i32>, String)) -> bool {
    // The alert comes when curl connects, or with TLS 1.3 when it reads.
    *exit != Some(0) && status == "000"
}

fn answered(status: &str) -> (Option<i32>, String) {
    (Some(0), status.to_owned())
}

#[tokio::test]
async fn a_client_certificate_opens_the_admin_api() {
    let mutual = Mutual::start(|gateway, _| gateway.server("listen_tls = ['127.0.0.1:0']"));
    let own = &mutual.certificates;
    assert_eq!(mutual.post_as(own, "client"), answered("200"));
    assert_eq!(mutual.post(&[]), answered("403"), "without any");
    let plain = mutual.site.post("[]").await;
    assert_eq!(plain.status(), 403, "nor this machine without TLS");
    let strangers = Certificates::make(&["evil.example"]);
    let refused = mutual.post_as(&strangers, "client");
    assert!(is_refused(&refused), "of another authority: {refused:?}");
    let refused = mutual.post_as(own, "one.example");
    assert!(is_refused(&refused), "that of a server: {refused:?}");
    // Browsers have none, and are served.
    assert_eq!(mutual.request("/http-bind", &[]), answered("200"));
    // TLS 1.2 and HTTP/1.1 make no difference.
    let (certificate, key) = (own.file("client.crt"), own.file("client.key"));
    let (certificate, key) = (certificate.to_str(), key.to_str());
    let shown = [
        "--cert",
        certificate.expect("text"),
        "--key",
        key.expect("text"),
    ];
    let older = [&shown[..], &["--tls-max", "1.2", "--http1.1"]].concat();
    assert_eq!(mutual.post(&older), answered("200"));
}

#[tokio::test]
async fn a_certificate_or_a_token_will_do() {
    let mutual = Mutual::start(|gateway, _| {
        gateway
            .server("listen_tls = ['127.0.0.1:0']")
            .admin("token = 's3cret'")
            .admin("client_names = ['somebody.else']")
    });
    let own = &mutual.certificates;
    assert_eq!(mutual.post_as(own, "client"), answered("401"), "not named");
    let token = ["--header", "Authorization: Bearer s3cret"];
    assert_eq!(mutual.post(&token), answered("200"));
    let path = mutual.site.gateway.config_path();
    let config = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, config.replace("somebody.else", "backend")).expect("written");
    reload(&mutual.site.gateway, "configuration reloaded").await;
    assert_eq!(mutual.post_as(own, "client"), answered("200"), "named now");
    assert_eq!(mutual.post(&[]), answered("401"), "neither");
}

#[tokio::test]
async fn the_admin_api_can_have_https_of_its_own() {
    let mut mutual = Mutual::start(|gateway, _| {
        gateway
            .server("listen_tls = ['127.0.0.1:0']")
            .admin("listen_tls = '127.0.0.1:0'")
    });
    let web = mutual.address;
    assert_eq!(
        mutual.post_as(&mutual.certificates, "client"),
        answered("404")
    );
    // There, nobody is even asked.
    let asked = "Acceptable client certificate CA names";
    assert!(!openssl(web, &[]).contains(asked));
    mutual.address = mutual.site.gateway.admin_https();
    assert!(openssl(mutual.address, &[]).contains(asked));
    assert_eq!(
        mutual.post_as(&mutual.certificates, "client"),
        answered("200")
    );
    assert_eq!(mutual.post(&[]), answered("403"));
    assert_eq!(mutual.request("/http-bind", &[]), answered("404"));
}

#[tokio::test]
async fn a_certificate_that_no_longer_counts_is_of_no_use_to_an_old_connection() {
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let file = |name: &str| format!("{:?}", certs.join(name));
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway
            .server("listen_tls = ['127.0.0.1:0']")
            .server(&format!("certificate = {}", file("localhost.crt")))
            .server(&format!("private_key = {}", file("localhost.key")))
            .admin(&format!("client_ca = {}", file("ca.crt")))
    });
    let connection = Connection::open_as(site.gateway.https(), "client").await;
    let refresh = async || {
        let sent = connection.post("/roster_admin/refresh", &[], "[]").await;
        sent.response().await.status()
    };
    assert_eq!(refresh().await, 200);
    let strangers = Certificates::make(&["evil.example"]);
    let path = site.gateway.config_path();
    let config = fs::read_to_string(&path).expect("the configuration");
    let changed = config.replace(&file("ca.crt"), &strangers.quoted("ca.crt"));
    assert_ne!(changed, config);
    fs::write(&path, changed).expect("written");
    reload(&site.gateway, "configuration reloaded").await;
    assert_eq!(refresh().await, 403);
    connection.assert_open();
}
