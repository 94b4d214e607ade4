use super::{
    contact::MAX_GROUPS,
    list::{MAX_CONTACTS, MAX_GROUPS_OF_LIST},
    text::MAX_TEXT,
    *,
};
use crate::roster::Subscription;

fn read_bytes(json: &[u8]) -> Result<Contacts, NoContacts> {
    contacts(
        &mut json.to_vec(),
        &BareJid::new("john@example.org").unwrap(),
    )
}

fn read(json: &str) -> Result<Contacts, NoContacts> {
    read_bytes(json.as_bytes())
}

/// The contact `marie@example.org` with this data, beside another one.
fn with_bytes(data: &[u8]) -> Contact {
    let json = [
        br#"{"marie@example.org": "#,
        data,
        br#", "aaron@example.org": {"name": "Aaron"}}"#,
    ];
    let found = read_bytes(&json.concat()).unwrap();
    assert_eq!(found.left_out, LeftOut::default());
    let [marie, aaron] = &found.contacts[..] else {
        panic!("both of them: {found:?}")
    };
    assert_eq!(aaron.name.as_deref(), Some("Aaron"));
    assert_eq!(marie.jid.as_str(), "marie@example.org");
    marie.clone()
}

fn with_data(data: &str) -> Contact {
    with_bytes(data.as_bytes())
}

/// The contact with this JID and no data, or why it was left out.
fn with_jid(jid: &str) -> Result<String, &'static str> {
    let found = read(&format!("{{{jid:?}: {{}}, \"aaron@example.org\": {{}}}}")).unwrap();
    assert_eq!(found.contacts.len() + found.left_out.count(), 2, "{jid}");
    if let [omission] = found.left_out.first() {
        assert_eq!(&*omission.jid, jid.trim_end_matches('.'));
        return Err(omission.reason);
    }
    Ok(found.contacts[0].jid.to_string())
}

#[test]
fn the_documented_form_is_read() {
    let found = read(
        r#"{ "marie@example.org": { "name": "Marie", "groups": ["Friends", "Work"] },
             "michael@example.org": { "name": "Michael", "subscription": "from",
                                      "unknown": [{}] } }"#,
    )
    .unwrap();
    assert_eq!(found.left_out.count(), 0);
    let [marie, michael] = &found.contacts[..] else {
        panic!("{found:?}")
    };
    assert_eq!(marie.name.as_deref(), Some("Marie"));
    assert_eq!(marie.groups, ["Friends", "Work"]);
    assert_eq!(marie.subscription, Subscription::Both);
    assert_eq!(michael.subscription, Subscription::From);
}

