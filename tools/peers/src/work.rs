//! What sessions do while they are measured.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    DOMAIN,
    process::cpu_time,
    session::{Session, Style, User, between},
    statistics::Histogram,
    systems::{Carried, Kind, System},
};

/// Sessions that log in at the same time.
const LOGINS: usize = 16;

/// How long clients wait before they ask again, seconds.
const WAIT: u32 = 60;

/// Servers show it to its sender, too.
const PRESENCE: &str = "<presence xmlns='jabber:client'/>";

/// What people say.
const TEXT: &str =
    "Wherefore art thou, Romeo? Deny thy father and refuse thy name, or if thou wilt not";

const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// One kind of work.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Work {
    /// Messages to and fro between pairs, one under way each.
    Message(Style),
    /// The same by BOSH, one request each, with so many bytes of text.
    MessageOf(usize),
    /// XEP-0199 pings of the domain.
    Ping(Style),
    /// Roster gets, of so many contacts.
    Roster(usize, Style),
    /// From the connection to the roster and presence, and out again: seven requests or messages.
    Login(Style),
    /// From the loss of a connection to the session's going on by another.
    Resumption,
    /// Empty BOSH requests that are answered empty after a second.
    Repoll,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Sessions at once; half as many pairs.
    pub sessions: usize,
    /// Before measuring.
    pub warm_up: Duration,
    /// Of measuring.
    pub time: Duration,
    /// Operations in a second, all sessions together; else as many as can be.
    pub pace: Option<f64>,
}

/// What one round gave.
#[derive(Clone, Debug)]
pub struct Sample {
    /// CPU time per operation of each process of the system, in its order.
    pub cpu: Vec<Duration>,
    /// The same of the load generator.
    pub load: Duration,
    /// HTTP requests per operation, or WebSocket messages that clients send.
    pub requests: f64,
    /// Operations in a second.
    pub rate: f64,
    /// Latencies that 50 %, 99 % and 99.9 % of the operations do not exceed.
    pub latency: [Duration; 3],
    /// What NATS took from gateways per operation.
    pub carried: Carried<f64>,
}

/// What sessions report, and what they go by.
struct Meter {
    begin: Instant,
    operations: AtomicU64,
    requests: AtomicU64,
    latency: Histogram,
    /// Between the operations of a session.
    interval: Option<Duration>,
}

