//! The admin API on the wire: what the site's backend may send, and what it hears.

use std::path::Path;

use serde_json::{Value, json};
use tokio::task::yield_now;

use support::{
    DEADLINE,
    backend::Fault,
    gateway::Gateway,
    http::{Connection, Endpoint, Response},
    process::Process,
    prosody::Prosody,
    within,
};

use crate::site::{Site, item};

fn summary(response: &Response) -> Value {
    serde_json::from_str(response.text()).expect("JSON")
}

fn refresh(site: &Site) -> Endpoint {
    site.gateway.admin().at("/roster_admin/refresh")
}

/// An array of names that fills this many bytes, and how many they are.
fn long_array(bytes: usize) -> (String, usize) {
    let names = bytes / r#""nobody","#.len();
    (json!(vec!["nobody"; names]).to_string(), names)
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let site = Site::new();
    let john = site.member("john");
    let mut client = site.online(&john, "web").await;
    let types = [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
    ];
    let body = json!([john.local]).to_string();
    for (number, content_type) in types.iter().enumerate() {
        let contact = format!("c{number}@example.org");
        let contacts = json!({ (contact.clone()): {} });
        site.backend.set(&john.local, contacts);
        let headers = [("Content-Type", *content_type)];
        let answer = refresh(&site).request("POST", &headers, &body).await;
        assert_eq!(answer.status(), 200, "{content_type}");
        assert!(client.roster().await.contains_key(&contact));
    }
}

#[tokio::test]
async fn arrays_are_read_up_to_a_stated_limit() {
    let site = Site::new();
    for bytes in [2 << 20, 11 << 20] {
        let answer = site.post(&long_array(bytes).0).await;
        assert_eq!(answer.status(), 413, "{bytes}");
        let message = "body is larger than 1048576 bytes";
        let expected = json!({ "status": "error", "message": message });
        assert_eq!(summary(&answer), expected);
    }
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.admin("max_body = \"4MiB\"")
    });
    let (array, names) = long_array(2 << 20);
    let answer = site.post(&array).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(summary(&answer)["updated"], json!(names));
}

#[tokio::test]
async fn one_path_takes_arrays_and_no_other() {
    let site = Site::new();
    let john = site.member("john");
    let _client = site.online(&john, "web").await;
    let body = json!([john.local]).to_string();
    for (path, status, fetches) in [
        ("/roster_admin/refresh?x=1", 200, 2),
        ("/roster_admin/refresh/", 404, 2),
        ("//roster_admin/refresh", 404, 2),
        ("/roster_admin", 404, 2),
        ("/roster_admin/nope", 404, 2),
        ("/nope", 404, 2),
        ("/roster_admin/refresh/nobody", 405, 2),
    ] {
        let answer = site.gateway.admin().at(path);
        let answer = answer.request("POST", &[], &body).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(site.backend.fetches(&john.local), fetches, "{path}");
    }
}

