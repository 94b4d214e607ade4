#![expect(clippy::disallowed_methods, reason = "tests may look at the clock")]

use std::{pin::pin, time::Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::{JoinSet, spawn_blocking},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    backend::testing::{Script, TestBackend, domain, source, user},
    config::{Credentials, Secret},
};

const MARIE: &str = r#"{"marie@example.org": {"name": "Marie"}}"#;

async fn fetch(source: &HttpSource) -> Result<Fetched, FetchError> {
    source.contacts(&user("john"), None).await
}

async fn failure(source: &HttpSource) -> FetchError {
    fetch(source).await.expect_err("the fetch fails")
}

#[tokio::test]
async fn the_same_answer_once_more_changes_nothing() {
    let backend = TestBackend::start().await;
    let source = backend.source(|_| ());
    backend.on("/contacts/john", Script::json(MARIE));
    let Ok(Fetched::New { validators, .. }) = fetch(&source).await else {
        panic!("a new roster")
    };
    let again = source.contacts(&user("john"), Some(&validators)).await;
    assert!(matches!(again, Ok(Fetched::Unchanged)));
    // It names another version: the backend is to be told of that one next time.
    let other = Validators {
        etag: None,
        ..validators.clone()
    };
    let renamed = source.contacts(&user("john"), Some(&other)).await;
    assert!(matches!(renamed, Ok(Fetched::New { validators: new, .. }) if new == validators));
    backend.on(
        "/contacts/john",
        Script::json(&MARIE.replace("Marie", "Maria")),
    );
    let changed = source.contacts(&user("john"), Some(&validators)).await;
    assert!(matches!(changed, Ok(Fetched::New { contacts, .. })
        if contacts[0].name.as_deref() == Some("Maria")));
}

/// A validator lives as long as the list, and must not keep what came with it.
#[test]
fn a_validator_keeps_no_more_than_itself() {
    let head = Bytes::from([b"\"1\"", &[b' '; 4096][..]].concat());
    let value = HeaderValue::from_maybe_shared(head.slice(..3)).unwrap();
    let mut headers = HeaderMap::from_iter([(ETAG, value)]);
    let kept = validator(&headers, ETAG);
    headers.clear();
    assert!(head.is_unique());
    assert_eq!(kept.unwrap(), "\"1\"");
    headers.insert(ETAG, "x".repeat(2000).parse().unwrap());
    assert_eq!(validator(&headers, ETAG), None, "longer than anybody's");
}

/// A second change within a second would have the same `Last-Modified`, and with Nginx the same `ETag`.
#[test]
fn a_validator_that_may_hide_a_change_is_not_used() {
    let after = |milliseconds| {
        let modified = httpdate::parse_http_date("Sun, 22 Nov 2026 21:30:31 GMT").unwrap();
        modified + Duration::from_millis(milliseconds)
    };
    let kept = |date: Option<u64>, modified: Option<&str>, received: u64| {
        let date = date.map(|date| httpdate::fmt_http_date(after(date)));
        let headers = [
            ("etag", Some("\"1\"")),
            ("last-modified", modified),
            ("date", date.as_deref()),
        ];
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let [etag, last_modified] = validators(&headers.collect(), after(received));
        assert!(etag.is_some() || last_modified.is_none());
        (etag.is_some(), last_modified.is_some())
    };
    let modified = Some("Sun, 22 Nov 2026 21:30:31 GMT");
    for (date, modified, received, expected) in [
        // By the date of the answer, whatever our clock says.
        (Some(0), modified, 5000, (false, false)),
        (Some(1000), modified, 0, (true, true)),
        // By our clock.
        (None, modified, 999, (false, false)),
        (None, modified, 1000, (true, true)),
        // From the future, or not understood.
        (
            Some(0),
            Some("Sun, 22 Nov 2026 21:30:32 GMT"),
            9000,
            (false, false),
        ),
        (Some(5000), Some("yesterday"), 5000, (false, false)),
        // An `ETag` alone is what its maker says it is.
        (Some(0), None, 0, (true, false)),
    ] {
        let what = format!("{date:?} {modified:?} {received}");
        assert_eq!(kept(date, modified, received), expected, "{what}");
    }
}

#[tokio::test]
async fn others_get_their_turns_while_something_takes_long() {
    let (tell, told) = std::sync::mpsc::channel();
    // It has to wait for the only thread of this runtime.
    let other = tokio::spawn(async move { tell.send(()) });
    let waits = move || told.recv_timeout(Duration::from_secs(30)).is_ok();
    assert_eq!(off_thread(true, waits).await, Ok(true));
    assert!(other.await.is_ok());
    assert_eq!(off_thread(false, || "at once").await, Ok("at once"));
}