impl Meter {
    fn done(&self, latency: Duration) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.latency.record(latency);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Work {
    /// Whether this system is measured at it. ejabberd 23.01 takes no two requests at a time: where the later
    /// one arrives first, it answers neither. Behind TLS or with two threads, messages tell enough.
    pub fn suits(self, kind: Kind) -> bool {
        let style = self.style();
        if style.is_websocket() && !kind.has_websocket() {
            return false;
        }
        match kind {
            Kind::Ejabberd => style != Style::Held,
            Kind::RostergateTls | Kind::NginxTls => {
                matches!(self, Self::Message(Style::Lean | Style::WebSocket))
            }
            Kind::RostergateTwoThreads => matches!(self, Self::Message(_)),
            _ => true,
        }
    }

    /// Short, for the command line, file names and tables.
    pub fn name(self) -> String {
        match self {
            Self::Message(style) => format!("message-{}", style.name()),
            Self::MessageOf(bytes) => format!("message-of-{bytes}"),
            Self::Ping(style) => format!("ping-{}", style.name()),
            Self::Roster(contacts, style) => format!("roster-{contacts}-{}", style.name()),
            Self::Login(style) => format!("login-{}", style.name()),
            Self::Resumption => "resumption".to_owned(),
            Self::Repoll => "re-poll".to_owned(),
        }
    }

    /// In words.
    pub fn title(self) -> String {
        match self {
            Self::Message(style) => format!("Message, {}", style.title()),
            Self::MessageOf(bytes) => format!("Message of {bytes} bytes"),
            Self::Ping(style) => format!("XEP-0199 ping, {}", style.title()),
            Self::Roster(contacts, style) => {
                format!("Roster get, {contacts} contacts, {}", style.title())
            }
            Self::Login(style) => format!("Login complete, {}", style.title()),
            Self::Resumption => "Resumption".to_owned(),
            Self::Repoll => "Idle re-poll".to_owned(),
        }
    }

    /// How its stanzas travel.
    pub fn style(self) -> Style {
        match self {
            Self::Message(style)
            | Self::Ping(style)
            | Self::Roster(_, style)
            | Self::Login(style) => style,
            Self::MessageOf(_) | Self::Repoll => Style::Lean,
            Self::Resumption => Style::Managed,
        }
    }

    /// How many contacts its users have.
    pub fn contacts(self) -> usize {
        match self {
            Self::Roster(contacts, _) => contacts,
            _ => 10,
        }
    }

    /// The users it needs.
    pub fn users(self, sessions: usize) -> Vec<User> {
        let user = |number| User::with_contacts(self.contacts(), number);
        (0..sessions).map(user).collect()
    }

    /// Does this work, once.
    ///
    /// # Errors
    ///
    /// Anything fails, or all comes to a stop.
    pub async fn measure(self, system: &System, plan: Plan) -> Result<Sample> {
        let meter = Arc::new(Meter {
            begin: Instant::now(),
            operations: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            latency: Histogram::default(),
            interval: plan
                .pace
                .map(|pace| Duration::from_secs_f64(plan.sessions as f64 / pace)),
        });
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        let users = self.users(plan.sessions);
        match self {
            Self::Login(style) => {
                for user in users {
                    let work = log_in_and_out(system.clone(), user, style, Arc::clone(&meter));
                    running.spawn(until(stopped.clone(), work));
                }
            }
            Self::Message(_) | Self::MessageOf(_) => {
                let text = match self {
                    Self::MessageOf(bytes) => "x".repeat(bytes),
                    _ => TEXT.to_owned(),
                };
                let text: Arc<str> = text.into();
                let sessions = log_in(system, &users, self.style(), WAIT).await?;
                let jids = sessions.iter().map(|session| session.jid().to_owned());
                let jids = jids.collect::<Vec<_>>();
                for (number, session) in sessions.into_iter().enumerate() {
                    let to = jids
                        .get(number ^ 1)
                        .context("sessions come in pairs")?
                        .clone();
                    let (meter, stopped) = (Arc::clone(&meter), stopped.clone());
                    let pair = (number / 2) as f64 / plan.sessions as f64 * 2.0;
                    let turn = if number % 2 == 0 {
                        Turn::First
                    } else {
                        Turn::Second
                    };
                    let dialog = Dialog {
                        to,
                        text: Arc::clone(&text),
                        turn,
                        pair,
                    };
                    running.spawn(converse(session, dialog, meter, stopped));
                }
            }
            _ => {
                let wait = if self == Self::Repoll { 1 } else { WAIT };
                let sessions = log_in(system, &users, self.style(), wait).await?;
                for (number, session) in sessions.into_iter().enumerate() {
                    let (meter, stopped) = (Arc::clone(&meter), stopped.clone());
                    let offset = number as f64 / plan.sessions as f64;
                    running.spawn(repeat(self, session, offset, meter, stopped));
                }
            }
        }
        watch_over(&mut running, plan.warm_up).await?;
        let before = Reading::take(system, &meter).await?;
        meter.latency.clear();
        watch_over(&mut running, plan.time).await?;
        // On a busy machine a short round may be over before anything is done.
        let deadline = Instant::now() + Duration::from_secs(30);
        while meter.operations.load(Ordering::Relaxed) == before.operations
            && Instant::now() < deadline
        {
            watch_over(&mut running, plan.time).await?;
        }
        let after = Reading::take(system, &meter).await?;
        let latency = QUANTILES.map(|share| meter.latency.quantile(share));
        stop.send_replace(true);
        let ended = timeout(Duration::from_secs(10), async {
            while let Some(result) = running.join_next().await {
                result??;
            }
            anyhow::Ok(())
        });
        // A session that does not end in time is left to the server.
        if let Ok(ended) = ended.await {
            ended?;
        }
        let sample = before.until(&after)?;
        let latency = latency.map(Option::unwrap_or_default);
        Ok(Sample { latency, ..sample })
    }
}

/// What 50 %, 99 % and 99.9 % of these do not exceed.
pub fn quantiles(latencies: impl IntoIterator<Item = Duration>) -> [Duration; 3] {
    let histogram = Histogram::default();
    for latency in latencies {
        histogram.record(latency);
    }
    QUANTILES.map(|share| histogram.quantile(share).unwrap_or_default())
}

/// Clocks and counters at one moment.
struct Reading {
    at: Instant,
    cpu: Vec<Duration>,
    load: Duration,
    operations: u64,
    requests: u64,
    carried: Carried<u64>,
}

impl Reading {
    async fn take(system: &System, meter: &Meter) -> Result<Self> {
        let pids = system.pids();
        Ok(Self {
            at: Instant::now(),
            cpu: pids.into_iter().map(cpu_time).collect::<Result<_>>()?,
            load: cpu_time(std::process::id())?,
            operations: meter.operations.load(Ordering::Relaxed),
            requests: meter.requests.load(Ordering::Relaxed),
            carried: system.carried().await?,
        })
    }

