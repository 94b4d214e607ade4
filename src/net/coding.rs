//! Content codings of requests (RFC 9110 §8.4): none is offered, and none is read.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};

/// What goes with 415, so that a client knows what to do instead (RFC 9110 §12.5.3).
pub const ONLY_IDENTITY: (HeaderName, HeaderValue) =
    (ACCEPT_ENCODING, HeaderValue::from_static("identity"));

/// Whether the body of a request is compressed, or otherwise not what it says.
///
/// libpurple 2 names its content type in this header; a slash is in no coding's name.
pub fn is_coded(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(CONTENT_ENCODING).iter();
    let codings = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    codings.map(<[u8]>::trim_ascii).any(|coding| {
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") && !coding.contains(&b'/')
    })
}
