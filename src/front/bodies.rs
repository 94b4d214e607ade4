//! Request bodies that are being read, and the bound on their memory. Does not look into bodies.
//!
//! A body stays in memory until it is complete. Most are short and do not count. Of a longer one, the bytes received so
//! far are charged to the client's address. Nothing waits: when all of them together exceed the bound, the oldest body
//! of the address with the most bytes is given up. So bodies that never end displace each other, and nobody else's.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use crate::net::{body, quota::network_of};

/// Size up to which a body does not count, bytes.
const SHORT: usize = 4 << 10;
/// Bound on all longer bodies together, bytes.
const ALL: usize = 32 << 20;
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

/// The bodies that are being read.
#[derive(Default)]
pub(super) struct Bodies(Mutex<Table>);

#[derive(Default)]
struct Table {
    size: usize,
    by_sender: HashMap<Sender, OfSender>,
    next_id: u64,
}

/// Whose bodies are counted together. Without a known address, each body counts alone.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Sender {
    Address(IpAddr),
    Unknown(u64),
}

/// The unfinished bodies of one sender.
#[derive(Default)]
struct OfSender {
    size: usize,
    /// The oldest comes first.
    bodies: Vec<Unfinished>,
}

struct Unfinished {
    id: u64,
    size: usize,
    buffer: Arc<Buffer>,
}

/// The bytes received so far; `None` once the body has been given up.
struct Buffer {
    bytes: Mutex<Option<BytesMut>>,
    given_up: Notify,
}

/// Entry of one body in the table; dropping it removes the entry.
struct Tracked<'a> {
    bodies: &'a Bodies,
    sender: Sender,
    id: u64,
    len: usize,
    /// Bytes that it is charged for.
    size: usize,
    buffer: Arc<Buffer>,
}

impl Bodies {
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
        let mut tracked: Option<Tracked<'_>> = None;
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

    /// Adds an entry for a body, without bytes yet.
    fn track(&self, address: Option<IpAddr>) -> Tracked<'_> {
        let buffer = Arc::new(Buffer {
            bytes: Mutex::new(Some(BytesMut::new())),
            given_up: Notify::new(),
        });
        let mut all = self.0.lock();
        let id = all.next_id;
        all.next_id = id.wrapping_add(1);
        let sender = address.map_or(Sender::Unknown(id), |it| Sender::Address(network_of(it)));
        all.by_sender
            .entry(sender)
            .or_default()
            .bodies
            .push(Unfinished {
                id,
                size: 0,
                buffer: Arc::clone(&buffer),
            });
        drop(all);
        Tracked {
            bodies: self,
            sender,
            id,
            len: 0,
            size: 0,
            buffer,
        }
    }
}

impl Table {
    fn remove(&mut self, sender: Sender, id: u64) -> Option<Arc<Buffer>> {
        let of_sender = self.by_sender.get_mut(&sender)?;
        let index = of_sender.bodies.iter().position(|body| body.id == id)?;
        let body = of_sender.bodies.remove(index);
        of_sender.size = of_sender.size.saturating_sub(body.size);
        self.size = self.size.saturating_sub(body.size);
        if of_sender.bodies.is_empty() {
            self.by_sender.remove(&sender);
        }
        Some(body.buffer)
    }

    /// Charges one body for `more` bytes. While the bound is exceeded, gives up the oldest body of the sender with the
    /// most bytes, which may be this one.
    fn grow(&mut self, sender: Sender, id: u64, more: usize) {
        let Some(of_sender) = self.by_sender.get_mut(&sender) else {
            return;
        };
        let Some(body) = of_sender.bodies.iter_mut().find(|body| body.id == id) else {
            return;
        };
        body.size = body.size.saturating_add(more);
        of_sender.size = of_sender.size.saturating_add(more);
        self.size = self.size.saturating_add(more);
        while self.size > ALL
            && let Some((&sender, largest)) = self.by_sender.iter().max_by_key(|(_, it)| it.size)
            && let Some(first) = largest.bodies.first().map(|body| body.id)
            && let Some(buffer) = self.remove(sender, first)
        {
            // Frees the bytes here: many other tasks may run before that body's task does.
            *buffer.bytes.lock() = None;
            buffer.given_up.notify_one();
        }
    }
}

impl Tracked<'_> {
    /// Adds bytes that have been received; false if the body has been given up.
    fn push(&mut self, data: &[u8], limit: usize) -> bool {
        let len = self.len.saturating_add(data.len());
        if len > self.size {
            // The buffer grows by doubling, so the body is charged for the whole buffer.
            let size = self.size.saturating_mul(2).max(len).min(limit);
            let more = size.saturating_sub(self.size);
            self.bodies.0.lock().grow(self.sender, self.id, more);
            self.size = size;
        }
        let mut bytes = self.buffer.bytes.lock();
        let Some(bytes) = bytes.as_mut() else {
            return false;
        };
        bytes.reserve(self.size.saturating_sub(self.len));
        bytes.extend_from_slice(data);
        self.len = len;
        true
    }

    /// The whole body; `None` if it has been given up.
    fn take(self) -> Option<Bytes> {
        self.buffer.bytes.lock().take().map(BytesMut::freeze)
    }
}

impl Drop for Tracked<'_> {
    fn drop(&mut self) {
        self.bodies.0.lock().remove(self.sender, self.id);
    }
}
