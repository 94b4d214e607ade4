//! The connection below the frames: TCP or TLS, with what belongs to it.
//!
//! It keeps the bounds on messages while it is read ([`Boundaries`]), counts what is written, and keeps a failure to
//! write until nothing more can be read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::boundaries::{Boundaries, Refusal};
use crate::net::connections::Counted;

/// How long data may go without being acknowledged by the other end's kernel before the connection counts as lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// The transport of the bytes.
#[derive(Debug)]
pub(super) enum Transport {
    /// TCP in clear.
    Plain(TcpStream),
    /// TLS that the client has begun.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that has been upgraded.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    /// What was read together with the HTTP request.
    ahead: Bytes,
    boundaries: Boundaries,
    /// Longest message, bytes.
    pub(super) max_message: usize,
    /// Why no more is read.
    refusal: Option<Refusal>,
    /// Bytes read so far.
    pub(super) received: u64,
    /// Bytes written since this was last set to 0.
    pub(super) written: usize,
    /// Why writing failed. Reported once nothing more can be read, as the unread data may say why.
    broken: Option<io::Error>,
    has_failed: bool,
    /// The connection counts for as long as it is open, though the HTTP server is done with it.
    _counted: Option<Arc<Counted>>,
}

impl Connection {
    /// A connection from which `ahead` has been read already.
    pub(super) fn new(
        transport: Transport,
        ahead: Bytes,
        counted: Option<Arc<Counted>>,
        max_message: usize,
    ) -> Self {
        let connection = Self {
            transport,
            ahead,
            boundaries: Boundaries::default(),
            max_message,
            refusal: None,
            received: 0,
            written: 0,
            broken: None,
            has_failed: false,
            _counted: counted,
        };
        connection.bound_silence();
        connection
    }

    /// Has the kernel give the connection up if the other end's does not acknowledge.
    fn bound_silence(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) =
            socket2::SockRef::from(self.tcp()).set_tcp_user_timeout(Some(UNACKNOWLEDGED))
        {
            debug!(%error, "no bound on unacknowledged data");
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref().0,
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Bytes that have come of a message that is not complete.
    pub(super) fn unfinished(&self) -> usize {
        self.boundaries.unfinished()
    }

    /// Bytes that reading has taken room for, and may not have given back.
    pub(super) fn held(&self) -> usize {
        self.boundaries.held()
    }

    /// All buffers have been given back.
    pub(super) fn forget_buffers(&mut self) {
        self.boundaries.forget_buffers();
    }

    /// Why no more is read, if so.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Whether writing has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Ready if reading may give something. Only to be asked while the transport is known to hold no data of its own,
    /// which is so once it had nothing to give.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ahead.is_empty() || self.has_failed {
            return Poll::Ready(());
        }
        // An error is told by reading.
        self.tcp().poll_read_ready(cx).map(drop)
    }

    /// Reads and forgets. Ready at the end of the connection.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(self.transport.poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Takes the outcome of writing. After a failure, all that is written is dropped.
    fn wrote(
        &mut self,
        cx: &Context<'_>,
        length: usize,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let error = match ready!(outcome) {
            Ok(0) if length > 0 => io::ErrorKind::WriteZero.into(),
            Ok(written) => {
                self.written += written;
                return Poll::Ready(Ok(written));
            }
            Err(error) => error,
        };
        self.fail(cx, error);
        Poll::Ready(Ok(length))
    }

    fn fail(&mut self, cx: &Context<'_>, error: io::Error) {
        debug!(%error, "write failed");
        self.broken = Some(error);
        self.has_failed = true;
        // It is reported by reading, which may have been done before.
        cx.waker().wake_by_ref();
    }

    /// What reading gives where nothing more is there.
    fn end(&mut self) -> Option<io::Error> {
        self.broken.take()
    }
}

impl Transport {
    /// What the HTTP server has upgraded, and what it had read of it. Absent if it is none of our HTTP server's
    /// connections.
    pub(super) fn of(upgraded: Upgraded) -> Option<(Self, Bytes)> {
        let (transport, ahead) = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(Parts { io, read_buf, .. }) => (Self::Plain(io.into_inner()), read_buf),
            Err(upgraded) => {
                let tls = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>();
                let Parts { io, read_buf, .. } = tls.ok()?;
                (Self::Tls(Box::new(io.into_inner())), read_buf)
            }
        };
        // Copied, because it shares the buffer of the HTTP server, which is much larger.
        Some((transport, Bytes::copy_from_slice(&ahead)))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refusal.is_some() {
            // Whoever polls asks for the refusal then, and polls no more.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.ahead.is_empty() {
            match this.transport.poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {}
                nothing => {
                    return match (this.end(), nothing) {
                        (Some(error), _) => Poll::Ready(Err(error)),
                        (None, nothing) => nothing,
                    };
                }
            }
        } else {
            let part = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..part]);
            this.ahead.advance(part);
        }
        let came = &buf.filled()[before..];
        this.received += came.len() as u64;
        if let Err(refused) = this.boundaries.follow(came, this.max_message) {
            this.refusal = Some(refused.why);
            buf.set_filled(before + refused.at);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = slices.iter().map(|slice| slice.len()).sum();
        if this.has_failed {
            return Poll::Ready(Ok(length));
        }
        let outcome = match &mut this.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Transport::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        };
        this.wrote(cx, length, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let (false, Transport::Tls(tls)) = (this.has_failed, &mut this.transport)
            && let Err(error) = ready!(Pin::new(tls).poll_flush(cx))
        {
            this.fail(cx, error);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
