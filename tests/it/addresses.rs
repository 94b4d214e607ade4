//! Where clients connect from: told by proxies, told to the server.

use std::net::Ipv4Addr;

use serde_json::Value;

use support::{
    bosh::{Bosh, creation},
    client::Account,
    ejabberd::Ejabberd,
    gateway::{Builder, Gateway},
    http::{Connection, Endpoint},
    prosody::{DOMAIN, Prosody},
    proxy::{Kind, Proxy},
    webstream::WebStream,
    within,
};

/// Logs in; gives the full JID.
async fn log_in(endpoint: &Endpoint, account: &Account) -> String {
    let mut bosh = Bosh::open(endpoint, &account.domain).await;
    bosh.authenticate(account).await;
    bosh.bind("web").await
}

#[tokio::test]
async fn ejabberd_sees_the_browser_by_the_proxy_protocol() {
    let ejabberd = Ejabberd::builder()
        .c2s_option("use_proxy_protocol: true")
        .start();
    for version in ["v1", "v2"] {
        let gateway = Gateway::builder(&ejabberd)
            .upstream(&format!("xmpp://{}", ejabberd.c2s()))
            .host(&format!("upstream_proxy_protocol = \"{version}\""))
            .start();
        let account = ejabberd.account("john").await;
        for (browser, seen) in [
            (
                gateway.bosh().adding("X-Forwarded-For", "198.51.100.7"),
                "198.51.100.7",
            ),
            (
                gateway.bosh().adding("X-Forwarded-For", "2001:db8::7"),
                "2001:db8::7",
            ),
            (
                gateway.bosh().coming_from(Ipv4Addr::new(127, 0, 0, 2)),
                "127.0.0.2",
            ),
        ] {
            let jid = log_in(&browser, &account).await;
            assert_eq!(ejabberd.address_of(&jid).await, seen, "{version}");
        }
    }
}

#[tokio::test]
async fn ejabberds_bosh_sees_the_browser_by_x_forwarded_for() {
    let ejabberd = Ejabberd::builder()
        .option("trusted_proxies: [127.0.0.1]")
        .start();
    let gateway = Gateway::builder(&ejabberd)
        .upstream(&format!("http://{}/http-bind", ejabberd.bosh().address))
        .start();
    let account = ejabberd.account("john").await;
    for address in ["198.51.100.7", "2001:db8::7"] {
        let browser = gateway.bosh().adding("X-Forwarded-For", address);
        let jid = log_in(&browser, &account).await;
        assert_eq!(ejabberd.address_of(&jid).await, address);
    }
}

/// The addresses that the gateway has logged for the sessions created so far.
fn logged(gateway: &Gateway) -> Vec<String> {
    let log = gateway.log();
    let created = log.lines().filter(|line| line.contains("session created"));
    let address = created.filter_map(|line| line.split_once("client=")?.1.split(' ').next());
    address.map(str::to_owned).collect()
}

/// The address that the gateway logs for one more session.
async fn logged_for(gateway: &Gateway, browser: Endpoint) -> String {
    let before = logged(gateway).len();
    Bosh::open(&browser, DOMAIN).await;
    let one_more = async {
        loop {
            if let Some(address) = logged(gateway).get(before) {
                return address.clone();
            }
            browser.request("GET", &[], "").await;
        }
    };
    let address = within("a line in the log", one_more).await;
    assert_eq!(logged(gateway).len(), before + 1);
    address
}

fn gateway() -> Builder {
    Gateway::builder(Prosody::shared()).server("trusted_proxies = [\"127.0.0.1\"]")
}

const PROXY: &str = "PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\n";