    fn until(&self, after: &Self) -> Result<Sample> {
        let operations = after.operations - self.operations;
        if operations == 0 {
            bail!("nothing was done in all the time");
        }
        let share = |before: Duration, after: Duration| {
            after.saturating_sub(before).div_f64(operations as f64)
        };
        let both = self.cpu.iter().zip(&after.cpu);
        let time = after.at.duration_since(self.at).as_secs_f64();
        Ok(Sample {
            cpu: both.map(|(before, after)| share(*before, *after)).collect(),
            load: share(self.load, after.load),
            requests: (after.requests - self.requests) as f64 / operations as f64,
            rate: operations as f64 / time,
            latency: Default::default(),
            carried: self.carried.until(after.carried, operations as f64),
        })
    }
}

/// Lets them run; the first failure ends it.
async fn watch_over(running: &mut JoinSet<Result<()>>, time: Duration) -> Result<()> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        result = running.join_next() => {
            result.context("no sessions")???;
            bail!("a session ended early")
        }
    }
}

/// Logs all of them in, a few at a time.
///
/// # Errors
///
/// One of them cannot.
pub async fn log_in(
    system: &System,
    users: &[User],
    style: Style,
    wait: u32,
) -> Result<Vec<Session>> {
    let mut sessions = Vec::with_capacity(users.len());
    for few in users.chunks(LOGINS) {
        let mut running = JoinSet::new();
        for (number, user) in few.iter().cloned().enumerate() {
            let system = system.clone();
            running.spawn(async move {
                let session = become_available(&system, &user, style, wait).await?;
                anyhow::Ok((number, session))
            });
        }
        let logins = timeout(Duration::from_secs(60), running.join_all());
        let mut few = logins
            .await
            .context("logins take too long")?
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        few.sort_by_key(|(number, _)| *number);
        sessions.extend(few.into_iter().map(|(_, session)| session));
    }
    Ok(sessions)
}

/// Logs one in, who gets the roster and is available then.
async fn become_available(
    system: &System,
    user: &User,
    style: Style,
    wait: u32,
) -> Result<Session> {
    let endpoint = system.endpoint(style);
    let mut session = Session::log_in(&endpoint, user, style, wait).await?;
    session.exchange_until(&roster_get(), b"result").await?;
    session.exchange_until(PRESENCE, b"<presence").await?;
    session.go_by(&system.endpoint_later(style));
    Ok(session)
}

/// Ends all of them, a few at a time.
pub async fn log_out(sessions: Vec<Session>) {
    let mut running = JoinSet::new();
    for session in sessions {
        running.spawn(timeout(Duration::from_secs(5), session.terminate()));
        if running.len() >= LOGINS {
            // Whether it ends well does not matter any more.
            let _ = running.join_next().await;
        }
    }
    running.join_all().await;
}

/// `work`, or less of it when it is to stop.
pub(crate) async fn until(
    mut stopped: watch::Receiver<bool>,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::select! {
        result = work => result,
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
    }
}

fn roster_get() -> String {
    "<iq xmlns='jabber:client' type='get' id='op'><query xmlns='jabber:iq:roster'/></iq>".to_owned()
}

