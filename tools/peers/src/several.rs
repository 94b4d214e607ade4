//! Several gateways as one: what a request costs at the gateway of its session and through another one, and what a
//! refresh costs, beside a gateway that is alone.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

use crate::{
    backend::Backend,
    crowd::{Crowd, Refresh, refresh, settle},
    process::cpu_time,
    session::{Style, User},
    statistics::{Spread, figure},
    systems::{Kind, System},
    work::{Plan, Sample, Work},
};

/// Gateways that are one.
const MANY: usize = 3;

/// What sessions do.
const WORKS: [Work; 4] = [
    Work::Message(Style::Held),
    Work::Message(Style::Lean),
    Work::Ping(Style::Lean),
    Work::Repoll,
];

/// Users in a request for a refresh.
const BATCHES: [usize; 3] = [1, 100, 10_000];

/// One in so many users is online, where anybody is.
const ONLINE: usize = 10;

/// How requests come to the gateway of their session, or how many there are to be told of new lists.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// It is alone, without `[cluster]`.
    Alone,
    /// It is the only one of a cluster.
    Only,
    /// It is one of three.
    Own,
    /// They come to another one of three.
    Another,
}

impl Way {
    /// In words.
    fn title(self) -> &'static str {
        match self {
            Self::Alone => "a gateway without `[cluster]`",
            Self::Only => "the only gateway of a cluster",
            Self::Own => "one of three",
            Self::Another => "one of three, through another one",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Nothing, for a second.
    Nothing,
    /// Work of sessions, as fast as it goes or at one pace.
    Work(Work, Pace),
    /// A refresh, with so many users in a request.
    Refresh(usize, Online),
}

/// How fast sessions work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// As fast as they can.
    Saturated,
    /// All of them together do so many operations in a second.
    Even(u32),
}

/// Who is online.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Online {
    /// Nobody.
    Nobody,
    /// One in ten users, evenly at all gateways; nothing has changed.
    Some,
}

/// What one round gave, microseconds.
#[derive(Clone, Debug)]
struct Round {
    /// The gateway that requests come to.
    asked: f64,
    /// Each of the others that have to do with it.
    others: Vec<f64>,
    nats: f64,
    server: f64,
    sample: Sample,
}

impl Round {
    fn of(way: Way, what: What, sample: Sample) -> Self {
        let micros = sample.cpu.iter().map(|cpu| cpu.as_secs_f64() * 1e6);
        let mut micros: Vec<f64> = micros.collect();
        let server = micros.pop().unwrap_or_default();
        let nats = match way {
            Way::Alone => 0.0,
            _ => micros.pop().unwrap_or_default(),
        };
        let is_for_all = !matches!(what, What::Work(..));
        // Of three, the session's own is the first.
        let (asked, others) = match way {
            Way::Another => (micros[1], vec![micros[0]]),
            _ if is_for_all => (micros[0], micros.split_off(1)),
            _ => (micros[0], Vec::new()),
        };
        Self {
            asked,
            others,
            nats,
            server,
            sample,
        }
    }

    fn gateways(&self) -> f64 {
        self.asked + self.others.iter().sum::<f64>()
    }

