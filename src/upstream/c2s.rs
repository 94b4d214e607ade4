//! Stream to the XMPP server over TCP or TLS, driven by polling: a [`Wire`], and the initiator's state machine.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use jid::{BareJid, DomainPart};
use tokio::net::TcpStream;

use super::{
    UpstreamError, UpstreamEvent,
    tls::{Tls, is_this_machine},
};
use crate::{
    config,
    net::wire::{Transport, Wire},
    proto::{
        stanza::Stanza,
        stream::initiator::{CLOSE, Event, Stream, header},
    },
};

/// Most reads in one poll, so that other tasks get their turn.
const READS: usize = 8;

/// What the connections of one host share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) domain: DomainPart,
    pub(super) config: config::Upstream,
    /// `None` if TLS is never used.
    pub(super) tls: Option<Tls>,
}

impl Server {
    /// Whether nobody on the way can read what it is sent.
    pub(super) fn is_private(&self) -> bool {
        self.tls.is_some() || is_this_machine(&self.config.place.address)
    }
}

/// An open stream to the XMPP server. Dropping it cuts the connection.
#[derive(Debug)]
pub struct Connection {
    server: Arc<Server>,
    wire: Wire,
    /// Splits and checks what arrives.
    stream: Stream,
    /// `from` of the stream headers.
    from: Option<Box<str>>,
    /// `</stream:stream>` is queued or sent.
    closing: bool,
}

impl Connection {
    /// Sends nothing before [`Self::restart`]. `from` is the client, which the stream headers name to the server.
    pub(super) fn new(server: &Arc<Server>, transport: Transport, from: Option<&BareJid>) -> Self {
        Self {
            server: Arc::clone(server),
            wire: Wire::new(transport),
            stream: Stream::new(),
            from: from.map(|from| from.as_str().into()),
            closing: false,
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
        if !self.closing {
            self.wire.queue(bytes);
        }
    }

    /// Queues one space unless something else is on its way (RFC 6120 §4.6.1). Not before the end
    /// of SASL.
    pub fn keepalive(&mut self) {
        if self.queued() == 0 {
            self.queue_bytes(Bytes::from_static(b" "));
        }
    }

    /// Begins a new stream on the same connection (RFC 6120 §4.3.3, after SASL). The server's
    /// features will come as an event.
    pub fn restart(&mut self, lang: Option<&str>) {
        let header = header(self.server.domain.as_str(), self.from.as_deref(), lang);
        self.stream.restart();
        self.queue_bytes(header);
    }

    /// Queues the end of the stream. The server answers with [`UpstreamEvent::Closed`].
    pub fn close(&mut self) {
        self.queue_bytes(CLOSE);
        self.closing = true;
    }

    /// Has the kernel acknowledge now what has been read, see [`Wire::acknowledge`].
    pub fn acknowledge(&mut self) {
        self.wire.acknowledge();
    }

    /// Bytes not yet written.
    pub fn queued(&self) -> usize {
        self.wire.queued()
    }

    /// Whether the kernel acknowledges at once what comes next.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn acknowledges_at_once(&self) -> bool {
        self.wire.acknowledges_at_once()
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.wire.is_encrypted()
    }

    /// Writes what is queued and, if `read`, reads. Gives one event at a time: poll again until `Pending`. The task is
    /// then woken when reading or writing can go on. Without `read` there is no event and no error, and the server's
    /// data stay where they are. Nothing is lost when the caller stops polling.
    ///
    /// # Errors
    /// Any error is final, and comes after the last event.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        read: bool,
    ) -> Poll<Result<UpstreamEvent, UpstreamError>> {
        self.wire.poll_write(cx);
        if !read {
            return Poll::Pending;
        }
        loop {
            let event = match ready!(self.poll_event(cx))? {
                // The answer to our header; the features, which follow, tell what matters.
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
            let stream = &mut self.stream;
            ready!(self.wire.poll_read(cx, |bytes| stream.handle_bytes(bytes)))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next event of a stream that is still being opened.
    pub(super) async fn next(&mut self) -> Result<Event, UpstreamError> {
        poll_fn(|cx| {
            self.wire.poll_write(cx);
            self.poll_event(cx)
        })
        .await
    }

    /// The bare connection, on which TLS is to begin. `None` if it has TLS already, or if there are unread bytes in
    /// clear, which would be taken for part of what follows.
    pub(super) fn into_plain(self) -> Option<TcpStream> {
        if self.stream.has_unread() {
            return None;
        }
        self.wire.into_plain()
    }
}
