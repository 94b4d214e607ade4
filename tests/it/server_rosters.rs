//! Contact lists that the XMPP server holds (`rosters = "server"`): what the gateway writes into it, and when.
//!
//! The interface of the server is played; `ejabberd_lists` and `prosody_lists` do the same with real ones.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::task::yield_now;

use support::{
    backend::{Backend, Fault as Failing},
    gateway::{Builder, Gateway},
    list_server::{Fault, ListServer, TOKEN},
    prosody::Prosody,
    within, within_limit,
};

/// For very long lists.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const KINDS: [&str; 2] = ["prosody", "ejabberd"];

/// Why a user without an account is not refreshed.
pub(crate) const NO_ACCOUNT: &str =
    "XMPP server has no such account: create it there, then refresh this user";

/// A gateway that writes into a server which is played.
pub(crate) struct Scene {
    pub(crate) backend: Backend,
    pub(crate) server: ListServer,
    pub(crate) gateway: Gateway,
}

impl Scene {
    pub(crate) fn new(kind: &str) -> Self {
        Self::with(kind, |gateway| gateway)
    }

    pub(crate) fn with(kind: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let (backend, server) = (Backend::start(), ListServer::start());
        let gateway = gateway(&backend, &server.lines(kind));
        let gateway = change(gateway).start();
        let scene = Self {
            backend,
            server,
            gateway,
        };
        for user in ["john", "marie", "anna"] {
            scene.server.set(user, json!({}));
            scene.site(user, &[]);
        }
        scene
    }

    /// The same with the gateway killed and started again.
    fn killed(mut self) -> Self {
        self.gateway.signal("KILL");
        self.gateway.wait();
        Self {
            gateway: self.gateway.start_again(),
            ..self
        }
    }

    /// Says whom the site has on the list of `user`.
    pub(crate) fn site(&self, user: &str, contacts: &[&str]) {
        self.backend.set(user, list(contacts));
    }

    /// What the server has on the list of `user`: names and subscriptions.
    pub(crate) fn list(&self, user: &str) -> Vec<String> {
        let list = self.server.list(user);
        let list = list.as_object().expect("a list");
        let show = |(jid, contact): (&String, &Value)| {
            let subscription = contact["subscription"].as_str().expect("a text");
            format!("{} {subscription}", jid.split('@').next().expect("a name"))
        };
        let mut list: Vec<_> = list.iter().map(show).collect();
        list.sort();
        list
    }

    /// The requests that the server has obeyed, but for those about marks alone.
    pub(crate) fn items(&self) -> Vec<String> {
        let is_of_marks = |line: &String| line.starts_with("marks") || line.starts_with("private");
        let obeyed = self.server.obeyed().into_iter();
        obeyed.filter(|line| !is_of_marks(line)).collect()
    }

    /// Waits until the list of `user` is this.
    pub(crate) async fn becomes(&self, user: &str, list: &[&str]) {
        let becoming = async {
            while self.list(user) != list {
                yield_now().await;
            }
        };
        within(&format!("the list of {user}"), becoming).await;
    }

    /// Waits until the log says this; the whole log.
    async fn logs(&self, text: &str) -> String {
        let logging = async {
            while !self.gateway.log().contains(text) {
                yield_now().await;
            }
        };
        within(text, logging).await;
        self.gateway.log()
    }

    pub(crate) async fn refresh(&self, users: &[&str]) -> (u16, Value) {
        refresh(&self.gateway, users).await
    }

    /// Refreshes these users, which must go well.
    pub(crate) async fn update(&self, users: &[&str]) {
        update(&self.gateway, users).await;
    }

    /// Why `user` cannot be refreshed.
    pub(crate) async fn failure(&self, user: &str) -> String {
        let (status, summary) = self.refresh(&[user]).await;
        assert_eq!((status, &summary["errors"]), (500, &json!(1)), "{summary}");
        let failed = &summary["failed"][0];
        assert_eq!(failed["username"], user);
        failed["reason"].as_str().expect("a text").to_owned()
    }
}

fn gateway(backend: &Backend, lines: &str) -> Builder {
    Gateway::builder(Prosody::shared())
        .backend(backend)
        .host(lines)
}

