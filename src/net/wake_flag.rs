//! Flag that wakes a task.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;

/// Flag that wakes a session, for example when its user's roster has changed. It is level-triggered: any number of
/// wakes before a poll count as one, and none is lost.
#[derive(Debug, Default)]
pub struct WakeFlag {
    set: AtomicBool,
    waker: AtomicWaker,
}

impl WakeFlag {
    /// Makes the next [`poll`](Self::poll) ready, and wakes whoever waits in one.
    pub fn wake(&self) {
        self.set.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ready, once, if there was a wake since the last time it was ready. One task at a time.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.set.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // A wake between the look above and the registration found no waker to call.
        if self.set.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use super::*;

    #[tokio::test]
    async fn a_wake_flag_is_level_triggered() {
        let flag = Arc::new(WakeFlag::default());
        flag.wake();
        flag.wake();
        poll_fn(|cx| flag.poll(cx)).await;
        assert!(poll_fn(|cx| Poll::Ready(flag.poll(cx).is_pending())).await);
        let waiting = tokio::spawn({
            let flag = Arc::clone(&flag);
            async move { poll_fn(|cx| flag.poll(cx)).await }
        });
        tokio::task::yield_now().await;
        flag.wake();
        waiting.await.unwrap();
    }
}
