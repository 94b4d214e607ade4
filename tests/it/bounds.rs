//! What the gateway takes from whom: creations, large requests, foreign pages, odd clients.

use support::{
    bosh::{Bosh, FIRST_RID, creation},
    gateway::Gateway,
    http::{Connection, Response},
    prosody::{DOMAIN, Prosody},
    scene::Scene,
    xml::{CLIENT, HTTPBIND, message},
};

async fn create(gateway: &Gateway, headers: &[(&str, &str)]) -> Response {
    let request = creation(DOMAIN, &[]);
    gateway.bosh().request("POST", headers, &request).await
}

fn is_created(response: &Response) -> bool {
    response.status() == 200 && response.xml().attr("sid").is_some()
}

#[tokio::test]
async fn an_address_creates_so_many_sessions_in_a_minute() {
    let gateway = Gateway::builder(Prosody::shared())
        .session("creations_per_address = 3")
        .start();
    let from = |address: &'static str| [("X-Forwarded-For", address)];
    for _ in 0..3 {
        assert!(is_created(&create(&gateway, &from("192.0.2.1")).await));
    }
    let refused = create(&gateway, &from("192.0.2.1")).await;
    let (condition, reason) = refused.not_now();
    assert_eq!(condition, "undefined-condition");
    assert_eq!(reason, "too many new sessions of this address");
    assert!(is_created(&create(&gateway, &from("192.0.2.2")).await));
    for _ in 0..5 {
        // The proxy itself, which does not say for whom it asks.
        assert!(is_created(&create(&gateway, &[]).await));
    }
}

#[tokio::test]
async fn there_is_an_end_of_sessions() {
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody)
        .session("max_sessions = 1")
        .start();
    let mut only = gateway.login(&prosody.account("john"), "web").await;
    let refused = create(&gateway, &[]).await;
    assert_eq!(refused.not_now().1, "too many sessions in all");
    only.fence().await;
}

#[tokio::test]
async fn a_request_too_large_ends_the_session_that_it_names() {
    let mut scene = Scene::with(&["max_body = \"4KiB\""], &[]).await;
    scene.greet().await;
    let large = scene.to_desk(&"x".repeat(5000));
    let response = scene.web.send("", &large).await.response().await;
    assert_eq!(response.condition().as_deref(), Some("policy-violation"));
    scene.expect_gone().await;
}

/// Converse sends what waits in one request; servers bound each stanza, not what a client says at once.
#[tokio::test]
async fn a_request_of_several_large_stanzas_arrives_whole() {
    let mut scene = Scene::new().await;
    let texts = ["a", "b", "c"].map(|letter| letter.repeat(200 << 10));
    let payload: String = texts.iter().map(|text| scene.to_desk(text)).collect();
    let _held = scene.web.send("", &payload).await;
    for text in &texts {
        scene.desk.expect_message(text).await;
    }
}

#[tokio::test]
async fn an_element_of_many_attributes_arrives_whole() {
    let mut scene = Scene::new().await;
    let attributes: String = (0..100).map(|n| format!(" a{n}='{n}'")).collect();
    let to = scene.desk.jid.clone();
    let message = format!(
        "<message xmlns='{CLIENT}' to='{to}'><body>many</body><x xmlns='urn:example'{attributes}/></message>"
    );
    let _held = scene.web.send("", &message).await;
    let arrived = scene.desk.expect_message("many").await;
    let element = arrived.child("urn:example", "x").expect("it is there");
    for n in 0..100 {
        let value = element.attr(&format!("a{n}"));
        assert_eq!(value, Some(&*n.to_string()));
    }
}

#[tokio::test]
async fn a_content_type_in_the_wrong_header_is_no_compression() {
    // As libpurple 2 has it, in every request.
    takes_as_it_is(&["text/xml; charset=utf-8"]).await;
}

#[tokio::test]
async fn no_coding_is_no_compression_however_it_is_said() {
    for codings in [
        &[""][..],
        &["identity"],
        &["Identity, identity"],
        &["identity", "", "IDENTITY"],
    ] {
        takes_as_it_is(codings).await;
    }
}

