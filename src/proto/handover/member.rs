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

    pub(super) fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(super) fn remove(&mut self, others: Self) {
        self.0 &= !others.0;
    }
}
