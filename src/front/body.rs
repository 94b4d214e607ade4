//! Body of an answer: pieces that are shared with the session and written without being copied.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use smallvec::SmallVec;

/// Some pieces of known length, so that the answer has a Content-Length.
#[derive(Debug)]
pub struct Chunks {
    chunks: smallvec::IntoIter<[Bytes; 4]>,
    left: u64,
}

impl Chunks {
    /// A body of these pieces.
    pub fn new(chunks: SmallVec<[Bytes; 4]>) -> Self {
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self {
            chunks: chunks.into_iter(),
            left,
        }
    }
}

impl Chunks {
    /// How many bytes there are.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// The pieces, in order.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        self.chunks
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        Self::new(SmallVec::from_iter([bytes]))
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new(SmallVec::new())
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.next();
        if let Some(chunk) = &chunk {
            self.left = self.left.saturating_sub(chunk.len() as u64);
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn the_length_is_known_and_the_pieces_come_in_order() {
        let body = Chunks::new(SmallVec::from_iter([
            Bytes::from("<a>"),
            Bytes::from("</a>"),
        ]));
        assert_eq!(body.size_hint().exact(), Some(7));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let whole = runtime.block_on(body.collect()).unwrap().to_bytes();
        assert_eq!(whole, "<a></a>");
    }
}