#[test]
fn groups_may_be_a_list_or_the_keys_of_an_object() {
    let groups = |json: &str| with_data(&format!(r#"{{"groups": {json}}}"#)).groups;
    for (json, expected) in [
        (
            r#"["b", "a", "b", "", null, false, true, [], {"c": 1}, 5]"#,
            &["b", "a", "5"][..],
        ),
        (
            r#"{"b": true, "a": {}, "c": null, "d": false, "": 1}"#,
            &["a", "b"],
        ),
        (r#"{"0": "Friends", "2": "Work"}"#, &["Friends", "Work"]),
        (r#"{"0": "Friends", "b": "Work"}"#, &["0", "b"]),
        (r#"{"2024": true, "0": null}"#, &["2024"]),
        (r#""Friends""#, &["Friends"]),
        ("5", &["5"]),
        ("1e999", &["1e999"]),
        (
            r#"[1e999, 12345678901234567890123]"#,
            &["1e999", "12345678901234567890123"],
        ),
        (r#"{"0": 1e999, "1": 5}"#, &["1e999", "5"]),
        (r#"["a\u0000b", " c\n", "\n"]"#, &["a b", "c"]),
        (r#"{"a\nb": 1}"#, &["a b"]),
        ("[[]]", &[]),
    ] {
        assert_eq!(groups(json), expected, "{json}");
    }
    for empty in ["[]", "{}", "null", "false", "true", r#""""#, r#"" ""#] {
        assert_eq!(groups(empty), [""; 0], "{empty}");
    }
}

#[test]
fn null_is_absent_and_wrong_types_cost_no_contact() {
    for bare in [
        "{}",
        "null",
        "[]",
        "false",
        "true",
        "5",
        "-5",
        "5.5",
        "1e999",
        r#""Marie""#,
        r#"["Marie"]"#,
        r#"{"name": null, "groups": null, "subscription": null}"#,
        r#"{"name": false, "groups": false, "subscription": false}"#,
        r#"{"name": [], "groups": {}, "subscription": {}}"#,
        r#"{"name": ["Marie"], "groups": [[]], "subscription": true}"#,
        r#"{"name": " \u0007\uffff", "subscription": ""}"#,
    ] {
        let contact = with_data(bare);
        assert_eq!((contact.name, contact.groups), (None, vec![]), "{bare}");
        assert_eq!(contact.subscription, Subscription::Both, "{bare}");
    }
    for (word, expected) in [
        ("BOTH", Subscription::Both),
        ("From", Subscription::From),
        ("tO", Subscription::To),
        ("NONE", Subscription::None),
        ("remove", Subscription::Both),
    ] {
        let contact = with_data(&format!(r#"{{"subscription": "{word}"}}"#));
        assert_eq!(contact.subscription, expected, "{word}");
    }
}

#[test]
fn no_name_costs_a_contact() {
    for (name, expected) in [
        (&br#""Marie""#[..], "Marie"),
        (br#"" Marie\t""#, "Marie"),
        (b"5", "5"),
        (b"-5", "-5"),
        (b"5.5", "5.5"),
        (b"1e999", "1e999"),
        (b"-1E400", "-1E400"),
        (b"0.10", "0.10"),
        (
            b"123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        (b"\"Marie\r\"", "Marie"),
        (b"\"Ma\trie\0\n\"", "Ma rie"),
        (br#""Marie\r""#, "Marie"),
        (br#""Pat O\u0092Brien""#, "Pat O Brien"),
        (br#""a\u0007b""#, "a b"),
        (br#""a\uffffb\u0085c""#, "a b c"),
        (br#""a\ud83db""#, "a\u{fffd}b"),
        (br#""a\ude00""#, "a\u{fffd}"),
        (br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (br#""\\ud83d""#, r"\ud83d"),
        (br#""\\\ud83d""#, "\\\u{fffd}"),
        (b"\"Ren\xe9e\"", "Ren e"),
        (b"\"Ren\xc3\"", "Ren"),
        (b"\"\xed\xa0\xbd!\"", "!"),
    ] {
        let data = [b"{\"name\": ", name, b"}"].concat();
        let said = String::from_utf8_lossy(name);
        assert_eq!(with_bytes(&data).name.as_deref(), Some(expected), "{said}");
    }
}

#[test]
fn numbers_that_json_does_not_know_are_as_good_as_nothing() {
    for number in [
        "NaN",
        "nan",
        "-NaN",
        "Infinity",
        "-Infinity",
        "inf",
        "007",
        "-01.5",
        "0x1F",
        "+1",
        "1.",
    ] {
        let bare = with_data(&format!(
            r#"{{"age": {number}, "name": {number}, "groups": [{number}, "a"],"x":{number}}}"#
        ));
        assert_eq!(
            (bare.name, bare.groups),
            (None, vec!["a".to_owned()]),
            "{number}"
        );
        assert_eq!(with_data(number).name, None);
        // In a text, it is a text.
        for text in [format!("{number}: {number}"), format!("\\\"{number},")] {
            let named = with_data(&format!(r#"{{"name": "{text}"}}"#));
            assert_eq!(named.name.unwrap(), text.replace('\\', ""), "{number}");
        }
    }
    for bad in ["nul", "Nay", "1e5x", "0xg", "--", "in", "1 2", "NaN NaN"] {
        let json = format!(r#"{{"marie@example.org": {{"age": {bad}}}}}"#);
        assert!(matches!(read(&json), Err(NoContacts::Json(_))), "{bad}");
    }
}

#[test]
fn long_names_and_groups_are_cut_and_cost_no_contact() {
    let long = "ü".repeat(MAX_TEXT);
    let groups: Vec<String> = (0..2 * MAX_GROUPS).map(|group| group.to_string()).collect();
    let keys: Vec<String> = groups.iter().map(|it| format!("\"g{it}\": true")).collect();
    let contact = with_data(&format!(r#"{{"name": "{long}", "groups": {groups:?}}}"#));
    assert_eq!(contact.name.unwrap(), "ü".repeat(MAX_TEXT / 2));
    assert_eq!(contact.groups, groups[..MAX_GROUPS]);
    let contact = with_data(&format!(r#"{{"groups": {{{}}}}}"#, keys.join(",")));
    assert_eq!(contact.groups.len(), MAX_GROUPS);
    let contact = with_data(&format!(r#"{{"groups": ["{long}"]}}"#));
    assert_eq!(contact.groups, ["ü".repeat(MAX_TEXT / 2)]);
}

#[test]
fn a_list_has_so_many_contacts_and_groups_and_no_more() {
    let groups = r#"{"groups": ["a", "b", "c", "d", "e"]}"#;
    let entries = (0..MAX_CONTACTS + 2).map(|number| format!("\"c{number}@x.org\": {groups}"));
    let json = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let found = read(&json).unwrap();
    assert_eq!(found.contacts.len(), MAX_CONTACTS);
    let groups: usize = found.contacts.iter().map(|it| it.groups.len()).sum();
    assert_eq!(groups, MAX_GROUPS_OF_LIST);
    assert_eq!(found.left_out.count(), 2);
    assert_eq!(
        found.left_out.first()[1].reason,
        "more than 100000 contacts"
    );
}

#[test]
fn jids_are_prepared_and_bad_ones_left_out() {
    for (jid, expected) in [
        ("Marie@Example.ORG", "marie@example.org"),
        ("x@remote.net", "x@remote.net"),
        ("icq.example.org", "icq.example.org"),
        // The library would keep the dot.
        ("marie@example.org.", "marie@example.org"),
    ] {
        assert_eq!(with_jid(jid).as_deref(), Ok(expected), "{jid}");
    }
    for (bad, reason) in [
        ("", "not a JID"),
        // The library would make another one of a letter that servers leave alone.
        ("maᴿie@example.org", "not a JID"),
        ("@example.org", "not a JID"),
        ("marie@", "not a JID"),
        ("a@b@c", "not a JID"),
        ("a b@example.org", "not a JID"),
        ("marie@example.org/phone", "JID with a resource"),
        ("john@example.org", "the user's own JID"),
        ("john@example.org.", "the user's own JID"),
        ("pending", "neither user@domain nor a domain name"),
        ("marie", "neither user@domain nor a domain name"),
    ] {
        assert_eq!(with_jid(bad), Err(reason), "{bad:?}");
    }
}

#[test]
fn an_empty_list_is_an_empty_roster() {
    for empty in ["{}", "[]", " [ ] ", "\u{feff}{}", "\u{feff} []"] {
        assert_eq!(read(empty).unwrap(), Contacts::default(), "{empty}");
    }
    let alone = read(r#"{"JOHN@example.org": {}}"#).unwrap();
    assert_eq!((alone.contacts.len(), alone.left_out.count()), (0, 1));
}

#[test]
fn entries_of_which_none_is_a_contact_are_no_roster() {
    for error in [
        r#"{"error": "down"}"#,
        r#"{"status": "error"}"#,
        r#"{"result": "success", "data": {"marie@example.org": {}}}"#,
        r#"{"ver": "1", "items": [{"jid": "marie@example.org"}]}"#,
        r#"{"": {}}"#,
        // Keys that look like domains.
        r#"{"error.message": "down", "error.code": 5}"#,
        r#"{"status": "error", "api.example.org": {}}"#,
        r#"{"api.example.org": true}"#,
        r#"{"icq.example.org": {}, "error.code": 1e999}"#,
        r#"{"errors.name": ["required"]}"#,
        r#"{"error.code": [5], "icq.example.org": {}}"#,
        r#"{"errors.name": [[]]}"#,
        r#"{"errors.name": [null]}"#,
    ] {
        assert!(
            matches!(read(error), Err(NoContacts::NoneOfThem)),
            "{error}"
        );
    }
    let gateways =
        r#"{"icq.example.org": {"name": "ICQ"}, "sms.example.org": [ ], "irc.example.org": null}"#;
    assert_eq!(read(gateways).unwrap().contacts.len(), 3);
    let mixed = r#"{"icq.example.org": "ICQ", "pending": 1, "marie@example.org": {}}"#;
    let mixed = read(mixed).unwrap();
    assert_eq!((mixed.contacts.len(), mixed.left_out.count()), (2, 1));
    let one = read(r#"{"status": "ok", "marie@example.org": {}}"#).unwrap();
    assert_eq!((one.contacts.len(), one.left_out.count()), (1, 1));
}

#[test]
fn anything_else_is_no_roster() {
    for bad in [
        "",
        "null",
        "42",
        r#""x""#,
        "true",
        r#"["marie@example.org"]"#,
        "[null]",
        "<html/>",
        "{} {}",
        "{}x",
        r#"{"a@x.org": {}"#,
        r#"{"a@x.org": {},}"#,
        r#"{"a@x.org": {"name": "\ud83"}}"#,
        "{\u{feff}}",
    ] {
        assert!(matches!(read(bad), Err(NoContacts::Json(_))), "{bad:.40}");
    }
    // What nobody looks at may be as deep as it likes.
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for place in [
        deep.clone(),
        format!(r#"{{"shoes": {deep}}}"#),
        format!(r#"{{"name": {deep}}}"#),
        format!(r#"{{"groups": {deep}}}"#),
        format!(r#"{{"groups": [{deep}]}}"#),
    ] {
        assert_eq!(with_data(&place).name, None);
    }
}
