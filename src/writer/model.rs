//! Model of a site and a server: whatever order fetches, reads and writes come in, when all refreshes have ended, every
//! item is what both lists of its pair allow. Calls with so many names that items are left to others are played only in an
//! order that once left a pair half: in any order, they still can (ARCHITECTURE, §8.1).

use std::{
    collections::{BTreeMap, HashSet},
    iter::{Cycle, once},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
    vec,
};

use http::StatusCode;
use parking_lot::Mutex;
use proptest::{collection::vec, prelude::*};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{error::Asked, *};
use crate::{
    net::http_client::Broken,
    roster::{
        Subscription,
        plan::agreed,
        snapshot::Validators,
        testing::{contact, user},
    },
};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// When it should have ended long ago.
const LIMIT: Duration = Duration::from_secs(120);

/// A list by the names of its contacts.
type List = BTreeMap<String, Subscription>;

/// How long the next things take, milliseconds.
#[derive(Debug)]
struct Delays(Mutex<Cycle<vec::IntoIter<u8>>>);

impl Delays {
    async fn pass(&self) {
        let next = self.0.lock().next().unwrap_or_default();
        // Some take long, most do not.
        sleep(Duration::from_millis(1 + u64::from(next / 2).pow(2) / 16)).await;
    }
}

/// The site's lists.
#[derive(Debug)]
struct Site {
    lists: Arc<Mutex<BTreeMap<String, List>>>,
    delays: Arc<Delays>,
}

impl ContactSource for Site {
    async fn contacts(
        &self,
        user: &Username,
        _known: Option<&Validators>,
    ) -> Result<Fetched, FetchError> {
        self.delays.pass().await;
        let list = self.lists.lock().get(user.as_str()).cloned();
        self.delays.pass().await;
        Ok(Fetched::New {
            contacts: contacts(&list.unwrap_or_default()),
            validators: Validators::default(),
            left_out: LeftOut::default(),
            room: None,
        })
    }

    fn address(&self, _user: &Username) -> Option<String> {
        None
    }
}

fn contacts(list: &List) -> Vec<Contact> {
    let contacts = list.iter().map(|(name, subscription)| {
        let mut contact = contact(&format!("{name}@example.org"));
        contact.subscription = *subscription;
        contact
    });
    contacts.collect()
}

/// The server's lists.
#[derive(Clone, Debug)]
pub(super) struct Played {
    lists: Arc<Mutex<BTreeMap<String, List>>>,
    /// Whose lists cannot be read, and why not.
    faults: Arc<Mutex<BTreeMap<String, WriteError>>>,
    delays: Arc<Delays>,
}

impl Played {
    pub(super) async fn held(&self, user: &Username) -> Result<Held, WriteError> {
        self.delays.pass().await;
        if let Some(error) = self.faults.lock().get(user.as_str()) {
            return Err(error.clone());
        }
        let list = self.lists.lock().get(user.as_str()).cloned();
        self.delays.pass().await;
        let roster = Roster::new(contacts(&list.unwrap_or_default()));
        let written: HashSet<_> = roster.contacts().iter().map(|it| it.jid.clone()).collect();
        Ok(Held {
            roster,
            written,
            ..Held::default()
        })
    }

    pub(super) async fn write(&self, user: &Username, changes: &Changes) {
        let name = |jid: &BareJid| jid.node().expect("a user").to_string();
        self.delays.pass().await;
        {
            let mut lists = self.lists.lock();
            let list = lists.entry(user.as_str().to_owned()).or_default();
            for contact in &changes.writes {
                list.insert(name(&contact.jid), contact.subscription);
            }
            for jid in &changes.removals {
                list.remove(&name(jid));
            }
        }
        self.delays.pass().await;
    }
}

/// What the site does at once: changes on lists, and then calls.
#[derive(Clone, Debug)]
struct Step {
    /// How long it waits before, milliseconds.
    pause: u16,
    /// Whose list, about whom, and what it says then.
    changes: Vec<(usize, usize, Option<Subscription>)>,
    /// Others whom it names, though nothing has changed for them.
    others: Vec<usize>,
    call: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// One for each user.
    Several,
    One,
    /// One with more than ten names.
    Large,
}

