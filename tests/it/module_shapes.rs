//! "A backend that works with mod_http_roster_admin works with rostergate": each shape that an answer may have, what
//! the module shows of it, and what rostergate shows.
//!
//! Debian has no package of the module, so what it does is a table of facts: each row was observed on Prosody 0.12.3
//! with the module itself and lua-cjson 2.1.0. Rostergate and its Prosody are the real ones.

use std::collections::BTreeMap;

use support::{
    backend::Fault,
    client::{Account, Item},
    xml::ROSTER,
};

use crate::site::{Site, item};

type List = BTreeMap<String, Item>;

/// What the client of a list's owner is shown.
#[derive(Debug, Eq, PartialEq)]
enum Shown {
    List(List),
    /// No answer, ever.
    Nothing,
    /// An error to wait for.
    Error,
}

use Shown::{Error, Nothing};

/// The JIDs, names, groups and subscriptions of a list.
fn list(contacts: &[(&str, Option<&str>, &[&str], &str)]) -> Shown {
    let items = contacts.iter().map(|(jid, name, groups, subscription)| {
        ((*jid).to_owned(), item(jid, *name, groups, subscription))
    });
    Shown::List(items.collect())
}

/// Marie alone, as `both`.
fn marie(name: Option<&str>, groups: &[&str]) -> Shown {
    list(&[("marie@example.org", name, groups, "both")])
}

/// A backend's answer that gives Marie this.
fn about_marie(data: &str) -> String {
    format!(r#"{{"marie@example.org": {data}}}"#)
}

async fn ours(site: &Site, user: &Account, answer: &str) -> Shown {
    let body = answer.to_owned().into();
    let content_type = "application/json";
    site.backend
        .fail(&user.local, Fault::Answer { content_type, body });
    let mut client = site.gateway.login(user, "web").await;
    let query = format!("<query xmlns='{ROSTER}'/>");
    match client.iq("get", "", &query).await.error() {
        Some(_) => Error,
        None => Shown::List(client.roster().await),
    }
}

#[tokio::test]
async fn what_the_module_shows_is_shown() {
    let site = Site::new();
    for (answer, expected) in [
        ("{}".to_owned(), list(&[])),
        ("[]".to_owned(), list(&[])),
        (about_marie("{}"), marie(None, &[])),
        (
            about_marie(r#"{"name": "Marie"}"#),
            marie(Some("Marie"), &[]),
        ),
        (
            about_marie(r#"{"name": "Marie", "groups": {"Work": true, "Friends": true}}"#),
            marie(Some("Marie"), &["Friends", "Work"]),
        ),
        (
            about_marie(r#"{"groups": {"Work": {}, "Friends": 1}}"#),
            marie(None, &["Friends", "Work"]),
        ),
        (about_marie(r#"{"groups": []}"#), marie(None, &[])),
        (
            about_marie(r#"{"name": "M & <b> \"'"}"#),
            marie(Some("M & <b> \"'"), &[]),
        ),
        // What nobody looks at, as its reader of JSON takes it.
        (
            about_marie(r#"{"name": "Marie", "score": NaN}"#),
            marie(Some("Marie"), &[]),
        ),
        (
            about_marie(r#"{"a": -Infinity, "b": 007, "c": 0x1F, "d": 1e999}"#),
            marie(None, &[]),
        ),
        (
            about_marie(r#"{"name": "Anna"}, "marie@example.org": {"name": "Marie"}"#),
            marie(Some("Marie"), &[]),
        ),
        // Somebody elsewhere, and a gateway.
        (
            r#"{"x@remote.example": {}, "icq.example.org": {"name": "ICQ"}}"#.to_owned(),
            list(&[
                ("x@remote.example", None, &[], "both"),
                ("icq.example.org", Some("ICQ"), &[], "both"),
            ]),
        ),
    ] {
        let john = site.member("john");
        assert_eq!(ours(&site, &john, &answer).await, expected, "{answer}");
    }
}

#[tokio::test]
async fn what_the_module_hangs_on_is_shown_or_told() {
    let site = Site::new();
    for (answer, expected) in [
        (
            about_marie(r#"{"groups": ["Work", "Friends"]}"#),
            marie(None, &["Friends", "Work"]),
        ),
        (
            about_marie(r#"{"name": null, "groups": null}"#),
            marie(None, &[]),
        ),
        (about_marie(r#"{"name": 5}"#), marie(Some("5"), &[])),
        (about_marie("null"), marie(None, &[])),
        (about_marie("true"), marie(None, &[])),
        (about_marie(r#"{"name": "M\u0007"}"#), marie(Some("M"), &[])),
        (format!("\u{feff}{}", about_marie("{}")), marie(None, &[])),
        ("null".to_owned(), Error),
        ("42".to_owned(), Error),
        (r#""x""#.to_owned(), Error),
        (r#"["marie@example.org"]"#.to_owned(), Error),
        ("<html></html>".to_owned(), Error),
        (String::new(), Error),
    ] {
        let john = site.member("john");
        let shown = ours(&site, &john, &answer).await;
        assert_eq!(shown, expected, "{answer}");
        assert_ne!(shown, Nothing);
    }
}

/// Where the two differ although the module shows something, and why.
#[tokio::test]
async fn what_is_shown_otherwise_is_so_on_purpose() {
    let site = Site::new();
    let beside = |jid: &str| format!(r#"{{"marie@example.org": {{}}, "{jid}": {{}}}}"#);
    let both = |jid: &str| {
        list(&[
            ("marie@example.org", None, &[], "both"),
            (jid, None, &[], "both"),
        ])
    };
    let word = about_marie(r#"{"subscription": "from"}"#);
    let holes = about_marie(r#"{"groups": {"0": "Friends", "2": "Work"}}"#);
    let spaces = about_marie(r#"{"name": " Marie "}"#);
    for (answer, module, expected, why) in [
        (
            word,
            marie(None, &[]),
            list(&[("marie@example.org", None, &[], "from")]),
            "the module has no word for it",
        ),
        (
            holes,
            marie(None, &["0", "2"]),
            marie(None, &["Friends", "Work"]),
            "PHP means a list",
        ),
        (
            spaces,
            marie(Some(" Marie "), &[]),
            marie(Some("Marie"), &[]),
            "nobody means spaces",
        ),
        (
            beside("Aaron@Example.ORG"),
            both("Aaron@Example.ORG"),
            both("aaron@example.org"),
            "presence to it bounces",
        ),
        (
            beside("aaron@example.org/desk"),
            both("aaron@example.org/desk"),
            marie(None, &[]),
            "a list has bare JIDs (RFC 6121 §2.1.2.3)",
        ),
        (
            beside(""),
            both(""),
            marie(None, &[]),
            "it is nobody's address",
        ),
        (
            r#"{"error": "down"}"#.to_owned(),
            list(&[("error", None, &[], "both")]),
            Error,
            "an error is no list",
        ),
    ] {
        let john = site.member("john");
        let shown = ours(&site, &john, &answer).await;
        assert_eq!(shown, expected, "{answer}: {why}");
        assert_ne!(shown, module, "{answer}");
    }
}
