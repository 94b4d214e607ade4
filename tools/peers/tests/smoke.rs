//! The harness still does what it says, with tiny numbers: through rostergate and through Prosody alone.

use std::time::Duration;

use anyhow::{Context as _, Result};
use peers::{
    backend::Backend,
    crowd::{Crowd, Refresh, memory, refresh},
    servers::built_rostergate,
    session::Style::{Held, Lean, Managed, WebSocket},
    several::{self, Effort, Online, Pace, Way, What},
    systems::Kind,
    work::{Plan, Work},
};

const SESSIONS: usize = 4;

fn plan(milliseconds: u64) -> Plan {
    Plan {
        sessions: SESSIONS,
        warm_up: Duration::from_millis(50),
        time: Duration::from_millis(milliseconds),
        pace: None,
    }
}

#[tokio::test]
async fn every_work_gets_done_and_is_counted() -> Result<()> {
    let program = built_rostergate()?;
    let backend = Backend::start()?;
    let mut users = Work::Login(Lean).users(SESSIONS);
    users.extend(Work::Roster(100, Lean).users(SESSIONS));
    for kind in [
        Kind::RostergateProsodyGenerational,
        Kind::ProsodyGenerational,
    ] {
        let system = kind.start(&program, &backend, &users).await?;
        // With the requests that each operation takes, at least and at most.
        for (work, least, most) in [
            (Work::Message(Held), 2.0, 2.0),
            (Work::Message(Lean), 1.0, 1.0),
            (Work::Ping(Held), 1.0, 2.0),
            (Work::Ping(Lean), 1.0, 1.0),
            (Work::Roster(100, Held), 1.0, 2.0),
            (Work::Roster(100, Lean), 1.0, 1.0),
            (Work::Login(Lean), 7.0, 7.0),
            (Work::Message(WebSocket), 1.0, 1.0),
            // With acknowledgements, and requests for them.
            (Work::Message(Managed), 1.0, 2.5),
            (Work::Ping(WebSocket), 1.0, 1.0),
            (Work::Roster(100, WebSocket), 1.0, 1.0),
            (Work::Login(WebSocket), 7.0, 7.0),
            (Work::Resumption, 4.0, 4.0),
            (Work::Repoll, 1.0, 1.0),
        ] {
            if !work.suits(kind) {
                continue;
            }
            // All of the sessions poll at least once.
            let time = if work == Work::Repoll { 1500 } else { 400 };
            let what = format!("{} through {}", work.name(), kind.name());
            let sample = work
                .measure(&system, plan(time))
                .await
                .context(what.clone())?;
            // What is under way at the beginning and at the end counts by half.
            let (least, most) = (least * 0.7, most * 1.3);
            let requests = sample.requests;
            assert!(
                (least..=most).contains(&requests),
                "{what}: {requests} requests"
            );
            let processes = if kind.has_rostergate() { 2 } else { 1 };
            assert_eq!(sample.cpu.len(), processes, "{what}");
            let [median, .., last] = sample.latency;
            assert!(
                Duration::ZERO < median && median <= last,
                "{what}: {sample:?}"
            );
            let takes_time = |cpu: &Duration| *cpu > Duration::ZERO;
            // A roster get does not reach Prosody.
            assert!(takes_time(&sample.cpu[0]), "{what}: {sample:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn websockets_go_through_all_others_as_well() -> Result<()> {
    let program = built_rostergate()?;
    let backend = Backend::start()?;
    let users = Work::Login(WebSocket).users(SESSIONS);
    for (kind, processes) in [
        (Kind::Nginx, 2),
        (Kind::Haproxy, 2),
        (Kind::HyperHop, 2),
        (Kind::RostergateEjabberd, 2),
        (Kind::Ejabberd, 1),
    ] {
        let system = kind.start(&program, &backend, &users).await?;
        for work in [
            Work::Message(WebSocket),
            Work::Message(Managed),
            Work::Resumption,
        ] {
            // On a busy machine ejabberd's own WebSocket refuses resumptions, which is no fault of the harness:
            // "Session state copying timed out".
            if (work, kind) == (Work::Resumption, Kind::Ejabberd) {
                continue;
            }
            let what = format!("{} through {}", work.name(), kind.name());
            let sample = work
                .measure(&system, plan(400))
                .await
                .context(what.clone())?;
            let takes_time = |cpu: &Duration| *cpu > Duration::ZERO;
            let is_used = sample.cpu.iter().all(takes_time);
            assert!(
                sample.cpu.len() == processes && is_used,
                "{what}: {sample:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn contact_lists_are_refreshed_and_pushed_to_a_crowd() -> Result<()> {
    let program = built_rostergate()?;
    let backend = Backend::start()?;
    let users = Work::Login(Lean).users(SESSIONS);
    let kind = Kind::RostergateProsodyGenerational;
    let system = kind.start(&program, &backend, &users).await?;
    for style in [Lean, Managed] {
        let mut crowd = Crowd::new(style);
        let offline = refresh(
            &system,
            &backend,
            &mut crowd,
            Refresh::Offline,
            0..SESSIONS,
            (2, None),
        )
        .await?;
        assert_eq!(offline.cpu.len(), 2);
        let memories = memory(&system, &mut crowd, &[2, SESSIONS], |_| {}).await?;
        assert_eq!(crowd.len(), SESSIONS);
        assert_eq!(
            memories
                .iter()
                .map(|memory| memory.sessions)
                .collect::<Vec<_>>(),
            [2, SESSIONS]
        );
        for case in [Refresh::Unchanged, Refresh::Changed, Refresh::Changed] {
            let sample = refresh(
                &system,
                &backend,
                &mut crowd,
                case,
                0..SESSIONS,
                (2, Some(100.0)),
            )
            .await?;
            let takes_time = sample.cpu[0] > Duration::ZERO;
            assert!(takes_time, "{style:?}, {case:?}: {sample:?}");
        }
        crowd.leave().await?;
    }
    Ok(())
}

#[tokio::test]
async fn gateways_that_are_one_are_measured_beside_one_that_is_alone() -> Result<()> {
    let (program, backend) = (built_rostergate()?, Backend::start()?);
    let effort = Effort {
        rounds: 1,
        time: Duration::from_millis(400),
        sessions: SESSIONS,
        users: 100,
    };
    let several = several::measure(&program, &backend, effort, |_, _| {}).await?;
    for work in [Work::Message(Lean), Work::Ping(Lean)] {
        let what = What::Work(work, Pace::Saturated);
        let messages = |way| several.messages(what, way).map(|messages| messages.median);
        // Each says hello, once a second.
        let own = messages(Way::Own).context("at its own")?;
        assert!(own < 0.5, "{what:?}: {own}");
        // A question and an answer for each; what is under way at the beginning and at the end counts by half.
        let another = messages(Way::Another).context("through another")?;
        assert!((1.4..2.6).contains(&another), "{what:?}: {another}");
        assert!(several.ratio(what, Way::Own).is_some());
        let ratio = several.ratio(what, Way::Another).context("a ratio")?;
        assert!(ratio.median > 1.0, "{what:?}: {ratio}");
    }
    for online in [Online::Nobody, Online::Some] {
        for (batch, requests) in [(1, 1.0), (100, 0.01)] {
            let what = What::Refresh(batch, online);
            assert!(several.ratio(what, Way::Only).is_some(), "{what:?}");
            // A question and an answer for each of the others, and hellos.
            let messages = several.messages(what, Way::Own).context("of three")?;
            let least = 4.0 * requests;
            assert!(
                (least..least + 1.0).contains(&messages.median),
                "{what:?}: {messages}"
            );
            let of_a_user = several.of_a_user(what).context("of three")?;
            assert!(of_a_user.into_iter().all(|micros| micros > 0.0), "{what:?}");
        }
    }
    Ok(())
}
