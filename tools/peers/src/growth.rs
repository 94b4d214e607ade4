//! How cost grows: with sessions, contacts, the size of a stanza, and the users of a refresh.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    backend::Backend,
    crowd::{Crowd, Refresh, refresh},
    session::{Style, User},
    statistics::Spread,
    systems::Kind,
    work::{Plan, Work},
};

/// What is behind rostergate here.
const KIND: Kind = Kind::RostergateProsodyGenerational;

/// So many sessions are measured once.
const MANY: usize = 1000;

/// What grows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Growth {
    /// Sessions that write messages to each other, which travel so.
    Sessions(Style),
    /// Contacts of those who ask for their rosters.
    Contacts,
    /// Bytes of text in a message.
    Stanza,
    /// Users in one request for a refresh, of whom nobody is there.
    Batch,
}

/// The cost of something over the number of something: CPU time of rostergate, microseconds.
#[derive(Debug)]
pub struct Curve {
    /// What grows.
    pub growth: Growth,
    /// How much of it, and the cost.
    pub points: Vec<(usize, Spread)>,
}

impl Growth {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Sessions(Style::Lean),
        Self::Sessions(Style::Managed),
        Self::Contacts,
        Self::Stanza,
        Self::Batch,
    ];

    /// For files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions(style) if style.is_websocket() => "growth-sessions-websocket",
            Self::Sessions(_) => "growth-sessions-bosh",
            Self::Contacts => "growth-contacts",
            Self::Stanza => "growth-stanza",
            Self::Batch => "growth-batch",
        }
    }

    /// What costs, and over what.
    pub fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Sessions(style) if style.is_websocket() => {
                ("A message, WebSocket", "sessions at once")
            }
            Self::Sessions(_) => ("A message, BOSH", "sessions at once"),
            Self::Contacts => ("A roster get", "contacts"),
            Self::Stanza => ("A message", "bytes of text"),
            Self::Batch => ("A user of a refresh, nobody online", "users in a request"),
        }
    }

    fn sizes(self) -> &'static [usize] {
        match self {
            Self::Sessions(_) => &[10, 50, 200, 1000, 4000, 9000],
            Self::Contacts => &[1, 10, 100, 1000, 10_000],
            Self::Stanza => &[100, 1000, 10_000, 100_000, 200_000],
            Self::Batch => &[1, 10, 100, 1000, 10_000],
        }
    }

    fn work(self, size: usize) -> (Work, usize) {
        match self {
            Self::Sessions(style) => (Work::Message(style), size),
            Self::Stanza => (Work::MessageOf(size), 10),
            // Contacts hear of each login.
            Self::Contacts | Self::Batch => (Work::Roster(size, Style::Lean), 4),
        }
    }

    /// Measures it, `rounds` times each; at most up to `most`.
    ///
    /// # Errors
    ///
    /// Anything fails.
    pub async fn measure(
        self,
        program: &Path,
        backend: &Backend,
        (rounds, time): (usize, Duration),
        most: usize,
        mut say: impl FnMut(usize, Spread),
    ) -> Result<Curve> {
        let sizes = self.sizes().iter().copied().filter(|size| *size <= most);
        let sizes: Vec<usize> = sizes.collect();
        let mut users: Vec<User> = Vec::new();
        for size in &sizes {
            let (work, sessions) = self.work(*size);
            if sessions > users.len() || self == Self::Contacts {
                users.extend(work.users(sessions));
            }
        }
        let system = KIND.start(program, backend, &users).await?;
        let mut points = Vec::new();
        for size in sizes {
            let (work, sessions) = self.work(size);
            let plan = Plan {
                sessions,
                warm_up: time / 4,
                time,
                pace: None,
            };
            let mut found = Vec::new();
            // Ports of ended connections stay taken for a minute, and there are 28,000.
            let rounds = if sessions > MANY { 1 } else { rounds };
            for _ in 0..rounds {
                let sample = match self {
                    Self::Batch => {
                        let users = size.max(2000);
                        let mut nobody = Crowd::new(Style::Lean);
                        refresh(
                            &system,
                            backend,
                            &mut nobody,
                            Refresh::Offline,
                            0..users,
                            (size, None),
                        )
                        .await
                    }
                    _ => work.measure(&system, plan).await,
                };
                let sample = sample.with_context(|| format!("{} {size}", self.name()))?;
                found.push(sample.cpu[0].as_secs_f64() * 1e6);
            }
            let spread = Spread::of(found).context("no rounds")?;
            say(size, spread);
            points.push((size, spread));
        }
        Ok(Curve {
            growth: self,
            points,
        })
    }
}
