//! Gateways at a NATS that does not take everybody: credentials, TLS, permissions; and what the operator sees if they
//! are wrong.

use support::{
    bosh::Bosh,
    free_ports,
    gateway::{Builder, Gateway},
    nats::Nats,
    prosody::Prosody,
    root,
    snoop::Snoop,
    unique, within,
    xml::message,
};

const PASSWORD: &str = "swordfish-of-the-broker";
const USER: &str = "nats_user = \"gate\"\nnats_password = \"swordfish-of-the-broker\"";
const TOKEN: &str = "nats_token = \"swordfish-of-the-broker\"";

/// What the operator sees of a NATS that does not let the gateway in.
const SHUT: &str = "NATS does not let this gateway in";
const FORBIDS: &str = "NATS forbids what gateways need";

/// Gateways `a` and `b` with these lines in `[cluster]`.
fn two(url: &str, lines: &str) -> [Gateway; 2] {
    let name = format!("n{}-{}", std::process::id(), unique());
    ["a", "b"].map(|node| start(url, &name, node, lines))
}

fn start(url: &str, name: &str, node: &str, lines: &str) -> Gateway {
    let table =
        format!("[cluster]\nnats = [\"{url}\"]\nname = \"{name}\"\nnode = \"{node}\"\n{lines}");
    builder().tables(&table).start_alone()
}

fn builder() -> Builder {
    Gateway::builder(Prosody::shared()).env("ROSTERGATE_LOG", "debug")
}

/// Whether one of the log's lines has all of these.
fn said(gateway: &Gateway, parts: &[&str]) -> bool {
    let log = gateway.log();
    log.lines()
        .any(|line| parts.iter().all(|part| line.contains(part)))
}

fn meet(gateways: &[Gateway]) {
    for gateway in gateways {
        gateway.await_members(gateways.len());
        assert!(!gateway.log().contains(PASSWORD));
    }
}

/// The gateway is alone, and serves.
async fn serves(gateway: &Gateway) {
    let account = Prosody::shared().account("john");
    gateway.login(&account, "web").await.logout().await;
}

fn certificate(name: &str) -> String {
    let file = |kind: &str| root().join(format!("certs/{name}.{kind}"));
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}\n",
        file("crt"),
        file("key")
    )
}

/// Users of NATS who may do no more than this with the subjects.
fn permissions(publish: &[&str], subscribe: &[&str]) -> String {
    format!(
        "authorization {{ users: [ {{ user: gate, password: {PASSWORD:?}, \
         permissions: {{ publish: {publish:?}, subscribe: {subscribe:?} }} }} ] }}"
    )
}

fn user_with(password: &str) -> String {
    format!("authorization {{ user: gate, password: {password:?} }}")
}

#[tokio::test]
async fn credentials_are_shown_to_a_nats_that_wants_them() {
    let token = format!("authorization {{ token: {PASSWORD:?} }}");
    for (config, lines) in [(user_with(PASSWORD), USER), (token, TOKEN)] {
        let nats = Nats::configured(&config);
        meet(&two(&nats.url(), lines));
    }
}

