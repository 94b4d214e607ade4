//! What other gateways have in memory about a user.

use serde_json::value::RawValue;

use crate::{
    admin::{others::Words, refresh::Call, respond::Failure, rosters::Age},
    backend::ContactSource,
    cluster::Question,
};

/// What is shown of a user, and how well it is known; `None`: nothing is.
pub(in crate::admin) type Known = Option<(Age, Box<RawValue>)>;

impl<S: ContactSource + 'static> Call<S> {
    /// What the others know.
    pub(in crate::admin) async fn known_elsewhere(&self, jid: &str) -> Words<Known> {
        let question = Question::Roster;
        self.others.ask_all(question, &jid, self.deadline).await
    }

    /// What is known here, for another gateway.
    pub(super) fn known_own(&self, jid: &str) -> Result<Known, Failure> {
        let (domain, user) = self.user(jid, None)?;
        match self.known(&domain, &user) {
            Ok(known) => Ok(Some(known)),
            Err(Failure::NothingKnown) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