fn list(contacts: &[&str]) -> Value {
    let contacts = contacts.iter().map(|contact| {
        let data = json!({ "name": contact.to_uppercase(), "groups": ["Friends", "Work"] });
        (format!("{contact}@example.org"), data)
    });
    contacts.collect::<Map<_, _>>().into()
}

pub(crate) async fn refresh(gateway: &Gateway, users: &[&str]) -> (u16, Value) {
    let refresh = gateway.admin().at("/roster_admin/refresh");
    let answer = refresh
        .request("POST", &[], &json!(users).to_string())
        .await;
    let summary = serde_json::from_str(answer.text()).expect("JSON");
    (answer.status(), summary)
}

pub(crate) async fn update(gateway: &Gateway, users: &[&str]) {
    let message = "roster update complete";
    let expected = json!({"status": "ok", "message": message, "updated": users.len(), "errors": 0});
    assert_eq!(refresh(gateway, users).await, (200, expected));
}

#[tokio::test]
async fn a_list_is_written_though_nobody_is_online_and_nothing_is_written_twice() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie", "anna"]);
        scene.site("marie", &["john"]);
        scene.site("anna", &["john"]);
        scene.update(&["john", "marie", "anna"]).await;
        assert_eq!(scene.list("john"), ["anna both", "marie both"], "{kind}");
        assert_eq!(scene.list("marie"), ["john both"]);
        let marie = &scene.server.list("john")["marie@example.org"];
        assert_eq!(marie["name"], "MARIE");
        assert_eq!(marie["groups"], json!(["Friends", "Work"]));

        let items = scene.items();
        scene.update(&["john", "marie", "anna"]).await;
        scene.update(&["marie"]).await;
        assert_eq!(scene.items(), items, "{kind}");
        let obeyed = scene.server.obeyed();
        // The order of groups means nothing, a name does.
        let groups = json!({"name": "JOHN", "groups": ["Work", "Friends"]});
        scene
            .backend
            .set("marie", json!({ "john@example.org": groups }));
        scene.update(&["marie"]).await;
        assert_eq!(scene.server.obeyed(), obeyed, "{kind}");
        scene
            .backend
            .set("marie", json!({"john@example.org": {"name": "Johnny"}}));
        scene.update(&["marie"]).await;
        assert_eq!(
            scene.server.list("marie")["john@example.org"]["name"],
            "Johnny"
        );
        let written = |line: &String| line.contains("marie") && line.contains("john@");
        let more = scene.server.obeyed().split_off(obeyed.len());
        assert_eq!(more.iter().filter(|it| written(it)).count(), 1, "{more:?}");
    }
}

#[tokio::test]
async fn both_owners_items_are_written_before_presence_is_asked_for() {
    let scene = Scene::new("ejabberd");
    scene.site("john", &["marie"]);
    scene.site("marie", &["john"]);
    scene.update(&["john"]).await;
    assert_eq!(
        scene.server.obeyed(),
        [
            "private john",
            "private marie",
            "add marie john@example.org",
            "private john",
            "add john marie@example.org",
            "private john",
            "probe john@example.org marie@example.org",
            "probe marie@example.org john@example.org",
        ]
    );
}

#[tokio::test]
async fn one_refresh_is_enough_for_both_lists() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie", "anna"]);
        scene.site("marie", &["john"]);
        scene.site("anna", &["john"]);
        scene.update(&["john"]).await;
        assert_eq!(scene.list("marie"), ["john both"], "{kind}");
        scene.site("john", &["anna"]);
        scene.site("marie", &[]);
        scene.update(&["john"]).await;
        assert_eq!(scene.list("john"), ["anna both"], "{kind}");
        assert_eq!(scene.list("marie"), [""; 0], "{kind}");
        assert_eq!(scene.list("anna"), ["john both"], "{kind}");
    }
}

#[tokio::test]
async fn who_is_not_listed_by_a_contact_does_not_see_it() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie"]);
        scene.update(&["john", "marie"]).await;
        assert_eq!(scene.list("john"), ["marie none"], "{kind}");
        assert_eq!(scene.list("marie"), [""; 0]);
        let obeyed = scene.server.obeyed();
        scene.update(&["john"]).await;
        assert_eq!(scene.server.obeyed(), obeyed, "{kind}: it is so already");
        scene.site("marie", &["john"]);
        scene.update(&["marie"]).await;
        assert_eq!(scene.list("john"), ["marie both"], "{kind}");
        // One of them goes: the other does not see them any more.
        scene.site("marie", &[]);
        scene.update(&["marie"]).await;
        assert_eq!(scene.list("john"), ["marie none"], "{kind}");
        assert_eq!(scene.list("marie"), [""; 0], "{kind}");
    }
}

