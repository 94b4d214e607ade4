//! Users whose latest lists had entries that could not be used, for people who run the site.

use std::time::Duration;

use crate::{
    metrics::recent::Recent,
    roster::{Username, left_out::LeftOut},
};

/// Most users that are remembered.
const MOST: usize = 50;

/// A list with entries that could not be used.
#[derive(Clone, Debug)]
pub struct Incomplete {
    /// Its user.
    pub user: Username,
    /// When it came, as time since 1970 (UTC).
    pub at: Duration,
    /// The first of them, and how many there are.
    pub left_out: LeftOut,
}

/// The latest incomplete lists, one for each user; the oldest are forgotten first.
#[derive(Debug)]
pub struct Omissions(Recent<Incomplete>);

impl Default for Omissions {
    fn default() -> Self {
        Self(Recent::new(MOST))
    }
}

impl Omissions {
    /// Notes what was left out of a user's new list. A complete list removes the user's entry.
    pub fn note(&self, user: &Username, at: Duration, left_out: &LeftOut) {
        let incomplete = (left_out.count() > 0).then(|| Incomplete {
            user: user.clone(),
            at,
            left_out: left_out.beginning(),
        });
        self.0.replace(|before| before.user == *user, incomplete);
    }

    /// All that are remembered, the oldest first.
    pub fn all(&self) -> Vec<Incomplete> {
        self.0.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::user;

    #[test]
    fn the_latest_incomplete_list_of_each_user_is_remembered() {
        let omissions = Omissions::default();
        let one = || {
            let mut left_out = LeftOut::default();
            left_out.push("a b", "not a JID");
            left_out
        };
        for number in 0..=MOST as u64 {
            omissions.note(
                &user(&format!("u{number}")),
                Duration::from_secs(number),
                &one(),
            );
        }
        omissions.note(&user("u3"), Duration::from_secs(100), &one());
        omissions.note(&user("u5"), Duration::from_secs(101), &LeftOut::default());
        let all = omissions.all();
        let names: Vec<_> = all.iter().map(|it| it.user.as_str()).collect();
        assert_eq!(names.len(), MOST - 1);
        assert!(!names.contains(&"u0") && !names.contains(&"u5"));
        assert_eq!((names[0], names[MOST - 2]), ("u1", "u3"));
        assert_eq!(all[0].left_out, one());
    }
}
