//! Clients that know only the domain (XEP-0156).

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use support::{
    gateway::{Builder, Gateway},
    prosody::Prosody,
};

/// What the documents say: with characters that XML and JSON write in their own ways.
const URL: &str = "https://chat.example.org/http-bind?for='us'&in=\"town\"";
const XRD: &str = "http://docs.oasis-open.org/ns/xri/xrd-1.0";
const WEBSOCKET: &str = "urn:xmpp:alt-connections:websocket";
const WEBSOCKET_URL: &str = "wss://chat.example.org/xmpp-websocket";
const BOSH: &str = "urn:xmpp:alt-connections:xbosh";
const PATHS: [&str; 2] = ["/.well-known/host-meta", "/.well-known/host-meta.json"];

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.to_str().expect("text").to_owned()
}

fn telling(url: &str) -> Builder {
    let table = format!("[discovery]\nbosh_url = '''{url}'''\nwebsocket_url = '{WEBSOCKET_URL}'");
    Gateway::builder(Prosody::shared()).tables(&table)
}

#[tokio::test]
async fn the_documents_say_where_the_fronts_are_websocket_first() {
    let url = URL.replace('"', "%22");
    let gateway = telling(&url).start();
    let [xml, json] = PATHS.map(|path| gateway.bosh().at(path));
    let origin = [("Origin", "https://elsewhere.example")];

    let answer = xml.request("GET", &origin, "").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("application/xrd+xml"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let document = answer.xml();
    assert!(document.is(XRD, "XRD"), "{document:?}");
    let links: Vec<_> = document
        .children()
        .map(|link| (link.attr("rel"), link.attr("href")))
        .collect();
    let expected = [(WEBSOCKET, WEBSOCKET_URL), (BOSH, &*url)];
    assert_eq!(links, expected.map(|(rel, url)| (Some(rel), Some(url))));

    let answer = json.request("GET", &origin, "").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let document: Value = serde_json::from_str(answer.text()).expect("JSON");
    let links = expected.map(|(rel, url)| json!({ "rel": rel, "href": url }));
    assert_eq!(document, json!({ "links": links }));

    for endpoint in [xml, json] {
        let answer = endpoint.request("POST", &origin, "").await;
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
}

/// stanza.js, as an application asks it to look.
#[tokio::test]
async fn clients_find_the_way_from_the_domain() {
    let pair = format!(
        "listen_tls = ['127.0.0.1:0']\ncertificate = '{}'\nprivate_key = '{}'",
        repository("certs/localhost.crt"),
        repository("certs/localhost.key"),
    );
    let url = "https://chat.example.org/http-bind";
    let gateway = telling(url).server(&pair).start();
    let script = "const domain = process.argv[1];
        const client = require('stanza').createClient({});
        client.discoverBindings(domain).then((found) => console.log(JSON.stringify(found)));";
    let node = Command::new("node")
        .args([
            "-e",
            script,
            &format!("localhost:{}", gateway.https().port()),
        ])
        .env("NODE_EXTRA_CA_CERTS", repository("certs/ca.crt"))
        .current_dir(repository("tests/clients"))
        .stdin(Stdio::null())
        .output()
        .expect("scripts/deps.sh test installs node");
    let complaints = String::from_utf8_lossy(&node.stderr);
    let found: Value = serde_json::from_slice(&node.stdout).unwrap_or_else(|error| {
        panic!("{error}; scripts/deps.sh test installs stanza.js: {complaints}")
    });
    assert_eq!(
        found,
        json!({ "bosh": [url], "websocket": [WEBSOCKET_URL] }),
        "{complaints}"
    );
}

#[tokio::test]
async fn without_being_asked_to_nothing_is_told() {
    let gateway = Gateway::start(Prosody::shared());
    let apart = telling("https://chat.example.org/http-bind").admin("listen = \"127.0.0.1:0\"");
    let apart = apart.start();
    for path in PATHS {
        let answer = gateway.bosh().at(path).request("GET", &[], "").await;
        assert_eq!(answer.status(), 404, "{path}");
        let answer = apart.admin().at(path).request("GET", &[], "").await;
        assert_eq!(answer.status(), 404, "not where only the admin API is");
    }
}
