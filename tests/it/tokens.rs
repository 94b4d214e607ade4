//! Logins without a password in the page: tokens, with a Prosody that asks the gateway, and an ejabberd that checks them
//! by itself.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use support::{
    client::{Account, Client, Transport},
    ejabberd::Ejabberd,
    gateway::{Builder, Gateway},
    http::{Endpoint, Response},
    prosody::Prosody,
    sasl::Mechanism,
    within,
};

pub(crate) const HTTP: &str = "login = \"http\"";

pub(crate) fn parsed(response: &Response) -> Value {
    serde_json::from_str(response.text()).unwrap_or_else(|_| panic!("{response:?}"))
}

/// Where servers ask.
fn questions(gateway: &Gateway) -> Endpoint {
    gateway.admin().at("/xmpp_auth")
}

/// A user of `prosody` who logs in by tokens of `gateway`.
pub(crate) fn member(prosody: &Prosody, gateway: &Gateway, name: &str) -> Account {
    let questions = questions(gateway);
    let url = format!("http://{}{}", questions.address, questions.path);
    prosody.account_known_at(name, &url, "")
}

/// A gateway in front of the Prosody that asks, with this line for its host.
pub(crate) fn asked(change: impl FnOnce(Builder) -> Builder) -> (&'static Prosody, Gateway) {
    let prosody = Prosody::shared_asking();
    let gateway = change(Gateway::builder(prosody)).start();
    (prosody, gateway)
}

async fn ask_for_token(gateway: &Gateway, body: &Value) -> Response {
    let token = gateway.admin().at("/roster_admin/token");
    token.request("POST", &[], &body.to_string()).await
}

/// The user with a new token as the password.
async fn with_token(gateway: &Gateway, account: &Account) -> Account {
    let response = ask_for_token(gateway, &json!({ "username": account.local })).await;
    assert_eq!(response.status(), 200, "{response:?}");
    let answer = parsed(&response);
    assert_eq!(answer["jid"], json!(account.jid()));
    Account {
        password: answer["password"].as_str().expect("a text").to_owned(),
        ..account.clone()
    }
}

async fn may_log_in(to: &Transport, account: &Account) -> bool {
    let mut client = Client::connect(to, &account.domain).await;
    let outcome = client.try_authenticate(Mechanism::Plain, account).await;
    outcome.is_ok()
}

/// Waits until a token has expired.
async fn expiry(answer: &Value) {
    let expires = answer["expires"].as_str().expect("a date");
    // It is written to the second.
    let expires =
        humantime::parse_rfc3339(expires).expect("a date") + std::time::Duration::from_secs(1);
    let passing = async {
        while SystemTime::now() < expires {
            tokio::task::yield_now().await;
        }
    };
    within("the end of a second", passing).await;
}

#[tokio::test]
async fn a_token_is_the_password_of_one_user_for_one_login() {
    let (prosody, gateway) = asked(|it| it.host(HTTP));
    let (john, aaron) = (
        member(prosody, &gateway, "john"),
        member(prosody, &gateway, "aaron"),
    );
    let here = gateway.transport();
    assert!(!may_log_in(&here, &john).await, "without a token");

    let token = with_token(&gateway, &john).await;
    let stolen = Account {
        password: token.password.clone(),
        ..aaron.clone()
    };
    assert!(
        !may_log_in(&here, &stolen).await,
        "with that of somebody else"
    );
    let client = gateway.login(&token, "web").await;
    assert_eq!(client.jid, format!("{}/web", john.jid()));
    assert!(!may_log_in(&here, &token).await, "for the second time");

    // Native clients may come with one, too.
    let native = with_token(&gateway, &aaron).await;
    let mut native = Client::login(&Transport::Tcp(prosody.c2s()), &native, "desk").await;
    client.send_message(&native.jid, "hello");
    native.expect_message("hello").await;

    let tokens = [
        with_token(&gateway, &john).await,
        with_token(&gateway, &john).await,
    ];
    gateway.signal("HUP");
    for token in &tokens {
        assert!(may_log_in(&here, token).await, "made before a reload");
    }
    let log = gateway.log();
    assert!(
        log.contains("token issued") && log.contains(&john.local),
        "{log}"
    );
    for secret in tokens.iter().chain([&token]) {
        assert!(!log.contains(&secret.password), "a token in {log}");
    }
}

