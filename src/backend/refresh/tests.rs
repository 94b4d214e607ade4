use std::{
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    task::Poll,
    time::Duration,
};

use http::HeaderValue;
use proptest::prelude::*;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    backend::{Fetched, testing::user},
    roster::{left_out::LeftOut, snapshot::Validators, testing::contact},
};

const JOHN: &str = "john";

/// A backend in memory. Its rosters have one contact whose name is the version. An answer is as
/// old as it can be: it tells what was true when the fetch began.
#[derive(Clone, Default)]
struct Backend(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u32,
    delay: Duration,
    fails: bool,
    panics: bool,
    /// Which version each fetch was conditional on.
    fetches: Vec<Option<u32>>,
    under_way: usize,
    most_under_way: usize,
}

impl Backend {
    fn set(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.0.lock());
    }

    fn fetches(&self) -> usize {
        self.0.lock().fetches.len()
    }
}

impl ContactSource for Backend {
    async fn contacts(
        &self,
        _: &Username,
        known: Option<&Validators>,
    ) -> Result<Fetched, FetchError> {
        let etag = known.and_then(|known| known.etag.as_ref());
        let known = etag.map(|etag| etag.to_str().unwrap().parse::<u32>().unwrap());
        let (version, delay, fails) = {
            let mut state = self.0.lock();
            state.fetches.push(known);
            state.under_way += 1;
            state.most_under_way = state.most_under_way.max(state.under_way);
            assert!(!state.panics, "told to panic");
            (state.version, state.delay, state.fails)
        };
        sleep(delay).await;
        self.0.lock().under_way -= 1;
        if fails {
            return Err(FetchError::Refused);
        }
        if known == Some(version) {
            return Ok(Fetched::Unchanged);
        }
        let mut contact = contact("marie@example.org");
        contact.name = Some(version.to_string());
        Ok(Fetched::New {
            contacts: vec![contact],
            validators: Validators {
                source: 1,
                etag: Some(HeaderValue::from(version)),
                last_modified: None,
                digest: None,
            },
            left_out: LeftOut::default(),
            room: None,
        })
    }

    fn address(&self, _: &Username) -> Option<String> {
        None
    }
}

fn version(roster: &Roster) -> u32 {
    let name = roster.get("marie@example.org").unwrap().name.as_ref();
    name.unwrap().parse().unwrap()
}

fn host() -> (Backend, Arc<Rosters<Backend>>) {
    let backend = Backend::default();
    backend.set(|state| state.delay = Duration::from_millis(10));
    let rosters = Rosters::new(backend.clone(), Options::default());
    (backend, rosters)
}

fn login(rosters: &Arc<Rosters<Backend>>) -> (Lease<Backend>, Arc<WakeFlag>) {
    let wake_flag = Arc::new(WakeFlag::default());
    (rosters.join(user(JOHN), Arc::clone(&wake_flag)), wake_flag)
}

fn refresh(rosters: &Arc<Rosters<Backend>>) -> JoinHandle<Result<(), FetchError>> {
    let rosters = Arc::clone(rosters);
    tokio::spawn(async move { rosters.refresh(&user(JOHN)).await })
}

async fn woken(wake_flag: &WakeFlag) -> bool {
    poll_fn(|cx| Poll::Ready(wake_flag.poll(cx).is_ready())).await
}

/// Lets all that can happen without time happen.
async fn settle() {
    sleep(Duration::from_nanos(1)).await;
}

