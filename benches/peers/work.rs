//! What is done, and what it costs.

use std::time::{Duration, Instant};

use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};

use crate::{
    load::{Result, Session},
    systems::{System, cpu_time},
};

/// Sessions at once.
pub(crate) const SESSIONS: usize = 50;
/// Logins at once.
const WORKERS: usize = 16;

const ROSTER: &str =
    "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";

/// One kind of operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Messages to and fro between pairs; a poll is always out, so each takes two HTTP requests.
    MessageHeld,
    /// The same with one HTTP request each.
    MessageLean,
    /// XEP-0199, to the server.
    Ping,
    /// A roster of ten contacts.
    RosterGet,
    /// From a new connection to presence, and out again.
    Login,
}

impl Work {
    pub(crate) const ALL: [Self; 5] = [
        Self::MessageHeld,
        Self::MessageLean,
        Self::Ping,
        Self::RosterGet,
        Self::Login,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MessageHeld => "message, held",
            Self::MessageLean => "message, lean",
            Self::Ping => "ping",
            Self::RosterGet => "roster get, 10 contacts",
            Self::Login => "login",
        }
    }
}

/// What one run of a work with a system came to. CPU times are microseconds per operation.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) front: f64,
    pub(crate) server: f64,
    /// Operations in a second.
    pub(crate) rate: f64,
    /// Milliseconds: median, 99th and 99.9th percentile.
    pub(crate) latency: [f64; 3],
}

/// Runs `work` for so long, as fast as it goes, or at `rate` operations a second in all.
pub(crate) async fn run(
    work: Work,
    system: &System,
    lasting: Duration,
    rate: Option<f64>,
) -> Result<Sample> {
    let mut sessions = Vec::new();
    if work != Work::Login {
        for account in &system.accounts[..SESSIONS] {
            sessions.push(Session::log_in(&system.endpoint, account, 60).await?);
        }
    }
    let cpu = || -> Result<_> {
        let front = system.front.map(cpu_time).transpose()?.unwrap_or_default();
        Ok([front, cpu_time(system.server)?])
    };
    let before = cpu()?;
    let began = Instant::now();
    let until = began + lasting;
    let mut running = JoinSet::new();
    let workers = match work {
        Work::MessageHeld | Work::MessageLean => SESSIONS / 2,
        Work::Ping | Work::RosterGet => SESSIONS,
        Work::Login => WORKERS,
    };
    let every = rate.map(|rate| Duration::from_secs_f64(workers as f64 / rate));
    for worker in 0..workers {
        let pace = Pace {
            until,
            every,
            next: began
                + every
                    .unwrap_or_default()
                    .mul_f64(worker as f64 / workers as f64),
        };
        let (endpoint, account) = (system.endpoint.clone(), system.accounts[worker].clone());
        let domain = account.domain.clone();
        match work {
            Work::MessageHeld | Work::MessageLean => {
                let pair = [sessions.pop(), sessions.pop()].map(|it| it.expect("enough"));
                running.spawn(messages(pair, work == Work::MessageHeld, pace));
            }
            Work::Ping => {
                let ping = format!(
                    "<iq xmlns='jabber:client' type='get' id='p' to='{domain}'>\
                     <ping xmlns='urn:xmpp:ping'/></iq>"
                );
                running.spawn(asks(sessions.pop().expect("enough"), ping, pace));
            }
            Work::RosterGet => {
                let session = sessions.pop().expect("enough");
                running.spawn(asks(session, ROSTER.to_owned(), pace));
            }
            Work::Login => {
                running.spawn(async move {
                    let mut pace = pace;
                    let mut latencies = Vec::new();
                    while let Some(began) = pace.next().await {
                        let mut session = Session::log_in(&endpoint, &account, 60).await?;
                        session.ask_until("", ROSTER, "jabber:iq:roster").await?;
                        let presence = "<presence xmlns='jabber:client'/>";
                        session.ask_until("", presence, "<presence").await?;
                        session.log_out().await?;
                        latencies.push(began.elapsed());
                    }
                    Ok((latencies, Vec::new()))
                });
            }
        }
    }
    let mut latencies: Vec<Duration> = Vec::new();
    let mut done = Vec::new();
    while let Some(worker) =
        timeout(lasting * 4 + Duration::from_secs(30), running.join_next()).await?
    {
        let (found, sessions) = worker??;
        latencies.extend(found);
        done.extend(sessions);
    }
    let (took, after) = (began.elapsed(), cpu()?);
    for session in done {
        session.log_out().await?;
    }
    let operations = latencies.len() as f64;
    let micros = |index: usize| (after[index] - before[index]).as_secs_f64() * 1e6 / operations;
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = (operations * part) as usize;
        latencies[index.min(latencies.len() - 1)].as_secs_f64() * 1e3
    };
    Ok(Sample {
        front: micros(0),
        server: micros(1),
        rate: operations / took.as_secs_f64(),
        latency: [at(0.5), at(0.99), at(0.999)],
    })
}

/// When the next operation of a worker begins.
struct Pace {
    until: Instant,
    every: Option<Duration>,
    next: Instant,
}

impl Pace {
    /// Waits for it. What comes too late because the one before took long counts from when it was due.
    async fn next(&mut self) -> Option<Instant> {
        let Some(every) = self.every else {
            let now = Instant::now();
            return (now < self.until).then_some(now);
        };
        let due = self.next;
        if due >= self.until {
            return None;
        }
        sleep_until(due.into()).await;
        self.next += every;
        Some(due)
    }
}

type Outcome = Result<(Vec<Duration>, Vec<Session>)>;

async fn asks(mut session: Session, payload: String, mut pace: Pace) -> Outcome {
    let mut latencies = Vec::new();
    while let Some(began) = pace.next().await {
        session.ask_until("", &payload, "result").await?;
        latencies.push(began.elapsed());
    }
    Ok((latencies, vec![session]))
}

async fn messages([mut from, mut to]: [Session; 2], held: bool, mut pace: Pace) -> Outcome {
    let mut latencies = Vec::new();
    to.send("", "").await?;
    if held {
        from.send("", "").await?;
    }
    while let Some(began) = pace.next().await {
        let message = format!(
            "<message xmlns='jabber:client' type='chat' to='{}'><body>Hello, how are you?</body></message>",
            to.jid
        );
        from.send("", &message).await?;
        if held {
            // That answers the poll.
            from.answer().await?;
        }
        to.hear("<message").await?;
        latencies.push(began.elapsed());
        if held {
            to.send("", "").await?;
        }
        std::mem::swap(&mut from, &mut to);
    }
    Ok((latencies, vec![from, to]))
}
