//! Layers of the program (see `ARCHITECTURE.md`, "Layers"): which module may use which, and which are free of I/O,
//! clocks and randomness.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use modules::{Modules, Names};

mod modules;

/// The modules of the top level, from the bottom to the top. A module may use those below it, but none beside it.
const FLOORS: [&[&str]; 14] = [
    &["clock"],
    &["proto"],
    &["roster"],
    &["pipe", "availability"],
    &["log"],
    &["metrics"],
    &["net"],
    &["config"],
    &["upstream", "backend", "login"],
    &["writer", "events"],
    &["session"],
    &["cluster"],
    &["front", "admin"],
    &["server", "probe"],
];

/// The same for the modules of `proto/xml`.
const XML: [&[&str]; 8] = [
    &["error", "limits", "name"],
    &["names", "write"],
    &["lint"],
    &["decode"],
    &["tag"],
    &["scope"],
    &["token"],
    &["header"],
];

/// Names that must not occur in the lower layers.
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

/// The folders of the lower layers.
const PURE: [&str; 4] = ["proto", "pipe", "availability", "roster"];

/// Modules of higher layers that are as free of the outside.
const PURE_ABOVE: [[&str; 2]; 4] = [
    ["cluster", "answering"],
    ["cluster", "assembly"],
    ["cluster", "members"],
    ["cluster", "wire"],
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Uses that go upwards or sideways: `(from, to)`.
fn against(floors: &[&[&str]], uses: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    let floor = |module: &str| {
        let at = floors.iter().position(|floor| floor.contains(&module));
        at.unwrap_or_else(|| panic!("{module} has no floor: put it into the table"))
    };
    let uses = uses.into_iter();
    let upwards = uses.filter(|(from, to)| floor(from) <= floor(to));
    upwards
        .map(|(from, to)| format!("{from} uses {to}"))
        .collect()
}

/// Uses among the modules of one folder.
fn within(modules: &Modules, folder: &[&str]) -> Vec<(String, String)> {
    let siblings = modules.siblings().into_iter();
    siblings
        .filter(|(it, ..)| *it == folder)
        .map(|(_, from, to)| (from, to))
        .collect()
}

/// Modules of one folder that use each other in a circle, directly or through others.
fn circles(modules: &Modules) -> Vec<String> {
    let mut edges: BTreeMap<(Names, String), Vec<String>> = BTreeMap::new();
    for (folder, from, to) in modules.siblings() {
        edges.entry((folder, from)).or_default().push(to);
    }
    let mut found = Vec::new();
    for (folder, start) in edges.keys() {
        let mut seen = BTreeSet::new();
        let mut next = vec![start];
        while let Some(module) = next.pop() {
            for to in edges
                .get(&(folder.clone(), module.clone()))
                .into_iter()
                .flatten()
            {
                if to == start {
                    found.push(format!("{} {start}", folder.join("::")));
                } else if seen.insert(to) {
                    next.push(to);
                }
            }
        }
    }
    found.dedup();
    found
}

#[test]
fn modules_use_only_what_is_below_them() {
    let modules = Modules::of(&source().as_path());
    let breaches = against(&FLOORS, within(&modules, &[]));
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    let breaches = against(&XML, within(&modules, &["proto", "xml"]));
    assert!(breaches.is_empty(), "proto/xml: {}", breaches.join("\n"));
}

#[test]
fn no_folder_holds_modules_that_use_each_other_in_a_circle() {
    let modules = Modules::of(&source().as_path());
    assert_eq!(circles(&modules), [""; 0]);
}

#[test]
fn lower_layers_know_nothing_of_the_outside() {
    let modules = Modules::of(&source().as_path());
    let pure = modules.0.iter().filter(|(name, _)| {
        let top = name.first().map(String::as_str);
        top.is_some_and(|top| PURE.contains(&top)) || PURE_ABOVE.iter().any(|it| *name == it)
    });
    let files: BTreeSet<_> = pure
        .map(|(_, module)| source().join(&module.file))
        .collect();
    assert!(files.len() > 20, "the layers have moved: {files:?}");
    let mut breaches = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        for (number, line) in code(&text) {
            let line = line.split("//").next().unwrap_or_default();
            if let Some(word) = FORBIDDEN.iter().find(|word| line.contains(**word)) {
                breaches.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// The lines, with their numbers, that are not for tests alone: tests may use anything. `rustfmt` indents what is in an
/// item, so that the item ends at the next line without indentation.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_test = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let skipped = is_test || *line == "#[cfg(test)]";
        let is_end = *line == "}" || !line.starts_with(' ') && line.ends_with(';');
        is_test = skipped && !is_end;
        !skipped
    })
}

/// A crate that consists of these files.
fn sample(files: &[(&str, &str)]) -> Modules {
    let files: BTreeMap<_, _> = files
        .iter()
        .map(|(file, text)| (PathBuf::from(file), (*text).to_owned()))
        .collect();
    Modules::of(&files)
}

fn uses_of(text: &str) -> Vec<String> {
    let modules = sample(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a/mod.rs", "mod inner; pub use crate::c::Thing as Renamed;"),
        ("a/inner.rs", text),
        ("b.rs", ""),
        ("c.rs", ""),
    ]);
    let uses = modules.siblings().into_iter();
    uses.filter(|(_, from, _)| from == "a" || from == "inner")
        .map(|(_, _, to)| to)
        .filter(|to| to != "c")
        .collect()
}

