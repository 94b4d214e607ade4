//! `check --probe`: what a new configuration leads to, in words.

use std::{fs, process::Command};

use serde_json::json;
use support::{
    backend::{Backend, Fault},
    client::Account,
    gateway::{Builder, Gateway},
    prosody::{Prosody, TOKEN},
    rostergate,
    xml::{SASL, STREAMS},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// What it says of this configuration and user, and whether all is well.
async fn probe(gateway: Builder, user: &str, password: Option<&str>) -> (String, bool) {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("rostergate.toml");
    fs::write(&config, gateway.config()).expect("can be written");
    let mut check = Command::new(rostergate());
    check
        .args(["check", "--probe", user, "--config"])
        .arg(config);
    check.env_remove("ROSTERGATE_PROBE_PASSWORD");
    if let Some(password) = password {
        check.env("ROSTERGATE_PROBE_PASSWORD", password);
    }
    // The backend runs in this process.
    let output = tokio::task::spawn_blocking(move || check.output());
    let output = output.await.expect("no panic").expect("it can be run");
    let said = String::from_utf8(output.stdout).expect("text");
    (said, output.status.success())
}

fn site(account: &Account) -> Backend {
    let backend = Backend::start();
    backend.set(
        &account.local,
        json!({ "marie@example.org": {}, "paul@example.org": {} }),
    );
    backend
}

#[tokio::test]
async fn all_is_well() {
    let prosody = Prosody::shared();
    let john = prosody.account("john");
    let backend = site(&john);
    let gateway = || Gateway::builder(prosody).backend(&backend);
    let (said, is_well) = probe(gateway(), &john.jid(), Some(&john.password)).await;
    assert!(is_well, "{said}");
    for expected in [
        "example.org\n",
        "XMPP server connected without TLS; logins by ",
        &format!("logged in as {}/", john.jid()),
        "stream management: nothing is lost",
        &format!("/contacts/{}: 2 contacts", john.local),
    ] {
        assert!(said.contains(expected), "{expected:?} in {said}");
    }

    let (said, is_well) = probe(gateway(), &john.local, None).await;
    assert!(is_well, "{said}");
    assert!(said.contains("not logged in; "), "{said}");
}

/// What is said of a server that has these stream features. A fake: no real one has them.
async fn probe_features(features: String) -> (String, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let greeting = format!(
            "<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' id='1' from='example.org' version='1.0'>\
             <stream:features>{features}</stream:features>"
        );
        let sent = stream.write_all(greeting.as_bytes()).await;
        sent.expect("it is read");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    };
    let server = tokio::spawn(server);
    let gateway = Gateway::builder(Prosody::shared()).upstream(&format!("xmpp://{address}"));
    let found = probe(gateway, "john", None).await;
    server.abort();
    found
}

/// Whatever a server says of itself, it cannot say that all is well.
#[tokio::test]
async fn a_server_does_not_write_lines_of_its_own() {
    let name = format!("PLAIN\n  ok: logged in\u{9b}31m{}", "X".repeat(9000));
    let features = format!("<mechanisms xmlns='{SASL}'><mechanism>{name}</mechanism></mechanisms>");
    let (said, _) = probe_features(features).await;
    assert!(said.contains("logins by PLAIN\\n"), "{said}");
    assert!(!said.contains("\n  ok: logged in"), "{said}");
    assert!(!said.contains('\u{9b}') && said.len() < 2000, "{said}");
}

#[tokio::test]
async fn a_server_at_which_nobody_can_log_in_is_not_well() {
    let cures = [
        "allow_unencrypted_plain_auth = true",
        "the module that authentication names",
    ];
    let prosody = Prosody::builder()
        .option("authentication = \"missing\"")
        .start();
    let (said, is_well) = probe(Gateway::builder(&prosody), "john", None).await;
    let none = probe_features(format!("<mechanisms xmlns='{SASL}'/>")).await;
    for (expected, said, is_well) in [
        (
            "FAILED: XMPP server: stream error undefined-condition",
            said,
            is_well,
        ),
        (
            "FAILED: XMPP server connected without TLS, and offers no login",
            none.0,
            none.1,
        ),
    ] {
        assert!(!is_well, "{said}");
        for expected in cures.into_iter().chain([expected]) {
            assert!(said.contains(expected), "{expected:?} in {said}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_cure() {
    let prosody = Prosody::builder().tls();
    let prosody =
        prosody.option("modules_disabled = { \"smacks\" }\nc2s_require_encryption = true");
    let prosody = prosody.start();
    let john = prosody.account("john");
    let backend = Backend::start();
    let page = Fault::Answer {
        content_type: "text/html",
        body: "<html><title>Log in</title>".into(),
    };
    backend.fail(&john.local, page);
    let gateway = |tls: &str| {
        let gateway = Gateway::builder(&prosody).backend(&backend);
        gateway.host(&format!("upstream_tls = \"{tls}\""))
    };
    for (tls, password, expected) in [
        (
            "plain",
            None,
            ["server requires STARTTLS", "c2s_require_encryption = false"],
        ),
        (
            "verify",
            None,
            [
                "certificate of example.org comes from an unknown issuer",
                "upstream_ca",
            ],
        ),
        (
            "insecure",
            Some("wrong"),
            ["refused the login: not-authorized", "another password"],
        ),
        (
            "insecure",
            Some(&*john.password),
            ["no stream management", "enable the module smacks"],
        ),
    ] {
        let (said, is_well) = probe(gateway(tls), &john.local, password).await;
        assert!(!is_well, "{said}");
        for expected in expected
            .iter()
            .chain(&["FAILED: http://", "HTML, \"Log in\"", "curl"])
        {
            assert!(said.contains(expected), "{expected:?} in {said}");
        }
        assert!(!said.contains(&*john.password), "{said}");
    }
}

/// Such a server has no TLS to offer.
#[tokio::test]
async fn a_server_without_a_certificate_is_recognized() {
    let prosody = Prosody::shared();
    let john = prosody.account("john");
    let gateway = Gateway::builder(prosody).host("upstream_tls = \"verify\"");
    let (said, is_well) = probe(gateway, &john.local, None).await;
    assert!(!is_well, "{said}");
    for expected in [
        "it may have no certificate for this domain",
        "c2s_require_encryption = false",
    ] {
        assert!(said.contains(expected), "{expected:?} in {said}");
    }
}

#[tokio::test]
async fn the_list_in_the_server_is_tried_too() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let backend = site(&john);
    backend.set("nobody", json!({}));
    for (path, token, user, expected) in [
        (
            "rostergate",
            TOKEN,
            &*john.local,
            ["  ok: list in the XMPP server: 0 contacts", ""],
        ),
        (
            "rostergate",
            "wrong",
            &john.local,
            ["does not let the gateway in", "rostergate_token"],
        ),
        (
            "elsewhere",
            TOKEN,
            &john.local,
            ["it answered 404 to GET", "enable the module rostergate"],
        ),
        (
            "rostergate",
            TOKEN,
            "nobody",
            ["has no such account", "who has an account"],
        ),
    ] {
        let url = format!("http://{}/{path}", prosody.bosh().address);
        let lines = format!(
            "rosters = \"server\"\nwriter = \"prosody\"\nwriter_url = \"{url}\"\nwriter_token = \"{token}\""
        );
        let gateway = Gateway::builder(prosody).backend(&backend).host(&lines);
        let (said, is_well) = probe(gateway, user, None).await;
        assert_eq!(is_well, expected[1].is_empty(), "{said}");
        for expected in expected {
            assert!(said.contains(expected), "{expected:?} in {said}");
        }
    }
}
