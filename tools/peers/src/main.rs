//! `make bench-peers`: measures all systems, alternating, and writes docs/performance/measured.md.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use peers::{
    backend::Backend,
    crowd::{BATCH, Crowd, Refresh, memory, refresh},
    giant,
    growth::Growth,
    report::{Results, Topic, replace, update},
    servers::built_rostergate,
    session::{Style, User},
    several::{self, Effort},
    systems::{Kind, System},
    work::{Plan, Sample, Work, log_in, log_out},
};

/// Measures what BOSH and WebSocket cost through rostergate and through others.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds of everything.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each round measures.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Logins through each system before anything is measured.
    #[arg(long, default_value_t = 400)]
    logins: usize,
    /// Sessions at once.
    #[arg(long, default_value_t = 50)]
    sessions: usize,
    /// One short round, to try it out.
    #[arg(long)]
    quick: bool,
    /// Only what begins so, or so: message-held, message-websocket, ping, roster-10, login, resumption,
    /// re-poll, refresh-bosh, refresh-websocket, idle-bosh, idle-websocket, growth-sessions-websocket, giant, several;
    /// beside-message-websocket is message-websocket beside idle sessions.
    #[arg(long, value_delimiter = ',')]
    work: Vec<String>,
    /// Only systems in whose name this is, or this.
    #[arg(long, value_delimiter = ',')]
    system: Vec<String>,
    /// Where performance/measured.md is, to write the tables into it, those that were measured; else they are only
    /// shown.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// The program; by default the one built beside this one.
    #[arg(long)]
    rostergate: Option<PathBuf>,
}

/// What is measured at saturation.
fn works() -> Vec<Work> {
    use Style::{Held, Lean, Managed, WebSocket};

    vec![
        Work::Message(Held),
        Work::Message(Lean),
        Work::Message(WebSocket),
        Work::Message(Managed),
        Work::Ping(Held),
        Work::Ping(Lean),
        Work::Ping(WebSocket),
        Work::Roster(10, Held),
        Work::Roster(10, Lean),
        Work::Roster(10, WebSocket),
        Work::Roster(1000, Lean),
        Work::Login(Lean),
        Work::Login(WebSocket),
        Work::Resumption,
        Work::Repoll,
    ]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.seconds, options.logins) = (1, 1.0, 32);
    }
    let program = match &options.rostergate {
        Some(program) => program.clone(),
        None => built_rostergate()?,
    };
    let backend = Backend::start()?;
    let is_wanted = |kind: &Kind| {
        let name = kind.name().to_lowercase();
        let mut parts = options.system.iter();
        options.system.is_empty() || parts.any(|part| name.contains(&part.to_lowercase()))
    };
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_wanted).collect();
    let run = Run {
        options: &options,
        program: &program,
        backend: &backend,
        kinds: &kinds,
        begin: Instant::now(),
    };
    tokio::select! {
        result = run.all() => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// What all stages need.
struct Run<'a> {
    options: &'a Options,
    program: &'a Path,
    backend: &'a Backend,
    kinds: &'a [Kind],
    begin: Instant,
}

