//! Tests of `config.example.toml`: that it agrees with the code on every key, its default and its range.

use std::path::Path;

use super::{Config, ConfigErrors, error};

/// The tables, each with what else it needs to be valid.
const TABLES: [(&str, &str); 12] = [
    ("[server]", ""),
    ("[[certificate]]", "chain = \"a\"\nprivate_key = \"a\"\n"),
    ("[session]", ""),
    ("[web]", ""),
    ("[bosh]", ""),
    ("[websocket]", ""),
    ("[discovery]", ""),
    ("[admin]", ""),
    ("[monitoring]", ""),
    ("[cluster]", ""),
    ("[log]", ""),
    ("[[host]]", "domain = \"a\"\nupstream = \"xmpp://a\"\n"),
];

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "test.toml", Path::new("."))
}

fn shown(config: Result<Config, ConfigErrors>) -> String {
    format!("{:#?}", config.unwrap_or_else(|errors| panic!("{errors}")))
}

/// A key as the example has it.
#[derive(Debug)]
struct Entry<'a> {
    table: &'a str,
    key: &'a str,
    value: &'a str,
    /// Whether it is commented out.
    is_absent: bool,
    /// The paragraph that explains it and those beside it.
    meaning: String,
}

fn entries() -> Vec<Entry<'static>> {
    let mut table = "";
    let mut entries = Vec::new();
    for paragraph in Config::example().split("\n\n") {
        let meaning = paragraph.lines().map(|line| line.trim_start_matches("# "));
        let meaning = meaning.collect::<Vec<_>>().join(" ");
        for line in paragraph.lines() {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            if bare.starts_with('[') {
                table = bare;
            } else if let Some((key, value)) = bare.split_once(" = ")
                && key
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            {
                entries.push(Entry {
                    table,
                    key,
                    value,
                    is_absent: bare != line,
                    meaning: meaning.clone(),
                });
            }
        }
    }
    entries
}

impl Entry<'_> {
    /// The example with another value for the key.
    fn with(&self, value: &str) -> String {
        let mut here = "";
        let lines = Config::example().lines().map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            if bare.starts_with('[') {
                here = bare;
            }
            let is_it = here == self.table
                && bare
                    .strip_prefix(self.key)
                    .is_some_and(|rest| rest.starts_with(" = "));
            if is_it {
                format!("{} = {value}\n", self.key)
            } else {
                format!("{line}\n")
            }
        });
        lines.collect()
    }

    /// Whether the key may have this value.
    fn may_be(&self, value: &str) -> bool {
        match parse(&self.with(value)) {
            Ok(_) => true,
            Err(errors) => {
                let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
                let expected = found.iter().all(|it| it.contains(": out of range"));
                assert!(expected, "{} = {value}: {errors}", self.key);
                false
            }
        }
    }

    /// Another value that the key may have.
    fn another(&self) -> String {
        if let Some(amount) = Amount::of(self.value) {
            // Its default is the most that it may be.
            let by = if self.key == "max_removals" { -1 } else { 1 };
            return amount.offset(by).expect("one more");
        }
        let value = match (self.table, self.key) {
            ("[admin]" | "[monitoring]", "listen") => "'127.0.0.1:1'",
            (_, "listen") => "['127.0.0.1:1']",
            (_, "trusted_proxies") => "['192.0.2.1']",
            (_, "forwarded_header") => "'Forwarded'",
            (_, "nats") => "['nats://192.0.2.1']",
            ("[cluster]", "name") => "'other'",
            (_, "path") => "'/elsewhere'",
            (_, "origins") => "['https://example.org']",
            (_, "headers") => "['Authorization']",
            (_, "bosh_url") => "'https://chat.example.net/bosh'",
            (_, "websocket_url") => "'wss://chat.example.net/ws'",
            (_, "token" | "backend_token") => "'a-secret-of-some-length'",
            (_, "backend_host") => "'www.example.net'",
            (_, "domain") => "'example.net'",
            (_, "upstream") => "'xmpp://192.0.2.1'",
            (_, "upstream_tls") => "'insecure'",
            (_, "upstream_referrals") => "['c2s.example.org']",
            (_, "upstream_proxy_protocol") => "'v1'",
            (_, "http_roster_url") => "'http://localhost/elsewhere/%s'",
            (_, "events_url") => "'https://localhost/events'",
            (_, "presence") => "'server'",
            (_, "messages_from") => "'contacts'",
            (_, "own") => "'all'",
            (_, "filter") => "'debug'",
            (_, "format") => "'json'",
            (_, key) => match self.value {
                "true" => "false",
                "false" => "true",
                _ => panic!("what else may {} {key} be?", self.table),
            },
        };
        value.to_owned()
    }
}

/// A number, perhaps with a unit, as it is written.
struct Amount<'a> {
    number: i64,
    unit: &'a str,
    is_quoted: bool,
}