#[tokio::test]
async fn what_users_have_added_is_theirs_until_the_owner_says_otherwise() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let own = json!({"subscription": "both", "groups": []});
        scene.server.set("john", json!({ "own@example.net": own }));
        scene.site("john", &["marie", "anna"]);
        scene.update(&["john"]).await;
        assert!(
            scene.list("john").contains(&"own both".to_owned()),
            "{kind}"
        );
        // Which ones are written is known after a restart, too.
        let Scene {
            backend,
            server,
            gateway,
        } = scene;
        let scene = Scene {
            backend,
            server,
            gateway: restarted(gateway, "", ""),
        };
        scene.site("john", &["anna"]);
        scene.update(&["john"]).await;
        assert_eq!(scene.list("john"), ["anna none", "own both"], "{kind}");
        let gateway = restarted(scene.gateway, "own = ", "own = \"all\"\n");
        update(&gateway, &["john"]).await;
        let list = scene.server.list("john");
        assert_eq!(list.as_object().map(Map::len), Some(1), "{kind}: {list}");
    }
}

/// The gateway, started again with this line in its configuration in place of those that begin so.
pub(crate) fn restarted(mut gateway: Gateway, begins: &str, line: &str) -> Gateway {
    let path = gateway.config_path();
    let config = std::fs::read_to_string(&path).expect("it is there");
    let kept = config
        .lines()
        .filter(|it| begins.is_empty() || !it.starts_with(begins));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, kept + line).expect("it can be written");
    gateway.signal("TERM");
    gateway.wait();
    gateway.start_again()
}

#[tokio::test]
async fn a_list_is_not_emptied_by_mistake() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("max_removals = 50"));
        let names = ["a", "b", "c", "d"];
        scene.site("john", &names);
        scene.update(&["john"]).await;
        scene.site("john", &["a", "new"]);
        let obeyed = scene.server.obeyed();
        assert_eq!(
            scene.failure("john").await,
            "3 of 4 contacts would be removed, more than max_removals allows: check the site's list, or raise max_removals for a moment"
        );
        assert_eq!(scene.server.obeyed(), obeyed, "nothing is added, either");
        scene.site("john", &["a", "b", "new"]);
        scene.update(&["john"]).await;
        assert_eq!(scene.list("john"), ["a none", "b none", "new none"]);
        scene.site("john", &[]);
        scene.failure("john").await;
        for left in [&["a", "b"][..], &["a"], &[]] {
            scene.site("john", left);
            scene.update(&["john"]).await;
            assert_eq!(scene.list("john").len(), left.len(), "one may always go");
        }
    }
}

