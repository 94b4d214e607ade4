//! Contact lists that the XMPP server holds, of users who concern each other: what many refreshes do to one list, and what
//! becomes of those that are under way when the gateway stops.

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use support::{
    backend::{Backend, Fault as Failing},
    gateway::Gateway,
    http::Endpoint,
    list_server::{Fault, ListServer},
    nats::Nats,
    prosody::Prosody,
    several::Gateways,
    within,
};
use tokio::task::yield_now;

use crate::server_rosters::{KINDS, NO_ACCOUNT, Scene, update};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number:03}")).collect()
}

/// Those of `names` but this one.
fn others<'a>(names: &'a [String], but: &str) -> Vec<&'a str> {
    let others = names.iter().filter(|name| *name != but);
    others.map(String::as_str).collect()
}

/// The list that has them with this subscription.
fn all<'a>(names: impl IntoIterator<Item = &'a str>, subscription: &str) -> Vec<String> {
    let names = names.into_iter();
    names.map(|name| format!("{name} {subscription}")).collect()
}

#[tokio::test]
async fn a_list_is_not_emptied_by_the_refreshes_of_its_contacts() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("max_removals = 50"));
        let spokes = ["a", "b", "c", "d"];
        let befriend = |contacts: &[&str]| {
            scene.site("john", contacts);
            for spoke in spokes {
                let is_there = contacts.contains(&spoke);
                scene.site(spoke, if is_there { &["john"] } else { &[] });
            }
        };
        for spoke in spokes {
            scene.server.set(spoke, json!({}));
        }
        befriend(&spokes);
        scene.update(&["john"]).await;
        assert_eq!(scene.list("john"), all(spokes, "both"), "{kind}");
        // The site's lists are empty by mistake.
        befriend(&[]);
        let obeyed = scene.server.obeyed();
        scene.failure("john").await;
        assert_eq!(scene.server.obeyed(), obeyed, "{kind}: not theirs, either");
        for users in [&spokes[..1], &spokes[1..2], &spokes[2..]] {
            scene.update(users).await;
        }
        assert_eq!(scene.list("john"), all(spokes, "none"), "{kind}");
        assert_eq!(scene.list("a"), [""; 0], "{kind}");
        befriend(&spokes);
        scene.update(&spokes).await;
        assert_eq!(scene.list("john"), all(spokes, "both"), "{kind}");
        // As much as its own refresh may remove.
        befriend(&["a", "b"]);
        scene.update(&["c"]).await;
        assert_eq!(scene.list("john"), ["a both", "b both", "d both"], "{kind}");
    }
}

#[tokio::test]
async fn whoever_concerns_many_of_a_call_is_fetched_once() {
    for kind in KINDS {
        for line in ["", "dry_run = true"] {
            let lines = format!("writer_rate = 100000\n{line}");
            let scene = Scene::with(kind, |it| it.host(&lines));
            let names = names(20);
            for name in &names {
                scene.server.set(name, json!({}));
                scene.site(name, &others(&names, name));
            }
            let users: Vec<&str> = names.iter().map(String::as_str).collect();
            for calls in 1..=2 {
                scene.update(&users).await;
                let fetches = names.iter().map(|name| scene.backend.fetches(name));
                let fetches: Vec<_> = fetches.collect();
                assert_eq!(fetches, [calls; 20], "{kind}, {line}");
            }
            // Nor is the server asked for each list by each of those whom it concerns. In ejabberd they are online, so
            // that each introduces the others.
            let reads = scene.server.reads();
            assert!(kind != "prosody" || reads < 20 * 10, "{line}: {reads}");
            let list = match line {
                "" => all(others(&names, "u007"), "both"),
                _ => Vec::new(),
            };
            assert_eq!(scene.list("u007"), list, "{kind}");
        }
    }
}

