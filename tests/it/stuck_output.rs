//! Whoever takes what the gateway says, and does not read it: it goes on.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead as _, BufReader, PipeReader, Write as _},
    path::Path,
    process::Command,
};

use support::{
    DEADLINE,
    gateway::Gateway,
    http::{Connection, Endpoint},
    process::Process,
    prosody::Prosody,
    within,
};

/// What a pipe holds on Linux.
const PIPE: usize = 64 << 10;

/// A gateway whose log goes into a pipe, which is the more full the more is asked of it.
fn logging_to_a_pipe() -> (Gateway, PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let gateway = Gateway::builder(Prosody::shared())
        .tables("[log]\naccess = true")
        .start_logging_to(writer.into());
    (gateway, reader)
}

/// How many lines have been dropped.
async fn dropped(gateway: &Gateway) -> u64 {
    let metrics = gateway.monitoring().request("GET", &[], "").await;
    let mut lines = metrics.text().lines();
    let line = lines.find_map(|line| line.strip_prefix("rostergate_log_lines_dropped_total "));
    line.expect("it is there").parse().expect("a number")
}

/// Asks for much, until lines are dropped. All of it is answered.
async fn overflow(gateway: &Gateway) {
    let mut connection = Connection::open(&gateway.bosh()).await;
    let path = format!("/nothing/{}", "x".repeat(900));
    for _ in 0..100 {
        if dropped(gateway).await > 0 {
            return;
        }
        for _ in 0..100 {
            connection.send("GET", &path, &[], "").await;
            assert_eq!(connection.response().await.status(), 404);
        }
    }
    panic!("10 MB of log, and nothing is dropped");
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    let (mut gateway, reader) = logging_to_a_pipe();
    overflow(&gateway).await;
    let account = Prosody::shared().account("john");
    let mut client = gateway.login(&account, "web").await;
    client.fence().await;

    let (missing, mut lines) = within("the lines that are missing", async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(reader).lines();
            let mut bytes = 0;
            loop {
                let line = lines.next().expect("not the end").expect("text");
                assert_whole(&line);
                bytes += line.len() + 1;
                if let Some((_, missing)) = line.split_once("lines are missing here") {
                    assert!(bytes > PIPE, "all before has come out");
                    let (_, missing) = missing.split_once("lines=").expect("a number");
                    return (missing.parse::<u64>().expect("a number"), lines);
                }
            }
        });
        read.await.expect("no panic")
    })
    .await;
    assert!(missing > 0);
    assert_eq!(dropped(&gateway).await, missing);

    client.logout().await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    drop(gateway);
    let rest: Vec<String> = lines.by_ref().map_while(Result::ok).collect();
    rest.iter().for_each(|line| assert_whole(line));
    for said in ["session ended", "draining", "stopped"] {
        assert!(
            rest.iter().any(|line| line.contains(said)),
            "{said}: {rest:?}"
        );
    }
}

#[track_caller]
fn assert_whole(line: &str) {
    let levels = [" INFO ", " WARN ", " DEBUG "];
    assert!(line.starts_with("20"), "{line}");
    let count: usize = levels.iter().map(|level| line.matches(level).count()).sum();
    assert_eq!(count, 1, "{line}");
}

#[tokio::test]
async fn a_log_that_nobody_reads_keeps_nobody_from_stopping() {
    let (mut gateway, _reader) = logging_to_a_pipe();
    overflow(&gateway).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_log_that_nobody_takes_stops_nobody() {
    let (mut gateway, reader) = logging_to_a_pipe();
    drop(reader);
    overflow(&gateway).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

/// A gateway whose standard output goes to this file.
async fn announcing_to(output: &Path) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let config = directory.path().join("rostergate.toml");
    let text = Gateway::builder(Prosody::shared()).config();
    fs::write(&config, text).expect("written");
    let output = output.display().to_string();
    // It keeps ours open, too, which tells when it has ended.
    let mut process = Process::start(
        Path::new("/bin/sh"),
        [
            "-c",
            "exec \"$1\" serve --config \"$2\" 3>&1 >\"$3\"",
            "sh",
            env!("CARGO_BIN_EXE_rostergate"),
            &config.display().to_string(),
            &output,
        ],
        &[("SCRATCH", "")],
        directory.path().join("stderr.log"),
    );
    let ready = async {
        loop {
            if let Some((_, bound)) = process.log().split_once("ready: listening on http://") {
                let (address, _) = bound.split_once([',', '\n']).expect("an end");
                return address.parse().expect("an address");
            }
            tokio::task::yield_now().await;
        }
    };
    let address = within("its address in the log", ready).await;
    let answer = Endpoint::new(address, "/http-bind")
        .request("GET", &[], "")
        .await;
    assert_eq!(answer.status(), 200);
    process.signal("TERM");
    assert!(process.wait(DEADLINE).success());
}

#[tokio::test]
async fn where_it_listens_need_not_be_taken() {
    announcing_to(Path::new("/dev/full")).await;
}

#[tokio::test]
async fn where_it_listens_need_not_be_read() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let fifo = directory.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo can be run").success());
    let open = OpenOptions::new().read(true).write(true).open(&fifo);
    let mut full = open.expect("it can be opened");
    full.write_all(&[b'x'; PIPE]).expect("it takes that much");
    announcing_to(&fifo).await;
}
