//! HTTP bodies: read as a whole up to a limit, or read without being looked at.

use std::pin::{Pin, pin};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

/// Why there is no whole body.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// It broke off before its end.
    #[error(transparent)]
    Broken(E),
    /// It is longer than that.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes that it may have.
        limit: usize,
    },
}

/// A body that is read piece by piece, no further than a limit.
pub struct Limited<B> {
    body: B,
    limit: usize,
    left: usize,
}

impl<B: Body + Unpin> Limited<B> {
    /// A body of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When its stated length is more.
    pub fn new(body: B, limit: usize) -> Result<Self, ReadError<B::Error>> {
        let limited = Self {
            body,
            limit,
            left: limit,
        };
        if limited.stated() > limit {
            return Err(ReadError::TooLarge { limit });
        }
        Ok(limited)
    }

    /// A lower bound of the bytes that are still to come, by its own account.
    pub fn stated(&self) -> usize {
        usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX)
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    ///
    /// When it is broken, or longer than the limit.
    pub async fn next(&mut self) -> Result<Option<B::Data>, ReadError<B::Error>> {
        while let Some(frame) = self.body.frame().await {
            let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() else {
                continue;
            };
            let limit = self.limit;
            let left = self.left.checked_sub(data.remaining());
            self.left = left.ok_or(ReadError::TooLarge { limit })?;
            return Ok(Some(data));
        }
        Ok(None)
    }
}

/// The whole body; reads no further than `limit` bytes.
///
/// # Errors
///
/// When it is broken, or longer than that.
pub async fn read<B: Body>(body: B, limit: usize) -> Result<Bytes, ReadError<B::Error>> {
    let body = pin!(body);
    let mut body = Limited::new(body, limit)?;
    let mut bytes = BytesMut::new();
    while let Some(data) = body.next().await? {
        bytes.put(data);
    }
    Ok(bytes.freeze())
}

/// Reads and drops the body, to its end or to the piece that exceeds `most` bytes.
pub async fn discard<B: Body>(body: B, most: usize) {
    let mut body: Pin<&mut B> = pin!(body);
    let mut length = 0_usize;
    while length < most
        && let Some(Ok(frame)) = body.frame().await
    {
        let more = frame.data_ref().map_or(0, Buf::remaining);
        length = length.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> impl Body<Data = Bytes, Error = Infallible> {
        let frames = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read(pieces(&["ab", "cd"]), 4).await.unwrap(), "abcd");
        let error = read(pieces(&["ab", "cd", "e"]), 4).await.unwrap_err();
        assert!(matches!(error, ReadError::TooLarge { limit: 4 }), "{error}");
        assert_eq!(read(pieces(&[]), 0).await.unwrap(), "");
    }

    #[test]
    fn a_body_that_says_it_is_too_long_is_not_read() {
        let error = Limited::new(Full::new(Bytes::from_static(b"abcde")), 4).err();
        assert!(matches!(error, Some(ReadError::TooLarge { limit: 4 })));
    }
}