#[tokio::test]
async fn who_does_not_list_the_user_is_not_asked_about_at_each_refresh_and_login() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("max_removals = 50"));
        let account = Prosody::shared().account("john");
        let john = account.local.as_str();
        let names = names(30);
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        for name in users.iter().chain([&john]) {
            scene.server.set(name, json!({}));
            scene.site(name, &[]);
        }
        scene.site(john, &users);
        let fetches = || users.iter().map(|name| scene.backend.fetches(name)).sum();
        scene.update(&[john]).await;
        let fetched: usize = fetches();
        assert_eq!(fetched, 30, "{kind}");
        scene.update(&[john]).await;
        // What differs otherwise is written all the same.
        let mut list: Map<String, Value> = Map::new();
        for name in &users {
            list.insert(format!("{name}@example.org"), json!({"name": "new"}));
        }
        scene.backend.set(john, list.into());
        let asked = scene.backend.fetches(john);
        scene.gateway.login(&account, "web").await;
        let written = async {
            while scene.server.list(john)["u029@example.org"]["name"] != "new" {
                yield_now().await;
            }
        };
        within("a refresh by the login", written).await;
        assert_eq!(scene.backend.fetches(john), asked + 1, "{kind}");
        assert_eq!(fetches(), 30, "{kind}: they are not asked about again");
        assert_eq!(
            scene.list(john),
            all(users.iter().copied(), "none"),
            "{kind}"
        );
        // A contact who lists him now brings that about, and the other way round.
        scene.site("u007", &[john]);
        scene.update(&["u007"]).await;
        assert!(scene.list(john).contains(&"u007 both".to_owned()), "{kind}");
        scene.site("u007", &[]);
        scene.update(&["u007"]).await;
        assert_eq!(
            scene.list(john),
            all(users.iter().copied(), "none"),
            "{kind}"
        );
        // Who is named is asked about, even if his own refresh writes nothing.
        scene.site("u008", &["u000", "u001", "u002", "u003", "u004"]);
        scene.update(&["u008"]).await;
        scene.site("u008", &[john]);
        let (status, summary) = scene.refresh(&[john, "u008"]).await;
        assert_eq!((status, &summary["updated"]), (200, &json!(1)), "{summary}");
        let list = scene.list(john);
        assert!(list.contains(&"u008 both".to_owned()), "{kind}: {list:?}");
    }
}

/// The contact's refresh may run for another call, which does not name the user.
#[tokio::test]
async fn whoever_begins_to_list_a_user_leaves_nothing_to_a_refresh_that_does_not_ask_about_it() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let refresh = async |users: &[&str]| {
            let refresh = scene.gateway.admin().at("/roster_admin/refresh");
            let prefer = [("Prefer", "respond-async")];
            let users = json!(users).to_string();
            assert_eq!(refresh.request("POST", &prefer, &users).await.status(), 202);
        };
        let names = names(20);
        let mut users = vec!["john", "marie"];
        users.extend(names.iter().map(String::as_str));
        for name in &names {
            scene.server.set(name, json!({}));
            scene.site(name, &[]);
        }
        scene.site("john", &["marie"]);
        scene.update(&["john"]).await;
        assert_eq!(scene.list("john"), ["marie none"], "{kind}");
        scene.site("john", &["anna", "marie"]);
        scene.server.fail_next([Fault::Hang]);
        refresh(&["john"]).await;
        scene.server.hangs().await;
        scene.site("john", &["anna", "marie", "u000"]);
        refresh(&["john"]).await;
        scene.site("marie", &["john"]);
        let mut gate = scene.backend.gate("marie");
        tokio::join!(scene.update(&users), async {
            gate.reached_by(1).await;
            scene.server.release();
            let list = ["anna none", "marie none", "u000 none"];
            scene.becomes("john", &list).await;
            gate.open();
        });
        let list = ["anna none", "marie both", "u000 none"];
        assert_eq!(scene.list("john"), list, "{kind}");
    }
}