#[tokio::test]
async fn a_nats_that_refuses_a_password_is_named_at_once_and_joined_when_it_takes_it() {
    let mut nats = Nats::configured(&user_with("another"));
    let gateways = two(&nats.url(), USER);
    for gateway in &gateways {
        // The operator need not wait for anything else.
        let wanted = [
            "ERROR",
            SHUT,
            "it refuses the credentials (cluster.nats_user",
        ];
        assert!(said(gateway, &wanted), "{}", gateway.log());
        serves(gateway).await;
    }
    nats.configure(&user_with(PASSWORD));
    meet(&gateways);
    // One that goes on is told of as well.
    nats.configure(&user_with("yet another"));
    for gateway in &gateways {
        within("the refusal", async {
            while gateway.log().matches(SHUT).count() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        serves(gateway).await;
    }
    nats.configure(&user_with(PASSWORD));
    meet(&gateways);
    let log = gateways[0].log();
    assert_eq!(log.matches(SHUT).count(), 2, "once for each outage: {log}");
}

#[tokio::test]
async fn a_token_that_nats_refuses_is_named() {
    let nats = Nats::configured("authorization { token: another }");
    let [gateway, _other] = two(&nats.url(), TOKEN);
    let wanted = ["ERROR", SHUT, "nats_token"];
    assert!(said(&gateway, &wanted), "{}", gateway.log());
    assert!(!gateway.log().contains(PASSWORD));
    serves(&gateway).await;
}

#[tokio::test]
async fn a_nats_whose_certificate_is_not_trusted_is_named_and_joined_when_it_is() {
    let ours = format!("nats_ca = {:?}", root().join("certs/ca.crt"));
    // As one that nobody has made for it, or that is too old, by an authority that is trusted; or by one that is not.
    let faults = [
        (
            "wrong-name",
            ours.as_str(),
            "certificate not valid for name",
        ),
        ("expired", &ours, "certificate expired"),
        ("localhost", "", "UnknownIssuer"),
    ];
    for (name, authority, fault) in faults {
        let mut nats = Nats::configured(&certificate(name));
        let gateways = two(&nats.tls_url(), authority);
        for gateway in &gateways {
            let wanted = [
                "ERROR",
                SHUT,
                "its certificate is not trusted (cluster.nats_ca)",
                fault,
            ];
            assert!(said(gateway, &wanted), "{}", gateway.log());
            serves(gateway).await;
        }
        if !authority.is_empty() {
            nats.configure(&certificate("localhost"));
            meet(&gateways);
        }
    }
}

#[tokio::test]
async fn a_nats_without_tls_is_named_where_tls_is_a_must() {
    let mut nats = Nats::start();
    let ours = format!("nats_ca = {:?}\n{USER}", root().join("certs/ca.crt"));
    let gateways = two(&nats.tls_url(), &ours);
    for gateway in &gateways {
        let wanted = ["ERROR", SHUT, "it speaks no TLS"];
        assert!(said(gateway, &wanted), "{}", gateway.log());
        serves(gateway).await;
    }
    nats.configure(&format!(
        "{}{}",
        certificate("localhost"),
        user_with(PASSWORD)
    ));
    meet(&gateways);
}

/// One URL with `tls://` is enough.
#[tokio::test]
async fn no_credentials_are_shown_in_clear_where_tls_is_a_must() {
    let nats = Nats::configured(&format!(
        "{}{}",
        certificate("localhost"),
        user_with(PASSWORD)
    ));
    let snoop = Snoop::start();
    let urls = format!("{}\", \"nats://{}", nats.tls_url(), snoop.address);
    let ours = format!("nats_ca = {:?}\n{USER}", root().join("certs/ca.crt"));
    // Which of the servers is tried first, is drawn.
    let mut gateways = Vec::new();
    within("somebody who asks the snoop", async {
        while snoop.heard().is_empty() {
            let name = format!("n{}-{}", std::process::id(), unique());
            gateways.push(start(&urls, &name, "a", &ours));
        }
    })
    .await;
    for said in snoop.heard() {
        assert!(!said.contains("CONNECT"), "{said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
    for gateway in &gateways {
        gateway.await_members(1);
    }
}

#[tokio::test]
async fn servers_that_only_nats_names_are_not_spoken_to() {
    let snoop = Snoop::start();
    let [route] = free_ports();
    let cluster = format!("\ncluster {{ name: c, listen: \"127.0.0.1:{route}\" }}");
    let mut nats = Nats::configured(&format!(
        "{}{}{cluster}",
        certificate("localhost"),
        user_with(PASSWORD)
    ));
    let _other = Nats::configured(&format!(
        "client_advertise: \"{}\"\ncluster {{ name: c, listen: \"127.0.0.1:-1\", \
         routes: [\"nats-route://127.0.0.1:{route}\"] }}",
        snoop.address
    ));
    let named = format!("\"{}\"", snoop.address);
    within("the name of the other", async {
        while !nats.hello().contains(&named) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let ours = format!("nats_ca = {:?}\n{USER}", root().join("certs/ca.crt"));
    let gateways = two(&nats.tls_url(), &ours);
    meet(&gateways);
    // They ask all servers that they know of in turn.
    nats.kill();
    let in_place = Snoop::start_on(nats.address());
    within("attempts to connect", async {
        while in_place.heard().len() < 3 * gateways.len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(snoop.heard(), [""; 0]);
}

/// docs/several-gateways.md: these subjects, and nothing else.
#[tokio::test]
async fn gateways_need_two_kinds_of_subjects_and_nothing_else() {
    let subjects = ["rostergate.hello", "rostergate.to.*"];
    let nats = Nats::configured(&permissions(&subjects, &subjects));
    let gateways = ["a", "b"].map(|node| start(&nats.url(), "rostergate", node, USER));
    meet(&gateways);
    let account = Prosody::shared().account("john");
    let mut web = Bosh::log_in(&gateways[0].bosh(), &account, "web").await;
    web.endpoint = gateways[1].bosh();
    let text = message(&format!("{}/web", account.jid()), "hello");
    web.exchange_until(&text, |it| it.is_message("hello")).await;
    let sessions = gateways[1].admin().at("/roster_admin/sessions");
    let sessions = sessions.request("GET", &[], "").await;
    assert!(
        sessions.text().contains("\"gateway\":\"a\""),
        "{sessions:?}"
    );
    assert!(!sessions.text().contains("incomplete"), "{sessions:?}");
    web.terminate().await;
    for gateway in &gateways {
        assert!(!gateway.log().contains("NATS forbids"), "{}", gateway.log());
    }
}

#[tokio::test]
async fn a_permission_that_is_missing_is_named_once() {
    let both = ["rostergate.hello", "rostergate.to.*"];
    let missing = [
        (
            vec!["rostergate.to.*"],
            both.to_vec(),
            "Publish to \"rostergate.hello",
        ),
        (
            both.to_vec(),
            vec!["rostergate.to.*"],
            "Subscription to \"rostergate.hello",
        ),
        (
            both.to_vec(),
            vec!["rostergate.hello"],
            "Subscription to \"rostergate.to.a",
        ),
    ];
    for (publish, subscribe, fault) in missing {
        let nats = Nats::configured(&permissions(&publish, &subscribe));
        let gateway = start(&nats.url(), "rostergate", "a", USER);
        within(fault, async {
            while !said(&gateway, &["ERROR", FORBIDS, fault]) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        serves(&gateway).await;
        let log = gateway.log();
        assert_eq!(log.matches(FORBIDS).count(), 1, "{log}");
        // It does not have to be started again, nor has NATS.
        nats.reload(&permissions(&both, &both));
        let both_gateways = [gateway, start(&nats.url(), "rostergate", "b", USER)];
        meet(&both_gateways);
        within("an answer of a", async {
            let sessions = both_gateways[1].admin().at("/roster_admin/sessions");
            while sessions
                .request("GET", &[], "")
                .await
                .text()
                .contains("incomplete")
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
