//! Members: the sessions of one account, by small numbers, and sets of them.

/// Sessions of an account that take part, at most.
pub(super) const MAX_MEMBERS: u8 = 64;

/// A session of the account.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Member(u8);

/// Some sessions of the account.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Members(u64);

impl Member {
    /// Every session that an account may have.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..MAX_MEMBERS).map(Self)
    }

    /// The set of this one.
    pub(super) fn alone(self) -> Members {
        Members(1_u64.checked_shl(self.0.into()).unwrap_or(0))
    }
}

impl Members {
    pub(super) const ALL: Self = Self(u64::MAX);

    /// Whether any of `others` is in it.
    pub(super) fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Each of them. It is asked for all the time, and mostly there are none.
    pub(super) fn members(mut self) -> impl Iterator<Item = Member> {
        std::iter::from_fn(move || {
            let first = Member(u8::try_from(self.0.trailing_zeros()).ok()?);
            let is_there = self.has(first.alone());
            self.remove(first.alone());
            is_there.then_some(first)
        })
    }

    pub(super) fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(super) fn remove(&mut self, others: Self) {
        self.0 &= !others.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_members_that_were_added() {
        let mut set = Members::default();
        assert_eq!(set.members().count(), 0);
        let added = [Member(0), Member(5), Member(MAX_MEMBERS - 1)];
        added.iter().for_each(|member| set.add(member.alone()));
        assert!(set.members().eq(added));
        assert!(Members::ALL.members().eq(Member::all()));
    }
}