#[tokio::test]
async fn whoever_changes_more_than_is_looked_at_at_once_leaves_no_pair_half() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("writer_rate = 100000"));
        let names = names(250);
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        let strangers = &users[..5];
        for name in &users {
            scene.server.set(name, json!({}));
            let lists_him = !strangers.contains(name);
            scene.site(name, if lists_him { &["john"] } else { &[] });
        }
        scene.site("john", &users);
        scene.update(&["john"]).await;
        let mut list = all(strangers.iter().copied(), "none");
        list.extend(all(users[5..].iter().copied(), "both"));
        assert_eq!(scene.list("john"), list, "{kind}");
        assert_eq!(scene.list("u249"), ["john both"], "{kind}");
        let obeyed = scene.server.obeyed();
        scene.update(&["john"]).await;
        assert_eq!(scene.server.obeyed(), obeyed, "{kind}: it is so already");
        // He drops them, and they still list him.
        scene.site("john", &[]);
        scene.update(&["john"]).await;
        assert_eq!(scene.list("john"), [""; 0], "{kind}");
        for name in &users[5..] {
            assert_eq!(scene.list(name), ["john none"], "{kind}: {name}");
        }
    }
}

#[tokio::test]
async fn both_items_of_a_pair_are_compared_where_both_are_named() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let befriend = || {
            scene.site("john", &["marie"]);
            scene.site("marie", &["john"]);
        };
        befriend();
        scene.update(&["john"]).await;
        // John drops her, and is gone from the server's list for another reason.
        scene.site("john", &[]);
        scene.server.set("john", json!({}));
        scene.update(&["marie", "john"]).await;
        assert_eq!(scene.list("marie"), ["john none"], "{kind}");
        // An empty list where there was one is asked for twice, and what is not on it is removed in between.
        let obeyed = || {
            let lines = scene.items().into_iter();
            lines
                .filter(|it| it != "delete john john@example.org")
                .count()
        };
        let before = obeyed();
        scene.update(&["marie", "john"]).await;
        assert_eq!(obeyed(), before, "{kind}: it is so already");
        befriend();
        scene.update(&["marie", "john"]).await;
        assert_eq!(scene.list("marie"), ["john both"], "{kind}");
        assert_eq!(scene.list("john"), ["marie both"], "{kind}");
    }
}

#[tokio::test]
async fn a_contact_without_an_account_is_shown_without_presence() {
    for kind in KINDS {
        // By the user alone, and in a call where each list is left to its own refresh.
        for others in [0, 20] {
            let scene = Scene::new(kind);
            let mut users = vec!["john", "nobody"];
            let names = names(others);
            for name in &names {
                scene.server.set(name, json!({}));
                scene.site(name, &[]);
                users.push(name);
            }
            scene.site("john", &["marie", "nobody"]);
            scene.site("marie", &["john"]);
            scene.site("nobody", &["john"]);
            let (status, summary) = scene.refresh(&users).await;
            let failed = json!([{ "username": "nobody", "reason": NO_ACCOUNT }]);
            assert_eq!((status, &summary["failed"]), (200, &failed), "{summary}");
            assert_eq!(scene.list("john"), ["marie both", "nobody none"], "{kind}");
            // There is one now.
            scene.server.set("nobody", json!({}));
            scene.update(&["nobody"]).await;
            assert_eq!(scene.list("john"), ["marie both", "nobody both"], "{kind}");
            assert_eq!(scene.list("nobody"), ["john both"], "{kind}");
        }
    }
}

#[tokio::test]
async fn a_contact_without_an_account_or_a_list_does_not_keep_the_list_from_being_written() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie", "nobody"]);
        scene.site("marie", &["john"]);
        scene.backend.fail("nobody", Failing::Status(500));
        scene.update(&["john"]).await;
        assert_eq!(scene.list("john"), ["marie both", "nobody none"], "{kind}");
    }
}

#[tokio::test]
async fn a_list_that_is_put_for_nobody_is_answered_with_the_cure() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("max_removals = 50"));
        let put = async |user: &str, contacts: Value| {
            let path = format!("/roster_admin/rosters/{user}");
            let put: Endpoint = scene.gateway.admin().at(&path);
            let answer = put.request("PUT", &[], &contacts.to_string()).await;
            let answered: Value = serde_json::from_str(answer.text()).expect("JSON");
            (answer.status(), answered["message"].clone())
        };
        let list = || {
            let names = names(4).into_iter();
            let contacts = names.map(|name| (format!("{name}@example.org"), json!({})));
            Value::from(contacts.collect::<Map<_, _>>())
        };
        assert_eq!(put("nobody", list()).await, (404, NO_ACCOUNT.into()));
        assert_eq!(put("john", list()).await.0, 200, "{kind}");
        let (status, message) = put("john", json!({})).await;
        assert_eq!(status, 409, "{kind}: {message}");
    }
}

