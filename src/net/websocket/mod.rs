//! WebSocket (RFC 6455), the server's side: text messages in and out, pings, and the closing handshake.
//!
//! The framing is the library's (`tokio-websockets`): it checks frames and UTF-8, puts messages together, and answers
//! pings and Close frames. What the library lets pass is bounded here: the length of a message and its number of
//! frames (`boundaries`), and the pongs that a client has not taken. What messages mean is not known here.
//!
//! A socket has no task: its owner polls it, and dropping it closes the connection. An idle one has no buffer (measured
//! with 3,000 that had each echoed 20 kB: 1.3 KB of resident memory, its task included):
//!
//! ```text
//!            something can be read, or is to be sent
//!          +-----------------------------------------+
//!          |                                         v
//!     Resting: the connection alone          Working: with the library's buffers
//!          ^                                         |
//!          +-----------------------------------------+
//!            all is written, and no message is incomplete
//! ```

use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Sink as _, Stream as _};
use hyper::upgrade::Upgraded;
use tokio::{io::AsyncWrite as _, task::coop};
use tokio_websockets::{
    CloseCode, Config, Error, Limits, Message, ServerBuilder, WebSocketStream, proto::ProtocolError,
};

use self::{
    boundaries::Refusal,
    connection::{Connection, Transport},
};
use super::{
    connections::Counted,
    unfinished::{Charge, SHORT, Unfinished},
    wake_flag::WakeFlag,
};

mod boundaries;
mod connection;

#[cfg(test)]
mod tests;

/// Pongs that may wait to be written before the client is read no further.
const PONGS: usize = 8;
/// Bytes of a message that count as much as a short message, for how much a task reads before others have their turn.
const STEP: usize = 2048;
/// Messages shorter than this are copied: they would keep the whole read buffer, which has 8 KiB at least.
const SMALL: usize = 4096;

/// What a client has sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// A text message, which is UTF-8.
    Text(Bytes),
    /// A ping. It has been answered.
    Ping,
    /// A pong, with the number of our ping ([`Socket::ping`]) that it answers.
    Pong(Option<u64>),
    /// A Close frame, with its code. It has been answered, and nothing follows.
    Closed(Option<u16>),
}

/// How reading ends, unless by [`Received::Closed`].
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The connection is gone without a Close frame: its end, a reset, or a failure to write.
    #[error("connection lost")]
    Lost(#[source] io::Error),
    /// A message is longer than it may be, or in too many frames. No Close has been queued, so that the owner can say
    /// more before it closes with 1009.
    #[error("message too long")]
    TooLong,
    /// A binary message. Close 1003 has been queued.
    #[error("binary message")]
    Binary,
    /// Frames against RFC 6455. Close 1002 has been queued.
    #[error("protocol violation")]
    Violation,
    /// Text that is no UTF-8. Close 1007 has been queued.
    #[error("text that is not utf-8")]
    Encoding,
    /// A message that was incomplete when there was too much of such from all clients. Close 1008 has been queued.
    #[error("too much of unfinished messages")]
    GivenUp,
}

/// What went over a WebSocket from its upgrade to its end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Bytes that the client has sent, frames included.
    pub received: u64,
    /// Bytes that the connection has taken for it.
    pub sent: u64,
    /// The code of the first Close frame, be it the client's or ours; absent if it has none, or none went.
    pub code: Option<u16>,
}

/// One WebSocket, and what is to be written to it.
#[derive(Debug)]
pub struct Socket {
    /// Absent while working.
    resting: Option<Connection>,
    working: Option<Box<WebSocketStream<Connection>>>,
    /// The library has nothing that it has read and not given out.
    is_drained: bool,
    /// Bytes written until everything was last written.
    taken: u64,
    /// Bytes queued since then.
    pushed: usize,
    is_flushed: bool,
    /// Pongs queued, and not known to be written.
    pongs: usize,
    /// Where the last of them ends, counted as `pushed` is.
    pongs_end: usize,
    /// A Close frame of ours is queued or sent.
    is_closing: bool,
    /// Nothing more is read.
    is_finished: bool,
    is_shut: bool,
    /// The code of the first Close frame.
    code: Option<u16>,
    witness: Option<Witness>,
    /// Where unfinished messages count.
    unfinished: Option<(Arc<Unfinished>, Option<IpAddr>)>,
    charge: Option<Charged>,
}