#[tokio::test]
async fn a_token_expires() {
    let (prosody, gateway) = asked(|it| it.host(HTTP));
    let john = member(prosody, &gateway, "john");
    let body = json!({ "username": john.local, "ttl": 1 });
    let answer = parsed(&ask_for_token(&gateway, &body).await);
    let token = answer["password"].as_str().expect("a text").to_owned();
    expiry(&answer).await;
    let late = Account {
        password: token,
        ..john
    };
    assert!(!may_log_in(&gateway.transport(), &late).await);
    assert!(gateway.log().contains("expired"), "{}", gateway.log());
}

#[tokio::test]
async fn whose_sessions_the_site_ends_has_no_tokens_left() {
    let (prosody, gateway) = asked(|it| it.host(HTTP));
    let (john, aaron) = (
        member(prosody, &gateway, "john"),
        member(prosody, &gateway, "aaron"),
    );
    let (of_john, of_aaron) = (
        with_token(&gateway, &john).await,
        with_token(&gateway, &aaron).await,
    );
    let path = format!("/roster_admin/sessions?user={}", john.local);
    let answer = gateway.admin().at(&path).request("DELETE", &[], "").await;
    assert_eq!(answer.status(), 200);
    for (account, expected) in [(of_john, "false"), (of_aaron, "true")] {
        let (user, pass) = (&account.local, &account.password);
        let query = format!("user={user}&server=example.org&pass={pass}");
        let path = format!("/xmpp_auth/check_password?{query}");
        let answer = questions(&gateway).at(&path).request("GET", &[], "").await;
        assert_eq!(answer.text(), expected, "{user}");
    }
    assert!(gateway.log().contains("revoked"), "{}", gateway.log());
}

/// Out at the site, and in again.
#[tokio::test]
async fn who_gets_a_token_may_log_in_though_the_site_has_ended_sessions() {
    let (prosody, gateway) = asked(|it| it.host(HTTP));
    let john = member(prosody, &gateway, "john");
    let path = format!("/roster_admin/sessions?user={}", john.local);
    let answer = gateway.admin().at(&path).request("DELETE", &[], "").await;
    assert_eq!(answer.status(), 200);
    let again = with_token(&gateway, &john).await;
    assert!(may_log_in(&gateway.transport(), &again).await);
}

