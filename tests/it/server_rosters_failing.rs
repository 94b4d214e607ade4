//! Contact lists in a server that fails in ways that are hard to tell from success (`rosters = "server"`).

use serde_json::json;
use support::list_server::Fault;

use crate::server_rosters::{KINDS, Scene, restarted, update};

/// John and Marie are friends, in ejabberd.
async fn friends(line: &str) -> Scene {
    let scene = Scene::with("ejabberd", |it| it.host(line));
    scene.site("john", &["marie", "anna"]);
    scene.site("marie", &["john"]);
    scene.site("anna", &["john"]);
    scene.update(&["john"]).await;
    scene
}

#[tokio::test]
async fn a_command_that_ejabberd_has_not_carried_out_is_told_and_repeated() {
    for moment in 0..6 {
        let scene = friends("").await;
        scene.site("john", &["anna"]);
        scene.site("marie", &[]);
        scene.server.fail_next(vec![Fault::None; moment]);
        scene.server.fail_next([Fault::Undone]);
        let (_, summary) = scene.refresh(&["john"]).await;
        let reason = summary["failed"][0]["reason"].as_str().unwrap_or_default();
        assert!(
            reason.contains("ejabberd did not carry out "),
            "{moment}: {summary}"
        );
        scene.becomes("john", &["anna both"]).await;
        scene.becomes("marie", &[]).await;
    }
}

#[tokio::test]
async fn a_list_that_looks_empty_while_the_database_fails_is_not_believed() {
    // What john's refresh reads, or what that of his contact does.
    for named in ["john", "marie"] {
        for own in ["written", "all"] {
            let scene = friends(&format!("own = \"{own}\"")).await;
            scene.site("john", &["anna"]);
            scene.site("marie", &[]);
            if named == "marie" {
                scene.server.set(
                    "marie",
                    json!({"john@example.org": {"subscription": "both"}}),
                );
            }
            // The database answers again at the next command, or not.
            for undone in [true, false] {
                scene.server.blip(1);
                scene.server.fail_next(undone.then_some(Fault::Undone));
                let (_, summary) = scene.refresh(&[named]).await;
                let errors = if undone { 1 } else { 0 };
                assert_eq!(summary["errors"], errors, "{named}: {summary}");
            }
            assert_eq!(scene.list("john"), ["anna both"], "{named}, {own}");
            assert_eq!(scene.list("marie"), [""; 0], "{named}, {own}");
        }
    }
}

#[tokio::test]
async fn a_list_that_its_user_has_emptied_is_put_right() {
    let scene = friends("").await;
    scene.server.set("john", json!({}));
    let before = scene.server.obeyed().len();
    scene.update(&["john"]).await;
    assert_eq!(scene.list("john"), ["anna both", "marie both"]);
    // It might be one that cannot be read: the database has to take a change first.
    let asked = "delete john john@example.org";
    assert_eq!(scene.server.obeyed()[before], asked);
    scene.site("john", &["anna"]);
    scene.site("marie", &[]);
    scene.update(&["john"]).await;
    assert_eq!(scene.list("john"), ["anna both"]);
    assert_eq!(scene.list("marie"), [""; 0]);
    // The user has removed the last one before the site does. That is found out once: clients are told of each such try.
    scene.server.set("john", json!({}));
    scene.site("john", &[]);
    scene.site("anna", &[]);
    scene.update(&["john", "anna"]).await;
    let before = scene.server.obeyed();
    scene.update(&["john", "anna"]).await;
    assert_eq!(scene.server.obeyed(), before);
}

#[tokio::test]
async fn what_was_written_while_the_site_owned_all_can_be_removed_later() {
    for kind in KINDS {
        let scene = Scene::with(kind, |it| it.host("own = \"all\""));
        scene.site("john", &["marie", "anna"]);
        scene.update(&["john"]).await;
        let gateway = restarted(scene.gateway, "own = ", "own = \"written\"\n");
        let list = json!({"anna@example.org": {}});
        scene.backend.set("john", list);
        update(&gateway, &["john"]).await;
        let list = scene.server.list("john");
        let names: Vec<_> = list.as_object().expect("a list").keys().collect();
        assert_eq!(names, ["anna@example.org"], "{kind}");
    }
}