/// What is read on a thread of its own goes on, and takes its room, whoever waits for it.
#[test]
fn the_time_that_a_backend_has_ends_with_its_answer() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let busy = spawn_blocking(move || waits.recv());
        let backend = TestBackend::start().await;
        let source = backend.source(|backend| {
            backend.timeout = Duration::from_millis(100);
            backend.max_body = 1 << 20;
        });
        let padding = " ".repeat(LARGE);
        backend.on("/contacts/john", Script::json(&format!("{MARIE}{padding}")));
        let mut fetch = pin!(fetch(&source));
        let early = timeout(Duration::from_secs(1), &mut fetch).await;
        assert!(early.is_err(), "it is still to be read: {early:?}");
        go_on.send(()).unwrap();
        assert!(matches!(fetch.await, Ok(Fetched::New { contacts, .. }) if contacts.len() == 1));
        assert!(busy.await.unwrap().is_ok());
    });
}

#[tokio::test]
async fn asks_as_documented_and_conditionally_the_second_time() {
    let backend = TestBackend::start().await;
    backend.on("/contacts/john", Script::json(MARIE));
    let source = backend
        .source(|backend| backend.credentials = Some(Credentials::Token(Secret::new("s3cret"))));
    let Ok(Fetched::New {
        contacts,
        validators,
        left_out,
        ..
    }) = fetch(&source).await
    else {
        panic!("a new roster")
    };
    assert_eq!(contacts[0].name.as_deref(), Some("Marie"));
    assert_eq!(left_out.count(), 0);

    backend.on("/contacts/john", Script::Answer(304, String::new()));
    let again = source.contacts(&user("john"), Some(&validators)).await;
    assert!(matches!(again, Ok(Fetched::Unchanged)));

    let [first, second] = &backend.requests()[..] else {
        panic!("two requests")
    };
    assert!(
        first.starts_with("GET /contacts/john HTTP/1.1\r\n"),
        "{first}"
    );
    let agent = format!(
        "\r\nuser-agent: rostergate/{}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert!(first.contains(&agent), "{first}");
    assert!(
        first.contains("\r\naccept: application/json\r\n"),
        "{first}"
    );
    assert!(
        first.contains("\r\nauthorization: Bearer s3cret\r\n"),
        "{first}"
    );
    assert!(!first.contains("\r\nif-"), "{first}");
    assert!(
        second.contains("\r\nif-none-match: W/\"v1\"\r\n"),
        "{second}"
    );
    let since = "\r\nif-modified-since: Sun, 22 Nov 2026 21:30:31 GMT\r\n";
    assert!(second.contains(since), "{second}");
}

#[tokio::test]
async fn names_are_percent_encoded() {
    let backend = TestBackend::start().await;
    backend.on("*", Script::json("{}"));
    let source = backend.source(|_| ());
    for (name, path) in [
        ("J.o+hn_~-9", "/contacts/j.o%2Bhn_~-9"),
        ("a%b", "/contacts/a%25b"),
        ("a%sb", "/contacts/a%25sb"),
        ("a?b", "/contacts/a%3Fb"),
        ("a#b", "/contacts/a%23b"),
        ("a=b;c", "/contacts/a%3Db%3Bc"),
        ("a\\20b", "/contacts/a%5C20b"),
        ("é", "/contacts/%C3%A9"),
        ("..", "/contacts/%2E%2E"),
        (".", "/contacts/%2E"),
    ] {
        source.contacts(&user(name), None).await.unwrap();
        assert_eq!(backend.paths().pop().unwrap(), path, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_roster_is_a_failed_fetch_with_its_reason() {
    let backend = TestBackend::start().await;
    let source = backend.source(|backend| backend.max_body = 1000);
    let raw = |text: &str| Script::Raw(text.as_bytes().to_vec());
    let large = format!("{{{}}}", " ".repeat(1000));
    let no_contacts = "backend answered with an object in which nothing is a contact";
    macro_rules! no_object {
        ($instead:literal) => {
            concat!(
                "backend answered with something that is not a JSON object: ",
                $instead
            )
        };
    }
    let broken = "backend broke off the connection";
    let too_large = "backend's answer is larger than 1000 bytes";
    for (script, reason) in [
        (Script::Answer(404, MARIE.into()), "backend answered 404"),
        (Script::Answer(500, MARIE.into()), "backend answered 500"),
        (Script::Answer(503, MARIE.into()), "backend answered 503"),
        (Script::Answer(204, String::new()), "backend answered 204"),
        (Script::Answer(201, MARIE.into()), "backend answered 201"),
        (
            Script::Answer(302, MARIE.into()),
            "backend answered 302, a redirect to /elsewhere",
        ),
        (Script::Answer(304, String::new()), "backend answered 304"),
        (Script::json("<html></html>"), no_object!("HTML")),
        (Script::json(""), no_object!("nothing")),
        (
            Script::json("null"),
            no_object!("JSON null (for a user without contacts, {} is right)"),
        ),
        (Script::json("42"), no_object!("JSON of another kind")),
        (
            Script::json(r#""x""#),
            no_object!("a JSON string (was it encoded twice?)"),
        ),
        (
            Script::json(r#"["marie@example.org"]"#),
            no_object!("a JSON array (contacts are the keys of an object)"),
        ),
        (
            Script::json("{}{}"),
            no_object!("\"{}{}\", no JSON from line 1, column 3 on"),
        ),
        (Script::json(r#"{"error": "down"}"#), no_contacts),
        (Script::json(&large), too_large),
        (Script::Endless, too_large),
        (raw(""), broken),
        (
            raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"),
            broken,
        ),
        (
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}"),
            broken,
        ),
        (
            raw("\u{1}\u{2} garbage\r\n\r\n"),
            "backend answered with something that is not HTTP",
        ),
    ] {
        let said = format!("{script:.60?}");
        backend.on("*", script);
        assert_eq!(failure(&source).await.to_string(), reason, "{said}");
    }
    assert!(
        !backend.paths().contains(&"/elsewhere".into()),
        "redirects are not followed"
    );
}

#[test]
fn where_a_redirect_leads_to_is_shown_without_secrets() {
    for (location, shown) in [
        (
            "https://example.org/contacts/john",
            "https://example.org/contacts/john",
        ),
        ("/contacts/john/", "/contacts/john/"),
        ("/login?next=pw", "/login?…"),
        ("/login#token=pw", "/login?…"),
        ("/login;jsessionid=pw", "/login"),
        ("/login;jsessionid=pw?next=pw", "/login"),
        ("http://site:pw@h/login?key=pw", "http://…@h/login?…"),
        ("http://site:p;w@h/login", "http://…@h/login"),
        ("//site:pw@h/login", "…@h/login"),
    ] {
        assert_eq!(shown_location(location), shown, "{location}");
    }
    for length in 0..4 {
        let long = format!("/{}?pw", "x".repeat(LONGEST_LOCATION - length));
        assert!(shown_location(&long).starts_with("/xxx"));
        assert!(shown_location(&long).chars().count() <= LONGEST_LOCATION);
    }
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read() {
    let backend = TestBackend::start().await;
    backend.on("*", Script::json(&format!("{{{}}}", " ".repeat(98))));
    assert!(
        fetch(&backend.source(|backend| backend.max_body = 100))
            .await
            .is_ok()
    );
    assert!(
        fetch(&backend.source(|backend| backend.max_body = 99))
            .await
            .is_err()
    );
    // Without a length, and each chunk within the limit.
    let spaces = " ".repeat(48);
    let chunks = format!("32\r\n{{ {spaces}\r\n32\r\n{spaces} }}\r\n0\r\n\r\n");
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    backend.on("*", Script::Raw(chunked.into()));
    fetch(&backend.source(|backend| backend.max_body = 100))
        .await
        .unwrap();
    let error = failure(&backend.source(|backend| backend.max_body = 99)).await;
    assert_eq!(error, FetchError::TooLarge { limit: 99 });
}

#[tokio::test]
async fn nobody_waits_longer_than_the_timeout() {
    let backend = TestBackend::start().await;
    let source = backend.source(|backend| backend.timeout = Duration::from_millis(80));
    for said in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
    ] {
        backend.on("*", Script::Hang(said.into()));
        let error = failure(&source).await;
        assert_eq!(
            error.to_string(),
            "backend did not answer within 80ms",
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_wait_for_other_fetches_counts() {
    let backend = TestBackend::start().await;
    backend.on("*", Script::Hang(vec![]));
    let source = Arc::new(backend.source(|backend| {
        backend.timeout = Duration::from_millis(200);
        backend.concurrency = 2;
    }));
    let began = Instant::now();
    let mut fetches = JoinSet::new();
    for _ in 0..6 {
        let source = Arc::clone(&source);
        fetches.spawn(async move { failure(&source).await });
    }
    for error in fetches.join_all().await {
        assert!(matches!(error, FetchError::Timeout { .. }), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(
        backend.most_open(),
        2,
        "never more than the configured concurrency"
    );
}

#[tokio::test]
async fn a_backend_that_is_down_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let source = source(&format!("http://joe:s3cret@{address}/"), |_| ());
    let error = failure(&source).await;
    assert_eq!(error.to_string(), "backend refused the connection");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[tokio::test]
async fn unusable_contacts_are_counted_and_the_rest_counts() {
    let backend = TestBackend::start().await;
    let json = r#"{"john@example.org": {}, "a@b/c": {}, "Marie@Example.org": {"groups": ["x"]}}"#;
    backend.on("*", Script::json(json));
    let Ok(Fetched::New {
        contacts, left_out, ..
    }) = fetch(&backend.source(|_| ())).await
    else {
        panic!("a roster with two contacts left out")
    };
    assert_eq!(
        left_out.to_string(),
        r#""john@example.org" (the user's own JID), "a@b/c" (JID with a resource)"#
    );
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0].jid.as_str(), "marie@example.org");
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_closed_one_is_no_failure() {
    let backend = TestBackend::start().await;
    let source = backend.source(|_| ());
    backend.on("*", Script::json("{}"));
    fetch(&source).await.unwrap();
    fetch(&source).await.unwrap();
    assert_eq!(backend.connections(), 1);
    let closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    backend.on("*", Script::Raw(closing.to_vec()));
    fetch(&source).await.unwrap();
    fetch(&source).await.unwrap();
    assert_eq!(backend.connections(), 2);
}

/// A server may close a connection that was idle just as the next request is on its way.
#[tokio::test]
async fn a_connection_that_closes_as_the_next_request_comes_costs_nothing() {
    let backend = TestBackend::start().await;
    let source = Arc::new(backend.source(|_| ()));
    // So many connections are idle afterwards, and all of them are about to close.
    let (open, gate) = watch::channel(false);
    backend.on("*", Script::Gate(gate));
    let mut fetches = JoinSet::new();
    for _ in 0..5 {
        let source = Arc::clone(&source);
        fetches.spawn(async move { fetch(&source).await.is_ok() });
    }
    backend.seen(5).await;
    open.send_replace(true);
    assert!(fetches.join_all().await.into_iter().all(|is_ok| is_ok));
    backend.on("*", Script::Once(Vec::new()));
    fetch(&source).await.unwrap();
    assert_eq!(backend.requests().len(), 7, "repeated once");
    assert_eq!(backend.connections(), 6, "on a new connection");
}

#[tokio::test]
async fn nothing_else_is_asked_twice() {
    for (first, then, requests) in [
        // The repeated request fails, too.
        (Script::json("{}"), Script::Raw(Vec::new()), 3),
        // A byte of the answer has come.
        (Script::json("{}"), Script::Raw(b"H".to_vec()), 2),
        // The connection was new.
        (Script::Raw(Vec::new()), Script::Raw(Vec::new()), 2),
    ] {
        let backend = TestBackend::start().await;
        let source = backend.source(|_| ());
        let what = format!("{first:?}, {then:?}");
        backend.on("*", first);
        let _ = fetch(&source).await;
        backend.on("*", then);
        assert_eq!(failure(&source).await, FetchError::BrokenOff, "{what}");
        assert_eq!(backend.requests().len(), requests, "{what}");
    }
}

#[tokio::test]
async fn certificates_are_checked() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut tls) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tls.read_u8().await.unwrap());
            }
            tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .await
                .unwrap();
        }
    });
    let with = |host: &str, roots: RootCertStore| {
        let source = source("", |_| ());
        let url = RosterUrl {
            before: format!("https://{host}:{port}/").into(),
            after: "".into(),
        };
        let authorities = Some(Arc::new(roots));
        let backend = Backend {
            authorities,
            ..source.backend
        };
        HttpSource::new(url, backend, domain("example.org"))
    };
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    fetch(&with("localhost", roots.clone())).await.unwrap();
    let untrusted = FetchError::Tls;
    assert_eq!(
        failure(&with("127.0.0.1", roots)).await,
        untrusted,
        "another name"
    );
    assert_eq!(
        failure(&with("localhost", RootCertStore::empty())).await,
        untrusted
    );
    server.abort();
}

#[tokio::test]
async fn a_url_that_is_none_is_a_failed_fetch() {
    assert_eq!(failure(&source("no url", |_| ())).await, FetchError::Url);
}
