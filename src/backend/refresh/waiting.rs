//! Waiting list of one fetch: who is told how it ended.

use tokio::sync::oneshot;

use crate::backend::FetchError;

/// Callers that wait for one fetch.
#[derive(Debug, Default)]
pub(super) struct Waiting(pub(super) Vec<oneshot::Sender<Result<(), FetchError>>>);

/// Receipt of one caller, which gives it the outcome.
pub(super) struct Ticket(oneshot::Receiver<Result<(), FetchError>>);

impl Waiting {
    pub(super) fn join(&mut self) -> Ticket {
        let (sender, receiver) = oneshot::channel();
        self.0.push(sender);
        Ticket(receiver)
    }

    pub(super) fn answer(self, outcome: &Result<(), FetchError>) {
        for sender in self.0 {
            // The caller may have given up waiting.
            let _ = sender.send(outcome.clone());
        }
    }
}

impl Ticket {
    pub(super) async fn outcome(self) -> Result<(), FetchError> {
        self.0.await.unwrap_or(Err(FetchError::Abandoned))
    }
}