#[test]
fn a_use_is_seen_however_it_is_written() {
    for text in [
        "use crate::b;",
        "use crate::b::Thing;",
        "use crate::{c, b::{self, Thing}};",
        "use super::super::{b::*};",
        "pub(crate) use crate::{b as other};",
        "fn f(thing: &crate::b::Thing) {}",
        "fn f() { g(super::super::b::THING); }",
        "fn f() { format!(\"{}\", crate::b::thing()); }",
        "impl<T: crate::b::Trait> Trait for Vec<T> {}",
        "mod inline { use super::super::super::b::Thing; }",
        "#[cfg(test)] use crate::c::Thing; use crate::b::Thing;",
        "#[cfg(test)] mod tests { use crate::c::Thing; } fn f() { crate::b::thing() }",
    ] {
        assert_eq!(uses_of(text), ["b"], "{text}");
    }
}

#[test]
fn what_is_no_code_is_no_use() {
    for text in [
        "",
        "// use crate::b;",
        "//! See [`crate::b`].",
        "/// [`crate::b::Thing`]\nfn f() {}",
        "const TEXT: &str = \"crate::b\";",
        "use b::Thing;",
        "fn f() { other::crate_b::g(); }",
        "#[cfg(test)] mod tests { use crate::b::Thing; }",
        "#[cfg(test)] use crate::b::{Thing, Other};",
        "#[cfg(test)] impl Thing { fn f() { crate::b::g() } }",
    ] {
        assert_eq!(uses_of(text), [""; 0], "{text}");
    }
}

#[test]
fn what_goes_upwards_or_in_a_circle_is_found() {
    let modules = sample(&[
        (
            "lib.rs",
            "mod net; mod config; mod session; #[cfg(test)] mod absent;",
        ),
        ("net/mod.rs", "mod tls; mod wire; pub use tls::Trust;"),
        ("net/tls.rs", "use super::wire::Wire;"),
        // It uses the name that its parent module re-exports.
        ("net/wire.rs", "use super::Trust;"),
        ("config.rs", "use crate::{net::Trust, session::Options};"),
        ("session.rs", "use crate::net;"),
    ]);
    let breaches = against(&FLOORS, within(&modules, &[]));
    assert_eq!(breaches, ["config uses session"]);
    assert_eq!(circles(&modules), ["net tls", "net wire"]);
}
