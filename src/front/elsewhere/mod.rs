//! Requests for sessions of other gateways: passes them on to the gateway that a sid names, and answers those that
//! others pass on. Both ends of one way; it decides nothing about sessions.
//!
//! ```text
//!  client --> this gateway: body -> sid -> node --question--> owner: passes it to its session
//!         <-- status, type, document          <--answer----- what it would say to the client itself
//! ```
//!
//! The owner applies the rules, those on TLS and on sizes included. It answers for its own sessions alone, so that no
//! request goes round. What becomes of a request that is not answered is in the table of [`super::bosh`].

mod sleeping;
mod wire;

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use memchr::memmem;
use tracing::debug;

pub use self::sleeping::{answer as answer_of_sleeping, run_errands};
pub(super) use self::wire::{Body, Request};
use super::{
    answers::{RefusalCondition, XML, closing, terminated, unavailable},
    body::Chunks,
    exchange::Owner,
};
use crate::{
    cluster::{Cluster, Question, Unanswered},
    metrics::{Forwarded, Forwarding, Limit, Metrics},
    net::answer::{TRY_AGAIN, with_content},
    proto::bosh::{body, condition::Condition},
    session::{Found, Registry},
};

/// How much longer an answer is waited for than a request may be held: the owner may have other things to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far into a document its sid is looked for before the document is read.
const BEGINNING: usize = 4096;
/// Requests that may wait for other gateways; fewer than the questions that may, so that there is room for others. Each
/// also holds a connection, or a stream, of a client.
const MOST: usize = 60_000;

/// The gateways beside this one, as far as BOSH needs them.
pub(super) struct Elsewhere(Arc<Cluster>);

/// The answer to a request that has been passed on: of the session, or of its gateway. Dropping it tells the owner that
/// the client has hung up.
pub(super) type Answering = Pin<Box<dyn Future<Output = Response<Chunks>> + Send>>;

impl Elsewhere {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self(cluster)
    }

    /// The gateway that has the session of this document, as far as the beginning of it says, and if it is not this
    /// one. So most documents for others are not read here.
    pub(super) fn owner_at_the_beginning(registry: &Registry, document: &[u8]) -> Option<Box<str>> {
        let beginning = document.get(..BEGINNING).unwrap_or(document);
        if seems_own(beginning, registry.node.as_deref()?) {
            return None;
        }
        let sid = body::sid_at_the_beginning(beginning)?;
        match registry.locate(&sid) {
            Found::There(node) => Some(node.into()),
            Found::Here(_) | Found::Nowhere => None,
        }
    }

    /// Passes a request on to the gateway `node`, where a request is held for `wait` at most. It has been sent when this
    /// returns; the answer is still to come.
    pub(super) async fn pass(
        &self,
        node: Box<str>,
        request: Request,
        wait: Duration,
        metrics: &Arc<Metrics>,
    ) -> Result<Answering, Box<Response<Chunks>>> {
        let forwarding = metrics.forwarding();
        if forwarding.in_flight() > MOST {
            metrics.limit(Limit::Forwarded);
            forwarding.ended(Forwarded::TooMany);
            let response = not_now("too many requests wait for other gateways");
            return Err(Box::new(owned_by(node, response)));
        }
        let patience = wait.saturating_add(PATIENCE);
        let body = request.encode();
        drop(request);
        let cluster = &self.0;
        let sent = cluster.send_question(&node, Question::Bosh, body, patience);
        match sent.await {
            Ok(asked) => Ok(Box::pin(async move {
                let response = match asked.await.map(wire::Answer::decode) {
                    Ok(Ok(answer)) => {
                        forwarding.ended(Forwarded::Answered);
                        response(answer)
                    }
                    Ok(Err(unreadable)) => {
                        debug!(node, %unreadable, "no answer");
                        why(&Unanswered::Late, forwarding)
                    }
                    Err(unanswered) => {
                        debug!(node, %unanswered, "no answer");
                        why(&unanswered, forwarding)
                    }
                };
                owned_by(node, response)
            })),
            Err(unanswered) => {
                debug!(node, %unanswered, "request not passed on");
                Err(Box::new(owned_by(node, why(&unanswered, forwarding))))
            }
        }
    }
}

/// Whether a document seems to be for this gateway, as most are: it is read whole then, which tells for certain.
fn seems_own(beginning: &[u8], node: &str) -> bool {
    const SID: &[u8] = b" sid=";
    let at = memmem::find(beginning, SID);
    let value = at.and_then(|at| beginning.get(at + SID.len() + "'".len()..));
    let rest = value.and_then(|value| value.strip_prefix(node.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b"-"))
}

