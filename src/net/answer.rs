//! HTTP answers: their common forms.
//!
//! What an answer says is up to the caller. The headers that keep browsers from running it come from
//! [`super::sandbox`].

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;
use serde::Serialize;

/// Text for people, or for programs that only look at the status.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// JSON, which is always UTF-8 (RFC 8259 §8.1).
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Seconds after which a client that was refused for want of room may try again.
pub const RETRY_SECONDS: &str = "5";
/// The header of a 503 that says when to try again (RFC 9110 §10.2.3).
pub const TRY_AGAIN: (HeaderName, HeaderValue) =
    (RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));

const GET_AND_HEAD: HeaderValue = HeaderValue::from_static("GET, HEAD");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An answer with this content type.
pub fn with_content<B>(status: StatusCode, content_type: HeaderValue, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An answer in plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_content(status, TEXT, Full::new(text.into()))
}

/// An answer in JSON, which no cache may keep.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("strings and numbers are JSON");
    not_to_be_stored(with_content(status, JSON, Full::from(body)))
}

/// Marks an answer so that no cache keeps it.
pub fn not_to_be_stored<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// Whether a request with this method only reads.
pub fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// The answer (405) to a method that does more than read, where reading is all that is possible.
pub fn only_reads() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, GET_AND_HEAD);
    response
}