#[tokio::test]
async fn what_users_add_themselves_does_not_hold_up_their_lists() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("max_removals = 20\nown = \"all\""));
        let add = |names: &[&str]| {
            let mut list = scene.server.list("john");
            for name in names {
                let both = json!({"subscription": "both", "groups": []});
                list[format!("{name}@example.org")] = both;
            }
            scene.server.set("john", list);
        };
        let (own, listed) = (["u", "v", "w", "x", "y", "z"], ["a", "b", "c", "d"]);
        // Before the first list is written, they may be what matters.
        add(&own);
        scene.site("john", &[]);
        scene.failure("john").await;
        scene.server.set("john", json!({}));
        scene.site("john", &listed);
        scene.update(&["john"]).await;
        add(&own);
        scene.update(&["john"]).await;
        let list = ["a none", "b none", "c none", "d none"];
        assert_eq!(scene.list("john"), list, "{kind}");
        // The site's list is empty by mistake, and they do not make up for it.
        add(&own);
        scene.site("john", &[]);
        let reason = scene.failure("john").await;
        assert!(reason.starts_with("4 of 4 contacts would be"), "{reason}");
        let gateway = restarted(scene.gateway, "own = ", "own = \"written\"\n");
        let (_, summary) = refresh(&gateway, &["john"]).await;
        let reason = summary["failed"][0]["reason"].as_str().expect("a text");
        assert!(reason.starts_with("4 of 4 contacts would be"), "{reason}");
    }
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_written_and_writes_nothing() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("dry_run = true\nown = \"all\""));
        let both = json!({"subscription": "both", "groups": []});
        let held = json!({"old@example.net": both, "marie@example.org": both});
        scene.server.set("john", held.clone());
        scene.site("john", &["marie", "anna"]);
        scene.site("marie", &["john"]);
        scene.site("anna", &["john"]);
        scene.update(&["john"]).await;
        assert_eq!(scene.server.list("john"), held);
        assert_eq!(scene.server.obeyed(), [""; 0], "{kind}");
        let said =
            "1 added, 1 changed, 1 removed: +anna@example.org +marie@example.org -old@example.net";
        let log = scene.logs(said).await;
        assert!(
            log.contains("contact list would be written"),
            "{kind}: {log}"
        );
        // However many it concerns, it is said once.
        let count = |log: &str| {
            let said = "contact list would be written user=john ";
            log.matches(said).count()
        };
        let before = count(&log);
        let names: Vec<String> = (0..250).map(|number| format!("u{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        scene.site("john", &names);
        scene.update(&["john"]).await;
        scene.failure("nobody").await;
        let log = scene.logs("contact list not written user=nobody").await;
        assert_eq!(count(&log), before + 1, "{kind}: {log}");
    }
}

#[tokio::test]
async fn whoever_cannot_be_written_is_named_with_the_reason() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie"]);
        scene.site("nobody", &["marie"]);
        scene.backend.fail("anna", Failing::Status(404));
        let (status, summary) = scene.refresh(&["john", "nobody", "anna", "a b"]).await;
        assert_eq!(
            (status, &summary["updated"]),
            (200, &json!(1)),
            "{kind}: {summary}"
        );
        let expected = json!([
            {"username": "nobody", "reason": NO_ACCOUNT},
            {"username": "anna", "reason": "backend answered 404"},
            {"username": "a b", "reason": "not a valid username"},
        ]);
        assert_eq!(summary["failed"], expected, "{kind}");
        let shown = scene.gateway.admin().at("/roster_admin/rosters/nobody");
        let shown = shown.request("GET", &[], "").await;
        let shown: Value = serde_json::from_str(shown.text()).expect("JSON");
        assert_eq!(shown["last_failure"]["reason"], NO_ACCOUNT);

        scene.server.fail_next([Fault::Status(503)]);
        scene.site("john", &["anna"]);
        let reason = scene.failure("john").await;
        assert!(
            reason.contains(" answered 503 to ") && reason.ends_with(": see its log"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn what_came_of_the_latest_fetch_is_shown() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let show = async || {
            let john = scene.gateway.admin().at("/roster_admin/rosters/john");
            let answer = john.request("GET", &[], "").await;
            let shown: Value = serde_json::from_str(answer.text()).expect("JSON");
            (answer.status(), shown)
        };
        assert_eq!(show().await.0, 404, "{kind}: nothing is known");
        let list = json!({"marie@example.org": {}, "john@example.org": {}, "a b": {}});
        scene.backend.set("john", list);
        scene.update(&["john"]).await;
        let (status, shown) = show().await;
        assert_eq!((status, &shown["roster"]), (200, &Value::Null), "{kind}");
        assert_eq!(shown["message"], "contacts: 1, in the server");
        let seen = &shown["seen"];
        assert_eq!(seen["contacts"], 1);
        let left_out = seen["left_out"].as_array().expect("a list");
        let mut left_out: Vec<_> = left_out.iter().map(|it| it["jid"].clone()).collect();
        left_out.sort_by_key(ToString::to_string);
        assert_eq!(left_out, ["a b", "john@example.org"]);
        assert_eq!(shown["last_failure"], Value::Null);
        // The failure is shown beside the latest list.
        scene.backend.fail("john", Failing::Status(503));
        scene.failure("john").await;
        let (_, shown) = show().await;
        assert_eq!(shown["last_failure"]["reason"], "backend answered 503");
        assert_eq!(shown["seen"]["contacts"], 1);
    }
}

