//! Resumption (XEP-0198 §5): which session an SM-ID names, which sessions sleep, and what is remembered of those that
//! have ended. Who may resume a session is decided by the sessions themselves.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;

use super::{Entry, Mailbox, sid::node_before};

/// How long it is remembered what an ended session had taken from its client.
const MEMORY: Duration = Duration::from_secs(600);
/// Ended sessions that are remembered.
const MAX_ENDED: usize = 10_000;
/// Sessions of an account that may sleep. Clients resume once and then log in anew; browsers throw tabs away.
const MAX_ASLEEP: usize = 5;

/// Letters of the secret.
const LETTERS: usize = 22;

/// What a client names to resume its session: 128 random bits, perhaps after the name of the session's gateway. A secret.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct SmId(Arc<str>);

impl SmId {
    /// A new one of the gateway `node`, if that has a name.
    pub fn random(node: Option<&str>) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let secret = URL_SAFE_NO_PAD.encode(bytes);
        let id = match node {
            Some(node) => format!("{node}-{secret}"),
            None => secret,
        };
        Ok(Self(id.into()))
    }

    /// The gateway that `id` names, if it can be an SM-ID that begins with one.
    pub fn node_of(id: &str) -> Option<&str> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        node_before(id, |secret| {
            secret.len() == LETTERS && secret.bytes().all(is_letter)
        })
    }

    /// The id itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SmId {
    /// As much as identifies it in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = Self::node_of(&self.0);
        let shown = node
            .map_or(0, |node| node.len().saturating_add(1))
            .saturating_add(6);
        f.write_str(self.0.get(..shown).unwrap_or_default())
    }
}

impl std::borrow::Borrow<str> for SmId {
    fn borrow(&self) -> &str {
        self.expose()
    }
}

/// All that SM-IDs name. Its lock is held for an operation on memory only.
#[derive(Debug, Default)]
pub struct Resumption(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    /// Each with its account.
    sessions: HashMap<SmId, (Entry, Arc<str>)>,
    ended: HashMap<SmId, Ended>,
    /// The same sessions, the earliest first.
    endings: VecDeque<(Instant, SmId)>,
    /// By account, in the order in which they fell asleep.
    asleep: HashMap<Arc<str>, VecDeque<SmId>>,
}

/// What an SM-ID names.
#[derive(Debug)]
pub(super) enum Named {
    /// A session, and whose it is (`Host::account`).
    Session(Entry, Arc<str>),
    /// One that has ended.
    Ended(Ended),
    /// Nothing that is remembered.
    Nothing,
}

/// What is remembered of an ended session, for a client that wants to resume it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ended {
    /// How many stanzas of its client it had taken.
    pub(super) taken: u32,
    /// It had tried to return the others.
    pub(super) returned: Option<Returned>,
}

/// Stanzas that were returned to the client as errors, though its connection may have been gone by then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Returned {
    /// How many stanzas the client had been sent in all, these errors included.
    pub(super) sent: u32,
    /// How many stanzas of the client were taken or returned.
    pub(super) received: u32,
}

impl Ended {
    /// How many of its stanzas a client need not send again that has handled `h` stanzas.
    pub(super) fn taken(&self, h: u32) -> u32 {
        match self.returned {
            Some(returned) if returned.sent == h => returned.received,
            _ => self.taken,
        }
    }
}

impl Resumption {
    /// Lets `id` name the session of `account` (`Host::account`) for as long as the result lives.
    pub(super) fn register(self: &Arc<Self>, id: SmId, account: &str, session: Entry) -> Resumable {
        let account: Arc<str> = account.into();
        let of_account = (session, Arc::clone(&account));
        self.0.lock().sessions.insert(id.clone(), of_account);
        Resumable {
            resumption: Arc::clone(self),
            id,
            account,
            ended: None,
        }
    }

    /// What `id` names.
    pub(super) fn find(&self, id: &str, now: Instant) -> Named {
        let mut names = self.0.lock();
        names.forget(now);
        if let Some((session, account)) = names.sessions.get(id) {
            return Named::Session(session.clone(), Arc::clone(account));
        }
        let ended = names.ended.get(id);
        ended.map_or(Named::Nothing, |ended| Named::Ended(*ended))
    }
}

impl Names {
    /// Forgets what has been remembered for long enough.
    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.endings.front()
            && (*at + MEMORY <= now || self.endings.len() > MAX_ENDED)
            && let Some((_, id)) = self.endings.pop_front()
        {
            self.ended.remove(&id);
        }
        if self.endings.is_empty() {
            self.endings = VecDeque::new();
        }
    }

    fn wake(&mut self, account: &str, id: &SmId) {
        if let Some(asleep) = self.asleep.get_mut(account) {
            asleep.retain(|it| it != id);
            if asleep.is_empty() {
                self.asleep.remove(account);
            }
        }
    }
}

/// A session that can be resumed. Dropped with the session.
#[derive(Debug)]
pub(super) struct Resumable {
    resumption: Arc<Resumption>,
    id: SmId,
    account: Arc<str>,
    /// What is to be remembered, and when the session ended.
    ended: Option<(Ended, Instant)>,
}

