//! examples/compose.yaml, which puts all of it into containers: it is understood, and what it names is there.

use std::{fs, path::Path, process::Command};

use support::root;

/// What a program says that has to end well.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("it runs (make deps)");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The file as Compose understands it, with whole paths.
fn understood() -> String {
    let file = root().join("examples/compose.yaml");
    output(
        Command::new("docker-compose")
            .arg("-f")
            .arg(file)
            .arg("config"),
    )
}

#[test]
fn all_that_is_mounted_or_built_is_there() {
    let understood = understood();
    let lines = understood.lines().map(str::trim);
    let mounts = lines
        .clone()
        .filter_map(|line| line.strip_prefix("- /")?.split(':').next());
    let mounts: Vec<String> = mounts.map(|path| format!("/{path}")).collect();
    assert!(mounts.len() >= 7, "{understood}");
    let folders = lines.filter_map(|line| line.strip_prefix("context: "));
    let images: Vec<String> = folders
        .map(|folder| format!("{folder}/Dockerfile"))
        .collect();
    assert_eq!(images.len(), 2, "{understood}");
    for path in mounts.iter().chain(&images) {
        assert!(Path::new(path).exists(), "{path}");
    }
}

#[test]
fn the_gateway_takes_its_configuration() {
    let file = understood()
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("- ")?
                .strip_suffix(":/etc/rostergate/rostergate.toml:ro")
                .map(str::to_owned)
        })
        .expect("it is mounted");
    output(Command::new(env!("CARGO_BIN_EXE_rostergate")).args(["check", "--config", &file]));
}

#[test]
fn nginx_takes_the_example_with_the_site_in_it() {
    let file = fs::read_to_string(root().join("examples/compose.yaml")).expect("the file");
    let (_, rest) = file.split_once("- |\n").expect("a script");
    let (script, _) = rest.split_once("    volumes:").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    let [site, config] =
        ["site.conf", "nginx.conf"].map(|name| folder.path().join(name).display().to_string());
    fs::write(
        &config,
        format!("events {{}}\nhttp {{ include {site}; }}\n"),
    )
    .expect("it can be written");
    let example = root().join("nginx-example.conf").display().to_string();
    let test = format!("nginx -t -c {config} -e stderr");
    let script = [
        ("/etc/nginx/rostergate.conf", example),
        ("/etc/nginx/conf.d/default.conf", site.clone()),
        ("nginx -g 'daemon off;'", test),
    ]
    .iter()
    .fold(script.to_owned(), |script, (from, to)| {
        assert!(script.contains(from), "{from}");
        script.replace(from, to)
    });
    let path = format!("{}:/usr/sbin", std::env::var("PATH").expect("a path"));
    output(Command::new("sh").args(["-ec", &script]).env("PATH", path));
    let site = fs::read_to_string(site).expect("the site");
    assert_eq!(
        site.matches("location / { proxy_pass http://127.0.0.1:8000; }")
            .count(),
        1
    );
}
