//! Stream of a server: the same elements come out, wherever its bytes are cut on the way.

use bytes::{Bytes, BytesMut};
use rostergate::proto::stream::split::{Piece, Splitter};

use super::agreement::agrees_in_stream;

/// Longest element, bytes.
const MAX: usize = 1024;

/// All pieces, and whether the stream could be split up to the end of the bytes.
fn pieces<'a>(portions: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Piece>, bool) {
    let (mut splitter, mut buffer) = (Splitter::new(MAX), BytesMut::new());
    let mut pieces = Vec::new();
    for portion in portions {
        buffer.extend_from_slice(portion);
        loop {
            match splitter.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(piece)) => pieces.push(piece),
                Err(_) => return (pieces, false),
            }
        }
        assert!(buffer.len() <= MAX, "no more is kept than may be asked for");
    }
    (pieces, true)
}

/// The first byte says how the rest is cut: up to 127, into portions of that many bytes; above, after every byte that
/// equals it less 128.
pub fn split(bytes: &[u8]) -> bool {
    let Some((&cut, stream)) = bytes.split_first() else {
        return false;
    };
    let whole = pieces([stream]);
    let cut_up = match cut {
        0..=127 => pieces(stream.chunks(usize::from(cut.max(1)))),
        _ => pieces(stream.split_inclusive(|&byte| byte == cut - 128)),
    };
    assert_eq!(whole, cut_up);
    assert_eq!(whole, pieces(stream.chunks(1)));

    let mut header: Option<&Bytes> = None;
    let mut closed = false;
    for piece in &whole.0 {
        assert!(!closed, "nothing after the end");
        match (piece, header) {
            (Piece::Header(bytes), None) => header = Some(bytes),
            (Piece::Element(bytes), Some(header)) => {
                assert!(bytes.len() <= MAX);
                agrees_in_stream(header, bytes);
            }
            (Piece::Close, Some(_)) => closed = true,
            (piece, _) => panic!("out of place: {piece:?}"),
        }
    }
    whole.1 && header.is_some()
}
