//! The manual page and the completions of shells are those of the program, and what they are for
//! takes them.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

/// What the program prints.
fn printed(arguments: &[&str]) -> String {
    let program = Command::new(env!("CARGO_BIN_EXE_rostergate"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program starts");
    assert!(program.status.success(), "{arguments:?}");
    String::from_utf8(program.stdout).expect("text")
}

/// The subcommands, as `--help` lists them.
fn subcommands() -> Vec<String> {
    let help = printed(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|it| *it != "help").map(String::from).collect();
    assert!(names.len() >= 5, "{names:?}");
    names
}

/// Runs `program` with this input; where it is missing, says how to get it.
fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "100")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/deps.sh test installs it"));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_manual_page_shows_every_subcommand_and_variable() {
    let shown = run("man", &["--warnings", "-l", "-"], &printed(&["man"]));
    let complaints = String::from_utf8(shown.stderr).expect("text");
    assert_eq!(complaints, "");
    assert!(shown.status.success());
    let shown = String::from_utf8(shown.stdout).expect("text");
    let usage: Vec<_> = shown.lines().map(str::trim).collect();
    for name in subcommands() {
        let synopsis = format!("rostergate {name}");
        assert!(usage.iter().any(|it| it.starts_with(&synopsis)), "{shown}");
        assert!(usage.contains(&&*name), "{name} has no part of its own");
    }
    for word in [
        "--config <FILE>",
        "ROSTERGATE_CONFIG",
        "ROSTERGATE_LOG",
        "64 configuration",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[test]
fn the_page_of_the_configuration_has_every_key() {
    let shown = run(
        "man",
        &["--warnings", "-l", "-"],
        &printed(&["man", "--config"]),
    );
    let complaints = String::from_utf8(shown.stderr).expect("text");
    assert_eq!(complaints, "");
    let shown = String::from_utf8(shown.stdout).expect("text");
    let shown: Vec<&str> = shown.split_whitespace().collect();
    let shown = shown.join(" ");
    let example = printed(&["example-config"]);
    let keys = example.lines().filter(|line| line.contains(" = "));
    let keys: Vec<&str> = keys.filter(|line| !line.starts_with("# ")).collect();
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys
        .into_iter()
        .chain(["certificate = \"certs", "upstream_ca = "])
    {
        assert!(shown.contains(key), "{key}: {shown}");
    }
    for meaning in ["[[host]]", "SIGTERM", "\"plain\" never"] {
        assert!(shown.contains(meaning), "{meaning}: {shown}");
    }
}

#[test]
fn bash_completes_subcommands_and_options() {
    let script = printed(&["completions", "bash"]);
    let checked = run("bash", &["-n"], &script);
    assert!(checked.status.success(), "{checked:?}");
    let complete = |line: &str| {
        // As bash calls it when the tabulator key is hit.
        let words: Vec<_> = line.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let call = format!(
            "COMP_WORDS=({line} ''); COMP_CWORD={}; _rostergate rostergate '{last}' {before}; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
        );
        let offered = run("bash", &[], &format!("{script}\n{call}\n"));
        let offered = String::from_utf8(offered.stdout).expect("text");
        offered.lines().map(String::from).collect::<Vec<_>>()
    };
    let offered = complete("rostergate ");
    for name in subcommands() {
        assert!(offered.contains(&name), "{name}: {offered:?}");
    }
    assert_eq!(complete("rostergate che"), ["check"]);
    assert_eq!(complete("rostergate serve --con"), ["--config"]);
}

#[test]
fn other_shells_have_completions_too() {
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for name in subcommands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
    }
}
