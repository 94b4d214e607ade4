//! End of a WebSocket: closes first the stream, then the connection, each in good order and within a short time
//! (RFC 7395 §3.6, RFC 6455 §7).
//!
//! ```text
//!            the client's <close/> or Close, 2 s             written, 2 s or 0.5 s
//!  Hearing ------------------------------------> Closing ----------------------> done
//! ```
//!
//! A connection that cannot be read any more is closed at once. A client that did not answer in its time gets less for
//! the rest: it is most likely gone, and what is written reaches it all the same if it is not.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::{
    net::websocket::{Received, Socket},
    proto::{stanza::Stanza, stream::framing},
};

/// How long each step may take.
const STEP: Duration = Duration::from_secs(2);
/// The same for a client that has not answered.
const UNHEARD: Duration = Duration::from_millis(500);

/// A WebSocket on which nothing but the end is to be said.
pub struct Farewell {
    socket: Socket,
    /// Status code of our Close frame.
    code: u16,
    phase: Phase,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The stream has been closed by us. The client may close its side, and then the connection.
    Hearing {
        /// Whether the client closed the stream first, so that only its Close frame can follow.
        is_answer: bool,
    },
    /// Our Close frame is being written.
    Closing,
}

impl Farewell {
    /// Closes the stream, after the stream error if there is one.
    pub fn begin(mut socket: Socket, error: Option<&Stanza>, code: u16, now: Instant) -> Self {
        if let Some(error) = error {
            socket.send(error.to_bytes());
        }
        Self::close_stream(socket, code, false, now)
    }

    /// Answers the client's `<close/>`.
    pub(super) fn answer(socket: Socket, now: Instant) -> Self {
        Self::close_stream(socket, NORMAL, true, now)
    }

    fn close_stream(mut socket: Socket, code: u16, is_answer: bool, now: Instant) -> Self {
        socket.send(framing::CLOSE);
        if socket.is_finished() {
            // An answer could not be read, so that none is waited for.
            return Self::hang_up(socket, code, now);
        }
        Self {
            socket,
            code,
            phase: Phase::Hearing { is_answer },
            deadline: now + STEP,
        }
    }

    /// Closes the connection without a word about the stream.
    pub(super) fn hang_up(socket: Socket, code: u16, now: Instant) -> Self {
        Self::closing(socket, code, now + STEP)
    }

    /// The same, where the client has not answered in its time.
    pub(super) fn hang_up_unheard(socket: Socket, code: u16, now: Instant) -> Self {
        Self::closing(socket, code, now + UNHEARD)
    }

    fn closing(mut socket: Socket, code: u16, deadline: Instant) -> Self {
        socket.close(code);
        Self {
            socket,
            code,
            phase: Phase::Closing,
            deadline,
        }
    }

    /// Goes on; ready when the connection can be dropped. To be polled again at [`Self::deadline`] at the latest.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        if let Phase::Hearing { is_answer } = self.phase {
            let is_over = self.poll_client(cx, is_answer).is_ready();
            if is_over || self.deadline <= now {
                self.socket.close(self.code);
                self.phase = Phase::Closing;
                self.deadline = now + if is_over { STEP } else { UNHEARD };
            } else {
                // A failure is reported by the next read.
                let _ = self.socket.poll_write(cx);
            }
        }
        if self.phase == Phase::Closing {
            if self.deadline <= now {
                return Poll::Ready(());
            }
            return self.socket.poll_shutdown(cx);
        }
        Poll::Pending
    }

    /// Ready when the client has closed its side, or is gone. Whatever else it sends is dropped.
    fn poll_client(&mut self, cx: &mut Context<'_>, is_answer: bool) -> Poll<()> {
        loop {
            match std::task::ready!(self.socket.poll_read(cx)) {
                Ok(Received::Text(text)) if !is_answer && framing::is_close(&text) => {
                    return Poll::Ready(());
                }
                Ok(Received::Closed(_)) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    /// When to call [`Self::poll`], if nothing else happens first.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Status codes of Close frames (RFC 6455 §7.4.1).
pub const NORMAL: u16 = 1000;
/// The gateway, or the session, moves on without this connection.
pub const GOING_AWAY: u16 = 1001;
/// What has come is binary.
pub(super) const UNSUPPORTED: u16 = 1003;
/// The client is too slow, or asks too much.
pub const POLICY: u16 = 1008;
/// A message is too long.
pub const TOO_BIG: u16 = 1009;
