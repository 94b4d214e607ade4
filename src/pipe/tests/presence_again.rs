//! What a client is told that begins anew in a living session, as a page does that is loaded again.

use super::*;

/// Presence of a resource, as the server brings it.
fn here(full: &str, says: &str) -> String {
    format!(
        "<presence from='{full}' to='{FULL}' id='rostergate-news' xml:lang='en'>{says}</presence>"
    )
}

#[test]
fn a_client_that_begins_anew_sees_who_is_there_as_they_are_now() {
    let mut harness = Harness::online(&roster(&[
        ("gone@example.org", Subscription::Both),
        ("hidden@example.org", Subscription::From),
        ("marie@example.org", Subscription::Both),
        ("to@example.org", Subscription::To),
    ]));
    harness.server(&here("marie@example.org/phone", "<show>away</show>"));
    harness.server(&here("marie@example.org/phone", "<show>dnd</show>"));
    harness.server(&here("marie@example.org/web", ""));
    harness.server(
        &here("to@example.org/O'Hara", "")
            .replace("'to@example.org/O'Hara'", "\"to@example.org/O'Hara\""),
    );
    harness.server(&here("gone@example.org/x", ""));
    harness.server("<presence from='gone@example.org/x' type='unavailable'/>");
    harness.server(&here("hidden@example.org/x", ""));
    harness.server("<presence from='nobody@example.org/x'/>");
    harness.server("<presence from='john@example.org/other'/>");
    let now = [
        ("marie@example.org/phone", "<show>dnd</show>"),
        ("marie@example.org/web", ""),
        ("to@example.org/O&apos;Hara", ""),
    ];
    let shown = now.map(|(full, says)| format!("C {}", here(full, says)));
    let unquoted = |effects: Vec<String>| {
        effects
            .into_iter()
            .map(|effect| effect.replace('"', "'"))
            .collect::<Vec<_>>()
    };
    assert_eq!(unquoted(harness.anew()), shown, "and nobody is asked");
    assert_eq!(unquoted(harness.anew()), shown, "each time");
}

#[test]
fn a_client_that_asks_for_its_list_again_sees_who_is_there_after_the_list() {
    let mut harness = Harness::online(&friends(&["marie@example.org"]));
    let marie = here("marie@example.org/web", "");
    harness.server(&marie);
    assert_eq!(harness.client(GET), ["need"]);
    let effects = harness.ready(&friends(&["marie@example.org", "nick@example.org"]));
    let lists = effects
        .iter()
        .position(|effect| effect.contains("type='result'"));
    let shows = effects
        .iter()
        .position(|effect| *effect == format!("C {marie}"));
    assert!(lists.is_some() && lists < shows, "{effects:?}");
    let list = friends(&["marie@example.org"]);
    harness.ready(&list);
    harness.client(GET);
    let effects = harness.ready(&list);
    assert_eq!(effects.last(), Some(&format!("C {marie}")));
}

#[test]
fn a_first_request_for_the_list_shows_nobody_twice() {
    let list = friends(&["marie@example.org"]);
    let mut harness = Harness::bound();
    harness.client("<presence/>");
    harness.ready(&list);
    let marie = here("marie@example.org/web", "");
    harness.server(&marie);
    harness.client(GET);
    let effects = harness.ready(&list);
    assert_eq!(effects.len(), 1, "{effects:?}");
}

#[test]
fn nobody_is_shown_whom_the_client_may_not_see_any_longer() {
    let jids = ["carl@example.org", "marie@example.org", "nick@example.org"];
    let mut harness = Harness::online(&friends(&jids));
    for jid in jids {
        harness.server(&here(&format!("{jid}/web"), ""));
    }
    assert_eq!(harness.anew().len(), 3);
    harness.ready(&friends(&["carl@example.org", "nick@example.org"]));
    harness.client(
        "<iq type='set' id='1'><block xmlns='urn:xmpp:blocking'><item jid='nick@example.org'/></block></iq>",
    );
    let carl = format!("C {}", here("carl@example.org/web", ""));
    assert_eq!(harness.anew(), [carl]);
    harness.client("<presence type='unavailable'/>");
    assert_eq!(harness.anew(), [""; 0]);
}

#[test]
fn contacts_whose_presence_is_not_kept_are_asked_for_it() {
    let mut harness = Harness::online(&roster(&[
        ("both@example.org", Subscription::Both),
        ("to@example.org", Subscription::To),
    ]));
    let long = format!("<status>{}</status>", "long ".repeat(500));
    for jid in ["both@example.org", "to@example.org"] {
        harness.server(&here(&format!("{jid}/web"), &long));
    }
    let question = "S <presence to='to@example.org' id='rostergate-hello' type='unavailable'/>";
    assert_eq!(
        harness.anew(),
        [hello("both@example.org", ""), question.to_owned()]
    );
    for jid in ["both@example.org", "to@example.org"] {
        let answer = here(&format!("{jid}/web"), &long);
        assert_eq!(harness.server(&answer), [format!("C {answer}")]);
        assert_eq!(harness.server(&answer), [""; 0], "once");
    }
}

#[test]
fn what_is_kept_is_bounded_and_makes_room_again() {
    let jids: Vec<String> = (0..500)
        .map(|number| format!("c{number}@example.org"))
        .collect();
    let mut harness = Harness::online(&friends(
        &jids.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    // What many say alike is kept once.
    for jid in &jids {
        harness.server(&here(&format!("{jid}/web"), "<show>away</show>"));
    }
    let is_shown = |effect: &&String| effect.starts_with("C ");
    assert_eq!(harness.anew().iter().filter(is_shown).count(), jids.len());
    // What each says differently is not kept of all.
    for jid in &jids {
        harness.server(&here(
            &format!("{jid}/web"),
            &format!("<status>{jid}</status>"),
        ));
    }
    let kept = harness.anew().iter().filter(is_shown).count();
    assert!(kept > 20 && kept < 100, "{kept}");
    for jid in &jids {
        harness.server(&here(&format!("{jid}/web"), "<show>dnd</show>"));
    }
    assert_eq!(harness.anew().iter().filter(is_shown).count(), jids.len());
}

#[test]
fn a_long_list_is_shown_again_in_parts() {
    let jids: Vec<String> = (0..1000)
        .map(|number| format!("c{number}@example.org"))
        .collect();
    let list = friends(&jids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut harness = Harness::online(&list);
    for jid in &jids {
        harness.server(&here(&format!("{jid}/web"), ""));
    }
    harness.0.begin_anew();
    let count = |harness: &mut Harness| {
        let mut count = 0;
        while let Some(effect) = harness.0.poll_effect(count == 0) {
            assert!(matches!(effect, Effect::ToClient(_)));
            count += 1;
        }
        count
    };
    let first = count(&mut harness);
    assert!(first > 0 && first < 200, "{first}");
    assert!(harness.0.is_telling());
    assert_eq!(harness.effects().len(), jids.len() - first);
}