#[tokio::test]
async fn a_token_is_for_one_domain() {
    let another =
        "[[host]]\ndomain = \"example.net\"\nupstream = \"xmpp://127.0.0.1:1\"\nlogin = \"http\"";
    let (_, gateway) = asked(|it| it.host(HTTP).tables(another));
    let mut tokens = Vec::new();
    for domain in ["example.org", "example.net"] {
        let path = format!("/roster_admin/{domain}/token");
        let body = json!({ "username": "john" }).to_string();
        let answer = gateway.admin().at(&path).request("POST", &[], &body).await;
        let answer = parsed(&answer);
        tokens.push(answer["password"].as_str().expect("a text").to_owned());
    }
    // Nobody can tell which of the two is meant.
    let answer = ask_for_token(&gateway, &json!({ "username": "john" })).await;
    assert_eq!(answer.status(), 400, "{answer:?}");
    for (token, domain, expected) in [
        (&tokens[0], "example.net", "false"),
        (&tokens[1], "example.org", "false"),
        (&tokens[0], "example.org", "true"),
        (&tokens[1], "example.net", "true"),
    ] {
        let path = format!("/xmpp_auth/check_password?user=john&server={domain}&pass={token}");
        let answer = questions(&gateway).at(&path).request("GET", &[], "").await;
        assert_eq!(answer.text(), expected, "{domain}");
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_whatever_is() {
    let judge = Judge::start("200 OK", "pass=open+sesame").await;
    let url = format!("auth_url = \"http://{}/auth\"", judge.address);
    let (prosody, gateway) = asked(|it| {
        let it = it.host(HTTP).host(&url).tables("[log]\naccess = true");
        it.env("ROSTERGATE_LOG", "trace")
    });
    let john = member(prosody, &gateway, "john");
    let token = with_token(&gateway, &john).await;
    let mut client = gateway.login(&token, "web").await;
    client.fence().await;
    let typed = Account {
        password: "open sesame".to_owned(),
        ..john.clone()
    };
    assert!(may_log_in(&gateway.transport(), &typed).await);
    let prebind = gateway.admin().at("/roster_admin/prebind");
    let mut sids = Vec::new();
    for body in [
        json!({ "username": john.local }),
        json!({ "username": john.local, "password": typed.password }),
    ] {
        let answer = prebind.request("POST", &[], &body.to_string()).await;
        let answer = parsed(&answer);
        sids.push(answer["sid"].as_str().expect("a text").to_owned());
    }
    let log = gateway.log();
    assert!(
        log.contains("TRACE") && log.contains("/xmpp_auth/check_password"),
        "{log}"
    );
    let plain = STANDARD.encode(format!("\0{}\0{}", john.local, token.password));
    let secrets = [
        &*token.password,
        "rg1.",
        "sesame",
        &plain,
        &sids[0],
        &sids[1],
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn ejabberd_takes_json_web_tokens() {
    let folder = TempDir::new().expect("a folder");
    let jwk = folder.path().join("jwt.jwk");
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
    fs::write(
        &jwk,
        json!({ "kty": "oct", "k": key, "alg": "HS256" }).to_string(),
    )
    .expect("written");
    let ejabberd = Ejabberd::builder().jwt(&jwk).start();
    let line = format!("login = \"jwt\"\njwt_secret_file = \"{}\"", jwk.display());
    let gateway = Gateway::builder(&ejabberd).host(&line).start();
    let other = "login = \"jwt\"\njwt_secret = \"another key of more than 32 bytes, as is wanted\"";
    let other = Gateway::builder(&ejabberd).host(other).start();
    let account = |local: &str| Account {
        local: local.to_owned(),
        domain: support::prosody::DOMAIN.to_owned(),
        password: String::new(),
    };
    let here = gateway.transport();
    let (john, aaron) = (account("john"), ejabberd.account_named("aaron").await);
    assert!(may_log_in(&here, &aaron).await, "with a password");
    let token = with_token(&gateway, &john).await;
    let mut client = gateway.login(&token, "web").await;
    assert_eq!(client.jid, "john@example.org/web");
    client.fence().await;
    let stolen = Account {
        password: token.password,
        ..aaron
    };
    assert!(!may_log_in(&here, &stolen).await, "of somebody else");
    let forged = with_token(&other, &john).await;
    assert!(!may_log_in(&here, &forged).await, "of another key");
    let answer = parsed(&ask_for_token(&gateway, &json!({ "username": "john", "ttl": 1 })).await);
    let late = answer["password"].as_str().expect("a text").to_owned();
    let late = Account {
        password: late,
        ..john
    };
    expiry(&answer).await;
    assert!(!may_log_in(&here, &late).await, "expired");

    // The gateway logs in by such a token, too.
    let prebind = gateway.admin().at("/roster_admin/prebind");
    let body = json!({ "username": "john", "resource": "page" }).to_string();
    let answer = parsed(&prebind.request("POST", &[], &body).await);
    assert_eq!(answer["jid"], json!("john@example.org/page"), "{answer}");
    assert!(
        !gateway.log().contains("eyJ"),
        "a token in {}",
        gateway.log()
    );
}

#[tokio::test]
async fn wrong_requests_for_tokens_are_told_why() {
    let (_, gateway) = asked(|it| it.host(HTTP));
    let token = gateway.admin().at("/roster_admin/token");
    for (body, status) in [
        ("", 400),
        ("[\"john\"]", 400),
        (" [\"john\", 5]", 400),
        ("{}", 400),
        ("{\"username\":5}", 400),
        ("{\"username\":\"\"}", 400),
        ("{\"username\":\"a b\"}", 400),
        ("{\"username\":\"john\",\"ttl\":0}", 400),
        ("{\"username\":\"john\",\"ttl\":3601}", 400),
        ("{\"username\":\"john\",\"ttl\":-1}", 400),
        ("{\"username\":\"john\",\"user\":\"aaron\"}", 400),
        // Members of the site, perhaps, who are not John.
        ("{\"username\":\"john@example.org\"}", 400),
        ("{\"username\":\"John\"}", 400),
        ("{\"username\":\"jo\u{ad}hn\"}", 400),
        ("{\"username\":\"\u{ff4a}ohn\"}", 400),
        ("{\"username\":\"john\",\"ttl\":3600}", 200),
    ] {
        let answer = token.request("POST", &[], body).await;
        assert_eq!(answer.status(), status, "{body}: {answer:?}");
        if status == 200 {
            assert_eq!(parsed(&answer)["jid"], json!("john@example.org"), "{body}");
        }
    }
    let at = |path: &str| gateway.admin().at(path);
    let john = "{\"username\":\"john\"}";
    for (path, method, status) in [
        ("/roster_admin/example.org/token", "POST", 200),
        ("/roster_admin/example.com/token", "POST", 404),
        ("/roster_admin/token", "GET", 405),
        ("/roster_admin/token/john", "POST", 404),
    ] {
        let answer = at(path).request(method, &[], john).await;
        assert_eq!(answer.status(), status, "{method} {path}");
    }
    let coded = [("Content-Encoding", "gzip")];
    assert_eq!(token.request("POST", &coded, john).await.status(), 415);
    let (_, without) = asked(|it| it);
    let answer = ask_for_token(&without, &json!({ "username": "john" })).await;
    assert_eq!(answer.status(), 404, "no login is configured");
    assert_eq!(
        parsed(&answer)["message"],
        json!("domain has no login (host.login)")
    );
}

/// The site's own interface for logins, which takes one password.
struct Judge {
    address: SocketAddr,
    /// The heads of all requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Judge {
    /// Answers with this status, and whether `password` is in the request.
    async fn start(status: &'static str, password: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else {
                        break;
                    };
                    head.push(byte);
                }
                let head = String::from_utf8(head).expect("ASCII");
                let word = head.contains(password) || head.contains("user_exists");
                noted.lock().expect("no panic").push(head);
                let body = word.to_string();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                // Whoever asks may have gone.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

#[tokio::test]
async fn what_is_no_token_is_for_the_site_to_judge() {
    let judge = Judge::start("200 OK", "pass=open+sesame%26%3D").await;
    let url = format!("auth_url = \"http://gate:keeper@{}/auth/\"", judge.address);
    let (prosody, gateway) = asked(|it| it.host(HTTP).host(&url));
    let john = member(prosody, &gateway, "john");
    let here = gateway.transport();
    let of = |password: &str| Account {
        password: password.to_owned(),
        ..john.clone()
    };
    assert!(may_log_in(&here, &of("open sesame&=")).await);
    assert!(!may_log_in(&here, &of("open barley")).await);
    let asked = judge.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let first = format!(
        "GET /auth/check_password?user={}&server=example.org&pass=open+sesame%26%3D HTTP/1.1",
        john.local
    );
    assert!(asked[0].starts_with(&first), "{}", asked[0]);
    let basic = format!("authorization: Basic {}", STANDARD.encode("gate:keeper"));
    assert!(asked.iter().all(|head| head.contains(&basic)), "{asked:?}");

    // The site sees no token, good or bad.
    let token = with_token(&gateway, &john).await;
    assert!(may_log_in(&here, &token).await);
    assert!(!may_log_in(&here, &token).await);
    assert_eq!(judge.asked().len(), 2);

    let exists = questions(&gateway).at("/xmpp_auth/user_exists?user=a&server=example.org");
    let answer = exists.request("GET", &[], "").await;
    assert_eq!((answer.status(), answer.text()), (200, "true"));
    assert!(judge.asked()[2].starts_with("GET /auth/user_exists?user=a&server=example.org "));
    let log = gateway.log();
    assert!(
        !log.contains("sesame") && !log.contains("barley") && !log.contains("keeper"),
        "{log}"
    );
}

#[tokio::test]
async fn a_site_that_fails_lets_nobody_in() {
    let judge = Judge::start("500 Oops", "pass").await;
    let url = format!("auth_url = \"http://{}/auth\"", judge.address);
    let (prosody, gateway) = asked(|it| it.host(HTTP).host(&url));
    let john = member(prosody, &gateway, "john");
    let secret = Account {
        password: "secret".to_owned(),
        ..john.clone()
    };
    assert!(!may_log_in(&gateway.transport(), &secret).await);
    let check = "/xmpp_auth/check_password?user=a&server=example.org&pass=secret";
    let answer = questions(&gateway).at(check).request("GET", &[], "").await;
    assert_eq!(answer.status(), 502);
    let expected = "auth_url answered 500 Internal Server Error";
    assert_eq!(parsed(&answer)["message"], json!(expected));
    // Tokens do without it.
    let token = with_token(&gateway, &john).await;
    assert!(may_log_in(&gateway.transport(), &token).await);
}

#[tokio::test]
async fn only_this_machine_or_whoever_has_the_token_may_ask() {
    let (_, open) = asked(|it| it.host(HTTP));
    let (_, guarded) = asked(|it| it.host(HTTP).admin("token = \"hunter2hunter2\""));
    let path = "/xmpp_auth/check_password?user=a&server=example.org&pass=x";
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let (right, wrong) = (basic("prosody:hunter2hunter2"), basic("prosody:hunter2"));
    for (gateway, headers, status) in [
        (&open, vec![], 200),
        (&open, vec![("X-Forwarded-For", "192.0.2.1")], 403),
        (&open, vec![("Origin", "https://example.org")], 403),
        (&guarded, vec![], 200),
        (&guarded, vec![("X-Forwarded-For", "192.0.2.1")], 401),
        (
            &guarded,
            vec![("X-Forwarded-For", "192.0.2.1"), ("Authorization", &right)],
            200,
        ),
        (
            &guarded,
            vec![("X-Forwarded-For", "192.0.2.1"), ("Authorization", &wrong)],
            401,
        ),
        (
            &guarded,
            vec![
                ("X-Forwarded-For", "192.0.2.1"),
                ("Authorization", "Bearer hunter2hunter2"),
            ],
            200,
        ),
    ] {
        let answer = questions(gateway)
            .at(path)
            .request("GET", &headers, "")
            .await;
        assert_eq!(answer.status(), status, "{headers:?}");
        if status == 200 {
            assert_eq!(answer.text(), "false");
        }
    }
    // For the rest of the API, the password of Basic is nothing.
    let token = guarded.admin().at("/roster_admin/token");
    let headers = [("Authorization", &*right)];
    let answer = token
        .request("POST", &headers, "{\"username\":\"a\"}")
        .await;
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_told_why() {
    let (_, gateway) = asked(|it| it.host(HTTP));
    for (method, path, status) in [
        (
            "GET",
            "/xmpp_auth/check_password?user=a&server=example.org",
            400,
        ),
        (
            "GET",
            "/xmpp_auth/check_password?server=example.org&pass=x",
            400,
        ),
        ("GET", "/xmpp_auth/user_exists?user=a", 400),
        (
            "GET",
            "/xmpp_auth/user_exists?user=a&server=example.com",
            404,
        ),
        ("GET", "/xmpp_auth/user_exists?user=a&server=@", 404),
        (
            "POST",
            "/xmpp_auth/check_password?user=a&server=example.org&pass=x",
            405,
        ),
        ("GET", "/xmpp_auth/register?user=a&server=example.org", 404),
        ("GET", "/xmpp_auth", 404),
    ] {
        let answer = questions(&gateway).at(path).request(method, &[], "").await;
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(parsed(&answer)["status"], json!("error"), "{method} {path}");
    }
    for (user, expected) in [("a", "true"), ("a%40b", "false"), ("", "false")] {
        let path = format!("/xmpp_auth/user_exists?user={user}&server=Example.ORG");
        let answer = questions(&gateway).at(&path).request("GET", &[], "").await;
        assert_eq!(answer.text(), expected, "{user}");
    }
    let (_, without) = asked(|it| it);
    let path = "/xmpp_auth/user_exists?user=a&server=example.org";
    let answer = questions(&without).at(path).request("GET", &[], "").await;
    assert_eq!((answer.status(), answer.text()), (404, "not found\n"));
}
