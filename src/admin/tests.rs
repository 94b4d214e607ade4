mod access;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::HeaderValue;
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use super::*;
use crate::{
    backend::{
        FetchError, Fetched, WakeFlag,
        refresh::{Lease, Options},
        testing::{Script, TestBackend, domain, source, user},
    },
    config::{self, Secret},
    roster::{Username, left_out::LeftOut, snapshot::Validators},
};

const MARIE: &str = r#"{"marie@example.org": {"name": "Marie"}}"#;

fn settings() -> config::Admin {
    config::Admin {
        path: "/roster_admin".into(),
        listen: None,
        listen_tls: None,
        token: None,
        client_ca: None,
        deadline: Duration::from_secs(30),
        max_body: 1 << 20,
    }
}

fn join<S: ContactSource>(rosters: &Arc<Rosters<S>>, name: &str) -> Lease<S> {
    rosters.join(user(name), Arc::default())
}

/// A gateway for `example.org` with a backend of its own; john and aaron are online.
struct Setup {
    backend: TestBackend,
    john: Lease<HttpSource>,
    _aaron: Lease<HttpSource>,
    admin: Admin,
}

impl Setup {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(edit: impl FnOnce(&mut config::Admin)) -> Self {
        let backend = TestBackend::start().await;
        backend.on("/contacts/john", Script::json(MARIE));
        backend.on("/contacts/aaron", Script::json(MARIE));
        let rosters = Rosters::new(backend.source(|_| ()), Options::default());
        let (john, _aaron) = (join(&rosters, "john"), join(&rosters, "aaron"));
        let hosts = Hosts::new([(domain("example.org"), Some(rosters))]);
        let mut config = settings();
        edit(&mut config);
        let admin = Admin::new(&config, hosts, Arc::default());
        Self {
            backend,
            john,
            _aaron,
            admin,
        }
    }

    async fn post(&self, body: &str) -> (u16, Value) {
        let request = request("POST", "/roster_admin/refresh", body);
        said(call(&self.admin, request).await).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        said(call(&self.admin, request("GET", path, "")).await).await
    }
}

fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "example.org:5290")
        .extension(Peer(([127, 0, 0, 1], 40000).into()))
        .body(Full::from(body.to_owned()))
        .unwrap()
}

async fn call<S, B>(admin: &Admin<S>, request: Request<B>) -> Response<Full<Bytes>>
where
    S: ContactSource + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
{
    admin.clone().oneshot(request).await.unwrap()
}

/// Status and JSON of an answer, which is what every answer has to be.
async fn said(response: Response<Full<Bytes>>) -> (u16, Value) {
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["cache-control"], "no-store");
    let cors = |name: &http::HeaderName| name.as_str().starts_with("access-control");
    assert!(!headers.keys().any(cors), "{headers:?}");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let word = match status {
        200 => "ok",
        202 => "accepted",
        _ => "error",
    };
    assert_eq!(body["status"], word, "{body}");
    assert!(body["message"].is_string(), "{body}");
    (status, body)
}

fn all_good(updated: usize) -> (u16, Value) {
    let message = "roster update complete";
    let body = json!({"status": "ok", "message": message, "updated": updated, "errors": 0});
    (200, body)
}

