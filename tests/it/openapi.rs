//! `openapi.yaml` is true: schemathesis asks the gateway all that it describes.

use std::{fs, path::Path, process::Command};

use support::{backend::Fault, prosody::Prosody};

use crate::site::Site;

/// Where scripts/deps.sh puts it.
const SCHEMATHESIS: &str = "tests/openapi/venv/bin/schemathesis";
/// What the answers are held against. Failures of backends are answered with 5xx, and said to be.
const CHECKS: &str = "status_code_conformance,content_type_conformance,response_schema_conformance,\
                      unsupported_method,ignored_auth";

/// Runs it against a gateway with a user online, another whose list cannot be had, and this in `[admin]`.
async fn ask(admin: &str, bearer: Option<&str>) {
    let site = Site::with(Prosody::shared(), |gateway| {
        gateway.admin(admin).host("login = \"http\"")
    });
    let (john, aaron) = (site.member("john"), site.member("aaron"));
    site.befriend(&john, &aaron);
    let _john = site.online(&john, "web").await;
    let _aaron = site.online(&aaron, "web").await;
    site.backend.fail(&aaron.local, Fault::Status(503));

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let description = fs::read_to_string(root.join("openapi.yaml")).expect("it is there");
    // The examples name them.
    let description = description
        .replace("example: john", &format!("example: {}", john.local))
        .replace(
            "[john, aaron]",
            &format!("[{}, {}]", john.local, aaron.local),
        )
        .replace("example.org", site.prosody.domain());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("openapi.yaml");
    fs::write(&file, description).expect("a writable folder");

    let url = format!("http://{}", site.gateway.admin().address);
    let mut command = Command::new(root.join(SCHEMATHESIS));
    command
        .arg("run")
        .arg(&file)
        .args(["--url", &url])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args([
            "--max-examples",
            "10",
            "--max-time",
            "15",
            "--seed",
            "1",
            "--no-color",
        ])
        .args(["--generation-database", "none", "--workers", "1"])
        .current_dir(folder.path());
    if let Some(token) = bearer {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = running.await.expect("no panic").unwrap_or_else(|error| {
        panic!("{SCHEMATHESIS}: {error}; scripts/deps.sh test installs it")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaints}");
}

#[tokio::test]
async fn the_description_is_true_of_a_local_caller() {
    ask("", None).await;
}

#[tokio::test]
async fn the_description_is_true_with_a_token() {
    ask("token = \"hunter2hunter2\"", Some("hunter2hunter2")).await;
}
