//! Events that the site is told: who comes online and who goes (`events_url`).

use std::fs;

use serde_json::{Value, json};

use support::{
    bosh::Bosh,
    client::Account,
    files::Files,
    free_ports,
    prosody::Prosody,
    receiver::{Mood, Receiver},
    webstream::WebStream,
    within,
};

use crate::site::Site;

const TOKEN: &str = "swordfish-of-the-events";

/// A site that is told, with these further lines of its `[[host]]`.
fn site(receiver: &Receiver, lines: &str) -> Site {
    let line = receiver.line();
    Site::with(Prosody::shared(), |gateway| {
        let gateway = gateway.host(&line).host("offline_after = \"1s\"");
        gateway.host(lines)
    })
}

fn ids(receiver: &Receiver) -> Vec<u64> {
    let events = receiver.taken();
    events
        .iter()
        .map(|event| event["id"].as_u64().expect("a number"))
        .collect()
}

fn are_consecutive(ids: &[u64]) -> bool {
    ids.windows(2).all(|pair| pair[0] + 1 == pair[1])
}

/// Comes online by BOSH, and does nothing more.
async fn online(site: &Site, account: &Account) -> Bosh {
    let mut bosh = Bosh::log_in(&site.gateway.bosh(), account, "web").await;
    bosh.exchange("<presence xmlns='jabber:client'/>").await;
    bosh
}

fn words(kind: &str, account: &Account) -> String {
    format!("{kind} {}", account.local)
}

/// What of the log is about the receiver, by message, with the level.
fn said_of_the_receiver(site: &Site) -> Vec<String> {
    let log = site.gateway.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("receiver of events is"));
    lines
        .map(|line| match line {
            _ if line.contains("WARN") && line.contains("receiver of events is lost") => "lost",
            _ if line.contains("INFO") && line.contains("receiver of events is back") => "back",
            _ => panic!("{line}"),
        })
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_site_is_told_who_comes_online_and_who_goes() {
    let receiver = Receiver::start();
    let site = site(&receiver, &format!("events_token = \"{TOKEN}\""));
    let (john, marie) = (site.member("john"), site.member("marie"));
    let web = online(&site, &john).await;
    receiver.hears(&words("online", &john)).await;
    // A second session is no event, nor is what it says, nor that one of two has gone.
    let endpoint = site.gateway.websocket();
    let mut phone = WebStream::log_in_managed(&endpoint, &john, "phone").await;
    phone.send_presence().await;
    phone.fence().await;
    web.terminate().await;
    let _marie = online(&site, &marie).await;
    receiver.hears(&words("online", &marie)).await;
    phone.log_out().await;
    let story = receiver.hears(&words("offline", &john)).await;
    let expected = [
        "reset".to_owned(),
        words("online", &john),
        words("online", &marie),
        words("offline", &john),
    ];
    assert_eq!(story, expected);

    let ids = ids(&receiver);
    assert!(are_consecutive(&ids), "{ids:?}");
    for event in receiver.taken() {
        let at = humantime::parse_rfc3339(event["at"].as_str().expect("a time"));
        assert!(at.expect("RFC 3339").elapsed().expect("past").as_secs() < 60);
    }
    for post in receiver.posts() {
        assert_eq!(post.authorization, Some(format!("Bearer {TOKEN}")));
        assert_eq!(post.content_type.as_deref(), Some("application/json"));
    }
    // What is told, and what is shown, is the same.
    let presence = site.gateway.admin().at("/roster_admin/presence");
    let shown = presence.request("GET", &[], "").await;
    let shown: Value = serde_json::from_str(shown.text()).expect("JSON");
    assert_eq!(shown["event"], json!(ids.last()));
    assert_eq!(shown["message"], "available: 1");
    assert!(shown["users"][&marie.local]["available"] == true, "{shown}");
    assert!(!site.gateway.log().contains(TOKEN));
}

#[tokio::test]
async fn a_page_that_is_loaded_again_and_a_session_that_is_resumed_are_no_events() {
    let receiver = Receiver::start();
    let line = receiver.line();
    // Longer than the test takes.
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.host(&line).host("offline_after = \"2m\"")
    });
    let (john, marie) = (site.member("john"), site.member("marie"));
    for _ in 0..3 {
        online(&site, &john).await.terminate().await;
    }
    let endpoint = site.gateway.websocket();
    let mut stream = WebStream::log_in_managed(&endpoint, &john, "phone").await;
    stream.send_presence().await;
    stream.fence().await;
    let stream = WebStream::resumed(&endpoint, &john, stream.vanish()).await;
    let _marie = online(&site, &marie).await;
    let story = receiver.hears(&words("online", &marie)).await;
    let expected = [
        "reset".to_owned(),
        words("online", &john),
        words("online", &marie),
    ];
    assert_eq!(story, expected);
    stream.log_out().await;
}

