//! Entries of a backend's answer that could not be used, for the people who run the site.

use std::fmt;

/// Most entries that are remembered with their reasons.
const REMEMBERED: usize = 100;
/// Most of them in a line of the log.
const LOGGED: usize = 10;
/// Longest beginning of an invalid JID that is kept, bytes.
const LONGEST: usize = 200;

/// The entries of one answer that are no contacts, and why.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeftOut {
    count: usize,
    first: Vec<Omission>,
}

/// Entry that could not be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Omission {
    /// As the backend wrote it, or as it was prepared; the beginning, if it is very long.
    pub jid: Box<str>,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl LeftOut {
    /// Adds an entry.
    pub fn push(&mut self, jid: &str, reason: &'static str) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < REMEMBERED {
            let jid = &jid[..jid.floor_char_boundary(LONGEST)];
            let jid = jid.into();
            self.first.push(Omission { jid, reason });
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The beginning, as long as a line of the log shows it.
    pub fn beginning(&self) -> Self {
        Self {
            count: self.count,
            first: self.first.iter().take(LOGGED).cloned().collect(),
        }
    }

    /// The first hundred of them.
    pub fn first(&self) -> &[Omission] {
        &self.first
    }
}

impl fmt::Display for LeftOut {
    /// The first of them, for a line of the log: what the backend wrote is quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.first.iter().take(LOGGED);
        for (index, Omission { jid, reason }) in shown.enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{jid:?} ({reason})")?;
        }
        if self.count > LOGGED {
            write!(f, ", …")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_remembered() {
        let mut left_out = LeftOut::default();
        assert_eq!(left_out.to_string(), "");
        left_out.push("a\nb", "not a JID");
        assert_eq!(left_out.to_string(), r#""a\nb" (not a JID)"#);
        for _ in 0..1000 {
            left_out.push(&"ü".repeat(1000), "not a JID");
        }
        assert_eq!(left_out.count(), 1001);
        assert_eq!(left_out.first().len(), REMEMBERED);
        assert!(left_out.first().iter().all(|it| it.jid.len() <= LONGEST));
        assert!(left_out.to_string().ends_with("(not a JID), …"));
    }
}
