//! What contacts see of it when they are blocked, and no longer.

use super::*;

fn request(act: &str, id: &str, jids: &[&str]) -> String {
    let items = jids.iter().map(|jid| format!("<item jid='{jid}'/>"));
    let items: String = items.collect();
    format!("<iq type='set' id='{id}'><{act} xmlns='urn:xmpp:blocking'>{items}</{act}></iq>")
}

fn hidden_from(jid: &str) -> String {
    format!("S <presence to='{jid}' id='rostergate-news' type='unavailable'/>")
}

/// Jane and Marie are there, each with two resources.
fn scene() -> Harness {
    let mut harness = Harness::online(&friends(&["jane@example.org", "marie@example.org"]));
    for from in ["jane@example.org", "marie@example.org"] {
        for resource in ["x", "y"] {
            harness.server(&format!("<presence from='{from}/{resource}'/>"));
        }
    }
    harness
}

#[test]
fn a_blocked_contact_is_told_before_the_server() {
    let mut harness = scene();
    let request = request("block", "b1", &["Marie@example.org", "nobody@example.org"]);
    assert_eq!(
        harness.client(&request),
        [
            hidden_from("marie@example.org"),
            unavailable_from("marie@example.org/x"),
            unavailable_from("marie@example.org/y"),
            format!("Block {request}"),
        ]
    );
    let late = "<presence from='marie@example.org/x' id='rostergate-hello'/>";
    assert_eq!(harness.server(late), [""; 0], "the server may not know yet");
    let change = harness.client("<presence><show>away</show></presence>");
    assert!(!change[1].contains("marie"), "{change:?}");
}

#[test]
fn domains_and_resources_can_be_blocked() {
    let mut harness = scene();
    let effects = harness.client(&request("block", "b1", &["marie@example.org/x"]));
    assert_eq!(
        effects[..2],
        [
            hidden_from("marie@example.org/x"),
            unavailable_from("marie@example.org/x")
        ]
    );
    let effects = harness.client(&request("block", "b2", &["example.org"]));
    let told: Vec<_> = effects.iter().filter(|it| it.starts_with("S ")).collect();
    assert_eq!(
        told,
        [
            &hidden_from("jane@example.org"),
            &hidden_from("marie@example.org")
        ]
    );
    let gone = effects.iter().filter(|it| it.starts_with("C <presence"));
    assert_eq!(gone.count(), 3);
}

#[test]
fn an_unblocked_contact_is_greeted_once_the_server_has_answered() {
    let mut harness = scene();
    harness.client(&request("block", "b1", &["marie@example.org"]));
    harness.server("<iq type='result' id='b1'/>");
    let lift = request("unblock", "u1", &["marie@example.org"]);
    assert_eq!(harness.client(&lift), [format!("S {lift}")]);
    let done = "<iq type='result' id='u1'/>";
    assert_eq!(
        harness.server(done),
        [
            "tell Unblock".to_owned(),
            format!("C {done}"),
            hello("marie@example.org", ""),
        ]
    );
    assert_eq!(harness.server(done), [format!("C {done}")]);
}

/// The other session asks the server for it once this one has asked for what it wants.
#[test]
fn what_another_session_blocks_meanwhile_stays_blocked() {
    let mut harness = scene();
    harness.client(&request(
        "unblock",
        "u1",
        &["jane@example.org", "marie@example.org"],
    ));
    let block = request("block", "b1", &["marie@example.org"]);
    let block = Change::of(&stanza(&block)).unwrap();
    harness.0.account_changes(block);
    harness.effects();
    let effects = harness.server("<iq type='result' id='u1'/>");
    assert!(
        effects.contains(&hello("jane@example.org", "")),
        "{effects:?}"
    );
    assert!(
        !effects.contains(&hello("marie@example.org", "")),
        "{effects:?}"
    );
    let late = "<presence from='marie@example.org/x' id='rostergate-hello'/>";
    assert_eq!(harness.server(late), [""; 0]);
    // It counts no longer than that.
    harness.client(&request("unblock", "u2", &["marie@example.org"]));
    let effects = harness.server("<iq type='result' id='u2'/>");
    assert!(
        effects.contains(&hello("marie@example.org", "")),
        "{effects:?}"
    );
}