impl Resumable {
    /// The session falls asleep. If too many of its account do, this is the way to the one that has slept for longest,
    /// which has to end.
    pub(super) fn fall_asleep(&self) -> Option<Mailbox> {
        let mut names = self.resumption.0.lock();
        let asleep = names.asleep.entry(Arc::clone(&self.account)).or_default();
        asleep.push_back(self.id.clone());
        let oldest = (asleep.len() > MAX_ASLEEP).then(|| asleep.pop_front())??;
        let (session, _) = names.sessions.get(&oldest)?;
        Some(session.mailbox.clone())
    }

    /// The session has been resumed.
    pub(super) fn wake(&self) {
        self.resumption.0.lock().wake(&self.account, &self.id);
    }

    /// The session is over: remembered for a client that comes late.
    pub(super) fn end(mut self, ended: Ended, now: Instant) {
        self.ended = Some((ended, now));
    }
}

impl Drop for Resumable {
    fn drop(&mut self) {
        let mut names = self.resumption.0.lock();
        names.sessions.remove(&self.id);
        names.wake(&self.account, &self.id);
        if let Some((ended, now)) = self.ended {
            names.ended.insert(self.id.clone(), ended);
            names.endings.push_back((now, self.id.clone()));
            names.forget(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        clock::now,
        session::{Command, testing::session},
    };

    const TAKEN: Ended = Ended {
        taken: 7,
        returned: None,
    };

    fn register(
        resumption: &Arc<Resumption>,
        account: &str,
    ) -> (Resumable, mpsc::Receiver<Box<Command>>) {
        let (session, receiver) = session();
        let id = SmId::random(None).unwrap();
        (resumption.register(id, account, session), receiver)
    }

    #[test]
    fn an_sm_id_tells_whose_session_it_is_whatever_the_secret_looks_like() {
        for _ in 0..200 {
            let id = SmId::random(Some("gateway1")).unwrap();
            assert_eq!(SmId::node_of(id.expose()), Some("gateway1"));
            assert_eq!(format!("{id:?}"), id.expose()[..15]);
            let alone = SmId::random(None).unwrap();
            assert_eq!(SmId::node_of(alone.expose()), None);
            assert_eq!(format!("{alone:?}"), alone.expose()[..6]);
        }
        for id in [
            "",
            "a-",
            "ab-cdefghijklmnopqrstu",
            "a-123456789012345678901+",
        ] {
            assert_eq!(SmId::node_of(id), None, "{id}");
        }
    }

    #[test]
    fn an_ended_session_is_remembered_for_a_while() {
        let resumption = Arc::<Resumption>::default();
        let now = now();
        let (session, _mailbox) = register(&resumption, "a@x");
        let id = session.id.clone();
        assert!(matches!(
            resumption.find(id.expose(), now),
            Named::Session(..)
        ));
        assert!(matches!(resumption.find("other", now), Named::Nothing));
        session.end(TAKEN, now);
        let found = resumption.find(id.expose(), now);
        assert!(matches!(found, Named::Ended(ended) if ended == TAKEN));
        let late = resumption.find(id.expose(), now + MEMORY);
        assert!(matches!(late, Named::Nothing));
        let (crashed, _mailbox) = register(&resumption, "a@x");
        let id = crashed.id.clone();
        drop(crashed);
        assert!(matches!(resumption.find(id.expose(), now), Named::Nothing));
        for _ in 0..=MAX_ENDED {
            register(&resumption, "a@x").0.end(TAKEN, now);
        }
        assert_eq!(resumption.0.lock().ended.len(), MAX_ENDED);
    }

    #[test]
    fn only_who_has_read_the_errors_need_not_send_again_what_they_return() {
        assert_eq!(TAKEN.taken(20), 7);
        let ended = Ended {
            returned: Some(Returned {
                sent: 20,
                received: 9,
            }),
            ..TAKEN
        };
        assert_eq!([19, 20].map(|h| ended.taken(h)), [7, 9]);
    }

    #[test]
    fn the_session_that_has_slept_for_longest_ends_when_too_many_of_its_account_sleep() {
        let resumption = Arc::<Resumption>::default();
        let mut sessions: Vec<_> = (0..MAX_ASLEEP + 2)
            .map(|_| register(&resumption, "a@x"))
            .collect();
        let (other, _mailbox) = register(&resumption, "b@x");
        assert!(other.fall_asleep().is_none());
        let (last, sleepers) = sessions.split_last_mut().unwrap();
        for (session, _) in &sleepers[..MAX_ASLEEP] {
            assert!(session.fall_asleep().is_none());
        }
        sleepers[0].0.wake();
        assert!(sleepers[0].0.fall_asleep().is_none());
        let oldest = last.0.fall_asleep().expect("one too many");
        oldest.try_send(Box::new(Command::Shutdown)).unwrap();
        assert!(sleepers[1].1.try_recv().is_ok(), "the first has been awake");
        drop((sessions, other));
        let names = resumption.0.lock();
        assert!(names.asleep.is_empty() && names.sessions.is_empty());
    }
}
