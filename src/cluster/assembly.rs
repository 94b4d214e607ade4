//! Bodies that come in parts, put together again. What is incomplete is bounded in number, bytes and time, for each
//! member and in all. Time is an argument.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::wire::{LONGEST, Part};
use crate::config::NodeName;

/// Bounds on what is incomplete.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bodies.
    pub number: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// How long the next part may take.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            number: 256,
            bytes: 2 * LONGEST,
            time: Duration::from_secs(5),
        }
    }
}

/// What became of a part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Joined {
    /// It was the last one: this is the body.
    Whole(Bytes),
    /// Others are still missing, or it has come before.
    Waiting,
    /// The body cannot be had, as a bound would be passed or the parts do not fit together.
    Lost,
}

/// Which body a part is of.
pub type Key = (NodeName, u64);

/// Bodies of which parts are missing.
#[derive(Debug, Default)]
pub struct Assembly {
    bounds: Bounds,
    open: HashMap<Key, Open>,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    parts: BTreeMap<u16, Bytes>,
    count: u16,
    bytes: usize,
    /// When the last part came.
    since: Instant,
}

impl Assembly {
    /// Nothing is incomplete yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// A part of the body that `from` sends with this id.
    pub fn join(&mut self, from: &NodeName, id: u64, part: Part, now: Instant) -> Joined {
        let Part {
            index,
            count,
            bytes,
        } = part;
        let key = (from.clone(), id);
        if count == 1 {
            self.forget(&key);
            return Joined::Whole(bytes);
        }
        let has_room = self.has_room(&key, bytes.len());
        let open = self.open.entry(key.clone()).or_insert_with(|| Open {
            parts: BTreeMap::new(),
            count,
            bytes: 0,
            since: now,
        });
        if open.parts.contains_key(&index) {
            return Joined::Waiting;
        }
        if !has_room || open.count != count {
            self.forget(&key);
            return Joined::Lost;
        }
        open.since = now;
        open.bytes += bytes.len();
        self.bytes += bytes.len();
        open.parts.insert(index, bytes);
        if open.parts.len() < usize::from(count) {
            return Joined::Waiting;
        }
        let whole = self.forget(&key).map(Open::whole);
        whole.map_or(Joined::Lost, Joined::Whole)
    }

    /// Whether so many bytes may come, for this body.
    fn has_room(&self, key: &Key, more: usize) -> bool {
        let Bounds { number, bytes, .. } = self.bounds;
        let of_member = self.open.iter().filter(|((from, _), _)| *from == key.0);
        let (others, held) = of_member.fold((0, 0), |(others, held), (it, open)| {
            (others + usize::from(it != key), held + open.bytes)
        });
        let all = self.open.len() - usize::from(self.open.contains_key(key));
        let length = self.open.get(key).map_or(0, |open| open.bytes) + more;
        all < number
            && others < number.div_ceil(2)
            && self.bytes + more <= bytes
            && held + more <= bytes.div_ceil(2)
            && length <= LONGEST
    }

    /// How many bodies are incomplete.
    pub fn number(&self) -> usize {
        self.open.len()
    }

    /// How many bytes of them are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets bodies whose next part has not come in time, and says whose they are.
    pub fn expire(&mut self, now: Instant) -> Vec<Key> {
        let time = self.bounds.time;
        let late = |open: &Open| now.saturating_duration_since(open.since) >= time;
        let late: Vec<Key> = self
            .open
            .iter()
            .filter(|(_, open)| late(open))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &late {
            self.forget(key);
        }
        late
    }

    /// Forgets what a member has sent: it has gone.
    pub fn forget_member(&mut self, member: &NodeName) {
        let bytes = &mut self.bytes;
        self.open.retain(|(from, _), open| {
            if from == member {
                *bytes -= open.bytes;
            }
            from != member
        });
    }

    fn forget(&mut self, key: &Key) -> Option<Open> {
        let open = self.open.remove(key)?;
        self.bytes -= open.bytes;
        Some(open)
    }
}