fn a_step() -> impl Strategy<Value = Step> {
    let subscription = prop_oneof![
        Just(None),
        (any::<bool>(), any::<bool>()).prop_map(|(to, from)| Some(Subscription::new(to, from))),
        Just(Some(Subscription::Both)),
    ];
    let change = (0..NAMES.len(), 1..NAMES.len(), subscription)
        .prop_map(|(own, by, says)| (own, (own + by) % NAMES.len(), says));
    let others = vec(0..NAMES.len(), 0..2);
    let call = prop_oneof![Just(Kind::Several), Just(Kind::One)];
    (0..400_u16, vec(change, 1..3), others, call).prop_map(|(pause, changes, others, call)| Step {
        pause,
        changes,
        others,
        call,
    })
}

/// The lists of the site and of the server, and who writes those into these.
struct Scene {
    wanted: Arc<Mutex<BTreeMap<String, List>>>,
    server: Played,
    rosters: Arc<ServerRosters<Site>>,
}

fn scene(delays: Vec<u8>) -> Scene {
    let delays = Arc::new(Delays(Mutex::new(delays.into_iter().cycle())));
    let site = Site {
        lists: Arc::default(),
        delays: Arc::clone(&delays),
    };
    let server = Played {
        lists: Arc::default(),
        faults: Arc::default(),
        delays,
    };
    let wanted = Arc::clone(&site.lists);
    let settings = Settings {
        server: Server::Played(server.clone()),
        pace: Pace::new(NonZeroU32::MAX),
        writing: Writing::default(),
    };
    let domain = DomainPart::new("example.org").expect("a domain");
    let metrics = metrics::Domain::default();
    Scene {
        wanted,
        server,
        rosters: ServerRosters::new(site, domain.into_owned(), settings, metrics),
    }
}

async fn play(before: Vec<Step>, steps: Vec<Step>, delays: Vec<u8>) -> Result<(), TestCaseError> {
    let Scene {
        wanted,
        server,
        rosters,
    } = scene(delays);
    let mut under_way = JoinSet::new();
    for (at, step) in before.iter().chain(&steps).enumerate() {
        if at == before.len() {
            while under_way.join_next().await.is_some() {}
        }
        sleep(Duration::from_millis(u64::from(step.pause) / 2)).await;
        let mut names = BTreeSet::new();
        for (own, about, says) in &step.changes {
            let mut lists = wanted.lock();
            let list = lists.entry(NAMES[*own].to_owned()).or_default();
            match says {
                Some(says) => list.insert(NAMES[*about].to_owned(), *says),
                None => list.remove(NAMES[*about]),
            };
            names.insert(NAMES[*own].to_owned());
        }
        // What was asked for until now is no answer to the call.
        sleep(Duration::from_millis(1)).await;
        names.extend(step.others.iter().map(|other| NAMES[*other].to_owned()));
        if matches!(step.call, Kind::Large) {
            names.extend((0..11).map(|number| format!("f{number}")));
        }
        let calls: Vec<Vec<_>> = match step.call {
            Kind::Several => names
                .iter()
                .map(|name| once(user(name)).collect())
                .collect(),
            Kind::One | Kind::Large => vec![names.iter().map(|name| user(name)).collect()],
        };
        for users in calls {
            let call = Call::naming(users.iter().filter_map(|user| rosters.jid(user)));
            for user in users {
                under_way.spawn(rosters.refresh(&user, &call));
            }
        }
    }
    while let Some(done) = under_way.join_next().await {
        prop_assert_eq!(done.expect("it ends"), Ok(()));
    }
    let (wanted, held) = (wanted.lock(), server.lists.lock());
    for own in NAMES {
        for other in NAMES {
            let says = |lists: &BTreeMap<String, List>, own: &str, other: &str| {
                lists.get(own).and_then(|list| list.get(other).copied())
            };
            let ours = says(&wanted, own, other);
            let theirs = says(&wanted, other, own);
            let right = ours.map(|ours| agreed(ours, theirs));
            let said = format!("{own} has {other}; lists: {ours:?}, {theirs:?}");
            prop_assert_eq!(says(&held, own, other), right, "{}", said);
        }
    }
    Ok(())
}