#[tokio::test]
async fn a_wrong_token_is_told() {
    for kind in KINDS {
        let (backend, server) = (Backend::start(), ListServer::start());
        let lines = server.lines(kind).replace(TOKEN, "another-token-than-that");
        let gateway = gateway(&backend, &lines).start();
        backend.set("john", list(&["marie"]));
        let (status, summary) = refresh(&gateway, &["john"]).await;
        assert_eq!(status, 500);
        let reason = summary["failed"][0]["reason"].as_str().expect("a text");
        let said = [
            "does not let the gateway in (it answered 401 to ",
            "): see writer_token",
        ];
        assert!(said.iter().all(|said| reason.contains(said)), "{reason}");
        assert!(!gateway.log().contains("another-token"), "it is a secret");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_told_and_nothing_is_written() {
    for (kind, server, request) in [
        ("prosody", "Prosody", "GET /rosters/USER"),
        ("ejabberd", "ejabberd", "get_roster"),
    ] {
        let scene = Scene::new(kind);
        scene.site("john", &["marie"]);
        let reason = format!(
            "{server}'s answer to {request} is not understood: see writer_url, and which versions docs/servers.md names"
        );
        for nonsense in [
            "",
            "<html/>",
            "null",
            "{\"contacts\": [1]}",
            "[{\"name\": 1}]",
            "{\"contacts\": {\"marie@example.org\": {\"groups\": 1}}}",
            &"[".repeat(100_000),
        ] {
            scene.server.talk(nonsense);
            assert_eq!(
                scene.failure("john").await,
                reason,
                "{kind}: {nonsense:.50}"
            );
        }
        let empty = if kind == "prosody" {
            r#"{"contacts":{}}"#
        } else {
            "[]"
        };
        scene
            .server
            .talk(&format!("{}{empty}", " ".repeat(64 << 20)));
        assert_eq!(scene.failure("john").await, reason, "{kind}: too long");
        assert_eq!(scene.server.obeyed(), [""; 0], "{kind}");
    }
}

#[tokio::test]
async fn a_prosody_without_the_module_is_not_taken_for_one_without_the_user() {
    let (backend, server) = (Backend::start(), ListServer::start());
    let lines = server.lines("prosody").replace("/prosody/", "/other/");
    let gateway = gateway(&backend, &lines).start();
    backend.set("john", list(&["marie"]));
    let (_, summary) = refresh(&gateway, &["john"]).await;
    let reason = &summary["failed"][0]["reason"];
    let said = "Prosody has no mod_rostergate for this domain (it answered 404 to GET /rosters/USER): load it, and see writer_url";
    assert_eq!(reason, said);
}

/// Somebody might make sure that the own list cannot be written, so as not to be lost.
#[tokio::test]
async fn whoever_is_no_friend_any_longer_goes_though_the_other_list_cannot_be_written() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie"]);
        scene.site("marie", &["john"]);
        scene.update(&["john", "marie"]).await;
        scene.site("john", &[]);
        scene.site("marie", &[]);
        // The own list says that the pair is open, then comes that of marie.
        scene.server.fail_next([Fault::None, Fault::Status(500)]);
        let reason = scene.failure("john").await;
        assert!(reason.contains("marie@example.org"), "{kind}: {reason}");
        assert_eq!(scene.list("john"), [""; 0], "{kind}");
        scene.becomes("marie", &[]).await;
    }
}

#[tokio::test]
async fn what_is_half_written_is_told_and_finished_later() {
    let scene = Scene::new("ejabberd");
    scene.site("john", &["a", "b", "c"]);
    // After the marks, which say first that the pairs are open, and the first contact.
    scene.server.fail_next([Fault::None; 3]);
    scene.server.fail_next([Fault::Status(500)]);
    assert_eq!(
        scene.failure("john").await,
        "stopped after 1 of 3 changes: ejabberd answered 500 to add_rosteritem: see its log"
    );
    scene.becomes("john", &["a none", "b none", "c none"]).await;
    let adds = scene.server.obeyed();
    let adds = adds.iter().filter(|line| line.starts_with("add john"));
    assert_eq!(adds.count(), 3, "each once");
}