#[tokio::test]
async fn a_call_with_many_names_leaves_no_pair_half() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let names: Vec<String> = (0..150).map(|number| format!("u{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            scene.server.set(name, json!({}));
            let next = &names[(number + 1) % names.len()];
            let last = &names[(number + names.len() - 1) % names.len()];
            scene.site(name, &[next, last]);
        }
        // One does not list the other, and one is unknown to the site.
        scene.site("u1", &["u2"]);
        scene.backend.fail("u8", Failing::Status(404));
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        let (status, summary) = scene.refresh(&users).await;
        assert_eq!((status, &summary["errors"]), (200, &json!(1)), "{summary}");
        assert_eq!(scene.list("u0"), ["u1 none", "u149 both"], "{kind}");
        assert_eq!(scene.list("u1"), ["u2 both"], "{kind}");
        assert_eq!(scene.list("u7"), ["u6 both", "u8 none"], "{kind}");
        assert_eq!(scene.list("u5"), ["u4 both", "u6 both"], "{kind}");
        let fetches: usize = names.iter().map(|name| scene.backend.fetches(name)).sum();
        assert!(fetches <= 2 * names.len() + 2, "{kind}: {fetches} of them");
        // What changes on one list alone changes on the other, too.
        let one_way = json!({"u5@example.org": {}, "u7@example.org": {"subscription": "to"}});
        scene.backend.set("u6", one_way);
        scene.site("u10", &["u9"]);
        scene.refresh(&users).await;
        assert_eq!(scene.list("u6"), ["u5 both", "u7 to"], "{kind}");
        assert_eq!(scene.list("u7"), ["u6 from", "u8 none"], "{kind}");
        assert_eq!(scene.list("u11"), ["u10 none", "u12 both"], "{kind}");
    }
}

#[tokio::test]
async fn a_user_has_one_write_at_a_time() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie"]);
        scene.site("marie", &["john"]);
        let users = ["john", "marie"];
        join_all((0..20).map(|_| scene.update(&users))).await;
        let lines = scene.server.obeyed();
        let writes = lines.iter().filter(|line| line.starts_with(['a', 'P']));
        assert_eq!(writes.count(), 2, "{kind}: {lines:?}");
        let fetches = scene.backend.fetches("john");
        assert!(fetches < 20, "{kind}: {fetches} of them");

        // While one write into a list hangs, no other one of any refresh begins.
        scene.site("john", &["anna"]);
        scene.site("anna", &["john"]);
        let refresh = async |user: &str| {
            let path = format!("/roster_admin/refresh/{user}");
            let refresh = scene.gateway.admin().at(&path);
            let prefer = [("Prefer", "respond-async")];
            assert_eq!(refresh.request("GET", &prefer, "").await.status(), 202);
        };
        scene.server.fail_next([Fault::Hang]);
        refresh("john").await;
        scene.server.hangs().await;
        let fetches = scene.backend.fetches("anna");
        refresh("anna").await;
        refresh("john").await;
        let fetching = async {
            while scene.backend.fetches("anna") == fetches {
                yield_now().await;
            }
        };
        within("a fetch of anna's list", fetching).await;
        for _ in 0..5 {
            scene.refresh(&["nobody"]).await;
        }
        scene.server.release();
        scene.becomes("anna", &["john both"]).await;
        scene.becomes("john", &["anna both"]).await;
        assert_eq!(scene.server.most_in_flight(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_list_that_came_before_a_later_call_does_not_answer_that_call() {
    for kind in KINDS {
        // With others named, each list is left to its own refresh.
        for others in [0, 20] {
            let scene = Scene::new(kind);
            let refresh = async |users: &[&str]| {
                let refresh = scene.gateway.admin().at("/roster_admin/refresh");
                let prefer = [("Prefer", "respond-async")];
                let users = json!(users).to_string();
                assert_eq!(refresh.request("POST", &prefer, &users).await.status(), 202);
            };
            // Marie's turn is taken.
            scene.site("marie", &["anna"]);
            scene.server.fail_next([Fault::Hang]);
            refresh(&["marie"]).await;
            scene.server.hangs().await;
            // For this call, john's refresh fetches her list as well, before her own refresh can begin.
            scene.site("john", &["marie"]);
            scene.site("marie", &["john"]);
            let fetches = scene.backend.fetches("marie");
            let names = names(others);
            let mut users = vec!["john", "marie"];
            users.extend(names.iter().map(String::as_str));
            refresh(&users).await;
            let fetching = async {
                while scene.backend.fetches("marie") == fetches {
                    yield_now().await;
                }
            };
            within("a fetch of marie's list", fetching).await;
            // Which is not what her refresh has to write, now that there is another call for it.
            scene.site("marie", &[]);
            tokio::join!(scene.update(&["marie"]), async {
                for _ in 0..5 {
                    scene.refresh(&["nobody"]).await;
                }
                scene.server.release();
            });
            assert_eq!(scene.list("marie"), [""; 0], "{kind}, {others}");
            scene.becomes("john", &["marie none"]).await;
        }
    }
}

#[tokio::test]
async fn an_outdated_answer_about_a_contact_is_not_written() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["anna", "marie"]);
        scene.site("marie", &["john"]);
        let mut gate = scene.backend.gate("anna");
        let users = ["john"];
        tokio::join!(scene.update(&users), async {
            gate.reached_by(1).await;
            let fetching = async {
                while scene.backend.fetches("marie") == 0 {
                    yield_now().await;
                }
            };
            within("the fetch of marie's list", fetching).await;
            scene.site("marie", &[]);
            scene.update(&["marie"]).await;
            gate.open();
        });
        assert_eq!(scene.list("marie"), [""; 0], "{kind}");
        assert_eq!(scene.list("john"), ["anna none", "marie none"], "{kind}");
    }
}

