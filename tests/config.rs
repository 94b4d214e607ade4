//! `rostergate check` on files that are right and files that are wrong, each with the exact words
//! that it must be answered with. `ROSTERGATE_BLESS=1` writes those words down.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn rostergate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rostergate"))
        .args(arguments)
        .env_clear()
        .current_dir(folder())
        .output()
        .expect("the program starts")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// The files of a kind, as `kind/name.toml`.
fn files(kind: &str) -> Vec<String> {
    let entries = fs::read_dir(folder().join(kind)).expect("a folder of files");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut files: Vec<_> = names
        .filter_map(|name| {
            name.to_str()
                .filter(|name| name.ends_with(".toml"))
                .map(str::to_owned)
        })
        .map(|name| format!("{kind}/{name}"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

#[test]
fn valid_files_pass() {
    for file in files("valid") {
        let output = rostergate(&["check", "--config", &file]);
        assert_eq!(text(output.stderr), "", "{file}");
        assert_eq!(text(output.stdout), format!("{file}: no errors\n"));
        assert_eq!(output.status.code(), Some(0), "{file}");
    }
}

#[test]
fn invalid_files_are_answered_with_what_is_wrong() {
    for file in files("invalid") {
        let output = rostergate(&["check", "-c", &file]);
        let said = text(output.stderr);
        let expected = folder().join(&file).with_extension("stderr");
        if env::var_os("ROSTERGATE_BLESS").is_some() {
            fs::write(&expected, &said).expect("a writable tree");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_else(|_| panic!("{file}: {said}"));
        assert_eq!(said, expected, "{file}");
        assert_eq!(text(output.stdout), "", "{file}");
        assert_eq!(output.status.code(), Some(64), "{file}");
        for secret in ["swordfish", "two words", "271828"] {
            assert!(!said.contains(secret), "{file} shows a secret: {said}");
        }
    }
}

/// A URL in the place of something else is none the less secret.
#[test]
fn the_environment_is_not_shown_either() {
    for (name, arguments, status) in [
        ("ROSTERGATE_CONFIG", &["check"][..], 64),
        ("ROSTERGATE_CONFIG", &["check", "--help"], 0),
        ("ROSTERGATE_LOG", &["serve", "-c", "valid/least.toml"], 1),
        (
            "ROSTERGATE_LOG_FORMAT",
            &["serve", "-c", "valid/least.toml"],
            1,
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_rostergate"))
            .args(arguments)
            .env_clear()
            .env(name, "http://site:swordfish@localhost/=loud?key=271828")
            .current_dir(folder())
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(status), "{name} {arguments:?}");
        let said = text(output.stdout) + &text(output.stderr);
        assert!(said.contains(name) || said.contains("http://…@"), "{said}");
        assert!(
            !said.contains("swordfish") && !said.contains("271828"),
            "{said}"
        );
    }
}

#[test]
fn serve_refuses_what_check_refuses() {
    let output = rostergate(&["serve", "--config", "invalid/many.toml"]);
    assert_eq!(output.status.code(), Some(64));
    let expected = fs::read_to_string(folder().join("invalid/many.stderr")).expect("its words");
    assert_eq!(text(output.stderr), expected);
}

#[test]
fn missing_file_is_a_configuration_error() {
    let output = rostergate(&["check", "--config", "missing.toml"]);
    assert_eq!(output.status.code(), Some(64));
    let said = text(output.stderr);
    assert!(
        said.starts_with("missing.toml: cannot be read: No such file"),
        "{said}"
    );
    assert!(said.contains("rostergate example-config"), "{said}");
}

#[test]
fn example_is_printed_and_passes_its_own_check() {
    let output = rostergate(&["example-config"]);
    assert_eq!(output.status.code(), Some(0));
    let temporary = tempfile::tempdir().expect("a folder");
    let file = temporary.path().join("rostergate.toml");
    fs::write(&file, &output.stdout).expect("a writable folder");
    let check = Command::new(env!("CARGO_BIN_EXE_rostergate"))
        .arg("check")
        .env("ROSTERGATE_CONFIG", &file)
        .output()
        .expect("the program starts");
    assert_eq!(check.status.code(), Some(0), "{}", text(check.stderr));
}

#[test]
fn version_is_that_of_the_crate() {
    let output = rostergate(&["--version"]);
    assert_eq!(
        text(output.stdout),
        format!("rostergate {}\n", env!("CARGO_PKG_VERSION"))
    );
}
