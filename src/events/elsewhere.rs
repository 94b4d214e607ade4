//! Several gateways with the same users: what each tells the site depends on what the others have.
//!
//! Before a batch is delivered for the first time, they are asked about the users in it ([`Users::decide`]); afterwards, about those
//! who are not here, as the others' events may have overtaken it ([`Users::correct`]). No lock is held meanwhile. Who does not
//! answer in time has nobody.
//!
//! [`Users::decide`]: crate::availability::users::Users::decide
//! [`Users::correct`]: crate::availability::users::Users::correct

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use futures_util::future::BoxFuture;

use super::{Availability, deliver::Batch};
use crate::{
    availability::users::{Doubts, Told},
    roster::Username,
};

/// How long the others have to answer. Who is dead counts as gone before that.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same while this gateway is going down.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// The other gateways.
pub trait Elsewhere: Send + Sync {
    /// Whom of the users of a domain they have.
    fn have(&self, domain: &str, doubts: Doubts, within: Duration) -> BoxFuture<'_, Had>;
}

/// Whom the others have.
#[derive(Clone, Debug, Default)]
pub struct Had {
    /// The users.
    pub users: HashSet<Username>,
    /// Whether all of the others have answered.
    pub is_complete: bool,
}

impl Availability {
    /// What is to be delivered next, and to whom, once it is decided what of it is told.
    pub(super) async fn next_decided(&self) -> Option<Batch> {
        loop {
            let next = self.with(|state, _| match state.users.doubts() {
                Some(doubts) => Err(doubts),
                None => Ok(Self::next_batch(state)),
            });
            let doubts = match next {
                Ok(batch) => return batch,
                Err(doubts) => doubts,
            };
            let had = self.ask(doubts).await;
            self.with(|state, _| state.users.decide(&had.users));
        }
    }

    /// Tells again what is true, of those of whom something else was told.
    pub(super) async fn correct(&self, mut told: Vec<Told>) {
        if self.elsewhere.is_none() {
            return;
        }
        let doubts = self.with(|state, _| state.users.doubts_of(told.iter()));
        let had = self.ask(doubts).await;
        self.with(|state, moment| {
            if !had.is_complete {
                // That nobody has them is not known.
                told.retain(|it| !it.is_online);
            }
            state.users.correct(&told, &had.users, moment);
        });
    }

    async fn ask(&self, doubts: Doubts) -> Had {
        let elsewhere = self.elsewhere.as_ref().filter(|_| !doubts.is_empty());
        let Some(elsewhere) = elsewhere else {
            return Had {
                is_complete: true,
                ..Had::default()
            };
        };
        let within = match self.is_stopping.load(Ordering::Relaxed) {
            true => LAST_PATIENCE,
            false => PATIENCE,
        };
        elsewhere.have(&self.domain, doubts, within).await
    }
}
