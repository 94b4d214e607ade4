//! Registry of live sessions, by sid, and of what they share. It must not know what a session does.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::info;

use super::{
    Accounts, Backlog, Command, Counts, Entry, Errand, Mailbox, Record, Resumption, ShutOut, Sid,
    Sleeper, SmId, Wish,
    resumption::{Named, Resumable},
};
use crate::{
    clock::now,
    metrics::{Metrics, Minute},
    net::{
        quota::{Permit, Quota},
        refusals::Refusals,
        unfinished::Unfinished,
    },
    proto::stream::error::stream_error,
};

/// How long a session may take to end whose client has come to another gateway.
const ENDING: Duration = Duration::from_secs(3);

/// Independent locks, so that sessions rarely wait for each other.
const SHARDS: usize = 64;

/// Where the session of a sid is.
#[derive(Debug)]
pub enum Found<'a> {
    /// In this gateway.
    Here(Entry),
    /// In the gateway of this name, if there is one, and if it has such a session.
    There(&'a str),
    /// There is none.
    Nowhere,
}

/// All live sessions, by sid. Locks are held for a map operation and never across an await.
#[derive(Debug)]
pub struct Registry {
    shards: Vec<Mutex<HashMap<Sid, Entry>>>,
    hasher: RandomState,
    sessions: AtomicUsize,
    numbers: AtomicU64,
    emptied: Notify,
    is_closed: AtomicBool,
    /// Whether another gateway of the cluster has the name of this one: it would get the requests for sessions of this one.
    has_namesake: AtomicBool,
    /// The name of this gateway, where it is one of several.
    pub node: Option<Arc<str>>,
    /// The way to those who run errands to the others.
    pub errands: OnceLock<mpsc::Sender<Errand>>,
    /// What is counted of them, and of all else.
    pub metrics: Arc<Metrics>,
    /// What is pending for their clients.
    pub backlog: Backlog,
    /// Sessions by the addresses of their clients.
    pub by_address: Arc<Quota<IpAddr>>,
    /// Bound sessions by account (`Host::account`).
    pub by_user: Arc<Quota<String>>,
    /// Which sessions are of one account.
    pub accounts: Arc<Accounts>,
    /// The sessions that can be resumed.
    pub resumption: Arc<Resumption>,
    /// Accounts whose sessions the site has just ended.
    pub shut_out: ShutOut,
    /// Who is refused access is logged by this.
    pub refusals: Refusals,
    /// What has come of requests and messages that are not complete.
    pub unfinished: Arc<Unfinished>,
}

/// The gateway is going down: there will be no more sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no more sessions are admitted")]
pub struct Closed;

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            sessions: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
            emptied: Notify::new(),
            is_closed: AtomicBool::new(false),
            has_namesake: AtomicBool::new(false),
            node: None,
            errands: OnceLock::new(),
            metrics: Arc::default(),
            backlog: Backlog::default(),
            by_address: Arc::default(),
            by_user: Arc::default(),
            accounts: Arc::default(),
            resumption: Arc::default(),
            shut_out: ShutOut::default(),
            refusals: Refusals::default(),
            unfinished: Arc::default(),
        }
    }
}

impl Registry {
    /// Adds a session, for as long as the result lives.
    pub fn register(self: &Arc<Self>, sid: Sid, entry: Entry) -> Result<Registration, Closed> {
        let mut shard = self.shard(sid.expose()).lock();
        if self.is_closed() {
            return Err(Closed);
        }
        shard.insert(sid.clone(), entry);
        self.sessions.fetch_add(1, Ordering::Relaxed);
        drop(shard);
        Ok(Registration {
            registry: Arc::clone(self),
            sid,
            pending: 0,
        })
    }

    /// A session of this gateway.
    pub fn find(&self, sid: &str) -> Option<Entry> {
        self.shard(sid).lock().get(sid).cloned()
    }