#[tokio::test(start_paused = true)]
async fn needs_share_a_fetch_and_later_ones_take_the_snapshot() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    let (other, _) = login(&rosters);
    assert!(lease.current().is_none());
    let (one, two) = tokio::join!(lease.need(), other.need());
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
    let (third, _) = login(&rosters);
    assert!(third.current().is_some());
    third.need().await.unwrap();
    assert_eq!(backend.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn users_who_are_offline_are_not_fetched() {
    let (backend, rosters) = host();
    rosters.refresh(&user(JOHN)).await.unwrap();
    let (lease, _) = login(&rosters);
    drop(lease);
    rosters.refresh(&user(JOHN)).await.unwrap();
    assert_eq!(backend.fetches(), 0);
    assert!(rosters.users(&user(JOHN)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn refreshes_during_a_fetch_share_the_one_that_follows() {
    let (backend, rosters) = host();
    let (lease, wake_flag) = login(&rosters);
    let need = tokio::spawn(lease.need());
    settle().await;
    backend.set(|state| state.version = 1);
    let refreshes: Vec<_> = (0..10).map(|_| refresh(&rosters)).collect();
    settle().await;
    assert_eq!(backend.fetches(), 1);
    for done in refreshes {
        done.await.unwrap().unwrap();
        assert_eq!(version(&lease.current().unwrap()), 1);
    }
    need.await.unwrap().unwrap();
    assert_eq!(backend.fetches(), 2);
    assert!(woken(&wake_flag).await);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_has_not_begun_answers_every_notification() {
    let (backend, rosters) = host();
    let (_lease, _) = login(&rosters);
    let john = user(JOHN);
    let (one, two) = tokio::join!(rosters.refresh(&john), rosters.refresh(&john));
    one.and(two).unwrap();
    assert_eq!(backend.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_changes_nothing_and_wakes_nobody() {
    let (backend, rosters) = host();
    let (lease, wake_flag) = login(&rosters);
    let before = lease.need().await.unwrap();
    assert!(woken(&wake_flag).await);
    backend.set(|state| (state.version, state.fails) = (1, true));
    assert_eq!(rosters.refresh(&user(JOHN)).await, Err(FetchError::Refused));
    assert!(Arc::ptr_eq(&before, &lease.current().unwrap()));
    assert!(!woken(&wake_flag).await);
}

#[tokio::test(start_paused = true)]
async fn every_session_is_woken_by_a_change_and_none_without_one() {
    let (backend, rosters) = host();
    let ((first, one), (_second, two)) = (login(&rosters), login(&rosters));
    let before = first.need().await.unwrap();
    assert!(woken(&one).await && woken(&two).await);
    rosters.refresh(&user(JOHN)).await.unwrap();
    assert!(!woken(&one).await && !woken(&two).await, "not modified");
    backend.set(|state| state.version = 1);
    rosters.refresh(&user(JOHN)).await.unwrap();
    assert!(woken(&one).await && woken(&two).await);
    assert_eq!(version(&first.current().unwrap()), 1);
    assert_eq!(version(&before), 0);
    assert_eq!(backend.0.lock().fetches, [None, Some(0), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_fallback_a_need_fails_and_the_next_one_tries_again() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    backend.set(|state| state.fails = true);
    assert_eq!(lease.need().await.unwrap_err(), FetchError::Refused);
    assert!(lease.current().is_none());
    backend.set(|state| state.fails = false);
    lease.need().await.unwrap();
    assert!(lease.current().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_restarts_while_the_client_waits_is_not_noticed() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    let lease = Arc::new(lease);
    backend.set(|state| state.fails = true);
    let need = tokio::spawn(Arc::clone(&lease).need_patiently());
    sleep(Duration::from_secs(3)).await;
    assert_eq!(backend.fetches(), 3, "at once, after 0.5 s and after 1.5 s");
    backend.set(|state| state.fails = false);
    let began = Instant::now();
    need.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    backend.set(|state| state.fails = true);
    let began = Instant::now();
    let outcome = Arc::new(lease).need_patiently().await;
    assert_eq!(outcome.unwrap_err(), FetchError::Refused);
    assert_eq!(backend.fetches(), 5);
    assert!(began.elapsed() <= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_has_failed_is_tried_again_for_as_long_as_the_user_is_there() {
    let (backend, rosters) = host();
    let (lease, wake_flag) = login(&rosters);
    let lease = Arc::new(lease);
    backend.set(|state| state.fails = true);
    let need = tokio::spawn(Arc::clone(&lease).need_at_last());
    sleep(Duration::from_secs(24 * 3600)).await;
    // Each 30 to 60 s in the end.
    let fetches = backend.fetches();
    assert!((24 * 60..24 * 122).contains(&fetches), "{fetches}");
    backend.set(|state| state.fails = false);
    let roster = need.await.unwrap();
    assert!(Arc::ptr_eq(&roster, &lease.current().unwrap()));
    assert!(woken(&wake_flag).await);

    drop(lease);
    backend.set(|state| state.fails = true);
    let (lease, _) = login(&rosters);
    let lease = Arc::new(lease);
    assert_eq!(
        version(&lease.need().await.unwrap()),
        0,
        "the one of the last login"
    );
    backend.set(|state| state.version = 1);
    let need = tokio::spawn(Arc::clone(&lease).need_at_last());
    sleep(Duration::from_secs(10)).await;
    backend.set(|state| state.fails = false);
    rosters.refresh(&user(JOHN)).await.unwrap();
    assert_eq!(
        version(&lease.current().unwrap()),
        1,
        "a notification need not wait"
    );
    assert_eq!(version(&need.await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn the_roster_of_the_last_login_is_a_fallback_only() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    lease.need().await.unwrap();
    drop(lease);
    let (lease, wake_flag) = login(&rosters);
    assert!(lease.current().is_none());
    backend.set(|state| (state.version, state.fails) = (1, true));
    assert_eq!(version(&lease.need().await.unwrap()), 0);
    assert!(lease.current().is_none(), "still not fresh");
    backend.set(|state| state.fails = false);
    assert_eq!(version(&lease.need().await.unwrap()), 1);
    assert!(woken(&wake_flag).await);
    assert_eq!(backend.0.lock().fetches, [None, Some(0), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn logging_out_during_a_refresh_is_no_error() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    backend.set(|state| state.fails = true);
    let first = refresh(&rosters);
    settle().await;
    let second = refresh(&rosters);
    settle().await;
    drop(lease);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(
        backend.fetches(),
        1,
        "nobody is there for whom to fetch again"
    );
    assert!(rosters.users(&user(JOHN)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_notification_between_two_logins_is_heeded() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    let need = tokio::spawn(lease.need());
    settle().await;
    drop(lease);
    backend.set(|state| state.version = 1);
    rosters.refresh(&user(JOHN)).await.unwrap();
    let (lease, _) = login(&rosters);
    settle().await;
    assert_eq!(
        backend.fetches(),
        1,
        "the fetch from before is still under way"
    );
    assert_eq!(version(&lease.need().await.unwrap()), 1);
    assert_eq!(version(&lease.current().unwrap()), 1);
    need.await.unwrap().unwrap();
    assert_eq!(backend.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_roster_fetched_for_an_ended_login_is_not_current_for_the_next() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    let need = tokio::spawn(lease.need());
    settle().await;
    drop(lease);
    need.await.unwrap().unwrap();
    let (lease, _) = login(&rosters);
    assert!(
        lease.current().is_none(),
        "nobody would have heeded a notification"
    );

    let need = tokio::spawn(lease.need());
    settle().await;
    drop(lease);
    backend.set(|state| state.version = 1);
    rosters.refresh(&user(JOHN)).await.unwrap();
    let (lease, _) = login(&rosters);
    need.await.unwrap().unwrap();
    assert!(lease.current().is_none(), "a notification was not heeded");
    assert_eq!(version(&lease.need().await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_was_answered_holds_though_the_next_one_fails() {
    let (backend, rosters) = host();
    let (lease, wake_flag) = login(&rosters);
    let good = refresh(&rosters);
    settle().await;
    backend.set(|state| state.fails = true);
    let bad = refresh(&rosters);
    good.await.unwrap().unwrap();
    assert!(woken(&wake_flag).await && lease.current().is_some());
    assert_eq!(bad.await.unwrap(), Err(FetchError::Refused));
    assert!(lease.current().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_quick_relogin_shares_the_fetch_under_way() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    let need = tokio::spawn(lease.need());
    settle().await;
    drop(lease);
    let (lease, _) = login(&rosters);
    lease.need().await.unwrap();
    need.await.unwrap().unwrap();
    assert!(lease.current().is_some());
    assert_eq!(backend.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_cancel_the_fetch_of_others() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    let impatient = refresh(&rosters);
    let need = tokio::spawn(lease.need());
    settle().await;
    impatient.abort();
    need.await.unwrap().unwrap();
    assert_eq!(backend.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_leaves_nobody_waiting() {
    let (backend, rosters) = host();
    let (lease, _) = login(&rosters);
    backend.set(|state| state.panics = true);
    assert_eq!(lease.need().await.unwrap_err(), FetchError::Abandoned);
    backend.set(|state| state.panics = false);
    lease.need().await.unwrap();
}

/// What may happen to one user, in any order.
#[derive(Clone, Debug)]
enum Op {
    Login,
    Logout(usize),
    Need(usize),
    Refresh,
    /// The roster changes, and the backend says so.
    Change,
    Delay(u64),
    Fails(bool),
    Sleep(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Login),
        3 => any::<usize>().prop_map(Op::Logout),
        5 => any::<usize>().prop_map(Op::Need),
        4 => Just(Op::Refresh),
        4 => Just(Op::Change),
        2 => (0_u64..20).prop_map(Op::Delay),
        1 => any::<bool>().prop_map(Op::Fails),
        8 => (0_u64..12).prop_map(Op::Sleep),
    ]
}

/// A session as the gateway has it: it delivers what it needs, then follows its wake_flag.
struct Session {
    lease: Arc<Lease<Backend>>,
    delivered: Arc<AtomicU32>,
    follower: JoinHandle<()>,
}

const NOTHING: u32 = u32::MAX;

impl Session {
    fn new(rosters: &Arc<Rosters<Backend>>) -> Self {
        let (lease, wake_flag) = login(rosters);
        let (lease, delivered) = (Arc::new(lease), Arc::new(AtomicU32::new(NOTHING)));
        let follower = tokio::spawn({
            let (lease, delivered) = (Arc::downgrade(&lease), Arc::clone(&delivered));
            async move {
                loop {
                    poll_fn(|cx| wake_flag.poll(cx)).await;
                    let Some(lease) = lease.upgrade() else {
                        return;
                    };
                    if let Some(roster) = lease.current() {
                        deliver(&delivered, version(&roster));
                    }
                }
            }
        });
        Self {
            lease,
            delivered,
            follower,
        }
    }
}

fn deliver(delivered: &AtomicU32, version: u32) {
    let before = delivered.swap(version, Ordering::Relaxed);
    assert!(
        before == NOTHING || before <= version,
        "{version} after {before}"
    );
}

/// Runs the operations and checks what must hold in every order.
async fn model(ops: Vec<Op>) {
    let (backend, rosters) = host();
    let mut sessions: Vec<Session> = Vec::new();
    let mut waiting = Vec::new();
    let mut asked = 0;
    // What the user must have from the next login on, since a notification was taken as heeded.
    let mut owed = 0;
    // Turns true when the user goes offline: then no answer is owed any more.
    let mut gone = Arc::new(AtomicBool::new(true));
    for op in ops {
        match op {
            Op::Login => {
                if sessions.is_empty() {
                    gone = Arc::default();
                }
                sessions.push(Session::new(&rosters));
            }
            Op::Logout(at) if !sessions.is_empty() => {
                let session = sessions.swap_remove(at % sessions.len());
                session.follower.abort();
                drop(session.lease);
                gone.store(sessions.is_empty(), Ordering::Relaxed);
            }
            Op::Need(at) if !sessions.is_empty() => {
                let session = &sessions[at % sessions.len()];
                asked += usize::from(session.lease.current().is_none());
                let (need, delivered) = (session.lease.need(), Arc::clone(&session.delivered));
                waiting.push(tokio::spawn(async move {
                    if let Ok(roster) = need.await {
                        deliver(&delivered, version(&roster));
                    }
                }));
            }
            Op::Refresh | Op::Change => {
                if matches!(op, Op::Change) {
                    backend.set(|state| state.version += 1);
                }
                asked += usize::from(!sessions.is_empty());
                let (backend, gone) = (backend.clone(), Arc::clone(&gone));
                let (rosters, before) = (Arc::clone(&rosters), backend.fetches());
                let notified = backend.0.lock().version;
                // Called now: what it is owed does not depend on when its task is first run.
                let ticket = rosters.notify(&user(JOHN));
                assert_eq!(ticket.is_some(), !sessions.is_empty());
                if ticket.is_none() {
                    owed = notified;
                }
                waiting.push(tokio::spawn(async move {
                    let Some(ticket) = ticket else { return };
                    let done = ticket.outcome().await;
                    if gone.load(Ordering::Relaxed) {
                        return;
                    }
                    assert!(backend.fetches() > before, "a fetch began after the call");
                    if done.is_ok() {
                        let published = rosters.fresh(&user(JOHN)).expect("published");
                        assert!(version(&published) >= notified);
                    }
                }));
            }
            Op::Delay(ms) => backend.set(|state| state.delay = Duration::from_millis(ms)),
            Op::Fails(fails) => backend.set(|state| state.fails = fails),
            Op::Sleep(ms) => sleep(Duration::from_millis(ms)).await,
            Op::Logout(_) | Op::Need(_) => {}
        }
        if let Some(fresh) = rosters.fresh(&user(JOHN)) {
            assert!(version(&fresh) >= owed && !sessions.is_empty());
        }
    }
    // Everybody is answered.
    for task in waiting {
        task.await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    // What is needed without a notification is right as well.
    backend.set(|state| state.fails = false);
    for session in &sessions {
        asked += usize::from(session.lease.current().is_none());
        deliver(
            &session.delivered,
            version(&session.lease.need().await.unwrap()),
        );
    }
    asked += usize::from(!sessions.is_empty());
    rosters.refresh(&user(JOHN)).await.unwrap();
    settle().await;
    let newest = backend.0.lock().version;
    for session in &sessions {
        assert_eq!(session.delivered.load(Ordering::Relaxed), newest);
        assert!(!session.follower.is_finished());
    }
    assert!(backend.0.lock().most_under_way <= 1);
    assert!(
        backend.fetches() <= asked,
        "{} of {asked}",
        backend.fetches()
    );
    drop(sessions);
    assert!(rosters.users(&user(JOHN)).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn no_order_of_events_loses_or_reverts_a_change(ops in prop::collection::vec(op(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(model(ops));
    }
}

fn put(rosters: &Arc<Rosters<Backend>>, version: u32) -> JoinHandle<Result<(), FetchError>> {
    put_as_of(rosters, version, rosters.time_of(&user(JOHN)))
}

fn put_as_of(
    rosters: &Arc<Rosters<Backend>>,
    version: u32,
    as_of: Duration,
) -> JoinHandle<Result<(), FetchError>> {
    let rosters = Arc::clone(rosters);
    let mut contact = contact("marie@example.org");
    contact.name = Some(version.to_string());
    tokio::spawn(async move {
        let list = vec![contact];
        let left_out = LeftOut::default();
        rosters.put(&user(JOHN), list, left_out, as_of).await
    })
}

/// The time is that of the gateway which the site has called.
#[tokio::test(start_paused = true)]
async fn the_times_of_lists_that_are_put_are_compared_with_each_other_only() {
    let (_, rosters) = host();
    let (lease, wake_flag) = login(&rosters);
    lease.need().await.unwrap();
    let long_ago = Duration::from_secs(1);
    put_as_of(&rosters, 7, long_ago).await.unwrap().unwrap();
    assert!(woken(&wake_flag).await);
    assert_eq!(version(&lease.current().unwrap()), 7);
    refresh(&rosters).await.unwrap().unwrap();
    put_as_of(&rosters, 8, long_ago).await.unwrap().unwrap();
    assert_eq!(version(&lease.current().unwrap()), 8);
    // One that is late stays behind, also after a fetch.
    let later = 2 * long_ago;
    put_as_of(&rosters, 9, later).await.unwrap().unwrap();
    put_as_of(&rosters, 10, long_ago).await.unwrap().unwrap();
    assert_eq!(version(&lease.current().unwrap()), 9);
    refresh(&rosters).await.unwrap().unwrap();
    put_as_of(&rosters, 11, long_ago).await.unwrap().unwrap();
    assert_eq!(version(&lease.current().unwrap()), 0);
    // Whoever is called now knows of all of them.
    assert!(rosters.time_of(&user(JOHN)) > later);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_put_counts_until_a_fetch_begins() {
    let (backend, rosters) = host();
    let (lease, wake_flag) = login(&rosters);
    let needed = lease.need();
    settle().await;
    put(&rosters, 7).await.unwrap().unwrap();
    assert!(woken(&wake_flag).await);
    assert_eq!(version(&lease.current().unwrap()), 7);
    // The answer to the fetch that had begun is older.
    assert_eq!(version(&needed.await.unwrap()), 7);
    assert_eq!(version(&lease.current().unwrap()), 7);
    refresh(&rosters).await.unwrap().unwrap();
    assert_eq!(version(&lease.current().unwrap()), 0);
    assert_eq!(
        backend.0.lock().fetches,
        [None, None],
        "nothing to be conditional on"
    );

    // Offline, it is for when the next fetch fails.
    drop(lease);
    put(&rosters, 8).await.unwrap().unwrap();
    backend.set(|state| state.fails = true);
    let (lease, _) = login(&rosters);
    assert!(lease.current().is_none());
    assert_eq!(version(&lease.need().await.unwrap()), 8);
    assert!(lease.current().is_none(), "the next need asks again");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_put_during_a_login_is_taken_as_the_answer() {
    let (_, rosters) = host();
    let (first, _) = login(&rosters);
    drop(first.need());
    settle().await;
    drop(first);
    // The fetch goes on; nobody is there.
    put(&rosters, 7).await.unwrap().unwrap();
    let (lease, _) = login(&rosters);
    assert_eq!(version(&lease.need().await.unwrap()), 7);
    assert_eq!(version(&lease.current().unwrap()), 7);
}