#[tokio::test]
async fn a_receiver_that_is_down_hears_all_of_it_later_and_the_log_says_so_once() {
    let [port] = free_ports();
    let line = format!("events_url = \"http://site:{TOKEN}@127.0.0.1:{port}/x?key={TOKEN}\"");
    let site = Site::with(Prosody::shared(), |gateway| gateway.host(&line));
    let (john, marie) = (site.member("john"), site.member("marie"));
    let _sessions = [online(&site, &john).await, online(&site, &marie).await];
    let log = "two attempts";
    within(log, async {
        while site.gateway.log().matches("events not delivered").count() < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let receiver = Receiver::start_at(port);
    let story = receiver.hears(&words("online", &marie)).await;
    let expected = [
        "reset".to_owned(),
        words("online", &john),
        words("online", &marie),
    ];
    assert_eq!(story, expected);
    within("the log", async {
        while said_of_the_receiver(&site).len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(said_of_the_receiver(&site), ["lost", "back"]);
    let post = &receiver.posts()[0];
    assert_eq!(post.target, format!("/x?key={TOKEN}"));
    assert!(
        post.authorization
            .as_ref()
            .is_some_and(|it| it.starts_with("Basic "))
    );
    assert!(!site.gateway.log().contains(TOKEN));
}

/// Whatever a receiver answers but 2xx, what it was sent comes again, in order.
#[tokio::test]
async fn what_a_receiver_does_not_take_comes_again() {
    let receiver = Receiver::start();
    let site = site(&receiver, "");
    receiver.hears("reset").await;
    let login = |secret: &str| format!("https://login.example/?session={secret}");
    let moods = [
        (Mood::Status(500, None), "answered 500"),
        (Mood::Status(400, None), "answered 400"),
        (
            Mood::Status(302, Some(("Location", login(TOKEN)))),
            "answered 302, a redirect to https://login.example/",
        ),
        (Mood::TooMany(413, 1), "answered 413"),
        (Mood::Drop, "broke off the connection"),
        (Mood::Garbage, "not HTTP"),
    ];
    let mut expected = vec!["reset".to_owned()];
    for (mood, complaint) in moods {
        // A connection of before would still be answered.
        let is_too_much = matches!(mood, Mood::TooMany(..));
        receiver.be(mood);
        let (john, marie) = (site.member("john"), site.member("marie"));
        let _sessions = (online(&site, &john).await, online(&site, &marie).await);
        if !is_too_much {
            within(complaint, async {
                while !site.gateway.log().contains(complaint) {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            receiver.be(Mood::Good);
        }
        receiver.hears(&words("online", &marie)).await;
        expected.extend([words("online", &john), words("online", &marie)]);
        let comings: Vec<_> = receiver.story().into_iter().collect();
        let comings = comings.into_iter().filter(|it| !it.starts_with("offline"));
        assert_eq!(comings.collect::<Vec<_>>(), expected, "{complaint}");
    }
    assert!(are_consecutive(&ids(&receiver)));
    assert!(!site.gateway.log().contains(TOKEN));
}

#[tokio::test]
async fn a_gateway_that_is_killed_says_so_when_it_is_there_again_and_ids_grow() {
    let receiver = Receiver::start();
    let mut site = site(&receiver, "");
    let john = site.member("john");
    let _john = online(&site, &john).await;
    receiver.hears(&words("online", &john)).await;
    site.gateway.signal("KILL");
    site.gateway.wait();
    site.gateway = site.gateway.start_again();
    let marie = site.member("marie");
    let _marie = online(&site, &marie).await;
    let story = receiver.hears(&words("online", &marie)).await;
    let reset = || "reset".to_owned();
    let expected = [
        reset(),
        words("online", &john),
        reset(),
        words("online", &marie),
    ];
    // The receiver leaves out what is not newer than what it has.
    assert_eq!(story, expected);
}

#[tokio::test]
async fn a_gateway_that_ends_delivers_what_is_left_and_that_nobody_is_there() {
    let receiver = Receiver::start();
    let line = receiver.line();
    // Longer than the drain may take.
    let mut site = Site::with(Prosody::shared(), |gateway| {
        gateway.host(&line).host("offline_after = \"2m\"")
    });
    receiver.hears("reset").await;
    receiver.be(Mood::Status(503, None));
    let john = site.member("john");
    let john_online = online(&site, &john).await;
    let asked = receiver.posts().len();
    receiver.asked(asked + 1).await;
    site.gateway.signal("TERM");
    receiver.asked(asked + 2).await;
    receiver.be(Mood::Good);
    assert!(site.gateway.wait().success());
    let story = receiver.story();
    let expected = [
        "reset".to_owned(),
        words("online", &john),
        "reset".to_owned(),
    ];
    assert_eq!(story, expected);
    assert!(!site.gateway.log().contains("events not delivered, as"));
    drop(john_online);
}

#[tokio::test]
async fn a_gateway_that_ends_does_not_wait_for_a_receiver_for_ever() {
    let receiver = Receiver::start();
    receiver.be(Mood::Hang);
    let line = receiver.line();
    let mut site = Site::with(Prosody::shared(), |gateway| {
        gateway.host(&line).server("drain_timeout = \"0s\"")
    });
    receiver.asked(1).await;
    site.gateway.signal("TERM");
    assert!(site.gateway.wait().success());
    let log = site.gateway.log();
    assert!(
        log.contains("events not delivered, as the gateway stops"),
        "{log}"
    );
}

#[tokio::test]
async fn a_gateway_that_ends_waits_a_moment_for_a_receiver_that_takes_nothing() {
    for mood in [Mood::Hang, Mood::Status(503, None), Mood::Drop] {
        let receiver = Receiver::start();
        receiver.be(mood.clone());
        let line = receiver.line();
        // The gateway may take that long, and a test has not the time.
        let mut site = Site::with(Prosody::shared(), |gateway| {
            gateway.host(&line).server("drain_timeout = \"10m\"")
        });
        receiver.asked(1).await;
        site.gateway.signal("TERM");
        assert!(site.gateway.wait().success());
        let log = site.gateway.log();
        let lost = "events not delivered, as the gateway stops";
        assert!(log.contains(lost), "{mood:?}: {log}");
    }
}

/// Changes the configuration by `change`, and has it read.
fn reload(site: &Site, change: impl FnOnce(String) -> String) {
    let config = fs::read_to_string(site.gateway.config_path()).expect("it is there");
    fs::write(site.gateway.config_path(), change(config)).expect("it can be written");
    site.gateway.signal("HUP");
}

#[tokio::test]
async fn a_reload_moves_the_receiver_which_hears_what_is_left_and_who_is_online() {
    let (old, new) = (Receiver::start(), Receiver::start());
    let site = site(&old, "");
    let [john, marie, bob] = ["john", "marie", "bob"].map(|name| site.member(name));
    let _john = online(&site, &john).await;
    old.hears(&words("online", &john)).await;
    old.be(Mood::Status(404, None));
    let _marie = online(&site, &marie).await;
    let refused = old.posts().len() + 1;
    old.asked(refused).await;
    reload(&site, |config| config.replace(&old.url(), &new.url()));
    new.hears("reset").await;
    let _bob = online(&site, &bob).await;
    let story = new.hears(&words("online", &bob)).await;
    let mut there = [words("online", &john), words("online", &marie)];
    there.sort();
    let mut expected = vec![words("online", &marie), "reset".to_owned()];
    expected.extend(there);
    expected.push(words("online", &bob));
    assert_eq!(story, expected);
    assert!(ids(&new)[0] > ids(&old)[0]);
    // Whoever is told again has missed what was between.
    old.be(Mood::Good);
    let before = old.taken().len();
    reload(&site, |config| config.replace(&new.url(), &old.url()));
    let story = old.hears(&words("online", &bob)).await;
    let mut there = [&john, &marie, &bob].map(|it| words("online", it));
    there.sort();
    assert_eq!(story[before], "reset");
    assert_eq!(story[before + 1..], there);
}

#[tokio::test]
async fn a_site_that_wants_events_from_now_on_hears_who_is_online() {
    let receiver = Receiver::start();
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let _john = online(&site, &john).await;
    let line = receiver.line();
    reload(&site, |config| format!("{config}\n{line}\n"));
    let _marie = online(&site, &marie).await;
    let story = receiver.hears(&words("online", &marie)).await;
    let expected = [
        "reset".to_owned(),
        words("online", &john),
        words("online", &marie),
    ];
    assert_eq!(story, expected);
}

#[tokio::test]
async fn a_receiver_is_trusted_by_the_authority_that_the_configuration_names() {
    let files = Files::start();
    let url = format!("events_url = \"{}\"", files.https_url().replace("%s", "x"));
    let ca = concat!(
        "events_ca = \"",
        env!("CARGO_MANIFEST_DIR"),
        "/certs/ca.crt\""
    );
    let site = Site::with(Prosody::shared(), |gateway| gateway.host(&url).host(ca));
    let says = async |complaint: &str| {
        within(complaint, async {
            while !site.gateway.log().contains(complaint) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    // It serves files alone.
    says("receiver of events answered 40").await;
    assert!(!site.gateway.log().contains("no trusted certificate"));
    // The system does not know this authority.
    reload(&site, |config| config.replace(ca, ""));
    says("receiver of events has no trusted certificate").await;
}
