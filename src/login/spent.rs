//! Memory of the gateway's own tokens: which have been used, and whose do not count any more. Times are in
//! milliseconds since the start.
//!
//! It forgets nothing that could matter: where there is no more room, it refuses.

use std::collections::{BTreeSet, HashMap};

use super::token::Claims;

/// Most tokens that are remembered as used.
const MOST_USED: usize = 100_000;
/// Most accounts that are remembered as revoked.
const MOST_REVOKED: usize = 10_000;

/// What has become of tokens that have not expired.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// Used ones, by the end of their time.
    used: BTreeSet<(u64, [u8; 16])>,
    /// Since when the earlier tokens of an account do not count.
    revoked: HashMap<String, u64>,
    /// Since when those of any account do not count.
    floor: Option<u64>,
}

/// Why a token that was made here does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    Expired,
    Used,
    Revoked,
    /// So many have been used that one more could not be remembered.
    Full,
}

impl Spent {
    /// Uses a token of `account`.
    pub(super) fn spend(
        &mut self,
        account: &str,
        claims: &Claims,
        now: u64,
    ) -> Result<(), Refused> {
        if claims.expires <= now {
            return Err(Refused::Expired);
        }
        let revoked = self.revoked.get(account).copied().max(self.floor);
        if revoked.is_some_and(|since| claims.issued <= since) {
            return Err(Refused::Revoked);
        }
        // Those that expire later.
        self.used = self.used.split_off(&(now.saturating_add(1), [0; 16]));
        let token = (claims.expires, claims.nonce);
        if self.used.contains(&token) {
            return Err(Refused::Used);
        }
        if self.used.len() >= MOST_USED {
            return Err(Refused::Full);
        }
        self.used.insert(token);
        Ok(())
    }

    /// From `now` on the earlier tokens of `account` do not count. No token lives longer than `longest`.
    pub(super) fn revoke(&mut self, account: &str, now: u64, longest: u64) {
        if self.revoked.len() >= MOST_REVOKED {
            self.revoked
                .retain(|_, since| *since > now.saturating_sub(longest));
        }
        if self.revoked.len() >= MOST_REVOKED {
            // Users whose tokens are still good get new ones when they come again.
            self.revoked.clear();
            self.floor = Some(now);
        }
        self.revoked.insert(account.to_owned(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(number: usize, issued: u64) -> Claims {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        Claims {
            expires: issued + 1000,
            issued,
            nonce,
        }
    }

    #[test]
    fn a_token_is_used_once_and_within_its_time() {
        let mut spent = Spent::default();
        let (one, other) = (claims(1, 0), claims(2, 0));
        assert_eq!(spent.spend("john", &one, 10), Ok(()));
        assert_eq!(spent.spend("john", &one, 11), Err(Refused::Used));
        assert_eq!(spent.spend("john", &one, 999), Err(Refused::Used));
        assert_eq!(spent.spend("john", &one, 1000), Err(Refused::Expired));
        assert_eq!(spent.spend("john", &other, 1000), Err(Refused::Expired));
        assert_eq!(spent.spend("john", &other, 999), Ok(()));
    }

    #[test]
    fn used_tokens_are_forgotten_when_they_have_expired_and_not_before() {
        let mut spent = Spent::default();
        for number in 0..MOST_USED {
            assert_eq!(spent.spend("john", &claims(number, 0), 10), Ok(()));
        }
        let late = claims(MOST_USED, 500);
        assert_eq!(spent.spend("john", &late, 999), Err(Refused::Full));
        assert_eq!(spent.spend("john", &claims(0, 0), 999), Err(Refused::Used));
        assert_eq!(spent.spend("john", &late, 1000), Ok(()));
        assert_eq!(spent.used.len(), 1);
    }

    #[test]
    fn what_is_revoked_stays_so_whoever_else_is() {
        let mut spent = Spent::default();
        spent.revoke("john", 100, 1000);
        assert_eq!(
            spent.spend("john", &claims(1, 100), 101),
            Err(Refused::Revoked)
        );
        assert_eq!(spent.spend("john", &claims(2, 101), 101), Ok(()));
        assert_eq!(spent.spend("aaron", &claims(3, 100), 101), Ok(()));
        for number in 0..MOST_REVOKED {
            spent.revoke(&number.to_string(), 200, 1000);
        }
        assert!(spent.revoked.len() <= MOST_REVOKED);
        for account in ["john", "0", "9999"] {
            let refused = spent.spend(account, &claims(4, 100), 201);
            assert_eq!(refused, Err(Refused::Revoked), "{account}");
        }
        assert_eq!(spent.spend("0", &claims(5, 201), 202), Ok(()));
    }
}
