//! Drain: nothing new is accepted, then work under way gets its time, then everything stops.
//!
//! Work that must end in order holds a [`Watch`], and counts as ended when it drops it. The [`Signal`] belongs to the
//! composition root. It waits for all watches instead of a list of tasks, so no task can be forgotten.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Phase {
    Serving,
    Draining,
    Stopped,
}

/// A signal and the first watch on it.
pub fn channel() -> (Signal, Watch) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Signal(sender), Watch(receiver))
}

/// Tells the watches to drain and to stop. Dropping it is a stop.
#[derive(Debug)]
pub struct Signal(watch::Sender<Phase>);

/// How a drain came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    /// Everything ended by itself.
    Whole,
    /// This many watches were still held at the deadline; they were told to stop.
    Stopped(usize),
}

impl Signal {
    /// One more watch.
    pub fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    /// Tells all watches that nothing new may begin.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Tells all watches to end at once.
    pub fn stop(&self) {
        self.advance(Phase::Stopped);
    }

    /// Waits until no watch is left.
    pub async fn ended(&self) {
        self.0.closed().await;
    }

    /// Drains for at most `grace`, then stops what is left and waits for it.
    ///
    /// Dropped before its end, as for a second SIGTERM, it leaves the signal draining.
    pub async fn drain_within(&self, grace: Duration) -> Drained {
        self.drain();
        if timeout(grace, self.ended()).await.is_ok() {
            return Drained::Whole;
        }
        let left = self.0.receiver_count();
        self.stop();
        self.ended().await;
        Drained::Stopped(left)
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let advances = *phase < to;
            *phase = to.max(*phase);
            advances
        });
    }
}

/// Learns of the drain and of the stop. Hold it for as long as the work is unfinished.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Phase>);

impl Watch {
    /// Whether nothing new may begin.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining || self.0.has_changed().is_err()
    }

    /// Waits for the drain, or the stop. Cancel-safe.
    pub async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits for the stop. Cancel-safe.
    pub async fn stopped(&mut self) {
        self.reached(Phase::Stopped).await;
    }

    async fn reached(&mut self, wanted: Phase) {
        // An error means that the signal is gone, which is a stop.
        let _ = self.0.wait_for(|phase| *phase >= wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpStream};

    use super::*;
    use crate::net::{
        listener::Limits,
        testing::{FOREVER, GET, Served, answer, closed, serve},
    };

    #[tokio::test]
    async fn drain_ends_when_the_last_watch_is_dropped() {
        let (signal, mut first) = channel();
        let mut second = signal.watch();
        assert!(!first.is_draining());
        let work = tokio::spawn(async move {
            first.draining().await;
            second.draining().await;
            assert!(first.is_draining() && second.is_draining());
        });
        assert_eq!(
            signal.drain_within(Duration::from_secs(60)).await,
            Drained::Whole
        );
        work.await.expect("both watches were told");
    }

    #[tokio::test]
    async fn drain_stops_what_does_not_end_by_itself() {
        let (signal, mut watch) = channel();
        let work = tokio::spawn(async move { watch.stopped().await });
        assert_eq!(
            signal.drain_within(Duration::ZERO).await,
            Drained::Stopped(1)
        );
        work.await.expect("the watch was told to stop");
    }

    #[tokio::test]
    async fn a_stop_is_never_taken_back_and_a_lost_signal_is_one() {
        let (signal, mut watch) = channel();
        signal.stop();
        signal.drain();
        watch.stopped().await;
        let (signal, mut watch) = channel();
        drop(signal);
        assert!(watch.is_draining());
        watch.draining().await;
        watch.stopped().await;
    }

    #[tokio::test]
    async fn drain_answers_held_requests_and_closes_the_rest() {
        let served = serve(None, Limits::default());
        let mut held = TcpStream::connect(served.address).await.unwrap();
        held.write_all(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        served.arrived.notified().await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        idle.write_all(GET).await.unwrap();
        answer(&mut idle).await;
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        let mut halting = TcpStream::connect(served.address).await.unwrap();
        halting.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        // Connections are accepted in order: once this one is answered, the others have been accepted, too.
        let mut last = TcpStream::connect(served.address).await.unwrap();
        last.write_all(GET).await.unwrap();
        answer(&mut last).await;

        let Served {
            address,
            signal,
            release,
            accepting,
            ..
        } = served;
        let drained = tokio::spawn(async move { signal.drain_within(FOREVER).await });
        assert_eq!(closed(&mut idle).await, "");
        assert_eq!(closed(&mut silent).await, "");
        assert_eq!(closed(&mut halting).await, "");
        accepting.await.unwrap();
        TcpStream::connect(address)
            .await
            .expect_err("nobody accepts any more");
        assert!(!drained.is_finished());
        release.notify_one();
        let last_words = closed(&mut held).await;
        assert!(last_words.contains("200 OK"), "{last_words}");
        assert!(last_words.contains("connection: close"), "{last_words}");
        assert_eq!(drained.await.unwrap(), Drained::Whole);
    }

    #[tokio::test]
    async fn drain_cuts_what_outlives_its_grace() {
        let served = serve(None, Limits::default());
        let mut held = TcpStream::connect(served.address).await.unwrap();
        held.write_all(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        served.arrived.notified().await;
        let drained = served.signal.drain_within(Duration::from_millis(50)).await;
        assert_eq!(drained, Drained::Stopped(1));
        assert_eq!(closed(&mut held).await, "");
    }
}
