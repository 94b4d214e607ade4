//! Pairs of whom only one lists the other, as their latest answers said: the one who does not list is not asked about
//! again at each refresh and login of the other, for about half an hour.
//!
//! It is enough that the contact's own refresh, if the contact has come to list the user, writes both items. These are
//! hashes, so a pair in four thousand million million would be taken for another, for that time.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    mem,
    time::Duration,
};

use jid::BareJid;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Most pairs of a generation.
const MOST: usize = 100_000;
/// How long a generation takes in pairs. They are forgotten with the end of the next one.
const GENERATION: Duration = Duration::from_secs(20 * 60);

/// The pairs.
#[derive(Debug)]
pub(super) struct OneSided {
    hasher: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    /// When the young one began.
    began: Instant,
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Default for OneSided {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            generations: Mutex::new(Generations {
                began: Instant::now(),
                young: HashSet::new(),
                old: HashSet::new(),
            }),
        }
    }
}

impl OneSided {
    /// `owner` lists `contact`, who does not list `owner`.
    pub(super) fn remember(&self, owner: &BareJid, contact: &BareJid) {
        let hash = self.hasher.hash_one((owner, contact));
        let mut generations = self.generations.lock();
        generations.age();
        if generations.young.len() >= MOST {
            generations.turn();
        }
        generations.young.insert(hash);
    }

    /// `contact` does list `owner`.
    pub(super) fn forget(&self, owner: &BareJid, contact: &BareJid) {
        let hash = self.hasher.hash_one((owner, contact));
        let mut generations = self.generations.lock();
        generations.young.remove(&hash);
        generations.old.remove(&hash);
    }

    /// Whether `contact` did not list `owner` a while ago.
    pub(super) fn knows(&self, owner: &BareJid, contact: &BareJid) -> bool {
        let hash = self.hasher.hash_one((owner, contact));
        let mut generations = self.generations.lock();
        generations.age();
        generations.young.contains(&hash) || generations.old.contains(&hash)
    }
}

impl Generations {
    fn age(&mut self) {
        let generations = self.began.elapsed().as_secs() / GENERATION.as_secs();
        for _ in 0..generations.min(2) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.old = mem::take(&mut self.young);
        self.began = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn jid(number: usize) -> BareJid {
        BareJid::new(&format!("u{number}@x.org")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_is_known_for_a_while_from_one_side() {
        let pairs = OneSided::default();
        pairs.remember(&jid(1), &jid(2));
        assert!(pairs.knows(&jid(1), &jid(2)) && !pairs.knows(&jid(2), &jid(1)));
        advance(GENERATION).await;
        pairs.remember(&jid(1), &jid(3));
        assert!(pairs.knows(&jid(1), &jid(2)));
        pairs.forget(&jid(1), &jid(2));
        assert!(!pairs.knows(&jid(1), &jid(2)));
        // Asked about or not, it is forgotten.
        advance(GENERATION).await;
        assert!(pairs.knows(&jid(1), &jid(3)));
        advance(GENERATION).await;
        assert!(!pairs.knows(&jid(1), &jid(3)));
        pairs.remember(&jid(1), &jid(2));
        advance(GENERATION * 100).await;
        assert!(!pairs.knows(&jid(1), &jid(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_two_generations_and_no_more() {
        let pairs = OneSided::default();
        for contact in 1..=2 * MOST {
            pairs.remember(&jid(0), &jid(contact));
        }
        assert!(pairs.knows(&jid(0), &jid(1)));
        pairs.remember(&jid(0), &jid(0));
        assert!(!pairs.knows(&jid(0), &jid(1)));
        assert!(pairs.knows(&jid(0), &jid(2 * MOST)));
        let generations = pairs.generations.lock();
        assert_eq!((generations.young.len(), generations.old.len()), (1, MOST));
    }
}
