//! Hostile web pages: what they can make their visitors' browsers send, and what comes of it.
//!
//! `tests/browser/pages.test.mjs` shows the same with Chromium behind Nginx.

use crate::{
    browser,
    hostile_bystander::Bystander,
    site::Site,
    support::{
        bosh::{Bosh, creation},
        gateway::{Builder, Gateway},
        http::{Connection, Endpoint, Response},
        prosody::{DOMAIN, Prosody},
        xml::message,
    },
};

/// With everything that can be served.
fn everything(gateway: Builder) -> Builder {
    let certs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let file = |name| certs.join(name);
    gateway
        .server("listen_tls = ['127.0.0.1:0']")
        .server(&format!("certificate = {:?}", file("localhost.crt")))
        .server(&format!("private_key = {:?}", file("localhost.key")))
        .tables("[discovery]\nbosh_url = \"https://chat.example.org/http-bind\"")
}

const BOSH: &str = "/http-bind";
const PATHS: [&str; 12] = [
    BOSH,
    "/http-bind/",
    "/",
    "/nowhere",
    "/roster_admin",
    "/roster_admin/nowhere",
    "/roster_admin/status",
    "/roster_admin/refresh",
    "/roster_admin/refresh/%3Cscript%3E",
    "/roster_admin/rosters/nobody",
    "/.well-known/host-meta",
    "/metrics",
];
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE"];

#[tokio::test]
async fn no_answer_is_a_document_that_runs() {
    let site = Site::with(Prosody::shared(), everything);
    let bosh = site.gateway.bosh();
    let mut connection = Connection::open(&bosh).await;
    for path in PATHS {
        for method in METHODS {
            for headers in [&[][..], &[("Origin", "https://evil.example")]] {
                connection.send(method, path, headers, "<body/>").await;
                let answer = connection.response().await;
                answer.assert_inert();
                if answer.header("connection") == Some("close") {
                    connection = Connection::open(&bosh).await;
                }
            }
        }
    }
    let over_http_2 = browser::Connection::open(site.gateway.https()).await;
    for path in PATHS {
        let answer = over_http_2.post(path, &[], "<body/>").await;
        answer.response().await.assert_inert();
    }

    // What sessions answer, and what is answered in their place.
    let john = site.member("john");
    let mut web = Bosh::log_in(&bosh, &john, "web").await;
    let answers = [
        bosh.post(&creation(DOMAIN, &[])).await,
        bosh.post(&creation("unknown.example", &[])).await,
        bosh.post("no XML").await,
        bosh.request("POST", &[("Content-Encoding", "gzip")], "x")
            .await,
        bosh.post(&" ".repeat(300 << 10)).await,
        web.send("type='terminate'", "").await.response().await,
        web.send("", "").await.response().await,
    ];
    for answer in answers {
        answer.assert_inert();
    }
}

