//! Pairs that refreshes under way work on: what each of the two lists says of the other, as of the latest answer by which
//! an item of the pair was written.
//!
//! A refresh of either writes both items, the contact's first. So of two refreshes at once, one could write the first
//! item by an answer that the other, which writes the second, does not know. But whoever writes an item takes the latest
//! of what both know, and whoever brings something later goes on to write both items with it. Whichever comes last, the
//! items mirror each other then.

use std::{collections::HashMap, sync::Arc};

use jid::BareJid;
use parking_lot::Mutex;

use super::turns::Latest;
use crate::roster::Subscription;

/// What the list of one says of the other, by the site's answer of this number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Word {
    /// 0 if it is not the site's answer: anything else is better.
    pub(super) number: Latest,
    pub(super) says: Option<Subscription>,
}

/// What the lists of a pair say of each other.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Words {
    pub(super) ours: Word,
    pub(super) theirs: Word,
}

/// The pairs, as long as somebody works on them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs(Arc<Mutex<HashMap<Key, Known>>>);

/// Both users, the lesser address first.
type Key = (BareJid, BareJid);

#[derive(Debug, Default)]
struct Known {
    /// How many refreshes work on it.
    refreshes: usize,
    /// As the lesser address has it.
    words: Words,
}

/// A pair, for a refresh of one of the two.
#[derive(Debug)]
pub(super) struct Pair {
    pairs: Pairs,
    key: Key,
    is_lesser: bool,
}

impl Word {
    fn or_later(self, other: Self) -> Self {
        if other.number > self.number {
            other
        } else {
            self
        }
    }
}

impl Words {
    fn or_later(self, other: Self) -> Self {
        Self {
            ours: self.ours.or_later(other.ours),
            theirs: self.theirs.or_later(other.theirs),
        }
    }

    fn turned(self, is_lesser: bool) -> Self {
        let Self { ours, theirs } = self;
        if is_lesser {
            self
        } else {
            Self {
                ours: theirs,
                theirs: ours,
            }
        }
    }
}

impl Pairs {
    /// The pair of a refresh's user and a contact. What is known of it before their lists are asked for counts.
    pub(super) fn pair(&self, own: &BareJid, contact: &BareJid) -> Pair {
        let is_lesser = own < contact;
        let (one, other) = if is_lesser {
            (own, contact)
        } else {
            (contact, own)
        };
        let key = (one.clone(), other.clone());
        self.0.lock().entry(key.clone()).or_default().refreshes += 1;
        Pair {
            pairs: self.clone(),
            key,
            is_lesser,
        }
    }
}

impl Pair {
    /// An item is written by `words` now, or by what is returned: it is known to be later.
    pub(super) fn told(&self, words: Words) -> Words {
        let mut pairs = self.pairs.0.lock();
        let Some(known) = pairs.get_mut(&self.key) else {
            return words;
        };
        let words = words.turned(self.is_lesser);
        known.words = known.words.or_later(words);
        words.or_later(known.words).turned(self.is_lesser)
    }

    /// `words`, or what is known to be later.
    pub(super) fn latest(&self, words: Words) -> Words {
        let pairs = self.pairs.0.lock();
        let known = pairs.get(&self.key).map(|known| known.words);
        words.or_later(known.unwrap_or_default().turned(self.is_lesser))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let mut pairs = self.pairs.0.lock();
        if let Some(known) = pairs.get_mut(&self.key) {
            known.refreshes -= 1;
            if known.refreshes == 0 {
                pairs.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(number: Latest, says: Subscription) -> Word {
        let says = Some(says);
        Word { number, says }
    }

    #[test]
    fn what_is_later_counts_for_both_as_long_as_one_works_on_the_pair() {
        let pairs = Pairs::default();
        let [anna, ben] = ["anna@x.org", "ben@x.org"].map(|jid| BareJid::new(jid).unwrap());
        let (annas, bens) = (pairs.pair(&anna, &ben), pairs.pair(&ben, &anna));
        let (to, from) = (Subscription::To, Subscription::From);
        let early = Words {
            ours: word(1, to),
            theirs: word(4, from),
        };
        assert_eq!(annas.told(early), early);
        let late = Words {
            ours: word(2, to),
            theirs: word(3, from),
        };
        let both = Words {
            ours: word(4, from),
            theirs: word(3, from),
        };
        assert_eq!(bens.told(late), both);
        assert_eq!(annas.latest(early), both.turned(false));
        // What is no answer of the site is worth less, and is told to nobody.
        assert_eq!(annas.told(Words::default()), both.turned(false));
        drop(bens);
        assert_eq!(annas.latest(Words::default()), both.turned(false));
        drop(annas);
        assert!(pairs.0.lock().is_empty());
    }
}
