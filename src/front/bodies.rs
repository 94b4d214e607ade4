//! Request bodies on their way in: how much of them may be unfinished.
//!
//! A body is in memory until it is complete. Most are short; those that are not take from a stock that all share, and
//! are not read before there is some. Of one address, only so many may do so at once: else one could have it all.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::net::tally::{Seat, Tally, party};

/// A body up to this size takes nothing from the stock, bytes.
const SHORT: usize = 4 << 10;
/// What long bodies may take together, bytes, and in which units it is counted.
const STOCK: usize = 64 << 20;
const UNIT: usize = 1 << 10;
/// Long bodies of one address at once.
const OF_ADDRESS: usize = 32;
/// Bytes over the limit that are read and forgotten, so that the client can hear why.
const OVERREAD: usize = 1 << 20;
/// How long they are waited for.
const OVERREAD_FOR: Duration = Duration::from_secs(2);

/// Why there is no request body.
pub(super) enum Unread {
    Broken,
    /// This is how it begins.
    TooLarge(Bytes),
    /// Its address sends many of that size already.
    TooMany,
}

/// The bodies that are unfinished.
pub(super) struct Bodies {
    stock: Semaphore,
    by_address: Arc<Tally<IpAddr>>,
}

/// A share in the stock.
struct Share<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _seat: Option<Seat<IpAddr>>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            stock: Semaphore::new(STOCK / UNIT),
            by_address: Arc::default(),
        }
    }
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
        let stated = body.size_hint().exact();
        let stated = stated.and_then(|size| usize::try_from(size).ok());
        let mut share = None;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
                continue;
            };
            let size = first.len().max(whole.len()).saturating_add(data.len());
            if size > limit {
                // A browser hears an answer only once it has sent everything.
                let _ = timeout(OVERREAD_FOR, discard(body)).await;
                let beginning = [first, whole.freeze(), data];
                let beginning = beginning.into_iter().find(|it| !it.is_empty());
                return Err(Unread::TooLarge(beginning.unwrap_or_default()));
            }
            let is_complete = body.is_end_stream();
            if size > SHORT && share.is_none() && !is_complete {
                let expected = stated.unwrap_or(limit).min(limit);
                share = Some(self.share(expected, address).await?);
                whole.reserve(expected);
            }
            if first.is_empty() {
                first = data;
            } else {
                if whole.is_empty() {
                    whole.extend_from_slice(&first);
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(if whole.is_empty() {
            first
        } else {
            whole.freeze()
        })
    }

    /// Waits for a share of `size` bytes.
    async fn share(&self, size: usize, address: Option<IpAddr>) -> Result<Share<'_>, Unread> {
        let seat = match address.map(party) {
            Some(address) => {
                let seat = self.by_address.seat(address, OF_ADDRESS);
                Some(seat.ok_or(Unread::TooMany)?)
            }
            None => None,
        };
        let units = size.min(STOCK).div_ceil(UNIT);
        let permit = self
            .stock
            .acquire_many(u32::try_from(units).unwrap_or(u32::MAX));
        Ok(Share {
            // It is never closed.
            _permit: permit.await.ok(),
            _seat: seat,
        })
    }
}

/// Reads on for a bounded while.
async fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut discarded = 0_usize;
    while let Some(Ok(frame)) = body.frame().await {
        discarded = discarded.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if discarded > OVERREAD {
            return;
        }
    }
}