impl Open {
    fn whole(self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.bytes);
        for part in self.parts.into_values() {
            whole.extend_from_slice(&part);
        }
        whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn start() -> Instant {
        crate::clock::now()
    }

    fn part(index: u16, count: u16, length: usize) -> Part {
        let bytes = vec![u8::try_from(index).unwrap(); length].into();
        Part {
            index,
            count,
            bytes,
        }
    }

    fn small() -> Assembly {
        Assembly::new(Bounds {
            number: 4,
            bytes: 100,
            time: SECOND,
        })
    }

    #[test]
    fn parts_may_come_in_any_order_and_twice() {
        let (mut it, now, a) = (small(), start(), node("a"));
        assert_eq!(it.join(&a, 1, part(2, 3, 1), now), Joined::Waiting);
        assert_eq!(it.join(&a, 1, part(0, 3, 2), now), Joined::Waiting);
        assert_eq!(it.join(&a, 1, part(0, 3, 2), now), Joined::Waiting);
        assert_eq!(it.join(&node("b"), 1, part(1, 3, 2), now), Joined::Waiting);
        let whole = Bytes::from_static(&[0, 0, 1, 1, 2]);
        assert_eq!(it.join(&a, 1, part(1, 3, 2), now), Joined::Whole(whole));
        assert_eq!(it.bytes, 2);
        let one = Bytes::from_static(&[0, 0]);
        assert_eq!(it.join(&a, 1, part(0, 1, 2), now), Joined::Whole(one));
    }

    #[test]
    fn parts_that_do_not_fit_together_make_no_body() {
        let (mut it, now, a) = (small(), start(), node("a"));
        assert_eq!(it.join(&a, 1, part(0, 2, 1), now), Joined::Waiting);
        assert_eq!(it.join(&a, 1, part(1, 3, 1), now), Joined::Lost);
        assert_eq!((it.bytes, it.open.len()), (0, 0));
    }

    #[test]
    fn one_member_takes_half_of_the_room_at_most() {
        let (mut it, now, a, b) = (small(), start(), node("a"), node("b"));
        assert_eq!(it.join(&a, 1, part(0, 2, 50), now), Joined::Waiting);
        assert_eq!(it.join(&a, 2, part(0, 2, 1), now), Joined::Lost);
        assert_eq!(it.join(&b, 2, part(0, 2, 50), now), Joined::Waiting);
        assert_eq!(it.join(&node("c"), 2, part(0, 2, 1), now), Joined::Lost);
        it.forget_member(&a);
        assert_eq!(it.join(&a, 1, part(0, 2, 1), now), Joined::Waiting);
        assert_eq!(it.join(&a, 2, part(0, 2, 1), now), Joined::Waiting);
        assert_eq!(it.join(&a, 3, part(0, 2, 1), now), Joined::Lost);
        assert_eq!(it.join(&node("c"), 1, part(0, 2, 1), now), Joined::Waiting);
        assert_eq!(it.join(&node("d"), 1, part(0, 2, 1), now), Joined::Lost);
        assert_eq!(it.bytes, 53);
    }

    #[test]
    fn a_body_is_forgotten_when_the_next_part_takes_too_long() {
        let (mut it, now, a) = (small(), start(), node("a"));
        it.join(&a, 1, part(0, 3, 5), now);
        it.join(&a, 2, part(0, 3, 5), now);
        it.join(&a, 2, part(1, 3, 5), now + SECOND / 2);
        assert_eq!(it.expire(now + SECOND), [(a.clone(), 1)]);
        assert_eq!(it.bytes, 10);
        assert_eq!(it.expire(now + 2 * SECOND), [(a.clone(), 2)]);
        assert_eq!((it.bytes, it.open.len()), (0, 0));
        // What comes too late waits in vain.
        assert_eq!(it.join(&a, 2, part(2, 3, 1), now), Joined::Waiting);
    }
}