#[tokio::test]
async fn what_is_half_written_is_finished_on_the_other_lists_too() {
    let scene = Scene::new("ejabberd");
    scene.site("john", &["anna", "marie"]);
    scene.site("anna", &["john"]);
    scene.site("marie", &["john"]);
    // Both lists of the contacts, and of john the marks, twice, and one item.
    scene.server.fail_next([Fault::None; 7]);
    scene.server.fail_next([Fault::Status(500)]);
    assert_eq!(
        scene.failure("john").await,
        "stopped after 1 of 2 changes: ejabberd answered 500 to add_rosteritem: see its log"
    );
    assert_eq!(scene.list("anna"), ["john both"]);
    assert_eq!(scene.list("marie"), ["john both"]);
    scene.becomes("john", &["anna both", "marie both"]).await;
}

#[tokio::test]
async fn a_list_that_cannot_be_written_on_the_other_side_is_told_and_written_later() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["anna", "marie"]);
        scene.site("marie", &["john"]);
        scene.server.fail_next([Fault::None, Fault::Status(500)]);
        let reason = scene.failure("john").await;
        let said = "written without marie@example.org, whose list is not: ";
        assert!(reason.starts_with(said), "{kind}: {reason}");
        assert!(reason.contains(" answered 500 to "), "{kind}: {reason}");
        // Marie would see nothing of what john's list said.
        assert_eq!(scene.list("john"), ["anna none"], "{kind}");
        scene.becomes("marie", &["john both"]).await;
        scene.becomes("john", &["anna none", "marie both"]).await;
    }
}

#[tokio::test]
async fn a_gateway_that_is_killed_at_any_moment_leaves_no_pair_half_for_good() {
    for kind in KINDS {
        for are_friends in [false, true] {
            for moment in 0.. {
                // Who is refreshed then, and whether the site has changed its mind meanwhile.
                let cases = [(true, false), (true, true), (false, false), (false, true)];
                let cases = cases.map(async |(is_user, is_reverted)| {
                    is_killed(kind, are_friends, moment, is_user, is_reverted).await
                });
                let are_killed = join_all(cases).await;
                if are_killed.contains(&false) {
                    assert!(moment > 1, "{kind}: there are moments between two writes");
                    break;
                }
            }
        }
    }
}

/// John and two others, who are friends or not, change that, and the gateway is killed after so many writes. Says whether
/// there were more.
async fn is_killed(
    kind: &str,
    are_friends: bool,
    moment: usize,
    is_user: bool,
    is_reverted: bool,
) -> bool {
    let scene = Scene::new(kind);
    let befriend = |scene: &Scene, are_friends: bool| {
        let count = usize::from(are_friends);
        scene.site("john", &["marie", "anna"][..2 * count]);
        scene.site("marie", &["john"][..count]);
        scene.site("anna", &["john"][..count]);
    };
    if are_friends {
        befriend(&scene, true);
        scene.update(&["john", "marie", "anna"]).await;
    }
    befriend(&scene, !are_friends);
    scene.server.fail_next(vec![Fault::None; moment]);
    scene.server.fail_next([Fault::Hang]);
    let is_done = tokio::select! {
        () = scene.update(&["john"]) => true,
        () = scene.server.hangs() => false,
    };
    scene.server.heal();
    if is_done {
        return false;
    }
    let scene = scene.killed();
    if is_reverted {
        befriend(&scene, are_friends);
    }
    let users = if is_user {
        &["john"][..]
    } else {
        &["marie", "anna"]
    };
    for user in users {
        scene.update(&[user]).await;
    }
    let case = format!("{kind}, {users:?} after {moment} writes, reverted: {is_reverted}");
    let [johns, others] = match are_friends == is_reverted {
        true => [vec!["anna both", "marie both"], vec!["john both"]],
        false => [vec![], vec![]],
    };
    assert_eq!(scene.list("john"), johns, "{case}");
    assert_eq!(scene.list("marie"), others, "{case}");
    assert_eq!(scene.list("anna"), others, "{case}");
    // Nothing is left to do, once each list has been looked at.
    for _ in 0..2 {
        scene.update(&["john", "marie", "anna"]).await;
    }
    let obeyed = scene.server.obeyed();
    for user in ["john", "marie", "anna"] {
        scene.update(&[user]).await;
    }
    assert_eq!(scene.server.obeyed(), obeyed, "{case}");
    true
}

