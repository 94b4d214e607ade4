//! Questions of others that are being answered: bounded in number and bytes, for each member and in all, and each
//! answered once.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::config::NodeName;

/// Bounds on what is being answered; half of number and bytes for each member.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Questions.
    pub number: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Questions that are remembered, so that one that comes twice is answered once.
    pub remembered: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            number: 32_768,
            bytes: 256 << 20,
            remembered: 8192,
        }
    }
}

/// Who has asked, and the id of the question.
pub type Key = (NodeName, u64);

/// What is being answered; `H` is what ends the work on it.
#[derive(Debug)]
pub struct Answering<H> {
    bounds: Bounds,
    all: HashMap<Key, Work<H>>,
    bytes: usize,
    recent: VecDeque<Key>,
    known: HashSet<Key>,
}

#[derive(Debug)]
struct Work<H> {
    bytes: usize,
    handle: Option<H>,
}

/// Whether a question is to be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begun {
    /// It is.
    Yes,
    /// It has come before.
    Already,
    /// Too much is asked at once.
    Full,
}

impl<H> Answering<H> {
    /// Nothing is asked yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            all: HashMap::new(),
            bytes: 0,
            recent: VecDeque::new(),
            known: HashSet::new(),
        }
    }

    /// A question of so many bytes has come.
    pub fn begin(&mut self, key: &Key, bytes: usize) -> Begun {
        if !self.known.insert(key.clone()) {
            return Begun::Already;
        }
        self.recent.push_back(key.clone());
        if self.recent.len() > self.bounds.remembered
            && let Some(oldest) = self.recent.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.all.contains_key(key) {
            return Begun::Already;
        }
        if !self.has_room(&key.0, bytes) {
            return Begun::Full;
        }
        self.bytes += bytes;
        let work = Work {
            bytes,
            handle: None,
        };
        self.all.insert(key.clone(), work);
        Begun::Yes
    }

    fn has_room(&self, member: &NodeName, more: usize) -> bool {
        let Bounds { number, bytes, .. } = self.bounds;
        if self.all.len() >= number || self.bytes + more > bytes {
            return false;
        }
        // Members are counted only where one may have reached its half.
        if self.all.len() < number / 2 && self.bytes + more <= bytes / 2 {
            return true;
        }
        let of_member = self.all.iter().filter(|((it, _), _)| it == member);
        let (count, held) = of_member.fold((0, 0), |(count, held), (_, it)| {
            (count + 1, held + it.bytes)
        });
        count < number / 2 && held + more <= bytes / 2
    }

    /// What ends the work on a question, if that still goes on.
    pub fn started(&mut self, key: &Key, handle: H) {
        if let Some(work) = self.all.get_mut(key) {
            work.handle = Some(handle);
        }
    }

    /// The work on a question has ended, or is to end.
    pub fn end(&mut self, key: &Key) -> Option<H> {
        let work = self.all.remove(key)?;
        self.bytes -= work.bytes;
        work.handle
    }

    /// Nobody waits for what a member has asked, as it has gone.
    pub fn end_all_of(&mut self, member: &NodeName) -> Vec<H> {
        let keys: Vec<_> = self
            .all
            .keys()
            .filter(|(it, _)| it == member)
            .cloned()
            .collect();
        keys.iter().filter_map(|key| self.end(key)).collect()
    }

    /// Ends all.
    pub fn end_all(&mut self) -> Vec<H> {
        self.bytes = 0;
        self.all
            .drain()
            .filter_map(|(_, work)| work.handle)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(node: &str, id: u64) -> Key {
        (NodeName::new(node).unwrap(), id)
    }

    fn small() -> Answering<u64> {
        Answering::new(Bounds {
            number: 4,
            bytes: 100,
            remembered: 8,
        })
    }

    #[test]
    fn a_question_that_comes_twice_is_answered_once() {
        let mut it = small();
        assert_eq!(it.begin(&key("a", 1), 1), Begun::Yes);
        assert_eq!(it.begin(&key("a", 1), 1), Begun::Already);
        assert_eq!(it.begin(&key("b", 1), 1), Begun::Yes);
        it.end(&key("a", 1));
        assert_eq!(it.begin(&key("a", 1), 1), Begun::Already);
        // Even if it has been forgotten meanwhile that it has come.
        for id in 2..20 {
            it.begin(&key("a", id), 1);
            it.end(&key("a", id));
        }
        assert_eq!(it.begin(&key("b", 1), 1), Begun::Already);
        assert_eq!((it.recent.len(), it.known.len()), (8, 8));
    }

    #[test]
    fn one_member_takes_half_of_the_room_at_most() {
        let mut it = small();
        assert_eq!(it.begin(&key("a", 1), 50), Begun::Yes);
        assert_eq!(it.begin(&key("a", 2), 1), Begun::Full);
        assert_eq!(it.begin(&key("b", 2), 50), Begun::Yes);
        assert_eq!(it.begin(&key("c", 2), 1), Begun::Full);
        it.end(&key("a", 1));
        assert_eq!(it.begin(&key("a", 3), 1), Begun::Yes);
        assert_eq!(it.begin(&key("a", 4), 1), Begun::Yes);
        assert_eq!(it.begin(&key("a", 5), 1), Begun::Full);
        assert_eq!(it.begin(&key("c", 1), 1), Begun::Yes);
        assert_eq!(it.begin(&key("d", 1), 1), Begun::Full);
        assert_eq!(it.bytes, 53);
    }

    #[test]
    fn work_ends_for_a_member_that_has_gone() {
        let mut it = small();
        for (node, id) in [("a", 1), ("b", 2), ("a", 3)] {
            it.begin(&key(node, id), 1);
            it.started(&key(node, id), id);
        }
        let mut ended = it.end_all_of(&NodeName::new("a").unwrap());
        ended.sort_unstable();
        assert_eq!(ended, [1, 3]);
        assert_eq!(it.end_all(), [2]);
        assert_eq!(it.bytes, 0);
        it.started(&key("b", 2), 2);
        assert_eq!(it.end(&key("b", 2)), None);
    }
}
