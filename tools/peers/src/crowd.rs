//! Many sessions that do nothing but listen: what they take of memory, and what it costs to tell them of new
//! contact lists.

use std::{
    fmt::Write as _,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    backend::Backend,
    http::{Connection, Endpoint},
    process::{cpu_time, resident},
    session::{Session, Style, User},
    systems::System,
    work::{Sample, log_in, quantiles, until},
};

/// Users in one request for a refresh; sessions that log in before others look after theirs.
pub const BATCH: usize = 100;

/// Sessions that listen until they are dropped; by BOSH, at 60 seconds a poll.
#[derive(Debug)]
pub struct Crowd {
    style: Style,
    running: JoinSet<Result<()>>,
    pushes: mpsc::UnboundedSender<()>,
    pushed: mpsc::UnboundedReceiver<()>,
    stop: watch::Sender<bool>,
}

impl Crowd {
    /// Nobody yet; their stanzas will travel so.
    pub fn new(style: Style) -> Self {
        let (pushes, pushed) = mpsc::unbounded_channel();
        Self {
            style,
            running: JoinSet::new(),
            pushes,
            pushed,
            stop: watch::Sender::new(false),
        }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Logs these in, too; each gets its roster and is available.
    ///
    /// # Errors
    ///
    /// One of them cannot, or a session has ended meanwhile.
    pub async fn join(&mut self, system: &System, users: &[User]) -> Result<()> {
        for few in users.chunks(BATCH) {
            for session in log_in(system, few, self.style, 60).await? {
                let pushes = self.pushes.clone();
                let stopped = self.stop.subscribe();
                self.running.spawn(listen(session, pushes, stopped));
            }
            if let Some(ended) = self.running.try_join_next() {
                ended??;
                bail!("a session has ended");
            }
        }
        Ok(())
    }

    /// Waits for roster pushes.
    async fn expect_pushes(&mut self, pushes: usize) -> Result<()> {
        let coming = async {
            for _ in 0..pushes {
                self.pushed.recv().await.context("nobody is there")?;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(60), coming)
            .await
            .context("pushes do not come")?
    }

    /// Ends all of the sessions.
    ///
    /// # Errors
    ///
    /// One of them had failed.
    pub async fn leave(mut self) -> Result<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn listen(
    mut session: Session,
    pushes: mpsc::UnboundedSender<()>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let listening = async {
        let mut replies = String::new();
        loop {
            let answer = session.exchange(&replies).await?;
            replies.clear();
            // A push is acknowledged (RFC 6121, section 2.1.6).
            for id in pushes_in(&answer) {
                write!(
                    replies,
                    "<iq xmlns='jabber:client' type='result' id='{id}'/>"
                )?;
                // Whoever does not wait for them does not listen.
                let _ = pushes.send(());
            }
        }
    };
    until(stopped, listening).await?;
    // What remains is for the server to forget.
    let _ = timeout(Duration::from_secs(10), session.terminate()).await;
    Ok(())
}

/// The ids of roster pushes.
fn pushes_in(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answer);
    let stanzas = text.split("<iq ").skip(1);
    let pushes = stanzas.filter(|stanza| stanza.contains("jabber:iq:roster"));
    let is_set = |head: &str| head.contains("type='set'") || head.contains("type=\"set\"");
    let pushes = pushes.filter_map(|stanza| stanza.split('>').next());
    pushes
        .filter(|head| is_set(head))
        .filter_map(|head| crate::session::attribute(format!(" {head}").as_bytes(), "id"))
        .collect()
}

/// Resident memory for each session, of each process.
#[derive(Clone, Debug)]
pub struct Memory {
    /// How many there were.
    pub sessions: usize,
    /// Bytes a session, in the order of the system's processes.
    pub bytes: Vec<f64>,
}

/// Logs users in, and measures whenever one of these numbers is reached. The system has just been started and
/// has served some sessions, so that what it needs once is there.
///
/// # Errors
///
/// Anything fails.
pub async fn memory(
    system: &System,
    crowd: &mut Crowd,
    numbers: &[usize],
    mut say: impl FnMut(&Memory),
) -> Result<Vec<Memory>> {
    let read = || -> Result<Vec<u64>> { system.pids().into_iter().map(resident).collect() };
    let before = read()?;
    let mut out = Vec::new();
    for number in numbers {
        let more = (crowd.len()..*number).map(|number| User::with_contacts(10, number));
        crowd.join(system, &more.collect::<Vec<_>>()).await?;
        let both = before.iter().zip(read()?);
        let growth =
            |(before, after): (&u64, u64)| after.saturating_sub(*before) as f64 / *number as f64;
        let memory = Memory {
            sessions: *number,
            bytes: both.map(growth).collect(),
        };
        say(&memory);
        out.push(memory);
    }
    Ok(out)
}

/// What has become of the contact lists when rostergate is told to fetch them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Refresh {
    /// Nobody is there.
    Offline,
    /// All are there; nothing has.
    Unchanged,
    /// All are there, and each has another first contact: one pushed out, one in, and presence.
    Changed,
}

impl Refresh {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Offline, Self::Unchanged, Self::Changed];
}