#[tokio::test]
async fn only_trusted_proxies_are_believed_and_in_one_header_only() {
    let by_default = gateway().start();
    let forwarded = gateway().server("forwarded_header = \"Forwarded\"").start();
    let x_forwarded_for = ("X-Forwarded-For", "198.51.100.7");
    let rfc_7239 = ("Forwarded", "for=198.51.100.7;proto=https");
    for (gateway, (name, value), other) in [
        (&by_default, x_forwarded_for, rfc_7239),
        (&forwarded, rfc_7239, x_forwarded_for),
    ] {
        let browser = gateway.bosh().adding(name, value);
        let stranger = browser.clone().coming_from(Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(logged_for(gateway, browser).await, "198.51.100.7");
        assert_eq!(logged_for(gateway, stranger).await, "127.0.0.2");
        let disguised = gateway.bosh().adding(other.0, other.1);
        assert_eq!(logged_for(gateway, disguised).await, "127.0.0.1");
    }
}

#[tokio::test]
async fn a_proxy_that_passes_tcp_on_is_believed_and_has_to_say_something() {
    let gateway = gateway()
        .server("proxy_protocol = true")
        .admin("listen = \"127.0.0.1:0\"")
        .start();
    let proxied = gateway.bosh().beginning_with(PROXY);
    assert_eq!(logged_for(&gateway, proxied.clone()).await, "198.51.100.7");
    // Whoever is behind it is no proxy.
    let lying = proxied.clone().adding("X-Forwarded-For", "203.0.113.1");
    assert_eq!(logged_for(&gateway, lying).await, "198.51.100.7");

    let stranger = gateway.bosh().coming_from(Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(logged_for(&gateway, stranger.clone()).await, "127.0.0.2");
    let impostor = stranger.beginning_with(PROXY).post("").await;
    assert_eq!(impostor.status(), 400);

    let mut silent = Connection::open(&gateway.bosh()).await;
    let body = creation(DOMAIN, &[]);
    silent.send("POST", "/http-bind", &[], &body).await;
    silent.closed().await;
    let refused = async {
        while !gateway.log().contains("proxy refused") {
            tokio::task::yield_now().await;
        }
    };
    within("a line in the log", refused).await;
    let admin = gateway.admin().at("/roster_admin/refresh");
    assert_eq!(admin.request("POST", &[], "[]").await.status(), 200);
}

#[tokio::test]
async fn real_proxies_tell_where_a_stream_comes_from() {
    for kind in [Kind::NginxStream, Kind::HaproxyTcp] {
        let gateway = gateway().server("proxy_protocol = true").start();
        let proxy = Proxy::start(kind, gateway.bosh().address);
        let browser = proxy.http().coming_from(Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(logged_for(&gateway, browser).await, "127.0.0.2", "{kind:?}");
    }
}

#[tokio::test]
async fn haproxy_tells_that_a_stream_came_over_tls() {
    let gateway = gateway().server("proxy_protocol = true").start();
    let proxy = Proxy::start(Kind::HaproxyTcp, gateway.bosh().address);
    let stranger = |endpoint: Endpoint| endpoint.coming_from(Ipv4Addr::new(127, 0, 0, 2));
    for (created_by, is_secret) in [(proxy.https(), true), (proxy.http(), false)] {
        let mut web = Bosh::open(&stranger(created_by), DOMAIN).await;
        web.endpoint = stranger(proxy.http());
        let used_in_clear = web.send("type='terminate'", "").await.response().await;
        let refused = Some("policy-violation").filter(|_| is_secret);
        assert_eq!(used_in_clear.condition().as_deref(), refused);
    }
}

#[tokio::test]
async fn of_a_websocket_proxies_that_pass_tcp_on_tell_the_same() {
    for kind in [Kind::NginxStream, Kind::HaproxyTcp] {
        let gateway = gateway().server("proxy_protocol = true");
        let gateway = gateway.admin("listen = \"127.0.0.1:0\"").start();
        let proxy = Proxy::start(kind, gateway.bosh().address);
        let ways = match kind {
            Kind::HaproxyTcp => vec![(proxy.http(), false), (proxy.https(), true)],
            _ => vec![(proxy.http(), false)],
        };
        for (way, is_encrypted) in ways {
            let browser = way.at("/xmpp-websocket");
            let browser = browser.coming_from(Ipv4Addr::new(127, 0, 0, 2));
            let john = Prosody::shared().account("john");
            let _stream = WebStream::log_in(&browser, &john, "web").await;
            let sessions = format!("/roster_admin/sessions?user={}", john.local);
            let answer = gateway.admin().at(&sessions).request("GET", &[], "").await;
            let answer: Value = serde_json::from_str(answer.text()).expect("JSON");
            let shown = &answer["sessions"][0];
            assert_eq!(shown["address"], "127.0.0.2", "{kind:?}: {answer}");
            assert_eq!(shown["tls"], is_encrypted, "{kind:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn who_comes_through_a_proxy_is_not_on_this_machine() {
    let gateway = gateway().server("proxy_protocol = true").start();
    let admin = gateway.admin().at("/roster_admin/refresh");
    for header in [
        "PROXY TCP4 127.0.0.1 127.0.0.1 4711 80\r\n",
        "PROXY UNKNOWN\r\n",
    ] {
        let proxied = admin.clone().beginning_with(header);
        let answer = proxied.request("POST", &[], "[]").await;
        assert_eq!(answer.status(), 403, "{header}");
    }
}
