//! End of a user's sessions at other gateways.

use crate::{
    admin::{
        others::{Words, end::Ending},
        refresh::Call,
        respond::Failure,
    },
    cluster::Question,
    session::Registry,
};

impl<S> Call<S> {
    /// Has the others end sessions. Each says how many. Those that are not heard do so when they are heard again.
    pub(in crate::admin) async fn end_elsewhere(&self, ending: &Ending) -> Words<usize> {
        let question = Question::EndSessions;
        self.others
            .ask_all_and_owe(question, ending, self.deadline)
            .await
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
