//! Messages that have come and wait for the office. The client of NATS drops what comes while its own queue is full, without
//! regard to sizes. So they are taken from there at once, and wait here, where their bytes are bounded.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

/// Most that waits, bytes; each message counts for this much more.
const MOST: usize = 64 << 20;
const EACH: usize = 1 << 10;

/// What is subscribed to.
pub(super) struct Incoming {
    messages: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
    // Ends when this value is dropped.
    _taking: JoinSet<()>,
}

impl Incoming {
    /// What comes by `subscriber`. What there is no room for is counted in `lost`.
    pub(super) fn new(mut subscriber: Subscriber, lost: Arc<AtomicU64>) -> Self {
        let room = Arc::new(Semaphore::new(MOST));
        let (sender, messages) = mpsc::unbounded_channel();
        let mut taking = JoinSet::new();
        taking.spawn(async move {
            while let Some(message) = subscriber.next().await {
                // It is a part of all that was read with it, and would keep that.
                let bytes = Bytes::copy_from_slice(&message.payload);
                let size = u32::try_from(bytes.len() + EACH).unwrap_or(u32::MAX);
                let Ok(permit) = Arc::clone(&room).try_acquire_many_owned(size) else {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                if sender.send((bytes, permit)).is_err() {
                    return;
                }
            }
        });
        Self {
            messages,
            _taking: taking,
        }
    }

    /// The next message. Waits for ever when no more comes.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let (bytes, _) = self.messages.recv().await?;
        Some(bytes)
    }
}