#[tokio::test]
async fn an_outdated_answer_is_not_written() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["anna", "marie"]);
        scene.site("anna", &["john"]);
        scene.site("marie", &["john"]);
        // Anna's list is written then.
        let own = if kind == "prosody" { 2 } else { 3 };
        scene.server.fail_next(vec![Fault::None; own]);
        scene.server.fail_next([Fault::Hang]);
        let users = ["john"];
        tokio::join!(scene.update(&users), async {
            scene.server.hangs().await;
            scene.site("john", &["marie"]);
            scene.site("anna", &[]);
            scene.update(&["anna"]).await;
            scene.server.release();
        });
        assert_eq!(scene.list("anna"), [""; 0], "{kind}");
        assert_eq!(scene.list("john"), ["marie both"], "{kind}");
    }
}

#[tokio::test]
async fn what_a_contact_who_drops_the_user_meanwhile_said_before_is_not_written() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["anna", "marie"]);
        scene.site("anna", &["john"]);
        scene.site("marie", &["john"]);
        // Anna's list is written then, and marie's is not.
        let own = if kind == "prosody" { 2 } else { 3 };
        scene.server.fail_next(vec![Fault::None; own]);
        scene.server.fail_next([Fault::Hang]);
        let users = ["john"];
        tokio::join!(scene.update(&users), async {
            scene.server.hangs().await;
            scene.site("anna", &[]);
            scene.update(&["anna"]).await;
            scene.server.release();
        });
        assert_eq!(scene.list("anna"), [""; 0], "{kind}");
        assert_eq!(scene.list("john"), ["anna none", "marie both"], "{kind}");
    }
}

#[tokio::test]
async fn no_pair_stays_half_when_the_list_of_a_contact_cannot_be_fetched() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.site("john", &["marie"]);
        scene.site("marie", &["john"]);
        let said =
            "written, but the list of marie@example.org is not: backend answered 500".to_owned();
        scene.backend.fail("marie", Failing::Status(500));
        assert_eq!(scene.failure("john").await, said, "{kind}");
        assert_eq!(scene.list("john"), ["marie none"], "{kind}");
        scene.backend.heal("marie");
        scene.becomes("marie", &["john both"]).await;
        scene.becomes("john", &["marie both"]).await;
        // John does not list her any more, so she must not show him her presence.
        scene.backend.fail("marie", Failing::Status(500));
        scene.site("john", &[]);
        assert_eq!(scene.failure("john").await, said, "{kind}");
        assert_eq!(scene.list("john"), [""; 0], "{kind}");
        assert_eq!(scene.list("marie"), ["john none"], "{kind}");
    }
}