impl<'a> Amount<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let bare = text.trim_matches('"');
        let end = bare.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = bare.split_at(end.unwrap_or(bare.len()));
        let is_unit = unit.chars().all(|c| c.is_ascii_alphabetic());
        Some(Self {
            number: number.parse().ok().filter(|_| is_unit)?,
            unit,
            is_quoted: !unit.is_empty(),
        })
    }

    /// The value changed by so many of its units; `None` if that would be negative.
    fn offset(&self, by: i64) -> Option<String> {
        let (number, unit) = (self.number + by, self.unit);
        let value = match self.is_quoted {
            true => format!("\"{number}{unit}\""),
            false => number.to_string(),
        };
        (number >= 0).then_some(value)
    }
}

/// The keys of a table, taken from the error for an unknown one, which lists them.
fn keys(table: &str, mandatory: &str) -> Vec<String> {
    let errors = parse(&format!("{table}\n{mandatory}nothing_like_it = 1\n")).unwrap_err();
    let mut errors = errors.iter();
    let error = errors.find(|error| error.key.ends_with("nothing_like_it"));
    let cure = error.and_then(|it| it.cure.clone()).expect("a cure");
    let keys = cure
        .strip_prefix("the keys known here are ")
        .expect("a list of keys");
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_is_there_once() {
    let tables = TABLES.map(|(table, _)| table.trim_matches(['[', ']']));
    assert_eq!(keys("", ""), tables);
    let mut known = Vec::new();
    for (table, mandatory) in TABLES {
        for key in keys(table, mandatory) {
            let line = error::example_line(table.trim_matches(['[', ']']), &key);
            assert!(line.is_some(), "{table} {key} is not in the example");
            known.push((table.to_owned(), key));
        }
    }
    let entries = entries().into_iter();
    let mut shown: Vec<_> = entries
        .map(|it| (it.table.to_owned(), it.key.to_owned()))
        .collect();
    shown.sort();
    known.sort();
    assert_eq!(shown, known);
}

#[test]
fn values_are_the_defaults() {
    let least = "[[host]]\ndomain = 'example.org'\nupstream = 'xmpp://127.0.0.1:5222'\n\
                 http_roster_url = 'http://localhost/contacts/%s'\n";
    assert_eq!(shown(parse(Config::example())), shown(parse(least)));
}

/// The comparison with the code's defaults does not see keys that are commented out, so these must have none.
#[test]
fn commented_keys_have_no_default() {
    for entry in entries().iter().filter(|entry| entry.is_absent) {
        let is_said = ["No default", "Default: ", "Without "]
            .iter()
            .any(|words| entry.meaning.contains(words));
        assert!(
            is_said,
            "does {} {} have a default?",
            entry.table, entry.key
        );
    }
}

/// Otherwise a key that is never read would seem right, as it always has its default.
#[test]
fn keys_are_read() {
    let defaults = shown(parse(Config::example()));
    for entry in entries() {
        // These name files; tests/config and tests/it test them.
        let is_file = [
            "certificate",
            "private_key",
            "chain",
            "upstream_ca",
            "client_ca",
            "backend_ca",
            "events_ca",
            "nats_ca",
        ]
        .contains(&entry.key)
            || entry.key.ends_with("_file");
        let needs_others = [
            "listen_tls",
            "client_names",
            "backend_user",
            "backend_password",
            "rosters",
            "writer",
            "writer_url",
            "writer_token",
            "login",
            "jwt_secret",
            "jwt_claim",
            "auth_url",
            "events_token",
            "writer_user",
            "writer_password",
            "node",
            "nats_user",
            "nats_password",
            "nats_token",
        ];
        if is_file || needs_others.contains(&entry.key) {
            continue;
        }
        let text = entry.with(&entry.another());
        assert_ne!(
            shown(parse(&text)),
            defaults,
            "{} {}",
            entry.table,
            entry.key
        );
    }
}

#[test]
fn ranges_are_those_of_the_code() {
    let mut ranges = 0;
    for entry in entries() {
        if Amount::of(entry.value).is_none() {
            continue;
        }
        let words: Vec<&str> = entry.meaning.split([' ', ',', ';', '.']).collect();
        let range = words.windows(3).find_map(|words| match words {
            [least, "to", most] => Amount::of(least).zip(Amount::of(most)),
            _ => None,
        });
        let (least, most) = range.unwrap_or_else(|| panic!("what range does {} have?", entry.key));
        for end in [&least, &most] {
            let value = end.offset(0).expect("not negative");
            assert!(entry.may_be(&value), "{} = {value}", entry.key);
        }
        let beyond = [least.offset(-1), most.offset(1)];
        for value in beyond.into_iter().flatten() {
            assert!(!entry.may_be(&value), "{} = {value}", entry.key);
        }
        ranges += 1;
    }
    assert!(ranges > 15, "{ranges} of them");
}
