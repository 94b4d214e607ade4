//! The list of rules in docs/conformance.md is whole, and what it says of tests is true.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every rule there is: a family and its numbers.
const RULES: &[(&str, &str)] = &[
    ("B-HTTP", "1-22"),
    ("B-XML", "1-14"),
    ("B-NEW", "1-15 20-26"),
    ("B-RID", "1-15"),
    ("B-ACK", "1-6"),
    ("B-HOLD", "1-14"),
    ("B-INACT", "1-8 8a 8b 9-10"),
    ("B-KEY", "1-3"),
    ("B-MULTI", "1"),
    ("B-SCRIPT", "1"),
    ("B-ERR", "1-5"),
    ("B-XMPP", "1-16"),
    ("B-CORS", "1-8"),
    ("B-RELOAD", "1-10"),
    ("U-B", "1-14"),
    ("U-T", "1-15"),
    ("W-SM", "1-10"),
    ("R", "1-6 10-15 20-23 30-34 40-45 50-55 60-64"),
    ("D", "1-20"),
    ("W-HS", "1-12"),
    ("W-FR", "1-12"),
    ("W-XML", "1-7"),
    ("W-OP", "1-9"),
    ("W-RS", "1-3"),
    ("W-CL", "1-9"),
    ("W-ERR", "1-6"),
    ("W-KA", "1-6"),
    ("W-LIM", "1-8"),
    ("W-SEC", "1-7"),
    ("W-PX", "1-7"),
    ("W-SM-C", "1-23"),
    ("W-CMP", "1-9"),
    ("W-FT", "1-10"),
    ("WD", "1-7"),
];

/// Rows that are marked `open`: whoever closes one counts down, and at 0 the list is complete.
const OPEN: usize = 0;

/// Words that may stand in place of a test.
const REASONS: [&str; 4] = ["built so", "later", "not", "open"];

struct Row {
    rule: String,
    tests: Vec<String>,
    /// What follows the tests.
    reason: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of all tables but their heads.
fn rows() -> Vec<Row> {
    let list = fs::read_to_string(root().join("docs/conformance.md")).expect("the list");
    let rows = list.lines().filter_map(|line| {
        let cells: Vec<_> = line
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .collect();
        let [rule, _, shown] = cells[..] else {
            panic!("a row has three cells: {line}")
        };
        let (rule, shown) = (rule.trim().to_owned(), shown.trim());
        if rule == "rule" || rule == "---" {
            return None;
        }
        let tests = if shown.starts_with('`') {
            let quoted = shown.split("; ").next().unwrap_or(shown);
            quoted
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        } else {
            Vec::new()
        };
        let reason = match shown.split_once("; ") {
            Some((_, reason)) if shown.starts_with('`') => reason,
            _ if shown.starts_with('`') => "",
            _ => shown,
        };
        let reason = reason.to_owned();
        Some(Row {
            rule,
            tests,
            reason,
        })
    });
    rows.collect()
}

fn numbers(ranges: &str) -> impl Iterator<Item = String> {
    ranges
        .split(' ')
        .flat_map(|range| match range.split_once('-') {
            Some((first, last)) => {
                let bound = |text: &str| text.parse::<u32>().expect("a number");
                (bound(first)..=bound(last))
                    .map(|number| number.to_string())
                    .collect()
            }
            None => vec![range.to_owned()],
        })
}

/// The file of a test's module, and what of its path is inside.
fn file_of(test: &str) -> Option<(PathBuf, Vec<&str>)> {
    let mut path: Vec<_> = test.split("::").collect();
    let target = path.remove(0);
    let folder = match target {
        "lib" => root().join("src"),
        target => root().join("tests").join(target),
    };
    for depth in (1..path.len()).rev() {
        let stem = path[..depth]
            .iter()
            .fold(folder.clone(), |to, part| to.join(part));
        for file in [stem.with_extension("rs"), stem.join("mod.rs")] {
            if file.is_file() {
                return Some((file, path.split_off(depth)));
            }
        }
    }
    let alone = folder.with_extension("rs");
    alone.is_file().then_some((alone, path))
}

/// Whether the test is in the sources: in its module's file, in the modules that its path names there,
/// marked as a test or listed for a macro that marks it.
fn exists(test: &str) -> bool {
    let Some((file, inside)) = file_of(test) else {
        return false;
    };
    let source = fs::read_to_string(file).expect("a source file");
    let Some((name, modules)) = inside.split_last() else {
        return false;
    };
    let head = format!("fn {name}(");
    let item = format!("{name},");
    let lines = source.lines().map(str::trim);
    // Between the mark and the function may be what a lint is told.
    let lines: Vec<_> = lines.filter(|line| !line.starts_with("#[expect")).collect();
    let is_marked = lines.windows(2).any(|pair| {
        let mark = pair[0] == "#[test]" || pair[0].starts_with("#[tokio::test");
        mark && pair[1].trim_start_matches("async ").starts_with(&head)
    });
    let is_listed = source.contains(&head) && lines.contains(&&*item);
    let has_modules = modules
        .iter()
        .all(|module| lines.contains(&&*format!("mod {module} {{")));
    has_modules && (is_marked || is_listed)
}

#[test]
fn every_rule_is_listed_once() {
    let expected: Vec<_> = RULES
        .iter()
        .flat_map(|(family, ranges)| {
            numbers(ranges).map(move |number| format!("{family}-{number}"))
        })
        .collect();
    let listed: Vec<_> = rows().into_iter().map(|row| row.rule).collect();
    let rules: Vec<_> = listed
        .iter()
        .filter(|rule| !rule.starts_with("M-"))
        .cloned()
        .collect();
    assert_eq!(rules, expected);
    let once: BTreeSet<_> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "no rule is listed twice");
}

#[test]
fn every_rule_has_a_test_or_a_reason() {
    for Row {
        rule,
        tests,
        reason,
    } in rows()
    {
        assert!(
            !tests.is_empty() || !reason.is_empty(),
            "{rule} has neither"
        );
        if !reason.is_empty() {
            let known = REASONS.iter().any(|word| {
                let rest = reason.strip_prefix(word);
                rest.is_some_and(|rest| rest.starts_with([':', ',']) && rest.len() > 2)
            });
            assert!(known, "{rule}: {reason}");
        }
    }
}

#[test]
fn every_named_test_exists() {
    let missing: Vec<_> = rows()
        .into_iter()
        .flat_map(|row| row.tests)
        .filter(|test| !exists(test))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn open_rules_are_counted() {
    let rows = rows();
    let open = rows.iter().filter(|row| row.reason.starts_with("open"));
    let open: Vec<_> = open.map(|row| &row.rule).collect();
    assert_eq!(open.len(), OPEN, "{open:?}");
}
