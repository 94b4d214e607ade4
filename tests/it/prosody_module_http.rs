//! Who may use the HTTP of the module for Prosody, and what it makes of anything else.

use serde_json::{Value, json};

use support::{
    client::is_push,
    http::Connection,
    prosody::{DOMAIN, Prosody, TOKEN},
};

use crate::prosody_module::{put, read, write};

#[tokio::test]
async fn malformed_lists_change_nothing() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let list = json!({ "marie@example.org": { "name": "Marie" } });
    write(prosody, &john, &list, &[]).await;
    let before = read(prosody, &john).await;
    let mut client = prosody.login(&john, "desk").await;
    client.roster().await;
    let contact =
        |data: &str| format!("{{\"contacts\": {{\"good@example.org\": {{}}, \"a@b\": {data}}}}}");
    let named =
        |jid: &str| format!("{{\"contacts\": {{\"good@example.org\": {{}}, {jid}: {{}}}}}}");
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "null",
        "true",
        "7",
        "\"x\"",
        "[]",
        "[{}]",
        "{",
        "{}}",
        "{\"contacts\"",
        "\u{feff}{}",
        "not JSON",
        "{\"contacts\": null}",
        "{\"contacts\": []}",
        "{\"contacts\": 1}",
        "{\"contacts\": \"a@b\"}",
        "{\"contacts\": false}",
        "{\"remove\": null}",
        "{\"remove\": {}}",
        "{\"remove\": \"a@b\"}",
        "{\"remove\": [1]}",
        "{\"remove\": [null]}",
        "{\"remove\": [[]]}",
        "{\"remove\": [{}]}",
        "{\"remove\": [\"marie@example.org\", \"@\"]}",
        "{\"remove\": [\"a@b\", \"A@B\"]}",
        "{\"contacts\": {\"a@b\": {}}, \"remove\": [\"a@b\"]}",
        "{\"open\": null}",
        "{\"open\": {}}",
        "{\"open\": [\"@\"]}",
        "{\"close\": [1]}",
        "{\"contacts\": {\"a@b\": {}}, \"close\": [\"a@b/c\"]}",
        "{\"contacts\": {\"a@b\": {}, \"A@b\": {}}}",
        "{\"contacts\": {\"__array\": [{}], \"a@b\": {}}}",
        "{\"contacts\": {\"__hash\": [7, {}]}}",
        "{\"contacts\": {\"__hash\": [{}, {}]}}",
        "{\"contacts\": {\"__array\": 7}}",
    ]
    .map(|body| body.as_bytes().to_vec())
    .to_vec();
    for data in [
        "null",
        "[]",
        "7",
        "\"x\"",
        "true",
        "{\"name\": null}",
        "{\"name\": 7}",
        "{\"name\": {}}",
        "{\"name\": true}",
        "{\"name\": \"\\u0000\"}",
        "{\"name\": \"\\u001b\"}",
        "{\"name\": \"\\uffff\"}",
        "{\"name\": \"\\ud800\"}",
        "{\"name\": \"\\udc00\\ud800\"}",
        "{\"groups\": null}",
        "{\"groups\": {}}",
        "{\"groups\": \"x\"}",
        "{\"groups\": [7]}",
        "{\"groups\": [null]}",
        "{\"groups\": [\"\"]}",
        "{\"groups\": [\"\\u0001\"]}",
        "{\"groups\": [[\"x\"]]}",
        "{\"subscription\": \"remove\"}",
        "{\"subscription\": \"Both\"}",
        "{\"subscription\": \"\"}",
        "{\"subscription\": null}",
        "{\"subscription\": {}}",
        "{\"subscription\": false}",
    ] {
        bodies.push(contact(data).into_bytes());
    }
    let own = format!("\"{}\"", john.jid());
    let long = format!("\"{}@example.org\"", "a".repeat(1024));
    for jid in [
        "\"\"",
        "\"@\"",
        "\"a@\"",
        "\"@b\"",
        "\"a@b/c\"",
        "\"a b@c\"",
        "\"a@b@c\"",
        "\"/x\"",
        "\"a\\u0000@b\"",
        "\"\\u001b@b\"",
        "\"a<@b\"",
        "\"a@\\uffff\"",
        "7",
        "null",
        &own,
        &own.to_uppercase(),
        &long,
    ] {
        bodies.push(named(jid).into_bytes());
    }
    for raw in [
        &b"\xff"[..],
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\0",
    ] {
        let named = [b"{\"contacts\": {\"a@b\": {\"name\": \"", raw, b"\"}}}"].concat();
        let called = [b"{\"contacts\": {\"a", raw, b"@b\": {}}}"].concat();
        bodies.extend([named, called]);
    }
    // As deep as a body can be.
    for (open, close) in [("[", "]"), ("{\"\":", "}")] {
        let depth = 100_000;
        let deep = format!(
            "{{\"contacts\": {}7{}}}",
            open.repeat(depth),
            close.repeat(depth)
        );
        bodies.extend([deep.into_bytes(), open.repeat(depth).into_bytes()]);
    }
    let endpoint = prosody.list(&john.local);
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let response = put(&endpoint, DOMAIN, &body).await;
        assert_eq!(response.status(), 400, "{shown}");
        let said: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert!(said["error"].is_string(), "{shown}: {said}");
    }
    assert_eq!(read(prosody, &john).await, before);
    assert_eq!(client.fence().await, [], "no push");
}

