//! Refreshes: users who are refreshed, and the answer to their caller.

use super::*;

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
async fn other_tasks_run_while_very_many_users_are_looked_up() {
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
async fn a_failing_backend_is_told_and_changes_nothing() {
    let setup = Setup::new().await;
    assert_eq!(setup.post(r#"["john"]"#).await, all_good(1));
    let before = setup.john.current().unwrap();
    macro_rules! no_object {
        ($instead:literal) => {
            concat!(
                "backend answered with something that is not a JSON object: ",
                $instead
            )
        };
    }
    for (script, reason) in [
        (Script::Answer(404, "{}".into()), "backend answered 404"),
        (Script::Answer(500, "{}".into()), "backend answered 500"),
        (Script::Answer(204, String::new()), "backend answered 204"),
        (
            Script::Answer(302, String::new()),
            "backend answered 302, a redirect to /elsewhere",
        ),
        (Script::Raw(vec![]), "backend broke off the connection"),
        (Script::json("<html/>"), no_object!("HTML")),
        (Script::json(""), no_object!("nothing")),
        (
            Script::json("null"),
            no_object!("JSON null (for a user without contacts, {} is right)"),
        ),
        (
            Script::json(r#"["marie@example.org"]"#),
            no_object!("a JSON array (contacts are the keys of an object)"),
        ),
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
    let hosts = Hosts::new([(domain("example.org"), Some(rosters.into()).into())]);
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
async fn invalid_names_are_errors_of_their_own() {
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
async fn an_array_without_any_valid_name_is_a_bad_request() {
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

#[tokio::test]
async fn the_list_of_failures_is_bounded() {
    let setup = Setup::new().await;
    let names = vec!["john@elsewhere.net"; 1500];
    let (_, said) = setup.post(&json!(names).to_string()).await;
    assert_eq!(said["errors"], 1500);
    assert_eq!(said["failed"].as_array().unwrap().len(), 1000);
    assert_eq!(said["failed_omitted"], 500);
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
    let hosts = Hosts::new([(domain("example.org"), Some(rosters.into()).into())]);
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
async fn slow_backends_delay_only_users_who_are_online() {
    let rosters = Rosters::new(Slow(Semaphore::new(0)), Options::default());
    let names: Vec<_> = (0..6_000).map(|n| format!("user{n:020}")).collect();
    let _online = rosters.join(user(&names[0]), Arc::default());
    let hosts = Hosts::new([(domain("example.org"), Some(rosters.into()).into())]);
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
