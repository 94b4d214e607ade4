//! Bad lines: every message arrives once and in order while both ends live.
//!
//! `FAULTS_SEED` repeats a run as far as the clock allows.

use std::{env, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use support::{
    bosh::Bosh,
    gateway::{Gateway, Server as _},
    http::Endpoint,
    prosody::Prosody,
    relay::{Fault, Relay},
    resilient::{Mischief, Resilient},
};

const CLIENTS: usize = 8;
const MESSAGES: usize = 100;
/// Longest time for all of it, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// Shown where the test fails.
fn seed() -> u64 {
    let seed = env::var("FAULTS_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("FAULTS_SEED is a number"),
    );
    eprintln!("FAULTS_SEED={seed}");
    seed
}

/// Everybody writes to the next one; the requests go to `endpoint`.
async fn chat(prosody: &Prosody, gateway: &Gateway, endpoint: &Endpoint, seed: u64) -> Mischief {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut sessions = Vec::new();
    for number in 0..CLIENTS {
        let account = prosody.account("john");
        let acknowledges = number % 2 == 0;
        let attributes: &[_] = if acknowledges { &[("ack", "1")] } else { &[] };
        let mut session = Bosh::log_in_with(&gateway.bosh(), &account, "web", attributes).await;
        session.endpoint = endpoint.clone();
        let jid = format!("{}/web", account.jid());
        sessions.push((jid, Resilient::new(session, acknowledges, dice.u64(..))));
    }
    let jids: Vec<_> = sessions.iter().map(|(jid, _)| jid.clone()).collect();
    let (done, _) = watch::channel(0);
    let mut clients = JoinSet::new();
    for (number, (_, client)) in sessions.into_iter().enumerate() {
        // In pairs: 0 and 1, 2 and 3.
        let partner = number ^ 1;
        let to = jids[partner].clone();
        let texts: Vec<_> = (0..MESSAGES).map(|n| format!("{number}: {n}")).collect();
        let expected: Vec<_> = (0..MESSAGES).map(|n| format!("{partner}: {n}")).collect();
        let done = done.clone();
        clients.spawn(async move {
            let (heard, mischief) = client.chat(&to, texts, done, CLIENTS).await;
            assert_eq!(heard, expected, "all, once, in order");
            mischief
        });
    }
    let all = tokio::time::timeout(PATIENCE, clients.join_all()).await;
    let all = all.expect("everybody hears everything in time");
    all.iter()
        .fold(Mischief::default(), |sum, mischief| Mischief {
            swapped: sum.swapped + mischief.swapped,
            doubled: sum.doubled + mischief.doubled,
            repeated: sum.repeated + mischief.repeated,
        })
}

#[tokio::test]
async fn between_clients_and_gateway() {
    let seed = seed();
    let prosody = Prosody::shared();
    let gateway = Gateway::builder(prosody).bosh("wait = \"2s\"").start();
    let relay = Relay::start(gateway.bosh().address, &Fault::ALL, seed).await;
    relay.set_bad(2);
    let endpoint = Endpoint::new(relay.address, &gateway.bosh().path);
    let mischief = chat(prosody, &gateway, &endpoint, seed).await;
    for fault in Fault::ALL {
        assert!(relay.count(fault) > 0, "{fault:?} happened");
    }
    let Mischief {
        swapped,
        doubled,
        repeated,
    } = mischief;
    assert!(swapped > 0 && doubled > 0 && repeated > 0, "{mischief:?}");
}

#[tokio::test]
async fn between_gateway_and_server() {
    let seed = seed();
    let prosody = Prosody::shared();
    // A stream cannot be cut without ending the session.
    let faults = [Fault::Late, Fault::Slow];
    let relay = Relay::start(prosody.place().c2s, &faults, seed).await;
    let upstream = format!("xmpp://{}", relay.address);
    let gateway = Gateway::builder(prosody).upstream(&upstream).start();
    relay.set_bad(2);
    chat(prosody, &gateway, &gateway.bosh(), seed).await;
    for fault in faults {
        assert!(relay.count(fault) > 0, "{fault:?} happened");
    }
}