#[tokio::test]
async fn malformed_http_harms_nobody() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let mut client = prosody.login(&john, "desk").await;
    let endpoint = prosody.list(&john.local);
    let (path, key) = (&endpoint.path, format!("Authorization: Bearer {TOKEN}\r\n"));
    for request in [
        format!(
            "PUT {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n{key}Content-Length: 99999999999\r\n\r\n"
        ),
        format!("PUT {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n{key}Content-Length: -1\r\n\r\n{{}}"),
        format!(
            "PUT {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n{key}Content-Length: 40\r\n\r\n{{\"contacts\": "
        ),
        format!(
            "PUT {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n{key}Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        ),
        format!("PUT {path}/../x HTTP/1.1\r\nHost: {DOMAIN}\r\n{key}\r\n"),
        format!(
            "PUT /rostergate/rosters/%zz%00%ff HTTP/1.1\r\nHost: {DOMAIN}\r\n{key}Content-Length: 2\r\n\r\n{{}}"
        ),
        format!("GET /rostergate/rosters/ HTTP/1.1\r\n{key}\r\n"),
        format!("GET /rostergate/rosters HTTP/1.0\r\n{key}\r\n"),
        "PUT\r\n\r\n".to_owned(),
        "\0\0\0\r\n\r\n".to_owned(),
    ] {
        let mut connection = Connection::open(&endpoint).await;
        connection.write(request.as_bytes()).await;
        assert_eq!(client.fence().await, [], "after {request:?}");
    }
    for method in ["POST", "DELETE", "PATCH", "TRACE", "put"] {
        let response = endpoint.request(method, &[], "{}").await;
        assert!(
            matches!(response.status(), 400..=405),
            "{method}: {}",
            response.status_line
        );
    }
    assert_eq!(endpoint.request("HEAD", &[], "").await.status(), 200);
    assert_eq!(read(prosody, &john).await, json!({}));
}