    /// Where the session of `sid` is.
    pub fn locate<'a>(&self, sid: &'a str) -> Found<'a> {
        if let Some(entry) = self.find(sid) {
            return Found::Here(entry);
        }
        let own = self.node.as_deref();
        let node = own.and_then(|_| Sid::node_of(sid));
        match node.filter(|node| Some(*node) != own) {
            Some(node) => Found::There(node),
            None => Found::Nowhere,
        }
    }

    /// What an SM-ID names that a client has shown to another gateway. If that knows whose client it is, and the session
    /// is theirs, the session ends, so that the server has what it had not confirmed for the client's next session. In
    /// that case this waits for a while until it has ended.
    pub async fn end_sleeping(&self, wish: Wish) -> Sleeper {
        let named = self.resumption.find(&wish.previd, now());
        let (entry, account) = match named {
            Named::Session(entry, account) => (entry, account),
            Named::Ended(ended) => return Sleeper::Ended(ended.taken(wish.h)),
            Named::Nothing => return Sleeper::Nothing,
        };
        if entry.secure && !wish.secure {
            return Sleeper::Insecure;
        }
        let session = || {
            let jid = entry.record.jid().unwrap_or_default();
            let resource = jid.split_once('/').map_or("", |(_, resource)| resource);
            Sleeper::Session {
                resource: resource.to_owned(),
            }
        };
        match wish.account {
            None => return session(),
            Some(claimed) if *claimed != *account => return Sleeper::Strangers,
            Some(_) => {}
        }
        let error = stream_error("conflict", "the client goes on by another gateway");
        let ended = async {
            // A session whose mailbox is closed has ended by itself.
            let _ = entry
                .mailbox
                .send(Box::new(Command::End(error.clone())))
                .await;
            entry.mailbox.closed().await;
        };
        // It may linger, for messages that other sessions of the account take over here.
        let _ = timeout(ENDING, ended).await;
        match self.resumption.find(&wish.previd, now()) {
            Named::Ended(ended) => Sleeper::Ended(ended.taken(wish.h)),
            Named::Session(..) => session(),
            Named::Nothing => Sleeper::Nothing,
        }
    }

    /// The last hour up to `now`, as [`Metrics::last_hour`] has it.
    pub fn last_hour(&self, now: tokio::time::Instant) -> Vec<Minute> {
        self.metrics.last_hour(now, self.counts().total())
    }

    /// The number of the next session.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The records of all sessions, a part of them at a time and in no order. A lock is held while the pointers of a
    /// part are copied, and not while the caller reads the records.
    pub fn records(&self) -> impl Iterator<Item = Vec<Arc<Record>>> {
        self.shards.iter().map(|shard| {
            let shard = shard.lock();
            let records = shard.values().map(|entry| Arc::clone(&entry.record));
            records.collect()
        })
    }

    /// The ways to the sessions that `is_wanted` accepts. A lock is held while the sessions of a part are looked at.
    pub fn mailboxes(&self, is_wanted: impl Fn(&Record) -> bool) -> Vec<Mailbox> {
        let shards = self.shards.iter();
        let mailboxes = shards.flat_map(|shard| {
            let shard = shard.lock();
            let wanted = shard.values().filter(|entry| is_wanted(&entry.record));
            let mailboxes = wanted.map(|entry| entry.mailbox.clone());
            mailboxes.collect::<Vec<_>>()
        });
        mailboxes.collect()
    }

    /// How many sessions there are, by front and state.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for record in self.records().flatten() {
            counts.count(&record);
        }
        counts
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// True if there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more sessions are admitted.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed) || self.has_namesake()
    }

    /// Whether that is so because another gateway of the cluster has the name of this one.
    pub fn has_namesake(&self) -> bool {
        self.has_namesake.load(Ordering::Relaxed)
    }

    /// Another gateway of the cluster has the name of this one, or no longer.
    pub fn set_namesake(&self, has_namesake: bool) {
        self.has_namesake.store(has_namesake, Ordering::Relaxed);
    }

    /// Admits no more sessions, tells all there are that the gateway is going down, one after the other
    /// in the time of `spread`, and returns when the last is gone.
    pub async fn shut_down(&self, spread: Duration) {
        let mailboxes = self.close();
        info!(sessions = mailboxes.len(), "draining");
        let sessions = u32::try_from(mailboxes.len()).unwrap_or(u32::MAX).max(1);
        let turns = (0..).map(|turn| spread.mul_f64(f64::from(turn) / f64::from(sessions)));
        // Concurrently, as a session that does not read its mailbox must not keep others from hearing it.
        let _telling: JoinSet<()> = mailboxes
            .into_iter()
            .zip(turns)
            .map(|(mailbox, turn): (_, Duration)| async move {
                sleep(turn).await;
                // A session whose mailbox is closed has ended by itself.
                let _ = mailbox.send(Box::new(Command::Shutdown)).await;
            })
            .collect();
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Admits no more sessions; gives the ways to all there are.
    fn close(&self) -> Vec<Mailbox> {
        // The locks put this in order: a session that registers is either found below, or sees this.
        self.is_closed.store(true, Ordering::Relaxed);
        self.shards
            .iter()
            .flat_map(|shard| {
                let shard = shard.lock();
                let mailboxes = shard.values().map(|entry| entry.mailbox.clone());
                mailboxes.collect::<Vec<_>>()
            })
            .collect()
    }

    fn shard(&self, sid: &str) -> &Mutex<HashMap<Sid, Entry>> {
        let hash = self.hasher.hash_one(sid);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}

/// Takes a session out of the registry when dropped, however its task ends.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    sid: Sid,
    /// Bytes that are counted among those of the backlog.
    pending: usize,
}

