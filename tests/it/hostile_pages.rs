//! Hostile web pages: what they can make their visitors' browsers send, and what comes of it.
//!
//! `tests/browser/pages.test.mjs` shows the same with Chromium behind Nginx.

use support::{
    bosh::{Bosh, creation},
    gateway::{Builder, Gateway},
    http::{Connection, Endpoint, Response},
    prosody::{DOMAIN, Prosody},
    xml::message,
};

use crate::{browser, hostile_bystander::Bystander, site::Site};

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
        bosh.post(&" ".repeat(1200 << 10)).await,
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
async fn garbage_gets_no_answer_that_could_run() {
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
        let answer = post(&form, &" ".repeat(1200 << 10)).await;
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

/// A refresh of a user who is online, and two looks.
const ASKED: [(&str, &str); 3] = [
    ("POST", "/roster_admin/refresh"),
    ("GET", "/roster_admin/sessions"),
    ("GET", "/metrics"),
];

/// The names that lead here whatever the owners of other names do.
const OWN_NAMES: [&str; 11] = [
    "localhost",
    "LocalHost:5290",
    "localhost.",
    "localhost.:80",
    "chat.localhost",
    "127.0.0.1",
    "127.9.9.9:5290",
    "[::1]:5290",
    DOMAIN,
    "EXAMPLE.ORG:5290",
    "example.org.",
];

/// And others: most of them may be let lead to 127.0.0.1.
const OTHER_NAMES: [&str; 19] = [
    "rebound.example",
    "rebound.example:5290",
    "localhost.rebound.example",
    "rebound-localhost.example",
    "127.0.0.1.rebound.example",
    "chat.example.org",
    "example.org.rebound.example",
    // To which browsers do not say that a page of another site asks.
    "[::ffff:127.0.0.1]",
    "10.0.0.1",
    "0.0.0.0",
    "0",
    "[::]",
    "[2001:db8::1]",
    "127.1",
    "2130706433",
    "localhost, rebound.example",
    "localhost/",
    ".",
    "",
];

/// Asks by raw lines after the request line, which ends in this version.
async fn ask(site: &Site, john: &str, line: (&str, &str), version: &str, hosts: &[&str]) -> u16 {
    let (method, target) = line;
    let body = format!("[\"{john}\"]");
    let hosts: String = hosts.iter().map(|it| format!("Host: {it}\r\n")).collect();
    let length = if method == "POST" { body.len() } else { 0 };
    let head = format!("{method} {target} {version}\r\n{hosts}Content-Length: {length}\r\n\r\n");
    let mut connection = Connection::open(&site.gateway.admin()).await;
    connection.write((head + &body[..length]).as_bytes()).await;
    connection.response().await.status()
}

/// DNS rebinding: the page's own name was made to lead to this machine. Over plain HTTP, browsers say nothing else
/// of it, and to the page all that it gets is of its own origin.
#[tokio::test]
async fn a_name_that_anybody_may_own_opens_nothing() {
    let site = Site::new();
    let john = site.member("john");
    let _client = site.online(&john, "web").await;
    let before = site.backend.fetches(&john.local);
    for line in ASKED {
        for host in OTHER_NAMES {
            let status = ask(&site, &john.local, line, "HTTP/1.1", &[host]).await;
            assert_eq!(status, 403, "{line:?} {host:?}");
        }
        for hosts in [
            ["localhost", "rebound.example"],
            ["rebound.example", "localhost"],
        ] {
            let status = ask(&site, &john.local, line, "HTTP/1.1", &hosts).await;
            assert_eq!(status, 400, "{line:?} {hosts:?}");
        }
        for (name, host) in [
            ("rebound.example", "localhost"),
            ("localhost", "rebound.example"),
        ] {
            let target = format!("http://{name}{}", line.1);
            let line = (line.0, &*target);
            let status = ask(&site, &john.local, line, "HTTP/1.1", &[host]).await;
            assert_eq!(status, 403, "{line:?} {host:?}");
        }
    }
    let by_path = ("GET", &*format!("/roster_admin/refresh/{}", john.local));
    let status = ask(
        &site,
        &john.local,
        by_path,
        "HTTP/1.1",
        &["rebound.example"],
    )
    .await;
    assert_eq!(status, 403);
    assert_eq!(
        site.backend.fetches(&john.local),
        before,
        "nothing was done"
    );

    for line in ASKED {
        for host in OWN_NAMES {
            let status = ask(&site, &john.local, line, "HTTP/1.1", &[host]).await;
            assert_eq!(status, 200, "{line:?} {host:?}");
        }
        // A browser always says a name, a program of HTTP/1.0 need not.
        let status = ask(&site, &john.local, line, "HTTP/1.0", &[]).await;
        assert_eq!(status, 200, "{line:?}");
    }
    let rebound = [("Host", "rebound.example")];
    let refresh = site.gateway.admin().at("/roster_admin/refresh");
    let refused = refresh.request("POST", &rebound, "[]").await;
    let reason = "Host has to be localhost, a loopback address or a configured domain";
    assert!(refused.text().contains(reason), "{refused:?}");
}

#[tokio::test]
async fn the_name_counts_over_http_2_as_well() {
    let site = Site::with(Prosody::shared(), everything);
    let connection = browser::Connection::open(site.gateway.https()).await;
    let refresh = async |name: &str, headers: &[(&str, &str)]| {
        let path = "/roster_admin/refresh";
        let sent = connection.post_to(name, path, headers, "[]").await;
        sent.response().await.status()
    };
    assert_eq!(refresh("localhost", &[]).await, 200);
    assert_eq!(refresh("localhost:5290", &[]).await, 200);
    assert_eq!(refresh(DOMAIN, &[]).await, 200);
    assert_eq!(refresh("rebound.example", &[]).await, 403);
    let host = |name| [("host", name)];
    assert_eq!(refresh("rebound.example", &host("localhost")).await, 403);
    assert_eq!(refresh("localhost", &host("rebound.example")).await, 403);
}

#[tokio::test]
async fn with_a_token_the_name_does_not_matter() {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.admin("token = \"s3cret\"")
    });
    let headers = [
        ("Host", "gateway.example"),
        ("Authorization", "Bearer s3cret"),
    ];
    let refresh = site.gateway.admin().at("/roster_admin/refresh");
    assert_eq!(refresh.request("POST", &headers, "[]").await.status(), 200);
    // Metrics ask for no token.
    let metrics = site.gateway.monitoring();
    assert_eq!(metrics.request("GET", &headers, "").await.status(), 403);
}