/// Plays it, in no time.
fn run(before: Vec<Step>, steps: Vec<Step>, delays: Vec<u8>) -> Result<(), TestCaseError> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let played = async { timeout(LIMIT, play(before, steps, delays)).await };
    let played = runtime.expect("it starts").block_on(played);
    played.map_err(|_| TestCaseError::fail("it does not end"))?
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pair_ends_as_both_lists_say_whatever_comes_first(
        before in vec(a_step(), 0..3),
        steps in vec(a_step(), 1..6),
        delays in vec(any::<u8>(), 1..120),
    ) {
        run(before, steps, delays)?;
    }
}

/// The contact has been refreshed by another call since a large one has fetched the contact's list.
#[test]
fn an_item_that_was_written_by_a_later_answer_is_not_left_to_the_contact() {
    let (none, both) = (Some(Subscription::None), Some(Subscription::Both));
    let step = |pause, changes: &[_], others: &[usize], call| Step {
        pause,
        changes: changes.to_vec(),
        others: others.to_vec(),
        call,
    };
    let steps = vec![
        step(0, &[(0, 1, none), (1, 2, none)], &[], Kind::One),
        step(26, &[(2, 1, both), (0, 1, none)], &[1], Kind::Large),
        step(264, &[(1, 2, both)], &[], Kind::Several),
    ];
    let mut delays = vec![0, 70, 0, 0, 64, 188, 226, 120, 130, 152, 0, 0, 66];
    delays.resize(35, 0);
    run(Vec::new(), steps, delays).expect("the pair is whole");
}

/// How long somebody's list waits, seconds, while those of others have failed by `error` for ten minutes.
async fn wait_beside(error: &WriteError) -> u32 {
    let scene = scene(vec![0]);
    let refresh = async |name: &str| {
        let call = Call::default();
        scene.rosters.refresh(&user(name), &Arc::new(call)).await
    };
    let fail = |name: &str, error: &WriteError| {
        let mut faults = scene.server.faults.lock();
        faults.insert(name.to_owned(), error.clone());
    };
    for name in ["bad1", "bad2", "bad3"] {
        fail(name, error);
        assert_eq!(refresh(name).await, Err(error.clone()));
    }
    sleep(Duration::from_secs(600)).await;
    // Somebody else's list is written with the second try.
    let list = List::from([("a".to_owned(), Subscription::Both)]);
    scene.wanted.lock().insert("john".to_owned(), list);
    fail("john", &WriteError::Undone { request: "it" });
    refresh("john").await.expect_err("it fails");
    scene.server.faults.lock().remove("john");
    let mut waited = 0;
    while scene.server.lists.lock().get("john").is_none() {
        sleep(Duration::from_secs(1)).await;
        waited += 1;
    }
    waited
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_one_user_holds_up_no_other() {
    let asked = Asked {
        server: "a server",
        request: "a list",
    };
    let broken = |broken| WriteError::Broken { asked, broken };
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    let interface = "such list";
    for (error, holds_up) in [
        (WriteError::Status { asked, status }, false),
        (WriteError::NoInterface { asked, interface }, false),
        (WriteError::NoCommand { request: "it" }, false),
        (broken(Broken::Off), false),
        (broken(Broken::NotHttp), false),
        (broken(Broken::Refused), true),
        (WriteError::Denied { asked, status }, true),
    ] {
        // Where all wait, they do so for up to a minute, of which most may have passed.
        let mut longest = 0;
        for _ in 0..10 {
            longest = longest.max(wait_beside(&error).await);
        }
        assert_eq!(longest > 5, holds_up, "{error}: {longest} s");
    }
}