#[tokio::test]
async fn the_status_page_alone_has_scripts_and_those_of_its_own() {
    let site = Site::new();
    for path in ["/", "/status.js", "/status.css"] {
        let page = site.gateway.admin().at(&format!("/roster_admin{path}"));
        let page = page.request("GET", &[], "").await;
        assert_eq!(page.status(), 200);
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
}

#[tokio::test]
async fn monitoring_on_its_own_is_no_page_either() {
    let gateway = Gateway::builder(Prosody::shared())
        .tables("[monitoring]\nlisten = \"127.0.0.1:0\"")
        .start();
    for path in ["/metrics", "/healthz", "/readyz", "/nowhere"] {
        for method in METHODS {
            let answer = gateway.monitoring().at(path).request(method, &[], "").await;
            answer.assert_inert();
        }
    }
}

/// Some answers hyper makes by itself, where no header can be added: they must be empty.
#[tokio::test]
async fn what_is_no_request_gets_nothing_that_could_run() {
    let gateway = Gateway::start(Prosody::shared());
    let mut answers = 0;
    for request in [
        "<script>\r\n\r\n".to_owned(),
        "GET /http-bind HTTP/1.1\r\n<script>alert(1)</script>\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "<script>".repeat(10_000)),
        "GET /http-bind HTTP/7.0\r\n\r\n".to_owned(),
    ] {
        let mut connection = Connection::open(&gateway.bosh()).await;
        connection.write(request.as_bytes()).await;
        if let Some(answer) = connection.try_response().await {
            assert!(answer.status() >= 400, "{answer:?}");
            assert_eq!(answer.text(), "");
            answers += 1;
        }
    }
    // Who is cut off while still sending may miss the answer.
    assert!(answers >= 3, "{answers}");
}

#[tokio::test]
async fn who_is_refused_at_the_door_gets_no_document_either() {
    let gateway = Gateway::builder(Prosody::shared())
        .server("max_connections = 1")
        .start();
    let first = Connection::open(&gateway.bosh()).await;
    let refused = gateway.bosh().request("GET", &[], "").await;
    assert_eq!(refused.status(), 503);
    refused.assert_inert();
    drop(first);
}

/// What a client asks for its answers by `content` at creation.
#[tokio::test]
async fn answers_are_never_of_a_type_that_browsers_run() {
    let gateway = Gateway::start(Prosody::shared());
    for asked in [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "text/html;text/xml",
        "application/xhtml+xml",
        "image/svg+xml",
        "application/rss+xml",
        "application/mathml+xml",
        "text/xsl",
        "text/javascript",
        "text/css",
        "text/plain",
        "multipart/x-mixed-replace",
        "message/rfc822",
        "*/*",
        "text",
    ] {
        let created = creation(DOMAIN, &[("content", asked)]);
        let answer = gateway.bosh().post(&created).await;
        assert_eq!(
            answer.header("content-type"),
            Some("text/xml; charset=utf-8"),
            "{asked}"
        );
    }
    // And whatever else is said of it, answers are UTF-8.
    for (asked, given) in [
        ("text/xml", "text/xml; charset=utf-8"),
        ("Application/XML", "application/xml; charset=utf-8"),
        ("text/xml; charset=utf-7", "text/xml; charset=utf-8"),
    ] {
        let created = creation(DOMAIN, &[("content", asked)]);
        let answer = gateway.bosh().post(&created).await;
        assert_eq!(answer.header("content-type"), Some(given), "{asked}");
    }
}

/// As a form on a page of somebody else sends it, who knows the session: it may be his own.
fn by_a_form(endpoint: &Endpoint, place: &str) -> Endpoint {
    let form = endpoint.clone().adding("Origin", "https://evil.example");
    let form = form.adding("Sec-Fetch-Site", "cross-site");
    let mode = if place == "empty" { "cors" } else { "navigate" };
    form.adding("Sec-Fetch-Mode", mode)
        .adding("Sec-Fetch-Dest", place)
}

async fn post(form: &Endpoint, body: &str) -> Response {
    let headers = [("Content-Type", "text/plain")];
    form.request("POST", &headers, body).await
}

#[tokio::test]
async fn a_form_gets_no_stanza_and_changes_no_session() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let mut bystander = Bystander::log_in(&gateway, prosody).await;
    let mut desk = prosody.contact("marie").await;
    let john = prosody.account("john");
    let mut web = Bosh::log_in(&gateway.bosh(), &john, "web").await;
    desk.send_message(&format!("{}/web", john.jid()), "a secret");
    // The server has dealt with it.
    desk.fence().await;

    let next = web.rid + 1;
    for place in ["document", "iframe", "frame", "embed", "object"] {
        let form = by_a_form(&gateway.bosh(), place);
        for (attributes, payload) in [
            ("", String::new()),
            ("", message(bystander.contact(), "forged")),
            ("pause='60'", String::new()),
            ("type='terminate'", String::new()),
        ] {
            let answer = post(&form, &web.request(next, attributes, &payload)).await;
            assert_eq!(answer.status(), 403, "{place} {attributes}");
            assert_eq!(answer.xml().attr("condition"), Some("policy-violation"));
            assert_eq!(answer.xml().children().next(), None);
            answer.assert_usual_headers();
        }
        let answer = post(&form, &creation(DOMAIN, &[])).await;
        assert_eq!((answer.status(), answer.xml().attr("sid")), (403, None));
        let answer = post(&form, &" ".repeat(300 << 10)).await;
        assert_eq!(answer.status(), 403, "nor one that is too large");
    }
    let secret = web.exchange_until("", |it| it.is_message("a secret")).await;
    assert_eq!(secret.attr("from"), Some(&*desk.jid));
    bystander.chats_on().await;

    // Its client's own requests say that it is one, too.
    let script = by_a_form(&gateway.bosh(), "empty");
    let request = web.request(web.rid + 1, "type='terminate'", "");
    assert_eq!(post(&script, &request).await.condition(), None);
}