impl Registration {
    /// The session's id.
    pub fn sid(&self) -> &Sid {
        &self.sid
    }

    /// The name of its gateway, where that is one of several.
    pub fn node(&self) -> Option<&str> {
        self.registry.node.as_deref()
    }

    /// Has another gateway asked; whether that can be done.
    pub(super) fn run(&self, errand: Errand) -> bool {
        let errands = self.registry.errands.get();
        errands.is_some_and(|errands| errands.try_send(errand).is_ok())
    }

    /// Where it counts what happens.
    pub fn metrics(&self) -> &Metrics {
        &self.registry.metrics
    }

    /// Counts the bytes that are pending for the client among those of all sessions.
    pub fn count_pending(&mut self, bytes: usize) {
        if bytes != self.pending {
            self.registry.backlog.change(self.pending, bytes);
            self.pending = bytes;
        }
    }

    /// Whether so much is pending in all that this client, with its `bytes`, must not have more.
    pub fn is_backlog_used_up(&self, bytes: usize) -> bool {
        let registry = &self.registry;
        registry.backlog.is_used_up(bytes, registry.len())
    }

    /// Lets `id` name this session of `account` (`Host::account`).
    pub(super) fn resumable(&self, id: SmId, account: &str) -> Option<Resumable> {
        let entry = self.registry.find(self.sid.expose())?;
        let resumption = &self.registry.resumption;
        Some(resumption.register(id, account, entry))
    }

    /// What the SM-ID names.
    pub(super) fn find_resumable(&self, id: &str, now: Instant) -> Named {
        self.registry.resumption.find(id, now)
    }

