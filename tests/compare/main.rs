//! What several services make of the tests in `tests/conformance`: `make compare`.
//!
//! Real Prosody and real ejabberd are started once; every test then runs by itself against
//! rostergate and against their own BOSH and WebSocket, with fresh users and a deadline. The
//! table goes to docs/compare.md and to standard output; with `NAME` in the environment, a table of
//! the tests of such names goes to standard output alone.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
};

use support::{
    client::Account,
    ejabberd::Ejabberd,
    gateway::{Place, Server as _},
    http::Endpoint,
    prosody::Prosody,
    site::ONLY_ROSTERGATE,
};

/// Longest time for one test against one service, for timeout(1), and how that says that it was too long.
const DEADLINE: &str = "60s";
const OVERDUE: i32 = 124;
/// Users that one test may need.
const USERS: usize = 12;
/// How often a test may fail before it counts.
const ATTEMPTS: usize = 3;
/// Tests that run at once.
const AT_ONCE: usize = 3;

/// A service to be looked at.
enum Service {
    /// The tests start it themselves, as each of them configures it.
    Rostergate,
    Prosody(&'static Prosody),
    Ejabberd(&'static Ejabberd),
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Verdict {
    Pass,
    Fail,
    /// It takes longer than the deadline.
    Hangs,
    /// The test makes sense for rostergate alone.
    None,
}

impl Verdict {
    fn sign(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Hangs => "HANGS",
            Self::None => "–",
        }
    }
}

impl Service {
    fn name(&self) -> &'static str {
        match self {
            Self::Rostergate => "rostergate",
            Self::Prosody(_) => "Prosody",
            Self::Ejabberd(_) => "ejabberd",
        }
    }

    async fn users(&self) -> Vec<Account> {
        let mut users = Vec::new();
        for _ in 0..USERS * ATTEMPTS {
            match self {
                Self::Rostergate => {}
                Self::Prosody(prosody) => users.push(prosody.account("user")),
                Self::Ejabberd(ejabberd) => users.push(ejabberd.account("user").await),
            }
        }
        users
    }

    fn websocket(&self) -> Option<Endpoint> {
        match self {
            Self::Rostergate => None,
            Self::Prosody(prosody) => Some(prosody.websocket()),
            Self::Ejabberd(ejabberd) => Some(ejabberd.websocket()),
        }
    }

    fn place(&self) -> Option<Place> {
        match self {
            Self::Rostergate => None,
            Self::Prosody(prosody) => Some(prosody.place()),
            Self::Ejabberd(ejabberd) => Some(ejabberd.place()),
        }
    }

    /// Runs one test against it, more than once if it fails: chance is to count for every service.
    fn judge(&self, program: &Path, test: &str, users: &[Account], log: &Path) -> Verdict {
        let mut verdict = Verdict::Fail;
        for attempt in 0..ATTEMPTS {
            let fresh = users.chunks(USERS).nth(attempt).unwrap_or_default();
            verdict = self.attempt(program, test, fresh, log);
            if !matches!(verdict, Verdict::Fail) {
                break;
            }
        }
        verdict
    }

    fn attempt(&self, program: &Path, test: &str, users: &[Account], log: &Path) -> Verdict {
        let output = fs::File::create(log).expect("a log can be written");
        let mut command = Command::new("timeout");
        command.arg(DEADLINE).arg(program);
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a file can be shared"));
        command.stderr(output);
        if let (Some(place), Some(websocket)) = (self.place(), self.websocket()) {
            let lines = users.iter();
            let lines = lines.map(|user| format!("{}:{}\n", user.local, user.password));
            let bosh = &place.bosh;
            command.env("BOSH_URL", format!("http://{}{}", bosh.address, bosh.path));
            let (address, path) = (websocket.address, &websocket.path);
            command.env("WEBSOCKET_URL", format!("ws://{address}{path}"));
            command.env("BOSH_DOMAIN", &place.domain);
            command.env("BOSH_C2S", place.c2s.to_string());
            command.env("BOSH_USERS", lines.collect::<String>());
        }
        let status = command.status().expect("the test program runs");
        if status.code() == Some(OVERDUE) {
            return Verdict::Hangs;
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        if status.success() && said.contains("1 passed") {
            Verdict::Pass
        } else if self.place().is_some() && said.contains(ONLY_ROSTERGATE) {
            Verdict::None
        } else {
            Verdict::Fail
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let program = PathBuf::from(env::var_os("CONFORMANCE").expect("`make compare` sets it"));
    let mut tests = names(&program);
    assert!(tests.len() > 50, "the tests have gone: {tests:?}");
    let only = env::var("NAME").unwrap_or_default();
    tests.retain(|test| test.contains(&only));
    let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare");
    fs::create_dir_all(&logs).expect("a folder for logs");
    let services = [
        Service::Rostergate,
        Service::Prosody(Prosody::shared()),
        Service::Ejabberd(Ejabberd::shared()),
    ];
    let mut work = Vec::new();
    for test in &tests {
        for service in &services {
            work.push((service, test, service.users().await));
        }
    }
    let verdicts = parking_lot::Mutex::new(BTreeMap::new());
    let rest = parking_lot::Mutex::new(work);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((service, test, users)) = rest.lock().pop() else {
                        return;
                    };
                    let name = format!("{}-{}.log", service.name(), test.replace("::", "-"));
                    let verdict = service.judge(&program, test, &users, &logs.join(name));
                    eprintln!("{} {test}: {}", service.name(), verdict.sign());
                    verdicts
                        .lock()
                        .insert((test.clone(), service.name()), verdict);
                }
            });
        }
    });
    let page = page(&tests, &services, &verdicts.into_inner());
    println!("{page}");
    if !only.is_empty() {
        return ExitCode::SUCCESS;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compare.md");
    fs::write(path, &page).expect("the page can be written");
    eprintln!(
        "written to docs/compare.md; what the tests said is in {}",
        logs.display()
    );
    ExitCode::SUCCESS
}