/// There, who comes from elsewhere is welcome; but not a page.
#[tokio::test]
async fn monitoring_on_its_own_is_for_no_name_that_anybody_may_own() {
    let gateway = Gateway::builder(Prosody::shared())
        .tables("[monitoring]\nlisten = \"127.0.0.1:0\"")
        .start();
    let ask = async |path: &str, host: &str| {
        let endpoint = gateway.monitoring().at(path);
        endpoint.request("GET", &[("Host", host)], "").await
    };
    for path in ["/metrics", "/healthz", "/readyz"] {
        let nearby = ["10.0.0.1:5292", "[2001:db8::1]:5292", "rostergate:5292"];
        for host in OWN_NAMES.iter().chain(&nearby) {
            assert_eq!(ask(path, host).await.status(), 200, "{path} {host}");
        }
        for host in ["rebound.example", "localhost.rebound.example:5292", ""] {
            let refused = ask(path, host).await;
            assert_eq!(refused.status(), 403, "{path} {host}");
            assert!(
                refused
                    .text()
                    .starts_with("Host has to be an address, localhost,")
            );
            refused.assert_inert();
        }
        let mut connection = Connection::open(&gateway.monitoring()).await;
        let head = format!("GET {path} HTTP/1.0\r\n\r\n");
        connection.write(head.as_bytes()).await;
        assert_eq!(
            connection.response().await.status(),
            200,
            "as health checks ask"
        );
    }
}

const SITE: &str = "Sec-Fetch-Site";

