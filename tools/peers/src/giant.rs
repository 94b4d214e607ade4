//! A user with very many contacts: what they cost, and whether others notice.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{sync::watch, time::sleep};

use crate::{
    backend::Backend,
    http::{Connection, Endpoint},
    process::cpu_time,
    session::{Session, Style, User},
    systems::{Kind, System},
};

/// Between two roster gets of somebody else.
const PACE: Duration = Duration::from_millis(2);

/// What one of these steps cost.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was done.
    pub what: &'static str,
    /// Contacts.
    pub contacts: usize,
    /// CPU time of rostergate.
    pub cpu: Duration,
    /// How long it took.
    pub time: Duration,
    /// The longest that somebody else waited for a roster of ten contacts meanwhile.
    pub longest: Duration,
}

/// Has a user with so many contacts log in and get them, lose them all, and get them all back.
///
/// # Errors
///
/// Anything fails.
pub async fn measure(program: &Path, backend: &Backend, contacts: usize) -> Result<Vec<Step>> {
    let giant = User::with_contacts(contacts, 0);
    let other = User::with_contacts(10, 0);
    let users = [giant.clone(), other.clone()];
    let system = Kind::RostergateProsodyGenerational
        .start(program, backend, &users)
        .await?;
    let endpoint = system.endpoint(Style::Lean);
    let mut probe = Session::log_in(&endpoint, &other, Style::Lean, 60).await?;
    // Its own list is not to wait for the backend, which is busy with the other.
    probe.exchange_until(GET, b"result").await?;
    let mut session = Session::log_in(&endpoint, &giant, Style::Lean, 60).await?;
    let mut steps = Vec::new();
    let gateway = system.pids()[0];
    let mut probe = Some(probe);
    for what in ["get", "all removed", "all added"] {
        let (stop, stopped) = watch::channel(false);
        let probing = tokio::spawn(look(probe.take().context("one at a time")?, stopped));
        let (cpu, begin) = (cpu_time(gateway)?, Instant::now());
        let mut count = 0;
        if what == "get" {
            let answer = session.exchange_until(GET, b"result").await?;
            count = items(&answer);
        } else {
            backend.empty(what == "all removed");
            tell(&system, &giant).await?;
            while count < contacts {
                count += items(&session.exchange("").await?);
            }
        }
        if count != contacts {
            bail!("{what}: {count} contacts, not {contacts}");
        }
        let (time, cpu) = (begin.elapsed(), cpu_time(gateway)? - cpu);
        stop.send_replace(true);
        let (session, longest) = probing.await??;
        probe = Some(session);
        steps.push(Step {
            what,
            contacts,
            cpu,
            time,
            longest,
        });
    }
    Ok(steps)
}

const GET: &str =
    "<iq xmlns='jabber:client' type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>";

fn items(answer: &[u8]) -> usize {
    memchr::memmem::find_iter(answer, b"<item ").count()
}

async fn tell(system: &System, user: &User) -> Result<()> {
    let admin = Endpoint {
        path: "/roster_admin/refresh".to_owned(),
        ..system.endpoint(Style::Lean)
    };
    let mut admin = Connection::new(&admin, "application/json");
    admin.send(&format!("[\"{}\"]", user.name)).await?;
    let answer = admin.answer().await?;
    let answer = String::from_utf8_lossy(&answer);
    if !answer.contains("\"errors\":0") {
        bail!("not refreshed: {answer}");
    }
    Ok(())
}

/// Gets a roster again and again; how long that took at most.
async fn look(mut session: Session, stopped: watch::Receiver<bool>) -> Result<(Session, Duration)> {
    let mut longest = Duration::ZERO;
    loop {
        let begin = Instant::now();
        session.exchange_until(GET, b"result").await?;
        longest = longest.max(begin.elapsed());
        if *stopped.borrow() {
            return Ok((session, longest));
        }
        sleep(PACE).await;
    }
}
