//! Waiting list of one fetch: who is told how it ended.

use tokio::sync::oneshot;

use crate::backend::FetchError;

/// Who waits for one fetch.
#[derive(Debug, Default)]
pub(super) struct Waiting(pub(super) Vec<oneshot::Sender<Result<(), FetchError>>>);

/// A place among those.
pub(super) struct Ticket(oneshot::Receiver<Result<(), FetchError>>);

impl Waiting {
    pub(super) fn join(&mut self) -> Ticket {
        let (sender, receiver) = oneshot::channel();
        self.0.push(sender);
        Ticket(receiver)
    }

    pub(super) fn answer(self, outcome: &Result<(), FetchError>) {
        for sender in self.0 {
            // Whoever gave up waiting is no concern of ours.
            let _ = sender.send(outcome.clone());
        }
    }
}

impl Ticket {
    pub(super) async fn outcome(self) -> Result<(), FetchError> {
        self.0.await.unwrap_or(Err(FetchError::Abandoned))
    }
}
