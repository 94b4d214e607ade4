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
    let page = document("docs/coming-from-mod_http_roster_admin.md");
    let unproven: Vec<_> = last_cells(&page)
        .filter(|cell| !cell.starts_with('`'))
        .collect();
    assert_eq!(unproven, [""; 0], "every row names a test");
    let named = tests_named_in(&page);
    assert!(named.len() > 100, "the tables have gone: {named:?}");
    let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
    assert_eq!(missing, [""; 0]);
}

/// The parts of the error texts in these files that are always the same, up to the first that differs.
fn error_texts(file: &str) -> Vec<String> {
    let source = document(file);
    let texts = source.split("#[error(").skip(1).filter_map(|rest| {
        let text = rest.trim_start().strip_prefix('"')?;
        let text = text.replace("\\\"", "\u{1}");
        let text = text.split('"').next()?.replace('\u{1}', "\"");
        let parts = text.split(['{', '}']).step_by(2);
        let parts = parts.map(|part| part.trim_matches([' ', ':']));
        let longest = parts.max_by_key(|part| part.len())?;
        (longest.len() > 3).then(|| longest.to_owned())
    });
    texts.collect()
}

#[test]
fn every_error_of_ours_is_among_the_troubles() {
    let page = document("docs/troubleshooting.md");
    let page: Vec<&str> = page.split_whitespace().collect();
    let page = page.join(" ");
    let mut missing = Vec::new();
    for file in [
        "src/admin/local.rs",
        "src/admin/prebind_error.rs",
        "src/admin/respond.rs",
        "src/backend/mod.rs",
        "src/login/site.rs",
        "src/events/receiver.rs",
        "src/net/connections.rs",
        "src/net/listener.rs",
        "src/net/tls/error.rs",
        "src/proto/sasl/mod.rs",
        "src/session/admission/creations.rs",
        "src/upstream/error.rs",
        "src/upstream/tls.rs",
        "src/writer/error.rs",
    ] {
        let texts = error_texts(file);
        assert!(!texts.is_empty(), "{file} has no errors any more");
        missing.extend(
            texts
                .into_iter()
                .filter(|text| !page.contains(text.as_str())),
        );
    }
    assert_eq!(missing, [""; 0]);
}

/// What a heading is linked to by.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = plain
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["docs", "docs/performance"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).expect("a folder"));
    let pages = pages.map(|page| page.expect("an entry").path());
    let mut pages: Vec<PathBuf> = pages
        .filter(|page| page.extension().is_some_and(|extension| extension == "md"))
        .collect();
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "contrib/prosody/README.md",
        "examples/README.md",
        "examples/django/README.md",
        "examples/node/README.md",
        "examples/php/README.md",
    ] {
        pages.push(root.join(page));
    }
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page");
        let links = text.split("](").skip(1);
        let links = links.filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains([':', ' ', '`'])) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let to = match path {
                "" => page.clone(),
                path => page.with_file_name(path),
            };
            let leads = match fs::read_to_string(&to) {
                Ok(text) if !fragment.is_empty() => text
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == fragment),
                _ => to.exists(),
            };
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

/// The code blocks of a page that are marked so.
fn blocks<'a>(page: &'a str, mark: &str) -> Vec<&'a str> {
    let begin = format!("```{mark}\n");
    let blocks = page.split(&begin).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

#[test]
fn the_page_on_sites_shows_the_lines_of_the_examples() {
    let page = document("docs/site.md");
    for (mark, files) in [
        ("toml", &["examples/rostergate.toml"][..]),
        ("lua", &["examples/prosody.cfg.lua"]),
        ("php", &["examples/php/chat.php", "examples/php/site.php"]),
        (
            "python",
            &[
                "examples/django/friends/chat.py",
                "examples/django/friends/views.py",
            ],
        ),
        (
            "js",
            &[
                "examples/node/chat.mjs",
                "examples/node/site.mjs",
                "examples/page/chat.js",
            ],
        ),
    ] {
        let files: Vec<String> = files.iter().copied().map(document).collect();
        let blocks = blocks(&page, mark);
        assert!(blocks.len() >= files.len(), "{mark}: each is shown");
        for block in blocks {
            let is_shown = files.iter().any(|file| file.contains(block));
            assert!(is_shown, "in no example:\n{block}");
        }
    }
}

#[test]
fn the_plugin_for_converse_is_that_of_the_demo() {
    let page = document("docs/clients.md");
    let plugin = blocks(&page, "js")
        .into_iter()
        .find_map(|block| block.split_once("converse.initialize"))
        .expect("it is shown");
    assert!(document("demo/page/chat.js").contains(plugin.0));
}

/// What the workflows of `.github` run is there.
#[test]
fn workflows_run_what_exists() {
    let makefile = document("Makefile");
    let is_target = |name: &str| {
        makefile
            .lines()
            .any(|line| line.starts_with(&format!("{name}:")))
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workflows = fs::read_dir(root.join(".github/workflows")).expect("a folder");
    let mut runs = 0;
    for workflow in workflows {
        let path = workflow.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a workflow");
        let commands = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- run: "));
        for command in commands {
            runs += 1;
            let mut words = command.split_whitespace();
            while let Some(word) = words.next() {
                if word == "make" {
                    let target = words.next().expect("a target");
                    assert!(is_target(target), "{}: make {target}", path.display());
                } else if word.contains("scripts/") || word.contains(".ci/") {
                    assert!(root.join(word).is_file(), "{}: {word}", path.display());
                }
            }
        }
    }
    assert!(runs > 3, "{runs} commands");
}
