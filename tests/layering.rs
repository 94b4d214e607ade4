//! The lower layers stay free of I/O, clocks and randomness (see `ARCHITECTURE.md`, "Layers").

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What has no place in them.
const FORBIDDEN: [&str; 11] = [
    "Instant::now",
    "SystemTime",
    "getrandom",
    "hyper",
    "rand::",
    "rustls",
    "std::env",
    "std::fs",
    "std::net",
    "tokio",
    "tracing",
];

/// The pure folders and files.
const PURE: [&str; 8] = [
    "src/proto",
    "src/pipe",
    "src/roster/address.rs",
    "src/roster/diff.rs",
    "src/roster/left_out.rs",
    "src/roster/mod.rs",
    "src/roster/render.rs",
    "src/roster/snapshot.rs",
];

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            files(&entry.expect("an entry").path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The numbered lines that are not only there for tests, which may do as they like. As `rustfmt`
/// indents them, an item ends where a line at the margin does.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_test = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let skipped = is_test || *line == "#[cfg(test)]";
        let is_end = *line == "}" || !line.starts_with(' ') && line.ends_with(';');
        is_test = skipped && !is_end;
        !skipped
    })
}

#[test]
fn pure_layers_know_nothing_of_the_outside() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for path in PURE {
        files(&root.join(path), &mut found);
    }
    assert!(found.len() > 20, "the layers have moved: {found:?}");
    let mut breaches = Vec::new();
    let is_test = |file: &Path| file.ends_with("tests.rs") || file.iter().any(|it| it == "tests");
    for file in found.iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(file).expect("a source file");
        for (number, line) in code(&text) {
            let line = line.split("//").next().unwrap_or_default();
            if let Some(word) = FORBIDDEN.iter().find(|word| line.contains(**word)) {
                breaches.push(format!("{}:{}: {word}", file.display(), number));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