#[tokio::test]
async fn no_page_has_anything_done_and_only_our_own_may_look() {
    let site = Site::new();
    let john = site.member("john");
    let _client = site.online(&john, "web").await;
    let before = site.backend.fetches(&john.local);
    let roster = format!("/roster_admin/rosters/{}", john.local);
    let by_path = format!("/roster_admin/refresh/{}", john.local);
    let own_domain = format!("/roster_admin/{DOMAIN}/refresh/{}", john.local);
    let body = format!("[\"{}\"]", john.local);
    let looks = [
        "/roster_admin/",
        "/roster_admin/status",
        "/roster_admin/sessions",
        &roster,
        "/metrics",
    ];
    let changes = [
        ("POST", "/roster_admin/refresh"),
        ("GET", &by_path),
        ("HEAD", &by_path),
        ("GET", &own_domain),
    ];
    let status = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let body = if method == "POST" { &*body } else { "" };
        let endpoint = site.gateway.admin().at(path);
        endpoint.request(method, headers, body).await.status()
    };
    for headers in [
        &[(SITE, "same-origin")][..],
        &[(SITE, "none")],
        &[(SITE, "same-site")],
        &[(SITE, "cross-site")],
        &[(SITE, "same-origin"), ("Host", DOMAIN)],
        &[(SITE, "same-origin"), ("Host", "rebound.example")],
        &[(SITE, "same-origin"), ("Origin", "http://localhost")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Mode", "navigate")],
        &[("Sec-Fetch-Dest", "image")],
        &[("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")],
        // A browser that does not tell.
        &[("Accept-Language", "de,en;q=0.5")],
        &[("Accept-Language", "de,en;q=0.5"), ("Host", DOMAIN)],
        // As a page may have it.
        &[("Accept-Language", "*"), ("Host", DOMAIN)],
    ] {
        for (method, path) in changes {
            assert_eq!(
                status(method, path, headers).await,
                403,
                "{method} {path} {headers:?}"
            );
        }
        let is_own = matches!(
            headers,
            [(SITE, "same-origin" | "none")] | [("Accept-Language", _)]
        );
        let expected = if is_own { 200 } else { 403 };
        for path in looks {
            assert_eq!(
                status("GET", path, headers).await,
                expected,
                "{path} {headers:?}"
            );
        }
    }
    assert_eq!(site.backend.fetches(&john.local), before);
    // As Node.js' own fetch says, which no page has any part in.
    let node = [("Sec-Fetch-Mode", "cors"), ("Accept-Language", "*")];
    assert_eq!(status("POST", "/roster_admin/refresh", &node).await, 200);
    assert_eq!(status("GET", &by_path, &node).await, 200);
    assert_eq!(site.backend.fetches(&john.local), before + 2);
}

/// A proxy on this machine passes on what comes from anywhere.
#[tokio::test]
async fn what_only_proxies_say_makes_a_stranger() {
    let site = Site::new();
    let status = async |(method, path): (&str, &str), header: &str| {
        let endpoint = site.gateway.admin().at(path);
        let body = if method == "POST" { "[]" } else { "" };
        endpoint
            .request(method, &[(header, "x")], body)
            .await
            .status()
    };
    for line in ASKED {
        for header in [
            "Via",
            "Forwarded",
            "X-Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Protocol",
            "X-Forwarded-Port",
            "X-Forwarded-Server",
            "X-Forwarded-Prefix",
            "X-Forwarded-Ssl",
            "X-Original-Forwarded-For",
            "X-Real-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "True-Client-IP",
            "Client-IP",
            "Fastly-Client-IP",
            "WL-Proxy-Client-IP",
            "X-ProxyUser-Ip",
            "Proxy-Connection",
            "X-Remote-Addr",
            "CF-Connecting-IP",
            "CF-Ray",
            "CF-Visitor",
            "CDN-Loop",
            "Fly-Region",
            "X-Appengine-User-IP",
            "X-ARR-SSL",
            "X-Azure-ClientIP",
            "X-Envoy-External-Address",
            "X-Original-URL",
            "X-Original-Host",
            "X-Rewrite-URL",
        ] {
            assert_eq!(status(line, header).await, 403, "{line:?} {header}");
        }
        for header in [
            "User-Agent",
            "X-Request-Id",
            "X-Correlation-Id",
            "Traceparent",
            "X-Amzn-Trace-Id",
            "X-B3-TraceId",
            "Prefer",
        ] {
            assert_eq!(status(line, header).await, 200, "{line:?} {header}");
        }
    }
}