#[tokio::test]
async fn groups_that_ejabberd_cannot_tell_apart_are_written_once() {
    let scene = Scene::new("ejabberd");
    let groups = json!({"groups": ["a;b", "a,b", "c"]});
    scene
        .backend
        .set("john", json!({ "anna@example.org": groups }));
    scene.update(&["john"]).await;
    let groups = &scene.server.list("john")["anna@example.org"]["groups"];
    assert_eq!(*groups, json!(["a,b", "c"]));
    let obeyed = scene.server.obeyed();
    scene.update(&["john"]).await;
    assert_eq!(scene.server.obeyed(), obeyed, "it is so already");
}

#[tokio::test]
async fn a_server_that_is_slow_holds_up_nobody_but_its_user() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.admin("deadline = \"1s\""));
        scene.site("john", &["a"]);
        scene.site("marie", &["b"]);
        scene.server.fail_next([Fault::Hang]);
        assert_eq!(scene.failure("john").await, "not finished within 1s");
        scene.update(&["marie"]).await;
        assert_eq!(scene.list("marie"), ["b none"], "{kind}");
    }
}

#[tokio::test]
async fn users_who_are_not_reached_in_time_are_refreshed_later() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.admin("deadline = \"1s\""));
        let names: Vec<String> = (0..20).map(|number| format!("u{number}")).collect();
        let next = |number: usize| names[(number + 1) % names.len()].as_str();
        let last = |number: usize| names[(number + names.len() - 1) % names.len()].as_str();
        for (number, name) in names.iter().enumerate() {
            scene.server.set(name, json!({}));
            scene.site(name, &[next(number), last(number)]);
        }
        // As many as are refreshed at once.
        scene.server.fail_next([Fault::Hang; 8]);
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        let (status, summary) = scene.refresh(&users).await;
        assert_eq!((status, &summary["errors"]), (500, &json!(20)), "{summary}");
        scene.server.heal();
        scene.server.release();
        for (number, name) in names.iter().enumerate() {
            let mut list = [next(number), last(number)].map(|it| format!("{it} both"));
            list.sort();
            scene.becomes(name, &[&list[0], &list[1]]).await;
        }
    }
}

#[tokio::test]
async fn a_reload_says_how_lists_are_written() {
    let scene = Scene::with("prosody", |it| it.host("dry_run = true"));
    scene.site("john", &["marie"]);
    scene.update(&["john"]).await;
    let path = scene.gateway.config_path();
    let config = std::fs::read_to_string(&path).expect("it is there");
    let config = config.replace("dry_run = true", "dry_run = false");
    std::fs::write(&path, config).expect("it can be written");
    scene.gateway.signal("HUP");
    let reloading = async {
        while scene.server.obeyed().is_empty() {
            scene.update(&["john"]).await;
        }
    };
    within("a reload", reloading).await;
    assert_eq!(scene.list("john"), ["marie none"]);
}

#[tokio::test]
async fn a_reload_gives_a_host_without_lists_those_in_the_server() {
    let (backend, server) = (Backend::start(), ListServer::start());
    let gateway = Gateway::builder(Prosody::shared())
        .host("dry_run = false")
        .start();
    server.set("john", json!({}));
    backend.set("john", list(&["marie"]));
    let path = gateway.config_path();
    let config = std::fs::read_to_string(&path).expect("it is there");
    let lines = format!(
        "http_roster_url = \"{}\"\n{}",
        backend.url(),
        server.lines("prosody")
    );
    let config = config.replace("dry_run = false", &lines);
    std::fs::write(&path, config).expect("it can be written");
    gateway.signal("HUP");
    let refreshing = async { while refresh(&gateway, &["john"]).await.0 != 200 {} };
    within("a reload", refreshing).await;
    let list = server.list("john");
    assert_eq!(list.as_object().map(Map::len), Some(1), "it is written");
}

