//! What grows with the number of users: memory of idle sessions, and refreshes.

use std::time::Duration;

use serde_json::json;

use crate::{
    load::{Result, Session},
    report::Figures,
    support::{backend::Backend, client::Account, gateway::Gateway, prosody::Prosody},
    systems::{contacts, cpu_time, gateway, resident},
};

/// Users that are refreshed by one request.
const BATCH: usize = 100;

/// Bytes of the gateway for each session that only has a poll out, at these numbers of sessions.
pub(crate) async fn idle(numbers: &[usize]) -> Result<Vec<(usize, f64)>> {
    let backend = Backend::start();
    let prosody = Prosody::builder().quiet().start();
    let gateway = gateway(Gateway::builder(&prosody), &backend);
    let account = |number: usize| prosody.account_named(&format!("idle{number}"));
    let mut sessions = Vec::new();
    // Whatever has to be there once is.
    for number in 0..50 {
        let session = Session::log_in(&gateway.bosh(), &account(number), 600).await?;
        session.log_out().await?;
    }
    let before = resident(gateway.pid())?;
    let mut found = Vec::new();
    'grow: for number in numbers {
        while sessions.len() < *number {
            let account = account(sessions.len());
            let session = Session::log_in(&gateway.bosh(), &account, 600).await;
            // What has been found so far is true all the same.
            let mut session = match session {
                Ok(session) => session,
                Err(error) => {
                    let (done, log) = (sessions.len(), gateway.log());
                    println!("no more than {done} sessions: {error}\n{log}");
                    break 'grow;
                }
            };
            session.send("", "").await?;
            sessions.push(session);
        }
        let grown = resident(gateway.pid())?.saturating_sub(before);
        found.push((*number, grown as f64 / *number as f64));
    }
    Ok(found)
}

/// CPU time of the gateway for each user of a refresh, microseconds.
#[derive(Default)]
pub(crate) struct Refreshes {
    pub(crate) offline: Figures,
    pub(crate) unchanged: Figures,
    pub(crate) changed: Figures,
}

/// Refreshes so many users, who are offline, then online, in this many rounds.
pub(crate) async fn refreshes(users: usize, rounds: usize) -> Result<Refreshes> {
    let backend = Backend::start();
    let prosody = Prosody::builder().quiet().start();
    let gateway = gateway(Gateway::builder(&prosody), &backend);
    let accounts: Vec<Account> = (0..users)
        .map(|number| prosody.account_named(&format!("user{number}")))
        .collect();
    let mut refreshes = Refreshes::default();
    let set_all = |name: &str| {
        for account in &accounts {
            backend.set(&account.local, contacts(10, name));
        }
    };
    set_all("");
    let post = async |accounts: &[Account]| -> Result<()> {
        let names: Vec<_> = accounts.iter().map(|account| &account.local).collect();
        let refresh = gateway.admin().at("/roster_admin/refresh");
        let answer = refresh
            .request("POST", &[], &json!(names).to_string())
            .await;
        match answer.status() {
            200 => Ok(()),
            _ => Err(answer.text().to_owned().into()),
        }
    };
    let cost = |before: Duration| -> Result<f64> {
        let spent = cpu_time(gateway.pid())? - before;
        Ok(spent.as_secs_f64() * 1e6)
    };

    // So little that it has to be done often to be seen.
    const OFTEN: usize = 200;
    for _ in 0..rounds {
        let before = cpu_time(gateway.pid())?;
        for _ in 0..OFTEN {
            for batch in accounts.chunks(BATCH) {
                post(batch).await?;
            }
        }
        refreshes
            .offline
            .push(cost(before)? / (users * OFTEN) as f64);
    }

    let mut sessions = Vec::new();
    for account in &accounts {
        let mut session = Session::log_in(&gateway.bosh(), account, 600).await?;
        let get =
            "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";
        session.ask_until("", get, "jabber:iq:roster").await?;
        let presence = "<presence xmlns='jabber:client'/>";
        session.ask_until("", presence, "<presence").await?;
        session.send("", "").await?;
        sessions.push(session);
    }
    for round in 0..rounds {
        let before = cpu_time(gateway.pid())?;
        for _ in 0..4 {
            for batch in accounts.chunks(BATCH) {
                post(batch).await?;
            }
        }
        refreshes.unchanged.push(cost(before)? / (users * 4) as f64);

        let mut spent = 0.0;
        for turn in 0..4 {
            set_all(&format!("name {round} {turn}"));
            let before = cpu_time(gateway.pid())?;
            for (accounts, sessions) in accounts.chunks(BATCH).zip(sessions.chunks_mut(BATCH)) {
                post(accounts).await?;
                for session in sessions {
                    session.hear("type='set'").await?;
                    session.send("", "").await?;
                }
            }
            spent += cost(before)?;
        }
        refreshes.changed.push(spent / (users * 4) as f64);
    }
    Ok(refreshes)
}
