//! Usage of a connection: whether it had been used before, and closed without another answer.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Extensions, Uri};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection},
    },
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Service;

/// How a connection has been used. One task at a time uses the connection, and reads this when its request has failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// An answer has come before what was written last.
    answered_before: AtomicBool,
    /// A byte has come since something was written.
    answered: AtomicBool,
}

impl Usage {
    /// The usage of the connection that `error` is about, if there was one.
    pub(super) fn of(error: &legacy::Error) -> Option<Self> {
        let mut extras = Extensions::new();
        error.connect_info()?.get_extras(&mut extras);
        extras.remove()
    }

    /// Whether it had been used before, and nothing has come since the last request.
    pub(super) fn closed_while_idle(&self) -> bool {
        self.0.answered_before.load(Ordering::Acquire) && !self.0.answered.load(Ordering::Acquire)
    }

    fn writes(&self) {
        if self.0.answered.swap(false, Ordering::AcqRel) {
            self.0.answered_before.store(true, Ordering::Release);
        }
    }

    fn has_read(&self) {
        self.0.answered.store(true, Ordering::Release);
    }
}

/// A connector whose connections are watched.
#[derive(Clone, Debug)]
pub(super) struct Watching<C>(pub(super) C);

impl<C: Service<Uri, Future: Send + 'static>> Service<Uri> for Watching<C> {
    type Response = TokioIo<Watched<TokioIo<C::Response>>>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async {
            let inner = TokioIo::new(connecting.await?);
            let usage = Usage::default();
            Ok(TokioIo::new(Watched { inner, usage }))
        })
    }
}

/// A connection that keeps a [`Usage`].
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    usage: Usage,
}

impl<T: Connection> Connection for Watched<T> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.usage.clone())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.usage.has_read();
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.usage.writes();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
