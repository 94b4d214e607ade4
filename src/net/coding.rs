//! Content codings of requests (RFC 9110 §8.4): none is offered, and none is read.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};

/// The header of a 415 that says what to send instead (RFC 9110 §12.5.3).
pub const ONLY_IDENTITY: (HeaderName, HeaderValue) =
    (ACCEPT_ENCODING, HeaderValue::from_static("identity"));

/// Whether the body of a request is compressed, or coded otherwise.
///
/// libpurple 2 puts its content type into this header. So a value with a slash, which no coding has, does not count.
pub fn is_coded(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(CONTENT_ENCODING).iter();
    let codings = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    codings.map(<[u8]>::trim_ascii).any(|coding| {
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") && !coding.contains(&b'/')
    })
}
