//! rostergate beside what a site would use otherwise: CPU time of each process per operation, latencies,
//! memory. Everything runs on this machine, by turns; medians of several rounds go into
//! `docs/performance.md`, with bars in `docs/performance/`.
//!
//! `cargo bench --bench peers -- --quick` only tries everything out, and writes nothing.

#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{env, fs, path::Path, time::Duration};

#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

mod growth;
mod hops;
mod load;
mod report;
mod systems;
mod work;

use load::{Result, Session};
use report::{Bar, Figures};
use systems::Peers;
use work::{SESSIONS, Sample, Work};

/// Logins with each system before anything is measured: Prosody's usual garbage collector slows with them.
const WARM_UP: usize = 300;

/// How much of it all.
struct Scale {
    rounds: usize,
    lasting: Duration,
    warm_up: usize,
    idle: &'static [usize],
    users: usize,
}

impl Scale {
    const WHOLE: Self = Self {
        rounds: 3,
        lasting: Duration::from_secs(3),
        warm_up: WARM_UP,
        idle: &[1000, 3000, 9000],
        users: 500,
    };
    const QUICK: Self = Self {
        rounds: 1,
        lasting: Duration::from_millis(500),
        warm_up: 5,
        idle: &[100],
        users: 100,
    };
}

/// What is known of a work with a system.
#[derive(Default)]
struct Row {
    front: Figures,
    server: Figures,
    together: Figures,
    rate: Figures,
    latency: [Figures; 3],
}

impl Row {
    fn push(&mut self, sample: &Sample) {
        self.front.push(sample.front);
        self.server.push(sample.server);
        self.together.push(sample.front + sample.server);
        self.rate.push(sample.rate);
        self.push_latency(sample);
    }

    fn push_latency(&mut self, sample: &Sample) {
        for (figures, latency) in self.latency.iter_mut().zip(sample.latency) {
            figures.push(latency);
        }
    }

    fn latencies(&self) -> String {
        self.latency.each_ref().map(Figures::show).join(" / ")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let quick = env::args().any(|argument| argument == "--quick");
    let scale = if quick { Scale::QUICK } else { Scale::WHOLE };

    println!("starting all servers");
    let peers = Peers::start(SESSIONS).await?;
    for system in &peers.systems {
        println!("{}: {} logins to warm up", system.name, scale.warm_up);
        for number in 0..scale.warm_up {
            let account = &system.accounts[number % SESSIONS];
            Session::log_in(&system.endpoint, account, 60)
                .await?
                .log_out()
                .await?;
        }
    }
    // `-- ping` measures nothing else.
    let only: Vec<_> = env::args()
        .skip(1)
        .filter(|it| !it.starts_with("--"))
        .collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|it| name.contains(it));
    for work in Work::ALL.into_iter().filter(|work| wanted(work.name())) {
        write(operations(work, &peers, &scale).await?, quick)?;
    }
    if wanted("half load") {
        write(under_half_load(&peers, &scale).await?, quick)?;
    }
    drop(peers);
    if wanted("refresh") {
        write(refreshes(&scale).await?, quick)?;
    }
    if wanted("idle") {
        write(idle(&scale).await?, quick)?;
    }
    Ok(())
}

/// The name of a part of the document, its table, and its picture.
type Page = (String, String, Option<String>);