/// The tests of the program.
fn names(program: &Path) -> Vec<String> {
    let output = Command::new(program).arg("--list").output();
    let output = output.expect("the test program runs");
    let listed = String::from_utf8(output.stdout).expect("names are text");
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

fn page(
    tests: &[String],
    services: &[Service],
    verdicts: &BTreeMap<(String, &str), Verdict>,
) -> String {
    let mut page = String::from(
        "# What services make of the same tests\n\n\
         Written by `make compare`: the tests of `tests/conformance` against rostergate (in front of\n\
         Prosody), and against the BOSH and the WebSocket that Prosody and ejabberd have of their own, as\n\
         Debian has them. A dash: the test is about what the specification leaves open, or needs a\n\
         configuration, and makes sense for rostergate alone. What fails is tried again, twice. A failure is\n\
         no verdict on a service: some tests ask for more than the specification does, for the sake of a\n\
         client ([conformance.md](conformance.md) says which rule).\n\n",
    );
    let columns: Vec<_> = services.iter().map(Service::name).collect();
    let count = |service: &str, wanted: Verdict| {
        let of = verdicts.iter().filter(|(key, _)| key.1 == service);
        of.filter(|(_, verdict)| **verdict == wanted).count()
    };
    let line = "|---".repeat(columns.len() + 1);
    writeln!(page, "| | {} |\n{line}|", columns.join(" | ")).expect("a string takes it");
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Hangs, Verdict::None] {
        let counts = columns.iter().map(|name| count(name, verdict).to_string());
        let counts: Vec<_> = counts.collect();
        writeln!(page, "| {} | {} |", verdict.sign(), counts.join(" | ")).expect("fits");
    }
    writeln!(page, "\n| test | {} |\n{line}|", columns.join(" | ")).expect("fits");
    for test in tests {
        let cells = columns.iter().map(|name| {
            let verdict = verdicts.get(&(test.clone(), *name));
            verdict.map_or("?", |verdict| verdict.sign())
        });
        let cells: Vec<_> = cells.collect();
        writeln!(page, "| `{test}` | {} |", cells.join(" | ")).expect("fits");
    }
    page
}
