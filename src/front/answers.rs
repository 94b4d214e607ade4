//! Answers of the BOSH endpoint: what a session says, and what is said in its place.

use http::{HeaderValue, Response, StatusCode, header};

use super::body::Chunks;
use crate::{
    net::answer::{TRY_AGAIN, with_content},
    proto::bosh::{body::Document, condition::Condition},
    session::bosh::Reply,
};

pub(super) const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");

/// The answer to a request that a session has answered. Without a `reply`, the session has ended meanwhile.
pub(super) fn answered(reply: Option<Reply>) -> Response<Chunks> {
    match reply {
        Some(Reply::Document {
            document,
            content_type,
        }) => {
            let content_type = HeaderValue::from_maybe_shared(content_type).unwrap_or(XML);
            with_content(
                StatusCode::OK,
                content_type,
                Chunks::new(document.into_chunks()),
            )
        }
        Some(Reply::Unreachable) => unavailable(
            Condition::RemoteConnectionFailed,
            "the XMPP server cannot be reached",
        ),
        None => terminated(Condition::ItemNotFound),
    }
}

/// As [`terminated`], with another status than 200.
pub(super) fn refused(status: StatusCode, condition: Condition) -> Response<Chunks> {
    let mut response = terminated(condition);
    *response.status_mut() = status;
    response
}

/// An answer that belongs to no session, or ends it.
pub(super) fn terminated(condition: Condition) -> Response<Chunks> {
    let document = Document::terminate(Some(condition));
    let mut response = with_content(StatusCode::OK, XML, Chunks::new(document.into_chunks()));
    response
        .extensions_mut()
        .insert(RefusalCondition(condition));
    response
}

/// Makes this the last answer on its connection: what else the client sends there is not read.
pub(super) fn closing(mut response: Response<Chunks>) -> Response<Chunks> {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer that asks the client to come again: strophe and stanza.js repeat the request after a 503, and give up
/// after 4xx. No client looks at the body, but people do.
pub(super) fn unavailable(condition: Condition, why: &str) -> Response<Chunks> {
    let document = Document::terminate_because(condition, why);
    let mut response = with_content(
        StatusCode::SERVICE_UNAVAILABLE,
        XML,
        Chunks::new(document.into_chunks()),
    );
    response.headers_mut().extend([TRY_AGAIN]);
    response
        .extensions_mut()
        .insert(RefusalCondition(condition));
    response
}

/// Condition of an answer that no session gave, for the metrics.
#[derive(Clone, Copy)]
pub(super) struct RefusalCondition(pub(super) Condition);