/// Waits until the gateway has begun to stop.
async fn stopping(scene: &Scene) {
    let stopping = async {
        while !scene.gateway.log().contains("draining") {
            yield_now().await;
        }
    };
    within("the end of the gateway to begin", stopping).await;
}

#[tokio::test]
async fn refreshes_under_way_are_finished_before_the_gateway_stops() {
    for kind in KINDS {
        let mut scene = Scene::new(kind);
        let names = names(20);
        for name in &names {
            scene.server.set(name, json!({}));
            scene.site(name, &["john"]);
        }
        // More than run at once.
        scene.server.fail_next([Fault::Hang; 8]);
        let refresh = scene.gateway.admin().at("/roster_admin/refresh");
        let prefer = [("Prefer", "respond-async")];
        let users = json!(names).to_string();
        assert_eq!(refresh.request("POST", &prefer, &users).await.status(), 202);
        scene.server.hangs().await;
        scene.gateway.signal("TERM");
        stopping(&scene).await;
        scene.server.heal();
        scene.server.release();
        assert!(scene.gateway.wait().success());
        for name in &names {
            assert_eq!(scene.list(name), ["john none"], "{kind}");
        }
        let log = scene.gateway.log();
        assert!(!log.contains("unwritten as the gateway"), "{kind}: {log}");
    }
}

#[tokio::test]
async fn who_is_not_refreshed_when_the_gateway_stops_is_told() {
    for kind in KINDS {
        let mut scene = Scene::with(kind, |it| it.server("drain_timeout = \"1s\""));
        for user in ["john", "marie"] {
            scene.site(user, &["anna"]);
        }
        // Whose list is tried again and again.
        scene.backend.fail("paul", Failing::Status(500));
        scene.failure("paul").await;
        scene.server.fail_next([Fault::Hang; 2]);
        let refresh = scene.gateway.admin().at("/roster_admin/refresh");
        let prefer = [("Prefer", "respond-async")];
        let accepted = refresh.request("POST", &prefer, "[\"marie\"]").await;
        assert_eq!(accepted.status(), 202);
        scene.server.hangs().await;
        let ((status, summary), ()) = tokio::join!(scene.refresh(&["john"]), async {
            let fetching = async {
                while scene.backend.fetches("john") == 0 {
                    yield_now().await;
                }
            };
            within("a fetch of john's list", fetching).await;
            scene.gateway.signal("TERM");
        });
        assert_eq!(status, 500, "{kind}: {summary}");
        let reason = "the gateway stops before this is done: call again";
        assert_eq!(summary["failed"][0]["reason"], reason, "{kind}");
        assert!(scene.gateway.wait().success());
        let log = scene.gateway.log();
        let accepted = |line: &str| line.contains("accepted roster refresh failed");
        let accepted = log.lines().find(|line| accepted(line)).expect("a line");
        assert!(accepted.contains("marie"), "{accepted}");
        let unwritten = |line: &str| line.contains("unwritten as the gateway stops");
        let unwritten = log.lines().find(|line| unwritten(line)).expect("a line");
        for user in ["john", "marie", "paul"] {
            assert!(unwritten.contains(user), "{unwritten}");
        }
    }
}

