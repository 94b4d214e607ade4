//! The balancers of docs/several-gateways.md, as they stand there.

use std::{fs, net::SocketAddr, path::Path};

use support::{
    bosh::Bosh,
    client::{Account, Client, Transport},
    gateway::Gateway,
    http::Endpoint,
    nats::Nats,
    prosody::Prosody,
    proxy::{Kind, Proxy},
    several::{Gateways, sum},
    webstream::WebStream,
};

/// The code of this language on the page, with the addresses of these gateways.
fn block(language: &str, gateways: &[SocketAddr]) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/several-gateways.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, rest) = page
        .split_once(&format!("```{language}\n"))
        .unwrap_or_else(|| panic!("no {language} on the page"));
    let (block, _) = rest.split_once("```").expect("its end");
    let mut block = block.to_owned();
    for (number, gateway) in gateways.iter().enumerate() {
        let example = format!("10.0.0.{}:5290", 11 + number);
        block = block.replace(&example, &gateway.to_string());
    }
    assert!(!block.contains("10.0.0"), "{block}");
    block
}

fn haproxy(backend: &str) -> Proxy {
    Proxy::configured(Kind::RoundRobin, |port| {
        format!(
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 90s\n\
             \x20   timeout server 90s\n    option abortonclose\n\
             frontend test\n    bind 127.0.0.1:{port}\n    default_backend rostergate\n{backend}"
        )
    })
}

fn nginx(upstream: &str) -> Proxy {
    Proxy::configured(Kind::Nginx, |port| {
        format!(
            "events {{}}\nhttp {{\nproxy_temp_path proxy; client_body_temp_path body; \
             fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
             access_log off;\n{upstream}\nserver {{ listen 127.0.0.1:{port}; location / {{ \
             proxy_pass http://rostergate; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; proxy_read_timeout 300s; \
             proxy_next_upstream off; }} }}\n}}\n"
        )
    })
}

/// Apache with the example, and one of the page's blocks in it.
fn apache(language: &str, gateways: &Gateways) -> Proxy {
    let addresses = gateways.addresses();
    let balancer = block(language, &addresses);
    Proxy::apache_balancing(
        &balancer,
        &["lbmethod_byrequests", "proxy_balancer", "slotmem_shm"],
    )
}

fn gateways() -> Gateways {
    Gateways::three(Nats::shared(), &Gateway::builder(Prosody::shared()))
}

/// The cookie that a balancer gives to who comes the first time.
async fn cookie(endpoint: &Endpoint) -> String {
    let first = endpoint.request("GET", &[], "").await;
    let cookie = first.header("set-cookie").expect("a cookie");
    let (cookie, attributes) = cookie.split_once(';').expect("its attributes");
    assert!(
        attributes.to_lowercase().contains("httponly"),
        "{attributes}"
    );
    cookie.to_owned()
}

/// How many sessions each of the gateways has.
async fn sessions(gateways: &Gateways) -> Vec<usize> {
    let mut all = Vec::new();
    for gateway in &gateways.all {
        all.push(sum(gateway, "rostergate_sessions{").await);
    }
    all
}

/// Six users log in, send themselves a message, and log out.
async fn use_it(endpoint: impl AsyncFn(&Account) -> Endpoint) {
    for _ in 0..6 {
        let account = Prosody::shared().account("john");
        let endpoint = endpoint(&account).await;
        let mut web = Bosh::log_in(&endpoint, &account, "web").await;
        let text = support::xml::message(&format!("{}/web", account.jid()), "hello");
        web.exchange_until(&text, |it| it.is_message("hello")).await;
        web.terminate().await;
    }
}

async fn passed_on(gateways: &Gateways) -> usize {
    gateways.forwarded("answered").await
}

#[tokio::test]
async fn haproxy_that_knows_nothing_does() {
    let gateways = gateways();
    let proxy = haproxy(&block("haproxy-nothing", &gateways.addresses()));
    use_it(async |_: &Account| proxy.http()).await;
    assert!(passed_on(&gateways).await > 0);
}

#[tokio::test]
async fn haproxy_gives_requests_to_the_gateway_in_the_sid() {
    let gateways = gateways();
    let addresses = gateways.addresses();
    let nothing = block("haproxy-nothing", &addresses);
    let proxy = haproxy(&format!("{nothing}{}", block("haproxy-sid", &addresses)));
    use_it(async |_: &Account| proxy.http()).await;
    assert_eq!(passed_on(&gateways).await, 0);
}