impl Run<'_> {
    fn say(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.begin.elapsed().as_secs_f64());
    }

    /// Whether the stage of this name is wanted.
    fn wants(&self, stage: &str) -> bool {
        let mut works = self.options.work.iter();
        self.options.work.is_empty() || works.any(|work| stage.starts_with(work))
    }

    async fn all(&self) -> Result<()> {
        let mut results = Results::default();
        self.works(&mut results).await?;
        self.refresh(&mut results).await;
        self.idle(&mut results).await;
        for growth in Growth::ALL {
            if self.wants(growth.name()) {
                self.growth(growth, &mut results).await;
            }
        }
        if self.wants("giant") {
            self.giant(&mut results).await;
        }
        if self.wants("several") {
            self.several(&mut results).await;
        }
        println!("{}", results.tables());
        let Some(docs) = &self.options.docs else {
            return Ok(());
        };
        let folder = docs.join("performance");
        let document = folder.join("measured.md");
        let text = fs::read_to_string(&document)?;
        let is_all = self.options.work.is_empty() && self.options.system.is_empty();
        let put = if is_all { replace } else { update };
        fs::write(&document, put(&text, "bench-peers", &results.tables())?)?;
        for (name, svg) in results.plots() {
            fs::write(folder.join(name), svg)?;
        }
        self.say(&format!("written to {}", docs.display()));
        Ok(())
    }

    /// What sessions do, as fast as it goes, and then half as fast.
    async fn works(&self, results: &mut Results) -> Result<()> {
        let works: Vec<Work> = works()
            .into_iter()
            .filter(|work| self.wants(&work.name()))
            .collect();
        if works.is_empty() {
            return Ok(());
        }
        let mut users: Vec<User> =
            Work::Repoll.users(sessions(Work::Repoll, self.options.sessions));
        users.extend(Work::Roster(1000, Style::Lean).users(FEW));
        let mut systems = Vec::new();
        let has_work = |kind: &&Kind| works.iter().any(|work| work.suits(**kind));
        for kind in self.kinds.iter().filter(has_work) {
            self.say(&format!("starting {}", kind.name()));
            let system = kind.start(self.program, self.backend, &users).await?;
            warm_up(&system, Style::Lean, self.options.logins)
                .await
                .with_context(|| format!("warming up {}", kind.name()))?;
            systems.push(system);
        }
        for work in works {
            let speaking = systems.iter().filter(|system| work.suits(system.kind));
            let speaking: Vec<&System> = speaking.collect();
            for round in 1..=self.options.rounds {
                for system in &speaking {
                    match self.work(work, system, None, &round.to_string()).await {
                        Ok(sample) => results.add(work, system.kind, sample),
                        Err(error) => self.failed(results, &error),
                    }
                }
            }
            for system in &speaking {
                let Some(rate) = results.rate(work, system.kind) else {
                    continue;
                };
                match self.work(work, system, Some(rate / 2.0), "half").await {
                    Ok(sample) => results.add_paced(work, system.kind, sample),
                    Err(error) => self.failed(results, &error),
                }
            }
        }
        Ok(())
    }

    /// What fails is left out and named; the rest goes on.
    fn failed(&self, results: &mut Results, error: &anyhow::Error) {
        let error = format!("{error:#}");
        self.say(&format!("failed: {error}"));
        results.add_failure(error);
    }

    async fn work(
        &self,
        work: Work,
        system: &System,
        pace: Option<f64>,
        round: &str,
    ) -> Result<Sample> {
        let seconds = self.options.seconds;
        let sessions = sessions(work, self.options.sessions);
        // Polls have a pace of their own: half of it is half of the sessions.
        let (sessions, pace) = match (work, pace) {
            (Work::Repoll, Some(_)) => (sessions / 2, None),
            _ => (sessions, pace),
        };
        let plan = Plan {
            sessions,
            warm_up: Duration::from_secs_f64(seconds / 4.0),
            time: Duration::from_secs_f64(seconds),
            pace,
        };
        let (work_name, name) = (work.name(), system.kind.name());
        let sample = work.measure(system, plan).await;
        let sample = sample.with_context(|| format!("{work_name} through {name}"))?;
        self.tell(&work_name, name, round, &sample);
        Ok(sample)
    }

    fn tell(&self, what: &str, name: &str, round: &str, sample: &Sample) {
        let micros = sample.cpu.iter();
        let micros: Vec<String> = micros
            .map(|cpu| format!("{:.1}", cpu.as_secs_f64() * 1e6))
            .collect();
        let latency = sample
            .latency
            .map(|latency| format!("{:.1}", latency.as_secs_f64() * 1e3));
        self.say(&format!(
            "{what:<18} {name:<28} {round:>4}: {:>15} µs, {:>6.0} op/s, {} ms",
            micros.join(" + "),
            sample.rate,
            latency.join(" / ")
        ));
    }

    /// What it costs to tell rostergate of new contact lists.
    async fn refresh(&self, results: &mut Results) {
        let is_wanted = |style: &Style| self.wants(&format!("refresh-{}", style.front()));
        for kind in self.kinds.iter().filter(|kind| kind.has_rostergate()) {
            for style in CROWDS.into_iter().filter(is_wanted) {
                if let Err(error) = self.refresh_through(*kind, style, results).await {
                    let error = error.context(format!("refresh through {}", kind.name()));
                    self.failed(results, &error);
                }
            }
        }
    }

    async fn refresh_through(&self, kind: Kind, style: Style, results: &mut Results) -> Result<()> {
        let number = if self.options.quick { 200 } else { 1000 };
        let users = Work::Login(style).users(number);
        self.say(&format!("starting {}", kind.name()));
        let system = kind.start(self.program, self.backend, &users).await?;
        let mut crowd = Crowd::new(style);
        for case in Refresh::ALL {
            if case == Refresh::Offline && style.is_websocket() {
                // Nobody is there by whatever front.
                continue;
            }
            let topic = Topic::from((case, style));
            if case == Refresh::Unchanged {
                crowd.join(&system, &users).await?;
            }
            // The first time warms up.
            for round in 0..=self.options.rounds {
                let pace = (BATCH, None);
                let sample =
                    refresh(&system, self.backend, &mut crowd, case, 0..number, pace).await?;
                if round > 0 {
                    self.tell(&topic.name, kind.name(), &round.to_string(), &sample);
                    results.add(topic.clone(), kind, sample);
                }
            }
            let half = results.rate(topic.clone(), kind).map(|rate| rate / 2.0);
            let pace = (BATCH, half);
            let sample = refresh(&system, self.backend, &mut crowd, case, 0..number, pace).await?;
            self.tell(&topic.name, kind.name(), "half", &sample);
            results.add_paced(topic, kind, sample);
        }
        crowd.leave().await
    }

    /// How cost grows.
    async fn growth(&self, growth: Growth, results: &mut Results) {
        let name = growth.name();
        self.say(&format!("starting rostergate + Prosody gen for {name}"));
        let time = Duration::from_secs_f64(self.options.seconds);
        let most = if self.options.quick { 200 } else { usize::MAX };
        let curve = growth.measure(
            self.program,
            self.backend,
            (self.options.rounds, time),
            most,
            |size, cost| self.say(&format!("{name:<18} {size:>8}: {cost} µs")),
        );
        match curve.await {
            Ok(curve) => results.add_curve(curve),
            Err(error) => self.failed(results, &error),
        }
    }

    /// What one user with very many contacts costs, and others.
    async fn giant(&self, results: &mut Results) {
        let sizes: &[usize] = if self.options.quick {
            &[1000]
        } else {
            &[1000, 10_000, 100_000]
        };
        for contacts in sizes {
            self.say(&format!("a user with {contacts} contacts"));
            match giant::measure(self.program, self.backend, *contacts).await {
                Ok(steps) => results.add_giant(steps),
                Err(error) => {
                    let error = error.context(format!("a user with {contacts} contacts"));
                    self.failed(results, &error);
                }
            }
        }
    }

    /// What gateways cost that are one.
    async fn several(&self, results: &mut Results) {
        self.say("several gateways");
        let effort = Effort {
            rounds: self.options.rounds,
            time: Duration::from_secs_f64(self.options.seconds),
            sessions: self.options.sessions,
            users: if self.options.quick { 100 } else { 10_000 },
        };
        let say = |what: &str, sample: &Sample| self.tell(what, "", "", sample);
        match several::measure(self.program, self.backend, effort, say).await {
            Ok(several) => results.add_several(several),
            Err(error) => self.failed(results, &error.context("several gateways")),
        }
    }

    /// What sessions take that are merely there, and what others do beside them.
    async fn idle(&self, results: &mut Results) {
        for kind in self.kinds {
            let numbers: &[usize] = match kind {
                // They add nothing, or take all day to learn of their users.
                Kind::RostergateProsody
                | Kind::RostergateTwoThreads
                | Kind::RostergateEjabberd
                | Kind::RostergateTls
                | Kind::NginxTls => continue,
                _ if self.options.quick => &[200],
                Kind::RostergateProsodyGenerational => &[1000, 5000, 9000],
                Kind::Ejabberd => &[1000],
                _ => &[1000, 5000],
            };
            let is_served = |style: &Style| !style.is_websocket() || kind.has_websocket();
            for style in CROWDS.into_iter().filter(is_served) {
                let idle = self.idle_through(*kind, style, numbers, results);
                if let Err(error) = idle.await {
                    let error = error.context(format!("idle sessions of {}", kind.name()));
                    self.failed(results, &error);
                }
            }
        }
    }

    async fn idle_through(
        &self,
        kind: Kind,
        style: Style,
        numbers: &[usize],
        results: &mut Results,
    ) -> Result<()> {
        let is_wanted = self.wants(&format!("idle-{}", style.front()));
        let (works, refreshes) = self.beside(kind, style, results);
        if !is_wanted && works.is_empty() && refreshes.is_empty() {
            return Ok(());
        }
        let most = numbers.iter().max().copied().unwrap_or_default();
        let users = most.max(sessions(Work::Repoll, self.options.sessions));
        let users = Work::Login(style).users(users);
        self.say(&format!("starting {}", kind.name()));
        let system = kind.start(self.program, self.backend, &users).await?;
        warm_up(&system, style, 32).await?;
        let mut rates = Vec::new();
        for work in works {
            // Where it was not measured as a stage of its own, one round tells.
            let rate = match results.rate(work, kind) {
                Some(rate) => Ok(rate),
                None => self
                    .work(work, &system, None, "1")
                    .await
                    .map(|sample| sample.rate),
            };
            match rate {
                Ok(rate) => rates.push((work, rate)),
                Err(error) => self.failed(results, &error),
            }
        }
        let mut crowd = Crowd::new(style);
        let memory = memory(&system, &mut crowd, numbers, |memory| {
            let kilobytes = memory.bytes.iter();
            let kilobytes: Vec<String> = kilobytes
                .map(|bytes| format!("{:.1}", bytes / 1024.0))
                .collect();
            self.say(&format!(
                "idle {:<13} {:<28}       {:>15} KB a session",
                format!("{} {}", style.name(), memory.sessions),
                kind.name(),
                kilobytes.join(" + ")
            ));
        });
        let memory = memory.await?;
        if is_wanted {
            results.add_memory(style, kind, memory);
        }
        for (work, rate) in rates {
            let sample = self.work(work, &system, Some(rate / 2.0), "idle").await?;
            results.add_crowded(style, work, kind, most, sample);
        }
        for (case, rate) in refreshes {
            let topic = Topic::from((case, style));
            let number = most.min(1000);
            let users = match case {
                Refresh::Offline => most..most + number,
                Refresh::Unchanged | Refresh::Changed => 0..number,
            };
            let pace = (BATCH, Some(rate / 2.0));
            let sample = refresh(&system, self.backend, &mut crowd, case, users, pace).await?;
            self.tell(&topic.name, kind.name(), "idle", &sample);
            results.add_crowded(style, topic, kind, most, sample);
        }
        crowd.leave().await
    }

    /// What is done beside sessions that are idle by the same front: work, and refreshes with the users in a
    /// second that they have reached.
    fn beside(
        &self,
        kind: Kind,
        style: Style,
        results: &Results,
    ) -> (Vec<Work>, Vec<(Refresh, f64)>) {
        let is_wanted = |topic: &str| self.wants(&format!("beside-{topic}"));
        let is_possible = |work: &Work| {
            // The users with very many contacts are not known there.
            let is_known = work.contacts() <= 10;
            is_known && work.suits(kind) && work.style().front() == style.front()
        };
        let works = works().into_iter().filter(is_possible);
        let refreshes = Refresh::ALL.into_iter().filter_map(|case| {
            let topic = Topic::from((case, style));
            let is_wanted = is_wanted(&topic.name);
            Some((case, results.rate(topic, kind).filter(|_| is_wanted)?))
        });
        (
            works.filter(|work| is_wanted(&work.name())).collect(),
            refreshes.collect(),
        )
    }
}

/// How those travel who are merely there.
const CROWDS: [Style; 2] = [Style::Lean, Style::Managed];

/// Sessions where each costs much.
const FEW: usize = 10;

fn sessions(work: Work, sessions: usize) -> usize {
    match work {
        Work::Roster(contacts, _) if contacts >= 1000 => sessions.min(FEW),
        Work::Login(_) => sessions.min(16),
        Work::Repoll => sessions * 10,
        _ => sessions,
    }
}

/// Prosody's default garbage collector takes longer after some hundred logins, for good.
async fn warm_up(system: &System, style: Style, logins: usize) -> Result<()> {
    let users = Work::Login(style).users(16);
    for _ in 0..logins.div_ceil(users.len()) {
        let sessions = log_in(system, &users, style, 60).await?;
        log_out(sessions).await;
    }
    Ok(())
}
