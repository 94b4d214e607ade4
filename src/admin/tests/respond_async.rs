//! Refreshes that are answered before they are done (`Prefer: respond-async`).

use super::*;

fn preferring(preference: &str, request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let mut request = request;
    let preference = HeaderValue::from_str(preference).unwrap();
    request.headers_mut().append("prefer", preference);
    request
}

#[tokio::test]
async fn a_caller_that_prefers_it_is_answered_before_the_fetch_is_done() {
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
async fn errors_are_told_at_once_with_any_preference() {
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
async fn unfinished_accepted_refreshes_are_bounded() {
    let rosters = Rosters::new(Slow(Semaphore::new(0)), Options::default());
    let _online = rosters.join(user("john"), Arc::default());
    let hosts = Hosts::new([(domain("example.org"), Some(rosters.into()).into())]);
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