/// Whoever wants to know how a WebSocket ended.
struct Witness(Box<dyn FnOnce(Traffic) + Send>);

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

/// A long message that is not complete.
#[derive(Debug)]
struct Charged {
    charge: Charge,
    given_up: Arc<WakeFlag>,
}

impl Socket {
    /// A WebSocket over a connection that [`super::http_server`] has upgraded; absent if it comes from elsewhere. It
    /// keeps `counted` for as long as it lives. A message may have `max_message` bytes.
    pub fn new(
        upgraded: Upgraded,
        counted: Option<Arc<Counted>>,
        max_message: usize,
    ) -> Option<Self> {
        let (transport, ahead) = Transport::of(upgraded)?;
        let connection = Connection::new(transport, ahead, counted, max_message);
        Some(Self::over(connection))
    }

    fn over(connection: Connection) -> Self {
        Self {
            resting: Some(connection),
            working: None,
            is_drained: true,
            taken: 0,
            pushed: 0,
            is_flushed: true,
            pongs: 0,
            pongs_end: 0,
            is_closing: false,
            is_finished: false,
            is_shut: false,
            code: None,
            witness: None,
            unfinished: None,
            charge: None,
        }
    }

    /// Has `witness` called when the WebSocket is dropped.
    pub fn on_end(&mut self, witness: impl FnOnce(Traffic) + Send + 'static) {
        self.witness = Some(Witness(Box::new(witness)));
    }

    /// Has messages that are not complete count as `unfinished`, for the client at `address` if that is known.
    pub fn charge_to(&mut self, unfinished: &Arc<Unfinished>, address: Option<IpAddr>) {
        self.unfinished = Some((Arc::clone(unfinished), address));
    }

    /// Sets the length that a message may have from the next frame on.
    pub fn set_max_message(&mut self, bytes: usize) {
        self.connection_mut().max_message = bytes;
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.connection().is_encrypted()
    }

    /// Whether nothing more can be read.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Bytes that have come of a message that is not complete.
    pub fn unfinished(&self) -> usize {
        self.connection().unfinished()
    }

    /// Bytes that wait to be written, frames included. Over TLS, some more may wait in encrypted form.
    pub fn queued(&self) -> usize {
        let connection = self.connection();
        match connection.has_failed() {
            true => 0,
            false => self.pushed.saturating_sub(connection.written),
        }
    }

    /// Bytes that the connection has taken so far.
    pub fn taken(&self) -> u64 {
        self.taken + self.connection().written as u64
    }

    /// Queues a text message, to be written by [`Self::poll_write`]. The queue has no bound of its own. Dropped after
    /// a Close frame, and once writing has failed.
    pub fn send(&mut self, text: Bytes) {
        self.push(Message::text(text));
    }

    /// Queues a ping. Its pong has the same number.
    pub fn ping(&mut self, number: u64) {
        self.push(Message::ping(Bytes::copy_from_slice(&number.to_be_bytes())));
    }

    /// Queues a Close frame, unless there has been one. Nothing is sent after it. The client is still read, until it
    /// answers.
    ///
    /// # Panics
    ///
    /// If `code` is none that may be sent.
    pub fn close(&mut self, code: u16) {
        let close_code = CloseCode::try_from(code).expect("one of those of RFC 6455 §7.4");
        self.push(Message::close(Some(close_code), ""));
        self.closed(Some(code));
    }

    /// A Close frame has come, or is queued.
    fn closed(&mut self, code: Option<u16>) {
        if !self.is_closing {
            self.code = code;
        }
        self.is_closing = true;
    }

