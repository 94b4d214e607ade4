//! What the documents say of the tests is true.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// All that may hold a test.
static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![root.join("src"), root.join("tests")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(fs::read_to_string(path).expect("a source file"));
            }
        }
    }
    sources
});

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(path).expect("a document")
}

/// The last cells of the rows of its tables, without those of the heads.
fn last_cells(document: &str) -> impl Iterator<Item = &str> {
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.strip_suffix('|')?.rsplit('|').next());
    cells
        .map(str::trim)
        .filter(|cell| *cell != "tests" && *cell != "---")
}

/// The names in code quotes in those cells.
fn tests_named_in(document: &str) -> Vec<&str> {
    last_cells(document)
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// Whether there is a function of this name that is marked as a test, or listed for a macro to do so.
fn exists(name: &str) -> bool {
    let head = format!("fn {name}(");
    let item = format!("{name},");
    SOURCES.iter().any(|source| {
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let is_marked = |pair: &[&str]| {
            let mark = pair[0] == "#[test]" || pair[0].starts_with("#[tokio::test");
            mark && pair[1].contains(&head)
        };
        lines.windows(2).any(is_marked) || source.contains(&head) && lines.contains(&&*item)
    })
}

#[test]
fn the_page_on_the_original_module_names_tests_that_exist() {
    let page = document("docs/original-module.md");
    let unproven: Vec<_> = last_cells(&page)
        .filter(|cell| !cell.starts_with('`'))
        .collect();
    assert_eq!(unproven, [""; 0], "every row names a test");
    let named = tests_named_in(&page);
    assert!(named.len() > 100, "the tables have gone: {named:?}");
    let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
    assert_eq!(missing, [""; 0]);
}
