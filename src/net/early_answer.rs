//! Early answers: reads the rest of a request that was answered before all of it had come.
//!
//! HTTP/2 lets a server answer early and then reset the stream with `NO_ERROR` (RFC 9113 §8.1). But clients such as
//! curl 7.88 take that for a failure and never show the answer. So the rest of a short request is read.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::{sync::oneshot, time::timeout};

use super::body;

/// Most bytes of the rest that are read.
const MOST: usize = 64 << 10;
/// How long the rest is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request body. If it is watched and dropped before its end, its [`Remainder`] gets it back.
pub struct Watched<B> {
    body: Option<B>,
    back: Option<oneshot::Sender<B>>,
}

/// Receives a watched body that was dropped before its end.
pub struct Remainder<B>(oneshot::Receiver<B>);

/// Watches the body of `request` over HTTP/2; over HTTP/1 there is no remainder.
pub fn watch<B>(request: Request<B>) -> (Request<Watched<B>>, Option<Remainder<B>>) {
    let (back, remainder) = if request.version() == Version::HTTP_2 {
        let (back, remainder) = oneshot::channel();
        (Some(back), Some(Remainder(remainder)))
    } else {
        (None, None)
    };
    let watched = request.map(|body| Watched {
        body: Some(body),
        back,
    });
    (watched, remainder)
}

impl<B: Body + Unpin> Remainder<B> {
    /// Reads the rest, within bounds. To be called once there is an answer. Takes no time if nothing is left.
    pub async fn discard(self) {
        let rest = async {
            let Ok(body) = self.0.await else { return };
            body::discard(body, MOST).await;
        };
        // The answer goes out even if the rest has not come in time.
        let _ = timeout(PATIENCE, rest).await;
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // If the client has hung up, nothing waits for the body.
            let _ = back.send(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use tokio::time::Instant;

    use super::*;

    /// Says nothing, or the same for ever.
    struct Endless(Option<&'static [u8]>);

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0 {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text))))),
                None => Poll::Pending,
            }
        }
    }

    fn over_http_2<B>(body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        request
    }

    async fn time_to_discard<B: Body + Unpin>(body: B) -> Duration {
        let (request, remainder) = watch(over_http_2(body));
        let began = Instant::now();
        drop(request);
        remainder.expect("it is watched").discard().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_read_within_bounds() {
        let whole = Full::new(Bytes::from_static(b"[]"));
        assert_eq!(time_to_discard(whole).await, Duration::ZERO);
        assert_eq!(time_to_discard(Endless(Some(b"x"))).await, Duration::ZERO);
        assert_eq!(time_to_discard(Endless(None)).await, PATIENCE);
    }

    #[tokio::test]
    async fn the_body_that_was_sent_is_read() {
        let (mut request, remainder) = watch(over_http_2(Full::new(Bytes::from_static(b"[]"))));
        assert_eq!(request.body().size_hint().exact(), Some(2));
        let frame = request.body_mut().frame().await.expect("a frame");
        assert_eq!(frame.expect("no error").into_data().expect("data"), "[]");
        assert!(request.body().is_end_stream());
        drop(request);
        remainder.expect("it is watched").discard().await;
    }
}