#[tokio::test]
async fn a_contact_who_is_dropped_and_taken_back_while_the_user_is_refreshed_is_a_friend() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        scene.server.set("zoe", json!({}));
        scene.site("john", &["marie"]);
        scene.site("marie", &["john"]);
        scene.site("anna", &["john"]);
        scene.site("zoe", &["john"]);
        scene.update(&["john"]).await;
        let unseen = json!({"marie@example.org": {"subscription": "none"}, "zoe@example.org": {}});
        scene.backend.set("john", unseen);
        // Marie's list is written, that of zoe not yet.
        let own = if kind == "prosody" { 2 } else { 3 };
        scene.server.fail_next(vec![Fault::None; own]);
        scene.server.fail_next([Fault::Hang]);
        let users = ["john"];
        tokio::join!(scene.update(&users), async {
            scene.server.hangs().await;
            assert_eq!(scene.list("marie"), ["john none"], "{kind}");
            scene.site("john", &["anna", "marie", "zoe"]);
            scene.update(&["anna"]).await;
            scene.server.release();
        });
        let all = ["anna both", "marie both", "zoe both"];
        assert_eq!(scene.list("john"), all, "{kind}");
        assert_eq!(scene.list("marie"), ["john both"], "{kind}");
    }
}

#[tokio::test]
async fn contacts_who_drop_each_other_in_a_large_call_are_removed_by_their_own_refreshes() {
    for max_removals in [100, 99] {
        let line = format!("max_removals = {max_removals}");
        let scene = Scene::with("prosody", |it| it.host(&line));
        let names = names(20);
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        for name in &users {
            scene.server.set(name, json!({}));
            scene.site(name, &["john"]);
        }
        scene.site("john", &users);
        scene.update(&["john"]).await;
        for name in &users {
            scene.site(name, &[]);
        }
        scene.site("john", &users[..1]);
        let mut all = users.clone();
        all.push("john");
        let before = scene.items().len();
        scene.update(&all).await;
        assert_eq!(scene.list("john"), ["u000 none"]);
        for name in &users {
            assert_eq!(scene.list(name), [""; 0]);
        }
        // Each list is written once, and john's list perhaps by u000's refresh.
        let writes = scene.items().len() - before;
        let most = if max_removals == 100 { 22 } else { 42 };
        assert!(writes <= most, "{max_removals}: {writes}");
    }
}

/// What one gateway writes is there for the users of all; the others need not be asked, nor be there.
#[tokio::test]
async fn of_several_gateways_the_one_that_is_asked_writes() {
    for kind in KINDS {
        let mut nats = Nats::start();
        let (backend, server) = (Backend::start(), ListServer::start());
        let builder = Gateway::builder(Prosody::shared()).backend(&backend);
        let gateways = Gateways::three(&nats, &builder.host(&server.lines(kind)));
        let friends = [("john", "marie"), ("marie", "john")];
        for (user, friend) in friends {
            server.set(user, json!({}));
            backend.set(user, json!({ format!("{friend}@example.org"): {} }));
        }
        update(&gateways.all[1], &["john", "marie"]).await;
        for (user, friend) in friends {
            let subscription = &server.list(user)[format!("{friend}@example.org")]["subscription"];
            assert_eq!(subscription, "both", "{kind}: {user}");
            assert_eq!(backend.fetches(user), 1, "{kind}: {user}");
        }
        nats.kill();
        backend.set("john", json!({}));
        backend.set("marie", json!({}));
        update(&gateways.all[2], &["john", "marie"]).await;
        assert_eq!(server.list("john"), json!({}), "{kind}");
        assert_eq!(server.list("marie"), json!({}), "{kind}");
    }
}

#[tokio::test]
async fn a_list_that_keeps_its_contacts_against_a_large_call_shows_none_of_them() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("max_removals = 50"));
        let names = names(20);
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        for name in &users {
            scene.server.set(name, json!({}));
            scene.site(name, &["john"]);
        }
        scene.site("john", &users);
        scene.update(&["john"]).await;
        // Nobody lists anybody any more, and all are named: it may be a mistake.
        for name in users.iter().chain([&"john"]) {
            scene.site(name, &[]);
        }
        let mut all_users = users.clone();
        all_users.push("john");
        let (_, summary) = scene.refresh(&all_users).await;
        assert_eq!(
            summary["failed"][0]["username"], "john",
            "{kind}: {summary}"
        );
        assert_eq!(
            scene.list("john"),
            all(users.iter().copied(), "none"),
            "{kind}"
        );
        for name in &users {
            assert_eq!(scene.list(name), [""; 0], "{kind}");
        }
    }
}