#[tokio::test]
async fn users_who_are_online_are_refreshed_before_the_answer() {
    let setup = Setup::new().await;
    assert_eq!(setup.post(r#"["john", "aaron"]"#).await, all_good(2));
    assert_eq!(setup.john.current().unwrap().len(), 1);
    setup.backend.on("/contacts/john", Script::json("[]"));
    assert_eq!(setup.post(r#" ["john"] "#).await, all_good(1));
    assert!(
        setup.john.current().unwrap().is_empty(),
        "[] is an empty roster"
    );
    assert_eq!(setup.backend.requests().len(), 3);
}

#[tokio::test]
async fn every_entry_counts_and_every_user_is_fetched_once() {
    let setup = Setup::new().await;
    let names = r#"["john", "john", "JOHN", "John@Example.ORG", "nobody", "aaron"]"#;
    assert_eq!(setup.post(names).await, all_good(6));
    let mut paths = setup.backend.paths();
    paths.sort();
    assert_eq!(paths, ["/contacts/aaron", "/contacts/john"]);
}

#[tokio::test]
async fn others_get_their_turns_while_very_many_users_are_looked_for() {
    let setup = Setup::new().await;
    let names: Vec<_> = (0..10_000).map(|n| format!("user{n}")).collect();
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let answer = setup.post(&json!(names).to_string()).await;
    other.abort();
    assert_eq!(answer, all_good(10_000));
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns > 10, "only {turns}");
}

#[tokio::test]
async fn users_who_are_offline_count_without_a_fetch() {
    let setup = Setup::new().await;
    assert_eq!(setup.post("[]").await, all_good(0));
    let names: Vec<_> = (0..10_000).map(|n| format!("user{n}")).collect();
    assert_eq!(
        setup.post(&json!(names).to_string()).await,
        all_good(10_000)
    );
    assert!(setup.backend.requests().is_empty());
}

#[tokio::test]
async fn whatever_is_no_array_of_strings_is_refused() {
    let setup = Setup::new().await;
    for body in [
        "",
        "not json",
        "{}",
        r#"{"john": true}"#,
        r#""john""#,
        "42",
        "null",
        "true",
        "false",
        "[1, 2]",
        "[null]",
        "[true]",
        r#"[["john"]]"#,
        r#"[{"a": 1}]"#,
        r#"["john", null, "aaron"]"#,
        r#"["john"] x"#,
        r#"["john""#,
        "\u{feff}[\"john\"]",
    ] {
        let (status, said) = setup.post(body).await;
        assert_eq!(status, 400, "{body}: {said}");
    }
    assert!(setup.backend.requests().is_empty());
}

/// A body that says nothing of its length.
struct Unsized(Vec<&'static str>);

impl Body for Unsized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(|data| Ok(Frame::data(Bytes::from(data)))))
    }
}

#[tokio::test]
async fn the_body_is_bounded_with_and_without_its_length() {
    let setup = Setup::with(|admin| admin.max_body = 8).await;
    assert_eq!(setup.post(r#"["john"]"#).await, all_good(1));
    let (status, said_json) = setup.post(r#"["aaron"]"#).await;
    assert_eq!(status, 413, "{said_json}");
    let parts = vec![r#""]"#, "aaron", r#"[""#];
    let streamed = request("POST", "/roster_admin/refresh", "").map(|_| Unsized(parts));
    assert_eq!(said(call(&setup.admin, streamed).await).await.0, 413);
    assert_eq!(setup.backend.paths(), ["/contacts/john"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_given_up() {
    struct Endless;
    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }
    let hosts = Hosts::new([(domain("example.org"), None)]);
    let admin: Admin = Admin::new(&settings(), hosts, Arc::default());
    let request = request("POST", "/roster_admin/refresh", "").map(|_| Endless);
    let began = Instant::now();
    assert_eq!(said(call(&admin, request).await).await.0, 408);
    assert_eq!(began.elapsed(), settings().deadline);
}

#[tokio::test]
async fn a_failing_backend_is_told_and_changes_nothing() {
    let setup = Setup::new().await;
    assert_eq!(setup.post(r#"["john"]"#).await, all_good(1));
    let before = setup.john.current().unwrap();
    let no_object = "backend answered with something that is not a JSON object";
    for (script, reason) in [
        (Script::Answer(404, "{}".into()), "backend answered 404"),
        (Script::Answer(500, "{}".into()), "backend answered 500"),
        (Script::Answer(204, String::new()), "backend answered 204"),
        (
            Script::Answer(302, String::new()),
            "backend answered 302, a redirect to /elsewhere",
        ),
        (Script::Raw(vec![]), "backend broke off the connection"),
        (Script::json("<html/>"), no_object),
        (Script::json(""), no_object),
        (Script::json("null"), no_object),
        (Script::json(r#"["marie@example.org"]"#), no_object),
        (
            Script::Endless,
            "backend's answer is larger than 65536 bytes",
        ),
    ] {
        let case = format!("{script:?}");
        setup.backend.on("/contacts/john", script);
        let failed = json!([{"username": "JOHN", "reason": reason}]);
        let (status, said) = setup.post(r#"["JOHN", "aaron"]"#).await;
        assert_eq!((status, &said["failed"]), (200, &failed), "{case}");
        assert_eq!((&said["updated"], &said["errors"]), (&json!(1), &json!(1)));

        let (status, said) = setup.post(r#"["JOHN"]"#).await;
        assert_eq!((status, &said["failed"]), (500, &failed), "{case}");
        assert_eq!((&said["updated"], &said["errors"]), (&json!(0), &json!(1)));

        let said = setup.get("/roster_admin/refresh/john").await;
        assert_eq!(
            said,
            (502, json!({"status": "error", "message": reason})),
            "{case}"
        );
        assert!(
            Arc::ptr_eq(&before, &setup.john.current().unwrap()),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_backend_that_is_down_is_told() {
    let backend = TestBackend::start().await;
    let address = backend.address;
    let source = source(&format!("http://{address}/"), |_| ());
    backend.stop().await;
    let rosters = Rosters::new(source, Options::default());
    let _john = join(&rosters, "john");
    let hosts = Hosts::new([(domain("example.org"), Some(rosters))]);
    let admin = Admin::new(&settings(), hosts, Arc::default());
    let get = request("GET", "/roster_admin/refresh/john", "");
    let (status, body) = said(call(&admin, get).await).await;
    assert_eq!(status, 502);
    assert_eq!(body["message"], "backend refused the connection");
}

#[tokio::test]
async fn the_deadline_holds_though_the_backend_is_silent() {
    let setup = Setup::with(|admin| admin.deadline = Duration::from_millis(700)).await;
    setup.backend.on("/contacts/john", Script::Hang(vec![]));
    let (status, said) = setup.post(r#"["john", "aaron", "john"]"#).await;
    let failed = json!({"username": "john", "reason": "not finished within 700ms"});
    assert_eq!(status, 200);
    assert_eq!(said["failed"], json!([failed, failed]));
    assert_eq!(said["updated"], 1, "aaron does not wait for john");
    let (status, said) = setup.get("/roster_admin/refresh/john").await;
    assert_eq!((status, &said["message"]), (502, &failed["reason"]));
}

#[tokio::test]
async fn logging_out_during_a_refresh_counts_as_updated() {
    let setup = Setup::new().await;
    let (open, gate) = watch::channel(false);
    setup.backend.on("/contacts/john", Script::Gate(gate));
    let post = request("POST", "/roster_admin/refresh", r#"["john"]"#);
    let admin = setup.admin.clone();
    let answer = tokio::spawn(async move { said(call(&admin, post).await).await });
    setup.backend.seen(1).await;
    drop(setup.john);
    drop(open);
    assert_eq!(answer.await.unwrap(), all_good(1));
}

#[tokio::test]
async fn names_that_are_none_are_errors_of_their_own() {
    let setup = Setup::new().await;
    let none = "not a valid username";
    let entries = [
        ("", none),
        ("a b", none),
        ("a/b", none),
        ("a@b@c", none),
        ("@example.org", none),
        ("john@", none),
        ("john@example.org/phone", none),
        ("john@elsewhere.net", "not a configured domain"),
    ];
    let mut names: Vec<_> = entries.iter().map(|(name, _)| *name).collect();
    let failed: Vec<_> = entries
        .iter()
        .map(|(name, reason)| json!({"username": name, "reason": reason}))
        .collect();
    let (status, said) = setup.post(&json!(names).to_string()).await;
    assert_eq!((status, &said["failed"]), (500, &json!(failed)));
    names.push("john");
    let (status, said) = setup.post(&json!(names).to_string()).await;
    assert_eq!((status, &said["failed"]), (200, &json!(failed)));
    assert_eq!(said["updated"], 1);
}

/// Nobody should try that again.
#[tokio::test]
async fn an_array_of_nothing_that_can_be_a_name_is_a_bad_request() {
    let setup = Setup::new().await;
    let long = "x".repeat(1024);
    let none = json!({"status": "error", "message": "none of these is a valid username"});
    for names in [
        json!([""]),
        json!(["a/b"]),
        json!(["a b", "a b"]),
        json!([long, "", "@example.org", "john@"]),
    ] {
        let refused = setup.post(&names.to_string()).await;
        assert_eq!(refused, (400, none.clone()), "{names}");
    }
    assert_eq!(setup.post(r#"["", "john"]"#).await.0, 200);
    assert_eq!(setup.backend.paths(), ["/contacts/john"]);
}

fn preferring(preference: &str, request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let mut request = request;
    let preference = HeaderValue::from_str(preference).unwrap();
    request.headers_mut().append("prefer", preference);
    request
}

#[tokio::test]
async fn who_prefers_it_is_answered_before_the_list_is_there() {
    let setup = Setup::new().await;
    let message = "roster update accepted";
    let accepted = (202, json!({"status": "accepted", "message": message}));
    for (number, preference) in [
        "respond-async",
        "return=minimal, Respond-Async; wait=10",
        "wait=10,respond-async",
    ]
    .into_iter()
    .enumerate()
    {
        for (of_both, ask) in [
            request("POST", "/roster_admin/refresh", r#"["john", "nobody", ""]"#),
            request("GET", "/roster_admin/refresh/john", ""),
        ]
        .into_iter()
        .enumerate()
        {
            let (open, gate) = watch::channel(false);
            setup.backend.on("/contacts/john", Script::Gate(gate));
            let answer = call(&setup.admin, preferring(preference, ask)).await;
            assert_eq!(answer.headers()["preference-applied"], "respond-async");
            assert_eq!(said(answer).await, accepted, "{preference}");
            setup.backend.seen(2 * number + of_both + 1).await;
            open.send_replace(true);
        }
    }
    for preference in [
        "respond-asynchronously",
        "wait=10",
        "handling=respond-async",
    ] {
        setup.backend.on("/contacts/john", Script::json("{}"));
        let ask = request("GET", "/roster_admin/refresh/john", "");
        let answer = call(&setup.admin, preferring(preference, ask)).await;
        assert!(!answer.headers().contains_key("preference-applied"));
        assert_eq!(said(answer).await.0, 200, "{preference}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_whatever_is_preferred() {
    let setup = Setup::new().await;
    for (method, path, body, status) in [
        ("POST", "/roster_admin/refresh", "nonsense", 400),
        ("POST", "/roster_admin/refresh", r#"["a b"]"#, 400),
        ("POST", "/roster_admin/other.org/refresh", "[]", 404),
        ("GET", "/roster_admin/refresh/a%2Fb", "", 400),
        ("GET", "/roster_admin/refresh", "", 405),
    ] {
        let ask = preferring("respond-async", request(method, path, body));
        assert_eq!(
            said(call(&setup.admin, ask).await).await.0,
            status,
            "{body}"
        );
    }
}

/// The places are free again once the deadline has passed.
#[tokio::test(start_paused = true)]
async fn what_is_accepted_and_unfinished_is_bounded() {
    let rosters = Rosters::new(Slow(Semaphore::new(0)), Options::default());
    let _online = rosters.join(user("john"), Arc::default());
    let hosts = Hosts::new([(domain("example.org"), Some(rosters))]);
    let admin = Admin::new(&settings(), hosts, Arc::default());
    let ask = async |request: Request<Full<Bytes>>| {
        let answer = call(&admin, preferring("respond-async", request)).await;
        let retry = answer.headers().contains_key("retry-after");
        let (status, _) = said(answer).await;
        assert_eq!(retry, status == 503);
        status
    };
    let get = || request("GET", "/roster_admin/refresh/john", "");
    let large = || {
        let filler = " ".repeat((1 << 20) - 8);
        request(
            "POST",
            "/roster_admin/refresh",
            &format!("[\"john\"]{filler}"),
        )
    };
    for _ in 0..2 {
        for _ in 0..3 {
            assert_eq!(ask(large()).await, 202);
        }
        for _ in 0..256 {
            assert_eq!(ask(get()).await, 202);
        }
        assert_eq!(ask(get()).await, 503);
        assert_eq!(ask(large()).await, 503);
        assert_eq!(
            said(call(&admin, request("POST", "/roster_admin/refresh", "[]")).await).await,
            all_good(0),
            "who waits is not refused"
        );
        // The backend is given up after 100 ms.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn the_list_of_failures_is_bounded() {
    let setup = Setup::new().await;
    let names = vec!["john@elsewhere.net"; 1500];
    let (_, said) = setup.post(&json!(names).to_string()).await;
    assert_eq!(said["errors"], 1500);
    assert_eq!(said["failed"].as_array().unwrap().len(), 1000);
    assert_eq!(said["failed_omitted"], 500);
}

#[tokio::test]
async fn one_user_by_path() {
    let setup = Setup::new().await;
    let ok = (
        200,
        json!({"status": "ok", "message": "roster update complete"}),
    );
    for path in [
        "/roster_admin/refresh/john",
        "/roster_admin/refresh/J%6Fhn?x=1",
        "/roster_admin/refresh/john%40example.org",
        "/roster_admin/example.org/refresh/john@example.org",
        "/roster_admin/EXAMPLE.org/refresh/john",
    ] {
        let before = setup.backend.requests().len();
        assert_eq!(setup.get(path).await, ok, "{path}");
        assert_eq!(setup.backend.requests().len(), before + 1, "{path}");
    }
    let before = setup.backend.requests().len();
    assert_eq!(setup.get("/roster_admin/refresh/nobody").await, ok);
    for (path, status) in [
        ("/roster_admin/refresh/a%20b", 400),
        ("/roster_admin/refresh/a%2Fb", 400),
        ("/roster_admin/refresh/%FF", 400),
        ("/roster_admin/refresh/", 404),
        ("/roster_admin/refresh/john/x", 404),
        ("/roster_admin/nope", 404),
        ("/roster_administration/refresh/john", 404),
        ("/roster_admin/other.org/refresh/john", 404),
        ("/", 404),
    ] {
        assert_eq!(setup.get(path).await.0, status, "{path}");
    }
    assert_eq!(setup.backend.requests().len(), before);
}

#[tokio::test]
async fn other_methods_learn_which_one_is_right() {
    let setup = Setup::new().await;
    for (method, path, allowed) in [
        ("GET", "/roster_admin/refresh", "POST"),
        ("HEAD", "/roster_admin/refresh", "POST"),
        ("PUT", "/roster_admin/refresh", "POST"),
        ("DELETE", "/roster_admin/refresh", "POST"),
        ("OPTIONS", "/roster_admin/refresh", "POST"),
        ("DELETE", "/roster_admin/example.org/refresh", "POST"),
        ("POST", "/roster_admin/refresh/john", "GET"),
        ("HEAD", "/roster_admin/refresh/john", "GET"),
        ("OPTIONS", "/roster_admin/refresh/john", "GET"),
    ] {
        let response = call(&setup.admin, request(method, path, r#"["john"]"#)).await;
        assert_eq!(response.headers()["allow"], allowed, "{method} {path}");
        assert_eq!(said(response).await.0, 405, "{method} {path}");
    }
    assert!(setup.backend.requests().is_empty());
}

#[tokio::test]
async fn the_domain_is_told_by_path_jid_or_host() {
    let backend = TestBackend::start().await;
    backend.on("*", Script::json("{}"));
    let make = |name: &str| {
        let source = source(&format!("http://{}/{name}/", backend.address), |_| ());
        Rosters::new(source, Options::default())
    };
    let (one, two) = (make("one"), make("two"));
    let _online = [join(&one, "john"), join(&two, "john")];
    let hosts = Hosts::new([
        (domain("one.org"), Some(Arc::clone(&one))),
        (domain("plain.org"), None),
    ]);
    let admin = Admin::new(&settings(), hosts.clone(), Arc::default());
    let ask = async |host: Option<&str>, path: &str, body: &str| {
        let mut request = request("POST", path, body);
        request.headers_mut().remove("host");
        if let Some(host) = host {
            let host = HeaderValue::from_str(host).unwrap();
            request.headers_mut().insert("host", host);
        }
        let before = backend.requests().len();
        let status = said(call(&admin, request).await).await.0;
        (status, backend.paths().split_off(before).join(" "))
    };
    let plain = r#"["john"]"#;
    let (refresh, nothing) = ("/roster_admin/refresh", String::new());
    // Only one domain has rosters.
    for host in [
        "one.org",
        "ONE.org:5290",
        "localhost",
        "127.0.0.1",
        "[::1]:5290",
    ] {
        assert_eq!(
            ask(Some(host), refresh, plain).await,
            (200, "/one/john".into()),
            "{host}"
        );
    }
    for host in ["unknown.org", "x y", ""] {
        let refused = ask(Some(host), refresh, plain).await;
        assert_eq!(refused, (403, nothing.clone()), "{host}");
    }
    assert_eq!(ask(None, refresh, plain).await, (200, "/one/john".into()));
    assert_eq!(
        ask(Some("plain.org"), refresh, plain).await,
        (404, nothing.clone())
    );
    let path = "/roster_admin/plain.org/refresh";
    assert_eq!(
        ask(Some("one.org"), path, plain).await,
        (404, nothing.clone())
    );
    let jid = r#"["john@plain.org"]"#;
    assert_eq!(
        ask(Some("one.org"), refresh, jid).await,
        (500, nothing.clone())
    );

    // Two have.
    hosts.replace([
        (domain("one.org"), Some(one)),
        (domain("two.org"), Some(two)),
    ]);
    assert_eq!(
        ask(Some("Two.ORG:80"), refresh, plain).await,
        (200, "/two/john".into())
    );
    assert_eq!(
        ask(Some("localhost"), refresh, plain).await,
        (400, nothing.clone())
    );
    assert_eq!(
        ask(Some("localhost"), refresh, "[]").await,
        (200, nothing.clone())
    );
    let jid = r#"["john@two.org"]"#;
    assert_eq!(
        ask(Some("one.org"), refresh, jid).await,
        (200, "/two/john".into())
    );
    assert_eq!(
        ask(Some("localhost"), refresh, jid).await,
        (200, "/two/john".into())
    );
    let path = "/roster_admin/two.org/refresh";
    assert_eq!(
        ask(Some("one.org"), path, plain).await,
        (200, "/two/john".into())
    );
    assert_eq!(
        ask(Some("one.org"), path, r#"["john@one.org"]"#).await,
        (500, nothing)
    );

    // HTTP/2 has no `Host`.
    let absolute = request("GET", "http://two.org/roster_admin/refresh/john", "");
    let (mut parts, body) = absolute.into_parts();
    parts.headers.clear();
    let before = backend.requests().len();
    assert_eq!(
        said(call(&admin, Request::from_parts(parts, body)).await)
            .await
            .0,
        200
    );
    assert_eq!(backend.paths()[before..], ["/two/john"]);
}

/// Answers two at a time, each after 30 ms, and gives up after 100 ms, as `HttpSource` would.
struct Slow(Semaphore);

impl ContactSource for Slow {
    async fn contacts(&self, _: &Username, _: Option<&Validators>) -> Result<Fetched, FetchError> {
        let after = Duration::from_millis(100);
        let answer = async {
            let _permit = self.0.acquire().await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        let answered = tokio::time::timeout(after, answer).await;
        answered.map_err(|_| FetchError::Timeout { after })?;
        Ok(Fetched::New {
            contacts: vec![],
            validators: Validators::default(),
            left_out: LeftOut::default(),
            room: None,
        })
    }

    fn address(&self, _: &Username) -> Option<String> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_array_does_not_time_out_by_waiting_for_itself() {
    let options = Options {
        concurrency: 2,
        ..Options::default()
    };
    let rosters = Rosters::new(Slow(Semaphore::new(2)), options);
    let names: Vec<_> = (0..40).map(|n| format!("user{n}")).collect();
    let wake_flag = Arc::new(WakeFlag::default());
    let online = names
        .iter()
        .map(|name| rosters.join(user(name), Arc::clone(&wake_flag)));
    let _online: Vec<_> = online.collect();
    let hosts = Hosts::new([(domain("example.org"), Some(rosters))]);
    let admin = Admin::new(&settings(), hosts, Arc::default());
    let post = request("POST", "/roster_admin/refresh", &json!(names).to_string());
    let began = Instant::now();
    assert_eq!(said(call(&admin, post).await).await, all_good(40));
    let took = began.elapsed().as_millis();
    assert!((600..660).contains(&took), "two at a time: {took} ms");
}

/// Users of whom nobody is there count at once, and long arrays wait for the backends of others only if there are very
/// many of them.
#[tokio::test(start_paused = true)]
async fn slow_backends_keep_nobody_but_those_who_are_there() {
    let rosters = Rosters::new(Slow(Semaphore::new(0)), Options::default());
    let names: Vec<_> = (0..6_000).map(|n| format!("user{n:020}")).collect();
    let _online = rosters.join(user(&names[0]), Arc::default());
    let hosts = Hosts::new([(domain("example.org"), Some(rosters))]);
    let admin = Admin::new(&settings(), hosts, Arc::default());
    let post =
        |names: &[String]| request("POST", "/roster_admin/refresh", &json!(names).to_string());
    // The backend is given up after 100 ms.
    for (slow, waited) in [(3, 0), (4, 100)] {
        let began = Instant::now();
        let slow = (0..slow).map(|_| call(&admin, post(&names)));
        let others = async {
            let said = said(call(&admin, post(&names[1..])).await).await;
            (said, began.elapsed().as_millis())
        };
        let (slow, others) = tokio::join!(futures_util::future::join_all(slow), others);
        assert_eq!(others.0, all_good(5_999));
        assert!((waited..waited + 50).contains(&others.1), "{} ms", others.1);
        for answer in slow {
            let (_, summary) = said(answer).await;
            assert_eq!(summary["updated"], 5_999, "{summary}");
        }
    }
}