    /// Where it is logged who is refused access.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.registry.refusals
    }

    /// Accounts whose sessions the site has just ended.
    pub(super) fn shut_out(&self) -> &ShutOut {
        &self.registry.shut_out
    }

    /// The sessions of all accounts.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.registry.accounts
    }

    /// Counts the session as one of this account (`Host::account`), of at most `most`.
    pub fn count_for_user(&self, account: String, most: usize) -> Option<Permit<String>> {
        self.registry.by_user.acquire(account, most)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.count_pending(0);
        self.registry
            .shard(self.sid.expose())
            .lock()
            .remove(self.sid.expose());
        if self.registry.sessions.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.registry.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::session::testing::session as entry;

    fn register(registry: &Arc<Registry>) -> (Registration, mpsc::Receiver<Box<Command>>) {
        let (entry, mailbox) = entry();
        let registration = registry
            .register(Sid::random(None).unwrap(), entry)
            .unwrap();
        (registration, mailbox)
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_reaches_all_that_can_hear_it_and_waits_for_the_rest() {
        let registry = Arc::new(Registry::default());
        let mut sessions: Vec<_> = (0..20).map(|_| register(&registry)).collect();
        let (stuck, full) = register(&registry);
        let to_stuck = registry.find(stuck.sid().expose()).unwrap();
        to_stuck
            .mailbox
            .send(Box::new(Command::Shutdown))
            .await
            .unwrap();

        let mut shutdown = {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move { registry.shut_down(Duration::ZERO).await })
        };
        for (registration, mailbox) in &mut sessions {
            let told = timeout(Duration::from_secs(1), mailbox.recv()).await;
            let told = told.expect("a stuck session keeps nobody waiting");
            assert!(matches!(told.as_deref(), Some(Command::Shutdown)));
            assert!(registry.find(registration.sid().expose()).is_some());
        }
        drop(sessions);
        tokio::select! {
            biased;
            _ = &mut shutdown => panic!("one is left"),
            () = tokio::task::yield_now() => {}
        }
        drop((stuck, full));
        shutdown.await.unwrap();
        assert!(registry.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_takes_its_time_but_not_more() {
        let registry = Arc::new(Registry::default());
        let mut sessions: Vec<_> = (0..4).map(|_| register(&registry)).collect();
        let began = Instant::now();
        let shutdown = {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move { registry.shut_down(Duration::from_secs(8)).await })
        };
        let mut told: Vec<u64> = Vec::new();
        let hearing: JoinSet<_> = sessions
            .drain(..)
            .map(|(registration, mut mailbox)| async move {
                mailbox.recv().await;
                drop(registration);
                began.elapsed().as_secs()
            })
            .collect();
        told.extend(hearing.join_all().await);
        told.sort_unstable();
        assert_eq!(told, [0, 2, 4, 6]);
        shutdown.await.unwrap();
        assert!(registry.is_closed());
    }

    #[test]
    fn a_sid_leads_to_its_session_or_to_its_gateway() {
        let secret = "0123456789abcdef0123456789abcdef";
        let [own, foreign] = ["a", "b"].map(|node| format!("{node}-{secret}"));
        let alone = Registry::default();
        let of_several = Registry {
            node: Some("a".into()),
            ..Registry::default()
        };
        for (registry, sid, node) in [
            (&alone, &own, None),
            (&alone, &foreign, None),
            (&of_several, &own, None),
            (&of_several, &foreign, Some("b")),
            (&of_several, &secret.to_owned(), None),
        ] {
            match registry.locate(sid) {
                Found::There(there) => assert_eq!(Some(there), node),
                Found::Nowhere => assert_eq!(None, node, "{sid}"),
                Found::Here(_) => panic!("there is no session"),
            }
        }
        let registry = Arc::new(of_several);
        // Whatever its name, a session of this gateway is here.
        for node in [None, Some("a"), Some("b")] {
            let (entry, _mailbox) = entry();
            let sid = Sid::random(node).unwrap();
            let session = registry.register(sid, entry).unwrap();
            let found = registry.locate(session.sid().expose());
            assert!(matches!(found, Found::Here(_)));
        }
    }

    #[tokio::test]
    async fn no_session_is_admitted_after_a_shutdown() {
        let registry = Arc::new(Registry::default());
        registry.shut_down(Duration::ZERO).await;
        let (entry, _mailbox) = entry();
        let refused = registry.register(Sid::random(None).unwrap(), entry);
        assert_eq!(refused.err(), Some(Closed));
        assert!(registry.is_empty());
    }
}
