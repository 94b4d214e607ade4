//! Which sessions there are.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Mailbox, Sid};

/// Independent locks, so that sessions rarely meet.
const SHARDS: usize = 64;

/// All live sessions, by sid. Locks are held for a map operation and never across an await.
#[derive(Debug)]
pub struct Registry {
    shards: Vec<Mutex<HashMap<Sid, Mailbox>>>,
    hasher: RandomState,
    sessions: AtomicUsize,
    emptied: Notify,
}

impl Borrow<str> for Sid {
    fn borrow(&self) -> &str {
        self.expose()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            sessions: AtomicUsize::new(0),
            emptied: Notify::new(),
        }
    }
}

impl Registry {
    /// Adds a session, for as long as the result lives.
    pub fn register(self: &Arc<Self>, sid: Sid, mailbox: Mailbox) -> Registration {
        self.shard(sid.expose()).lock().insert(sid.clone(), mailbox);
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Registration {
            registry: Arc::clone(self),
            sid,
        }
    }

    /// The way to a session.
    pub fn find(&self, sid: &str) -> Option<Mailbox> {
        self.shard(sid).lock().get(sid).cloned()
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// True if there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ways to all sessions.
    pub fn mailboxes(&self) -> Vec<Mailbox> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Returns when there is no session.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn shard(&self, sid: &str) -> &Mutex<HashMap<Sid, Mailbox>> {
        let hash = self.hasher.hash_one(sid);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}

/// Takes a session out of the registry when dropped, however its task ends.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    sid: Sid,
}

impl Registration {
    /// The session's id.
    pub fn sid(&self) -> &Sid {
        &self.sid
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry
            .shard(self.sid.expose())
            .lock()
            .remove(self.sid.expose());
        if self.registry.sessions.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.registry.emptied.notify_waiters();
        }
    }
}
