//! Opening handshake of a WebSocket (RFC 6455 §4.2): what a request has to be, and the answer to it.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        ALLOW, CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
};
use http_body_util::Full;
use sha1::{Digest as _, Sha1};

use crate::net::answer;

/// What is hashed together with the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol (RFC 7395 §3.1).
const XMPP: HeaderValue = HeaderValue::from_static("xmpp");
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("Upgrade");
const GET_AND_HEAD: HeaderValue = HeaderValue::from_static("GET, HEAD");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const PAGE: &str = "<!DOCTYPE html><title>XMPP over WebSocket</title><p>This is an endpoint for XMPP \
                    over WebSocket (RFC 7395): point your XMPP web client here.</p>\n";

/// Why a request is no opening handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Defect {
    /// Somebody looks whether the endpoint is there.
    #[error("a plain request")]
    Plain,
    #[error("only GET opens a WebSocket")]
    Method,
    #[error(
        "a proxy has dropped Upgrade or Connection: it has to pass them on, with HTTP/1.1 (nginx: proxy_http_version)"
    )]
    Dropped,
    #[error("a WebSocket needs HTTP/1.1")]
    Http10,
    /// Some would take it for frames, others for what has to be skipped before them.
    #[error("a request for a WebSocket has no body")]
    Body,
    #[error("Sec-WebSocket-Version has to be 13")]
    Version,
    #[error("Sec-WebSocket-Key has to be 16 bytes in base64")]
    Key,
    #[error("Sec-WebSocket-Protocol has to offer xmpp")]
    Protocol,
}

/// The value of `Sec-WebSocket-Accept`, which shows that a request was understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Accept(String);

/// Checks a request.
///
/// # Errors
/// When it is no opening handshake, or none for XMPP.
pub(super) fn check<B>(request: &Request<B>) -> Result<Accept, Defect> {
    let headers = request.headers();
    match *request.method() {
        Method::GET => {}
        Method::HEAD => return Err(Defect::Plain),
        _ => return Err(Defect::Method),
    }
    let is_asked = has_token(headers, UPGRADE, "websocket");
    if !is_asked || !has_token(headers, CONNECTION, "upgrade") {
        let is_meant = is_asked || headers.contains_key(SEC_WEBSOCKET_KEY);
        return Err(if is_meant {
            Defect::Dropped
        } else {
            Defect::Plain
        });
    }
    if request.version() != Version::HTTP_11 {
        return Err(Defect::Http10);
    }
    let is_empty = |length: &HeaderValue| length.as_bytes() == b"0";
    if headers.contains_key(TRANSFER_ENCODING)
        || !headers.get_all(CONTENT_LENGTH).iter().all(is_empty)
    {
        return Err(Defect::Body);
    }
    if only(headers, SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Defect::Version);
    }
    let key = only(headers, SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| BASE64.decode(key).is_ok_and(|key| key.len() == 16));
    let key = key.ok_or(Defect::Key)?;
    if !has_token(headers, SEC_WEBSOCKET_PROTOCOL, "xmpp") {
        return Err(Defect::Protocol);
    }
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Ok(Accept(BASE64.encode(hash)))
}

impl Defect {
    /// The answer.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let status = match self {
            Self::Plain => {
                let page = Full::new(Bytes::from_static(PAGE.as_bytes()));
                return answer::with_content(StatusCode::OK, HTML, page);
            }
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = answer::text(status, format!("{self}\n"));
        let headers = response.headers_mut();
        match self {
            Self::Method => headers.extend([(ALLOW, GET_AND_HEAD)]),
            Self::Version => headers.extend([
                (SEC_WEBSOCKET_VERSION, VERSION),
                (UPGRADE, WEBSOCKET),
                (CONNECTION, UPGRADE_TOKEN),
            ]),
            _ => {}
        }
        response
    }
}

impl Accept {
    /// The answer that ends HTTP on the connection.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = HeaderValue::try_from(self.0).expect("base64 may be in a header");
        response.headers_mut().extend([
            (UPGRADE, WEBSOCKET),
            (CONNECTION, UPGRADE_TOKEN),
            (SEC_WEBSOCKET_ACCEPT, accept),
            // Never the list that the client sent: browsers want one of its entries.
            (SEC_WEBSOCKET_PROTOCOL, XMPP),
        ]);
        response
    }
}

/// The value of a header that may be there only once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a header, which may be a list and be repeated, has this token in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let mut tokens = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    tokens.any(|it| it.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455 §1.3, with some headers changed, added, or (if empty) left out.
    fn checked(changes: &[(&'static str, &str)]) -> Result<Accept, Defect> {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "xmpp"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, _) in changes {
            headers.remove(*name);
        }
        for (name, value) in changes.iter().filter(|(_, value)| !value.is_empty()) {
            headers.append(*name, value.parse().unwrap());
        }
        check(&request)
    }

    #[test]
    fn the_example_of_the_specification_is_answered_as_there() {
        let accept = checked(&[]).unwrap();
        assert_eq!(accept.0, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let response = accept.response();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-protocol"], "xmpp");
    }

    #[test]
    fn lists_repeated_lines_and_any_case_are_understood() {
        for changes in [
            &[("upgrade", "WebSocket")][..],
            &[("upgrade", "h2c, websocket")],
            &[("connection", "keep-alive, Upgrade")],
            &[("connection", "keep-alive"), ("connection", "upgrade")],
            &[("sec-websocket-protocol", "foo, XMPP")],
            &[
                ("sec-websocket-protocol", "foo"),
                ("sec-websocket-protocol", "xmpp , bar"),
            ],
        ] {
            assert!(checked(changes).is_ok(), "{changes:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        for (changes, expected) in [
            (
                &[("upgrade", ""), ("sec-websocket-key", "")][..],
                Defect::Plain,
            ),
            (&[("upgrade", "")], Defect::Dropped),
            (&[("connection", "")], Defect::Dropped),
            (&[("connection", "close")], Defect::Dropped),
            (&[("upgrade", "h2c")], Defect::Dropped),
            (&[("sec-websocket-version", "")], Defect::Version),
            (&[("sec-websocket-version", "8")], Defect::Version),
            (&[("sec-websocket-version", "13, 8")], Defect::Version),
            (&[("sec-websocket-key", "")], Defect::Key),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZQ==")], Defect::Key),
            (
                &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")],
                Defect::Key,
            ),
            (
                &[
                    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ],
                Defect::Key,
            ),
            (&[("sec-websocket-protocol", "")], Defect::Protocol),
            (
                &[("sec-websocket-protocol", "xmpps, x mpp")],
                Defect::Protocol,
            ),
        ] {
            assert_eq!(checked(changes), Err(expected), "{changes:?}");
        }
    }

    #[test]
    fn methods_and_versions_of_http_are_told_apart() {
        let mut request = Request::new(());
        *request.method_mut() = Method::HEAD;
        assert_eq!(check(&request), Err(Defect::Plain));
        *request.method_mut() = Method::POST;
        assert_eq!(check(&request), Err(Defect::Method));
        let mut request = Request::new(());
        request
            .headers_mut()
            .extend([(UPGRADE, WEBSOCKET), (CONNECTION, UPGRADE_TOKEN)]);
        *request.version_mut() = Version::HTTP_10;
        assert_eq!(check(&request), Err(Defect::Http10));
    }
}