#[tokio::test]
async fn a_list_is_written_when_the_server_is_back() {
    for kind in KINDS {
        let (backend, server) = (Backend::start(), ListServer::start());
        let (port, lines) = (server.port(), server.lines(kind));
        drop(server);
        let gateway = gateway(&backend, &lines).start();
        backend.set("john", list(&["marie"]));
        let (_, summary) = refresh(&gateway, &["john"]).await;
        let reason = summary["failed"][0]["reason"].as_str().expect("a text");
        assert!(
            reason.contains("'s HTTP interface refused the connection when asked for "),
            "{reason}"
        );
        let unwritten = |text: &str| text.contains("unwritten_rosters{domain=\"example.org\"} 1\n");
        let metrics = gateway.monitoring().request("GET", &[], "").await;
        assert!(unwritten(metrics.text()), "{}", metrics.text());
        let server = ListServer::start_at(port);
        server.set("john", json!({}));
        server.obeys(1).await;
    }
}

#[tokio::test]
async fn a_notification_is_answered_by_a_fetch_that_began_after_it() {
    let scene = Scene::new("prosody");
    scene.site("john", &["a"]);
    let mut gate = scene.backend.gate("john");
    let users = ["john"];
    let (first, second) = (scene.update(&users), async {
        gate.reached_by(1).await;
        scene.site("john", &["b"]);
        let second = scene.update(&users);
        let opened = async { gate.open() };
        tokio::join!(second, opened);
    });
    tokio::join!(first, second);
    assert_eq!(scene.list("john"), ["b none"]);
}

#[tokio::test]
async fn a_login_through_the_gateway_refreshes() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let account = Prosody::shared().account("john");
        scene.server.set(&account.local, json!({}));
        scene.site(&account.local, &["marie"]);
        let mut client = scene.gateway.login(&account, "web").await;
        scene.becomes(&account.local, &["marie none"]).await;
        // The gateway has no list of its own to answer with.
        assert!(client.roster().await.is_empty());
    }
}

#[tokio::test]
async fn a_hundred_thousand_contacts_are_written_and_compared() {
    const MANY: usize = 100_000;
    let scene = Scene::with("prosody", |it| {
        it.host("writer_rate = 100000\nbackend_timeout = \"1m\"")
            .admin("deadline = \"5m\"")
    });
    let contacts = (0..MANY).map(|n| (format!("c{n}@example.net"), json!({})));
    scene
        .backend
        .set("john", contacts.collect::<Map<_, _>>().into());
    let refresh = scene.gateway.admin().at("/roster_admin/refresh/john");
    let refresh = async |outcome: &str| {
        let prefer = [("Prefer", "respond-async")];
        assert_eq!(refresh.request("GET", &prefer, "").await.status(), 202);
        let label =
            format!("roster_writes_total{{domain=\"example.org\",outcome=\"{outcome}\"}} 1");
        let refreshing = async {
            let metrics = scene.gateway.monitoring();
            while !metrics
                .request("GET", &[], "")
                .await
                .text()
                .contains(&label)
            {}
        };
        within_limit(PATIENCE, outcome, refreshing).await;
    };
    refresh("written").await;
    let list = scene.server.list("john");
    assert_eq!(list.as_object().map(Map::len), Some(MANY));
    let obeyed = scene.server.obeyed().len();
    assert_eq!(obeyed, MANY / 1000);
    refresh("unchanged").await;
    assert_eq!(scene.server.obeyed().len(), obeyed);
}

#[tokio::test]
async fn a_list_that_is_put_is_written_and_an_earlier_fetch_does_not_overwrite_it() {
    for kind in ["prosody", "ejabberd"] {
        let scene = Scene::new(kind);
        scene.site("john", &["anna"]);
        scene.site("marie", &["john"]);
        let mut gate = scene.backend.gate("john");
        let refresh = scene.gateway.admin().at("/roster_admin/refresh/john");
        let refreshing =
            tokio::spawn(async move { refresh.request("GET", &[], "").await.status() });
        gate.reached_by(1).await;
        let put = scene.gateway.admin().at("/roster_admin/rosters/john");
        let list = list(&["marie"]).to_string();
        let putting = tokio::spawn(async move { put.request("PUT", &[], &list).await.status() });
        gate.open();
        let statuses = (refreshing.await, putting.await);
        assert!(
            matches!(statuses, (Ok(200), Ok(200))),
            "{kind}: {statuses:?}"
        );
        assert_eq!(scene.list("john"), ["marie both"], "{kind}");
        assert_eq!(scene.list("anna"), [""; 0], "{kind}");
    }
}
