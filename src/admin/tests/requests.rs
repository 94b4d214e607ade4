//! Requests: bodies, paths, methods and domains.

use super::*;

#[tokio::test]
async fn anything_but_an_array_of_strings_is_refused() {
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
    let hosts = Hosts::new([(domain("example.org"), None.into())]);
    let admin: Admin = Admin::new(&settings(), hosts, Arc::default());
    let request = request("POST", "/roster_admin/refresh", "").map(|_| Endless);
    let began = Instant::now();
    assert_eq!(said(call(&admin, request).await).await.0, 408);
    assert_eq!(began.elapsed(), settings().deadline);
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
        (domain("one.org"), Some(Arc::clone(&one).into()).into()),
        (domain("plain.org"), None.into()),
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
        (domain("one.org"), Some(one.into()).into()),
        (domain("two.org"), Some(two.into()).into()),
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