/// Sends a message, with such lines of `Content-Encoding`, to a contact who gets it.
async fn takes_as_it_is(codings: &[&str]) {
    let scene = Scene::new().await;
    let request = scene
        .web
        .request(scene.web.rid + 1, "", &scene.to_desk("a"));
    let headers: Vec<_> = codings.iter().map(|it| ("Content-Encoding", *it)).collect();
    let endpoint = scene.web.endpoint.clone();
    let response = endpoint.request("POST", &headers, &request);
    let heard = async {
        let mut desk = scene.desk;
        desk.expect_message("a").await;
    };
    tokio::select! {
        response = response => assert_eq!(response.status(), 200, "{codings:?}"),
        () = heard => {}
    }
}

#[tokio::test]
async fn compressed_requests_are_refused_and_the_session_lives() {
    let mut scene = Scene::new().await;
    let request = scene.web.request(scene.web.rid + 1, "", "");
    let endpoint = scene.web.endpoint.clone();
    for coding in ["gzip", "identity, gzip"] {
        let headers = [
            ("Content-Encoding", "identity"),
            ("Content-Encoding", coding),
        ];
        let response = endpoint.request("POST", &headers, &request).await;
        assert_eq!(response.status(), 415, "{coding}");
        assert_eq!(response.xml().attr("condition"), Some("bad-request"));
        assert_eq!(response.header("accept-encoding"), Some("identity"));
        response.assert_usual_headers();
    }
    let hello = scene.to_desk("alive");
    let _held = scene.web.send("", &hello).await;
    scene.desk.expect_message("alive").await;
}

/// Some clients are told a URL that ends with a slash, and add one.
#[tokio::test]
async fn slashes_that_are_too_many_lead_to_bosh_and_nowhere_else() {
    let gateway = Gateway::start(Prosody::shared());
    for path in [
        "/http-bind/",
        "/http-bind//",
        "//http-bind",
        "///http-bind///",
    ] {
        let request = creation(DOMAIN, &[]);
        let response = gateway.bosh().at(path).post(&request).await;
        assert!(is_created(&response), "{path}: {response:?}");
    }
    // What a proxy may take for /http-bind, or for what is below that.
    for path in [
        "//roster_admin/status",
        "/roster_admin//status",
        "/http-bind//roster_admin/status",
        "/http-bind/../roster_admin/status",
        "//http-bind/..//roster_admin/status",
        "//metrics",
        "/metrics/",
        "/http-bind//metrics",
        "//healthz",
        "//.well-known/host-meta",
        "/http%2fbind",
        "/http-bind/x",
        "/",
        "//",
    ] {
        let response = gateway.bosh().at(path).request("GET", &[], "").await;
        assert_eq!(response.status(), 404, "{path}: {response:?}");
    }
}

/// RFC 9112 §3.2: proxies that read the other one of two would let pass what they should not.
#[tokio::test]
async fn a_request_names_its_host_once() {
    let gateway = Gateway::start(Prosody::shared());
    for path in ["/http-bind", "/roster_admin/status", "/healthz", "/nothing"] {
        let status = async |version: &str, hosts: &str| {
            let mut connection = Connection::open(&gateway.bosh()).await;
            let request = format!("GET {path} {version}\r\n{hosts}\r\n");
            connection.write(request.as_bytes()).await;
            let response = connection.response().await;
            if response.status() == 400 {
                connection.closed().await;
            }
            response.status()
        };
        let served = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(status("HTTP/1.1", "").await, 400, "{path}");
        let twice = "Host: localhost\r\nHost: localhost\r\n";
        assert_eq!(status("HTTP/1.1", twice).await, 400, "{path}");
        assert_eq!(status("HTTP/1.0", twice).await, 400, "{path}");
        let once = "Host: localhost\r\n";
        assert_eq!(status("HTTP/1.1", once).await, served, "{path}");
        assert_eq!(status("HTTP/1.0", "").await, served, "{path}");
    }
}

