//! End of a user's sessions at other gateways.

use serde::{Deserialize, Serialize};

use super::Words;
use crate::{
    admin::{refresh::Call, respond::Failure},
    cluster::Question,
    session::Registry,
};

/// Which sessions are to end, of an account that is known by its domain and bare JID.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::admin) struct Ending {
    pub(in crate::admin) domain: String,
    pub(in crate::admin) jid: String,
    /// Prepared.
    pub(in crate::admin) resource: Option<String>,
    /// Their clients should log in again.
    pub(in crate::admin) again: bool,
}

impl<S> Call<S> {
    /// Has the others end sessions. Each says how many.
    pub(in crate::admin) async fn end_elsewhere(&self, ending: &Ending) -> Words<usize> {
        let question = Question::EndSessions;
        self.others.ask_all(question, ending, self.deadline).await
    }

    /// Ends sessions here, for another gateway, and says how many.
    pub(super) async fn end_own(
        &self,
        registry: &Registry,
        ending: &Ending,
    ) -> Result<usize, Failure> {
        self.end(registry, ending).await
    }
}