/// Tells rostergate, in requests of `batch`, of users with ten contacts each, who are all in the crowd or none
/// of them; of `pace` users in a second, or as fast as it answers.
///
/// # Errors
///
/// Anything fails, or the pushes do not come.
pub async fn refresh(
    system: &System,
    backend: &Backend,
    crowd: &mut Crowd,
    case: Refresh,
    users: Range<usize>,
    (batch, pace): (usize, Option<f64>),
) -> Result<Sample> {
    let admin = Endpoint {
        path: "/roster_admin/refresh".to_owned(),
        ..system.endpoint(Style::Lean)
    };
    let mut admin = Connection::new(&admin, "application/json");
    if case == Refresh::Changed {
        backend.change();
    }
    let names: Vec<String> = users
        .map(|number| format!("\"{}\"", User::with_contacts(10, number).name))
        .collect();
    let pids = system.pids();
    let read = || {
        let times = pids.iter().map(|pid| cpu_time(*pid));
        times.collect::<Result<Vec<_>>>()
    };
    settle(read).await?;
    let carried = system.carried().await?;
    let (before, own, begin) = (read()?, cpu_time(std::process::id())?, Instant::now());
    let mut latencies = Vec::new();
    let interval = pace.map(|pace| Duration::from_secs_f64(batch as f64 / pace));
    for (number, names) in (0..).zip(names.chunks(batch)) {
        let due = begin + interval.unwrap_or_default() * number;
        sleep_until(due.into()).await;
        let begin = Instant::now();
        admin.send(&format!("[{}]", names.join(","))).await?;
        let answer = admin.answer().await?;
        let answer = String::from_utf8_lossy(&answer);
        if !answer.contains("\"errors\":0") {
            bail!("not all were refreshed: {answer}");
        }
        latencies.push(begin.elapsed());
    }
    if case == Refresh::Changed {
        crowd.expect_pushes(2 * names.len()).await?;
    }
    let time = begin.elapsed().as_secs_f64();
    // Presence and what is answered come after the pushes.
    settle(read).await?;
    let each = |time: Duration| time.div_f64(names.len() as f64);
    let after = read()?;
    let load = each(cpu_time(std::process::id())?.saturating_sub(own));
    let carried = carried.until(system.carried().await?, names.len() as f64);
    Ok(Sample {
        cpu: before
            .iter()
            .zip(&after)
            .map(|(before, after)| each(after.saturating_sub(*before)))
            .collect(),
        load,
        requests: 1.0 / batch as f64,
        rate: names.len() as f64 / time,
        latency: quantiles(latencies),
        carried,
    })
}

/// Waits until processes have nothing more to do, 10 seconds at most: those that never rest stay as they are.
pub(crate) async fn settle(read: impl Fn() -> Result<Vec<Duration>>) -> Result<()> {
    const STEP: Duration = Duration::from_millis(50);
    let mut last: Duration = read()?.iter().sum();
    for _ in 0..200 {
        sleep(STEP).await;
        let now: Duration = read()?.iter().sum();
        if now.saturating_sub(last) < STEP / 50 {
            break;
        }
        last = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_told_from_other_stanzas() {
        let answer = "<body><iq id='p1' type='set'><query xmlns='jabber:iq:roster'/></iq>\
                      <presence/><iq type=\"set\" id=\"p2\"><query xmlns='jabber:iq:roster'/></iq>\
                      <iq id='r' type='result'><query xmlns='jabber:iq:roster'/></iq></body>";
        assert_eq!(pushes_in(answer.as_bytes()), ["p1", "p2"]);
    }
}
