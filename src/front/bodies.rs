//! Request bodies that are being read, and the bound on their memory. Does not look into bodies.
//!
//! A body stays in memory until it is complete. Most are short and do not count. Of a longer one, the bytes received so
//! far are charged to the client's address ([`Unfinished`]).

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use crate::net::{
    body,
    unfinished::{Charge, GiveUp, SHORT, Unfinished},
};

/// Bytes over the limit that are read and dropped, so that the client reads the answer.
const OVERREAD: usize = 1 << 20;
/// Time for reading them.
const OVERREAD_FOR: Duration = Duration::from_secs(2);

/// Why a request body could not be read.
pub(super) enum ReadError {
    Broken,
    /// It is over the limit; this is its beginning.
    TooLarge(Bytes),
    /// It was given up for the others.
    GivenUp,
}

/// Reads bodies.
pub(super) struct Bodies(Arc<Unfinished>);

/// The bytes received so far; `None` once the body has been given up.
struct Buffer {
    bytes: Mutex<Option<BytesMut>>,
    given_up: Notify,
}

impl GiveUp for Buffer {
    fn give_up(&self) {
        // Frees the bytes here: many other tasks may run before that body's task does.
        *self.bytes.lock() = None;
        self.given_up.notify_one();
    }
}

/// A body that counts.
struct Tracked {
    charge: Charge,
    len: usize,
    buffer: Arc<Buffer>,
}

impl Bodies {
    /// Their bytes count as `unfinished`.
    pub(super) fn new(unfinished: Arc<Unfinished>) -> Self {
        Self(unfinished)
    }

    /// Reads a body of at most `limit` bytes. Most come in one piece and are not copied. `address` is the client's, if
    /// it is known.
    pub(super) async fn read<B>(
        &self,
        mut body: B,
        limit: usize,
        address: Option<IpAddr>,
    ) -> Result<Bytes, ReadError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let read = self.read_unless_too_much(&mut body, limit, address).await;
        if matches!(read, Err(ReadError::TooLarge(_))) {
            // A browser reads an answer only once it has sent everything.
            let _ = timeout(OVERREAD_FOR, body::discard(body, OVERREAD)).await;
        }
        read
    }

    async fn read_unless_too_much<B>(
        &self,
        body: &mut B,
        limit: usize,
        address: Option<IpAddr>,
    ) -> Result<Bytes, ReadError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut first = Bytes::new();
        let mut short = BytesMut::new();
        let mut tracked: Option<Tracked> = None;
        loop {
            let frame = match &tracked {
                None => body.frame().await,
                Some(tracked) => tokio::select! {
                    frame = body.frame() => frame,
                    () = tracked.buffer.given_up.notified() => return Err(ReadError::GivenUp),
                },
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_| ReadError::Broken)?.into_data() else {
                continue;
            };
            let before = tracked
                .as_ref()
                .map_or_else(|| first.len().max(short.len()), |it| it.len);
            let size = before.saturating_add(data.len());
            if size > limit {
                let received = tracked.and_then(Tracked::take).unwrap_or_default();
                let beginning = [first, short.freeze(), received, data];
                let beginning = beginning.into_iter().find(|it| !it.is_empty());
                return Err(ReadError::TooLarge(beginning.unwrap_or_default()));
            }
            let counts = size > SHORT && !body.is_end_stream();
            if before == 0 && !counts {
                first = data;
                continue;
            }
            if short.is_empty() {
                short.extend_from_slice(&std::mem::take(&mut first));
            }
            if tracked.is_none() && counts {
                let new = tracked.insert(self.track(address));
                if !new.push(&std::mem::take(&mut short), limit) {
                    return Err(ReadError::GivenUp);
                }
            }
            let fits = tracked.as_mut().map(|tracked| tracked.push(&data, limit));
            match fits {
                Some(true) => {}
                Some(false) => return Err(ReadError::GivenUp),
                None => short.extend_from_slice(&data),
            }
        }
        match tracked {
            Some(tracked) => tracked.take().ok_or(ReadError::GivenUp),
            None if short.is_empty() => Ok(first),
            None => Ok(short.freeze()),
        }
    }

    fn track(&self, address: Option<IpAddr>) -> Tracked {
        let buffer = Arc::new(Buffer {
            bytes: Mutex::new(Some(BytesMut::new())),
            given_up: Notify::new(),
        });
        let reader = Arc::<Buffer>::clone(&buffer);
        Tracked {
            charge: self.0.track(address, reader),
            len: 0,
            buffer,
        }
    }
}

impl Tracked {
    /// Adds bytes that have been received; false if the body has been given up.
    fn push(&mut self, data: &[u8], limit: usize) -> bool {
        let len = self.len.saturating_add(data.len());
        if len > self.charge.size() {
            // The buffer grows by doubling, so the body is charged for the whole buffer.
            let doubled = self.charge.size().saturating_mul(2);
            self.charge.grow_to(doubled.max(len).min(limit));
        }
        let mut bytes = self.buffer.bytes.lock();
        let Some(bytes) = bytes.as_mut() else {
            return false;
        };
        bytes.reserve(self.charge.size().saturating_sub(self.len));
        bytes.extend_from_slice(data);
        self.len = len;
        true
    }

    /// The whole body; `None` if it has been given up.
    fn take(self) -> Option<Bytes> {
        self.buffer.bytes.lock().take().map(BytesMut::freeze)
    }
}