#[tokio::test]
async fn haproxy_keeps_a_user_at_one_gateway() {
    let gateways = gateways();
    let addresses = gateways.addresses();
    let by_user = block("haproxy-user", &addresses);
    let nothing = block("haproxy-nothing", &addresses);
    let proxy = haproxy(&nothing.replace("    balance roundrobin\n", &by_user));
    let path = |account: &Account| format!("/http-bind?u={}", account.local);
    use_it(async |account: &Account| proxy.http().at(&path(account))).await;
    assert_eq!(passed_on(&gateways).await, 0);
}

#[tokio::test]
async fn haproxy_keeps_a_browser_at_one_gateway_by_a_cookie() {
    let gateways = gateways();
    let addresses = gateways.addresses();
    let nothing = block("haproxy-nothing", &addresses);
    let (before, _) = nothing.split_once("    server ").expect("servers");
    let proxy = haproxy(&format!("{before}{}", block("haproxy-cookie", &addresses)));
    use_it(async |_: &Account| {
        let cookie = cookie(&proxy.http()).await;
        proxy.http().adding("Cookie", &cookie)
    })
    .await;
    assert_eq!(passed_on(&gateways).await, 0);
}

#[tokio::test]
async fn nginx_keeps_a_user_at_one_gateway() {
    let gateways = gateways();
    let proxy = nginx(&block("nginx", &gateways.addresses()));
    let path = |account: &Account| format!("/http-bind?u={}", account.local);
    use_it(async |account: &Account| proxy.http().at(&path(account))).await;
    assert_eq!(passed_on(&gateways).await, 0);
}

#[tokio::test]
async fn nginx_that_knows_nothing_does() {
    let gateways = gateways();
    let upstream = block("nginx", &gateways.addresses());
    let proxy = nginx(&upstream.replace("    hash $arg_u consistent;\n", ""));
    use_it(async |_: &Account| proxy.http()).await;
    assert!(passed_on(&gateways).await > 0);
}

#[tokio::test]
async fn apache_that_knows_nothing_does() {
    let gateways = gateways();
    let proxy = apache("apache-nothing", &gateways);
    use_it(async |_: &Account| proxy.https()).await;
    assert!(passed_on(&gateways).await > 0);
}

#[tokio::test]
async fn apache_keeps_a_browser_at_one_gateway_by_a_cookie() {
    let gateways = gateways();
    let proxy = apache("apache-cookie", &gateways);
    use_it(async |_: &Account| {
        let cookie = cookie(&proxy.https()).await;
        proxy.https().adding("Cookie", &cookie)
    })
    .await;
    assert_eq!(passed_on(&gateways).await, 0);
    // Those of one browser come to the same gateway, by WebSocket as well.
    let websocket = proxy.https().at("/xmpp-websocket");
    let cookie = cookie(&proxy.https()).await;
    let websocket = websocket.adding("Cookie", &cookie);
    let account = Prosody::shared().account("john");
    let first = WebStream::log_in_managed(&websocket, &account, "web").await;
    let again = WebStream::resumed(&websocket, &account, first.vanish()).await;
    again.log_out().await;
}

#[tokio::test]
async fn apache_spreads_websockets_over_the_gateways() {
    let gateways = gateways();
    let proxy = apache("apache-nothing", &gateways);
    let websocket = Transport::WebSocket(proxy.https().at("/xmpp-websocket"));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let account = Prosody::shared().account("john");
        let mut client = Client::login(&websocket, &account, "web").await;
        client.send_message(&client.jid.clone(), "hello");
        client.expect_message("hello").await;
        clients.push(client);
    }
    let sessions = sessions(&gateways).await;
    assert_eq!(sessions, [1, 1, 1]);
    for client in clients {
        client.logout().await;
    }
}

/// A gateway that is stopped costs nobody a login.
#[tokio::test]
async fn apache_passes_over_a_gateway_that_is_gone() {
    let mut gateways = gateways();
    let proxy = apache("apache-nothing", &gateways);
    gateways.all[1].signal("TERM");
    assert!(gateways.all[1].wait().success());
    use_it(async |_: &Account| proxy.https()).await;
}