#[tokio::test]
async fn unknown_users_are_told_from_others() {
    let prosody = Prosody::shared_rostergate();
    let odd = prosody.account("odd%41+?#é");
    let list = json!({ "marie@example.org": {} });
    assert_eq!(write(prosody, &odd, &list, &[]).await["written"], 1);
    assert_eq!(
        read(prosody, &odd).await["marie@example.org"]["written"],
        true
    );
    let upper = prosody.list(&odd.local.to_uppercase());
    assert_eq!(
        upper.request("GET", &[], "").await.status(),
        200,
        "names are prepared"
    );
    let body = json!({ "contacts": list }).to_string();
    for name in [
        "nobody",
        "..",
        ".",
        "a/b",
        "a@b",
        "a b",
        " ",
        "\0",
        "\u{1b}",
        "%",
        "~~~",
        &"x".repeat(2000),
    ] {
        let endpoint = prosody.list(name);
        for (method, body) in [("GET", ""), ("PUT", &*body)] {
            let response = endpoint.request(method, &[], body).await;
            assert_eq!(response.status(), 404, "{name:?}");
        }
    }
    let response = prosody.list("").request("GET", &[], "").await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn only_who_has_the_token_reads_and_writes() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let own = prosody.list(&john.local);
    let open = prosody.bosh().at(&own.path);
    let longer = format!("Bearer {TOKEN}x");
    let body = json!({ "contacts": { "marie@example.org": {} } }).to_string();
    for (method, body) in [("GET", ""), ("PUT", &*body)] {
        for headers in [
            &[][..],
            &[("Authorization", "")],
            &[("Authorization", "Bearer ")],
            &[("Authorization", TOKEN)],
            &[("Authorization", &longer)],
            &[("Authorization", &longer[..longer.len() - 2])],
            &[("Authorization", "Basic am9objpzZWNyZXQ=")],
        ] {
            let response = open.request(method, headers, body).await;
            assert_eq!(response.status(), 401, "{method} {headers:?}");
        }
        // A proxy on this machine passes somebody else's request on.
        for address in [
            "192.0.2.1",
            "127.0.0.1.example.com",
            "evil.127.0.0.1",
            "::11",
            "::ffff:192.0.2.1",
            "::ffff:127.0.0.1.example.com",
        ] {
            let headers = [("X-Forwarded-For", address)];
            let response = own.request(method, &headers, body).await;
            assert_eq!(response.status(), 403, "{address}");
        }
        let response = own
            .request(method, &[("Origin", "http://example.com")], body)
            .await;
        assert_eq!(
            response.header("access-control-allow-origin"),
            None,
            "no page may read it"
        );
        assert_eq!(response.status(), 200);
    }
    let preflight = own
        .request("OPTIONS", &[("Origin", "http://example.com")], "")
        .await;
    assert_eq!(preflight.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn without_a_token_nothing_is_served() {
    let prosody = Prosody::builder().modules(["rostergate"]).start();
    let john = prosody.account("john");
    assert_eq!(
        prosody
            .list(&john.local)
            .request("GET", &[], "")
            .await
            .status(),
        404
    );
    let log = prosody.log_tail();
    assert!(
        log.contains("set rostergate_token or rostergate_token_file"),
        "{log}"
    );
    let mut client = prosody.login(&john, "desk").await;
    let set = "<query xmlns='jabber:iq:roster'><item jid='a@b'/></query>";
    assert_eq!(client.iq("set", "", set).await.error(), Some("not-allowed"));
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_no_empty_list_and_is_read_again() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let list = json!({ "marie@example.org": { "name": "Marie" } });
    // It is in no memory of Prosody's by then.
    let file = prosody.list_file(&john);
    let saved = prosody.account("saved");
    write(prosody, &saved, &list, &[]).await;
    let text = std::fs::read_to_string(prosody.list_file(&saved)).expect("it is saved");
    std::fs::write(&file, "return { cut").expect("it can be written");
    let endpoint = prosody.list(&john.local);
    for _ in 0..3 {
        let response = endpoint.request("GET", &[("Host", DOMAIN)], "").await;
        assert_eq!(response.status(), 500, "{}", response.text());
        let response = put(&endpoint, DOMAIN, b"{\"contacts\": {\"a@b\": {}}}").await;
        assert_eq!(response.status(), 500, "{}", response.text());
    }
    std::fs::write(&file, text).expect("it can be written");
    let named = |name: &str| json!({ "name": name, "subscription": "both", "written": true });
    let read_again = read(prosody, &john).await;
    assert_eq!(read_again, json!({ "marie@example.org": named("Marie") }));
    let list = json!({ "marie@example.org": { "name": "M" } });
    write(prosody, &john, &list, &[]).await;
    let mut client = prosody.login(&john, "desk").await;
    let roster = client.roster().await;
    assert_eq!(roster["marie@example.org"].name.as_deref(), Some("M"));
}

/// Prosody lets nobody log in then, unless it has read the list before, for somebody else: it keeps that, as if it were
/// empty, as long as a session of the user is there.
#[tokio::test]
async fn a_list_that_could_not_be_read_at_a_login_is_read_again() {
    let prosody = Prosody::shared_rostergate();
    let (john, saved) = (prosody.account("john"), prosody.account("saved"));
    let list = json!({ "marie@example.org": { "name": "Marie" } });
    write(prosody, &saved, &list, &[]).await;
    let text = std::fs::read_to_string(prosody.list_file(&saved)).expect("it is saved");
    let file = prosody.list_file(&john);
    std::fs::write(&file, "return { cut").expect("it can be written");
    let mut marie = prosody.login(&prosody.account("marie"), "desk").await;
    marie.send(&format!("<presence type='probe' to='{}'/>", john.jid()));
    marie.fence().await;
    let mut client = prosody.login(&john, "desk").await;
    client.roster().await;
    let endpoint = prosody.list(&john.local);
    for _ in 0..2 {
        let response = endpoint.request("GET", &[("Host", DOMAIN)], "").await;
        assert_eq!(response.status(), 500, "{}", response.text());
    }
    std::fs::write(&file, text).expect("it can be written");
    assert_eq!(
        read(prosody, &john).await["marie@example.org"]["name"],
        "Marie"
    );
    let roster = client.roster().await;
    assert_eq!(roster["marie@example.org"].name.as_deref(), Some("Marie"));
    let list = json!({ "marie@example.org": { "name": "M" } });
    write(prosody, &john, &list, &[]).await;
    client.expect("a push", is_push).await;
    let roster = client.roster().await;
    assert_eq!(roster["marie@example.org"].name.as_deref(), Some("M"));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let endpoint = prosody.list(&john.local);
    let body = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
    let long = put(&endpoint, DOMAIN, body(1 << 20).as_bytes()).await;
    assert_eq!(long.status(), 200, "{}", long.text());
    let longer = put(&endpoint, DOMAIN, body((1 << 20) + 1).as_bytes()).await;
    assert_eq!(longer.status(), 413, "{}", longer.text());
}