#[test]
fn a_block_that_fails_is_lifted() {
    let mut harness = scene();
    harness.client(&request("block", "b1", &["marie@example.org"]));
    let refused = "<iq type='error' id='b1' from='john@example.org'/>";
    let effects = harness.server(refused);
    assert_eq!(effects[2], hello("marie@example.org", ""));
    assert_eq!(
        harness
            .server("<presence from='marie@example.org/x'/>")
            .len(),
        2
    );
}

#[test]
fn all_can_be_unblocked_at_once() {
    let mut harness = scene();
    harness.client(&request(
        "block",
        "b1",
        &["marie@example.org", "jane@example.org"],
    ));
    harness.client(&request("unblock", "u1", &[]));
    let effects = harness.server("<iq type='result' id='u1'/>");
    assert_eq!(
        effects[2..],
        [
            hello("jane@example.org", ""),
            hello("marie@example.org", "")
        ]
    );
}

#[test]
fn other_sessions_of_the_account_do_the_same() {
    let mut harness = scene();
    let block = Change::of(&stanza(&request("block", "b1", &["marie@example.org"]))).unwrap();
    harness.0.account_changes(block);
    assert_eq!(harness.effects().len(), 3);
    // The server's push of it: nothing more to be told.
    let push = request("block", "p1", &["marie@example.org"]);
    assert_eq!(harness.server(&push), [format!("C {push}")]);
    let push = request("unblock", "p2", &["marie@example.org"]);
    assert_eq!(
        harness.server(&push),
        [format!("C {push}"), hello("marie@example.org", "")]
    );
}

#[test]
fn nobody_else_can_make_a_session_hide() {
    let mut harness = scene();
    let push = "<iq type='set' id='p1' from='mallory@example.net'><block xmlns='urn:xmpp:blocking'>\
                <item jid='marie@example.org'/></block></iq>";
    assert_eq!(harness.server(push), [format!("C {push}")]);
    let asked = request("block", "b1", &["marie@example.org"])
        .replace("<iq", "<iq to='mallory@example.net'");
    assert_eq!(harness.client(&asked), [format!("S {asked}")]);
}

#[test]
fn a_block_that_cannot_be_answered_is_none() {
    let mut harness = scene();
    let request = request("block", "b1", &["marie@example.org"]).replace(" id='b1'", "");
    let effects = harness.client(&request);
    assert_eq!(effects.len(), 1);
    assert!(effects[0].starts_with("C <iq type='error'"), "{effects:?}");
}

#[test]
fn all_of_many_that_are_unblocked_are_greeted() {
    let jids: Vec<String> = (0..200).map(|n| format!("c{n}@example.org")).collect();
    let jids: Vec<&str> = jids.iter().map(String::as_str).collect();
    let mut harness = Harness::online(&friends(&jids));
    harness.client(&request("block", "b", &jids));
    for (n, jid) in jids.iter().enumerate() {
        harness.client(&request("unblock", &n.to_string(), &[jid]));
    }
    let answers = (0..200).map(|n| harness.server(&format!("<iq type='result' id='{n}'/>")));
    let greeted = answers.filter(|effects| effects.last().unwrap().contains("rostergate-hello"));
    assert_eq!(greeted.count(), 200);
}

#[test]
fn a_blocked_contact_seen_before_the_list_is_hidden_too() {
    let mut harness = Harness::bound();
    harness.client("<presence/>");
    harness.server("<presence from='marie@example.org/native'/>");
    harness.server("<presence from='marie@example.org/web' id='rostergate-hello'/>");
    harness.client(GET);
    let request = request("block", "b1", &["marie@example.org"]);
    let hidden = unavailable_from("marie@example.org/native");
    assert_eq!(
        harness.client(&request),
        [hidden, format!("Block {request}")]
    );
    let effects = harness.ready(&friends(&["marie@example.org"]));
    assert!(
        effects.iter().all(|it| !it.contains("<presence")),
        "{effects:?}"
    );
}
