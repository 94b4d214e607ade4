//! Sessions at several gateways: lists of them, and numbers.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::time::Instant;

use crate::{
    admin::{
        gateways::Share,
        others::Words,
        refresh::Call,
        sessions::{self, Filter, Listed},
    },
    cluster::{NodeName, Question},
    session::Registry,
};

/// How long somebody who looks at the status waits for others.
const PATIENCE: Duration = Duration::from_secs(2);

impl<S> Call<S> {
    /// The numbers of the others.
    pub(in crate::admin) async fn shares(&self) -> Words<Share> {
        let deadline = self.deadline.min(Instant::now() + PATIENCE);
        self.others.ask_all(Question::Status, &(), deadline).await
    }

    /// Counts all sessions, and lists the oldest that the filter lets through.
    pub(in crate::admin) async fn sessions(
        &self,
        registry: &Registry,
        filter: &Filter,
    ) -> Response<Full<Bytes>> {
        let words: Words<Listed> = {
            let question = Question::Sessions;
            self.others.ask_all(question, filter, self.deadline).await
        };
        let own = registry.node.as_deref().and_then(NodeName::new);
        let others = words.said.into_iter().map(|(node, it)| (Some(node), it));
        let mut listed = vec![(own, sessions::own(registry, filter))];
        listed.extend(others);
        let incomplete = words.failures.iter().map(ToString::to_string).collect();
        sessions::list(filter, &listed, incomplete)
    }
}