    /// Each of the others.
    fn other(&self) -> Option<f64> {
        let others = &self.others;
        (!others.is_empty()).then(|| others.iter().sum::<f64>() / others.len() as f64)
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Several {
    rows: Vec<Row>,
}

/// Of a table.
#[derive(Debug)]
struct Row {
    what: What,
    way: Way,
    /// Those of other ways that have the same place were measured beside it.
    rounds: Vec<Round>,
}

/// How long, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of everything.
    pub rounds: usize,
    /// What each measures.
    pub time: Duration,
    /// Sessions at once.
    pub sessions: usize,
    /// Most users of a refresh.
    pub users: usize,
}

/// Measures all of it.
///
/// # Errors
///
/// Anything fails.
pub async fn measure(
    program: &Path,
    backend: &Backend,
    effort: Effort,
    mut say: impl FnMut(&str, &Sample),
) -> Result<Several> {
    let polling = effort.sessions * 10;
    let users = Work::Repoll.users(effort.users.max(polling));
    // Only those who log in have to be known.
    let known = |(number, _): &(usize, &User)| *number < polling || number.is_multiple_of(ONLINE);
    let known = users.iter().enumerate().filter(known);
    let known: Vec<User> = known.map(|(_, user)| user.clone()).collect();
    let alone = Kind::RostergateProsodyGenerational
        .start(program, backend, &known)
        .await?;
    let only = System::cluster(1, program, backend, &known).await?;
    let three = System::cluster(MANY, program, backend, &known).await?;
    let mut several = Several::default();

    let all = [
        (Way::Alone, alone.clone()),
        (Way::Only, only),
        (Way::Own, three.clone()),
    ];
    for round in 0..effort.rounds {
        for (way, system) in turned(&all, round) {
            let sample = rest(system, 2 * effort.time).await?;
            say(&format!("nothing {}", way.title()), &sample);
            several.add(What::Nothing, *way, sample);
        }
    }

    let ways = [
        (Way::Alone, alone),
        (Way::Own, three.clone()),
        (Way::Another, three.at(0, 1)),
    ];
    for work in WORKS {
        // Polls have a pace of their own.
        let paces: &[Pace] = match work {
            Work::Repoll => &[Pace::Saturated],
            _ => &[Pace::Saturated, Pace::Even(1000)],
        };
        for pace in paces {
            // The first round warms up.
            for round in 0..=effort.rounds {
                for (way, system) in turned(&ways, round) {
                    let plan = Plan {
                        sessions: if work == Work::Repoll {
                            polling
                        } else {
                            effort.sessions
                        },
                        warm_up: effort.time / 4,
                        time: effort.time,
                        pace: match pace {
                            Pace::Saturated => None,
                            Pace::Even(pace) => Some(f64::from(*pace)),
                        },
                    };
                    let what = What::Work(work, *pace);
                    let name = format!("{} {}", work.name(), way.title());
                    let sample = work
                        .measure(system, plan)
                        .await
                        .with_context(|| name.clone())?;
                    if round > 0 {
                        say(&name, &sample);
                        several.add(what, *way, sample);
                    }
                }
            }
        }
    }

    for online in [Online::Nobody, Online::Some] {
        let mut crowds = Vec::new();
        for (_, system) in &all {
            let mut crowd = Crowd::new(Style::Lean);
            if online == Online::Some {
                let gateways = system.gateways();
                for home in 0..gateways {
                    let here = users.iter().take(effort.users).step_by(ONLINE);
                    let here: Vec<User> = here.skip(home).step_by(gateways).cloned().collect();
                    crowd.join(&system.clone().at(home, home), &here).await?;
                }
            }
            crowds.push(crowd);
        }
        let case = match online {
            Online::Nobody => Refresh::Offline,
            Online::Some => Refresh::Unchanged,
        };
        for batch in BATCHES.into_iter().filter(|batch| *batch <= effort.users) {
            // Those who come one by one cost more.
            let number = if batch == 1 {
                effort.users.min(2000)
            } else {
                effort.users
            };
            for round in 0..=effort.rounds {
                let order = turned(&[0, 1, 2], round).copied().collect::<Vec<usize>>();
                for index in order {
                    let (way, system) = &all[index];
                    let crowd = &mut crowds[index];
                    let pace = (batch, None);
                    let sample = refresh(system, backend, crowd, case, 0..number, pace).await?;
                    if round > 0 {
                        say(
                            &format!("refresh-{batch} {online:?} {}", way.title()),
                            &sample,
                        );
                        several.add(What::Refresh(batch, online), *way, sample);
                    }
                }
            }
        }
        for crowd in crowds {
            crowd.leave().await?;
        }
    }
    Ok(several)
}

/// All of them, beginning with another one in each round.
fn turned<T>(all: &[T], round: usize) -> impl Iterator<Item = &T> {
    let (before, after) = all.split_at(round % all.len());
    after.iter().chain(before)
}

/// What its processes take in a second when nobody is there.
async fn rest(system: &System, time: Duration) -> Result<Sample> {
    let read = || {
        let times = system.pids().into_iter().map(cpu_time);
        times.collect::<Result<Vec<_>>>()
    };
    settle(read).await?;
    let (carried, before, begin) = (system.carried().await?, read()?, Instant::now());
    sleep(time).await;
    let (after, seconds) = (read()?, begin.elapsed().as_secs_f64());
    let carried = carried.until(system.carried().await?, seconds);
    let both = before.iter().zip(&after);
    let each = |(before, after): (&Duration, &Duration)| after.saturating_sub(*before);
    Ok(Sample {
        cpu: both.map(|both| each(both).div_f64(seconds)).collect(),
        load: Duration::ZERO,
        requests: 0.0,
        rate: 1.0,
        latency: Default::default(),
        carried,
    })
}

impl Several {
    fn add(&mut self, what: What, way: Way, sample: Sample) {
        let round = Round::of(way, what, sample);
        let mut rows = self.rows.iter_mut();
        match rows.find(|row| (row.what, row.way) == (what, way)) {
            Some(row) => row.rounds.push(round),
            None => self.rows.push(Row {
                what,
                way,
                rounds: vec![round],
            }),
        }
    }

