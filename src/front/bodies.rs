//! Request bodies on their way in: how much of them may be unfinished.
//!
//! A body is in memory until it is complete. Most are short; what has come of longer ones counts for their address.
//! Nothing waits: when all of them together have become too much, whoever has the most gives way, so that many
//! that never end are in nobody's way but each other's.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use crate::net::{body, quota::network_of};

/// A body up to this size does not count, bytes.
const SHORT: usize = 4 << 10;
/// What all others may take together, bytes.
const ALL: usize = 32 << 20;
/// Bytes over the limit that are read and forgotten, so that the client can hear why.
const OVERREAD: usize = 1 << 20;
/// How long they are waited for.
const OVERREAD_FOR: Duration = Duration::from_secs(2);

/// Why there is no request body.
pub(super) enum Unread {
    Broken,
    /// This is how it begins.
    TooLarge(Bytes),
    /// It gave way to others.
    GaveWay,
}

/// The bodies that are unfinished.
#[derive(Default)]
pub(super) struct Bodies(Mutex<Unfinished>);

#[derive(Default)]
struct Unfinished {
    size: usize,
    parties: HashMap<Party, Parts>,
    next: u64,
}

/// Whose bodies are counted together; those of nobody known each alone.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Party {
    Address(IpAddr),
    Unknown(u64),
}

#[derive(Default)]
struct Parts {
    size: usize,
    /// The one that was begun first is in front.
    parts: Vec<Part>,
}

struct Part {
    id: u64,
    size: usize,
    buffer: Arc<Buffer>,
}

/// What has come of a body; nothing any more once it has given way.
struct Buffer {
    bytes: Mutex<Option<BytesMut>>,
    gives_way: Notify,
}

/// The part of one body, for as long as this lives.
struct Share<'a> {
    bodies: &'a Bodies,
    party: Party,
    id: u64,
    len: usize,
    /// What it counts for.
    size: usize,
    buffer: Arc<Buffer>,
}

impl Bodies {
    /// Reads a body of at most `limit` bytes; most come in one piece and are not copied. `address` is whose it is,
    /// if that is known.
    pub(super) async fn read<B>(
        &self,
        mut body: B,
        limit: usize,
        address: Option<IpAddr>,
    ) -> Result<Bytes, Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let read = self.read_unless_too_much(&mut body, limit, address).await;
        if matches!(read, Err(Unread::TooLarge(_))) {
            // A browser hears an answer only once it has sent everything.
            let _ = timeout(OVERREAD_FOR, body::discard(body, OVERREAD)).await;
        }
        read
    }

    async fn read_unless_too_much<B>(
        &self,
        body: &mut B,
        limit: usize,
        address: Option<IpAddr>,
    ) -> Result<Bytes, Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut first = Bytes::new();
        let mut short = BytesMut::new();
        let mut share: Option<Share<'_>> = None;
        loop {
            let frame = match &share {
                None => body.frame().await,
                Some(share) => tokio::select! {
                    frame = body.frame() => frame,
                    () = share.buffer.gives_way.notified() => return Err(Unread::GaveWay),
                },
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
                continue;
            };
            let before = share
                .as_ref()
                .map_or_else(|| first.len().max(short.len()), |it| it.len);
            let size = before.saturating_add(data.len());
            if size > limit {
                let shared = share.and_then(Share::take).unwrap_or_default();
                let beginning = [first, short.freeze(), shared, data];
                let beginning = beginning.into_iter().find(|it| !it.is_empty());
                return Err(Unread::TooLarge(beginning.unwrap_or_default()));
            }
            let counts = size > SHORT && !body.is_end_stream();
            if before == 0 && !counts {
                first = data;
                continue;
            }
            if short.is_empty() {
                short.extend_from_slice(&std::mem::take(&mut first));
            }
            if share.is_none() && counts {
                let new = share.insert(self.share(address));
                if !new.push(&std::mem::take(&mut short), limit) {
                    return Err(Unread::GaveWay);
                }
            }
            let fits = share.as_mut().map(|share| share.push(&data, limit));
            match fits {
                Some(true) => {}
                Some(false) => return Err(Unread::GaveWay),
                None => short.extend_from_slice(&data),
            }
        }
        match share {
            Some(share) => share.take().ok_or(Unread::GaveWay),
            None if short.is_empty() => Ok(first),
            None => Ok(short.freeze()),
        }
    }

    /// A share of nothing yet.
    fn share(&self, address: Option<IpAddr>) -> Share<'_> {
        let buffer = Arc::new(Buffer {
            bytes: Mutex::new(Some(BytesMut::new())),
            gives_way: Notify::new(),
        });
        let mut all = self.0.lock();
        let id = all.next;
        all.next = id.wrapping_add(1);
        let party = address.map_or(Party::Unknown(id), |it| Party::Address(network_of(it)));
        all.parties.entry(party).or_default().parts.push(Part {
            id,
            size: 0,
            buffer: Arc::clone(&buffer),
        });
        drop(all);
        Share {
            bodies: self,
            party,
            id,
            len: 0,
            size: 0,
            buffer,
        }
    }
}

impl Unfinished {
    fn remove(&mut self, party: Party, id: u64) -> Option<Arc<Buffer>> {
        let of_party = self.parties.get_mut(&party)?;
        let index = of_party.parts.iter().position(|part| part.id == id)?;
        let part = of_party.parts.remove(index);
        of_party.size = of_party.size.saturating_sub(part.size);
        self.size = self.size.saturating_sub(part.size);
        if of_party.parts.is_empty() {
            self.parties.remove(&party);
        }
        Some(part.buffer)
    }

    /// `more` for one of the parts, which others give way for, or it does itself: first the first of whoever has
    /// the most.
    fn grow(&mut self, party: Party, id: u64, more: usize) {
        let Some(of_party) = self.parties.get_mut(&party) else {
            return;
        };
        let Some(part) = of_party.parts.iter_mut().find(|part| part.id == id) else {
            return;
        };
        part.size = part.size.saturating_add(more);
        of_party.size = of_party.size.saturating_add(more);
        self.size = self.size.saturating_add(more);
        while self.size > ALL
            && let Some((&party, largest)) = self.parties.iter().max_by_key(|(_, it)| it.size)
            && let Some(first) = largest.parts.first().map(|part| part.id)
            && let Some(buffer) = self.remove(party, first)
        {
            // At once: many may come to their turn before it does.
            *buffer.bytes.lock() = None;
            buffer.gives_way.notify_one();
        }
    }
}

impl Share<'_> {
    /// Adds what has come; false if it had to give way.
    fn push(&mut self, data: &[u8], limit: usize) -> bool {
        let len = self.len.saturating_add(data.len());
        if len > self.size {
            // As much as the buffer takes when it grows.
            let size = self.size.saturating_mul(2).max(len).min(limit);
            let more = size.saturating_sub(self.size);
            self.bodies.0.lock().grow(self.party, self.id, more);
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

    /// The whole body; `None` if it had to give way.
    fn take(self) -> Option<Bytes> {
        self.buffer.bytes.lock().take().map(BytesMut::freeze)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.bodies.0.lock().remove(self.party, self.id);
    }
}