fn message(to: &str, text: &str, at: u64) -> String {
    format!(
        "<message xmlns='jabber:client' type='chat' id='##{at}##' to='{to}'>\
         <body>{text}</body></message>"
    )
}

/// One side of a pair's conversation.
struct Dialog {
    to: String,
    text: Arc<str>,
    turn: Turn,
    /// Where the pair is among all of them, 0 to 1.
    pair: f64,
}

/// Who speaks first.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Turn {
    First,
    Second,
}

async fn converse(
    mut session: Session,
    dialog: Dialog,
    meter: Arc<Meter>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let Dialog { to, text, .. } = dialog;
    let work = async {
        const MESSAGE: &[u8] = b"<message";
        let requests = &meter.requests;
        // Turns are half an interval apart, and pairs evenly in time.
        let offset = match dialog.turn {
            Turn::First => dialog.pair,
            Turn::Second => dialog.pair + 0.5,
        };
        let mut schedule = Schedule::new(&meter, offset);
        if dialog.turn == Turn::Second {
            let answer = session.wait_for(MESSAGE, requests).await?;
            received(&answer, &meter)?;
        }
        loop {
            schedule.turn().await;
            let stanza = message(&to, &text, meter.now());
            let answer = session.operate(&stanza, MESSAGE, requests).await?;
            received(&answer, &meter)?;
        }
    };
    until(stopped, work).await?;
    session.settle().await;
    give_up(session).await;
    Ok(())
}

/// Counts a message by the time that it bears.
fn received(answer: &[u8], meter: &Meter) -> Result<()> {
    let sent = between(answer, b"##", b"##").context("a message of ours")?;
    let latency = meter.now().saturating_sub(sent.parse()?);
    meter.done(Duration::from_micros(latency));
    Ok(())
}

async fn repeat(
    work: Work,
    mut session: Session,
    offset: f64,
    meter: Arc<Meter>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let stanza = match work {
        Work::Ping(_) => format!(
            "<iq xmlns='jabber:client' type='get' id='op' to='{DOMAIN}'>\
             <ping xmlns='urn:xmpp:ping'/></iq>"
        ),
        Work::Roster(..) => roster_get(),
        _ => String::new(),
    };
    let wanted: &[u8] = if stanza.is_empty() { b"" } else { b"result" };
    let repeating = async {
        let mut schedule = Schedule::new(&meter, offset);
        loop {
            let begin = schedule.turn().await;
            match work {
                Work::Resumption => session.resume(&meter.requests).await?,
                _ => drop(session.operate(&stanza, wanted, &meter.requests).await?),
            }
            meter.done(begin.elapsed());
        }
    };
    until(stopped, repeating).await?;
    give_up(session).await;
    Ok(())
}

async fn log_in_and_out(system: System, user: User, style: Style, meter: Arc<Meter>) -> Result<()> {
    let mut schedule = Schedule::new(&meter, 0.0);
    loop {
        let begin = schedule.turn().await;
        let session = become_available(&system, &user, style, WAIT).await?;
        session.terminate().await?;
        meter.requests.fetch_add(7, Ordering::Relaxed);
        meter.done(begin.elapsed());
    }
}

async fn give_up(session: Session) {
    // What remains is for the server to forget.
    let _ = timeout(Duration::from_secs(5), session.terminate()).await;
}

/// When a session does its next operation.
struct Schedule {
    next: Option<(Instant, Duration)>,
}

impl Schedule {
    fn new(meter: &Meter, offset: f64) -> Self {
        let next = meter.interval.map(|interval| {
            let begin = Instant::now() + interval.mul_f64(offset);
            (begin, interval)
        });
        Self { next }
    }

    /// Waits for it, and tells since when it is due: who comes late has been waiting already.
    async fn turn(&mut self) -> Instant {
        let Some((next, interval)) = &mut self.next else {
            return Instant::now();
        };
        let due = *next;
        *next += *interval;
        if due <= Instant::now() {
            return due;
        }
        sleep_until(due.into()).await;
        // The clock of the runtime has steps of a millisecond, which are not the server's.
        Instant::now()
    }
}
