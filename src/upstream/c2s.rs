//! An open stream over TCP or TLS, driven by polling.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use jid::{BareJid, DomainPart};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::{UpstreamError, UpstreamEvent, tls::Tls};
use crate::{
    config,
    proto::{
        stanza::Stanza,
        stream::initiator::{CLOSE, Event, Stream, header},
    },
};

/// Bytes read at once.
const READ: usize = 16 * 1024;
/// Reads in one poll; then others get their turn.
const READS: usize = 8;
/// Chunks written at once.
const SLICES: usize = 16;
/// Shorter chunks are gathered: to keep each by itself would take more than its length.
const SMALL: usize = 1024;

thread_local! {
    /// What is read goes here first, so that idle connections hold no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// What the connections of one host have in common.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) domain: DomainPart,
    pub(super) upstream: config::Upstream,
    /// `None`: never TLS.
    pub(super) tls: Option<Tls>,
}

/// An open stream to the XMPP server. Dropping it cuts the connection.
#[derive(Debug)]
pub struct Upstream {
    host: Arc<Host>,
    transport: Transport,
    /// What arrives.
    stream: Stream,
    /// What is to be sent.
    outgoing: VecDeque<Bytes>,
    /// What follows that: short chunks, gathered.
    gathered: BytesMut,
    /// Sum of the lengths of all that.
    queued: usize,
    /// `from` of the stream headers.
    from: Option<Box<str>>,
    /// `</stream:stream>` is queued or sent.
    closing: bool,
    /// Something has been read, and nothing written since, so that the kernel may be holding back its
    /// acknowledgement.
    is_unacknowledged: bool,
    /// Writing failed. Told once nothing more can be read, as that may say why.
    broken: Option<io::Error>,
}

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Upstream {
    /// Nothing is sent before [`Self::restart`]. `from` is the client, to be told to the server.
    pub(super) fn new(host: &Arc<Host>, transport: Transport, from: Option<&BareJid>) -> Self {
        Self {
            host: Arc::clone(host),
            transport,
            stream: Stream::new(),
            outgoing: VecDeque::new(),
            gathered: BytesMut::new(),
            queued: 0,
            from: from.map(|from| from.as_str().into()),
            closing: false,
            is_unacknowledged: false,
            broken: None,
        }
    }

    /// Queues a stanza. The queue has no bound of its own, see [`Self::queued`].
    pub fn queue(&mut self, stanza: &Stanza) {
        for chunk in stanza.chunks() {
            self.queue_bytes(chunk);
        }
    }

    /// Queues bytes that continue the stream. After [`Self::close`] they are dropped.
    pub fn queue_bytes(&mut self, bytes: Bytes) {
        if self.closing || self.broken.is_some() || bytes.is_empty() {
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
            // Taken whole, so that an idle connection holds no buffer.
            let gathered = std::mem::take(&mut self.gathered);
            self.outgoing.push_back(gathered.freeze());
        }
    }

    /// Queues one space unless something else is on its way (RFC 6120 §4.6.1). Not before the end
    /// of SASL.
    pub fn keepalive(&mut self) {
        if self.queued == 0 {
            self.queue_bytes(Bytes::from_static(b" "));
        }
    }

    /// Begins a new stream on the same connection (RFC 6120 §4.3.3, after SASL). The server's
    /// features will come as an event.
    pub fn restart(&mut self, lang: Option<&str>) {
        let header = header(self.host.domain.as_str(), self.from.as_deref(), lang);
        self.stream.restart();
        self.queue_bytes(header);
    }

    /// Queues the end of the stream. The server answers with [`UpstreamEvent::Closed`].
    pub fn close(&mut self) {
        self.queue_bytes(CLOSE);
        self.closing = true;
    }

    /// Has the kernel acknowledge now what has been read, unless something written has done so.
    ///
    /// Prosody leaves Nagle's algorithm on, and writes what stream management has to say by itself: the next
    /// stanza then waits in its kernel for an acknowledgement that ours would hold back for 40 ms. Linux
    /// forgets the option with each write.
    pub fn acknowledge(&mut self) {
        if std::mem::take(&mut self.is_unacknowledged) {
            // A connection that has just broken says so elsewhere.
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

    /// Bytes not yet written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether the kernel acknowledges at once what comes now.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn acknowledges_at_once(&self) -> bool {
        self.tcp().quickack().expect("an open connection")
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Writes what is queued and, if `read`, reads. One event at a time: poll again until
    /// `Pending`, when the task will be woken for whichever of the two can go on. Without `read`
    /// there is no event and no error; the server's data stay where they are. Nothing is lost when
    /// the caller stops polling.
    ///
    /// # Errors
    /// Any error is final, and comes after the last event.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        read: bool,
    ) -> Poll<Result<UpstreamEvent, UpstreamError>> {
        self.poll_write(cx);
        if !read {
            return Poll::Pending;
        }
        loop {
            let event = match ready!(self.poll_event(cx))? {
                // Ours was answered; the features tell what matters.
                Event::Header(_) => continue,
                Event::Features(features) => UpstreamEvent::Features(features),
                Event::Stanza(stanza) => UpstreamEvent::Stanza(stanza),
                Event::Unreadable(husk) => UpstreamEvent::Unreadable(husk),
                Event::Error(error) => UpstreamEvent::StreamError(error),
                Event::Closed => UpstreamEvent::Closed,
            };
            return Poll::Ready(Ok(event));
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, UpstreamError>> {
        for _ in 0..READS {
            if let Some(event) = self.stream.poll_event()? {
                return Poll::Ready(Ok(event));
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.lost(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.lost(Some(error)))),
                Poll::Pending if self.broken.is_some() => return Poll::Ready(Err(self.lost(None))),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn lost(&mut self, error: Option<io::Error>) -> UpstreamError {
        match self.broken.take().or(error) {
            // So does rustls call an end without close_notify.
            Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => UpstreamError::Eof,
            Some(error) => UpstreamError::Lost(error),
            None => UpstreamError::Eof,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(match &mut self.transport {
                Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buf),
                Transport::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buf),
            })?;
            self.stream.handle_bytes(buf.filled());
            self.is_unacknowledged = true;
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) {
        if self.broken.is_some() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.try_write(cx) {
            debug!(%error, "upstream write failed");
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
        // rustls may have encrypted more than the socket took.
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
        // A burst must not cost an idle session its memory.
        self.outgoing.shrink_to(4);
    }

    /// The next event of a stream that is still being opened.
    pub(super) async fn next(&mut self) -> Result<Event, UpstreamError> {
        poll_fn(|cx| {
            self.poll_write(cx);
            self.poll_event(cx)
        })
        .await
    }

    /// The bare connection, on which TLS is to begin. `None` if it has TLS, or if there are bytes
    /// in clear that would have to be taken for part of what follows.
    pub(super) fn into_plain(self) -> Option<TcpStream> {
        match self.transport {
            Transport::Plain(tcp) if !self.stream.has_unread() => Some(tcp),
            _ => None,
        }
    }
}