#[tokio::test]
async fn pages_that_may_not_read_answers_create_no_sessions() {
    let gateway = Gateway::builder(Prosody::shared())
        .web("origins = [\"https://site.example\"]")
        .web("strict = true")
        .start();
    let foreign = create(&gateway, &[("Origin", "https://evil.example")]).await;
    assert_eq!(foreign.status(), 403);
    assert_eq!(foreign.xml().attr("condition"), Some("policy-violation"));
    assert!(is_created(
        &create(&gateway, &[("Origin", "https://site.example")]).await
    ));
    // Not a page.
    assert!(is_created(&create(&gateway, &[]).await));
}

/// gloox writes requests on a connection whose last one is held, until an answer closes it.
#[tokio::test]
async fn gloox_is_told_not_to_pipeline() {
    let gateway = Gateway::start(Prosody::shared());
    let mut connection = Connection::open(&gateway.bosh()).await;
    let gloox = [("User-Agent", "gloox/1.0.24")];
    let request = creation(DOMAIN, &[]);
    connection
        .send("POST", "/http-bind", &gloox, &request)
        .await;
    let response = connection.response().await;
    assert_eq!(response.header("connection"), Some("close"));
    connection.closed().await;
    let browser = create(&gateway, &[("User-Agent", "Mozilla/5.0")]).await;
    assert_ne!(browser.header("connection"), Some("close"));
}

/// XEP-0124 "Protecting Insecure Sessions".
#[tokio::test]
async fn the_sid_alone_does_not_open_a_session_with_keys() {
    let gateway = Gateway::start(Prosody::shared());
    let newkey = [("newkey", "64a1a3b4d4f6d0c5a1a3b4d4f6d0c5a1a3b4d4f6")];
    let web = Bosh::open_with(&gateway.bosh(), DOMAIN, &newkey).await;
    let stolen = web.send_as(web.rid + 1, "key='guess'", "").await;
    let body = stolen.body().await;
    assert_eq!(body.attr("condition"), Some("item-not-found"));
    let late = web.send_as(web.rid + 1, "", "").await.body().await;
    assert_eq!(late.attr("type"), Some("terminate"), "it has ended");
}

/// What was secret when it was created stays so, or the sid might have been overheard.
#[tokio::test]
async fn a_session_created_over_tls_is_used_over_tls() {
    let gateway = Gateway::start(Prosody::shared());
    let over = |proto: &'static str| {
        [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", proto),
        ]
    };
    // Two proxies in a row say it each.
    for secret in ["https", "https, https"] {
        let created = create(&gateway, &over(secret)).await.xml();
        let sid = created.attr("sid").expect("a session").to_owned();
        let rid = FIRST_RID + 1;
        let overheard =
            format!("<body xmlns='{HTTPBIND}' sid='{sid}' rid='{rid}' type='terminate'/>");
        let endpoint = gateway.bosh();
        // Whoever asks the last proxy in clear cannot make up what that says.
        for clear in ["http", "https, http"] {
            let refused = endpoint.request("POST", &over(clear), &overheard).await;
            let condition = refused.condition();
            assert_eq!(condition.as_deref(), Some("policy-violation"), "{clear}");
        }
        let end = endpoint.request("POST", &over(secret), &overheard).await;
        assert_eq!(end.condition(), None, "it was still there to be ended");
    }
}

/// Prebinding: a script of the site logs in and hands the session to the page.
#[tokio::test]
async fn a_session_made_by_a_script_is_taken_over_by_a_page() {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let mut desk = prosody.contact("marie").await;
    let script = Bosh::log_in(&gateway.bosh(), &prosody.account("john"), "web").await;
    let page = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("Origin", "https://site.example"),
        ("User-Agent", "Mozilla/5.0"),
    ];
    let endpoint = gateway.bosh();
    let mut message = script.request(script.rid + 1, "", &message(&desk.jid, "hello"));
    let mut connection = Connection::open(&endpoint).await;
    connection
        .send("POST", &endpoint.path, &page, &message)
        .await;
    desk.expect_message("hello").await;
    message = script.request(script.rid + 2, "type='terminate'", "");
    let end = endpoint.request("POST", &page, &message).await;
    assert_eq!(end.status(), 200);
    assert_eq!(
        connection.response().await.xml().attr("type"),
        Some("terminate")
    );
}
