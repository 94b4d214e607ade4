//! Connection over TCP or TLS, driven by polling: a queue of chunks to write, and bytes to read.
//!
//! What the bytes mean is not known here. A wire has no task: its owner polls it, and dropping it closes the
//! connection.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use tracing::debug;

/// Bytes read at once.
const READ: usize = 16 * 1024;
/// Chunks written at once.
const SLICES: usize = 16;
/// Chunks shorter than this are gathered: each by itself would take more memory than its length.
const SMALL: usize = 1024;

thread_local! {
    /// The buffer that all reads share, so that idle connections hold none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// How a wire ends.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other end has closed it.
    #[error("connection closed")]
    Closed,
    /// It broke.
    #[error("connection lost")]
    Lost(#[source] io::Error),
}

/// The transport of the bytes.
#[derive(Debug)]
pub enum Transport {
    /// TCP in clear.
    Plain(TcpStream),
    /// TLS that we have begun.
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection, and what is to be written to it.
#[derive(Debug)]
pub struct Wire {
    transport: Transport,
    /// Chunks to be sent.
    outgoing: VecDeque<Bytes>,
    /// Short chunks that follow those, gathered.
    gathered: BytesMut,
    /// Sum of the lengths of both.
    queued: usize,
    /// Data was read and nothing written since, so that the kernel may be delaying its TCP acknowledgement.
    is_unacknowledged: bool,
    /// Why writing failed. Reported once nothing more can be read, as the unread data may say why.
    broken: Option<io::Error>,
}

impl Wire {
    /// A wire on which nothing has been read or written yet.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            outgoing: VecDeque::new(),
            gathered: BytesMut::new(),
            queued: 0,
            is_unacknowledged: false,
            broken: None,
        }
    }

    /// Queues bytes to be written by [`Self::poll_write`]. The queue has no bound of its own, see [`Self::queued`].
    /// Once writing has failed they are dropped.
    pub fn queue(&mut self, bytes: Bytes) {
        if self.broken.is_some() || bytes.is_empty() {
            return;
        }
        self.queued += bytes.len();
        if bytes.len() < SMALL {
            self.gathered.extend_from_slice(&bytes);
        } else {
            self.take_gathered();
            self.outgoing.push_back(bytes);
        }
    }

    fn take_gathered(&mut self) {
        if !self.gathered.is_empty() {
            // Taken with its memory, so that an idle connection holds no buffer.
            let gathered = std::mem::take(&mut self.gathered);
            self.outgoing.push_back(gathered.freeze());
        }
    }

    /// Bytes not yet written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// The bare connection, if it is in clear. What is still queued is lost.
    pub fn into_plain(self) -> Option<TcpStream> {
        match self.transport {
            Transport::Plain(tcp) => Some(tcp),
            Transport::Tls(_) => None,
        }
    }

    /// Has the kernel acknowledge now what has been read, unless a write has done so.
    ///
    /// Prosody leaves Nagle's algorithm on, and writes the elements of stream management separately. Its next stanza
    /// then waits for a TCP acknowledgement, which our kernel would delay by 40 ms. Linux forgets the option with each
    /// write.
    pub fn acknowledge(&mut self) {
        if std::mem::take(&mut self.is_unacknowledged) {
            // If the connection has just broken, a read or a write reports it.
            #[cfg(target_os = "linux")]
            let _ = self.tcp().set_quickack(true);
        }
    }

    #[cfg(target_os = "linux")]
    fn tcp(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Whether the kernel acknowledges at once what comes next.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn acknowledges_at_once(&self) -> bool {
        self.tcp().quickack().expect("an open connection")
    }

    /// Reads once, and gives `take` what has come.
    ///
    /// # Errors
    ///
    /// At the end of the connection, which is final. A failed write is reported here, once nothing more can be read.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]),
    ) -> Poll<Result<(), WireError>> {
        let error = match self.try_read(cx, take) {
            Poll::Ready(Ok(0)) => None,
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Some(error),
            Poll::Pending if self.broken.is_some() => None,
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Err(match self.broken.take().or(error) {
            // rustls reports an end without close_notify in this way.
            Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => WireError::Closed,
            Some(error) => WireError::Lost(error),
            None => WireError::Closed,
        }))
    }

    fn try_read(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(match &mut self.transport {
                Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buf),
                Transport::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buf),
            })?;
            take(buf.filled());
            self.is_unacknowledged = true;
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    /// Writes as much of the queue as the connection takes. If something is left, the task will be woken. A failure is
    /// reported by [`Self::poll_read`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>) {
        if self.broken.is_some() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.try_write(cx) {
            debug!(%error, "write failed");
            self.broken = Some(error);
            self.outgoing = VecDeque::new();
            self.gathered = BytesMut::new();
            self.queued = 0;
        }
    }

    fn try_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.queued > 0 {
            if self.outgoing.is_empty() {
                self.take_gathered();
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, chunk) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(chunk);
            }
            let slices = &slices[..self.outgoing.len().min(SLICES)];
            let written = ready!(match &mut self.transport {
                Transport::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
                Transport::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
        // rustls may hold encrypted data that the socket has not taken yet.
        match &mut self.transport {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn written(&mut self, mut count: usize) {
        self.queued -= count;
        self.is_unacknowledged = false;
        while let Some(chunk) = self.outgoing.front_mut() {
            if count < chunk.len() {
                chunk.advance(count);
                return;
            }
            count -= chunk.len();
            self.outgoing.pop_front();
        }
        // After a burst, an idle session must not keep the memory for it.
        self.outgoing.shrink_to(4);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn wire() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap());
        let (tcp, accepted) = tokio::join!(tcp, listener.accept());
        (
            Wire::new(Transport::Plain(tcp.unwrap())),
            accepted.unwrap().0,
        )
    }

    async fn read(wire: &mut Wire) -> Result<Vec<u8>, WireError> {
        poll_fn(|cx| {
            let mut bytes = Vec::new();
            wire.poll_write(cx);
            let read = wire.poll_read(cx, |read| bytes.extend(read));
            read.map_ok(|()| bytes)
        })
        .await
    }

    #[tokio::test]
    async fn chunks_of_any_size_are_written_in_order() {
        let (mut wire, mut other) = wire().await;
        let chunks = [1, SMALL, 2, 3, 64 * SMALL, SMALL - 1].map(|length| vec![b'x'; length]);
        let mut expected = Vec::new();
        for (chunk, letter) in chunks.into_iter().zip(b'a'..) {
            let chunk: Vec<u8> = chunk.iter().map(|_| letter).collect();
            expected.extend(&chunk);
            wire.queue(chunk.into());
        }
        assert_eq!(wire.queued(), expected.len());
        let echo = async {
            let mut bytes = vec![0; expected.len()];
            other.read_exact(&mut bytes).await.unwrap();
            other.write_all(b"thanks").await.unwrap();
            bytes
        };
        let (heard, bytes) = tokio::join!(read(&mut wire), echo);
        assert_eq!((heard.unwrap(), bytes), (b"thanks".to_vec(), expected));
        assert_eq!(wire.queued(), 0);
    }

    #[tokio::test]
    async fn a_lost_connection_is_told_after_what_came_before() {
        let (mut wire, mut other) = wire().await;
        other.write_all(b"why").await.unwrap();
        drop(other);
        assert_eq!(read(&mut wire).await.unwrap(), b"why");
        assert!(matches!(read(&mut wire).await, Err(WireError::Closed)));
    }
}