/// What a client gets whose request nobody has answered.
fn why(unanswered: &Unanswered, forwarding: Forwarding) -> Response<Chunks> {
    let (outcome, response) = match unanswered {
        Unanswered::Gone => (Forwarded::Gone, terminated(Condition::ItemNotFound)),
        Unanswered::Away => (
            Forwarded::Away,
            not_now("the gateway of this session cannot be asked at the moment"),
        ),
        Unanswered::Late => (
            Forwarded::Late,
            not_now("the gateway of this session does not answer"),
        ),
        Unanswered::Refused(_) => (
            Forwarded::Refused,
            not_now("the gateway of this session refuses to answer"),
        ),
    };
    forwarding.ended(outcome);
    response
}

/// The session may live: the client is to repeat the request.
fn not_now(why: &str) -> Response<Chunks> {
    unavailable(Condition::Undefined, why)
}

fn owned_by(node: Box<str>, mut response: Response<Chunks>) -> Response<Chunks> {
    response.extensions_mut().insert(Owner(node));
    response
}

/// The answer of another gateway, as the client gets it.
fn response(answer: wire::Answer) -> Response<Chunks> {
    let content_type = HeaderValue::from_maybe_shared(answer.content_type).unwrap_or(XML);
    let mut response = with_content(answer.status, content_type, answer.body.into());
    if let Some(refusal) = answer.refusal {
        let refusal = RefusalCondition(refusal);
        response.extensions_mut().insert(refusal);
    }
    if answer.try_again {
        response.headers_mut().extend([TRY_AGAIN]);
    }
    if answer.closes {
        response = closing(response);
    }
    response
}

/// The answer to a request of another gateway, as it travels.
pub(super) fn encode(response: Response<Chunks>) -> Bytes {
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let refusal = head.extensions.get().map(|RefusalCondition(it)| *it);
    let answer = wire::Answer {
        status: head.status,
        refusal,
        closes: head.headers.contains_key(header::CONNECTION),
        try_again: head.status == StatusCode::SERVICE_UNAVAILABLE,
        content_type: Bytes::copy_from_slice(content_type),
        body: Bytes::new(),
    };
    let mut bytes = answer.encode_head(body.size());
    body.into_pieces()
        .for_each(|it| bytes.extend_from_slice(&it));
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn whole(response: Response<Chunks>) -> (Vec<(String, String)>, Bytes) {
        let (head, body) = response.into_parts();
        let mut headers: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.push(("status".to_owned(), head.status.to_string()));
        let refusal = head.extensions.get().map(|RefusalCondition(it)| *it);
        headers.push(("refusal".to_owned(), format!("{refusal:?}")));
        headers.sort();
        let Ok(body) = body.collect().await;
        (headers, body.to_bytes())
    }

    #[tokio::test]
    async fn a_client_gets_what_the_owner_itself_would_say() {
        for make in [
            || terminated(Condition::ItemNotFound),
            || closing(terminated(Condition::PolicyViolation)),
            || unavailable(Condition::RemoteConnectionFailed, "the server is away"),
            || {
                let pieces = ["<body>", "<a/>", "</body>"].map(Bytes::from);
                let body = Chunks::new(smallvec::SmallVec::from_iter(pieces));
                let content_type = HeaderValue::from_static("application/xml; charset=utf-8");
                with_content(StatusCode::OK, content_type, body)
            },
        ] {
            let answer = wire::Answer::decode(encode(make())).unwrap();
            assert_eq!(whole(response(answer)).await, whole(make()).await);
        }
    }

    #[test]
    fn only_a_sid_of_another_gateway_leads_away() {
        let mut registry = Registry::default();
        registry.node = Some("a".into());
        let owner = |document: &str| {
            let owner = Elsewhere::owner_at_the_beginning(&registry, document.as_bytes());
            owner.map(String::from)
        };
        let secret = "0123456789abcdef0123456789abcdef";
        let document = |sid: &str| {
            format!(
                "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' sid='{sid}'><a/></body>"
            )
        };
        let b = document(&format!("b-{secret}"));
        assert_eq!(owner(&b).as_deref(), Some("b"));
        assert_eq!(owner(&document(&format!("a-{secret}"))), None);
        // What stands behind it does not matter, and names that only begin so are others.
        let about_a = b.replacen("<a/>", "<a> sid='a-x'</a>", 1);
        assert_eq!(owner(&about_a).as_deref(), Some("b"));
        let ab = document(&format!("ab-{secret}"));
        assert_eq!(owner(&ab).as_deref(), Some("ab"));
        assert_eq!(owner(&document(secret)), None);
        assert_eq!(
            owner("<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='x'/>"),
            None
        );
        // What begins otherwise is read first.
        assert_eq!(owner(&format!("<?xml version='1.0'?>{b}")), None);
        let long = "x".repeat(BEGINNING);
        assert_eq!(
            owner(&b.replacen("rid", &format!("x='{long}' rid"), 1)),
            None
        );
    }
}
