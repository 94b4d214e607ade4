//! When users were last available, of those who no longer are. Bounded: who left longest ago is forgotten.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::roster::Username;

/// Memory for all of them, bytes: some 100,000 users.
pub(super) const MAX_SEEN: usize = 16 << 20;
/// What one takes beside the name, bytes.
const EACH: usize = 128;

/// When each of them left.
#[derive(Debug, Default)]
pub(super) struct Seen {
    next: u64,
    users: HashMap<Username, (u64, Duration)>,
    /// The same in the order in which they were noted.
    order: BTreeMap<u64, Username>,
    size: usize,
}

fn cost(user: &Username) -> usize {
    user.as_str().len().saturating_add(EACH)
}

impl Seen {
    /// When a user left, as time since 1970.
    pub(super) fn get(&self, user: &Username) -> Option<Duration> {
        self.users.get(user).map(|(_, at)| *at)
    }

    /// A user has left at this time since 1970.
    pub(super) fn note(&mut self, user: Username, at: Duration) {
        self.forget(&user);
        self.size = self.size.saturating_add(cost(&user));
        self.order.insert(self.next, user.clone());
        self.users.insert(user, (self.next, at));
        self.next = self.next.saturating_add(1);
        while self.size > MAX_SEEN
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.forget(&oldest);
        }
    }

    /// A user is available again.
    pub(super) fn forget(&mut self, user: &Username) {
        if let Some((place, _)) = self.users.remove(user) {
            self.order.remove(&place);
            self.size = self.size.saturating_sub(cost(user));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::user;

    const AT: Duration = Duration::from_secs(7);

    #[test]
    fn who_left_longest_ago_is_forgotten() {
        let mut seen = Seen::default();
        let name = |number: usize| user(&format!("{number:0>1000}"));
        let most = MAX_SEEN / (1000 + EACH);
        for number in 0..most {
            seen.note(name(number), AT);
        }
        seen.note(name(0), AT);
        assert_eq!(seen.users.len(), most);
        seen.note(name(most), AT);
        assert_eq!(seen.get(&name(0)), Some(AT), "noted again");
        assert_eq!(seen.get(&name(1)), None, "the oldest");
        assert_eq!(seen.users.len(), most);
        for number in 0..=most {
            seen.forget(&name(number));
        }
        assert_eq!((seen.size, seen.order.len()), (0, 0));
    }
}
