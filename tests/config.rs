//! `rostergate check` on files that are right and files that are wrong, each with the exact words
//! that it must be answered with. `ROSTERGATE_BLESS=1` writes those words down.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
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

/// Lets only us read the files of secrets, whatever the clone has made of them.
fn keep_secrets() {
    for file in ["token.txt", "password.txt"] {
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder().join(file), mode).expect("files of ours");
    }
}

#[test]
fn valid_files_pass() {
    keep_secrets();
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
fn secrets_that_everybody_may_read_are_told_of() {
    let temporary = tempfile::tempdir().expect("a folder");
    let host = "[[host]]\ndomain = 'a'\nupstream = 'xmpp://a'\n";
    let config = format!(
        "[admin]\ntoken_file = 'token'\n{host}backend_user = 'site'\nbackend_password_file = 'token'\n"
    );
    let file = temporary.path().join("a.toml");
    let token = temporary.path().join("token");
    fs::write(&file, config).expect("a writable folder");
    fs::write(&token, "swordfish-swordfish\n").expect("a writable folder");
    // Where folders above are closed, nobody gets there anyway.
    let mut above = temporary.path().ancestors().skip(1);
    let is_reached = above.all(|folder| {
        let metadata = fs::metadata(folder).expect("a folder");
        metadata.permissions().mode() & 0o001 != 0
    });
    for (folder, mode, is_told) in [
        (0o755, 0o644, true),
        (0o755, 0o640, false),
        (0o700, 0o644, false),
    ] {
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        set(temporary.path(), folder).expect("ours");
        set(&token, mode).expect("ours");
        let output = rostergate(&["check", "-c", file.to_str().expect("text")]);
        let said = text(output.stderr).replace(file.to_str().expect("text"), "a.toml");
        let expected = [(2, 14, "admin.token_file"), (7, 25, "host.backend_password_file")]
            .map(|(line, column, key)| {
                format!(
                    "a.toml:{line}:{column}: {key}: warning: every user of this machine may read this file; \
                     take that right away with chmod o-r\n"
                )
            });
        let expected = if is_told && is_reached {
            expected.concat()
        } else {
            String::new()
        };
        assert_eq!(said, expected, "{folder:o} {mode:o}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn whoever_can_call_logs_in_as_anybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    let host = "[[host]]\ndomain = 'a'\nupstream = 'xmpp://a'\nlogin = 'http'\n";
    for (before, is_warned) in [
        ("", true),
        ("[admin]\ntoken = 'swordfish-swordfish'\n", false),
    ] {
        fs::write(&file, format!("{before}{host}")).expect("a writable folder");
        let output = rostergate(&["check", "-c", file.to_str().expect("text")]);
        let said = text(output.stderr);
        let warning = "host.login: warning: every program on this machine can log in as any user; set admin.token_file";
        assert_eq!(said.contains(warning), is_warned, "{said}");
        assert_eq!(output.status.code(), Some(0));
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