    fn push(&mut self, message: Message) {
        if self.is_closing || self.connection().has_failed() {
            return;
        }
        let length = message.as_payload().len();
        // Refused after a Close frame only, and then there is nothing to be sent.
        if Pin::new(self.work()).start_send(message).is_ok() {
            self.pushed(length);
        }
    }

    /// Counts a frame that has been queued.
    fn pushed(&mut self, payload: usize) {
        let header = match payload {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        self.pushed += header + payload;
        self.is_flushed = false;
    }

    /// Writes as much as the connection takes. Ready when nothing is left. A failure is reported by
    /// [`Self::poll_read`], for which the task is woken.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_flushed {
            return Poll::Ready(());
        }
        // The connection keeps its failures to itself.
        let _ = ready!(Pin::new(self.work()).poll_flush(cx));
        self.pushed = 0;
        self.pongs = 0;
        self.is_flushed = true;
        self.taken += std::mem::take(&mut self.connection_mut().written) as u64;
        self.rest();
        Poll::Ready(())
    }

    /// The next of what the client has sent. Pending for ever after [`Received::Closed`] and after an error: what still
    /// comes is read and forgotten, so that a client that writes before it reads comes to read what it is told. Pending
    /// as well, for a moment, when a task has read so much that others should have their turn.
    ///
    /// What this queues (answers to pings and to Close) is written by [`Self::poll_write`]. While the client does not
    /// take its pongs, it is not read.
    ///
    /// # Errors
    ///
    /// When nothing more can be read.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, SocketError>> {
        if self.is_finished {
            ready!(self.connection_mut().poll_discard(cx));
            return Poll::Pending;
        }
        if let Some(connection) = &self.resting {
            ready!(connection.poll_readable(cx));
        }
        if self.pongs >= PONGS && self.poll_write(cx).is_pending() {
            if self.connection().written < self.pongs_end {
                return Poll::Pending;
            }
            self.pongs = 0;
        }
        // The library may hold thousands of frames, and has its owner read them without a pause.
        let turn = ready!(coop::poll_proceed(cx));
        let stream = self.work();
        let next = Pin::new(&mut *stream).poll_next(cx);
        let refusal = stream.get_ref().refusal();
        self.is_drained = next.is_pending();
        let mut received = match next {
            Poll::Ready(Some(Ok(message))) => Some(self.receive(message)),
            Poll::Ready(Some(Err(error))) => Some(Err(self.violated(error))),
            Poll::Ready(None) => Some(Err(SocketError::Lost(io::ErrorKind::UnexpectedEof.into()))),
            Poll::Pending => match refusal {
                Some(Refusal::TooLong) => Some(Err(SocketError::TooLong)),
                Some(Refusal::Length) => {
                    self.close(1002);
                    Some(Err(SocketError::Violation))
                }
                None => None,
            },
        };
        if received.is_none() {
            self.rest();
        }
        // A message is as unfinished as before if a ping or a pong comes within it.
        if !matches!(
            &received,
            None | Some(Ok(Received::Ping | Received::Pong(_)))
        ) {
            self.charge = None;
        } else if self.poll_given_up(cx).is_ready() {
            self.close(1008);
            received = Some(Err(SocketError::GivenUp));
        }
        let Some(received) = received else {
            return Poll::Pending;
        };
        turn.made_progress();
        if let Ok(Received::Text(text)) = &received {
            take_turns(text.len() / STEP, cx);
        }
        self.is_finished |= matches!(received, Err(_) | Ok(Received::Closed(_)));
        Poll::Ready(received)
    }

    /// Charges the client for what has come of a long message, and for the buffer of one before. Ready when that is
    /// given up for others.
    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let size = self.connection().held();
        let Some((unfinished, address)) = self.unfinished.as_ref().filter(|_| size > SHORT) else {
            self.charge = None;
            return Poll::Pending;
        };
        let charged = self.charge.get_or_insert_with(|| {
            let given_up = Arc::<WakeFlag>::default();
            let reader = Arc::<WakeFlag>::clone(&given_up);
            Charged {
                charge: unfinished.track(*address, reader),
                given_up,
            }
        });
        charged.charge.grow_to(size);
        charged.given_up.poll(cx)
    }

    fn receive(&mut self, message: Message) -> Result<Received, SocketError> {
        let length = message.as_payload().len();
        if let Some((code, _)) = message.as_close() {
            let code = Some(u16::from(code)).filter(|_| length > 0);
            if !self.is_closing {
                self.pushed(length.min(2));
            }
            self.closed(code);
            return Ok(Received::Closed(code));
        }
        if message.is_binary() {
            self.close(1003);
            return Err(SocketError::Binary);
        }
        if message.is_ping() {
            if !self.is_closing {
                self.pushed(length);
                self.pongs += 1;
                self.pongs_end = self.pushed;
            }
            return Ok(Received::Ping);
        }
        let is_pong = message.is_pong();
        let payload = Bytes::from(message.into_payload());
        if is_pong {
            let number = payload[..].try_into().ok().map(u64::from_be_bytes);
            return Ok(Received::Pong(number));
        }
        Ok(Received::Text(match payload.len() < SMALL {
            true => Bytes::copy_from_slice(&payload),
            false => payload,
        }))
    }

    /// What an error of the library is. It has queued a Close frame then, unless there was one.
    fn violated(&mut self, error: Error) -> SocketError {
        match error {
            Error::Io(error) => SocketError::Lost(error),
            error => {
                self.is_flushed = false;
                let (code, error) = match error {
                    Error::Protocol(ProtocolError::InvalidUtf8) => (1007, SocketError::Encoding),
                    _ => (1002, SocketError::Violation),
                };
                self.closed(Some(code));
                error
            }
        }
    }

    /// Writes what is left, shuts the connection down, and waits for the client to do so, too. The caller has a
    /// deadline for that.
    ///
    /// What the client still sends is read and forgotten: a connection that is closed with unread data is reset, which
    /// may lose what it was sent.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.is_finished = true;
        let discarded = self.connection_mut().poll_discard(cx);
        if !self.is_shut {
            ready!(self.poll_write(cx));
            // A connection that is broken is shut.
            let _ = ready!(Pin::new(self.connection_mut()).poll_shutdown(cx));
            self.is_shut = true;
        }
        discarded
    }

    fn connection(&self) -> &Connection {
        match (&self.resting, &self.working) {
            (Some(connection), _) => connection,
            (None, working) => working.as_ref().expect("resting or working").get_ref(),
        }
    }

    fn connection_mut(&mut self) -> &mut Connection {
        match (&mut self.resting, &mut self.working) {
            (Some(connection), _) => connection,
            (None, working) => working.as_mut().expect("resting or working").get_mut(),
        }
    }

    /// Begins to work, if it rests.
    fn work(&mut self) -> &mut WebSocketStream<Connection> {
        if let Some(connection) = self.resting.take() {
            let builder = ServerBuilder::new()
                // Bounded by the connection, which lets the owner speak before the Close frame.
                .limits(Limits::unlimited())
                .config(Config::default().frame_size(usize::MAX));
            self.working = Some(Box::new(builder.serve(connection)));
        }
        self.working.as_mut().expect("resting or working")
    }

    /// Rests, if nothing is under way in either direction.
    fn rest(&mut self) {
        let connection = self.connection();
        let is_idle = self.is_drained
            && self.is_flushed
            && !self.is_closing
            && connection.unfinished() == 0
            && !connection.has_failed();
        if is_idle && let Some(working) = self.working.take() {
            let mut connection = working.into_inner();
            connection.forget_buffers();
            self.resting = Some(connection);
            self.charge = None;
        }
    }
}

/// Takes so many operations from what a task may do before others have their turn, or all that is left.
fn take_turns(count: usize, cx: &mut Context<'_>) {
    for _ in 0..count {
        match coop::poll_proceed(cx) {
            Poll::Ready(turn) => turn.made_progress(),
            Poll::Pending => break,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(Witness(witness)) = self.witness.take() {
            witness(Traffic {
                received: self.connection().received,
                sent: self.taken(),
                code: self.code,
            });
        }
    }
}
