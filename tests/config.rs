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

/// Lets only us read the files with secrets, whatever the clone has made of them.
fn keep_secrets() {
    let others = [
        "token.txt",
        "password.txt",
        "../../certs/localhost.key",
        "../../certs/wrong-name.key",
    ];
    let others = others.map(str::to_owned);
    for file in files("valid").into_iter().chain(others) {
        set_mode(&folder().join(file), 0o600);
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

/// Whether everybody may pass the folders above `folder`: where they are closed, nobody gets there anyway.
fn is_reached(folder: &Path) -> bool {
    let mut above = folder.ancestors().skip(1);
    above.all(|folder| {
        let metadata = fs::metadata(folder).expect("a folder");
        metadata.permissions().mode() & 0o001 != 0
    })
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

/// The keys for which `check` warns that everybody may read the secret.
fn open_secrets(file: &Path) -> Vec<String> {
    let output = rostergate(&["check", "-c", file.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let warning = "warning: every user of this machine may read or change this file; \
                   take that right away with chmod o-rw";
    let said = text(output.stderr);
    let keys = said.lines().map(|line| {
        let line = line.strip_suffix(warning);
        let line = line.unwrap_or_else(|| panic!("another warning: {said}"));
        let key = line.trim_end_matches([':', ' ']).rsplit(' ').next();
        key.expect("a key").to_owned()
    });
    keys.collect()
}

#[test]
fn secrets_that_everybody_may_read_are_told_of() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path();
    let host = "[[host]]\ndomain = 'a'\nupstream = 'xmpp://a'\n";
    let config = format!(
        "[admin]\ntoken_file = 'secret'\n{host}backend_user = 'site'\nbackend_password_file = 'secret'\n\
         login = 'jwt'\njwt_secret_file = 'secret'\n\
         events_url = 'http://a/events'\nevents_token_file = 'secret'\n\
         [[certificate]]\nchain = 'chain'\nprivate_key = 'key'\n"
    );
    let (file, secret, key) = (
        folder.join("a.toml"),
        folder.join("secret"),
        folder.join("key"),
    );
    fs::write(&file, config).expect("a writable folder");
    fs::write(&secret, "swordfish-swordfish-swordfish-swordfish\n").expect("a writable folder");
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    fs::copy(certs.join("localhost.crt"), folder.join("chain")).expect("a writable folder");
    fs::copy(certs.join("localhost.key"), &key).expect("a writable folder");
    let is_reached = is_reached(folder);
    for (of_folder, mode, is_told) in [
        (0o755, 0o644, true),
        (0o755, 0o602, true),
        (0o755, 0o640, false),
        (0o700, 0o644, false),
    ] {
        set_mode(folder, of_folder);
        set_mode(&secret, mode);
        set_mode(&key, mode);
        let expected: &[&str] = match is_told && is_reached {
            true => &[
                "certificate.private_key",
                "admin.token_file",
                "host.backend_password_file",
                "host.jwt_secret_file",
                "host.events_token_file",
            ],
            false => &[],
        };
        let mut told = open_secrets(&file);
        let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{of_folder:o} {mode:o}");
    }
}

#[test]
fn a_configuration_with_secrets_that_everybody_may_read_is_told_of() {
    let temporary = tempfile::tempdir().expect("a folder");
    let file = temporary.path().join("a.toml");
    let host = "[[host]]\ndomain = 'a'\nupstream = 'xmpp://a'\n";
    set_mode(temporary.path(), 0o755);
    let is_reached = is_reached(temporary.path());
    let token = format!("[admin]\ntoken = 'swordfish-swordfish'\n{host}");
    let url = |user: &str| {
        format!("{host}http_roster_url = 'http://{user}b/%s'\nevents_url = 'http://{user}b/'\n")
    };
    for (config, mode, expected) in [
        (&token, 0o644, &["admin.token"][..]),
        (&token, 0o640, &[]),
        (
            &url("u:swordfish@"),
            0o644,
            &["host.http_roster_url", "host.events_url"],
        ),
        (&url(""), 0o644, &[]),
        (&host.to_owned(), 0o644, &[]),
    ] {
        fs::write(&file, config).expect("a writable folder");
        set_mode(&file, mode);
        let expected = if is_reached { expected } else { &[] };
        assert_eq!(open_secrets(&file), expected, "{mode:o} {config}");
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
