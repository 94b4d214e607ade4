//! The admin API on the wire: what the site's backend may send, and what it hears.

use serde_json::{Value, json};

use crate::{
    site::Site,
    support::{
        http::{Connection, Endpoint, Response},
        prosody::Prosody,
    },
};

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
