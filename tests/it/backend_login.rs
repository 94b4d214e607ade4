//! How the gateway introduces itself to a backend, and trusts it; and that nobody reads passwords and keys in its log.

use std::fs;

use serde_json::{Value, json};

use support::{
    backend::{Backend, Fault},
    client::Account,
    files::{Files, PASSWORD, USER},
    gateway::Gateway,
    http::Response,
    prosody::Prosody,
    within,
};

/// As an administrator would write it.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn start(url: &str, lines: &[&str]) -> Gateway {
    let gateway = Gateway::builder(Prosody::shared());
    let gateway = gateway.host(&format!("http_roster_url = \"{url}\""));
    let gateway = lines
        .iter()
        .fold(gateway, |gateway, line| gateway.host(line));
    // All that libraries say, too.
    gateway.env("ROSTERGATE_LOG", "trace").start()
}

async fn refresh(gateway: &Gateway, user: &Account) -> Response {
    let refresh = gateway.admin().at("/roster_admin/refresh");
    let body = json!([user.local]).to_string();
    refresh.request("POST", &[], &body).await
}

/// Has the configuration read again after a change, and waits until it is in use.
async fn reload(gateway: &Gateway, from: &str, to: &str) {
    const DONE: &str = "configuration reloaded";
    let config = fs::read_to_string(gateway.config_path()).expect("a file");
    assert!(config.contains(from), "{from} in {config}");
    fs::write(gateway.config_path(), config.replace(from, to)).expect("written");
    let before = gateway.log().matches(DONE).count();
    gateway.signal("HUP");
    let done = async {
        while gateway.log().matches(DONE).count() == before {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("a reload", done).await;
}

#[tokio::test]
async fn nginx_lets_the_gateway_in_by_user_and_password() {
    let files = Files::start();
    let by_url = files.private_url(&format!("{}:{}@", encoded(USER), encoded(PASSWORD)));
    let user = format!("backend_user = \"{USER}\"");
    let password = format!("backend_password = \"{PASSWORD}\"");
    for (url, lines) in [
        (by_url, &[][..]),
        (files.private_url(""), &[&*user, &*password]),
    ] {
        let gateway = start(&url, lines);
        let john = Prosody::shared().account("john");
        files.set(&john.local, &json!({ "marie@example.org": {} }));
        let mut client = gateway.login(&john, "web").await;
        assert_eq!(client.roster().await.len(), 1, "{url}");

        // The password is changed, and the gateway is told.
        let [old, new] = match lines {
            [] => [encoded(PASSWORD), encoded("wrong")],
            _ => [
                password.clone(),
                "backend_password_file = \"secret\"".to_owned(),
            ],
        };
        let secret = gateway.config_path().with_file_name("secret");
        fs::write(&secret, "wrong").expect("a writable folder");
        reload(&gateway, &old, &new).await;
        assert_eq!(refresh(&gateway, &john).await.status(), 500, "{url}");
        fs::write(&secret, format!("{PASSWORD}\n")).expect("a writable folder");
        let again = if lines.is_empty() { &old } else { &new };
        reload(&gateway, &new, again).await;
        assert_eq!(refresh(&gateway, &john).await.status(), 200, "{url}");
    }
}

#[tokio::test]
async fn nginx_is_trusted_by_the_authority_that_the_configuration_names() {
    let files = Files::start();
    let john = Prosody::shared().account("john");
    files.set(&john.local, &json!({ "marie@example.org": {} }));
    let ca = concat!(
        "backend_ca = \"",
        env!("CARGO_MANIFEST_DIR"),
        "/certs/ca.crt\""
    );
    let gateway = start(&files.https_url(), &[ca]);
    let mut client = gateway.login(&john, "web").await;
    assert_eq!(client.roster().await.len(), 1);

    // The system does not know this authority.
    reload(&gateway, ca, "").await;
    let answer = refresh(&gateway, &john).await;
    assert_eq!(answer.status(), 500);
    let reason = "no trusted TLS connection to the backend";
    assert!(answer.text().contains(reason), "{}", answer.text());
}

#[tokio::test]
async fn the_host_header_is_what_the_configuration_says() {
    let backend = Backend::start();
    let john = Prosody::shared().account("john");
    backend.set(&john.local, json!({}));
    let userinfo = backend.url().replace("http://", "http://site:swordfish@");
    let address = backend.address().to_string();
    for (lines, host) in [
        (&[][..], &*address),
        (
            &["backend_host = \"www.example.org:8443\""],
            "www.example.org:8443",
        ),
    ] {
        let gateway = start(&userinfo, lines);
        let mut client = gateway.login(&john, "web").await;
        client.roster().await;
        let request = backend.requests().pop().expect("a request");
        assert_eq!(request.header("host"), Some(host));
        assert_eq!(request.target, format!("/contacts/{}", john.local));
        // site:swordfish
        let basic = Some("Basic c2l0ZTpzd29yZGZpc2g=");
        assert_eq!(request.header("authorization"), basic);
    }
}

/// Whatever goes wrong, and however much is logged.
#[tokio::test]
async fn no_password_and_no_key_is_logged_or_shown() {
    let backend = Backend::start();
    let john = Prosody::shared().account("john");
    backend.set(&john.local, json!({ "marie@example.org": {} }));
    let url = backend.url().replace("http://", "http://site:swordfish@") + "?key=hunter2";
    let gateway = start(&url, &[]);
    let mut client = gateway.login(&john, "web").await;
    assert_eq!(client.roster().await.len(), 1);
    assert_eq!(refresh(&gateway, &john).await.status(), 200);
    let shown = format!("/roster_admin/rosters/{}", john.local);
    let shown = gateway.admin().at(&shown).request("GET", &[], "").await;
    let answer: Value = serde_json::from_str(shown.text()).expect("JSON");
    let expected = format!("http://{}/contacts/{}", backend.address(), john.local);
    assert_eq!(answer["url"], expected);
    let mut said = shown.text().to_owned();
    for fault in [
        Fault::Status(500),
        Fault::Drop,
        Fault::Redirect("http://site:swordfish@localhost/?key=hunter2".to_owned()),
    ] {
        backend.fail(&john.local, fault);
        said += refresh(&gateway, &john).await.text();
    }
    let redirect = ", a redirect to http://…@localhost/?…";
    assert!(said.contains(redirect), "{said}");
    drop(backend);
    said += refresh(&gateway, &john).await.text();

    // A reload that is refused.
    let config = fs::read_to_string(gateway.config_path()).expect("a file");
    let wrong = config.replace("/contacts/%s", ":99999/contacts/%s");
    fs::write(gateway.config_path(), wrong).expect("written");
    gateway.signal("HUP");
    let refused = async {
        while !gateway.log().contains("configuration not reloaded") {
            gateway.bosh().request("GET", &[], "").await;
        }
    };
    within("a refusal", refused).await;

    let status = gateway.admin().at("/roster_admin/status");
    said += status.request("GET", &[], "").await.text();
    said += &gateway.log();
    for secret in ["swordfish", "hunter2", "c2l0ZTpzd29yZGZpc2g"] {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
