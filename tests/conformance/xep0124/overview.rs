//! HTTP Overview: methods, paths, headers, limits, CORS.

use support::{
    bosh::{Bosh, Pending, creation},
    gateway::Gateway,
    http::{Connection, Response},
    site::{Site, domain, only_rostergate},
    xml::message,
};

fn gateway() -> Gateway {
    Gateway::start(Site::shared())
}

#[track_caller]
fn assert_created(response: &Response) {
    response.assert_usual_headers();
    assert_eq!(response.status(), 200, "{response:?}");
    let body = response.xml();
    assert!(body.attr("sid").is_some(), "{body}");
}

#[tokio::test]
async fn answers_preflight_requests() {
    only_rostergate("XEP-0124 does not say");
    let gateway = gateway();
    let bosh = gateway.bosh();
    let asked = [
        ("Origin", "https://site.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    for headers in [&asked[..], &[]] {
        let response = bosh.request("OPTIONS", headers, "").await;
        response.assert_usual_headers();
        assert_eq!((response.status(), response.text()), (200, ""));
        let methods = response.header("access-control-allow-methods");
        assert_eq!(methods, Some("POST, OPTIONS, GET"));
        let headers = response
            .header("access-control-allow-headers")
            .expect("allowed headers");
        assert!(
            headers.to_ascii_lowercase().contains("content-type"),
            "{headers}"
        );
        assert_eq!(response.header("access-control-max-age"), Some("1728000"));
    }
}

#[tokio::test]
async fn lets_only_configured_origins_read() {
    let prosody = Site::shared();
    let gateway = Gateway::builder(prosody)
        .web("origins = [\"https://site.example\"]")
        .start();
    let post = async |origin: &str| {
        let headers = [("Origin", origin)];
        gateway
            .bosh()
            .request("POST", &headers, &creation(domain(), &[]))
            .await
    };
    let mine = post("https://site.example").await;
    assert_eq!(
        mine.header("access-control-allow-origin"),
        Some("https://site.example")
    );
    assert_eq!(
        mine.header("access-control-allow-credentials"),
        Some("true")
    );
    assert!(
        mine.header("vary")
            .is_some_and(|vary| vary.to_ascii_lowercase().contains("origin"))
    );
    for foreign in [
        "https://evil.example",
        "null",
        "https://site.example.evil.example",
    ] {
        let response = post(foreign).await;
        let allowed = response.header("access-control-allow-origin");
        assert!(
            allowed != Some(foreign) && allowed != Some("*"),
            "{foreign}: {response:?}"
        );
    }
}

#[tokio::test]
async fn shows_a_page_to_get_and_head() {
    only_rostergate("XEP-0124 does not say");
    let gateway = gateway();
    let bosh = gateway.bosh();
    for path in ["/http-bind", "/http-bind/", "/http-bind?sid=x&rid=1"] {
        let page = bosh.at(path).request("GET", &[], "").await;
        page.assert_usual_headers();
        assert_eq!(page.status(), 200);
        let content_type = page.header("content-type").expect("a content type");
        assert!(content_type.starts_with("text/html") || content_type.starts_with("text/plain"));
        assert_ne!(page.text(), "");
        let head = bosh.at(path).request("HEAD", &[], "").await;
        head.assert_usual_headers();
        assert_eq!((head.status(), head.text()), (200, ""));
        assert_eq!(head.header("content-length"), page.header("content-length"));
    }
}

#[tokio::test]
async fn refuses_other_methods() {
    only_rostergate("XEP-0124 does not say");
    let gateway = gateway();
    let bosh = gateway.bosh();
    for method in ["PUT", "DELETE", "PATCH"] {
        let response = bosh.request(method, &[], &creation(domain(), &[])).await;
        response.assert_usual_headers();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    }
}

#[tokio::test]
async fn refuses_an_empty_post_in_xml() {
    only_rostergate("XEP-0124 does not say");
    let gateway = gateway();
    let response = gateway.bosh().post("").await;
    response.assert_usual_headers();
    assert_eq!(response.status(), 400);
    let body = response.xml();
    assert_eq!(body.attr("type"), Some("terminate"));
    assert_eq!(body.attr("condition"), Some("bad-request"));
}

#[tokio::test]
async fn serves_its_path_with_slash_and_query() {
    only_rostergate("XEP-0124 does not say");
    let gateway = gateway();
    let bosh = gateway.bosh();
    for path in [
        "/http-bind",
        "/http-bind/",
        "/http-bind?room=lobby",
        "/http-bind/?token=x%20y",
    ] {
        assert_created(&bosh.at(path).post(&creation(domain(), &[])).await);
    }
    for path in ["/http-bindx", "/http-bind/x", "/nowhere"] {
        let response = bosh.at(path).post(&creation(domain(), &[])).await;
        assert_eq!(response.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn serves_a_configured_path() {
    let gateway = Gateway::builder(Site::shared())
        .bosh("path = \"/chat/bosh\"")
        .start();
    let creation = creation(domain(), &[]);
    assert_created(&gateway.bosh().at("/chat/bosh").post(&creation).await);
    assert_eq!(gateway.bosh().post(&creation).await.status(), 404);
}

#[tokio::test]
async fn ignores_the_content_type_of_requests() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    for headers in [
        &[("Content-Type", "text/plain;charset=UTF-8")][..],
        &[("Content-Type", "application/xml")],
        &[],
    ] {
        assert_created(
            &bosh
                .request("POST", headers, &creation(domain(), &[]))
                .await,
        );
    }
}

#[tokio::test]
async fn speaks_http_1_0() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let body = creation(domain(), &[]);
    let length = body.len();
    let request = |headers: &str| {
        format!("POST /http-bind HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
    };
    let mut connection = Connection::open(&bosh).await;
    connection.write(request("").as_bytes()).await;
    assert_created(&connection.response().await);
    connection.closed().await;

    let mut connection = Connection::open(&bosh).await;
    for _ in 0..2 {
        connection
            .write(request("Connection: keep-alive\r\n").as_bytes())
            .await;
        assert_created(&connection.response().await);
    }
}

#[tokio::test]
async fn keeps_connections_open() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let mut connection = Connection::open(&bosh).await;
    for _ in 0..3 {
        connection
            .send("POST", &bosh.path, &[], &creation(domain(), &[]))
            .await;
        assert_created(&connection.response().await);
        connection.send("POST", &bosh.path, &[], "").await;
        assert_eq!(connection.response().await.status(), 400);
    }
}

#[tokio::test]
async fn reads_requests_that_trickle_in() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let body = creation(domain(), &[]);
    let length = body.len();
    let request =
        format!("POST /http-bind HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    let mut connection = Connection::open(&bosh).await;
    for byte in request.bytes().chain(body.bytes()) {
        connection.write(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_created(&connection.response().await);
}

#[tokio::test]
async fn reads_chunked_requests() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let body = creation(domain(), &[]);
    let (one, two) = body.split_at(30);
    let request = format!(
        "POST /http-bind HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    let mut connection = Connection::open(&bosh).await;
    connection.write(request.as_bytes()).await;
    assert_created(&connection.response().await);
}

#[tokio::test]
async fn refuses_bodies_too_large() {
    let prosody = Site::shared();
    let gateway = Gateway::builder(prosody)
        .bosh("max_body = \"10KiB\"")
        .start();
    let account = prosody.account("john");
    let mut bosh = Bosh::log_in(&gateway.bosh(), &account, "web").await;
    let mut other = Bosh::log_in(&gateway.bosh(), &account, "other").await;
    let (to, to_other) = (
        format!("{}/web", account.jid()),
        format!("{}/other", account.jid()),
    );
    let text = "x".repeat(9 * 1024);
    bosh.exchange_until(&message(&to, &text), |child| child.is_message(&text))
        .await;

    let too_large = message(&to, &"x".repeat(11 * 1024));
    let response = bosh.send("", &too_large).await.response().await;
    response.assert_usual_headers();
    assert_eq!(response.condition().as_deref(), Some("policy-violation"));
    assert_eq!(response.header("connection"), Some("close"));

    let still = message(&to_other, "still here");
    other
        .exchange_until(&still, |child| child.is_message("still here"))
        .await;
}

#[tokio::test]
async fn refuses_endless_bodies() {
    let gateway = Gateway::builder(Site::shared())
        .bosh("max_body = \"10KiB\"")
        .start();
    let mut connection = Connection::open(&gateway.bosh()).await;
    let head = "POST /http-bind HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write(head.as_bytes()).await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    for _ in 0..16 {
        connection.write(chunk.as_bytes()).await;
    }
    let response = connection.response().await;
    assert_eq!(response.condition().as_deref(), Some("policy-violation"));
    connection.closed().await;
}

#[tokio::test]
async fn closes_connections_that_speak_no_http() {
    only_rostergate("XEP-0124 does not say");
    let gateway = gateway();
    let bosh = gateway.bosh();
    let mut connection = Connection::open(&bosh).await;
    connection
        .write(b"<stream:stream to='example.org'>\r\n\r\n")
        .await;
    assert_eq!(connection.response().await.status(), 400);
    connection.closed().await;
    assert_created(&bosh.post(&creation(domain(), &[])).await);
}

#[tokio::test]
async fn answers_each_of_many_connections() {
    let gateway = gateway();
    let bosh = gateway.bosh();
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(Pending::send(&bosh, 0, creation(domain(), &[])).await);
    }
    for pending in open {
        assert_created(&pending.response().await);
    }
}