/// Puts a part into its place, as soon as it is there.
fn write((name, text, bars): Page, quick: bool) -> Result<()> {
    println!("\n{name}\n{text}");
    if quick {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = if let Some(bars) = bars {
        let file = format!("docs/performance/{name}.svg");
        fs::write(root.join(&file), bars)?;
        format!("{text}\n![{name}](performance/{name}.svg)\n")
    } else {
        text
    };
    report::replace(&root.join("docs/performance.md"), &name, &page)
}

fn slug(work: Work) -> String {
    let words = work.name().split(|it: char| !it.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// A work with all systems by turns, as fast as it goes.
async fn operations(work: Work, peers: &Peers, scale: &Scale) -> Result<Page> {
    let mut rows: Vec<Row> = peers.systems.iter().map(|_| Row::default()).collect();
    for round in 1..=scale.rounds {
        for (system, row) in peers.systems.iter().zip(&mut rows) {
            if !system.does(work) {
                continue;
            }
            let sample = work::run(work, system, scale.lasting, None).await?;
            println!(
                "{}, round {round}: {}: {:.0} + {:.0} µs, {:.0}/s",
                work.name(),
                system.name,
                sample.front,
                sample.server,
                sample.rate
            );
            row.push(&sample);
        }
    }
    let alone = peers.systems.iter().zip(&rows);
    let alone = alone.filter(|(system, _)| system.front.is_none());
    let alone: Vec<_> = alone
        .map(|(system, row)| (system.server, row.together.median()))
        .collect();
    let done = peers.systems.iter().zip(&rows);
    let done = done.filter(|(system, _)| system.does(work));
    let cells = done.clone().map(|(system, row)| {
        let own = alone.iter().find(|(server, _)| *server == system.server);
        let ratio = own.map_or(f64::NAN, |(_, own)| row.together.median() / own);
        let front = if system.front.is_some() {
            row.front.show()
        } else {
            "–".to_owned()
        };
        vec![
            system.name.to_owned(),
            front,
            row.server.show(),
            row.together.show(),
            if ratio.is_nan() {
                "–".to_owned()
            } else {
                format!("{ratio:.2}")
            },
            row.rate.show(),
            row.latencies(),
        ]
    });
    let head = [
        "system",
        "front, µs",
        "server, µs",
        "together, µs",
        "of the server's own BOSH",
        "per second",
        "p50 / p99 / p99.9, ms",
    ];
    let table = report::table(&head, &cells.collect::<Vec<_>>());
    let bars = done.map(|(system, row)| Bar {
        name: system.name.to_owned(),
        front: row.front.median(),
        server: row.server.median(),
    });
    let title = format!("{}: CPU time per operation, front and server", work.name());
    let bars = report::bars(&title, "µs", &bars.collect::<Vec<_>>());
    Ok((slug(work), table, Some(bars)))
}

/// Latencies of messages at half of what each system can do.
async fn under_half_load(peers: &Peers, scale: &Scale) -> Result<Page> {
    let work = Work::MessageHeld;
    let mut cells = Vec::new();
    for system in peers.systems.iter().filter(|system| system.does(work)) {
        let (mut row, mut load) = (Row::default(), Figures::default());
        for _ in 0..scale.rounds {
            let most = work::run(work, system, scale.lasting, None).await?.rate;
            let sample = work::run(work, system, scale.lasting, Some(most / 2.0)).await?;
            load.push(sample.rate);
            row.push_latency(&sample);
        }
        println!("half load: {}: {} ms", system.name, row.latencies());
        cells.push(vec![system.name.to_owned(), load.show(), row.latencies()]);
    }
    let head = ["system", "per second", "p50 / p99 / p99.9, ms"];
    Ok(("half-load".to_owned(), report::table(&head, &cells), None))
}

async fn refreshes(scale: &Scale) -> Result<Page> {
    println!("refreshes of {} users", scale.users);
    let found = growth::refreshes(scale.users, scale.rounds).await?;
    let rows = [
        ("offline", &found.offline),
        ("online, unchanged", &found.unchanged),
        (
            "online, one contact changed; push and the next poll included",
            &found.changed,
        ),
    ];
    let rows = rows.map(|(what, figures)| vec![what.to_owned(), figures.show()]);
    let table = report::table(&["the user is", "gateway, µs per user"], &rows);
    Ok(("refresh".to_owned(), table, None))
}

async fn idle(scale: &Scale) -> Result<Page> {
    println!("idle sessions, up to {:?}", scale.idle.last());
    let rows = growth::idle(scale.idle).await?;
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(sessions, bytes)| vec![sessions.to_string(), format!("{:.1}", bytes / 1024.0)])
        .collect();
    let table = report::table(&["sessions", "KiB of the gateway for each"], &rows);
    Ok(("idle".to_owned(), table, None))
}