#[tokio::test]
async fn a_request_without_a_host_is_for_the_only_one() {
    let site = Site::new();
    let mut connection = Connection::open(&refresh(&site)).await;
    let head = "POST /roster_admin/refresh HTTP/1.0\r\nContent-Length: 10\r\n\r\n";
    let request = format!("{head}[\"nobody\"]");
    connection.write(request.as_bytes()).await;
    let answer = connection.response().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(summary(&answer)["updated"], json!(1));
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_such() {
    let site = Site::new();
    for coding in ["gzip", "identity, gzip", "br", "x-unheard-of"] {
        let headers = [("Content-Encoding", coding)];
        let answer = refresh(&site)
            .request("POST", &headers, "\u{1f}\u{8b}")
            .await;
        assert_eq!(answer.status(), 415, "{coding}");
        assert_eq!(answer.header("accept-encoding"), Some("identity"));
        let message = "body is compressed, which is not understood here: send it as it is";
        let expected = json!({ "status": "error", "message": message });
        assert_eq!(summary(&answer), expected, "{coding}");
    }
    for coding in ["", "identity", "identity, Identity"] {
        let headers = [("Content-Encoding", coding), ("Content-Encoding", coding)];
        let answer = refresh(&site)
            .request("POST", &headers, "[\"nobody\"]")
            .await;
        assert_eq!(answer.status(), 200, "{coding}");
    }
}

#[tokio::test]
async fn users_who_are_not_reached_in_time_get_their_lists_later() {
    let site = Site::with(Prosody::shared(), |gateway| {
        let gateway = gateway.host("backend_concurrency = 1");
        gateway.admin("deadline = \"1s\"")
    });
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut client = site.online(&marie, "web").await;
    let _other = site.online(&john, "web").await;
    for (contact, headers) in [
        ("anna@example.org", &[][..]),
        ("bert@example.org", &[("Prefer", "respond-async")]),
    ] {
        site.backend.set(&marie.local, json!({ contact: {} }));
        let mut gate = site.backend.gate(&john.local);
        let body = json!([john.local, marie.local]).to_string();
        let answer = refresh(&site).request("POST", headers, &body).await;
        if headers.is_empty() {
            assert_eq!(summary(&answer)["errors"], 2, "{}", answer.text());
        } else {
            assert_eq!(answer.status(), 202);
            let reporting = async {
                while !site
                    .gateway
                    .log()
                    .contains("accepted roster refresh failed")
                {
                    yield_now().await;
                }
            };
            within("the deadline", reporting).await;
        }
        within("the first fetch", gate.reached_by(1)).await;
        gate.open();
        while client.expect_push().await.jid != contact {}
    }
}

/// PHP's built-in server, say: it waits for the gateway, which waits for it.
#[tokio::test]
async fn a_backend_of_one_worker_tells_of_changes_without_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/lone_worker.py");
    let log = folder.path().join("site.log");
    let python = Path::new("python3");
    let mut site = Process::start(python, [script], &[], log);
    let port = site.line(DEADLINE).expect("python3 says its port");
    let place = format!("127.0.0.1:{port}");
    let prosody = Prosody::shared();
    let url = format!("http_roster_url = \"http://{place}/contacts/%s\"");
    let gateway = Gateway::builder(prosody)
        .host(&url)
        .admin("deadline = \"1s\"")
        .start();
    let john = prosody.account("john");
    let mut client = gateway.login(&john, "web").await;
    assert_eq!(client.roster().await.len(), 1);

    let (admin, user) = (gateway.admin().address, &john.local);
    let change = async |name: &str, prefer: &str| {
        let query = format!("name={name}&gateway={admin}&user={user}&prefer={prefer}");
        let address = place.parse().expect("an address");
        let change = Endpoint::new(address, &format!("/change?{query}"));
        let answer = change.request("GET", &[], "").await;
        summary(&answer)
    };
    let waited = change("Waited", "").await;
    assert_eq!(waited["status"], 500, "{waited}");
    let reason = &waited["said"]["failed"][0]["reason"];
    assert_eq!(reason, "not finished within 1s");
    // It was the worker that the list was waiting for.
    let pushed = client.expect_push().await;
    let marie = |name| item("marie@example.org", Some(name), &[], "both");
    assert_eq!(pushed, marie("Waited"));

    let accepted = change("Accepted", "respond-async").await;
    let expected = json!({
        "status": 202,
        "applied": "respond-async",
        "said": { "status": "accepted", "message": "roster update accepted" },
    });
    assert_eq!(accepted, expected);
    assert_eq!(client.expect_push().await, marie("Accepted"));
}

/// Nobody but the operator hears what has become of it.
#[tokio::test]
async fn an_accepted_refresh_that_fails_is_logged_and_counted() {
    let site = Site::new();
    let john = site.member("john");
    let _client = site.online(&john, "web").await;
    site.backend.fail(&john.local, Fault::Status(503));
    let prefer = [("Prefer", "respond-async")];
    let body = json!([john.local, "nobody"]).to_string();
    let answer = refresh(&site).request("POST", &prefer, &body).await;
    assert_eq!(answer.status(), 202);
    let by_path = format!("/roster_admin/refresh/{}", john.local);
    let one = site.gateway.admin().at(&by_path);
    assert_eq!(one.request("GET", &prefer, "").await.status(), 202);
    let metrics = site.gateway.monitoring();
    let counted = async {
        loop {
            let said = metrics.request("GET", &[], "").await;
            let has = |line: &str| said.text().contains(line);
            if has("refreshed_users_total{outcome=\"failed\"} 2\n")
                && has("refreshed_users_total{outcome=\"updated\"} 1\n")
            {
                return;
            }
        }
    };
    within("both to be counted", counted).await;
    let logged = async {
        while site
            .gateway
            .log()
            .matches("accepted roster refresh failed")
            .count()
            < 2
        {
            metrics.request("GET", &[], "").await;
        }
    };
    within("both in the log", logged).await;
    assert!(site.gateway.log().contains("error=backend answered 503"));
}