    fn rounds(&self, what: What, way: Way) -> Option<&[Round]> {
        let mut rows = self.rows.iter();
        let row = rows.find(|row| (row.what, row.way) == (what, way))?;
        Some(&row.rounds)
    }

    /// The time of all gateways together, to that of one alone: the median of the rounds, each with what was measured
    /// beside it.
    pub fn ratio(&self, what: What, way: Way) -> Option<Spread> {
        let both = self
            .rounds(what, way)?
            .iter()
            .zip(self.rounds(what, Way::Alone)?);
        Spread::of(both.map(|(round, alone)| round.gateways() / alone.gateways()))
    }

    /// What NATS took from the gateways for each operation: messages.
    pub fn messages(&self, what: What, way: Way) -> Option<Spread> {
        let rounds = self.rounds(what, way)?.iter();
        Spread::of(rounds.map(|round| round.sample.carried.messages))
    }

    /// Microseconds of each gateway for each user of a refresh: of the one that is asked, and of others.
    pub fn of_a_user(&self, what: What) -> Option<[f64; 2]> {
        let rounds = self.rounds(what, Way::Own)?.iter();
        let asked = Spread::of(rounds.clone().map(|round| round.asked))?;
        let other = Spread::of(rounds.filter_map(Round::other))?;
        Some([asked.median, other.median])
    }

    /// In Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        for (kind, title, head, others) in [
            (0, "requests", "work", "the session's own, beside it"),
            (
                1,
                "a user of a refresh",
                "users in a request",
                "each other one",
            ),
            (2, "a second without anybody", "", "each other one"),
        ] {
            let mut rows: Vec<&Row> = self.rows.iter().collect();
            rows.retain(|row| row.what.table() == kind);
            let first = |what| rows.iter().position(|row| row.what == what);
            let mut order: Vec<_> = rows
                .iter()
                .map(|row| (first(row.what), row.way))
                .zip(&rows)
                .collect();
            order.sort_by_key(|(key, _)| *key);
            let rows: String = order.into_iter().map(|(_, row)| self.row(row)).collect();
            if !rows.is_empty() {
                // A string takes it.
                let _ = write!(
                    out,
                    "### Several gateways, {title}\n\n\
                     | {head} | gateways | the one that is asked | {others} | all of these, to one alone | NATS | server \
                     | a second | by NATS: messages, bytes |\n|---|---|---|---|---|---|---|---|---|\n{rows}\n"
                );
            }
        }
        out
    }

    fn row(&self, row: &Row) -> String {
        let Row { what, way, rounds } = row;
        let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
        let shown =
            |spread: Option<Spread>| spread.map_or_else(|| "–".to_owned(), |it| it.to_string());
        let median = |value: &dyn Fn(&Round) -> f64| {
            spread(value).map_or_else(|| "–".to_owned(), |it| figure(it.median))
        };
        let (ratio, nats, carried) = if *way == Way::Alone {
            (String::new(), "–".to_owned(), "–".to_owned())
        } else {
            (
                match what {
                    // One alone takes none.
                    What::Nothing => "–".to_owned(),
                    _ => shown(self.ratio(*what, *way)),
                },
                shown(spread(&|it| it.nats)),
                format!(
                    "{}, {}",
                    median(&|it| it.sample.carried.messages),
                    median(&|it| it.sample.carried.bytes)
                ),
            )
        };
        let server = match what {
            What::Work(..) => shown(spread(&|it| it.server)),
            // It hears nothing of it.
            What::Refresh(..) | What::Nothing => "–".to_owned(),
        };
        let rate = if *what == What::Nothing {
            String::new()
        } else {
            median(&|it| it.sample.rate)
        };
        format!(
            "| {} | {} | {} | {} | {ratio} | {nats} | {} | {rate} | {carried} |\n",
            what.title(),
            way.title(),
            shown(spread(&|it| it.asked)),
            shown(Spread::of(rounds.iter().filter_map(Round::other))),
            server,
        )
    }
}

impl What {
    fn table(self) -> usize {
        match self {
            Self::Work(..) => 0,
            Self::Refresh(..) => 1,
            Self::Nothing => 2,
        }
    }

    fn title(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Work(work, Pace::Saturated) => work.title(),
            Self::Work(work, Pace::Even(pace)) => {
                format!("{}, {pace} a second", work.title())
            }
            Self::Refresh(batch, online) => {
                let online = match online {
                    Online::Nobody => "nobody online",
                    Online::Some => "one in ten online",
                };
                format!("{batch}, {online}")
            }
        }
    }
}
